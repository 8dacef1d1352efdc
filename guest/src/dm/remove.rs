// SPDX-License-Identifier: GPL-2.0-only
//! Removes devices by the ioctl itself. For the clean-up only: what is tested goes through `dmsetup`.
//!
//! Each case pays for its clean-up, and one `dmsetup` costs 83 ms of CPU on a debug kernel under TCG (44 ms for
//! a program linked with libc alone) where the ioctl takes some 20. And the clean-up should not depend on much.

use std::fs;
use std::os::fd::AsRawFd as _;

use nix::errno::Errno;

use super::DmName;
use super::ioctl::{self, DmIoctl};
use crate::failure::{Failure, Outcome};
use crate::report::happened;

nix::ioctl_readwrite!(
    /// `DM_DEV_REMOVE` of include/uapi/linux/dm-ioctl.h.
    dm_dev_remove, 0xfd, 4, DmIoctl);

/// Removes devices, in this order. Assertions: `remove returns`, `remove succeeds`.
pub fn remove(names: &[&DmName]) -> Outcome {
    if names.is_empty() {
        return Ok(());
    }
    let owned: Vec<DmName> = names.iter().map(|name| (*name).clone()).collect();
    ioctl::in_time("remove", move || owned.iter().try_for_each(remove_one))??;
    let text = names.iter().map(|name| name.as_str()).collect::<Vec<_>>().join(" ");
    happened("maps removed", &[("maps", &text)]);
    Ok(())
}

fn remove_one(name: &DmName) -> Outcome {
    let control = ioctl::control()?;
    let mut request = DmIoctl::of(name, 0);
    // SAFETY: the kernel reads and writes `data_size` bytes of `request`, which lives until the call returns.
    match unsafe { dm_dev_remove(control.as_raw_fd(), &raw mut request) } {
        Ok(_) | Err(Errno::ENXIO) => {}
        Err(errno) => {
            let seen = format!("DM_DEV_REMOVE of {name}: {errno}, open count {}", request.open_count());
            return Err(Failure::assertion("remove succeeds", seen));
        }
    }
    // Without udev it was dmsetup that made the node.
    let _already_gone = fs::remove_file(format!("/dev/mapper/{name}"));
    Ok(())
}
