// SPDX-License-Identifier: GPL-2.0-only
//! What a case must not leave behind: dm devices, SCSI hosts, iSCSI sessions, processes, tasks in uninterruptible sleep, a new
//! taint.

use std::collections::BTreeSet;
use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use super::process::{self, Task};
use crate::paths;

/// Removal of a SCSI host and the end of a killed process are asynchronous; measured below 50 ms under TCG.
const SETTLES_WITHIN: Duration = Duration::from_secs(3);

/// Taint bits that say where a module comes from and nothing about the kernel's health: out-of-tree (12),
/// unsigned (13). See Documentation/admin-guide/tainted-kernels.rst.
const ORIGIN_BITS: u64 = 1 << 12 | 1 << 13;

/// A WARN happened.
const WARN_BIT: u64 = 1 << 9;

/// `/proc/sys/kernel/tainted`.
pub fn taint() -> u64 {
    fs::read_to_string("/proc/sys/kernel/tainted")
        .ok()
        .and_then(|t| t.trim().parse().ok())
        .unwrap_or_default()
}

/// The processes that were there before the first case, by id and start: process 1, and where that is virtme-ng's, the
/// agent and those between them. A case may leave none.
#[derive(Debug, Clone, Default)]
pub struct Residents(BTreeSet<(i32, u64)>);

impl Residents {
    /// Those that are there now.
    pub fn look() -> Self {
        Self(process::tasks().iter().filter(|task| !task.kernel).map(|task| (task.pid, task.start)).collect())
    }

    fn has(&self, task: &Task) -> bool {
        self.0.contains(&(task.pid, task.start))
    }
}

/// The guest as it was before the case.
#[derive(Debug)]
pub struct Before {
    taint: u64,
    ignored: u64,
    residents: Residents,
}

impl Before {
    /// Looks at the guest; a case that may cause a WARN may set its taint.
    pub fn look(may_warn: bool, residents: &Residents) -> Self {
        let ignored = if may_warn { ORIGIN_BITS | WARN_BIT } else { ORIGIN_BITS };
        Self { taint: taint(), ignored, residents: residents.clone() }
    }

    /// What the case left behind, after giving it time to settle.
    pub fn violations(&self) -> Vec<String> {
        let start = Instant::now();
        loop {
            let seen = self.seen_now();
            if seen.is_empty() || start.elapsed() > wait_limit() {
                return seen;
            }
            thread::sleep(Duration::from_millis(2));
            while process::reap().is_some() {} // orphans of the case, killed with its group
        }
    }

    fn seen_now(&self) -> Vec<String> {
        let mut seen = paths::leftovers();
        let kept = paths::kept_processes();
        let left = |task: &Task| left_behind(task, &self.residents, &kept);
        seen.extend(process::tasks().iter().filter_map(left));
        seen.extend(taint_change(self.taint, taint(), self.ignored));
        seen
    }
}

fn wait_limit() -> Duration {
    crate::wait::scaled(SETTLES_WITHIN)
}

fn left_behind(task: &Task, residents: &Residents, kept: &[i32]) -> Option<String> {
    let Task { pid, comm, state, kernel, .. } = task;
    match (state, kernel) {
        ('D', true) => Some(format!("kernel thread {pid} ({comm}) is in uninterruptible sleep")),
        ('D', false) => Some(format!("process {pid} ({comm}) is in uninterruptible sleep")),
        ('Z' | 'X', _) | (_, true) => None,
        _ if residents.has(task) || kept.contains(pid) => None,
        _ => Some(format!("process {pid} ({comm}) is still there")),
    }
}

fn taint_change(before: u64, after: u64, ignored: u64) -> Option<String> {
    (before | ignored != after | ignored).then(|| format!("the kernel's taint went from {before} to {after}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loading_an_out_of_tree_module_is_no_violation_but_a_warning_is() {
        assert_eq!(taint_change(0, 1 << 12, ORIGIN_BITS), None);
        assert!(taint_change(1 << 12, 1 << 12 | 1 << 9, ORIGIN_BITS).unwrap().contains("4096 to 4608"));
        assert_eq!(taint_change(0, 1 << 9, WARN_BIT), None);
    }

    #[test]
    fn who_may_stay() {
        let task = |pid, state, kernel| Task { pid, comm: "x".into(), state, kernel, start: 7 };
        let (residents, kept) = (Residents([(1, 7), (8, 6)].into()), [5]);
        for stays in [task(1, 'S', false), task(5, 'S', false), task(9, 'I', true), task(9, 'Z', false)] {
            assert_eq!(left_behind(&stays, &residents, &kept), None, "{stays:?}");
        }
        for goes in [
            task(9, 'D', true),
            task(5, 'D', false),
            task(9, 'S', false),
            task(9, 'R', false),
            task(8, 'S', false),
        ] {
            assert!(left_behind(&goes, &residents, &kept).is_some(), "{goes:?}");
        }
    }
}
