// SPDX-License-Identifier: GPL-2.0-only
//! I/O that a case submitted: where it is, step by step, and how it ends.
//!
//! "It stays queued" is never inferred from silence: each step is the positive fact that all of it is in one
//! place ([`crate::evidence`]) while none of it has come back.

use std::cell::Cell;
use std::fmt::Write as _;
use std::rc::Rc;
use std::time::Duration;

use crate::condition::{IoKind, QueueMode};
use crate::dm::DevNo;
use crate::evidence::observe::{Counters, Observed};
use crate::evidence::{self, Mark, Whereabouts, whereabouts};
use crate::failure::{Failure, Outcome, ensure};
use crate::io::{Batch, Spec, Tally};
use crate::report::happened;
use crate::wait::wait_for;

use super::multipath::MultipathMap;

/// How long one step may take, before scaling.
pub const STEP: Duration = Duration::from_secs(5);
/// How many I/Os a case submits at once: fewer than the 128 or 256 tags of a request-based map.
pub const COUNT: u32 = 32;
/// How many flushes, discards and write-zeroes: each needs a thread of the engine.
pub const FEW: u32 = 8;
/// How many I/Os that span two maps.
pub const SPANNING: u32 = 16;
/// Length in blocks of a large I/O: 128 KiB.
pub const LARGE: u32 = 32;
/// Length in blocks of the stretches that a spanning map lays on its two sides in turn.
pub const STRETCH: u64 = 2;

/// The target holds all of it, no path has any.
pub const QUEUED: &str = "I/O is queued in the target";
/// The map holds all of it, no path has any.
pub const WAITS_FOR_ACTIVATION: &str = "I/O waits for a path to be activated";
/// The core holds all of it, the target none.
pub const PUSHED_BACK: &str = "I/O is pushed back to the core";
/// The same as [`QUEUED`], after it had been pushed back.
pub const QUEUED_AGAIN: &str = "I/O is queued in the target again";
/// All of it completes without an error.
pub const SUCCEEDS: &str = "I/O completes without an error";
/// All of it comes back with EIO.
pub const FAILS: &str = "I/O fails with EIO";
/// All of it comes back with EIO, which the target had queued.
pub const QUEUED_FAILS: &str = "queued I/O fails with EIO";
/// All of it comes back with EIO, and nothing that only the kernel should know.
pub const EIO_ONLY: &str = "errors are EIO and nothing internal";
/// Whatever happens to it, it comes back.
pub const COMES_BACK: &str = "I/O comes back";
/// A path holds all of it.
pub const IN_FLIGHT: &str = "I/O is in flight in a path";
/// No request or bio of it is left in the map.
pub const NOTHING_LEFT: &str = "nothing is left in the map";
/// It does not wait for the map.
pub const REFUSED: &str = "I/O that must not wait is refused at once";
/// What a flush suspend leaves in the core is complete there.
pub const NOT_LOST: &str = "I/O that survives a flush suspend is not lost";

/// How many I/Os of `kind` are submitted at once.
pub const fn count(kind: IoKind) -> u32 {
    if matches!(kind, IoKind::Flush) || kind.one_by_one() { FEW } else { COUNT }
}

/// How many pieces of `specs` can be in a map at the same time: one of each I/O, but only one of those that the block
/// layer does one by one.
fn at_once(specs: &[Spec]) -> u64 {
    let one_by_one = specs.iter().filter(|spec| spec.kind.one_by_one()).count();
    (specs.len() - one_by_one + one_by_one.min(1)) as u64
}

/// A multipath map that carries the I/O, one piece of each.
#[derive(Debug)]
pub(super) struct Watched {
    name: String,
    device: DevNo,
    queue_mode: QueueMode,
    mark: Cell<Mark>,
    /// How many requests a request-based map has: whoever submits more waits for one.
    capacity: u64,
    /// What the core counts, on an observed kernel, and what it had counted at the mark.
    core: Option<(Observed, Cell<Counters>)>,
}

