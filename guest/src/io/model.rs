// SPDX-License-Identifier: GPL-2.0-only
//! What every block of a disk may hold, from the history of the writes to it. Pure: no I/O, no clock; time is a
//! counter that rises with each submission and completion.
//!
//! One rule decides everything, reads during writes included: a read may return a write unless another write *that
//! succeeded* was submitted after the first one had completed, and completed before the read was submitted. So
//! writes that overlap in time may end in either order, a write that failed may be there or not, but one whose
//! failure was reported before a later successful write must never come back.

use super::pattern::{self, Content, Sector, Stamp, generation, holds, identify};
use super::{IoKind, Spec};

/// What a block holds after a write to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Block {
    /// Identified data.
    Data(Stamp),
    /// Zeroes, by the write (a discard or a write-zeroes) of this generation.
    Zeroes {
        /// Number of the block on the disk.
        block: u64,
        /// Which write.
        generation: u32,
    },
}

/// A write to one block.
#[derive(Debug, Clone, Copy)]
struct Record {
    generation: u32,
    position: u32,
    /// It leaves zeroes.
    zeroes: bool,
    submitted: u64,
    /// When it completed and whether it succeeded; `None` while it is pending.
    end: Option<(u64, bool)>,
}

/// An I/O that was noted as submitted.
#[derive(Debug, Clone, Copy)]
pub struct Ticket {
    /// The I/O.
    pub spec: Spec,
    /// Of a write: its generation.
    pub generation: Option<u32>,
    /// When, on the model's counter.
    pub submitted: u64,
}

/// The history of a disk.
#[derive(Debug)]
pub struct Model {
    seed: u64,
    now: u64,
    last_generation: u32,
    /// One list for each block, oldest write first; empty lists until the disk has its first content.
    cells: Vec<Vec<Record>>,
    pending_writes: usize,
    pending_reads: usize,
    /// What reads returned wrongly, in words.
    wrong_reads: Vec<String>,
}

impl Model {
    /// A disk of unknown content.
    pub fn new(seed: u64, blocks: u64) -> Self {
        let cells = (0..blocks).map(|_| Vec::new()).collect();
        let (pending_writes, pending_reads) = (0, 0);
        Self {
            seed,
            now: 1,
            last_generation: 0,
            cells,
            pending_writes,
            pending_reads,
            wrong_reads: Vec::new(),
        }
    }

    /// Number of blocks.
    pub fn blocks(&self) -> u64 {
        self.cells.len() as u64
    }

    /// Whether the first content was written.
    pub fn is_filled(&self) -> bool {
        self.cells.iter().all(|cell| !cell.is_empty())
    }

    /// Writes that were submitted and did not complete.
    pub fn pending_writes(&self) -> usize {
        self.pending_writes
    }

    /// Reads that were submitted and did not complete.
    pub fn pending_reads(&self) -> usize {
        self.pending_reads
    }

    /// What reads returned wrongly so far.
    pub fn wrong_reads(&self) -> &[String] {
        &self.wrong_reads
    }

    /// A read returned something wrong.
    pub fn note_wrong_read(&mut self, seen: String) {
        self.wrong_reads.push(seen);
    }

    /// Chooses a fresh seed for the next first content, so that what an earlier case left is told apart.
    pub fn reseed(&mut self) {
        self.seed = pattern::next_seed(self.seed);
    }

    /// The identity of the first content of a block.
    pub fn first_content(&self, block: u64) -> Stamp {
        Stamp { seed: self.seed, block, generation: 0, position: 0 }
    }

    /// The whole disk holds its first content now.
    pub fn filled(&mut self) {
        let now = self.tick();
        let first =
            Record { generation: 0, position: 0, zeroes: false, submitted: 0, end: Some((now, true)) };
        for cell in &mut self.cells {
            *cell = vec![first];
        }
    }

    /// The present, for a read that begins now.
    pub fn tick(&mut self) -> u64 {
        self.now += 1;
        self.now
    }

    /// Notes that an I/O is going to be submitted.
    pub fn begin(&mut self, spec: Spec) -> Ticket {
        let submitted = self.tick();
        let generation = spec.kind.is_write().then(|| {
            self.last_generation += 1;
            self.pending_writes += 1;
            let (generation, zeroes) = (self.last_generation, spec.kind.zeroes());
            for (position, cell) in (0..).zip(&mut self.cells[spec.range()]) {
                cell.push(Record { generation, position, zeroes, submitted, end: None });
            }
            self.last_generation
        });
        self.pending_reads += usize::from(spec.kind == IoKind::Read);
        Ticket { spec, generation, submitted }
    }

    /// Notes that it completed; `succeeded` as a whole.
    pub fn end(&mut self, ticket: &Ticket, succeeded: bool) {
        let end = Some((self.tick(), succeeded));
        self.settle(ticket, |cell, at| cell[at].end = end);
    }

    /// Notes that it was not submitted after all.
    pub fn forget(&mut self, ticket: &Ticket) {
        self.settle(ticket, |cell, at| {
            cell.remove(at);
        });
    }

    fn settle(&mut self, ticket: &Ticket, mut change: impl FnMut(&mut Vec<Record>, usize)) {
        self.pending_reads -= usize::from(ticket.spec.kind == IoKind::Read);
        self.pending_writes -= usize::from(ticket.generation.is_some());
        for cell in ticket.generation.iter().flat_map(|_| ticket.spec.range()) {
            let cell = &mut self.cells[cell];
            if let Some(at) = cell.iter().position(|record| Some(record.generation) == ticket.generation) {
                change(cell, at);
            }
        }
    }

