// SPDX-License-Identifier: GPL-2.0-only
//! A file system on a multipath map: made, mounted, unmounted, checked, and read past the map. What differs between an ext4
//! and an XFS is in [`tools`].
//!
//! Every step that may wait for I/O has a deadline. What is still mounted at the end of a case is unmounted by the
//! clean-up, after all I/O was made to fail: an unmount before that could wait for ever.

mod tools;

use std::fs::{self, File, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{FileExt as _, PermissionsExt as _};
use std::path::{Path as FilePath, PathBuf};

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::unistd::syncfs;

use super::Bench;
use super::background::Background;
use super::io::{PUSHED_BACK, QUEUED, STEP};
use super::multipath::MultipathMap;
use crate::condition::FileSystemKind;
use crate::dm::{Sectors, Table, Target};
use crate::evidence::{self, Mark, whereabouts};
use crate::failure::{Failure, GuestContext as _, Outcome, ensure};
use crate::io::copy_disk;
use crate::modules;
use crate::paths::Path;
use crate::paths::loop_device::LoopDevice;
use crate::wait::wait_for;

/// The file system is unmounted.
pub const UNMOUNTS: &str = "the file system unmounts";
/// What was written is there, read past the map.
pub const CONTENT: &str = "the files hold what was written";
/// The tool that checks it finds nothing wrong.
pub const CLEAN: &str = "the file system is clean";
/// What was changed is there.
pub const MODE: &str = "the file has the mode that fsync promised";

/// A mounted file system.
#[derive(Debug)]
pub struct FileSystem {
    place: PathBuf,
}

/// One file of it, of one size, written at once.
#[derive(Debug)]
pub struct Content {
    name: &'static str,
    bytes: Vec<u8>,
}

impl Content {
    /// A file of 64 KiB whose bytes tell `seed`.
    pub fn of(name: &'static str, seed: u8) -> Self {
        let bytes = (0..64 * 1024_u32).map(|at| at.to_le_bytes()[1] ^ at.to_le_bytes()[0] ^ seed).collect();
        Self { name, bytes }
    }
}

impl FileSystem {
    /// Writes into the page cache, in the background: a frozen file system keeps the writer waiting.
    pub fn start_write(&self, content: &Content) -> Outcome<Background> {
        let (file, bytes) = (self.place.join(content.name), content.bytes.clone());
        Background::start(format!("write to {}", file.display()), move || {
            OpenOptions::new().write(true).create(true).truncate(false).open(file)?.write_all_at(&bytes, 0)
        })
    }

    /// Writes a file's dirty pages and its metadata to the disk, in the background.
    pub fn start_fsync(&self, content: &Content) -> Outcome<Background> {
        let file = self.place.join(content.name);
        Background::start(format!("fsync of {}", file.display()), move || File::open(file)?.sync_all())
    }

    /// Writes everything, in the background. A commit leaves metadata to the writeback of the device, which takes it up
    /// when it is 30 s old; this does not.
    pub fn start_sync(&self) -> Outcome<Background> {
        let place = self.place.clone();
        Background::start(format!("syncfs of {}", place.display()), move || {
            syncfs(File::open(place)?).map_err(io::Error::from)
        })
    }

    /// Changes the mode of a file: metadata and nothing else.
    pub fn set_mode(&self, content: &Content, mode: u32) -> Outcome {
        let file = self.place.join(content.name);
        fs::set_permissions(&file, Permissions::from_mode(mode))
            .guest(format_args!("change the mode of {}", file.display()))
    }

    /// The file has this mode. Assertion: [`MODE`].
    pub fn has_mode(&self, content: &Content, mode: u32) -> Outcome {
        let file = self.place.join(content.name);
        let seen =
            fs::metadata(&file).guest(format_args!("look at {}", file.display()))?.permissions().mode()
                & 0o777;
        ensure(seen == mode, MODE, format_args!("{} has {seen:o}, not {mode:o}", file.display()))
    }

    /// How many fast commits there were (`/proc/fs/ext4/DISK/fc_info`).
    pub fn fast_commits(&self, map: &MultipathMap) -> Outcome<u64> {
        let file = format!("/proc/fs/ext4/dm-{}/fc_info", map.map().device().minor);
        let text = fs::read_to_string(&file).guest(format_args!("read {file}"))?;
        let count = text.lines().find_map(|line| line.trim().strip_suffix(" commits")?.parse().ok());
        count.ok_or_else(|| Failure::guest(format_args!("{file} counts no commits: {text}")))
    }

    /// Unmounts it. Assertion: [`UNMOUNTS`].
    pub fn unmount(self) -> Outcome {
        unmount(&self.place, MntFlags::empty())
    }

    /// The file is there with this content. Assertion: [`CONTENT`].
    pub fn has(&self, content: &Content) -> Outcome {
        let file = self.place.join(content.name);
        let seen = fs::read(&file);
        let right = seen.as_ref().is_ok_and(|bytes| *bytes == content.bytes);
        let seen = seen.map_or_else(|error| error.to_string(), |bytes| format!("{} bytes", bytes.len()));
        ensure(right, CONTENT, format_args!("{}: {seen}, not the ones written", file.display()))
    }
}

/// Unmounts in the background, with a deadline.
pub(super) fn unmount(place: &FilePath, flags: MntFlags) -> Outcome {
    let at = place.to_owned();
    Background::start(format!("unmount of {}", place.display()), move || {
        umount2(&at, flags).map_err(io::Error::from)
    })?
    .succeeds(UNMOUNTS)?;
    fs::remove_dir(place).guest(format_args!("remove {}", place.display()))
}

impl Bench {
    /// Mounts what a disk would hold if the power went now: a copy of it, read through a path. The mount replays the
    /// journal.
    pub fn file_system_after_power_loss(&mut self, path: &Path) -> Outcome<FileSystem> {
        let copy = FilePath::new("/tmp/copy-of-the-disk");
        copy_disk(&path.node(), copy).guest(format_args!("copy {path}"))?;
        let device = LoopDevice::over_file(copy)?;
        // The loop device keeps it as long as it is needed.
        fs::remove_file(copy).guest(format_args!("remove {}", copy.display()))?;
        let node = device.node();
        self.loops.push(device);
        let kind = self.file_system_kind();
        self.mount("after", &node, MsFlags::empty(), kind, tools::options(kind))
    }

    /// Makes a file system of the run's kind on the whole of a map and mounts it.
    pub fn file_system(&mut self, map: &MultipathMap) -> Outcome<FileSystem> {
        self.file_system_of(self.file_system_kind(), "", map)
    }

    /// An ext4 with fast commits: when only metadata of a file changed, `fsync` is one write to the journal, with
    /// `REQ_PREFLUSH` and `REQ_FUA` (`ext4_fc_submit_bh`). No other call of an application makes such a write directly.
    pub fn file_system_with_fast_commits(&mut self, map: &MultipathMap) -> Outcome<FileSystem> {
        self.file_system_of(FileSystemKind::Ext4, ",fast_commit", map)
    }

    fn file_system_of(
        &mut self,
        kind: FileSystemKind,
        features: &str,
        map: &MultipathMap,
    ) -> Outcome<FileSystem> {
        let node = map.map().node();
        tools::make(kind, features, &node)?;
        self.mount("fs", &node, MsFlags::empty(), kind, tools::options(kind))
    }

    /// Checks the file system and mounts the disk read-only, both through a path, past the map that holds it: a dm-linear
    /// may share the path with the map, where a file system may not. Assertion: [`CLEAN`].
    pub fn file_system_past_the_map(&mut self, path: &Path) -> Outcome<FileSystem> {
        let kind = self.file_system_kind();
        let target = Target::Linear { device: path.device(), offset: Sectors::ZERO };
        let past = self.create("past", &Table::single(path.length(), target))?;
        tools::check(kind, &past.node())?;
        self.mount("past", &past.node(), MsFlags::MS_RDONLY, kind, tools::without_replay(kind))
    }

    fn mount(
        &mut self,
        name: &str,
        device: &FilePath,
        flags: MsFlags,
        kind: FileSystemKind,
        options: &'static str,
    ) -> Outcome<FileSystem> {
        let module = kind.name();
        modules::require(module)?.insert(module, "").guest(format_args!("load the module {module}"))?;
        let place = FilePath::new("/tmp").join(name);
        fs::create_dir_all(&place).guest(format_args!("make {}", place.display()))?;
        let (from, to) = (device.to_owned(), place.clone());
        Background::start(format!("mount of {}", device.display()), move || {
            mount(Some(&from), &to, Some(module), flags, Some(options)).map_err(io::Error::from)
        })?
        .succeeds("the file system mounts")?;
        self.mounts.push(place.clone());
        Ok(FileSystem { place })
    }
}

impl MultipathMap {
    /// Waits until the target holds I/O of a file system, its paths none; what to count from when it is pushed back.
    pub fn queues_something(&self) -> Outcome<Mark> {
        wait_for(STEP, QUEUED, || {
            let now = evidence::read(self.map().device(), self.queue_mode());
            let place = whereabouts(&now, Mark::default(), 0);
            let there = !now.suspended && place.in_target > 0 && place.in_paths == 0;
            Ok(if there { Ok(Mark { inflight: now.inflight, returned: 0 }) } else { Err(place.to_string()) })
        })
    }

    /// Waits until the core of the suspended map has all of that.
    pub fn has_pushed_back_everything(&self, mark: Mark) -> Outcome {
        wait_for(STEP, PUSHED_BACK, || {
            let now = evidence::read(self.map().device(), self.queue_mode());
            let place = whereabouts(&now, mark, 0);
            let there = now.suspended && place.in_core > 0 && place.in_target + place.in_paths == 0;
            Ok(if there { Ok(()) } else { Err(place.to_string()) })
        })
    }
}
