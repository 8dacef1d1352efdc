// SPDX-License-Identifier: GPL-2.0-only
//! A map over the target `pushback-test`, with which the core is tested without multipath: what it is told, what it
//! says, and the I/O that was submitted to it.

use std::cell::Cell;
use std::fmt::Write as _;
use std::rc::Rc;
use std::thread::{self, JoinHandle};

use super::Bench;
use super::io::{COMES_BACK, FAILS, PUSHED_BACK, STEP, SUCCEEDS};
use crate::condition::QueueMode;
use crate::dm::test_target::{Gate, Mapped, OnMap, Order, TestStatus};
use crate::dm::{Flush, Map, Sectors, Table};
use crate::evidence::observe::{Counters, Observed};
use crate::evidence::{self, Place, place};
use crate::failure::{Failure, GuestContext, Outcome, ensure};
use crate::io::{BLOCK, Batch, Engine, IoResult, Spec, Tally};
use crate::modules;
use crate::paths::Path;
use crate::report::happened;
use crate::wait::wait_for;

/// The target's module.
const MODULE: &str = "dm-pushback-test";

/// The targets hold all of it.
pub const HELD: &str = "I/O is held in the target";
/// `map()` has seen all of it, and refused it.
pub const REQUEUED: &str = "map() asks for pushback of all I/O";
/// The suspend is under way and has called `presuspend()`.
pub const AT_THE_GATE: &str = "the suspend calls presuspend()";
/// After the resume each I/O went to `map()` once.
pub const REISSUED_ONCE: &str = "pushed-back I/O is re-issued exactly once";
/// After the resume it went there in the order in which it had been submitted.
pub const REISSUED_IN_ORDER: &str = "pushed-back I/O is re-issued in order";
/// In flight in the device below, or back from it.
pub const ALL_ENDED: &str = "I/O comes back from the device below";

/// The fault point failed the suspend after the pushback.
pub const PUSHED_BACK_FIRST: &str = "all I/O was pushed back before the suspend failed";
/// All that came back from the path was pushed back.
pub const NONE_RETURNS: &str = "no I/O returns while the noflush suspend waits";
/// What was with the core when a suspend was interrupted.
pub const KEPT: &str = "I/O that was pushed back before the interruption does not return with an error";

/// A map of one or more targets of the type `pushback-test`, all over the same disk.
#[derive(Debug, Clone)]
pub struct TestMap {
    map: Map,
    table: Table,
    gate_is_closed: Rc<Cell<bool>>,
}

impl Bench {
    /// A map with one target over each path, each with an equal part of the disk. It behaves like linear until it is
    /// told otherwise.
    pub fn test_map(&mut self, name: &str, paths: &[Path]) -> Outcome<TestMap> {
        modules::require(MODULE)?.insert(MODULE, "").guest(format_args!("load {MODULE}"))?;
        let devices: Vec<_> = paths.iter().map(Path::device).collect();
        let table = Table::tested(&devices, self.disk_length()?);
        let map = self.create(name, &table)?;
        let map = TestMap { map, table, gate_is_closed: Rc::default() };
        self.test_maps.push(map.clone());
        Ok(map)
    }

    /// Submits these I/Os, and returns when the kernel has them; reads and writes go to the map in this order.
    pub fn submit_each(&mut self, map: &TestMap, specs: &[Spec]) -> Outcome<TestIo> {
        let before = map.counted()?;
        let batch = Rc::new(self.ledger()?.submit(Engine::IoUring, &map.map.node(), specs)?);
        self.batches.push(Rc::clone(&batch));
        Ok(TestIo { batch, map: map.clone(), before })
    }
}

impl TestMap {
    /// The device.
    pub fn map(&self) -> &Map {
        &self.map
    }

    /// The block at which a target starts.
    pub fn first_block(&self, target: usize) -> u64 {
        self.start(target).0 * 512 / u64::from(BLOCK)
    }

    fn start(&self, target: usize) -> Sectors {
        self.table.0.get(target).map_or(Sectors::ZERO, |segment| segment.start)
    }

    /// Tells every target these things, at the same time.
    pub fn tell(&self, orders: &[Order]) -> Outcome {
        self.send((0..self.table.0.len()).flat_map(|target| orders.iter().map(move |order| (target, *order))))
    }

    /// Tells one target.
    pub fn tell_one(&self, target: usize, order: Order) -> Outcome {
        self.send(std::iter::once((target, order)))
    }

    /// Starts to tell every target something that takes its time.
    pub fn start_telling(&self, order: Order) -> Outcome<Started> {
        let messages: Vec<_> =
            self.table.0.iter().map(|segment| (segment.start, order.to_string())).collect();
        self.start_call(move |map| map.messages_at(&messages))
    }

