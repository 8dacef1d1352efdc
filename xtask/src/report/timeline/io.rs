// SPDX-License-Identifier: GPL-2.0-only
//! Where the I/O of a map was: how many were queued in the target, how many had been pushed back to the core, from the
//! tracepoints; and how many a case had under way, from its own reports.

use std::collections::BTreeMap;

use guest::trace::{Io, Step};

/// How many were where, from `t` on.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Places {
    /// Seconds since the case began.
    pub t: f64,
    /// The target keeps them.
    pub target: u32,
    /// The core has taken them back.
    pub core: u32,
}

/// A step after which an I/O is in neither place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mark {
    /// The core gave it to the target again.
    Reissued,
    /// It went back without an error.
    Completed,
    /// It went back with an error, or was refused instead of pushed back.
    Failed,
}

/// The I/O of one map.
#[derive(Debug, Default)]
pub struct Where {
    /// The map's name.
    pub map: String,
    /// In order of time.
    pub levels: Vec<Places>,
    /// In order of time.
    pub marks: Vec<(f64, Mark)>,
    /// By kind of request and first sector: a request that completes has forgotten its length.
    ios: BTreeMap<(String, u64), Held>,
}

/// I/Os that look the same, such as empty flushes.
#[derive(Debug, Default)]
struct Held {
    target: u32,
    core: u32,
    /// Given to the target again, and not yet seen there.
    out: u32,
}

/// Takes one off, if there is one.
fn take(count: &mut u32) -> bool {
    let some = *count > 0;
    *count -= u32::from(some);
    some
}

impl Held {
    fn step(&mut self, io: &Io) {
        match io.step {
            // blk-mq brings a request that the target keeps back every 100 ms: it is the same one.
            Step::Queued if io.kind == "rq" && self.target > 0 && self.out == 0 => {}
            Step::Queued => {
                let _ = take(&mut self.out);
                self.target += 1;
            }
            Step::PushedBack => {
                let _ = take(&mut self.target) || take(&mut self.out);
                self.core += 1;
            }
            Step::Refused => {
                if take(&mut self.target) || take(&mut self.core) {
                    self.out += 1;
                }
            }
            Step::Reissued => {
                if take(&mut self.core) || take(&mut self.target) {
                    self.out += 1;
                }
            }
            Step::Completed => {
                let _ = take(&mut self.out) || take(&mut self.target) || take(&mut self.core);
            }
        }
    }
}

impl Where {
    fn step(&mut self, t: f64, io: &Io) {
        let held = self.ios.entry((io.kind.clone(), io.sector)).or_default();
        let before = (held.target, held.core);
        held.step(io);
        let last = self.levels.last().copied().unwrap_or_default();
        let next = Places {
            t,
            target: last.target + held.target - before.0,
            core: last.core + held.core - before.1,
        };
        if (next.target, next.core) != (last.target, last.core) {
            self.levels.push(next);
        }
        let mark = match io.step {
            Step::Reissued => Mark::Reissued,
            Step::Completed if io.error == 0 => Mark::Completed,
            Step::Completed | Step::Refused => Mark::Failed,
            Step::Queued | Step::PushedBack => return,
        };
        self.marks.push((t, mark));
    }
}

/// Of all maps, in the order in which they had I/O.
#[derive(Debug, Default)]
pub struct AllPlaces(pub Vec<Where>);

impl AllPlaces {
    /// An I/O took a step.
    pub fn step(&mut self, t: f64, map: &str, io: &Io) {
        if !self.0.iter().any(|place| place.map == map) {
            self.0.push(Where { map: map.to_owned(), ..Where::default() });
        }
        if let Some(place) = self.0.iter_mut().find(|place| place.map == map) {
            place.step(t, io);
        }
    }
}

/// What a case had submitted and what had come back, from `t` on; counted anew whenever I/O begins while none is under
/// way.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Returned {
    /// Seconds since the case began.
    pub t: f64,
    /// Not come back.
    pub pending: u32,
    /// Back without an error.
    pub ok: u32,
    /// Back with an error.
    pub failed: u32,
}

/// Counts what a case tells of its I/O.
#[derive(Debug, Default)]
pub struct Counts {
    /// In order of time.
    pub levels: Vec<Returned>,
    submitted: u32,
    ok: u32,
    failed: u32,
    /// By the tallies of whole batches: of large ones, single completions are not told.
    batches: (u32, u32),
    /// What was back when the I/O that is shown began: ok, failed.
    before: (u32, u32),
}

impl Counts {
    /// Something happened; says whether it is of no use as a step of its own.
    pub fn happened(&mut self, t: f64, what: &str, details: &BTreeMap<String, String>) -> bool {
        let detail = |name: &str| details.get(name).map_or("", String::as_str);
        match what {
            "io submitted" => {
                if self.submitted <= self.ok + self.failed {
                    self.before = (self.ok, self.failed);
                }
                self.submitted += numbers(detail("io")).map(|(count, _)| count).sum::<u32>();
            }
            "io completed" if detail("state") == "ok" => self.ok += 1,
            "io completed" => self.failed += 1,
            "io batch completed" => {
                let of = detail("tally").split_once(": ").map_or("", |(_, of)| of);
                for (count, state) in numbers(of) {
                    *if state == "ok" { &mut self.batches.0 } else { &mut self.batches.1 } += count;
                }
                self.ok = self.ok.max(self.batches.0);
                self.failed = self.failed.max(self.batches.1);
            }
            _ => return false,
        }
        let pending = self.submitted.saturating_sub(self.ok + self.failed);
        let (ok, failed) = (self.ok - self.before.0, self.failed - self.before.1);
        self.levels.push(Returned { t, pending, ok, failed });
        what == "io completed"
    }
}

/// `8 write, 2 read` as numbers with their words.
fn numbers(text: &str) -> impl Iterator<Item = (u32, &str)> {
    text.split(", ").filter_map(|part| {
        let (count, word) = part.split_once(' ')?;
        Some((count.parse().ok()?, word))
    })
}
