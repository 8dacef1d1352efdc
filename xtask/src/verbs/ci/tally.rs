// SPDX-License-Identifier: GPL-2.0-only
//! Stages, and what they gave together.

use std::fmt::Write as _;
use std::ops::AddAssign;
use std::time::{Duration, Instant};

use crate::exit::{Code, code_of};
use crate::interrupt;
use crate::report::counts::Counts;

/// What one stage gave.
#[derive(Debug, Default)]
pub struct Stage {
    /// How many of what.
    pub counts: Counts,
    /// What failed, a few lines each.
    pub failures: String,
}

impl Stage {
    /// A stage that there was no time for.
    pub(super) fn no_time() -> Self {
        println!("left out: it would not end in time on this host (hint: --full takes the time)");
        Self { counts: Counts { passed: 0, failed: 0, skipped: 1 }, failures: String::new() }
    }

    /// A stage that passes or fails as a whole.
    pub(super) fn whole(failure: Option<String>) -> Self {
        failure.map_or(Self { counts: Counts::PASS, failures: String::new() }, |failure| Self {
            counts: Counts::FAIL,
            failures: failure + "\n",
        })
    }
}

impl AddAssign for Stage {
    fn add_assign(&mut self, other: Self) {
        self.counts += other.counts;
        self.failures += &other.failures;
    }
}

/// What all stages together gave.
#[derive(Debug)]
pub(super) struct Tally {
    started: Instant,
    counts: Counts,
    worst: Code,
    /// What failed, by stage: told again at the end, for the middle of a long log is what gets lost.
    failures: String,
}

impl Tally {
    /// The clock of [`Self::elapsed`] starts.
    pub(super) fn start() -> Self {
        Self {
            started: Instant::now(),
            counts: Counts::default(),
            worst: Code::AllPassed,
            failures: String::new(),
        }
    }

    pub(super) fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    /// Runs one stage, and says how long it took; an error is one failure of its own.
    pub(super) fn stage(&mut self, name: &str, run: impl FnOnce() -> anyhow::Result<Stage>) -> Duration {
        if interrupt::requested() {
            return Duration::ZERO;
        }
        println!("\n== {name}");
        let start = Instant::now();
        let Stage { counts, failures } = run().unwrap_or_else(|error| {
            println!("error: {error:#}");
            self.worst = self.worst.max(code_of(&error));
            Stage::whole(Some(format!("error: {error:#}")))
        });
        if counts.failed > 0 {
            self.worst = self.worst.max(Code::CaseFailed);
            let _ = write!(self.failures, "\n== {name}: {} failed\n{failures}", counts.failed);
        }
        let took = start.elapsed();
        println!("== {name}: {counts} ({:.1} s)", took.as_secs_f64());
        self.counts += counts;
        took
    }

    /// Tells again what failed, and counts it all in the last line.
    pub(super) fn end(self) -> Code {
        let Self { counts, failures, worst, .. } = self;
        println!("{failures}\n{counts}");
        if interrupt::requested() { Code::HostFailed } else { worst }
    }
}
