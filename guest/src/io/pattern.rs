// SPDX-License-Identifier: GPL-2.0-only
//! The content of one block on the disk: every 512-byte sector names the disk, its own place and the write that
//! put it there, and fills the rest with words derived from that name. Pure: bytes in, identity out.
//!
//! A sector is 64 little-endian words: magic, seed of the disk, `block * 8 + sector`, `generation << 32 | position`,
//! then 60 words of a 64-bit linear congruential sequence whose start is mixed from the first four. There is no
//! checksum: whoever reads a sector derives all of it again from its name, which leaves no byte unchecked and costs
//! one multiplication a word (measured with QEMU's TCG: see `ledger`). A name per sector, and not per block, tells
//! a torn block (sectors of two writes) from a damaged one.

use std::fmt;

use super::BLOCK;

/// Bytes of a sector: what the kernel calls a sector, whatever the device's logical block size.
pub const SECTOR: usize = 512;

/// Sectors of a block.
pub const SECTORS: usize = BLOCK as usize / SECTOR;

/// Words of a sector.
const WORDS: usize = SECTOR / 8;

/// First word of every sector: "PUSHBACK" in the order of the bytes on the disk.
const MAGIC: u64 = u64::from_le_bytes(*b"PUSHBACK");

/// Multiplier and increment of the word sequence (full period for odd increments: Knuth, TAOCP 3.3.4).
const MULTIPLIER: u64 = 6_364_136_223_846_793_005;
const INCREMENT: u64 = 1_442_695_040_888_963_407;

/// Who wrote a block: the identity that the block carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Stamp {
    /// Seed of the disk: another disk and another case have another one.
    pub seed: u64,
    /// Number of the block on the disk.
    pub block: u64,
    /// Which write: 0 is the first content of the disk, every later write has the next number.
    pub generation: u32,
    /// Position of the block inside that write, in blocks.
    pub position: u32,
}

/// What a sector holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sector {
    /// The sector number `sector` of a block with this identity, complete.
    Stamped(Stamp, usize),
    /// It begins like that sector, and differs from the given byte on.
    Damaged(Stamp, usize, usize),
    /// Nothing but zeroes.
    Zeroes,
    /// Bytes that no write of ours made; the first four.
    Foreign([u8; 4]),
}

/// What a block holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// One write's data, complete.
    Whole(Stamp),
    /// Anything else, sector by sector.
    Mixed(Vec<Sector>),
}

/// A well mixed start value: the finalizer of `splitmix64`.
const fn mix(mut word: u64) -> u64 {
    word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ (word >> 31)
}

/// A seed that differs from all the earlier ones of the same disk.
pub const fn next_seed(seed: u64) -> u64 {
    mix(seed.wrapping_add(0x9e37_79b9_7f4a_7c15))
}

/// The four words that name a sector, and the start of the sequence that follows them.
const fn name_of(stamp: Stamp, sector: usize) -> ([u64; 4], u64) {
    let place = stamp.block * SECTORS as u64 + sector as u64;
    let write = ((stamp.generation as u64) << 32) | stamp.position as u64;
    ([MAGIC, stamp.seed, place, write], mix(stamp.seed ^ mix(place ^ mix(write))))
}

/// The next word of the sequence.
const fn next(word: u64) -> u64 {
    word.wrapping_mul(MULTIPLIER).wrapping_add(INCREMENT)
}

/// Fills a block of [`BLOCK`] bytes with the content that `stamp` names.
pub fn fill(stamp: Stamp, block: &mut [u8]) {
    for (number, sector) in block.chunks_exact_mut(SECTOR).enumerate() {
        let (name, mut word) = name_of(stamp, number);
        let (head, body) = sector.split_at_mut(32);
        for (place, value) in head.chunks_exact_mut(8).zip(name) {
            place.copy_from_slice(&value.to_le_bytes());
        }
        for place in body.chunks_exact_mut(8) {
            word = next(word);
            place.copy_from_slice(&word.to_le_bytes());
        }
    }
}

/// The first byte (rounded down to 8) at which `bytes` is not sector `number` of `stamp`.
fn first_difference(stamp: Stamp, number: usize, bytes: &[u8]) -> Option<usize> {
    let (name, mut expected) = name_of(stamp, number);
    let mut words = bytes.chunks_exact(8).map(word_of);
    if let Some(at) = name.iter().position(|wanted| words.next() != Some(*wanted)) {
        return Some(at * 8);
    }
    // The differences are gathered without a branch; where they are is looked for only if there is one.
    let mut difference = 0;
    for word in words {
        expected = next(expected);
        difference |= word ^ expected;
    }
    if difference == 0 { None } else { Some(locate_difference(stamp, number, bytes)) }
}

/// Where the body of a sector begins to differ; the caller knows that it does.
fn locate_difference(stamp: Stamp, number: usize, bytes: &[u8]) -> usize {
    let (_, mut expected) = name_of(stamp, number);
    let differs = |word| {
        expected = next(expected);
        word != expected
    };
    bytes[32..].chunks_exact(8).map(word_of).position(differs).map_or(SECTOR, |at| 32 + at * 8)
}

fn word_of(bytes: &[u8]) -> u64 {
    let mut word = [0; 8];
    word.copy_from_slice(bytes);
    u64::from_le_bytes(word)
}

/// Whether a block of [`BLOCK`] bytes holds exactly what `stamp` names.
pub fn holds(stamp: Stamp, block: &[u8]) -> bool {
    block
        .chunks_exact(SECTOR)
        .enumerate()
        .all(|(number, sector)| first_difference(stamp, number, sector).is_none())
}

