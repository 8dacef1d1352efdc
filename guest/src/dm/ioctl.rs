// SPDX-License-Identifier: GPL-2.0-only
//! The one structure that every ioctl of device-mapper takes: for the clean-up, for a suspend that is to be
//! interrupted, and for storms ([`super::direct`]). What is tested otherwise goes through `dmsetup`.

use std::fs::File;

use super::DmName;
use crate::failure::{GuestContext as _, Outcome};

/// `DM_SUSPEND_FLAG`: without it `DM_DEV_SUSPEND` is a resume.
pub const SUSPEND: u32 = 1 << 1;
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
}
