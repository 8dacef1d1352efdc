// SPDX-License-Identifier: GPL-2.0-only
//! Who does what since when. The actors of a storm write it down before each call into the kernel; whoever reads it finds
//! a call that does not return while the caller can't.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use nix::unistd::{Pid, gettid};

use crate::assertions::returns;
use crate::dm::tool::whereabouts;
use crate::failure::{Failure, Outcome};
use crate::wait::scaled;

/// How many steps of each actor are remembered for the message of a failure.
const REMEMBERED: usize = 6;

/// A call under way.
#[derive(Debug, Clone)]
struct Doing {
    what: &'static str,
    thread: Pid,
    since: Instant,
    /// It may wait for I/O, and so for as long as there is no path.
    patient: bool,
}

#[derive(Debug, Default)]
struct State {
    doing: Option<Doing>,
    last: VecDeque<String>,
    steps: usize,
}

/// What one actor writes down.
#[derive(Debug, Clone)]
pub struct Entry {
    name: &'static str,
    state: Arc<Mutex<State>>,
    stop: Arc<AtomicBool>,
}

impl Entry {
    /// Whether to go on.
    pub fn goes_on(&self) -> bool {
        !self.stop.load(Ordering::Relaxed)
    }

    /// Begins a step, after its pause. `false`: it is over before that.
    pub fn step(&self, pause: Duration, told: String) -> bool {
        thread::sleep(pause);
        let mut state = lock(&self.state);
        state.steps += 1;
        if state.last.len() == REMEMBERED {
            state.last.pop_front();
        }
        state.last.push_back(told);
        drop(state);
        self.goes_on()
    }

    /// Makes a call that must return soon; `what` is a noun of [`crate::assertions`], such as `suspend`.
    pub fn calls<T>(&self, what: &'static str, call: impl FnOnce() -> T) -> T {
        self.call(what, false, call)
    }

    /// Makes a call that may wait until the I/O is through.
    pub fn waits<T>(&self, what: &'static str, call: impl FnOnce() -> T) -> T {
        self.call(what, true, call)
    }

    fn call<T>(&self, what: &'static str, patient: bool, call: impl FnOnce() -> T) -> T {
        let doing = Doing { what, thread: gettid(), since: Instant::now(), patient };
        lock(&self.state).doing = Some(doing);
        let result = call();
        lock(&self.state).doing = None;
        result
    }
}

/// The board.
#[derive(Debug, Default)]
pub struct Board {
    entries: Vec<Entry>,
    stop: Arc<AtomicBool>,
}

impl Board {
    /// A place for one more actor.
    pub fn entry(&mut self, name: &'static str) -> Entry {
        let entry = Entry { name, state: Arc::default(), stop: Arc::clone(&self.stop) };
        self.entries.push(entry.clone());
        entry
    }

    /// Asks everybody to end.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }

    /// Fails the assertion `CALL returns` if a call takes longer than `limit` (before scaling). Patient ones count only
    /// from `io_is_through` on, the moment after which nothing they could wait for is left.
    pub fn check(&self, limit: Duration, io_is_through: Option<Instant>) -> Outcome {
        let limit = scaled(limit);
        for entry in &self.entries {
            let Some(doing) = lock(&entry.state).doing.clone() else { continue };
            let from = match (doing.patient, io_is_through) {
                (false, _) => doing.since,
                (true, Some(through)) => doing.since.max(through),
                (true, None) => continue,
            };
            if from.elapsed() > limit {
                let (seconds, place) = (from.elapsed().as_secs_f64(), whereabouts(doing.thread));
                return Err(Failure::assertion(
                    returns(doing.what),
                    format_args!("the {} waits for it since {seconds:.1} s: {place}", entry.name),
                ));
            }
        }
        Ok(())
    }

    /// How many steps each made: `reloader 12, breaker 20`.
    pub fn steps(&self) -> String {
        let one = |entry: &Entry| format!("{} {}", entry.name, lock(&entry.state).steps);
        self.entries.iter().map(one).collect::<Vec<_>>().join(", ")
    }

    /// The last steps of each, one line each.
    pub fn last_steps(&self) -> String {
        let mut text = String::new();
        for entry in &self.entries {
            let state = lock(&entry.state);
            let first = state.steps - state.last.len();
            for (number, step) in (first + 1..).zip(&state.last) {
                let _ = writeln!(text, "{} {number}: {step}", entry.name);
            }
        }
        text
    }
}

/// What is under these locks is replaced as a whole.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn a_call_that_does_not_return_is_named() {
        let mut board = Board::default();
        let (slow, _idle) = (board.entry("reloader"), board.entry("breaker"));
        let (started, is_started) = mpsc::channel();
        let (end, is_over) = mpsc::channel::<()>();
        let work = thread::spawn(move || {
            slow.calls("suspend", || {
                started.send(()).unwrap();
                is_over.recv()
            })
        });
        is_started.recv().unwrap();
        board.check(Duration::from_secs(60), None).unwrap();
        let failure = board.check(Duration::ZERO, None).unwrap_err();
        assert!(matches!(&failure, Failure::Assertion { assertion, .. } if assertion == "suspend returns"));
        assert!(failure.to_string().contains("the reloader waits"), "{failure}");
        end.send(()).unwrap();
        work.join().unwrap().unwrap();
        board.check(Duration::ZERO, None).unwrap();
    }

    #[test]
    fn who_waits_for_io_has_time_until_it_is_through() {
        let mut board = Board::default();
        let entry = board.entry("settings");
        entry.waits("setting", || {
            board.check(Duration::ZERO, None).unwrap();
            let through = Instant::now();
            thread::sleep(Duration::from_millis(1));
            board.check(Duration::ZERO, Some(through)).unwrap_err();
        });
    }

    #[test]
    fn the_last_steps_are_remembered() {
        let mut board = Board::default();
        let entry = board.entry("reloader");
        for n in 1..=8 {
            assert!(entry.step(Duration::ZERO, format!("step {n}")));
        }
        board.stop();
        assert!(!entry.step(Duration::ZERO, "late".to_owned()));
        assert_eq!(board.steps(), "reloader 9");
        let last = board.last_steps();
        assert!(last.starts_with("reloader 4: step 4\n") && last.ends_with("reloader 9: late\n"), "{last}");
    }
}
