// SPDX-License-Identifier: GPL-2.0-only
//! The three numbers of a closing line, `N passed, N failed, N skipped`, and how outcomes map on them.

use std::fmt;
use std::ops::AddAssign;

use super::model::Summary;

/// How many of what.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Proven to hold.
    pub passed: usize,
    /// Anything that must not be overlooked: failures, trouble of the host, cases that did not run.
    pub failed: usize,
    /// Skips and known deviations: neither pass nor failure.
    pub skipped: usize,
}

impl Counts {
    /// One pass.
    pub const PASS: Self = Self { passed: 1, failed: 0, skipped: 0 };
    /// One failure.
    pub const FAIL: Self = Self { passed: 0, failed: 1, skipped: 0 };
}

impl From<&Summary> for Counts {
    fn from(sum: &Summary) -> Self {
        Self {
            passed: sum.passed,
            failed: sum.failed + sum.infra + sum.not_run,
            skipped: sum.skipped + sum.known_deviations,
        }
    }
}

impl AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped += other.skipped;
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} passed, {} failed, {} skipped", self.passed, self.failed, self.skipped)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_went_wrong_counts_as_skipped_or_passed() {
        let sum = Summary {
            passed: 5,
            failed: 1,
            infra: 2,
            not_run: 3,
            skipped: 4,
            known_deviations: 6,
            ..Summary::default()
        };
        assert_eq!(Counts::from(&sum).to_string(), "5 passed, 6 failed, 10 skipped");
    }
}