impl Watched {
    /// From now on.
    pub(super) fn of(map: &MultipathMap) -> Self {
        let (device, queue_mode) = (map.map().device(), map.queue_mode());
        let mark = Mark { inflight: evidence::read(device, queue_mode).inflight, returned: 0 };
        let core = Observed::of(device).map(|core| (core, Cell::default()));
        let capacity = match queue_mode {
            QueueMode::Bio => u64::MAX,
            QueueMode::Rq => evidence::requests(device).unwrap_or(u64::MAX),
        };
        let name = map.map().name().to_string();
        Self { name, device, queue_mode, mark: Cell::new(mark), capacity, core }
    }

    /// What the core counted since the mark.
    fn counted(&self) -> Outcome<Option<Counters>> {
        self.core.as_ref().map(|(core, mark)| Ok(core.counters()?.since(mark.get()))).transpose()
    }

    /// Everything is known to be in flight: what is pushed back is counted from here.
    fn set_mark(&self, mark: Mark) -> Outcome {
        self.mark.set(mark);
        let Some((core, counted)) = &self.core else { return Ok(()) };
        counted.set(core.counters()?);
        Ok(())
    }

    /// What tells where the map's I/O is.
    fn evidence(&self) -> &'static str {
        match (self.queue_mode, &self.core) {
            (QueueMode::Bio, None) => "inflight",
            (QueueMode::Bio, Some(_)) => "inflight, the core's counter",
            (QueueMode::Rq, _) => "blk-mq debugfs",
        }
    }
}

/// I/O that was submitted together, or that a case looks at together.
#[derive(Debug)]
pub struct Io {
    batches: Vec<Rc<Batch>>,
    watched: Vec<Watched>,
    /// How many bios or requests of it each map has, as long as none of it has returned.
    pieces: u64,
    /// I/O of the same map that a path holds.
    held: Vec<Rc<Batch>>,
}

/// What became of all the I/O of some batches.
fn tally(batches: &[Rc<Batch>]) -> Tally {
    batches.iter().fold(Tally::default(), |sum, batch| sum.and(&batch.tally()))
}

/// Whether the case knows of a suspend that still waits: the map does not show it, and maps nothing any more.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Suspend {
    /// As the map shows.
    Shown,
    /// It has begun and waits for I/O in flight.
    Waits,
}

/// What one look saw of one map, and how many I/Os there are.
struct Seen {
    place: Whereabouts,
    suspended: bool,
    queue_mode: QueueMode,
    counted: Option<Counters>,
    count: u64,
}

/// What one look at all the maps saw.
struct Look {
    tally: Tally,
    /// One for each map: where, and whether it was suspended; with what to count from next.
    maps: Vec<(Whereabouts, bool, Mark)>,
    /// What the cores counted since the mark, one for each map; `None` without the observe series.
    counted: Vec<Option<Counters>>,
}

impl Io {
    pub(super) fn new(batch: Rc<Batch>, specs: &[Spec], watched: Vec<Watched>) -> Self {
        Self { batches: vec![batch], watched, pieces: at_once(specs), held: Vec::new() }
    }

    /// Each I/O was split into so many bios or requests.
    #[must_use]
    pub fn split_into(self, pieces: u64) -> Self {
        Self { pieces: self.pieces * pieces, ..self }
    }

    /// Every look at this I/O knows that `other`, of the same map, is held in a path until it returns.
    pub(super) fn beside(self, other: &Self) -> Self {
        Self { held: other.batches.clone(), ..self }
    }

    /// This I/O and `other`, which went to the same map before, looked at as one.
    #[must_use]
    pub fn and(mut self, other: Self) -> Self {
        self.batches.extend(other.batches);
        self.pieces += other.pieces;
        self
    }

    /// How many are pending, succeeded, failed.
    pub fn tally(&self) -> Tally {
        tally(&self.batches)
    }

    /// All of it is held by the running multipath target, none by its paths, none has returned. Positive facts
    /// only; see [`crate::evidence`] for what they are.
    pub fn is_queued_in_the_target(&self) -> Outcome {
        self.is_queued(QUEUED)
    }

    /// The same after a resume: it went from the core back into the target's queue.
    pub fn is_queued_in_the_target_again(&self) -> Outcome {
        self.is_queued(QUEUED_AGAIN)
    }

    /// All of it is held by the core of the suspended map, none by target or paths, none has returned. On an
    /// observed kernel the core of a bio-based map also must have counted as many (more, if it offered some to the
    /// target again before the suspend was complete). A request that lay on the requeue list when the queue was
    /// stopped takes no such step, so there it is only told.
    pub fn is_pushed_back_to_the_core(&self) -> Outcome {
        self.is_pushed_back(Suspend::Shown)
    }