    fn send(&self, orders: impl Iterator<Item = (usize, Order)>) -> Outcome {
        let orders: Vec<_> = orders.collect();
        if orders.iter().any(|(_, order)| *order == Order::CloseGate) {
            self.gate_is_closed.set(true);
        }
        let messages: Vec<_> =
            orders.iter().map(|(target, order)| (self.start(*target), order.to_string())).collect();
        self.map.messages_at(&messages)
    }

    /// What each target says of itself.
    pub fn status(&self) -> Outcome<Vec<TestStatus>> {
        TestStatus::parse_all(&self.map.status()?).guest("understand the status of pushback-test")
    }

    /// What `map()` of a target saw since the log was cleared.
    pub fn log(&self, target: usize) -> Outcome<Vec<Mapped>> {
        let text = self.map.ask_at(self.start(target), "log")?;
        Mapped::parse_all(&text).guest("understand the log of pushback-test")
    }

    /// The log, waiting until `map()` has asked for pushback of `count` different bios.
    pub fn has_requeued(&self, count: usize) -> Outcome {
        wait_for(STEP, REQUEUED, || {
            let log = self.log(0)?;
            let requeued = log.iter().filter(|entry| entry.action == OnMap::Requeue).count();
            Ok(if requeued >= count { Ok(()) } else { Err(list(&log)) })
        })
    }

    /// Waits until nothing is below the targets and `count` bios have come back from there.
    pub fn has_ended(&self, count: u64) -> Outcome {
        wait_for(STEP, ALL_ENDED, || {
            let status = self.status()?;
            let ended: u64 = status.iter().map(|target| target.ended).sum();
            Ok(if ended >= count { Ok(()) } else { Err(show(&status)) })
        })
    }

    /// Waits until a suspend that was started has called `presuspend()` of a target whose gate is closed.
    pub fn waits_at_the_gate(&self) -> Outcome {
        wait_for(STEP, AT_THE_GATE, || {
            let status = self.status()?;
            let waits = status.iter().any(|target| target.gate == Gate::Waiting);
            Ok(if waits { Ok(()) } else { Err(show(&status)) })
        })
    }

    /// The kernel's hooks for this map; without them the case is skipped.
    pub fn hooks(&self) -> Outcome<Observed> {
        Observed::require(self.map.device())
    }

    /// What the core counted so far, on a kernel that does.
    fn counted(&self) -> Outcome<Option<Counters>> {
        Observed::of(self.map.device()).map(|hooks| hooks.counters()).transpose()
    }

    /// Suspends the map.
    pub fn suspend(&self, flush: Flush) -> Outcome {
        self.map.suspend(flush)
    }

    /// Loads the same table once more: its targets behave like linear.
    pub fn load_again(&self) -> Outcome {
        self.map.load(&self.table)
    }

    /// Resumes the suspended map.
    pub fn resume(&self) -> Outcome {
        self.map.resume(Flush::Flush)
    }

    /// Starts a suspend, which waits at the gate or for I/O.
    pub fn start_suspend(&self, flush: Flush) -> Outcome<Started> {
        self.start_call(move |map| map.suspend(flush))
    }

    /// Starts a resume with a table that was loaded: it suspends first.
    pub fn start_resume(&self, flush: Flush) -> Outcome<Started> {
        self.start_call(move |map| map.resume(flush))
    }

    fn start_call(&self, call: impl FnOnce(Map) -> Outcome + Send + 'static) -> Outcome<Started> {
        let map = self.map.clone();
        thread::Builder::new()
            .name("dmsetup".to_owned())
            .spawn(move || call(map))
            .guest("start a thread")
            .map(Started)
    }

    /// After a case that did not get to its end: nothing that was told keeps I/O or a suspend from ending.
    pub(super) fn let_go(&self, io_is_pending: bool) -> Outcome {
        if io_is_pending || self.gate_is_closed.get() { self.tell(&[Order::Reset]) } else { Ok(()) }
    }
}

/// A call of `dmsetup` under way.
#[derive(Debug)]
pub struct Started(JoinHandle<Outcome>);

impl Started {
    /// Waits for its end, which has a deadline.
    pub fn succeeds(self) -> Outcome {
        self.0.join().unwrap_or_else(|_| Err(Failure::guest("a thread with dmsetup panicked")))
    }
}

/// I/O that was submitted together to a [`TestMap`].
#[derive(Debug)]
pub struct TestIo {
    batch: Rc<Batch>,
    map: TestMap,
    /// What the core had counted when it was submitted.
    before: Option<Counters>,
}

impl TestIo {
    /// How many are pending, succeeded, failed.
    pub fn tally(&self) -> Tally {
        self.batch.tally()
    }