/// The name in the head of a sector, if it has one.
fn claimed(sector: &[u8]) -> Option<(Stamp, usize)> {
    let mut words = sector.chunks_exact(8).map(word_of);
    let (magic, seed, place, write) = (words.next()?, words.next()?, words.next()?, words.next()?);
    let number = usize::try_from(place % SECTORS as u64).ok()?;
    let generation = u32::try_from(write >> 32).ok()?;
    let position = u32::try_from(write & u64::from(u32::MAX)).ok()?;
    (magic == MAGIC).then_some((Stamp { seed, block: place / SECTORS as u64, generation, position }, number))
}

/// Finds out what a sector of [`SECTOR`] bytes holds.
fn identify_sector(sector: &[u8]) -> Sector {
    debug_assert_eq!(sector.len(), WORDS * 8);
    match claimed(sector) {
        Some((stamp, number)) => match first_difference(stamp, number, sector) {
            None => Sector::Stamped(stamp, number),
            Some(at) => Sector::Damaged(stamp, number, at),
        },
        None if sector.iter().all(|byte| *byte == 0) => Sector::Zeroes,
        None => Sector::Foreign([sector[0], sector[1], sector[2], sector[3]]),
    }
}

/// Finds out what a block of [`BLOCK`] bytes holds.
pub fn identify(block: &[u8]) -> Content {
    let sectors: Vec<_> = block.chunks_exact(SECTOR).map(identify_sector).collect();
    if let Some(Sector::Stamped(stamp, 0)) = sectors.first().copied() {
        let whole = |(number, sector): (usize, &Sector)| *sector == Sector::Stamped(stamp, number);
        if sectors.iter().enumerate().all(whole) {
            return Content::Whole(stamp);
        }
    }
    Content::Mixed(sectors)
}

/// `generation 3`, or what generation 0 is.
pub fn generation(number: u32) -> String {
    if number == 0 { "the first content".to_owned() } else { format!("generation {number}") }
}

/// `block 14 of generation 3`.
impl fmt::Display for Stamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "block {} of {}", self.block, generation(self.generation))
    }
}

/// Reads after "sectors 0-3 hold".
impl fmt::Display for Sector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stamped(stamp, number) => write!(f, "sector {number} of {stamp}"),
            Self::Damaged(stamp, number, at) => {
                write!(f, "sector {number} of {stamp} with other bytes from byte {at} on")
            }
            Self::Zeroes => f.write_str("zeroes"),
            Self::Foreign(start) => write!(f, "bytes nobody wrote ({start:02x?}…)"),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const STAMP: Stamp = Stamp { seed: 7, block: 12, generation: 3, position: 1 };

    fn filled(stamp: Stamp) -> Vec<u8> {
        let mut block = vec![0xee; BLOCK as usize];
        fill(stamp, &mut block);
        block
    }

    #[test]
    fn the_bytes_on_the_disk_are_stable() {
        // A block that an older build wrote must still be told apart by a newer one.
        let block = filled(STAMP);
        assert_eq!(&block[..8], b"PUSHBACK");
        assert_eq!(word_of(&block[512 + 16..512 + 24]), 12 * 8 + 1);
        assert_eq!(word_of(&block[24..32]), (3 << 32) | 1);
        let all = block.chunks_exact(8).map(word_of).fold(0, |sum, word| mix(sum ^ word));
        insta::assert_snapshot!(format!("{all:016x}"), @"88e3e90d8e74c867");
    }

    #[test]
    fn zeroes_and_foreign_bytes_are_named() {
        let mut block = vec![0; BLOCK as usize];
        block[512] = 0xde;
        let Content::Mixed(sectors) = identify(&block) else { panic!("no stamp was there") };
        assert_eq!(sectors[0], Sector::Zeroes);
        assert_eq!(sectors[1], Sector::Foreign([0xde, 0, 0, 0]));
    }

    fn stamps() -> impl Strategy<Value = Stamp> {
        (any::<u64>(), 0..1_u64 << 40, any::<u32>(), any::<u32>())
            .prop_map(|(seed, block, generation, position)| Stamp { seed, block, generation, position })
    }

    proptest! {
        #[test]
        fn a_block_tells_who_wrote_it(stamp in stamps()) {
            let block = filled(stamp);
            prop_assert!(holds(stamp, &block));
            prop_assert_eq!(identify(&block), Content::Whole(stamp));
        }

        #[test]
        fn no_other_identity_fits(one in stamps(), other in stamps()) {
            prop_assume!(one != other);
            prop_assert!(!holds(other, &filled(one)));
        }

        #[test]
        fn any_changed_bit_is_seen(stamp in stamps(), at in 0..BLOCK as usize, bit in 0..8_u8) {
            let mut block = filled(stamp);
            block[at] ^= 1 << bit;
            prop_assert!(!holds(stamp, &block));
            prop_assert_ne!(identify(&block), Content::Whole(stamp));
        }

        #[test]
        fn a_torn_block_names_both_writes(one in stamps(), generation in any::<u32>(), cut in 1..SECTORS) {
            prop_assume!(one.generation != generation);
            let other = Stamp { generation, ..one };
            let mut block = filled(one);
            block[cut * SECTOR..].copy_from_slice(&filled(other)[cut * SECTOR..]);
            let Content::Mixed(sectors) = identify(&block) else { panic!("torn") };
            for (number, sector) in sectors.into_iter().enumerate() {
                let writer = if number < cut { one } else { other };
                prop_assert_eq!(sector, Sector::Stamped(writer, number));
            }
        }
    }
}