    /// The same while the suspend still waits for other I/O.
    pub fn is_pushed_back_while_the_suspend_waits(&self) -> Outcome {
        self.is_pushed_back(Suspend::Waits)
    }

    fn is_pushed_back(&self, suspend: Suspend) -> Outcome {
        self.stays(suspend, PUSHED_BACK, |seen| {
            let counted = match (seen.queue_mode, seen.counted) {
                (QueueMode::Bio, Some(core)) => core.added >= seen.count,
                _ => true,
            };
            counted
                && seen.suspended
                && seen.place == Whereabouts { in_core: seen.count, ..Whereabouts::default() }
        })
        .map(drop)
    }

    /// All of it is in flight in a path of the map, none has returned.
    pub fn is_in_flight(&self) -> Outcome {
        self.settles(IN_FLIGHT, |seen| {
            seen.place == Whereabouts { in_paths: seen.count, ..Whereabouts::default() }
        })
    }

    /// The map has all of it and no path has any, none has returned: what a map does that waits for a group
    /// ([`MultipathMap::waits_for_a_group`]). Of a request-based map, the target has given back one request; as long as it
    /// calls itself busy (`multipath_busy`), blk-mq keeps all of them.
    pub fn waits_for_an_activation(&self) -> Outcome {
        self.settles(WAITS_FOR_ACTIVATION, |seen| {
            let Whereabouts { in_target, on_the_way, in_paths, in_core } = seen.place;
            !seen.suspended && in_target + on_the_way == seen.count && in_paths + in_core == 0
        })
    }

    fn is_queued(&self, name: &str) -> Outcome {
        self.settles(name, |seen| {
            !seen.suspended && seen.place == Whereabouts { in_target: seen.count, ..Whereabouts::default() }
        })
    }

    /// What is pushed back from here on is counted from this moment, when everything is known to be in flight.
    fn settles(&self, name: &str, is_there: impl Fn(&Seen) -> bool) -> Outcome {
        let look = self.stays(Suspend::Shown, name, is_there)?;
        self.watched.iter().zip(&look.maps).try_for_each(|(watched, (_, _, mark))| watched.set_mark(*mark))
    }

    /// Waits until every watched map has all of the I/O in the place that `is_there` knows. As soon as any I/O
    /// has returned, that can't come true any more.
    fn stays(&self, suspend: Suspend, name: &str, is_there: impl Fn(&Seen) -> bool) -> Outcome<Look> {
        let look = wait_for(STEP, name, || {
            let look = self.look(suspend)?;
            if !look.tally.all_pending() {
                return Err(Failure::assertion(name, self.describe(&look)));
            }
            let maps = self.watched.iter().zip(&look.maps).zip(&look.counted);
            let everywhere = maps.into_iter().all(|((watched, (place, suspended, _)), counted)| {
                let (queue_mode, counted) = (watched.queue_mode, *counted);
                let count = self.pieces.min(watched.capacity);
                is_there(&Seen { place: *place, suspended: *suspended, queue_mode, counted, count })
            });
            Ok(if everywhere { Ok(look) } else { Err(self.describe(&look)) })
        })?;
        let evidence = self.watched.first().map_or("", Watched::evidence);
        happened(name, &[("seen", &self.describe(&look)), ("evidence", &evidence)]);
        Ok(look)
    }

    /// All of it completes without an error.
    pub fn succeeds(&self) -> Outcome {
        self.batches.iter().try_for_each(|batch| batch.wait_all_ok(STEP, SUCCEEDS).map(drop))
    }

    /// All of it comes back without having waited for the map: with one of these errnos.
    pub fn is_refused_with(&self, errnos: &[i32]) -> Outcome {
        let refused = |batch: &Rc<Batch>| batch.wait_all_completed(STEP, REFUSED).map(drop);
        self.batches.iter().try_for_each(refused)?;
        let tally = self.tally();
        ensure(errnos.iter().any(|errno| tally.all_failed_with(*errno)), REFUSED, &tally)
    }

    /// All of it comes back, with EIO.
    pub fn fails_with_eio(&self) -> Outcome {
        self.fails_with_eio_as(FAILS)
    }

