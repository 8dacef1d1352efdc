// SPDX-License-Identifier: GPL-2.0-only
//! Paths: SCSI disks below a multipath map, how they are made, made to fail, and brought back.
//!
//! [`scsi_debug`] makes them, or [`iscsi`]. A [`Path`] is what a case holds: one SCSI device with its disk. Faults that go
//! through device-mapper (the message `fail_path`) are the map's business, see [`crate::bench`].

pub mod handler;
pub mod injection;
pub mod iscsi;
pub mod loop_device;
pub mod scsi_debug;

use std::fmt;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use crate::condition::{Fault, Transport};
use crate::dm::{DevNo, Sectors};
use crate::failure::{GuestContext, Outcome};
use crate::report::happened;
use crate::wait::wait_for;

/// Size of the disk in MiB: an XFS needs 16, and a case makes a map longer under one; most cases use the first MiB only.
pub const DISK_MIB: u32 = 17;

/// How long a disk may take to appear or to go, before scaling.
const PROBE: Duration = Duration::from_secs(10);

/// A SCSI address: host, channel, target, LUN.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Hctl {
    /// Host number.
    pub host: u32,
    /// Channel.
    pub channel: u32,
    /// Target.
    pub target: u32,
    /// Logical unit.
    pub lun: u32,
}

impl fmt::Display for Hctl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}:{}", self.host, self.channel, self.target, self.lun)
    }
}

impl std::str::FromStr for Hctl {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let numbers: Result<Vec<u32>, _> = text.split(':').map(str::parse).collect();
        match numbers.as_deref() {
            Ok(&[host, channel, target, lun]) => Ok(Self { host, channel, target, lun }),
            _ => Err(format!("{text} is no SCSI address")),
        }
    }
}

/// One path to the disk: a SCSI device and the block device on it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Path {
    address: Hctl,
    disk: String,
    device: DevNo,
    length: Sectors,
}

impl Path {
    /// Waits for the disk at `address`: sd probes asynchronously, after the scan that found the device.
    pub fn at(address: Hctl) -> Outcome<Self> {
        wait_for(PROBE, "the path's disk appears", || {
            finish_probe(address);
            Ok(Self::find(address))
        })
    }

    fn find(address: Hctl) -> Result<Self, String> {
        let folder = format!("/sys/class/scsi_device/{address}/device/block");
        let entries = fs::read_dir(&folder).map_err(|error| format!("{folder}: {error}"))?;
        let Some(Ok(entry)) = entries.into_iter().next() else { return Err(format!("{folder} is empty")) };
        let disk = entry.file_name().to_string_lossy().into_owned();
        // The link below /sys/block is made last (`device_add_disk`).
        let number = read(&format!("/sys/block/{disk}/dev"))?;
        let size = read(&format!("/sys/block/{disk}/size"))?;
        let device = number.parse()?;
        let length: Sectors = size.parse().map_err(|error| format!("size of {disk}: {error}"))?;
        if length == Sectors::ZERO {
            return Err(format!("{disk} has no size"));
        }
        Ok(Self { address, disk, device, length })
    }

    /// The same SCSI device, seen through a block device that stands on its disk and has its length.
    #[must_use]
    pub fn seen_through(&self, disk: &str, device: DevNo) -> Self {
        Self { disk: disk.to_owned(), device, ..self.clone() }
    }

    /// Its SCSI address.
    pub fn address(&self) -> Hctl {
        self.address
    }

    /// Its number, by which tables name it.
    pub fn device(&self) -> DevNo {
        self.device
    }

    /// Size of the disk.
    pub fn length(&self) -> Sectors {
        self.length
    }

    /// Its node, to reach the disk without device-mapper.
    pub fn node(&self) -> PathBuf {
        PathBuf::from(format!("/dev/{}", self.disk))
    }

    /// The SCSI device's own state, e.g. `running`, `offline`; `None` when the device is gone.
    pub fn state(&self) -> Option<String> {
        read(&format!("{}/state", self.folder())).ok()
    }

    /// Whether ALUA's handler is attached and lets no I/O through to the device (`alua_prep_fn`).
    pub fn is_refused_io(&self) -> bool {
        let state = read(&format!("{}/access_state", self.folder()));
        state.is_ok_and(|state| matches!(state.as_str(), "standby" | "unavailable"))
    }

    /// What is at this path's address now, if it can be used, device-mapper aside: this path, or the one that
    /// came after it when it had been deleted.
    pub fn usable(&self) -> Option<Self> {
        let running = self.state().as_deref() == Some("running");
        if running { Self::find(self.address).ok() } else { None }
    }

    /// The path at an address, if it can be used now, device-mapper aside.
    pub fn usable_at(address: Hctl) -> Option<Self> {
        Self::find(address).ok()?.usable()
    }

    /// From now on the SCSI layer refuses every command with an error.
    pub fn set_offline(&self) -> Outcome {
        self.set_state("offline")
    }

    /// The SCSI layer takes commands again. What device-mapper thinks of the path does not change by this.
    pub fn set_running(&self) -> Outcome {
        self.set_state("running")
    }

    fn set_state(&self, state: &str) -> Outcome {
        // The newline is part of the word (`store_state_field`).
        fs::write(format!("{}/state", self.folder()), format!("{state}\n"))
            .guest(format_args!("set the SCSI state of {self} to {state}"))?;
        happened("scsi state set", &[("path", self), ("state", &state)]);
        Ok(())
    }

