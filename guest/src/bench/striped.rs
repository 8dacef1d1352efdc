// SPDX-License-Identifier: GPL-2.0-only
//! A striped map over two multipath maps: each I/O that is long enough has pieces on both.
//!
//! Striping moves data: a block of the map is elsewhere on the disk. So the disk gets its content, and is verified, through
//! a second striped map of the same layout that stands on the paths themselves.

use std::rc::Rc;

use super::Bench;
use super::io::{Io, Watched};
use super::multipath::MultipathMap;
use crate::condition::{IoKind, QueueMode};
use crate::dm::{DevNo, Map, Sectors, Table, Target};
use crate::failure::Outcome;
use crate::io::{BLOCK, Engine, Spec};

/// Blocks of a chunk.
const CHUNK: u32 = 4;
/// How many I/Os.
const COUNT: u32 = 8;
/// Chunks of one I/O, half of them on each side.
const CHUNKS: u32 = 8;

/// A striped map, and the way past the maps below it.
#[derive(Debug)]
pub struct Striped {
    map: Map,
    past: Map,
}

fn table(devices: [DevNo; 2], length: Sectors) -> Table {
    let half = Sectors(length.0 / 2);
    let legs = devices.into_iter().zip([Sectors::ZERO, half]).collect();
    let chunk = Sectors(u64::from(CHUNK * BLOCK) / 512);
    Table::single(length, Target::Striped { chunk, legs })
}

impl Bench {
    /// A striped map, one leg on each of two multipath maps of one path: the first half of the disk, and the second. The
    /// disk gets a new first content.
    pub fn striped(&mut self, name: &str, left: &MultipathMap, right: &MultipathMap) -> Outcome<Striped> {
        let length = self.disk_length()?;
        let [below_left, below_right] = [left, right].map(|map| map.paths()[0].device());
        let past = self.create("past", &table([below_left, below_right], length))?;
        self.ledger()?.prefill(&past.node())?;
        let map = self.create(name, &table([left.map().device(), right.map().device()], length))?;
        Ok(Striped { map, past })
    }

    /// Submits writes that lie on both sides. Of each, four bios or requests go to `right`, which is looked at.
    pub fn submit_striped(&mut self, striped: &Striped, right: &MultipathMap) -> Outcome<Io> {
        if right.queue_mode() == QueueMode::Rq {
            // The chunks of one side are one stretch there, and so would be one request.
            right.start_setting("nomerges", "2")?.succeeds("queue settings can be changed")?;
        }
        let blocks = CHUNKS * CHUNK;
        let specs: Vec<_> =
            (0..COUNT).map(|index| Spec::new(IoKind::Write, u64::from(index * blocks), blocks)).collect();
        let batch = Rc::new(self.ledger()?.submit(Engine::IoUring, &striped.map.node(), &specs)?);
        self.batches.push(Rc::clone(&batch));
        Ok(Io::new(batch, &specs, vec![Watched::of(right)]).split_into(u64::from(CHUNKS / 2)))
    }

    /// Reads all of the striped map past the multipath maps, and compares it with what was written.
    pub fn striped_data_is_what_was_written(&mut self, striped: &Striped) -> Outcome {
        self.ledger()?.verify(&striped.past.node())
    }
}
