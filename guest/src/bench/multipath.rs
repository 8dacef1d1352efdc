// SPDX-License-Identifier: GPL-2.0-only
//! A multipath map as a case sees it: its paths fail and return, its table is exchanged.

use std::os::fd::AsRawFd as _;
use std::time::Duration;

use crate::condition::{Fault, IoKind, QueueMode};
use crate::dm::{Flush, Map, Multipath, NoPath, Sectors, Table, Target};
use crate::failure::{Failure, GuestContext as _, Outcome, ensure, skip};
use crate::paths::{Path, queue_setting};
use crate::report::happened;
use crate::wait::wait_for;

use super::background::Background;
use super::fault;
use super::io::STEP;

/// The map knows that all of its paths failed.
pub const NO_VALID_PATH: &str = "the map has no valid path";
/// The path selector knows of no I/O.
pub const IDLE_SELECTOR: &str = "the path selector has no I/O in flight";
/// A table of another length is in use.
pub const NEW_SIZE: &str = "the map has its new size";
/// The map still has the feature after a suspend and a resume.
pub const STILL_QUEUES: &str = "queue_if_no_path is still set";
/// The map keeps I/O although it has valid paths.
pub const WAITS_FOR_GROUP: &str = "the map waits for a group of paths to be activated";
/// The order to use another group is taken, or refused with EBUSY.
pub const SWITCHES: &str = "a group switch is accepted, or refused because the map is suspended";

nix::ioctl_read_bad!(
    /// `SG_GET_VERSION_NUM` of include/scsi/sg.h: a SCSI disk answers it without a command.
    sg_get_version_num, 0x2282, nix::libc::c_int);

/// A multipath map with the paths it was made over.
#[derive(Debug, Clone)]
pub struct MultipathMap {
    map: Map,
    /// Its target, but for the paths.
    kind: Multipath,
    paths: Vec<Path>,
}

/// The table of a multipath map of one kind over `paths`.
pub fn table(length: Sectors, kind: &Multipath, paths: &[Path]) -> Table {
    let paths = paths.iter().map(Path::device).collect();
    Table::single(length, Target::Multipath(Multipath { paths, ..kind.clone() }))
}

impl MultipathMap {
    pub(super) fn new(map: Map, kind: Multipath, paths: &[Path]) -> Self {
        Self { map, kind, paths: paths.to_vec() }
    }

    /// The device.
    pub fn map(&self) -> &Map {
        &self.map
    }

    /// Its queue mode.
    pub fn queue_mode(&self) -> QueueMode {
        self.kind.queue_mode
    }

    /// The paths it was made over.
    pub fn paths(&self) -> &[Path] {
        &self.paths
    }

    /// Makes every path fail. With the message the map knows at once; otherwise the next I/O finds out.
    pub fn fail_every_path(&self, fault: Fault) -> Outcome {
        self.fail(&self.paths, fault)
    }

    /// Makes the first path fail, the others keep working. Not by a fault that strikes every path at once.
    pub fn fail_first_path(&self, fault: Fault) -> Outcome {
        self.fail(&self.paths[..1], fault)
    }

    fn fail(&self, paths: &[Path], fault: Fault) -> Outcome {
        if fault.strikes_every_path() && paths.len() != self.paths.len() {
            return Err(Failure::guest(format_args!("{fault} strikes every path at once")));
        }
        match fault {
            Fault::Message => self.tell("fail_path", paths)?,
            fault => fault::strike(fault, paths, Duration::ZERO)?,
        }
        for path in paths {
            happened("path failed", &[("path", path), ("fault", &fault)]);
        }
        Ok(())
    }

    fn tell(&self, word: &str, paths: &[Path]) -> Outcome {
        let messages: Vec<String> = paths.iter().map(|path| format!("{word} {}", path.device())).collect();
        self.map.messages(&messages)
    }

    /// Uses another priority group from now on; the first is 1.
    pub fn switch_group(&self, number: u32) -> Outcome {
        self.map.messages(&[format!("switch_group {number}")])
    }

    /// The same, unless the map is suspended by now: then it refuses.
    pub fn try_to_switch_group(&self, number: u32) -> Outcome {
        let answer = self.map.try_message(&format!("switch_group {number}"))?;
        let said = answer.stderr.trim();
        happened("group switch", &[("accepted", &answer.succeeded), ("said", &said)]);
        let refused = said.contains("Device or resource busy");
        ensure(answer.succeeded || refused, SWITCHES, said)
    }

    /// Takes `queue_if_no_path` away: what is queued comes back with an error.
    pub fn fail_if_no_path(&self) -> Outcome {
        self.map.messages(&["fail_if_no_path".to_owned()])
    }

    /// Makes the SCSI devices of all paths work again, without a word to the map. Deleted ones come back as
    /// new disks, so these are what the map should be given next.
    pub fn repair_every_path(&self, fault: Fault) -> Outcome<Vec<Path>> {
        fault::repair(fault, &self.paths)
    }

    /// Tells the map that every path works: what multipathd does when its checker finds a path up.
    pub fn reinstate_every_path(&self) -> Outcome {
        self.tell("reinstate_path", &self.paths)
    }