    /// What a read of `block`, submitted at `from`, may return now; the newest write, the likely one, first.
    fn candidates(&self, block: u64, from: u64) -> impl Iterator<Item = Block> + '_ {
        let cell =
            usize::try_from(block).ok().and_then(|at| self.cells.get(at)).map_or(&[][..], Vec::as_slice);
        cell.iter().rev().filter(move |record| !superseded(record, cell, from)).map(move |record| {
            let Record { generation, position, zeroes, .. } = *record;
            if zeroes {
                Block::Zeroes { block, generation }
            } else {
                Block::Data(Stamp { seed: self.seed, block, generation, position })
            }
        })
    }

    /// Checks what a read of `block`, submitted at `from`, returned; tells what was found, or what is wrong.
    pub fn check(&self, block: u64, from: u64, bytes: &[u8]) -> Result<Block, String> {
        self.candidates(block, from).find(|content| content.is(bytes)).ok_or_else(|| {
            let candidates: Vec<_> = self.candidates(block, from).collect();
            describe(block, self.seed, &candidates, &identify(bytes))
        })
    }

    /// The block was seen to hold this, with no write pending: from now on nothing else is right.
    pub fn adopt(&mut self, seen: Block) {
        let now = self.tick();
        // A pending read may still return what was there when it was submitted: the history is kept for it.
        let history_is_needed = self.pending_reads > 0;
        let (block, generation, position, zeroes) = match seen {
            Block::Data(Stamp { block, generation, position, .. }) => (block, generation, position, false),
            Block::Zeroes { block, generation } => (block, generation, 0, true),
        };
        let Some(cell) = usize::try_from(block).ok().and_then(|at| self.cells.get_mut(at)) else {
            return;
        };
        if cell.len() > 1 {
            if !history_is_needed {
                cell.clear();
            }
            cell.push(Record { generation, position, zeroes, submitted: now, end: Some((now, true)) });
        }
    }
}

impl Block {
    /// Whether `bytes` are that.
    fn is(self, bytes: &[u8]) -> bool {
        match self {
            Self::Data(stamp) => holds(stamp, bytes),
            Self::Zeroes { .. } => bytes.iter().all(|byte| *byte == 0),
        }
    }

    /// Which write put it there.
    #[cfg(test)]
    fn generation(self) -> u32 {
        match self {
            Self::Data(stamp) => stamp.generation,
            Self::Zeroes { generation, .. } => generation,
        }
    }

    /// `generation 3`, `the zeroes of generation 3`.
    fn name(self) -> String {
        match self {
            Self::Data(stamp) => generation(stamp.generation),
            Self::Zeroes { generation: of, .. } => format!("the zeroes of {}", generation(of)),
        }
    }
}

/// Whether `record` can't be what a read submitted at `from` returns: a successful write lies between.
fn superseded(record: &Record, cell: &[Record], from: u64) -> bool {
    let Some((ended, _)) = record.end else { return false };
    cell.iter().any(|later| match later.end {
        Some((later_end, true)) => later.submitted > ended && later_end < from,
        _ => false,
    })
}

/// `block 12 holds block 14 of generation 3 …`: what is wrong with a block, in one line.
fn describe(block: u64, seed: u64, expected: &[Block], found: &Content) -> String {
    let wanted: Vec<_> = expected.iter().map(|content| content.name()).collect();
    let wanted = wanted.join(" or ");
    match found {
        Content::Whole(stamp) if stamp.seed != seed => {
            format!(
                "block {block} holds {stamp} of another disk or an earlier case, expected {wanted}: lost or misplaced"
            )
        }
        Content::Whole(stamp) if stamp.block != block => {
            format!("block {block} holds {stamp}, expected {wanted}: doubled or misplaced")
        }
        Content::Whole(Stamp { generation: 0, .. }) => {
            format!("block {block} holds {}, expected {wanted}: lost", generation(0))
        }
        Content::Whole(stamp) => {
            let found = generation(stamp.generation);
            format!(
                "block {block} holds {found}, expected {wanted}: an older write came back, or the newer one is lost"
            )
        }
        Content::Mixed(sectors) => format!("block {block} {}, expected {wanted}", runs(sectors)),
    }
}

/// `is torn: sectors 0-2 hold generation 3, sectors 3-7 hold zeroes`.
fn runs(sectors: &[Sector]) -> String {
    let mut runs: Vec<(usize, usize, String)> = Vec::new();
    for (number, sector) in sectors.iter().enumerate() {
        let text = match sector {
            // In its own place inside the block, the number of the sector says nothing new.
            Sector::Stamped(stamp, own) if *own == number => stamp.to_string(),
            other => other.to_string(),
        };
        match runs.last_mut() {
            Some((_, last, same)) if *same == text => *last = number,
            _ => runs.push((number, number, text)),
        }
    }
    match runs.as_slice() {
        [(_, _, all)] => format!("holds {all}"),
        parts => {
            let parts: Vec<_> = parts
                .iter()
                .map(|(first, last, text)| {
                    if first == last {
                        format!("sector {first} holds {text}")
                    } else {
                        format!("sectors {first}-{last} hold {text}")
                    }
                })
                .collect();
            format!("is torn: {}", parts.join(", "))
        }
    }
}

#[cfg(test)]
#[path = "model_tests.rs"]
mod tests;
