// SPDX-License-Identifier: GPL-2.0-only
//! I/Os that were submitted together: who is pending, who completed, how, when and in which order.
//!
//! The engines call [`Shared::complete`]; the case looks and waits. A batch never blocks the case: dropped with
//! I/O pending, it leaves its threads (and with them the buffers that the kernel still uses) behind.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::time::{ClockId, clock_gettime};

use super::buffer::Buffer;
use super::model::{Model, Ticket};
use super::{BLOCK, Engine, IoKind, Spec};
use crate::failure::{Failure, Outcome};
use crate::report::happened;
use crate::wait::scaled;

/// The assertion that fails when a read that succeeded returned anything but what was written.
pub const READS_ARE_RIGHT: &str = "reads return what was written";

/// The assertion that fails when the kernel says of one I/O twice that it is complete.
pub const ENDS_ONCE: &str = "I/O ends exactly once";

/// Up to this many I/Os, each completion is an event of its own; beyond, only the first and the end are told.
const TOLD_ONE_BY_ONE: usize = 64;

/// Where one I/O stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IoState {
    /// Submitted, not completed.
    Pending,
    /// Completed as a whole.
    Ok,
    /// Completed with this errno.
    Failed(i32),
    /// Completed with fewer bytes than asked for.
    Short(u64),
}

/// What is known about one I/O.
#[derive(Debug, Clone, PartialEq)]
pub struct IoResult {
    /// The I/O.
    pub spec: Spec,
    /// Of a write: the generation that its blocks carry.
    pub generation: Option<u32>,
    /// Where it stands.
    pub state: IoState,
    /// It was the n-th of its batch to complete, from 0.
    pub order: Option<usize>,
    /// Seconds on `CLOCK_MONOTONIC`.
    pub submitted: f64,
    /// Seconds on `CLOCK_MONOTONIC`.
    pub completed: Option<f64>,
    /// What a read returned wrongly.
    pub wrong: Option<String>,
}

/// How many I/Os of a batch stand where.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tally {
    /// All of them.
    pub total: usize,
    /// Submitted, not completed.
    pub pending: usize,
    /// Completed as a whole.
    pub ok: usize,
    /// Completed with fewer bytes than asked for.
    pub short: usize,
    /// Completed with an errno.
    pub failed: BTreeMap<i32, usize>,
}

impl Tally {
    /// Every I/O is pending.
    pub fn all_pending(&self) -> bool {
        self.pending == self.total
    }

    /// Every I/O completed, one way or another.
    pub fn all_completed(&self) -> bool {
        self.pending == 0
    }

    /// Every I/O succeeded.
    pub fn all_ok(&self) -> bool {
        self.ok == self.total
    }

    /// Those of this batch and those of another.
    #[must_use]
    pub fn and(mut self, other: &Self) -> Self {
        self.total += other.total;
        self.pending += other.pending;
        self.ok += other.ok;
        self.short += other.short;
        for (errno, count) in &other.failed {
            *self.failed.entry(*errno).or_default() += count;
        }
        self
    }

    /// Every I/O failed with `errno`.
    pub fn all_failed_with(&self, errno: i32) -> bool {
        self.failed.get(&errno) == Some(&self.total)
    }
}

/// `32 I/Os: 30 pending, 1 ok, 1 EIO`.
impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let failed = self.failed.iter().map(|(errno, count)| (*count, errno_name(*errno)));
        let known = [(self.pending, "pending"), (self.ok, "ok"), (self.short, "short")];
        let all = known.into_iter().map(|(count, name)| (count, name.to_owned())).chain(failed);
        let parts: Vec<_> =
            all.filter(|(count, _)| *count > 0).map(|(count, name)| format!("{count} {name}")).collect();
        write!(f, "{} I/Os: {}", self.total, parts.join(", "))
    }
}

/// `EIO`; `errno 523` for a number that has no name (one that should have stayed inside the kernel).
fn errno_name(errno: i32) -> String {
    match Errno::from_raw(errno) {
        Errno::UnknownErrno => format!("errno {errno}"),
        known => format!("{known:?}"),
    }
}

impl fmt::Display for IoState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pending => f.write_str("pending"),
            Self::Ok => f.write_str("ok"),
            Self::Failed(errno) => f.write_str(&errno_name(*errno)),
            Self::Short(bytes) => write!(f, "short ({bytes} bytes)"),
        }
    }
}

/// What the engine and the case share.
#[derive(Debug)]
pub(super) struct Shared {
    model: Arc<Mutex<Model>>,
    tickets: Vec<Ticket>,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug)]
struct State {
    results: Vec<IoResult>,
    tally: Tally,
    /// The engine can't go on: why.
    broken: Option<String>,
    wrong: Option<String>,
    /// What completed again.
    twice: Option<String>,
}

