// SPDX-License-Identifier: GPL-2.0-only
//! One storm from its set-up to its end: starts the actors, carries the I/O, watches that every call returns, and then
//! proves that the map is as good as before.

use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, TryRecvError};
use std::thread;
use std::time::{Duration, Instant};

use crate::bench::Bench;
use crate::bench::io::{COMES_BACK, STEP};
use crate::bench::multipath::MultipathMap;
use crate::case::full_name;
use crate::condition::{Fault, SuspendForm};
use crate::dm::Flush::Noflush;
use crate::dm::NoPath;
use crate::failure::{Failure, GuestContext as _, Outcome};
use crate::report;
use crate::wait::{scaled, wait_for};

use super::Stress;
use super::actors::{break_paths, change_settings, reload};
use super::board::{Board, Entry};
use super::load::Load;
use super::schedule::{Profile, Schedule};
use super::world::World;

/// How many exchanges of the table a storm has that is not asked for a time.
const STEPS: usize = 8;
/// How long a call may take, before scaling; a path that is deleted or scanned for is waited for as long.
pub(super) const CALL: Duration = Duration::from_secs(10);
/// How often a long storm says that it goes on; less than the host's patience with silence.
pub(super) const SIGN_OF_LIFE: Duration = Duration::from_secs(2);
/// The actors end after the calls that they are in.
pub const ENDS: &str = "the storm ends";

/// An actor that was started.
pub(super) struct Actor {
    name: &'static str,
    ended: Receiver<Outcome>,
    result: Option<Outcome>,
}

impl Actor {
    pub(super) fn start(
        entry: Entry,
        name: &'static str,
        work: impl FnOnce(&Entry) -> Outcome + Send + 'static,
    ) -> Outcome<Self> {
        let (done, ended) = mpsc::sync_channel(1);
        let run = move || {
            let _nobody_waits = done.send(work(&entry));
        };
        thread::Builder::new().name(name.to_owned()).spawn(run).guest("start a thread")?;
        Ok(Self { name, ended, result: None })
    }

    /// Whether it has ended; fails with what it failed with.
    pub(super) fn has_ended(&mut self) -> Outcome<bool> {
        if self.result.is_none() {
            self.result = match self.ended.try_recv() {
                Ok(result) => Some(result),
                Err(TryRecvError::Empty) => return Ok(false),
                Err(TryRecvError::Disconnected) => {
                    Some(Err(Failure::guest(format_args!("the {} panicked", self.name))))
                }
            };
        }
        self.result.clone().unwrap_or(Ok(())).map(|()| true)
    }
}

/// A storm under way.
struct Storm {
    stress: Stress,
    world: Arc<World>,
    board: Board,
    reloader: Actor,
    breaker: Actor,
    settings: Option<Actor>,
    load: Load,
}

/// Makes a map over two paths, lets the storm of `case` loose on it, and proves what is left. The condition gives the queue
/// mode; everything else is in the profile.
pub fn run(bench: &mut Bench, case: &str, profile: &Profile) -> Outcome {
    let stress = bench.stress();
    let mut paths = bench.paths(2)?;
    let slow = (profile.held > 0).then(|| bench.holdable("gate", &paths[0])).transpose()?;
    if let Some(slow) = &slow {
        paths[0] = slow.path().clone();
    }
    let map = bench.multipath("map", &paths, NoPath::Queue)?;
    let name = full_name(case, &bench.condition());
    let schedule = Schedule::new(stress.seed, &name, profile, map.queue_mode(), paths.len());
    let world = Arc::new(World::new(&map, slow));
    report::happened("storm begins", &[("seed", &stress.seed)]);
    begins_over_queued_io(bench, &map, profile.forms)
        .map_err(|failure| with_seed(failure, stress, "before the first step"))?;
    let quiet = report::quietly();
    let mut storm = Storm::start(stress, world, &schedule, profile)?;
    let result = storm.run(bench, &map);
    storm.end();
    report::told("storm ended", &[("seed", &stress.seed), ("seen", &storm.describe())]);
    result.map_err(|failure| with_seed(failure, stress, &storm.describe()))?;
    drop(quiet);
    is_as_good_as_before(bench, &map)
}

/// Adds to a failure what brings it back, and where the storm was.
pub(super) fn with_seed(failure: Failure, stress: Stress, place: &str) -> Failure {
    let told = |text: &str| format!("{text}\nseed {}; {}", stress.seed, place.trim_end());
    match failure {
        Failure::Assertion { assertion, message } => {
            Failure::Assertion { assertion, message: told(&message) }
        }
        Failure::Guest(message) => Failure::Guest(told(&message)),
        skip @ Failure::Skip(_) => skip,
    }
}