    /// The same, for a case about which errno it is.
    pub fn fails_with_nothing_but_eio(&self) -> Outcome {
        self.fails_with_eio_as(EIO_ONLY)
    }

    fn fails_with_eio_as(&self, name: &str) -> Outcome {
        let tally = self.all_completed()?;
        ensure(tally.all_failed_with(nix::libc::EIO), name, &tally)
    }

    fn all_completed(&self) -> Outcome<Tally> {
        self.batches
            .iter()
            .try_for_each(|batch| batch.wait_all_completed(STEP, COMES_BACK).map(drop))
            .map(|()| self.tally())
    }

    /// All of it has returned, and the map has nothing in flight and every request free.
    pub fn leaves_nothing_in_the_map(&self) -> Outcome {
        wait_for(STEP, NOTHING_LEFT, || {
            let look = self.look(Suspend::Shown)?;
            let nothing = look.maps.iter().all(|(place, ..)| *place == Whereabouts::default());
            Ok(if nothing && look.tally.all_completed() { Ok(()) } else { Err(self.describe(&look)) })
        })
    }

    /// After a flush suspend: waits until each I/O has either come back or is positively in the core.
    pub fn has_failed_or_is_in_the_core(&self) -> Outcome {
        let look = wait_for(STEP, NOT_LOST, || {
            let look = self.look(Suspend::Shown)?;
            let pending = look.tally.pending as u64;
            let kept = |(place, ..): &(Whereabouts, bool, Mark)| {
                *place == Whereabouts { in_core: place.in_core, ..Whereabouts::default() }
            };
            let seen = look.maps.iter().map(|(place, ..)| place.in_core).max().unwrap_or(0);
            let settled = look.maps.iter().all(kept) && seen == pending;
            Ok(if settled { Ok(look) } else { Err(self.describe(&look)) })
        })?;
        happened("flush suspend left", &[("seen", &self.describe(&look))]);
        Ok(())
    }

    /// The last step of a case about I/O that must fail: all has come back by now; what did not fail is told as
    /// the assertion [`QUEUED_FAILS`]. The case calls it after it knows that the data is right.
    pub fn has_failed_with_eio(&self) -> Outcome {
        let tally = self.tally();
        ensure(tally.all_failed_with(nix::libc::EIO), QUEUED_FAILS, &tally)
    }

    /// All of it comes back, one way or another; each with success or EIO and nothing else.
    pub fn comes_back(&self) -> Outcome {
        let tally = self.all_completed()?;
        let eio = tally.failed.get(&nix::libc::EIO).copied().unwrap_or(0);
        ensure(tally.ok + eio == tally.total, COMES_BACK, &tally)
    }

    fn look(&self, suspend: Suspend) -> Outcome<Look> {
        let shown: Vec<_> =
            self.watched.iter().map(|watched| evidence::read(watched.device, watched.queue_mode)).collect();
        // The tally after what the maps show: what returns meanwhile makes the sum of the places too small, never too big.
        let tally = self.tally();
        let held = self::tally(&self.held);
        let returned = (tally.total - tally.pending + held.total - held.pending) as u64;
        let maps = self.watched.iter().zip(shown).map(|(watched, mut now)| {
            now.suspended |= suspend == Suspend::Waits;
            let mut place = whereabouts(&now, watched.mark.get(), returned);
            // If less than what is held is there, this too is no place at which the caller wants to see it.
            place.in_paths = place.in_paths.abs_diff(held.pending as u64);
            (place, now.suspended, Mark { inflight: now.inflight, returned })
        });
        let maps = maps.collect();
        Ok(Look { maps, counted: self.watched.iter().map(Watched::counted).collect::<Outcome<_>>()?, tally })
    }

    fn describe(&self, look: &Look) -> String {
        let mut text = look.tally.to_string();
        for ((watched, (place, suspended, _)), counted) in
            self.watched.iter().zip(&look.maps).zip(&look.counted)
        {
            let state = if *suspended { "suspended" } else { "active" };
            let _ = write!(text, "; {} ({state}): {place}", watched.name);
            if let Some(Counters { added, refused, merged }) = counted {
                let _ = write!(
                    text,
                    "; its core counted {added} pushed back, {refused} refused, {merged} merged"
                );
            }
        }
        text
    }
}
