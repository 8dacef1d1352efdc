// SPDX-License-Identifier: GPL-2.0-only
//! Where is the I/O? In the target, in the core, in the paths, or back with whoever submitted it.
//!
//! An unpatched kernel does not say so in one place. It is computed by a pure function, [`whereabouts`], from a
//! [`Snapshot`] of what it does show; [`read`] reads that.
//!
//! **bio mode.** The map's `inflight` counts the bios that the target has taken (`dm_start_io_acct`). None of the
//! paths has anything in flight: so the target holds them. A bio that is pushed back leaves `inflight`
//! (`dm_end_io_acct`, which only `__dm_io_complete` calls), although nobody got it back: what left `inflight` of a
//! suspended map and has not returned is in the core, on `md->deferred`. (`stat` shows it too, but when it counts
//! an I/O changed between 6.1, at its start, and 6.12, at its end.)
//!
//! **rq mode.** A request that the target refuses for lack of a path (`DM_MAPIO_DELAY_REQUEUE`) lies on the map's
//! requeue list and is offered to it again after 100 ms (`dm_mq_delay_requeue_request`): as long as the map runs,
//! the requeue list is the target's queue. When the map is suspended its blk-mq queue is quiesced; the requeue
//! work still moves the requests from there to where blk-mq keeps what it may dispatch (scheduler, software
//! queues, dispatch list), and there they stay: in the core. After a resume they can be found on the requeue list
//! only if the target had them and refused them again. blk-mq shows all this in debugfs (`CONFIG_BLK_DEBUG_FS`).

mod mq;
pub mod observe;
mod read;
mod test_target;

use std::fmt;

pub use mq::{Mq, Op, Request};
pub use read::{blk_debugfs_missing, read, requests};
pub use test_target::{Place, place};

/// What a map and the devices below it show at one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// `dm/suspended`.
    pub suspended: bool,
    /// Sum of the map's `inflight`.
    pub inflight: u64,
    /// Sum of `inflight` of the devices below.
    pub below: u64,
    /// blk-mq's own state, for a request-based map.
    pub mq: Option<Mq>,
}

/// What to count from: an earlier moment at which it was known where everything was.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Mark {
    /// [`Snapshot::inflight`] at that moment.
    pub inflight: u64,
    /// I/Os that had returned at that moment.
    pub returned: u64,
}

/// Where the I/Os of a map are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Whereabouts {
    /// Held by the target, which could use a path at any time.
    pub in_target: u64,
    /// Pushed back: kept by the core, out of the target's reach.
    pub in_core: u64,
    /// In flight in the devices below.
    pub in_paths: u64,
    /// On the way between two of these places; counted where that can be seen (rq mode).
    pub on_the_way: u64,
}

/// Computes where the I/Os are. `returned` is how many of those submitted to this map came back so far.
pub fn whereabouts(now: &Snapshot, mark: Mark, returned: u64) -> Whereabouts {
    match &now.mq {
        Some(mq) => in_requests(now, mq),
        None => in_bios(now, mark, returned),
    }
}

fn in_bios(now: &Snapshot, mark: Mark, returned: u64) -> Whereabouts {
    let in_target = now.inflight.saturating_sub(now.below);
    let left = mark.inflight.saturating_sub(now.inflight);
    let in_core = if now.suspended { left.saturating_sub(returned.saturating_sub(mark.returned)) } else { 0 };
    Whereabouts { in_target, in_core, in_paths: now.below, on_the_way: 0 }
}

fn in_requests(now: &Snapshot, mq: &Mq) -> Whereabouts {
    let idle = |list: &[Request]| list.iter().filter(|request| request.idle).count() as u64;
    // The flush machinery lets one flush request stand for all flushes that wait (blk-flush.c); each of them
    // keeps its tag all the same.
    let everything = |list: &[Request], other: u64| {
        let flushes = list.iter().any(|request| request.op == Op::Flush && request.idle);
        if flushes { mq.held.saturating_sub(other) } else { idle(list) }
    };
    let (requeued, waiting) = (idle(&mq.requeued), idle(&mq.waiting));
    if now.suspended && mq.quiesced {
        let in_core = everything(&mq.waiting, requeued + now.below);
        let on_the_way = mq.held.saturating_sub(in_core + now.below);
        return Whereabouts { in_target: 0, in_core, in_paths: now.below, on_the_way };
    }
    let in_target = everything(&mq.requeued, waiting + now.below);
    let on_the_way = mq.held.saturating_sub(in_target + now.below);
    Whereabouts { in_target, in_core: 0, in_paths: now.below, on_the_way }
}

/// `32 in the target`, `30 in the core, 2 in the paths`.
impl fmt::Display for Whereabouts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let places = [
            (self.in_target, "in the target"),
            (self.in_core, "in the core"),
            (self.in_paths, "in the paths"),
            (self.on_the_way, "on the way"),
        ];
        let mut first = true;
        for (count, place) in places.into_iter().filter(|(count, _)| *count > 0) {
            write!(f, "{}{count} {place}", if first { "" } else { ", " })?;
            first = false;
        }
        if first { f.write_str("nowhere in the map") } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests;
