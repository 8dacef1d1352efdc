// SPDX-License-Identifier: GPL-2.0-only
//! Maps that are removed while they queue I/O: again and again, in each way that somebody removes one, while somebody else
//! suspends and resumes it. Whatever comes first, the I/O ends, every call returns, and the map goes.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::libc;

use crate::bench::Bench;
use crate::bench::fault::repair;
use crate::bench::io::{COMES_BACK, STEP};
use crate::case::full_name;
use crate::dm::Flush::{self, Noflush};
use crate::dm::remove::remove;
use crate::dm::{Direct, NoPath, Table};
use crate::failure::{Outcome, ensure};
use crate::io::{Batch, Engine};
use crate::paths::Path;
use crate::report;
use crate::wait::wait_for;

use super::board::{Board, Entry};
use super::schedule::{Profile, Removal, Schedule, Timed, Way};
use super::storm::{Actor, CALL, SIGN_OF_LIFE, with_seed};
use super::world::World;

/// How many maps a run has that is not asked for a time.
const MAPS: usize = 4;
/// Between two tries to remove a map that is in use.
const AGAIN: Duration = Duration::from_millis(2);
/// In whichever way it was removed: it is gone when nobody uses it any more.
pub const GOES: &str = "the map goes";

/// Makes and removes maps as the schedule of `case` says.
pub fn run(bench: &mut Bench, case: &str, profile: &Profile) -> Outcome {
    let stress = bench.stress();
    let mut paths = bench.paths(2)?;
    let name = full_name(case, &bench.condition());
    let schedule = Schedule::new(stress.seed, &name, profile, bench.queue_mode(), paths.len());
    let time = stress.seconds.map(|seconds| Duration::from_secs(seconds.into()));
    let maps = if time.is_some() { usize::MAX } else { MAPS };
    let started = Instant::now();
    report::happened("storm begins", &[("seed", &stress.seed)]);
    let quiet = report::quietly();
    let mut sign = Instant::now();
    for (number, timed) in (1..).zip(schedule.removals().take(maps)) {
        if time.is_some_and(|time| started.elapsed() > time) {
            break;
        }
        if sign.elapsed() > SIGN_OF_LIFE {
            sign = Instant::now();
            report::told("storm goes on", &[("maps", &number)]);
        }
        let place = format!("map {number}: {}", serde_json::to_string(&timed).unwrap_or_default());
        paths = one_map(bench, &paths, timed).map_err(|failure| with_seed(failure, stress, &place))?;
    }
    drop(quiet);
    bench.data_is_what_was_written()
}

/// One map from its creation to its end; the paths as they are afterwards.
fn one_map(bench: &mut Bench, paths: &[Path], timed: Timed<Removal>) -> Outcome<Vec<Path>> {
    let Removal { fault, ref submit, way, race } = timed.step;
    let map = bench.multipath("map", paths, NoPath::Queue)?;
    let world = Arc::new(World::new(&map, None));
    let every: Vec<usize> = (0..paths.len()).collect();
    world.break_paths(&world.direct()?, &every, fault)?;
    let engine = if submit.threads { Engine::Threads } else { Engine::IoUring };
    let batch = bench.submit_in_a_storm(engine, map.map(), &submit.specs())?;
    thread::sleep(Duration::from_micros(timed.pause.into()));

    let mut board = Board::default();
    let io_ended = Arc::new(AtomicBool::new(false));
    let (a, b, ended) = (Arc::clone(&world), Arc::clone(&world), Arc::clone(&io_ended));
    let racer = move |entry: &Entry| suspend_meanwhile(&b, entry, &race);
    let mut racer = Actor::start(board.entry("racer"), "racer", racer)?;
    let remover = move |entry: &Entry| remove_in_a_way(&a, entry, way, &ended);
    let mut remover = Actor::start(board.entry("remover"), "remover", remover)?;

    let result = ends(&board, [&mut remover, &mut racer], &batch, &io_ended);
    board.stop();
    result?;
    // Its node, which dmsetup made.
    remove(&[map.map().name()])?;
    repair(fault, paths)
}

/// The I/O ends, then the actors do.
fn ends(board: &Board, actors: [&mut Actor; 2], batch: &Batch, io_ended: &AtomicBool) -> Outcome {
    let [remover, racer] = actors;
    wait_for(STEP, COMES_BACK, || {
        board.check(CALL, None)?;
        remover.has_ended()?;
        racer.has_ended()?;
        let tally = batch.tally();
        Ok(if tally.all_completed() { Ok(()) } else { Err(tally.to_string()) })
    })?;
    let tally = batch.wait_all_completed(Duration::ZERO, COMES_BACK)?;
    // Queueing was taken away: nothing but success and EIO is right.
    let eio = tally.failed.get(&libc::EIO).copied().unwrap_or(0);
    ensure(tally.ok + eio == tally.total, COMES_BACK, &tally)?;
    io_ended.store(true, Ordering::Relaxed);
    wait_for(CALL, GOES, || {
        board.check(CALL, None)?;
        let over = remover.has_ended()? && racer.has_ended()?;
        Ok(if over { Ok(()) } else { Err(format!("steps: {}", board.steps())) })
    })
}

/// Suspends and resumes the map with noflush; it may be suspended already, or gone.
fn suspend_meanwhile(world: &World, entry: &Entry, race: &[(u32, u32)]) -> Outcome {
    let direct = world.direct()?;
    for (pause, suspended) in race {
        if !entry.step(Duration::from_micros((*pause).into()), format!("suspend for {suspended}")) {
            break;
        }
        let _refused: Result<(), Errno> = entry.calls("suspend", || direct.suspend(Noflush));
        thread::sleep(Duration::from_micros((*suspended).into()));
        let _refused: Result<(), Errno> = entry.calls("resume", || direct.resume(Flush::Flush));
    }
    Ok(())
}

/// Removes it in a way, and then does what is left to do until it is gone: somebody may have suspended it, or have turned
/// queueing on again by a resume.
fn remove_in_a_way(world: &World, entry: &Entry, way: Way, io_ended: &AtomicBool) -> Outcome {
    let direct = world.direct()?;
    // What is refused here is tried again below.
    let _refused: Result<(), Errno> = match way {
        Way::AtOnce => entry.calls("remove", || direct.remove(false)),
        Way::Deferred => entry.calls("remove", || direct.remove(true)),
        Way::FailFirst => entry
            .calls("message", || direct.message("fail_if_no_path"))
            .and(entry.calls("suspend", || direct.suspend(Flush::FlushNolockfs))),
        Way::Force => {
            let table = Table::error(world.map().length());
            entry.calls("load", || direct.load(&table)).and(entry.calls("resume", || direct.resume(Noflush)))
        }
    };
    while entry.goes_on() && !is_gone(entry, &direct, way) {
        if !io_ended.load(Ordering::Relaxed) {
            let _refused: Result<(), Errno> = entry.calls("resume", || direct.resume(Noflush));
            let _refused: Result<(), Errno> = entry.calls("message", || direct.message("fail_if_no_path"));
        }
        thread::sleep(AGAIN);
    }
    Ok(())
}

/// Tries to remove it. A deferred removal says yes to a map that is in use.
fn is_gone(entry: &Entry, direct: &Direct, way: Way) -> bool {
    match entry.calls("remove", || direct.remove(way == Way::Deferred)) {
        Ok(()) => way != Way::Deferred,
        Err(errno) => errno == Errno::ENXIO,
    }
}
