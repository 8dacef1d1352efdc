// SPDX-License-Identifier: GPL-2.0-only
//! Devices that cost as little as possible, so that what is above them is measured: `brd` takes bios and completes
//! them at once; `null_blk` takes requests and completes them at once, without storing anything (with
//! `memory_backed=1` it may sleep, which request-based dm forbids).

use std::time::Duration;

use crate::bench::Bench;
use crate::condition::QueueMode;
use crate::dm::{Access, DevNo, Map, Multipath, NoPath, Sectors, Selector, Table, Target};
use crate::failure::{GuestContext as _, Outcome};
use crate::modules;
use crate::wait::wait_for;

/// One disk, made when the module is loaded.
struct Kind {
    module: &'static str,
    parameters: &'static str,
    disk: &'static str,
}

/// 64 MiB, of which only what is written takes memory.
const BRD: Kind = Kind { module: "brd", parameters: "rd_nr=1 rd_size=65536 max_part=0", disk: "ram0" };

/// `irqmode=0`: completed by whoever submits. One queue, so that one virtual CPU is enough.
const NULL_BLK: Kind = Kind {
    module: "null_blk",
    parameters: "nr_devices=1 gb=1 queue_mode=2 irqmode=0 submit_queues=1 bs=512",
    disk: "nullb0",
};

/// A fast device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fast {
    /// Its number, for tables.
    pub device: DevNo,
    /// Its size.
    pub length: Sectors,
    mode: QueueMode,
}

impl Fast {
    /// The device below a multipath map of this mode; a kernel without its module skips the case.
    pub fn below(mode: QueueMode) -> Outcome<Self> {
        let Kind { module, parameters, disk } = match mode {
            QueueMode::Bio => BRD,
            QueueMode::Rq => NULL_BLK,
        };
        modules::require(module)?.insert(module, parameters).guest(format_args!("load {module}"))?;
        wait_for(Duration::from_secs(5), "the fast device appears", || {
            let read = |file: &str| {
                let path = format!("/sys/block/{disk}/{file}");
                std::fs::read_to_string(&path).map_err(|error| format!("{path}: {error}"))
            };
            let found = || -> Result<Self, String> {
                let length = read("size")?.trim().parse().map_err(|error| format!("its size: {error}"))?;
                Ok(Self { device: read("dev")?.trim().parse()?, length, mode })
            };
            Ok(found())
        })
    }

    /// A multipath map with this device as its only path.
    pub fn multipath(&self, bench: &mut Bench) -> Outcome<Map> {
        bench.create("fast", &self.table())
    }

    /// The table of that map; loaded again, it brings a failed path back.
    pub fn table(&self) -> Table {
        let multipath = Multipath {
            no_path: NoPath::Queue,
            queue_mode: self.mode,
            access: Access::Symmetric,
            selector: Selector::RoundRobin,
            paths: vec![self.device],
        };
        Table::single(self.length, Target::Multipath(multipath))
    }
}