    /// The same about the first path only.
    pub fn reinstate_first_path(&self) -> Outcome {
        self.tell("reinstate_path", &self.paths[..1])
    }

    /// Waits until `dmsetup status` calls every path failed.
    pub fn has_no_valid_path(&self) -> Outcome {
        wait_for(STEP, NO_VALID_PATH, || {
            let status = self.map.multipath_status()?;
            Ok(if status.valid_paths() == 0 { Ok(()) } else { Err(format!("{status:?}")) })
        })
    }

    /// Waits until `dmsetup status` says that the map keeps I/O until a group of paths is initialised (`pg_init`).
    pub fn waits_for_a_group(&self) -> Outcome {
        wait_for(STEP, WAITS_FOR_GROUP, || {
            let status = self.map.multipath_status()?;
            Ok(if status.waits_for_group { Ok(()) } else { Err(format!("{status:?}")) })
        })
    }

    /// `dmsetup table` shows `queue_if_no_path`. A flush suspend and, in bio mode, a noflush suspend take it
    /// away; the resume must bring it back (`multipath_resume`).
    pub fn still_queues_without_paths(&self) -> Outcome {
        let table = self.map.table()?;
        let queues = |target: &Target| matches!(target, Target::Multipath(m) if m.no_path == NoPath::Queue);
        ensure(table.0.iter().all(|segment| queues(&segment.target)), STILL_QUEUES, &table)
    }

    /// A setting of the map's queue, `/sys/block/dm-N/queue/SETTING`.
    pub fn setting(&self, setting: &str) -> Outcome<String> {
        let text = std::fs::read_to_string(queue_setting(self.map.device(), setting));
        text.map(|text| text.trim_end().to_owned()).guest(format_args!("read {setting} of a map"))
    }

    /// Starts an ioctl that the map passes on to one of its paths.
    pub fn start_ioctl(&self) -> Outcome<Background> {
        let device = std::fs::File::open(self.map.node()).guest("open a map")?;
        Background::start("SG_GET_VERSION_NUM", move || {
            let mut version = 0;
            // SAFETY: the kernel writes one `int` to `version`, which outlives the call.
            unsafe { sg_get_version_num(device.as_raw_fd(), &raw mut version) }?;
            Ok(())
        })
    }

    /// Starts to change a setting of the map's queue.
    pub fn start_setting(&self, setting: &str, value: &str) -> Outcome<Background> {
        let file = queue_setting(self.map.device(), setting);
        let value = value.to_owned();
        Background::start(format!("{setting} = {value}"), move || std::fs::write(file, value))
    }

    /// Waits until the path selector has no I/O in flight on any path, as `dmsetup status` shows it.
    pub fn has_an_idle_selector(&self) -> Outcome {
        wait_for(STEP, IDLE_SELECTOR, || {
            let status = self.map.multipath_status()?;
            let idle = status.paths().all(|path| path.selector.iter().all(|value| value == "0"));
            Ok(if idle { Ok(()) } else { Err(format!("{status:?}")) })
        })
    }

    /// Ends the case as skipped if the map does not take that kind of I/O, because its paths do not.
    pub fn require(&self, kind: IoKind) -> Outcome {
        let limit = match kind {
            IoKind::Discard => "discard_max_bytes",
            IoKind::WriteZeroes => "write_zeroes_max_bytes",
            _ => return Ok(()),
        };
        if self.setting(limit)? == "0" { skip(format!("the paths take no {kind}")) } else { Ok(()) }
    }

    /// Ends the case as skipped if I/O to the map can't be polled for.
    pub fn require_polling(&self) -> Outcome {
        if self.setting("io_poll")? == "1" { Ok(()) } else { skip("the paths have no queue for polled I/O") }
    }

    /// Suspends the map.
    pub fn suspend(&self, flush: Flush) -> Outcome {
        self.map.suspend(flush)
    }

    /// A table with the same features over `paths`.
    pub fn table_over(&self, paths: &[Path]) -> Table {
        table(self.map.length(), &self.kind, paths)
    }

    /// Loads a table with the same features over `paths`.
    pub fn load(&self, paths: &[Path]) -> Outcome {
        self.map.load(&self.table_over(paths))
    }

    /// Loads such a table that is as long as the first of `paths`.
    pub fn load_of_the_whole_disk(&self, paths: &[Path]) -> Outcome {
        let length = paths.first().map_or(Sectors::ZERO, Path::length);
        self.map.load(&table(length, &self.kind, paths))
    }

    /// The device is as long as `path`. Assertion: [`NEW_SIZE`].
    pub fn has_the_size_of(&self, path: &Path) -> Outcome {
        let file = format!("/sys/dev/block/{}/size", self.map.device());
        let size = std::fs::read_to_string(&file).guest(format_args!("read {file}"))?;
        ensure(size.trim() == path.length().to_string(), NEW_SIZE, format_args!("{} sectors", size.trim()))
    }

    /// Resumes the suspended map.
    pub fn resume(&self) -> Outcome {
        self.map.resume(Flush::Flush)
    }

    /// Resumes the map with the table that was loaded; as it is not suspended, that suspends it as `flush` says.
    pub fn resume_with(&self, flush: Flush) -> Outcome {
        self.map.resume(flush)
    }
}
