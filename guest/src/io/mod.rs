// SPDX-License-Identifier: GPL-2.0-only
//! The I/O of the cases, and the oracle that knows what the disk must hold. docs/io.md tells the kinds of I/O apart.
//!
//! A [`Ledger`] stands for one disk. It gives the disk an identified first content, submits [`Batch`]es of
//! I/O, and verifies the whole disk afterwards. A [`Batch`] can say at any moment how many of its I/Os are pending,
//! completed or failed with which errno, and in which order. Nothing here knows device-mapper.
//!
//! ```no_run
//! # use std::{path::Path, time::Duration};
//! # use guest::io::{Engine, Ledger, writes};
//! # fn main() -> guest::failure::Outcome {
//! let map = Path::new("/dev/mapper/mp");
//! let mut ledger = Ledger::new(1, 2048);
//! ledger.prefill(Path::new("/dev/sda"))?;
//! let batch = ledger.submit(Engine::IoUring, map, &writes(32))?;
//! batch.wait_all_ok(Duration::from_secs(5), "every write succeeds")?;
//! ledger.verify(map)
//! # }
//! ```

mod batch;
mod buffer;
mod device;
mod ledger;
mod mapping;
mod model;
mod pattern;
mod threads;
mod uring;

use std::fmt;
use std::fs::File;
use std::io::{self, Write as _};
use std::ops::Range;
use std::path::Path;

pub use crate::condition::IoKind;
pub use batch::{Batch, ENDS_ONCE, IoResult, IoState, READS_ARE_RIGHT, Tally};
pub use buffer::Buffer;
pub use device::open as open_direct;
pub use ledger::{DATA_IS_RIGHT, Ledger};

/// Bytes of a block, the unit of place and size.
pub const BLOCK: u32 = 4096;

/// How I/O is submitted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Engine {
    /// `io_uring`: any number of I/Os without a thread for each. See `uring` for the order in which they are issued.
    IoUring,
    /// `io_uring` as most programs use it: the kernel tries each I/O without waiting first, if the device can do that.
    IoUringInline,
    /// `io_uring` with `IORING_SETUP_IOPOLL`: nobody interrupts, the submitter polls for completions.
    IoUringPolled,
    /// One thread for each I/O, synchronous calls: the cross-check.
    Threads,
    /// The same with `RWF_NOWAIT`: reads and writes that fail with EAGAIN rather than wait.
    ThreadsNowait,
}

impl Engine {
    /// The stable name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::IoUring => "io_uring",
            Self::IoUringInline => "io_uring inline",
            Self::IoUringPolled => "io_uring polled",
            Self::Threads => "threads",
            Self::ThreadsNowait => "threads nowait",
        }
    }

    /// The usual engine for a kind of I/O: `io_uring`, if it has it.
    pub const fn of(kind: IoKind) -> Self {
        if Self::IoUring.carries(kind) { Self::IoUring } else { Self::Threads }
    }

    /// Whether it can submit that kind.
    const fn carries(self, kind: IoKind) -> bool {
        match self {
            Self::Threads => true,
            Self::IoUring | Self::IoUringInline => {
                matches!(kind, IoKind::Write | IoKind::Read | IoKind::Flush | IoKind::Fua)
            }
            Self::IoUringPolled | Self::ThreadsNowait => matches!(kind, IoKind::Write | IoKind::Read),
        }
    }
}

impl fmt::Display for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl IoKind {
    /// What every application does, past the page cache.
    pub const BASIC: &[Self] = &[Self::Write, Self::Read, Self::Flush, Self::Fua];
    /// Those that leave zeroes.
    pub const ZEROING: &[Self] = &[Self::Discard, Self::WriteZeroes];
    /// Those of the page cache, which the kernel writes when it is told to.
    pub const CACHED: &[Self] = &[Self::Cached, Self::Mapped];

    /// Whether it changes the disk.
    pub const fn is_write(self) -> bool {
        !matches!(self, Self::Read | Self::Flush)
    }

    /// Whether what it changes reads as zeroes afterwards. For a discard that is what the disks here promise (LBPRZ);
    /// others need not.
    pub const fn zeroes(self) -> bool {
        matches!(self, Self::Discard | Self::WriteZeroes)
    }

    /// Whether the device does one after the other: the block layer holds `filemap_invalidate_lock()` of the device
    /// until it is done (`blk_ioctl_discard`, `blkdev_fallocate`).
    pub const fn one_by_one(self) -> bool {
        self.zeroes()
    }

    /// Whether data goes with it, and so memory.
    const fn has_data(self) -> bool {
        !self.zeroes() && !matches!(self, Self::Flush)
    }

    /// Whether it goes through the page cache.
    const fn is_cached(self) -> bool {
        matches!(self, Self::Cached | Self::Mapped)
    }
}

/// One I/O: what, where, how long. A flush has neither place nor size.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Spec {
    /// What it does.
    pub kind: IoKind,
    /// First block.
    pub block: u64,
    /// Number of blocks; 0 for a flush.
    pub blocks: u32,
}

impl Spec {
    /// One I/O of `kind` at `block`, `blocks` blocks long; for a flush both are ignored.
    pub const fn new(kind: IoKind, block: u64, blocks: u32) -> Self {
        match kind {
            IoKind::Flush => Self { kind, block: 0, blocks: 0 },
            _ => Self { kind, block, blocks },
        }
    }

    /// The same I/O `by` blocks further on.
    #[must_use]
    pub const fn moved(self, by: u64) -> Self {
        Self::new(self.kind, self.block + by, self.blocks)
    }

    /// Offset on the device in bytes.
    pub const fn offset(self) -> u64 {
        self.block * BLOCK as u64
    }

    /// Length in bytes.
    pub const fn bytes(self) -> u64 {
        self.blocks as u64 * BLOCK as u64
    }

    /// Its blocks as indices; checked against the size of the disk by `Ledger::submit`.
    #[expect(clippy::cast_possible_truncation, reason = "usize has 64 bits on every machine this runs on")]
    const fn range(self) -> Range<usize> {
        self.block as usize..self.block as usize + self.blocks as usize
    }
}

/// `write 8+2`, `flush`.
impl fmt::Display for Spec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            IoKind::Flush => write!(f, "{}", self.kind),
            kind => write!(f, "{kind} {}+{}", self.block, self.blocks),
        }
    }
}

/// `n` writes in the default layout of [`of_kind`].
pub fn writes(n: u32) -> Vec<Spec> {
    of_kind(IoKind::Write, n)
}

/// `n` reads in the default layout of [`of_kind`].
pub fn reads(n: u32) -> Vec<Spec> {
    of_kind(IoKind::Read, n)
}

/// `n` I/Os of one block each, on every second block from block 0: no two touch, so neither a plug list nor an I/O
/// scheduler (`blk_attempt_plug_merge`, `blk_mq_sched_try_merge`) makes one request out of two, and N I/Os stay N.
pub fn of_kind(kind: IoKind, n: u32) -> Vec<Spec> {
    (0..u64::from(n)).map(|i| Spec::new(kind, i * 2, 1)).collect()
}

/// Copies a whole disk into a file, with direct I/O: what is on it, and not what the page cache thinks.
pub fn copy_disk(disk: &Path, file: &Path) -> io::Result<()> {
    let from = device::open(disk, false)?;
    let mut to = File::create(file)?;
    let blocks = device::blocks(&from)?;
    let mut written = Ok(());
    let read = device::read_all(&from, blocks, |_, chunk| {
        if written.is_ok() {
            written = to.write_all(chunk);
        }
    });
    read.map_err(io::Error::other).and(written)
}

#[cfg(test)]
mod tests;
