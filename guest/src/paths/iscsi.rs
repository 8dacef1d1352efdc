// SPDX-License-Identifier: GPL-2.0-only
//! Paths over iSCSI: the kernel's target and the real initiator, both in this guest; one session a portal, and all are
//! paths to one disk. docs/transports.md tells the whole story.
//!
//! Target, daemon and whole sessions stay from case to case, as the hosts of [`super::scsi_debug`] do.

mod address;
pub mod initiator;
pub mod target;

use super::Path;
use crate::failure::{Failure, Outcome};
use crate::report::happened;
use initiator::Session;
use target::{PORTALS, Portal};

/// Paths over sessions that are there already and whole.
pub fn kept() -> Vec<Path> {
    initiator::sessions().iter().filter_map(Session::path).collect()
}

/// Logs in at `count` portals at which nobody is logged in yet.
pub fn add(count: u32) -> Outcome<Vec<Path>> {
    target::make()?;
    initiator::start()?;
    let used: Vec<_> = initiator::sessions().iter().map(|session| session.portal).collect();
    let free: Vec<_> = Portal::all().filter(|portal| !used.contains(portal)).take(count as usize).collect();
    if free.len() < count as usize {
        return Err(Failure::guest(format_args!(
            "{count} more paths over iSCSI: there are {PORTALS} portals"
        )));
    }
    let paths = initiator::log_in(&free)?;
    let names: Vec<String> = paths.iter().map(ToString::to_string).collect();
    happened("paths added", &[("paths", &names.join(", "))]);
    Ok(paths)
}

/// After a case: only whole sessions stay. One that is logged in gets a new disk, which costs a twentieth of a new log-in;
/// one that is not is ended.
pub fn keep_or_remove() -> Outcome {
    let broken = initiator::sessions().into_iter().filter(|session| session.path().is_none());
    let (renewable, lost): (Vec<_>, Vec<_>) = broken.partition(Session::is_logged_in);
    renewable.iter().try_for_each(|session| Path::renew(session.address()).map(drop))?;
    if lost.is_empty() { Ok(()) } else { initiator::log_out(&lost) }
}

/// What a case must not leave behind: a session that is not whole, a target of somebody else.
pub fn leftovers() -> Vec<String> {
    let broken = initiator::sessions().into_iter().filter(|session| session.path().is_none());
    let broken = broken.map(|session| {
        let state = session.state().unwrap_or_else(|| "gone".to_owned());
        format!("iSCSI {} ({state}) at {} without a running disk", session.name, session.portal)
    });
    broken.chain(target::others().into_iter().map(|name| format!("iSCSI target {name}"))).collect()
}
