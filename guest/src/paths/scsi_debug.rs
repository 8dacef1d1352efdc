// SPDX-License-Identifier: GPL-2.0-only
//! `scsi_debug` hosts. They share one store: each host's disk is the same disk, seen over another path.
//!
//! The module is loaded once, without a host, and stays; hosts come and go through its `add_host` attribute.
//! The store stays too, so a case finds what the case before it left on the disk.

use std::collections::BTreeSet;
use std::fs;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use super::{DISK_MIB, Hctl, Path};
use crate::failure::{Failure, GuestContext, Outcome};
use crate::modules;
use crate::report::happened;
use crate::wait::{scaled, wait_for};

/// The module.
pub const MODULE: &str = "scsi_debug";

/// How to load it. `add_host=0`: no host at first. `per_host_store=0`: one store for all. `vpd_use_hostno=0`: all
/// hosts report the same identity. `delay=0`: a command completes inside `queuecommand`.
/// `lbpu=1 lbpws=1 lbprz=1`: discards (UNMAP), write-zeroes (WRITE SAME with UNMAP), and what was discarded reads as zeroes.
/// `submit_queues=2 poll_queues=1`: one queue for everything, as without, and one for I/O that its submitter polls for;
/// on a single CPU the driver takes the second one away again.
pub const PARAMETERS: &str = "add_host=0 per_host_store=0 vpd_use_hostno=0 delay=0 ndelay=0 \
                              lbpu=1 lbpws=1 lbprz=1 submit_queues=2 poll_queues=1";

pub(super) const DRIVER: &str = "/sys/bus/pseudo/drivers/scsi_debug";

/// Hosts that a VM keeps from case to case: adding and removing two takes 90 ms under TCG.
pub const KEPT: usize = 2;

/// How long hosts may take to come or go, before scaling.
const HOSTS: Duration = Duration::from_secs(15);

/// Adds `count` hosts and waits for the disk of each.
pub fn add_hosts(count: u32) -> Outcome<Vec<Path>> {
    load()?;
    let before = all_hosts();
    start_add_host(i64::from(count))?.wait()?;
    // The scan is synchronous (without CONFIG_SCSI_SCAN_ASYNC), but that is the kernel's choice.
    let added = wait_for(HOSTS, "the SCSI hosts appear", || {
        let added: Vec<u32> = all_hosts().difference(&before).copied().collect();
        Ok(if added.len() == count as usize { Ok(added) } else { Err(format!("new hosts: {added:?}")) })
    })?;
    let paths: Vec<Path> = added
        .into_iter()
        .map(|host| Path::at(Hctl { host, channel: 0, target: 0, lun: 0 }))
        .collect::<Outcome<_>>()?;
    let names: Vec<String> = paths.iter().map(ToString::to_string).collect();
    happened("paths added", &[("paths", &names.join(", "))]);
    Ok(paths)
}

/// Loads the module if that was not done yet in this VM.
pub fn load() -> Outcome {
    if std::path::Path::new(DRIVER).exists() {
        return Ok(());
    }
    let parameters = format!("{PARAMETERS} dev_size_mb={DISK_MIB}");
    modules::require(MODULE)?.insert(MODULE, &parameters).guest(format_args!("load {MODULE}"))
}

/// Paths over hosts that are there already and whole.
pub fn kept_hosts() -> Vec<Path> {
    all_hosts().into_iter().filter_map(whole).collect()
}

/// After a case: at most [`KEPT`] hosts stay, and only if all that stay are whole.
pub fn keep_or_remove_hosts() -> Outcome {
    // The driver removes the host that was added last (`sdebug_do_remove_host`).
    remove_hosts(all_hosts().len().saturating_sub(KEPT))?;
    let left = all_hosts();
    if left.iter().all(|host| whole(*host).is_some()) { Ok(()) } else { remove_hosts(left.len()) }
}

/// What a case must not leave behind: more hosts than a VM keeps, or one that is not whole.
pub fn leftover_hosts() -> Vec<String> {
    let hosts = all_hosts();
    let more = hosts.iter().skip(KEPT).map(|host| format!("SCSI host host{host}"));
    let broken = hosts.iter().filter(|host| whole(**host).is_none());
    more.chain(broken.map(|host| format!("SCSI host host{host} without a running disk"))).collect()
}

/// The path over a host, if its disk can be used.
fn whole(host: u32) -> Option<Path> {
    Path::usable_at(Hctl { host, channel: 0, target: 0, lun: 0 })
}

fn remove_hosts(count: usize) -> Outcome {
    if count == 0 {
        return Ok(());
    }
    let stay = all_hosts().len().saturating_sub(count);
    // One each and all at once: the removal of one is mostly waiting for RCU.
    let removals: Vec<_> = (0..count).map(|_| start_add_host(-1)).collect::<Outcome<_>>()?;
    removals.into_iter().try_for_each(Change::wait)?;
    wait_for(HOSTS, "the SCSI hosts go", || {
        let left = all_hosts();
        Ok(if left.len() <= stay { Ok(()) } else { Err(format!("still there: {left:?}")) })
    })?;
    happened("hosts removed", &[("hosts", &count)]);
    Ok(())
}

/// The numbers of the module's hosts, whoever made them; hosts of other drivers (a distribution kernel's AHCI) are
/// none of ours.
pub fn all_hosts() -> BTreeSet<u32> {
    let entries = fs::read_dir("/sys/class/scsi_host").into_iter().flatten().flatten();
    let ours = |entry: &fs::DirEntry| {
        fs::read_to_string(entry.path().join("proc_name")).is_ok_and(|name| name.trim() == MODULE)
    };
    let number = |entry: fs::DirEntry| entry.file_name().to_str()?.strip_prefix("host")?.parse().ok();
    entries.filter(ours).filter_map(number).collect()
}

/// A write to `add_host` under way, in a thread: when the kernel does not come back, the case can still say so.
struct Change {
    by: i64,
    answer: mpsc::Receiver<std::io::Result<()>>,
}

fn start_add_host(by: i64) -> Outcome<Change> {
    let (done, answer) = mpsc::channel();
    let write = move || {
        // Nobody listens after the deadline.
        let _late = done.send(fs::write(format!("{DRIVER}/add_host"), by.to_string()));
    };
    thread::Builder::new().name("add_host".to_owned()).spawn(write).guest("start a thread")?;
    Ok(Change { by, answer })
}

impl Change {
    fn wait(self) -> Outcome {
        let (by, limit) = (self.by, scaled(HOSTS));
        match self.answer.recv_timeout(limit) {
            Ok(written) => written.guest(format_args!("write {by} to {DRIVER}/add_host")),
            Err(_) => Err(Failure::assertion(
                "SCSI hosts come and go",
                format_args!("writing {by} to add_host did not return within {:.1} s", limit.as_secs_f64()),
            )),
        }
    }
}

/// Whether a path takes no I/O for whoever heeds ALUA: with `vpd_use_hostno=0` the driver reports the ports of a host as active,
/// non-optimized or standby by the host's number (`resp_report_tgtpgs`).
pub fn is_standby(path: &Path) -> bool {
    path.address().host % 3 == 2
}
