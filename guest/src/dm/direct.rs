// SPDX-License-Identifier: GPL-2.0-only
//! The ioctls without `dmsetup`. A `dmsetup` costs some 35 ms under TCG, three times as much as a static program. So what a case is
//! about (suspend, load, resume) goes through `dmsetup`, as people will type it to reproduce; what only brings a map into a
//! state or looks at it (create, messages, status, table), and storms, in which nothing else would race, use the ioctls that
//! `dmsetup` would issue.
//!
//! The calls return what the kernel says and tell nothing; who calls them keeps the deadline ([`ioctl::in_time`],
//! [`crate::stress`]).

use std::fmt::Write as _;
use std::fs::File;
use std::os::fd::AsRawFd as _;

use nix::errno::Errno;
use nix::sys::stat::{Mode, SFlag, makedev, mknod};
use nix::unistd::unlink;

use super::interrupted::dm_dev_suspend;
use super::ioctl::{self, DmIoctl};
use super::remove::dm_dev_remove;
use super::{DevNo, DmName, Flush, Map, Sectors, Table};
use crate::failure::Outcome;

nix::ioctl_readwrite!(
    /// `DM_DEV_CREATE`.
    dm_dev_create, 0xfd, 3, DmIoctl);
nix::ioctl_readwrite!(
    /// `DM_TABLE_LOAD` of include/uapi/linux/dm-ioctl.h.
    dm_table_load, 0xfd, 9, DmIoctl);
nix::ioctl_readwrite!(
    /// `DM_TABLE_STATUS`.
    dm_table_status, 0xfd, 12, DmIoctl);
nix::ioctl_readwrite!(
    /// `DM_TARGET_MSG`.
    dm_target_msg, 0xfd, 14, DmIoctl);

/// Room for a table, a message, or what the kernel tells about a table; `dmsetup` starts with as much.
const PAYLOAD: usize = 16 * 1024;

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

/// Which text a target gives about itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Text {
    /// `dmsetup status`.
    Status,
    /// `dmsetup table`.
    Table,
}

impl Text {
    /// The verb of `dmsetup`.
    pub const fn verb(self) -> &'static str {
        match self {
            Self::Status => "status",
            Self::Table => "table",
        }
    }
}

impl Direct {
    /// Of a map.
    pub fn of(map: &Map) -> Outcome<Self> {
        Self::to(map.name().clone())
    }

    /// Of a device that there may not be yet.
    pub fn to(name: DmName) -> Outcome<Self> {
        Ok(Self { control: ioctl::control()?, name })
    }

    /// Creates the device with its first table, takes it into use, and makes its node, as `dmsetup` does where there is no
    /// udev. Tells which ioctl was refused; nothing is left of it then.
    pub fn create(&self, table: &Table) -> Result<DevNo, (&'static str, Errno)> {
        let mut request = DmIoctl::of(&self.name, 0);
        // SAFETY: as in `dev_suspend`.
        unsafe { dm_dev_create(self.control.as_raw_fd(), &raw mut request) }
            .map_err(|errno| ("DM_DEV_CREATE", errno))?;
        let used = (self.load(table).map_err(|errno| ("DM_TABLE_LOAD", errno)))
            .and_then(|()| self.resume(Flush::Flush).map_err(|errno| ("DM_DEV_SUSPEND", errno)))
            .and_then(|()| self.make_node(request.device()).map_err(|errno| ("mknod", errno)));
        used.map(|()| request.device()).inspect_err(|_| {
            // The refusal is what is told.
            let _gone = self.remove(false);
        })
    }

    fn make_node(&self, device: DevNo) -> Result<(), Errno> {
        let node = format!("/dev/mapper/{}", self.name);
        let number = makedev(device.major.into(), device.minor.into());
        match mknod(node.as_str(), SFlag::S_IFBLK, Mode::S_IRUSR | Mode::S_IWUSR, number) {
            // Of an earlier device of this name that was removed behind dmsetup's back.
            Err(Errno::EEXIST) => {
                unlink(node.as_str())?;
                mknod(node.as_str(), SFlag::S_IFBLK, Mode::S_IRUSR | Mode::S_IWUSR, number)
            }
            made => made,
        }
    }

