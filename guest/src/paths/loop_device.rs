// SPDX-License-Identifier: GPL-2.0-only
//! A loop device over a block device, with direct I/O: what reaches it waits below, and nothing completes into the
//! page cache. By the ioctls of include/uapi/linux/loop.h, without `losetup`.
//!
//! What it is for: request-based multipath takes no bio-based device as a path, so a suspended dm-linear, which
//! holds I/O deterministically, has to look like a request-based device.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::dm::DevNo;
use crate::failure::{GuestContext as _, Outcome, ensure};
use crate::modules;
use crate::report::happened;
use crate::wait::wait_for;

/// The module.
const MODULE: &str = "loop";
/// `LO_FLAGS_AUTOCLEAR`: the last one who closes it frees it.
const AUTOCLEAR: u32 = 4;
/// `LO_FLAGS_DIRECT_IO`.
const DIRECT_IO: u32 = 16;
/// How long it may take to become free, before scaling.
const CLEARED: Duration = Duration::from_secs(5);

/// `struct loop_config`, which holds a `struct loop_info64`; what is not named here stays 0.
#[repr(C)]
struct LoopConfig {
    fd: u32,
    block_size: u32,
    device_to_limit: [u64; 5],
    number_to_key_size: [u32; 3],
    flags: u32,
    names_and_key: [u8; 160],
    init: [u64; 2],
    reserved: [u64; 8],
}
const _: () = assert!(size_of::<LoopConfig>() == 304, "the layout is the kernel's");

nix::ioctl_none_bad!(
    /// `LOOP_CTL_GET_FREE`.
    loop_ctl_get_free, 0x4C82);
nix::ioctl_write_ptr_bad!(
    /// `LOOP_CONFIGURE` (since 5.8).
    loop_configure, 0x4C0A, LoopConfig);

/// A loop device in use. The kernel frees it when this and every map over it is gone.
#[derive(Debug)]
pub struct LoopDevice {
    name: String,
    device: DevNo,
    file: File,
}

impl LoopDevice {
    /// Makes one over the block device at `backing`, with direct I/O.
    pub fn over(backing: &Path) -> Outcome<Self> {
        let made = Self::make(backing, DIRECT_IO)?;
        // The kernel leaves direct I/O out where the block sizes do not fit, and says nothing.
        let direct = attribute(&made.name, "loop/dio").guest("ask for direct I/O")?;
        ensure(
            direct == "1",
            "a loop device does direct I/O",
            format_args!("{}: dio is {direct}", made.name),
        )?;
        Ok(made)
    }

    /// Makes one over a file.
    pub fn over_file(backing: &Path) -> Outcome<Self> {
        Self::make(backing, 0)
    }

    fn make(backing: &Path, flags: u32) -> Outcome<Self> {
        modules::require(MODULE)?.insert(MODULE, "").guest("load the module loop")?;
        let open = |path: &Path| OpenOptions::new().read(true).write(true).open(path);
        let control = open(Path::new("/dev/loop-control")).guest("open /dev/loop-control")?;
        // SAFETY: the ioctl takes no argument.
        let number = unsafe { loop_ctl_get_free(control.as_raw_fd()) }.guest("get a free loop device")?;
        let name = format!("loop{number}");
        let file = open(&PathBuf::from(format!("/dev/{name}"))).guest(format_args!("open /dev/{name}"))?;
        let below = open(backing).guest(format_args!("open {}", backing.display()))?;
        let config = LoopConfig {
            fd: u32::try_from(below.as_raw_fd()).guest("pass a file to the kernel")?,
            block_size: 0,
            device_to_limit: [0; 5],
            number_to_key_size: [0; 3],
            flags: AUTOCLEAR | flags,
            names_and_key: [0; 160],
            init: [0; 2],
            reserved: [0; 8],
        };
        // SAFETY: the kernel reads `config` during the call and takes its own reference to the file.
        unsafe { loop_configure(file.as_raw_fd(), &raw const config) }
            .guest(format_args!("put {name} over {}", backing.display()))?;
        // Read-only from here on: a device that somebody has open for writing can't be mounted
        // (CONFIG_BLK_DEV_WRITE_MOUNTED is not set).
        let keep = File::open(format!("/dev/{name}")).guest(format_args!("open /dev/{name}"))?;
        let device = attribute(&name, "dev").guest("read a device number")?;
        let device = device.parse().guest("understand a device number")?;
        happened("loop device made", &[("name", &name), ("device", &device), ("over", &backing.display())]);
        Ok(Self { name, device, file: keep })
    }

    /// Its name, e.g. `loop0`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its node.
    pub fn node(&self) -> PathBuf {
        PathBuf::from(format!("/dev/{}", self.name))
    }

    /// Its number.
    pub fn device(&self) -> DevNo {
        self.device
    }

    /// Lets go of it and waits until the kernel has freed it. The maps over it are gone by now.
    pub fn clear(self) -> Outcome {
        let Self { name, file, .. } = self;
        drop(file);
        wait_for(CLEARED, "the loop device is freed", || {
            Ok(backing_file(&name).map_or(Ok(()), |backing| Err(format!("{name} is over {backing}"))))
        })
    }
}

/// What a case must not leave behind: loop devices over something.
pub fn leftovers() -> Vec<String> {
    let names = fs::read_dir("/sys/block").into_iter().flatten().flatten();
    let names = names.filter_map(|entry| entry.file_name().into_string().ok());
    let loops = names.filter(|name| name.starts_with("loop"));
    loops.filter_map(|name| Some(format!("{name} over {}", backing_file(&name)?))).collect()
}

/// What it is over; the file exists only while it is over something.
fn backing_file(name: &str) -> Option<String> {
    attribute(name, "loop/backing_file").ok()
}

fn attribute(name: &str, attribute: &str) -> io::Result<String> {
    Ok(fs::read_to_string(format!("/sys/block/{name}/{attribute}"))?.trim_end().to_owned())
}