/// The first exchange of a table finds I/O queued in the target for certain, whatever the seed says. It succeeds.
fn begins_over_queued_io(bench: &mut Bench, map: &MultipathMap, forms: &[SuspendForm]) -> Outcome {
    map.fail_every_path(Fault::Message)?;
    let io = bench.submit(map)?;
    io.is_queued_in_the_target()?;
    if forms.contains(&SuspendForm::Explicit) {
        map.suspend(Noflush)?;
    }
    map.load(map.paths())?;
    map.resume_with(Noflush)?;
    io.succeeds()
}

/// I/O succeeds, nothing of it is left in the map, which still queues, and the data is right.
fn is_as_good_as_before(bench: &mut Bench, map: &MultipathMap) -> Outcome {
    map.still_queues_without_paths()?;
    let io = bench.submit(map)?;
    io.succeeds()?;
    io.leaves_nothing_in_the_map()?;
    bench.data_is_what_was_written()
}

impl Storm {
    fn start(stress: Stress, world: Arc<World>, schedule: &Schedule, profile: &Profile) -> Outcome<Self> {
        let mut board = Board::default();
        let steps = if stress.seconds.is_some() { usize::MAX } else { STEPS };
        let (reloads, breaks) = (schedule.reloads().take(steps), schedule.breaks());
        let load = Load::new(world.map(), schedule);
        let (a, b, c) = (Arc::clone(&world), Arc::clone(&world), Arc::clone(&world));
        let breaker =
            Actor::start(board.entry("breaker"), "breaker", move |entry| break_paths(&b, entry, breaks))?;
        let settings = profile.settings.then(|| {
            let settings = schedule.settings();
            Actor::start(board.entry("settings"), "settings", move |entry| {
                change_settings(&c, entry, settings)
            })
        });
        let settings = settings.transpose()?;
        let reloader =
            Actor::start(board.entry("reloader"), "reloader", move |entry| reload(&a, entry, reloads))?;
        Ok(Self { stress, world, board, reloader, breaker, settings, load })
    }

    fn run(&mut self, bench: &mut Bench, map: &MultipathMap) -> Outcome {
        self.rages(bench)?;
        self.board.stop();
        wait_for(CALL, ENDS, || {
            self.looks(bench, false)?;
            let ended = self.reloader.has_ended()? && self.breaker.has_ended()?;
            Ok(if ended { Ok(()) } else { Err("an actor is in a call".to_owned()) })
        })?;
        // Every path works again. The last exchange is made by dmsetup, as somebody would who cleans up.
        map.load(&self.world.paths())?;
        map.resume_with(Noflush)?;
        wait_for(STEP, COMES_BACK, || {
            let idle = self.looks(bench, false)?;
            Ok(if idle { Ok(()) } else { Err(self.load.under_way()) })
        })?;
        let through = Instant::now();
        wait_for(CALL, ENDS, || {
            self.board.check(STEP, Some(through))?;
            let ended = self.settings.as_mut().map_or(Ok(true), Actor::has_ended)?;
            Ok(if ended { Ok(()) } else { Err("a setting is being changed".to_owned()) })
        })
    }

    /// Until the reloader has done its steps, or the time is over.
    fn rages(&mut self, bench: &mut Bench) -> Outcome {
        let started = Instant::now();
        let time = self.stress.seconds.map(|seconds| Duration::from_secs(seconds.into()));
        // Without a time, each of the steps may take as long as a call may.
        let limit = time.unwrap_or(CALL) + CALL;
        let mut sign = Instant::now();
        wait_for(limit, ENDS, || {
            self.looks(bench, true)?;
            if sign.elapsed() > SIGN_OF_LIFE {
                sign = Instant::now();
                report::told("storm goes on", &[("seen", &self.describe())]);
            }
            let over = time.is_some_and(|time| started.elapsed() > time);
            self.breaker.has_ended()?;
            self.settings.as_mut().map_or(Ok(true), Actor::has_ended)?;
            Ok(if over || self.reloader.has_ended()? { Ok(()) } else { Err(self.describe()) })
        })
    }

    fn looks(&mut self, bench: &mut Bench, more: bool) -> Outcome<bool> {
        self.board.check(CALL, None)?;
        self.load.goes_on(bench, &self.world.interruptions(), more)
    }

    /// After a failure: whoever can end does, so that the clean-up is alone.
    fn end(&mut self) {
        self.board.stop();
        let limit = scaled(STEP);
        let start = Instant::now();
        let actors = [Some(&mut self.reloader), Some(&mut self.breaker), self.settings.as_mut()];
        for actor in actors.into_iter().flatten() {
            while actor.has_ended().is_ok_and(|ended| !ended) && start.elapsed() < limit {
                thread::sleep(Duration::from_millis(1));
            }
        }
    }

    fn describe(&self) -> String {
        let ended = self.load.ended;
        format!(
            "steps: {}; I/O: {} ok, {} EIO, under way {}; {} suspends were interrupted; last steps:\n{}",
            self.board.steps(),
            ended.ok,
            ended.eio,
            self.load.under_way(),
            self.world.interruptions().len(),
            self.board.last_steps()
        )
    }
}
