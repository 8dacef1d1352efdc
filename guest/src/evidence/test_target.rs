// SPDX-License-Identifier: GPL-2.0-only
//! Where is the I/O of a map whose targets are of this project's type `pushback-test`? Pure.
//!
//! These targets count what they hold and what is in the device below, so what is in neither, has been seen by them
//! and has not come back can only be in the core. That the map is suspended with nothing in flight says the same a
//! second time, in the core's own numbers: its accounting of a bio ends when it goes to `md->deferred`. It also ends a moment
//! before the bio comes back, which nothing here can tell apart: where the core counts what it takes back, the caller asks
//! for that number too.

use std::fmt;

use super::Snapshot;
use crate::dm::test_target::TestStatus;
use crate::io::Tally;

/// Where the I/O is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// On the lists of the targets, so many pieces; nothing is below.
    Target(u64),
    /// With the core of a suspended map: in no target, not below.
    Core,
    /// All of it came back.
    Back,
    /// In several places, or on its way.
    OnTheWay,
}

/// Computes it from the status of the targets, what the map shows, and how much has come back.
pub fn place(targets: &[TestStatus], map: &Snapshot, tally: &Tally) -> Place {
    let held: u64 = targets.iter().map(|target| target.held).sum();
    let below = map.below + targets.iter().map(|target| target.below).sum::<u64>();
    match (held, below) {
        _ if tally.all_completed() => Place::Back,
        (0, 0) if map.suspended && map.inflight == 0 => Place::Core,
        (1.., 0) => Place::Target(held),
        _ => Place::OnTheWay,
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Target(pieces) => write!(f, "{pieces} pieces held in the target"),
            Self::Core => f.write_str("in the core"),
            Self::Back => f.write_str("back"),
            Self::OnTheWay => f.write_str("on the way"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dm::test_target::Gate;

    #[test]
    fn a_bio_is_followed() {
        let target = |held, below| TestStatus {
            gate: Gate::Open,
            held,
            below,
            mapped: 1,
            requeued: 0,
            pushed_back: 0,
            failed: 0,
            ended: 0,
            errors: 0,
        };
        let map = |suspended, inflight, below| Snapshot { suspended, inflight, below, mq: None };
        let tally = |pending| Tally { total: 1, pending, ok: 1 - pending, ..Tally::default() };
        let table = [
            ("held", vec![target(1, 0)], map(false, 1, 0), 1, Place::Target(1)),
            ("both halves held", vec![target(1, 0), target(1, 0)], map(false, 2, 0), 1, Place::Target(2)),
            ("one half below", vec![target(1, 0), target(0, 1)], map(false, 2, 1), 1, Place::OnTheWay),
            ("pushed back, not yet suspended", vec![target(0, 0)], map(false, 0, 0), 1, Place::OnTheWay),
            ("pushed back", vec![target(0, 0)], map(true, 0, 0), 1, Place::Core),
            ("done", vec![target(0, 0)], map(false, 0, 0), 0, Place::Back),
        ];
        for (what, targets, map, pending, expected) in table {
            assert_eq!(place(&targets, &map, &tally(pending)), expected, "{what}");
        }
    }
}