    /// What its targets say about themselves, a line each, as `dmsetup` prints it.
    pub fn text(&self, text: Text) -> Result<String, Errno> {
        let flags = if text == Text::Table { ioctl::STATUS_TABLE } else { 0 };
        let header = DmIoctl::of(&self.name, flags).with_payload(PAYLOAD, 0);
        let mut request = Box::new(Request { header, payload: [0; PAYLOAD] });
        // SAFETY: the kernel reads and writes `data_size` bytes of `request`: the header and the whole payload.
        unsafe { dm_table_status(self.control.as_raw_fd(), (&raw mut *request).cast()) }?;
        let (start, targets) = request.header.answer().ok_or(Errno::E2BIG)?;
        let payload = request.payload.get(start..).ok_or(Errno::EINVAL)?;
        lines(payload, targets).ok_or(Errno::EINVAL)
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
        self.message_at(Sectors::ZERO, text)
    }

    /// Sends a message to the target at a sector.
    pub fn message_at(&self, sector: Sectors, text: &str) -> Result<(), Errno> {
        // `struct dm_target_msg`: the sector, then the text with a zero after it.
        let mut payload = [0; PAYLOAD];
        payload[..8].copy_from_slice(&sector.0.to_ne_bytes());
        let room = payload.get_mut(8..8 + text.len()).filter(|room| 8 + room.len() < PAYLOAD);
        room.ok_or(Errno::E2BIG)?.copy_from_slice(text.as_bytes());
        let mut request = Request { header: DmIoctl::of(&self.name, 0).with_payload(PAYLOAD, 0), payload };
        // SAFETY: as in `load`.
        unsafe { dm_target_msg(self.control.as_raw_fd(), (&raw mut request).cast()) }.map(drop)
    }
}

/// What `retrieve_status()` of drivers/md/dm-ioctl.c writes, as `dmsetup` prints it: each spec with its text, and where the
/// next one starts, counted from the first. `None` if it is cut.
fn lines(payload: &[u8], targets: u32) -> Option<String> {
    let mut out = String::new();
    let mut at = 0;
    for _ in 0..targets {
        let spec = payload.get(at..at + SPEC)?;
        let number = |at: usize| Some(u64::from_ne_bytes(spec.get(at..at + 8)?.try_into().ok()?));
        let word = |bytes: &[u8]| {
            let text = bytes.split(|byte| *byte == 0).next()?;
            Some(String::from_utf8_lossy(text).into_owned())
        };
        let (kind, parameters) = (word(&spec[TYPE])?, word(payload.get(at + SPEC..)?)?);
        let _ = writeln!(out, "{} {} {kind} {parameters}", number(0)?, number(8)?);
        at = u32::from_ne_bytes(spec[20..24].try_into().ok()?) as usize;
    }
    Some(out)
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

    /// The layout is that of `retrieve_status()`: `next` is counted from the first spec, and not from the last.
    #[test]
    fn an_answer_is_read_as_the_kernel_lays_it_out() {
        let mut payload = [0; 256];
        let mut put = |at: usize, start: u64, next: u32, kind: &[u8], text: &[u8]| {
            payload[at..at + 8].copy_from_slice(&start.to_ne_bytes());
            payload[at + 8..at + 16].copy_from_slice(&8_u64.to_ne_bytes());
            payload[at + 20..at + 24].copy_from_slice(&next.to_ne_bytes());
            payload[at + 24..at + 24 + kind.len()].copy_from_slice(kind);
            payload[at + SPEC..at + SPEC + text.len()].copy_from_slice(text);
        };
        put(0, 0, 56, b"linear", b"8:16 0");
        put(56, 8, 112, b"a-name-of-16-let", b"");
        put(112, 16, 160, b"error", b"");
        let expected = "0 8 linear 8:16 0\n8 8 a-name-of-16-let \n16 8 error \n";
        assert_eq!(lines(&payload, 3).as_deref(), Some(expected));
        assert_eq!(lines(&payload, 0).as_deref(), Some(""));
        assert_eq!(lines(&payload[..130], 3), None, "the third spec is cut");
        assert_eq!(lines(&[0xff; 64], 2), None, "the second would start outside");
    }

    #[test]
    fn a_table_that_is_too_long_is_refused() {
        let device = DevNo { major: 8, minor: 16 };
        assert_eq!(specs(&Table::alternating([device, device], Sectors(8), 1000, Sectors(10_000))), None);
    }
}
