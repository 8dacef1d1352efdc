// SPDX-License-Identifier: GPL-2.0-only
//! Storms: tables are exchanged, paths break and return, settings change and suspends are interrupted, all at once and
//! under verified I/O, as a seed says. docs/stress.md explains it.
//!
//! What each actor does comes from the seed ([`schedule`]); which of them is faster at a given moment does not. So a seed
//! brings back the storm, and mostly the failure, but not the interleaving of two instructions.

pub mod actors;
pub mod board;
pub mod load;
pub mod oracle;
pub mod removal;
pub mod schedule;
pub mod storm;
pub mod world;

#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};

pub use schedule::Profile;

/// The seed of a run that was asked for none: the same in each, so that runs can be compared.
pub const DEFAULT_SEED: u64 = 20_061_208;

/// What the host asks of every case that has a schedule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stress {
    /// Where the schedules come from.
    pub seed: u64,
    /// How long each case goes on; the few steps of a default run if there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seconds: Option<u32>,
}

impl Default for Stress {
    fn default() -> Self {
        Self { seed: DEFAULT_SEED, seconds: None }
    }
}
