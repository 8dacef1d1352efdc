// SPDX-License-Identifier: GPL-2.0-only
//! What each case should do, under each condition, on each variant: the files of `tests/expectations/`, read and looked
//! up. Their README explains them; [`format`] reads them, and a unit test (`check`) holds them against the catalogue.
//!
//! Judges nothing: `xtask test` asks for known deviations and for what is not applicable, `xtask prove` for everything.

mod format;

#[cfg(test)]
mod check;
#[cfg(test)]
mod tests;

use std::sync::LazyLock;

use guest::condition::Condition;
use serde::Serialize;

pub use format::Deviation;
use format::{File, Row, Then};

macro_rules! files {
    ($($name:literal)+) => { &[$(($name, include_str!(concat!("../expectations/", $name)))),+] };
}

/// The data: one file a group of cases, in the order of the catalogue.
const FILES: &[(&str, &str)] = files!(
    "deviations.toml"
    "compat.toml"
    "normal.toml"
    "in_flight.toml"
    "requests.toml"
    "io_kind.toml"
    "file_system.toml"
    "daemon.toml"
    "stress.toml"
    "error_path.toml"
    "alua.toml"
    "fault.toml"
    "core.toml"
    "race.toml"
);

static FILE: LazyLock<Result<File, String>> = LazyLock::new(|| File::read(FILES));

/// The variants that the data speaks of.
pub const VARIANTS: [&str; 3] = ["stock", "baseline", "pushback"];

/// A kernel, as far as expectations depend on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kernel<'a> {
    /// `stock`, `baseline`, `pushback`; anything else, such as `as is`, is judged like `stock`.
    pub variant: &'a str,
    /// `uname -r`.
    pub release: &'a str,
}

/// What a case should do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(tag = "then", rename_all = "snake_case")]
pub enum Expected {
    /// It passes.
    Pass,
    /// It fails at this assertion: the variant lacks what the case proves.
    Fails {
        /// Its name.
        assertion: &'static str,
    },
    /// It fails at this assertion: a known deviation.
    Deviates {
        /// Its name.
        assertion: &'static str,
        /// Which.
        deviation: &'static Deviation,
    },
    /// It makes no sense there, and is not run.
    NotApplicable {
        /// Why.
        reason: &'static str,
    },
}

/// What was seen instead of a pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seen<'a> {
    /// The assertion of this name failed.
    Assertion(&'a str),
    /// The kernel printed one splat with this first line.
    Splat(&'a str),
}

/// What `case` should do under `condition` on `kernel`; `None` if the data does not say, which is so for selftests.
pub fn expected(case: &str, condition: Condition, kernel: Kernel<'_>) -> Option<Expected> {
    FILE.as_ref().ok()?.expected(case, condition, kernel)
}

/// Why `case`, under `condition`, on `kernel`, is known to give what was `seen`; `None` if it is not, and the failure
/// is one.
pub fn known_deviation(
    case: &str,
    condition: Condition,
    kernel: Kernel<'_>,
    seen: Seen<'_>,
) -> Option<&'static str> {
    let file = FILE.as_ref().ok()?;
    match seen {
        Seen::Assertion(name) => match file.expected(case, condition, kernel)? {
            Expected::Deviates { assertion, deviation } if assertion == name => Some(&deviation.reason),
            _ => None,
        },
        Seen::Splat(line) => {
            file.known_splat(case, condition, kernel.release, line).map(|known| &*known.reason)
        }
    }
}

/// A known deviation, with the first place where it shows.
#[derive(Debug, Clone)]
pub struct Shown {
    /// The deviation.
    pub deviation: &'static Deviation,
    /// Full name of a case and condition that shows it.
    pub case: String,
    /// The variants on which it shows.
    pub variants: Vec<&'static str>,
    /// The releases on which it shows start so; all, if it is empty.
    pub release: &'static str,
}

/// Every known deviation, in the order of their names.
pub fn deviations() -> Vec<Shown> {
    FILE.as_ref().map(File::deviations).unwrap_or_default()
}

impl File {
    /// The first row that covers the condition wins.
    fn expected(&'static self, case: &str, condition: Condition, kernel: Kernel<'_>) -> Option<Expected> {
        let rows = self.case.get(case)?.of(kernel.variant)?;
        let row = rows.0.iter().find(|row| row.covers(condition, kernel.release))?;
        self.told(&row.then)
    }

    fn told(&'static self, then: &'static Then) -> Option<Expected> {
        Some(match then {
            Then::Pass => Expected::Pass,
            Then::Skip { reason } => Expected::NotApplicable { reason },
            Then::Fails { assertion, deviation: None } => Expected::Fails { assertion },
            Then::Fails { assertion, deviation: Some(name) } => {
                Expected::Deviates { assertion, deviation: self.deviation.get(name)? }
            }
            Then::Splat { .. } => return None,
        })
    }

    fn known_splat(&self, case: &str, condition: Condition, release: &str, line: &str) -> Option<&Deviation> {
        let rows = self.case.get(case)?.splats.iter().filter(|row| row.covers(condition, release));
        let known = rows.filter_map(|row| self.deviation.get(row.then.deviation()?));
        known.into_iter().find(|known| known.splat.as_ref().is_some_and(|piece| line.contains(piece)))
    }

    fn deviations(&'static self) -> Vec<Shown> {
        let shown = |(name, deviation): (&'static String, &'static Deviation)| {
            let places = self.case.iter().flat_map(|(case, rows)| {
                let named = move |row: &&'static Row| row.then.deviation() == Some(name.as_str());
                rows.all().filter(move |(_, row)| named(row)).map(move |(on, row)| (case, on, row))
            });
            let places: Vec<_> = places.collect();
            let (case, _, row) = places.first()?;
            let mut variants: Vec<_> = places.iter().flat_map(|(_, on, _)| *on).copied().collect();
            variants.sort_unstable();
            variants.dedup();
            Some(Shown { deviation, case: row.first_name(case)?, variants, release: &row.release })
        };
        self.deviation.iter().filter_map(shown).collect()
    }
}
