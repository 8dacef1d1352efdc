// SPDX-License-Identifier: GPL-2.0-only
//! What a case is: a name, the claim it proves, the matrix of its conditions, and the function that proves it.

use crate::bench::Bench;
use crate::condition::Condition;
use crate::failure::Outcome;

/// What kind of case this is; `selftest` and `measurement` cases are hidden from the default run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tag {
    /// The seed's regression and compatibility list.
    Compat,
    /// The seed's normal-path list.
    Normal,
    /// What the seed says about the core alone, without multipath.
    Core,
    /// The seed's own race, hit on purpose.
    Race,
    /// The seed's error-path list.
    ErrorPath,
    /// Every way in which a path fails.
    Fault,
    /// Every kind of I/O.
    Io,
    /// A mounted file system.
    FileSystem,
    /// The real multipathd.
    Daemon,
    /// Schedules that come from a seed.
    Stress,
    /// Provokes a non-pass outcome on purpose, to prove the harness.
    Selftest,
    /// Measures instead of proving, for `cargo xtask bench`; it is never traced.
    Measurement,
}

impl Tag {
    /// Whether the default run leaves it out.
    pub const fn is_hidden(self) -> bool {
        matches!(self, Self::Selftest | Self::Measurement)
    }

    /// The stable name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Compat => "compat",
            Self::Normal => "normal",
            Self::Core => "core",
            Self::Race => "race",
            Self::ErrorPath => "error-path",
            Self::Fault => "fault",
            Self::Io => "io",
            Self::FileSystem => "file-system",
            Self::Daemon => "daemon",
            Self::Stress => "stress",
            Self::Selftest => "selftest",
            Self::Measurement => "measurement",
        }
    }
}

/// A condition that a case leaves out, and why.
#[derive(Debug, Clone, Copy)]
pub struct LeftOut {
    /// Which part of the matrix, e.g. `implicit`.
    pub what: &'static str,
    /// Why it makes no sense there.
    pub reason: &'static str,
}

/// A splat that a case may cause without failing.
#[derive(Debug, Clone, Copy)]
pub struct Allowed {
    /// Piece of the first line of the report.
    pub splat: &'static str,
    /// Why, and until when.
    pub reason: &'static str,
}

/// One property of the kernel, proved by one function.
#[derive(Debug, Clone, Copy)]
pub struct Case {
    /// `module::function`: stable, used in filters and reports.
    pub name: &'static str,
    /// Which claim of the seed: `seed, normal path 1`; or what kernels learned later, `since the seed, COMMIT: what`; for a
    /// selftest what it provokes.
    pub claim: &'static str,
    /// One line: the property in a sentence.
    pub summary: &'static str,
    /// The group it belongs to.
    pub tag: Tag,
    /// Kernel symbols without which the case is skipped, e.g. `BLK_DEBUG_FS`, beyond what every run needs.
    pub needs: &'static [&'static str],
    /// The matrix.
    pub conditions: fn() -> Vec<Condition>,
    /// What the matrix leaves out, with the reason.
    pub left_out: &'static [LeftOut],
    /// Splats that do not fail the case; after one the VM is thrown away all the same.
    pub allow: &'static [Allowed],
    /// Seconds after which the case is a `Timeout`, before scaling by the machine's speed factor.
    pub deadline_seconds: u32,
    /// The proof.
    pub run: fn(&mut Bench) -> Outcome,
}

/// `case[condition]`, or `case` when the condition is empty: the full name of one run of one case.
pub fn full_name(case: &str, condition: &Condition) -> String {
    let parts = condition.parts();
    if parts.is_empty() { case.to_owned() } else { format!("{case}[{}]", parts.join(",")) }
}