/// One I/O on its way to an engine, with the memory that it needs.
#[derive(Debug)]
pub(super) struct Job {
    /// Index in the batch.
    pub index: usize,
    /// The I/O.
    pub spec: Spec,
    /// Data of a write, room for a read, nothing where there is none of either.
    pub buffer: Option<Buffer>,
}

impl Shared {
    pub(super) fn new(model: Arc<Mutex<Model>>, tickets: Vec<Ticket>) -> Self {
        let submitted = now();
        let result = |ticket: &Ticket| IoResult {
            spec: ticket.spec,
            generation: ticket.generation,
            state: IoState::Pending,
            order: None,
            submitted,
            completed: None,
            wrong: None,
        };
        let results: Vec<_> = tickets.iter().map(result).collect();
        let tally = Tally { total: results.len(), pending: results.len(), ..Tally::default() };
        let state = Mutex::new(State { results, tally, broken: None, wrong: None, twice: None });
        Self { model, tickets, state, changed: Condvar::new() }
    }

    /// The I/O `job` completed with `outcome` (bytes, or an errno). `false`: it had completed before.
    pub(super) fn complete(&self, job: &Job, outcome: Result<u64, i32>) -> bool {
        let completed = now();
        {
            let mut shared = lock(&self.state);
            if let Some(first) = shared.results.get(job.index).filter(|first| first.order.is_some()) {
                let again = format!("{} ended: {}, and again: {outcome:?}", job.spec, first.state);
                shared.twice.get_or_insert(again);
                self.changed.notify_all();
                return false;
            }
        }
        let state = match outcome {
            Err(errno) => IoState::Failed(errno),
            Ok(bytes) if bytes == job.spec.bytes() => IoState::Ok,
            Ok(bytes) => IoState::Short(bytes),
        };
        // The model first: who sees the batch completed may verify the disk.
        let wrong = self.note_in_model(job, state);
        let mut shared = lock(&self.state);
        let order = shared.tally.total - shared.tally.pending;
        shared.tally.pending -= 1;
        match state {
            IoState::Failed(errno) => *shared.tally.failed.entry(errno).or_default() += 1,
            IoState::Short(_) => shared.tally.short += 1,
            _ => shared.tally.ok += 1,
        }
        shared.wrong = shared.wrong.take().or_else(|| wrong.clone());
        if let Some(result) = shared.results.get_mut(job.index) {
            *result =
                IoResult { state, order: Some(order), completed: Some(completed), wrong, ..result.clone() };
        }
        let tally = shared.tally.clone();
        self.changed.notify_all();
        drop(shared);
        report_completion(job, state, order, &tally);
        true
    }

    fn note_in_model(&self, job: &Job, state: IoState) -> Option<String> {
        let ticket = self.tickets.get(job.index)?;
        let mut model = lock(&self.model);
        let wrong = match (&job.buffer, state) {
            (Some(buffer), IoState::Ok) if job.spec.kind == IoKind::Read => (job.spec.block..)
                .zip(buffer.bytes().chunks_exact(BLOCK as usize))
                .find_map(|(block, bytes)| model.check(block, ticket.submitted, bytes).err()),
            _ => None,
        };
        let wrong = wrong.map(|seen| format!("{} returned: {seen}", job.spec));
        if let Some(seen) = &wrong {
            model.note_wrong_read(seen.clone());
        }
        model.end(ticket, state == IoState::Ok);
        wrong
    }

    /// The engine can't go on.
    pub(super) fn give_up(&self, why: String) {
        lock(&self.state).broken = Some(why);
        self.changed.notify_all();
    }
}

/// Tells a completion, within reason: thousands of events would fill the port to the host.
fn report_completion(job: &Job, state: IoState, order: usize, tally: &Tally) {
    if tally.total <= TOLD_ONE_BY_ONE || order == 0 {
        happened("io completed", &[("io", &job.spec), ("state", &state), ("order", &order)]);
    }
    if tally.all_completed() {
        happened("io batch completed", &[("tally", tally)]);
    }
}

/// What keeps the device open.
#[derive(Debug)]
struct Held {
    threads: Vec<JoinHandle<()>>,
    file: Arc<File>,
}

/// I/Os that were submitted together. Dropping it never blocks; see `finish`.
#[derive(Debug)]
pub struct Batch {
    shared: Arc<Shared>,
    engine: Engine,
    /// `None` once all has completed and was waited for.
    held: Mutex<Option<Held>>,
}

impl Batch {
    pub(super) fn new(
        shared: Arc<Shared>,
        engine: Engine,
        threads: Vec<JoinHandle<()>>,
        file: Arc<File>,
    ) -> Self {
        Self { shared, engine, held: Mutex::new(Some(Held { threads, file })) }
    }

    /// How many stand where, now.
    pub fn tally(&self) -> Tally {
        lock(&self.shared.state).tally.clone()
    }

    /// Where each one stands, now; in the order in which they were given.
    pub fn results(&self) -> Vec<IoResult> {
        lock(&self.shared.state).results.clone()
    }

