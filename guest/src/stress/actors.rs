// SPDX-License-Identifier: GPL-2.0-only
//! The actors that a storm has beside its I/O, each a thread: who exchanges tables, who breaks paths, who changes the
//! settings of the queue. They do what the schedule says and write each call on the board.

use std::fs;
use std::thread;
use std::time::Duration;

use nix::errno::Errno;

use crate::assertions::succeeds;
use crate::condition::Signal;
use crate::dm::Flush::{self, Noflush};
use crate::dm::{Direct, Suspender};
use crate::failure::{Failure, GuestContext as _, Outcome};
use crate::paths::Path;

use super::board::Entry;
use super::schedule::{Break, Reload, Setting, Timed};
use super::world::{Gate, World};

/// What an errno of a call means: the assertion `CALL succeeds`.
fn must(what: &'static str, result: Result<(), Errno>) -> Outcome {
    result.map_err(|errno| Failure::assertion(succeeds(what), format_args!("{errno}")))
}

fn text<T: serde::Serialize>(step: &Timed<T>) -> String {
    serde_json::to_string(step).unwrap_or_default()
}

/// Exchanges tables until the steps or the storm are over.
pub fn reload(world: &World, entry: &Entry, steps: impl Iterator<Item = Timed<Reload>>) -> Outcome {
    let direct = world.direct()?;
    for timed in steps {
        if !entry.step(timed.pause(), text(&timed)) {
            break;
        }
        match timed.step {
            Reload::Explicit { load, suspended } => {
                must("suspend", entry.calls("suspend", || direct.suspend(Noflush)))?;
                thread::sleep(Duration::from_micros(suspended.into()));
                if load {
                    load_table(world, entry, &direct)?;
                }
                must("resume", entry.calls("resume", || direct.resume(Flush::Flush)))?;
            }
            Reload::Implicit => {
                load_table(world, entry, &direct)?;
                must("resume", entry.calls("resume", || direct.resume(Noflush)))?;
            }
            Reload::Interrupted { after, signal } => {
                if interrupted(world, entry, Duration::from_micros(after.into()), signal)? {
                    load_table(world, entry, &direct)?;
                    must("resume", entry.calls("resume", || direct.resume(Flush::Flush)))?;
                }
            }
        }
    }
    Ok(())
}

fn load_table(world: &World, entry: &Entry, direct: &Direct) -> Outcome {
    let snapshot = world.snapshot();
    let result = entry.calls("load", || direct.load(&snapshot.table));
    if result.is_err() && world.may_refuse(&snapshot) { Ok(()) } else { must("load", result) }
}

/// A suspend with a signal; whether the map is suspended afterwards.
fn interrupted(world: &World, entry: &Entry, after: Duration, signal: Signal) -> Outcome<bool> {
    world.interruption_begins();
    let mut suspend = Suspender::start(world.map(), Noflush, signal)?;
    thread::sleep(after);
    suspend.interrupt()?;
    let result = entry.calls("suspend", || suspend.returns())?;
    world.interruption_ended();
    match result {
        Err(Errno::EINTR) => Ok(false),
        other => must("suspend", other).map(|()| true),
    }
}

/// Breaks paths until the storm is over. Each step leaves all of them working.
pub fn break_paths(world: &World, entry: &Entry, steps: impl Iterator<Item = Timed<Break>>) -> Outcome {
    let direct = world.direct()?;
    let gate = world.slow.as_ref().map(Gate::of).transpose()?;
    for timed in steps {
        if !entry.step(timed.pause(), text(&timed)) {
            break;
        }
        let paths = world.paths();
        let (broken, fault, down) = match timed.step {
            Break::One { path, fault, down } => (path..path + 1, fault, down),
            Break::All { fault, down } => (0..paths.len(), fault, down),
            Break::Hold { down, fails } => {
                if let Some(gate) = &gate {
                    hold(gate, entry, Duration::from_micros(down.into()), fails)?;
                }
                continue;
            }
        };
        let (which, gone): (Vec<usize>, Vec<Path>) =
            paths.into_iter().enumerate().filter(|(at, _)| broken.contains(at)).unzip();
        entry.calls("fault", || world.break_paths(&direct, &which, fault))?;
        thread::sleep(Duration::from_micros(down.into()));
        entry.calls("repair", || world.repair_paths(&direct, &which, &gone, fault))?;
    }
    Ok(())
}

fn hold(gate: &Gate<'_>, entry: &Entry, down: Duration, fails: bool) -> Outcome {
    must("suspend", entry.calls("suspend", || gate.hold()))?;
    thread::sleep(down);
    must("resume", entry.calls("resume", || if fails { gate.fail() } else { gate.let_go() }))
}

/// Changes the settings of the map's queue until the storm is over.
pub fn change_settings(world: &World, entry: &Entry, steps: impl Iterator<Item = Timed<Setting>>) -> Outcome {
    let folder = format!("/sys/dev/block/{}/queue", world.map().device());
    let schedulers = fs::read_to_string(format!("{folder}/scheduler")).guest("read the schedulers")?;
    for timed in steps {
        let Setting { name, value } = &timed.step;
        if name == "scheduler" && !schedulers.contains(value.as_str()) {
            continue;
        }
        if !entry.step(timed.pause(), text(&timed)) {
            break;
        }
        let written = entry.waits("setting", || fs::write(format!("{folder}/{name}"), value));
        written.map_err(|error| {
            Failure::assertion(succeeds("setting"), format_args!("{name} = {value}: {error}"))
        })?;
    }
    Ok(())
}
