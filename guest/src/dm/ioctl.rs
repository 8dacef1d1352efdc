// SPDX-License-Identifier: GPL-2.0-only
//! The one structure that every ioctl of device-mapper takes, and the deadline of a call. Where the ioctls are used
//! instead of `dmsetup`: see [`super::direct`].

use std::fs::File;
use std::sync::mpsc;
use std::thread;

use nix::unistd::gettid;

use super::tool::{DEADLINE, whereabouts};
use super::{DevNo, DmName};
use crate::assertions::returns;
use crate::failure::{Failure, GuestContext as _, Outcome};
use crate::wait::scaled;

/// `DM_SUSPEND_FLAG`: without it `DM_DEV_SUSPEND` is a resume.
pub const SUSPEND: u32 = 1 << 1;
/// `DM_STATUS_TABLE_FLAG`: `DM_TABLE_STATUS` tells the table in use.
pub const STATUS_TABLE: u32 = 1 << 4;
/// `DM_BUFFER_FULL_FLAG`: the answer did not fit.
pub const BUFFER_FULL: u32 = 1 << 8;
/// `DM_DEFERRED_REMOVE`.
pub const DEFERRED_REMOVE: u32 = 1 << 17;
/// `DM_SKIP_LOCKFS_FLAG`.
pub const SKIP_LOCKFS: u32 = 1 << 10;
/// `DM_NOFLUSH_FLAG`.
pub const NOFLUSH: u32 = 1 << 11;

/// `struct dm_ioctl` of include/uapi/linux/dm-ioctl.h.
#[repr(C)]
#[derive(Debug)]
pub struct DmIoctl {
    version: [u32; 3],
    data_size: u32,
    data_start: u32,
    target_count: u32,
    open_count: i32,
    flags: u32,
    event_nr: u32,
    padding: u32,
    dev: u64,
    name: [u8; 128],
    uuid: [u8; 129],
    data: [u8; 7],
}

/// What the kernel's `sizeof(struct dm_ioctl)` is on 64 bits; it refuses a smaller `data_size`.
const SIZE: u32 = 312;
const _: () = assert!(size_of::<DmIoctl>() == SIZE as usize, "the layout is the kernel's");

impl DmIoctl {
    /// A request about the device `name`.
    pub fn of(name: &DmName, flags: u32) -> Self {
        let mut request = Self {
            version: [4, 0, 0],
            data_size: SIZE,
            data_start: 0,
            target_count: 0,
            open_count: 0,
            flags,
            event_nr: 0,
            padding: 0,
            dev: 0,
            name: [0; 128],
            uuid: [0; 129],
            data: [0; 7],
        };
        // A DmName has at most 127 bytes, so a zero follows.
        for (place, byte) in request.name.iter_mut().zip(name.as_str().bytes()) {
            *place = byte;
        }
        request
    }

    /// The same with `size` bytes after the structure, which hold `targets` targets (or a message).
    #[must_use]
    pub fn with_payload(self, size: usize, targets: u32) -> Self {
        let size = u32::try_from(size).unwrap_or(0);
        Self { data_size: SIZE + size, data_start: SIZE, target_count: targets, ..self }
    }

    /// What the kernel answered about who has the device open.
    pub fn open_count(&self) -> i32 {
        self.open_count
    }

    /// The number of the device, as `huge_encode_dev()` puts it.
    pub fn device(&self) -> DevNo {
        let number = |bits: u64| u32::try_from(bits).unwrap_or(0);
        let minor = self.dev & 0xff | self.dev >> 12 & 0xf_ff00;
        DevNo { major: number(self.dev >> 8 & 0xfff), minor: number(minor) }
    }

    /// Where the answer's payload starts, counted from the end of the structure, and how many targets it holds;
    /// `None` if it did not fit.
    pub fn answer(&self) -> Option<(usize, u32)> {
        let start = self.data_start.checked_sub(SIZE)?;
        (self.flags & BUFFER_FULL == 0).then_some((start as usize, self.target_count))
    }
}

/// Runs `call` in a thread of its own: an ioctl that does not return fails the assertion `WHAT returns`, with its place in
/// the kernel, and is never a hang.
pub fn in_time<T: Send + 'static>(what: &str, call: impl FnOnce() -> T + Send + 'static) -> Outcome<T> {
    let (done, answer) = mpsc::channel();
    let (born, thread) = mpsc::channel();
    let work = move || {
        // Nobody listens after the deadline.
        let _known = born.send(gettid());
        let _late = done.send(call());
    };
    thread::Builder::new().name(what.to_owned()).spawn(work).guest("start a thread")?;
    let limit = scaled(DEADLINE);
    answer.recv_timeout(limit).map_err(|_| {
        let place = thread.try_recv().map(|tid| format!("self/task/{tid}"));
        let place = place.map_or_else(|_| "it has not begun".to_owned(), whereabouts);
        let late = format_args!("the ioctl did not return within {:.1} s: {place}", limit.as_secs_f64());
        Failure::assertion(returns(what), late)
    })
}

/// The file that takes the ioctls.
pub fn control() -> Outcome<File> {
    File::open("/dev/mapper/control").guest("open /dev/mapper/control")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_layout_is_the_kernels() {
        assert_eq!(std::mem::offset_of!(DmIoctl, dev), 40);
        assert_eq!(std::mem::offset_of!(DmIoctl, name), 48);
        assert_eq!(std::mem::offset_of!(DmIoctl, uuid), 176);
    }

    #[test]
    fn a_device_number_is_read_as_the_kernel_writes_it() {
        let name = DmName::of("map").unwrap();
        for (major, minor) in [(254, 0), (254, 255), (253, 256), (4095, 0xf_ffff)] {
            let dev = u64::from(minor & 0xff) | major << 8 | u64::from(minor & !0xff) << 12;
            let request = DmIoctl { dev, ..DmIoctl::of(&name, 0) };
            assert_eq!((u64::from(request.device().major), request.device().minor), (major, minor));
        }
    }
}
