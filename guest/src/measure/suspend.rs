// SPDX-License-Identifier: GPL-2.0-only
//! Suspends and resumes by the ioctl itself, and says how long that took: a start of `dmsetup` costs more than what is
//! to be measured.

use std::os::fd::AsRawFd as _;
use std::time::{Duration, Instant};

use crate::dm::Map;
use crate::dm::interrupted::dm_dev_suspend;
use crate::dm::ioctl::{self, DmIoctl};
use crate::failure::{GuestContext as _, Outcome};

/// A noflush suspend.
pub fn suspend_noflush(map: &Map) -> Outcome<Duration> {
    timed(map, ioctl::SUSPEND | ioctl::NOFLUSH)
}

/// A resume, with the table that was loaded, if there is one.
pub fn resume(map: &Map) -> Outcome<Duration> {
    timed(map, 0)
}

fn timed(map: &Map, flags: u32) -> Outcome<Duration> {
    let control = ioctl::control()?;
    let mut request = DmIoctl::of(map.name(), flags);
    let start = Instant::now();
    // SAFETY: the kernel reads and writes `data_size` bytes of `request`, which lives until the call returns.
    unsafe { dm_dev_suspend(control.as_raw_fd(), &raw mut request) }
        .guest(format_args!("DM_DEV_SUSPEND of {}", map.name()))?;
    Ok(start.elapsed())
}
