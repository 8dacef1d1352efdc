// SPDX-License-Identifier: GPL-2.0-only
//! The ioctls without `dmsetup`, for a storm of them: a `dmsetup` costs some 80 ms of CPU under TCG, mostly for linking
//! its libraries, in which one ioctl would be the only thing that races with anything.
//!
//! The calls return what the kernel says and tell nothing; who calls them keeps the deadline ([`crate::stress`]).

use std::fs::File;
use std::os::fd::AsRawFd as _;

use nix::errno::Errno;

use super::interrupted::dm_dev_suspend;
use super::ioctl::{self, DmIoctl};
use super::remove::dm_dev_remove;
use super::{DmName, Flush, Map, Table};
use crate::failure::Outcome;

nix::ioctl_readwrite!(
    /// `DM_TABLE_LOAD` of include/uapi/linux/dm-ioctl.h.
    dm_table_load, 0xfd, 9, DmIoctl);
nix::ioctl_readwrite!(
    /// `DM_TARGET_MSG`.
    dm_target_msg, 0xfd, 14, DmIoctl);

/// Room for a table of some paths, or for a message.
const PAYLOAD: usize = 1024;

/// `struct dm_target_spec` without its parameters.
const SPEC: usize = 40;
/// Where in it the target's name is, and how long that may be (`DM_MAX_TYPE_NAME`).
const TYPE: std::ops::Range<usize> = 24..40;

/// An ioctl with what follows its structure.
#[repr(C)]
struct Request {
    header: DmIoctl,
    payload: [u8; PAYLOAD],
}

/// A device, and the file that takes ioctls about it.
#[derive(Debug)]
pub struct Direct {
    control: File,
    name: DmName,
}

impl Direct {
    /// Of a map.
    pub fn of(map: &Map) -> Outcome<Self> {
        Ok(Self { control: ioctl::control()?, name: map.name().clone() })
    }

    /// Suspends it.
    pub fn suspend(&self, flush: Flush) -> Result<(), Errno> {
        self.dev_suspend(ioctl::SUSPEND | flush.flags())
    }

    /// Resumes it, with the table that was loaded, if there is one; if it is not suspended, it is on the way.
    pub fn resume(&self, flush: Flush) -> Result<(), Errno> {
        self.dev_suspend(flush.flags())
    }

    fn dev_suspend(&self, flags: u32) -> Result<(), Errno> {
        let mut request = DmIoctl::of(&self.name, flags);
        // SAFETY: the kernel reads and writes `data_size` bytes of `request`, which lives until the call returns.
        unsafe { dm_dev_suspend(self.control.as_raw_fd(), &raw mut request) }.map(drop)
    }

    /// Loads a table beside the one in use.
    pub fn load(&self, table: &Table) -> Result<(), Errno> {
        let payload = specs(table).ok_or(Errno::E2BIG)?;
        let count = u32::try_from(table.0.len()).map_err(|_| Errno::E2BIG)?;
        let mut request =
            Request { header: DmIoctl::of(&self.name, 0).with_payload(PAYLOAD, count), payload };
        // SAFETY: the kernel reads and writes `data_size` bytes of `request`: the header and the whole payload.
        unsafe { dm_table_load(self.control.as_raw_fd(), (&raw mut request).cast()) }.map(drop)
    }

    /// Removes it; `deferred`: if somebody has it open, when nobody has any more. Its node stays.
    pub fn remove(&self, deferred: bool) -> Result<(), Errno> {
        let flags = if deferred { ioctl::DEFERRED_REMOVE } else { 0 };
        let mut request = DmIoctl::of(&self.name, flags);
        // SAFETY: as in `dev_suspend`.
        unsafe { dm_dev_remove(self.control.as_raw_fd(), &raw mut request) }.map(drop)
    }

    /// Sends a message to the target at sector 0.
    pub fn message(&self, text: &str) -> Result<(), Errno> {
        // `struct dm_target_msg`: the sector, then the text with a zero after it.
        let mut payload = [0; PAYLOAD];
        let room = payload.get_mut(8..8 + text.len()).filter(|room| 8 + room.len() < PAYLOAD);
        room.ok_or(Errno::E2BIG)?.copy_from_slice(text.as_bytes());
        let mut request = Request { header: DmIoctl::of(&self.name, 0).with_payload(PAYLOAD, 0), payload };
        // SAFETY: as in `load`.
        unsafe { dm_target_msg(self.control.as_raw_fd(), (&raw mut request).cast()) }.map(drop)
    }
}

/// The targets of a table as `next_target()` of drivers/md/dm-ioctl.c reads them; `None` if they need more room.
fn specs(table: &Table) -> Option<[u8; PAYLOAD]> {
    let mut payload = [0; PAYLOAD];
    let mut at = 0;
    for segment in &table.0 {
        let text = segment.to_string();
        let mut words = text.splitn(4, ' ').skip(2);
        let (target, parameters) = (words.next()?, words.next().unwrap_or_default());
        // The parameters end with a zero, and the next spec starts at a multiple of 8.
        let size = (SPEC + parameters.len() + 1).next_multiple_of(8);
        let spec = payload.get_mut(at..at + size)?;
        spec[0..8].copy_from_slice(&segment.start.0.to_ne_bytes());
        spec[8..16].copy_from_slice(&segment.length.0.to_ne_bytes());
        spec[20..24].copy_from_slice(&u32::try_from(size).ok()?.to_ne_bytes());
        spec[TYPE].get_mut(..target.len())?.copy_from_slice(target.as_bytes());
        spec[SPEC..SPEC + parameters.len()].copy_from_slice(parameters.as_bytes());
        at += size;
    }
    Some(payload)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dm::{DevNo, Sectors};

    #[test]
    fn a_table_is_laid_out_as_the_kernel_reads_it() {
        let device = DevNo { major: 8, minor: 16 };
        let table = Table::alternating([device, device], Sectors(16), 1, Sectors(48));
        let payload = specs(&table).unwrap();
        let text =
            |at: usize| String::from_utf8_lossy(payload[at..].split(|byte| *byte == 0).next().unwrap());
        let number = |at: usize| u64::from_ne_bytes(payload[at..at + 8].try_into().unwrap());
        let next = u32::from_ne_bytes(payload[20..24].try_into().unwrap()) as usize;
        assert_eq!((number(0), number(8), text(24).as_ref(), text(40).as_ref()), (0, 16, "linear", "8:16 0"));
        assert_eq!(next, 48);
        assert_eq!((number(next), number(next + 8), text(next + 40).as_ref()), (16, 32, "8:16 16"));
        let error = specs(&Table::error(Sectors(8))).unwrap();
        assert_eq!((&error[24..30], error[40]), (&b"error\0"[..], 0));
    }

    #[test]
    fn a_table_that_is_too_long_is_refused() {
        let device = DevNo { major: 8, minor: 16 };
        assert_eq!(specs(&Table::alternating([device, device], Sectors(8), 100, Sectors(1000))), None);
    }
}