    /// Where each one stands.
    pub fn results(&self) -> Vec<IoResult> {
        self.batch.results()
    }

    /// The targets hold all of it, which makes so many `pieces`; nothing is below, nothing has come back.
    pub fn is_held(&self, pieces: u64) -> Outcome {
        self.is_at(HELD, Place::Target(pieces))
    }

    /// The core of the suspended map holds all of it; nothing is in a target or below, nothing has come back. On an
    /// observed kernel the core also must have counted as many: an I/O that ended a moment ago is nowhere either.
    pub fn is_pushed_back_to_the_core(&self) -> Outcome {
        self.is_at(PUSHED_BACK, Place::Core)
    }

    fn is_at(&self, name: &str, wanted: Place) -> Outcome {
        let seen = wait_for(STEP, name, || {
            let targets = self.map.status()?;
            let map = evidence::read(self.map.map.device(), QueueMode::Bio);
            let added = self.added()?;
            // The tally last: of what returns meanwhile nothing is taken for being in the core.
            let tally = self.batch.tally();
            let place = place(&targets, &map, &tally);
            let mut seen = format!("{tally}; {place}; {}", show(&targets));
            if let Some(added) = added {
                let _ = write!(seen, "; the core counted {added} pushed back");
            }
            if !tally.all_pending() {
                return Err(Failure::assertion(name, seen));
            }
            let counted = wanted != Place::Core || added.is_none_or(|added| added >= tally.total as u64);
            Ok(if place == wanted && counted { Ok(seen) } else { Err(seen) })
        })?;
        happened(name, &[("seen", &seen)]);
        Ok(())
    }

    /// How much the core counted as pushed back since it was submitted, on a kernel that counts.
    fn added(&self) -> Outcome<Option<u64>> {
        Ok(self.map.counted()?.zip(self.before).map(|(now, before)| now.since(before).added))
    }

    /// Waits until the core has counted the first of it, on a kernel that counts; none has returned by then.
    pub fn starts_to_be_pushed_back(&self) -> Outcome {
        wait_for(STEP, NONE_RETURNS, || {
            let added = self.added()?.unwrap_or(0);
            let tally = self.batch.tally();
            let seen = format!("{tally}; the core counted {added}");
            if !tally.all_pending() {
                return Err(Failure::assertion(NONE_RETURNS, seen));
            }
            Ok(if added > 0 { Ok(()) } else { Err(seen) })
        })
    }

    /// All of it completes without an error.
    pub fn succeeds(&self) -> Outcome {
        self.batch.wait_all_ok(STEP, SUCCEEDS).map(drop)
    }

    /// All of it comes back, with EIO.
    pub fn fails_with_eio(&self) -> Outcome {
        let tally = self.batch.wait_all_completed(STEP, COMES_BACK)?;
        ensure(tally.all_failed_with(nix::libc::EIO), FAILS, &tally)
    }

    /// All of it comes back: with success, or with EIO and nothing internal.
    pub fn comes_back_with_success_or_eio(&self) -> Outcome<Tally> {
        let tally = self.batch.wait_all_completed(STEP, COMES_BACK)?;
        let eio = tally.failed.get(&nix::libc::EIO).copied().unwrap_or(0);
        ensure(tally.ok + eio == tally.total, FAILS, &tally)?;
        Ok(tally)
    }
}

/// The entries say that `map()` saw each of `specs` exactly once, in any order.
pub fn reissued_once(log: &[Mapped], specs: &[Spec]) -> Outcome {
    let mut wanted: Vec<_> = specs.iter().map(sectors).collect();
    let mut seen: Vec<_> = log.iter().map(|entry| (entry.sector.0, entry.sectors)).collect();
    wanted.sort_unstable();
    seen.sort_unstable();
    ensure(wanted == seen && log.iter().all(|entry| entry.times == 1), REISSUED_ONCE, list(log))
}

/// They say that it saw them in this order.
pub fn reissued_in_order(log: &[Mapped], specs: &[Spec]) -> Outcome {
    let seen = log.iter().map(|entry| (entry.sector.0, entry.sectors));
    ensure(seen.eq(specs.iter().map(sectors)), REISSUED_IN_ORDER, list(log))
}

fn sectors(spec: &Spec) -> (u64, u64) {
    (spec.offset() / 512, spec.bytes() / 512)
}

fn list(log: &[Mapped]) -> String {
    let entries: Vec<_> = log.iter().map(ToString::to_string).collect();
    format!("map() saw: {}", entries.join(", "))
}

fn show(targets: &[TestStatus]) -> String {
    let each: Vec<_> = targets.iter().map(ToString::to_string).collect();
    each.join("; ")
}