    /// Indices of the I/Os that completed, first completion first.
    pub fn completion_order(&self) -> Vec<usize> {
        let results = self.results();
        let mut order: Vec<_> = (0..results.len()).filter(|i| results[*i].order.is_some()).collect();
        order.sort_by_key(|i| results[*i].order);
        order
    }

    /// Which engine carries it.
    pub const fn engine(&self) -> Engine {
        self.engine
    }

    /// Waits until `condition` holds, or fails the assertion `name` when the (scaled) deadline expires or when all
    /// I/O has completed without it. A read that returned wrong data fails the assertion [`READS_ARE_RIGHT`].
    ///
    /// When it returns with nothing pending, the batch does not hold the device open any more.
    pub fn wait(&self, deadline: Duration, name: &str, condition: impl Fn(&Tally) -> bool) -> Outcome<Tally> {
        let limit = scaled(deadline);
        let start = Instant::now();
        let mut state = lock(&self.shared.state);
        loop {
            if let Some(why) = &state.broken {
                return Err(Failure::guest(why));
            }
            if let Some(seen) = &state.twice {
                return Err(Failure::assertion(ENDS_ONCE, seen));
            }
            if let Some(seen) = &state.wrong {
                return Err(Failure::assertion(READS_ARE_RIGHT, seen));
            }
            if condition(&state.tally) {
                break;
            }
            let waited = start.elapsed();
            if state.tally.all_completed() {
                return Err(Failure::assertion(name, format_args!("it ended otherwise: {}", state.tally)));
            }
            let Some(left) = limit.checked_sub(waited).filter(|left| !left.is_zero()) else {
                let waited = waited.as_secs_f64();
                return Err(Failure::assertion(
                    name,
                    format_args!("not within {waited:.1} s: {}", state.tally),
                ));
            };
            state = self.shared.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        let tally = state.tally.clone();
        drop(state);
        self.release(&tally);
        Ok(tally)
    }

    /// Waits until every I/O has succeeded.
    pub fn wait_all_ok(&self, deadline: Duration, name: &str) -> Outcome<Tally> {
        self.wait(deadline, name, Tally::all_ok)
    }

    /// Waits until every I/O has completed, one way or another.
    pub fn wait_all_completed(&self, deadline: Duration, name: &str) -> Outcome<Tally> {
        self.wait(deadline, name, Tally::all_completed)
    }

    /// Ends the batch with its last tally. Never blocks: I/O that is still pending is left to the kernel.
    pub fn finish(self) -> Outcome<Tally> {
        self.wait(Duration::ZERO, READS_ARE_RIGHT, |_| true)
    }

    /// With nothing pending, ends the threads and closes the device. The join is short: the last completion was
    /// reported. It matters that the file is closed after it: the end of a submitting thread waits for its io-wq
    /// workers (`io_uring_clean_tctx`), which hold the file a little longer than the completion takes to arrive.
    fn release(&self, tally: &Tally) {
        if !tally.all_completed() {
            return;
        }
        if let Some(Held { threads, file }) = lock(&self.held).take() {
            for thread in threads {
                // A panic in there was reported by the panic hook; the tally stands.
                let _panicked = thread.join();
            }
            drop(file);
        }
    }
}

impl Drop for Batch {
    fn drop(&mut self) {
        let tally = self.tally();
        if !tally.all_completed() {
            happened("io abandoned", &[("tally", &tally)]);
        }
        self.release(&tally);
    }
}

/// Seconds on `CLOCK_MONOTONIC`, the clock of every event.
fn now() -> f64 {
    clock_gettime(ClockId::CLOCK_MONOTONIC).map_or(0.0, |time| Duration::from(time).as_secs_f64())
}

/// A lock that a panicking holder can't take away: all changes under these locks are single assignments.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_completion_is_no_completion_of_another() {
        let specs = super::super::writes(2);
        let mut model = Model::new(1, 8);
        model.filled();
        let tickets: Vec<Ticket> = specs.iter().map(|spec| model.begin(*spec)).collect();
        let shared = Shared::new(Arc::new(Mutex::new(model)), tickets);
        let job = Job { index: 0, spec: specs[0], buffer: None };
        assert!(shared.complete(&job, Ok(job.spec.bytes())));
        assert!(!shared.complete(&job, Err(5)));
        let file = Arc::new(tempfile::tempfile().expect("a file"));
        let batch = Batch::new(Arc::new(shared), Engine::IoUring, vec![], file);
        assert_eq!(batch.tally().to_string(), "2 I/Os: 1 pending, 1 ok");
        let failure = batch.wait_all_completed(Duration::ZERO, "all I/O comes back").map(drop);
        let seen = Failure::assertion(ENDS_ONCE, "write 0+1 ended: ok, and again: Err(5)");
        assert_eq!(failure, Err(seen));
    }
}