    /// Takes the SCSI device out of the system, as a pulled cable with a long enough time-out does.
    pub fn delete(&self) -> Outcome {
        delete(self.address)?;
        happened("scsi device deleted", &[("path", self)]);
        Ok(())
    }

    /// Scans the host for the device that was deleted. It comes back as a new disk.
    pub fn rescan(&self) -> Outcome<Self> {
        let found = scan(self.address)?;
        happened("host scanned", &[("gone", self), ("found", &found)]);
        Ok(found)
    }

    /// Deletes what is at an address, if there is something, and scans for it: whatever state it was in, it works.
    pub fn renew(address: Hctl) -> Outcome<Self> {
        if std::path::Path::new(&folder(address)).exists() {
            delete(address)?;
        }
        scan(address)
    }

    /// A setting of the disk's queue, `/sys/block/DISK/queue/SETTING`.
    pub fn setting(&self, setting: &str) -> Outcome<String> {
        read(&queue_setting(self.device, setting)).guest(format_args!("read {setting} of {self}"))
    }

    /// Changes it.
    pub fn set_setting(&self, setting: &str, value: &str) -> Outcome {
        fs::write(queue_setting(self.device, setting), value)
            .guest(format_args!("set {setting} of {self} to {value}"))
    }

    fn folder(&self) -> String {
        folder(self.address)
    }
}

/// `sda (8:0, 0:0:0:0)`
impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({}, {})", self.disk, self.device, self.address)
    }
}

fn folder(address: Hctl) -> String {
    format!("/sys/class/scsi_device/{address}/device")
}

fn delete(address: Hctl) -> Outcome {
    let folder = folder(address);
    fs::write(format!("{folder}/delete"), "1").guest(format_args!("delete the SCSI device {address}"))?;
    wait_for(PROBE, "the deleted path goes", || match read(&format!("{folder}/state")) {
        Err(_) => Ok(Ok(())),
        Ok(state) => Ok(Err(format!("its state is {state}"))),
    })
}

fn scan(address: Hctl) -> Outcome<Path> {
    let Hctl { host, channel, target, lun } = address;
    fs::write(format!("/sys/class/scsi_host/host{host}/scan"), format!("{channel} {target} {lun}"))
        .guest(format_args!("scan host {host}"))?;
    Path::at(address)
}

/// Makes sure that sd has finished with the device, its partition scan included: `bind` takes the device's lock,
/// which the probe holds. Then it finds the device bound and says so (EBUSY), or probes it itself if nobody had
/// begun. Without this a disk that is already in sysfs may not be opened yet (ENXIO), and one that is taken away
/// while it is scanned for partitions fills the console with I/O errors.
fn finish_probe(address: Hctl) {
    // Whether it helped is seen by looking for the disk.
    let _already_bound = fs::write("/sys/bus/scsi/drivers/sd/bind", address.to_string());
}

/// The file of a setting of a block device's queue.
pub fn queue_setting(device: DevNo, setting: &str) -> String {
    format!("/sys/dev/block/{device}/queue/{setting}")
}

fn read(file: &str) -> Result<String, String> {
    fs::read_to_string(file)
        .map(|text| text.trim_end().to_owned())
        .map_err(|error| format!("{file}: {error}"))
}

/// Paths that are there already and whole, for a case with this fault.
pub fn kept(transport: Transport, fault: Fault) -> Vec<Path> {
    match transport {
        Transport::ScsiDebug => scsi_debug::kept_hosts(),
        Transport::Iscsi => iscsi::kept(iscsi::pings_for(fault)),
    }
}

/// `count` more paths to the disk, for a case with this fault.
pub fn add(transport: Transport, fault: Fault, count: u32) -> Outcome<Vec<Path>> {
    match transport {
        Transport::ScsiDebug => scsi_debug::add_hosts(count),
        Transport::Iscsi => iscsi::add(count, iscsi::pings_for(fault)),
    }
}

/// After a case: what is whole stays for the next one, as far as a VM keeps it; all else goes.
pub fn keep_or_remove(transport: Transport) -> Outcome {
    match transport {
        Transport::ScsiDebug => scsi_debug::keep_or_remove_hosts(),
        Transport::Iscsi => iscsi::keep_or_remove(),
    }
}

/// What a case should not leave behind: every device-mapper device (of whomever), loop devices over something, and SCSI
/// hosts and iSCSI sessions beyond those that a VM keeps. Reads sysfs only, so that it costs no process.
pub fn leftovers() -> Vec<String> {
    let maps = crate::dm::map::all_names().into_iter().map(|name| format!("device-mapper device {name}"));
    let injecting = injection::is_active().then(|| "scsi_debug that injects errors".to_owned());
    let transports = scsi_debug::leftover_hosts().into_iter().chain(iscsi::leftovers());
    maps.chain(loop_device::leftovers()).chain(injecting).chain(transports).collect()
}

/// Processes that a VM keeps from case to case.
pub fn kept_processes() -> Vec<i32> {
    iscsi::initiator::daemon().into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_as_they_are_shown() {
        let address = Hctl { host: 2, channel: 0, target: 1, lun: 30 };
        assert_eq!(address.to_string().parse(), Ok(address));
        for other in ["", "1:2:3", "1:2:3:4:5", "1:2:3:x"] {
            assert!(other.parse::<Hctl>().is_err(), "{other}");
        }
    }
}
