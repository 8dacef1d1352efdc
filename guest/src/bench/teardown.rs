// SPDX-License-Identifier: GPL-2.0-only
//! The clean-up after a case, passed or failed: every I/O ends, every map goes, and every path that a VM does not keep.
//!
//! Each step has its deadline, and a step that fails does not keep the next from being tried. Whether all is
//! clean is not decided here: the agent looks for [`crate::paths::leftovers`] itself.

use std::path::PathBuf;

use nix::mount::MntFlags;

use super::Bench;
use super::file_system::unmount;
use super::io::{COMES_BACK, STEP};
use crate::dm::remove::remove;
use crate::dm::{DmName, Flush, Map, Table};
use crate::failure::Outcome;
use crate::paths::{self, handler, injection};
use crate::rcu;
use crate::report::happened;

impl Bench {
    /// Takes everything down; returns what could not be done, in words. The second call does nothing.
    pub fn tear_down(&mut self) -> Vec<String> {
        if std::mem::replace(&mut self.taken_down, true) {
            return Vec::new();
        }
        let mut problems = Vec::new();
        let mut attempt = |step: Outcome| {
            if let Err(failure) = step {
                happened("clean-up failed", &[("why", &failure)]);
                problems.push(failure.to_string());
            }
        };
        // First, for all else does I/O.
        attempt(injection::stop(&self.paths));
        attempt(self.stop_daemon());
        let pending = self.batches.iter().any(|batch| !batch.tally().all_completed());
        for map in &self.test_maps {
            attempt(map.let_go(pending));
        }
        // A file system that has shut itself down answers with EIO, and is mounted all the same.
        let is_there = |place: &PathBuf| place.try_exists().unwrap_or(true);
        let mounted: Vec<_> = self.mounts.drain(..).filter(is_there).collect();
        if pending || !mounted.is_empty() {
            // In the order in which they were made: what lies below must let go of its I/O first.
            for map in self.gates.iter().chain(&self.maps) {
                attempt(fail_everything(map));
            }
        }
        for place in &mounted {
            attempt(unmount(place, MntFlags::MNT_DETACH));
        }
        for batch in self.batches.drain(..) {
            // Also closes the device.
            attempt(batch.wait_all_completed(STEP, COMES_BACK).map(drop));
        }
        self.ledger = None;
        attempt(self.clean_up_daemon());
        let transport = self.transport();
        rcu::expedited(|| {
            attempt(remove_all(&self.maps));
            for device in self.loops.drain(..) {
                attempt(device.clear());
            }
            attempt(remove_all(&self.gates));
            // Paths that somebody else made are for the agent to find.
            if !self.paths.is_empty() {
                attempt(handler::remove());
                attempt(paths::keep_or_remove(transport));
            }
        });
        problems
    }
}

/// What was made last goes first: it may stand on the others.
fn remove_all(maps: &[Map]) -> Outcome {
    let names: Vec<&DmName> = maps.iter().rev().map(Map::name).collect();
    remove(&names)
}

/// Exchanges the map's table for one that fails everything, suspended or not. Noflush, because a flush suspend
/// of a map above would wait for I/O that can't end.
fn fail_everything(map: &Map) -> Outcome {
    map.load(&Table::error(map.length()))?;
    map.resume(Flush::Noflush)
}
