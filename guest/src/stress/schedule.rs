// SPDX-License-Identifier: GPL-2.0-only
//! What a storm's actors do, in which order and after which pauses: from a seed alone. Pure: no clock, no kernel.
//!
//! Every actor has a generator of its own, so that how far one of them gets does not change what the others do. The
//! steps of an actor have no end: how many are done is up to who carries them out, and a longer run begins like a
//! shorter one.

use std::ops::Range;
use std::time::Duration;

use fastrand::Rng;
use serde::{Deserialize, Serialize};

use crate::condition::{Fault, IoKind, QueueMode, Signal, SuspendForm};
use crate::io::Spec;

/// How many batches of I/O are under way at once, each on blocks of its own.
pub const LANES: usize = 4;
/// Blocks of a lane.
pub const LANE: u64 = 64;
/// Most I/Os of a batch.
pub const BATCH: u64 = 8;
/// The stretch of a lane that one I/O of a batch has for itself: no two of a batch overlap or touch.
const SLOT: u64 = LANE / BATCH;

/// What kind of storm it is: what the actors may do, and how fast. Times are in microseconds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Profile {
    /// In which forms the table is exchanged.
    pub forms: &'static [SuspendForm],
    /// Between two exchanges.
    pub between: Range<u32>,
    /// While the map is suspended.
    pub suspended: Range<u32>,
    /// Of ten suspends, how many are interrupted.
    pub interrupted: u32,
    /// Whether tables are exchanged in an explicit suspend; otherwise some suspends are resumed with the old one.
    pub always_reload: bool,
    /// How paths fail.
    pub faults: Vec<Fault>,
    /// How long a path is down.
    pub down: Range<u32>,
    /// Between two faults.
    pub up: Range<u32>,
    /// Of ten faults, how many are I/O that a path holds.
    pub held: u32,
    /// Whether the settings of the map's queue change.
    pub settings: bool,
}

/// How a map is removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Way {
    /// `dmsetup remove`, again and again.
    AtOnce,
    /// As multipathd: `fail_if_no_path`, a flush suspend, remove.
    FailFirst,
    /// `dmsetup remove --force`: a table that fails everything, with a noflush suspend, remove.
    Force,
    /// `dmsetup remove --deferred`: with the last close.
    Deferred,
}

/// A map that is removed while it queues I/O.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Removal {
    /// How all of its paths fail before the I/O comes.
    pub fault: Fault,
    /// What is queued.
    pub submit: Submit,
    /// How it is removed.
    pub way: Way,
    /// Suspends by somebody else meanwhile: the pause before each, and how long it lasts, in microseconds.
    pub race: Vec<(u32, u32)>,
}

/// A step, after a pause. A pause is part of the schedule: it waits for nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Timed<T> {
    /// In microseconds.
    pub pause: u32,
    /// What.
    pub step: T,
}

impl<T> Timed<T> {
    /// The pause.
    pub fn pause(&self) -> Duration {
        Duration::from_micros(self.pause.into())
    }
}

/// What the reloader does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case")]
pub enum Reload {
    /// Noflush suspend, perhaps load, resume.
    Explicit {
        /// Whether a table is loaded.
        load: bool,
        /// How long it stays suspended before that, in microseconds.
        suspended: u32,
    },
    /// Load, and a resume with noflush.
    Implicit,
    /// A noflush suspend that gets a signal; if it succeeds all the same, load and resume.
    Interrupted {
        /// When, in microseconds after its start.
        after: u32,
        /// What the signal does.
        signal: Signal,
    },
}

/// What the breaker of paths does. Afterwards, each path that it broke works again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case")]
pub enum Break {
    /// One path fails.
    One {
        /// Which.
        path: usize,
        /// How.
        fault: Fault,
        /// For how long, in microseconds.
        down: u32,
    },
    /// All of them fail.
    All {
        /// How.
        fault: Fault,
        /// For how long, in microseconds.
        down: u32,
    },
    /// A path holds the I/O that it gets.
    Hold {
        /// For how long, in microseconds.
        down: u32,
        /// Whether what it holds fails afterwards; otherwise it goes through.
        fails: bool,
    },
}

/// A setting of the map's queue in sysfs, with its value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Setting {
    /// The file.
    pub name: String,
    /// What is written.
    pub value: String,
}

/// What one lane submits: I/Os that are under way together, no two on the same block.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Submit {
    /// Kind, first block, blocks.
    pub ios: Vec<(IoKind, u64, u32)>,
    /// By threads instead of `io_uring`.
    pub threads: bool,
}

impl Submit {
    /// As the ledger takes them.
    pub fn specs(&self) -> Vec<Spec> {
        self.ios.iter().map(|(kind, block, blocks)| Spec::new(*kind, *block, *blocks)).collect()
    }
}

/// The generators of all actors.
#[derive(Debug, Clone)]
pub struct Schedule {
    profile: Profile,
    queue_mode: QueueMode,
    paths: usize,
    reloader: Rng,
    breaker: Rng,
    settings: Rng,
    lanes: [Rng; LANES],
}

impl Schedule {
    /// The schedule of `case`, a full name, for a seed. Each case has its own: one seed stands for a whole run.
    pub fn new(seed: u64, case: &str, profile: &Profile, queue_mode: QueueMode, paths: usize) -> Self {
        let mut all = Rng::with_seed(seed ^ u64::from(crc32fast::hash(case.as_bytes())));
        Self {
            profile: profile.clone(),
            queue_mode,
            paths,
            reloader: all.fork(),
            breaker: all.fork(),
            settings: all.fork(),
            lanes: std::array::from_fn(|_| all.fork()),
        }
    }

