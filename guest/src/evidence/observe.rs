// SPDX-License-Identifier: GPL-2.0-only
//! What a kernel with the observe series tells and does more, for each map: counters of what was pushed back, and
//! hooks by which a case makes happen what otherwise happens by chance. All in `/sys/block/dm-M/dm/`.
//!
//! | file | | |
//! | --- | --- | --- |
//! | `pushback_added` | read | I/Os that the core took back from a target under noflush |
//! | `pushback_refused` | read | I/Os that a target asked to push back and that got an error instead |
//! | `pushback_merged` | read | bios that went from the list of pushed-back I/O to the deferred ones; 0 where there is no such list |
//! | `fail_noflush_suspend` | read, write | so many of the next noflush suspends fail with ENOMEM, after pending I/O was waited for |
//! | `pushback_delay_us` | read, write | busy delay between the target's look at the noflush flag and the core's own under its lock |
//! | `merge_delay_us` | read, write | sleep of a noflush suspend after its wait and before the flag is cleared |
//!
//! The counters only grow and live as long as the map; the hooks are 0 in a new map. Every other kernel lacks the
//! files, all of them: [`Observed::of`] is `None` there and [`Observed::require`] skips the case. Not here: the
//! tracepoints, which the agent reads for every case.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::dm::DevNo;
use crate::failure::{GuestContext as _, Outcome, skip};
use crate::report::happened;

/// Why a case that needs the hooks is skipped.
pub const NOT_OBSERVED: &str = "this kernel does not carry the observe series";

/// What the core counted for one map since it was created.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters {
    /// I/Os taken back from the target.
    pub added: u64,
    /// I/Os that were to be pushed back and got an error.
    pub refused: u64,
    /// Bios that went on to the deferred ones.
    pub merged: u64,
}

impl Counters {
    /// What was counted since `earlier`.
    #[must_use]
    pub fn since(self, earlier: Self) -> Self {
        Self {
            added: self.added.saturating_sub(earlier.added),
            refused: self.refused.saturating_sub(earlier.refused),
            merged: self.merged.saturating_sub(earlier.merged),
        }
    }
}

/// A map of a kernel that carries the observe series.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Observed {
    folder: PathBuf,
}

impl Observed {
    /// The map's hooks; `None` if the kernel has none.
    pub fn of(device: DevNo) -> Option<Self> {
        Self::at(&Path::new("/sys/dev/block").join(device.to_string()).join("dm"))
    }

    /// The map's hooks; a case that can't do without is skipped where the kernel has none.
    pub fn require(device: DevNo) -> Outcome<Self> {
        Self::of(device).map_or_else(|| skip(NOT_OBSERVED), Ok)
    }

    fn at(folder: &Path) -> Option<Self> {
        folder.join("pushback_added").exists().then(|| Self { folder: folder.to_owned() })
    }

    /// What was counted so far.
    pub fn counters(&self) -> Outcome<Counters> {
        Ok(Counters {
            added: self.number("pushback_added")?,
            refused: self.number("pushback_refused")?,
            merged: self.number("pushback_merged")?,
        })
    }

    /// Makes the next `count` noflush suspends of this map fail with ENOMEM; 0 takes back what is left.
    pub fn fail_noflush_suspends(&self, count: u32) -> Outcome {
        self.set("fail_noflush_suspend", count)
    }

    /// How many of the failures asked for have not happened yet.
    pub fn noflush_suspends_to_fail(&self) -> Outcome<u64> {
        self.number("fail_noflush_suspend")
    }

    /// Keeps a CPU busy for `delay` whenever an I/O is about to be pushed back, between the two looks at the flag.
    pub fn delay_pushback(&self, delay: Duration) -> Outcome {
        self.set("pushback_delay_us", delay.as_micros())
    }

    /// Makes noflush suspends sleep for `delay` before they clear the flag and merge.
    pub fn delay_merge(&self, delay: Duration) -> Outcome {
        self.set("merge_delay_us", delay.as_micros())
    }

    fn number(&self, name: &str) -> Outcome<u64> {
        let file = self.folder.join(name);
        let text = fs::read_to_string(&file);
        let number = text.and_then(|text| text.trim().parse().map_err(io::Error::other));
        number.guest(format_args!("read {}", file.display()))
    }

    fn set(&self, name: &str, value: impl std::fmt::Display) -> Outcome {
        let file = self.folder.join(name);
        fs::write(&file, value.to_string()).guest(format_args!("write {value} to {}", file.display()))?;
        happened("hook set", &[("file", &file.display()), ("value", &value)]);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::failure::Failure;

    #[test]
    fn counters_and_hooks_are_files() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str| folder.path().join(name);
        assert_eq!(Observed::at(folder.path()), None);
        for (name, text) in
            [("pushback_added", "32\n"), ("pushback_refused", "1\n"), ("pushback_merged", "31\n")]
        {
            fs::write(file(name), text).unwrap();
        }
        let observed = Observed::at(folder.path()).unwrap();
        let seen = observed.counters().unwrap();
        assert_eq!(seen, Counters { added: 32, refused: 1, merged: 31 });
        assert_eq!(
            seen.since(Counters { added: 30, refused: 1, merged: 0 }),
            Counters { added: 2, refused: 0, merged: 31 }
        );
        observed.delay_pushback(Duration::from_millis(3)).unwrap();
        assert_eq!(fs::read_to_string(file("pushback_delay_us")).unwrap(), "3000");
        observed.fail_noflush_suspends(2).unwrap();
        assert_eq!(observed.noflush_suspends_to_fail().unwrap(), 2);
    }

    #[test]
    fn without_the_series_a_case_is_skipped_and_half_a_series_is_our_fault() {
        assert_eq!(
            Observed::require(DevNo { major: 0, minor: 0 }),
            Err(Failure::Skip(NOT_OBSERVED.to_owned()))
        );
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("pushback_added"), "many\n").unwrap();
        let half = Observed::at(folder.path()).unwrap();
        assert!(matches!(half.counters(), Err(Failure::Guest(_))));
    }
}
