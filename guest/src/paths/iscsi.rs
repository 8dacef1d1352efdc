// SPDX-License-Identifier: GPL-2.0-only
//! Paths over iSCSI: the kernel's target and the real initiator, both in this guest; one session a portal, and all are
//! paths to one disk. docs/transports.md tells the whole story.
//!
//! Target, daemon and whole sessions stay from case to case, as the hosts of [`super::scsi_debug`] do.

mod address;
pub mod cut;
pub mod group;
pub mod initiator;
pub mod target;

use super::Path;
use crate::condition::Fault;
use crate::failure::{Failure, Outcome};
use crate::report::happened;
use cut::Cut;
use initiator::{Pings, Session};
use target::{PORTALS, Portal};

/// How sessions are logged in for a case with this fault.
pub fn pings_for(fault: Fault) -> Pings {
    Cut::of(fault).map_or(Pings::Never, Cut::pings)
}

/// Paths over sessions that are there already and as they are wanted.
pub fn kept(pings: Pings) -> Vec<Path> {
    let fits = |session: &Session| session.pings() == pings;
    initiator::sessions().iter().filter(|session| fits(session)).filter_map(Session::path).collect()
}

/// Logs in at `count` portals at which nobody is logged in yet. Sessions that the case can't use are ended.
pub fn add(count: u32, pings: Pings) -> Outcome<Vec<Path>> {
    target::make()?;
    initiator::start()?;
    let useless: Vec<_> =
        initiator::sessions().into_iter().filter(|session| session.pings() != pings).collect();
    if !useless.is_empty() {
        initiator::log_out(&useless)?;
    }
    let used: Vec<_> = initiator::sessions().iter().map(|session| session.portal).collect();
    let free: Vec<_> = Portal::all().filter(|portal| !used.contains(portal)).take(count as usize).collect();
    if free.len() < count as usize {
        return Err(Failure::guest(format_args!(
            "{count} more paths over iSCSI: there are {PORTALS} portals"
        )));
    }
    let paths = initiator::log_in(&free, pings)?;
    let names: Vec<String> = paths.iter().map(ToString::to_string).collect();
    happened("paths added", &[("paths", &names.join(", "))]);
    Ok(paths)
}

/// After a case: only whole sessions stay. One that is logged in gets a new disk, which costs a twentieth of a new log-in;
/// one that is not is ended.
pub fn keep_or_remove() -> Outcome {
    if target::exists() {
        cut::restore()?;
        group::reset()?;
    }
    let broken = initiator::sessions().into_iter().filter(|session| !is_whole(session));
    let renewable = |session: &Session| session.is_logged_in() && session.pings() == Pings::Never;
    let (renewable, lost): (Vec<_>, Vec<_>) = broken.partition(renewable);
    renewable.iter().try_for_each(|session| Path::renew(session.address()).map(drop))?;
    if lost.is_empty() { Ok(()) } else { initiator::log_out(&lost) }
}

/// Whether the next case can use it.
fn is_whole(session: &Session) -> bool {
    session.path().is_some() && session.pings() == Pings::Never
}

/// What a case must not leave behind: a session that is not whole, a portal that does not answer, a target of somebody else.
pub fn leftovers() -> Vec<String> {
    if !target::exists() {
        return target::others();
    }
    let broken = initiator::sessions().into_iter().filter(|session| !is_whole(session));
    let broken = broken.map(|session| {
        let state = session.state().unwrap_or_else(|| "gone".to_owned());
        format!("iSCSI {} ({state}) at {} without a running disk", session.name, session.portal)
    });
    let cut = Portal::all().filter(|portal| portal.is_cut());
    let cut = cut.map(|portal| format!("iSCSI portal {portal} that does not answer"));
    broken.chain(cut).chain(group::leftovers()).chain(target::others()).collect()
}
