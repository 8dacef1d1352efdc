// SPDX-License-Identifier: GPL-2.0-only
//! What the benchmark of the feature needs and no case does: fast devices without SCSI, very many I/Os at once, a
//! suspend and a resume without the start of a program, and how much memory the kernel uses.
//!
//! A measurement is a hidden case: it tells figures as events and passes if they could be taken. What they are
//! worth is for `cargo xtask bench` to say.

pub mod aio;
pub mod device;
pub mod memory;
pub mod suspend;

/// The event that carries the figures of one round of a scale measurement.
pub const SCALE: &str = "pushback measured";
/// The event that carries the figure of one round of a cost measurement.
pub const COST: &str = "I/O measured";

/// Names of the details of [`SCALE`]: counts, nanoseconds, bytes.
pub mod detail {
    /// How many I/Os.
    pub const COUNT: &str = "count";
    /// Nanoseconds to submit all.
    pub const SUBMIT: &str = "submit_ns";
    /// Nanoseconds of the noflush suspend.
    pub const PUSH_BACK: &str = "push_back_ns";
    /// Nanoseconds from the resume to the last completion.
    pub const COMPLETE: &str = "complete_ns";
    /// Bytes of slab while all wait in the target, over what it was before.
    pub const PARKED: &str = "slab_parked";
    /// The same while all are pushed back.
    pub const PUSHED_BACK: &str = "slab_pushed_back";
    /// The same when all have completed.
    pub const AFTER: &str = "slab_after";
    /// Of [`super::COST`]: nanoseconds of all I/Os of the round.
    pub const NANOSECONDS: &str = "ns";
}