    /// The reloader's steps.
    pub fn reloads(&self) -> impl Iterator<Item = Timed<Reload>> + Send + 'static {
        let (mut rng, profile) = (self.reloader.clone(), self.profile.clone());
        std::iter::repeat_with(move || {
            let pause = rng.u32(profile.between.clone());
            let step = if rng.u32(0..10) < profile.interrupted {
                let signal = if rng.u32(0..4) == 0 { Signal::Restart } else { Signal::Eintr };
                Reload::Interrupted { after: rng.u32(0..20_000), signal }
            } else if pick(&mut rng, profile.forms) == SuspendForm::Implicit {
                Reload::Implicit
            } else {
                let load = profile.always_reload || rng.bool();
                Reload::Explicit { load, suspended: rng.u32(profile.suspended.clone()) }
            };
            Timed { pause, step }
        })
    }

    /// The steps of who breaks paths.
    pub fn breaks(&self) -> impl Iterator<Item = Timed<Break>> + Send + 'static {
        let (mut rng, profile, paths) = (self.breaker.clone(), self.profile.clone(), self.paths);
        std::iter::repeat_with(move || {
            let pause = rng.u32(profile.up.clone());
            let down = rng.u32(profile.down.clone());
            let step = if rng.u32(0..10) < profile.held {
                Break::Hold { down, fails: rng.bool() }
            } else {
                let fault = pick(&mut rng, &profile.faults);
                if rng.bool() || fault.strikes_every_path() {
                    Break::All { fault, down }
                } else {
                    Break::One { path: rng.usize(0..paths), fault, down }
                }
            };
            Timed { pause, step }
        })
    }

    /// The steps of who changes the queue's settings.
    pub fn settings(&self) -> impl Iterator<Item = Timed<Setting>> + Send + 'static {
        let (mut rng, up) = (self.settings.clone(), self.profile.up.clone());
        std::iter::repeat_with(move || {
            let pause = rng.u32(up.clone());
            let (name, value) = match rng.u32(0..3) {
                0 => ("read_ahead_kb", rng.u32(0..512).to_string()),
                // At least BLKDEV_MIN_RQ.
                1 => ("nr_requests", rng.u32(4..128).to_string()),
                _ => ("scheduler", pick(&mut rng, &["none", "mq-deadline"]).to_owned()),
            };
            Timed { pause, step: Setting { name: name.to_owned(), value } }
        })
    }

    /// The batches of one lane.
    pub fn batches(&self, lane: usize) -> impl Iterator<Item = Timed<Submit>> + 'static {
        let (mut rng, queue_mode) = (self.lanes[lane].clone(), self.queue_mode);
        let first = lane as u64 * LANE;
        std::iter::repeat_with(move || {
            let pause = rng.u32(0..5_000);
            Timed { pause, step: batch(&mut rng, queue_mode, first) }
        })
    }

    /// Maps that are removed while they queue I/O.
    pub fn removals(&self) -> impl Iterator<Item = Timed<Removal>> + 'static {
        let (mut rng, profile, queue_mode) = (self.reloader.clone(), self.profile.clone(), self.queue_mode);
        std::iter::repeat_with(move || {
            let pause = rng.u32(profile.between.clone());
            let fault = pick(&mut rng, &profile.faults);
            let submit = batch(&mut rng, queue_mode, 0);
            let way = pick(&mut rng, &[Way::AtOnce, Way::FailFirst, Way::Force, Way::Deferred]);
            let suspends = rng.usize(0..6);
            let mut suspend = || (rng.u32(profile.up.clone()), rng.u32(profile.suspended.clone()));
            let race = (0..suspends).map(|_| suspend()).collect();
            Timed { pause, step: Removal { fault, submit, way, race } }
        })
    }
}

/// Batches on the blocks from `first` on.
fn batch(rng: &mut Rng, queue_mode: QueueMode, first: u64) -> Submit {
    let mut slots: Vec<u64> = (0..BATCH).collect();
    rng.shuffle(&mut slots);
    slots.truncate(rng.usize(1..=slots.len()));
    let io = |slot: u64| {
        let (kind, at) = (kind(rng, queue_mode), rng.u64(0..SLOT / 2));
        let spec = Spec::new(kind, first + slot * SLOT + at, rng.u32(1..=3));
        (spec.kind, spec.block, spec.blocks)
    };
    let ios = slots.into_iter().map(io).collect();
    Submit { ios, threads: rng.u32(0..8) == 0 }
}

/// Mostly writes: they are what can be lost. No FUA in a request-based map: mq-deadline of 6.1 warns about each one that
/// dm-rq requeued when the map goes (deviation `mq-deadline-loses-count-of-fua`), which would hide all else.
fn kind(rng: &mut Rng, queue_mode: QueueMode) -> IoKind {
    match (rng.u32(0..16), queue_mode) {
        (0, _) => IoKind::Flush,
        (1, QueueMode::Bio) => IoKind::Fua,
        (2..=6, _) => IoKind::Read,
        _ => IoKind::Write,
    }
}

fn pick<T: Copy>(rng: &mut Rng, from: &[T]) -> T {
    from[rng.usize(0..from.len())]
}
