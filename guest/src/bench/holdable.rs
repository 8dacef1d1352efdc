// SPDX-License-Identifier: GPL-2.0-only
//! A path on which a case can hold I/O in flight: it is not completed until the case says how.
//!
//! From above: a loop device with direct I/O, over a dm-linear (the *gate*), over a SCSI path. While the gate is
//! suspended, dm keeps what the loop device sends it. The loop device makes it a path that request-based multipath takes,
//! and counts what is in flight (`inflight`), which a suspended dm-linear does not. Nothing here depends on time.

use super::Bench;
use crate::dm::{Flush, Map, Table, Target};
use crate::failure::Outcome;
use crate::paths::Path;
use crate::paths::loop_device::LoopDevice;
use crate::report::happened;

/// A path that can hold I/O.
#[derive(Debug, Clone)]
pub struct HoldablePath {
    path: Path,
    gate: Map,
    below: Path,
}

/// The table of a gate that lets I/O through.
fn open_gate(below: &Path) -> Table {
    let target = Target::Linear { device: below.device(), offset: crate::dm::Sectors::ZERO };
    Table::single(below.length(), target)
}

impl HoldablePath {
    /// The path, for the table of a map.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The device that all of it ends in.
    pub fn below(&self) -> &Path {
        &self.below
    }

    /// The dm-linear below it.
    pub(crate) fn gate(&self) -> &Map {
        &self.gate
    }

    /// The table with which that lets I/O through.
    pub(crate) fn open_table(&self) -> Table {
        open_gate(&self.below)
    }

    /// From now on, I/O that reaches the path stays in flight.
    pub fn hold(&self) -> Outcome {
        happened("path holds I/O", &[("path", &self.path)]);
        self.gate.suspend(Flush::FlushNolockfs)
    }

    /// What is held, and what comes after it, goes through.
    pub fn let_go(&self) -> Outcome {
        happened("path lets go of I/O", &[("path", &self.path)]);
        self.gate.resume(Flush::Flush)
    }

    /// What is held, and what comes after it, fails with EIO.
    pub fn fail_what_is_held(&self) -> Outcome {
        happened("path fails what it holds", &[("path", &self.path)]);
        self.gate.load(&Table::error(self.gate.length()))?;
        self.gate.resume(Flush::Flush)
    }

    /// After [`Self::fail_what_is_held`]: the path works again. No map is told.
    pub fn repair(&self) -> Outcome {
        self.gate.load(&self.open_table())?;
        self.gate.resume(Flush::FlushNolockfs)
    }
}

impl Bench {
    /// A path over `below` that can hold I/O, and lets it through at first.
    pub fn holdable(&mut self, name: &str, below: &Path) -> Outcome<HoldablePath> {
        let gate = super::make(name, &open_gate(below))?;
        self.gates.push(gate.clone());
        let device = LoopDevice::over(&gate.node())?;
        let path = below.seen_through(device.name(), device.device());
        self.loops.push(device);
        Ok(HoldablePath { path, gate, below: below.clone() })
    }
}
