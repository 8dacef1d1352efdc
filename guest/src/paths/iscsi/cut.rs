// SPDX-License-Identifier: GPL-2.0-only
//! Sessions that are lost, in the three ways in which the initiator finds out, and how they come back.

use std::fs;
use std::time::Duration;

use super::initiator::{self, Pings, Session};
use super::target::Portal;
use crate::condition::Fault;
use crate::failure::{Failure, GuestContext as _, Outcome};
use crate::paths::Path;
use crate::report::happened;
use crate::wait::wait_for;

/// How long the initiator may take to notice, or to come back, before scaling. iscsid tries again every 3 s
/// (`ISCSI_CONN_ERR_REOPEN_DELAY`).
const NOTICED: Duration = Duration::from_secs(10);

/// What cuts a session, and what its I/O meets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cut {
    /// The portal is disabled: the target closes the connection. Nothing is waited for
    /// (`node.session.timeo.replacement_timeout` is 0): I/O fails at once.
    Portal,
    /// The portal's address is taken away: packets are lost. The initiator finds out when a ping is not answered; until
    /// then its I/O is in flight.
    Address,
    /// As a portal, but the SCSI layer waits a second for the session to come back (`recovery_tmo`), and holds I/O so long.
    Replacement,
}

impl Cut {
    /// What a fault does to sessions, if it does anything to them.
    pub const fn of(fault: Fault) -> Option<Self> {
        match fault {
            Fault::PortalDisabled => Some(Self::Portal),
            Fault::AddressRemoved => Some(Self::Address),
            Fault::ReplacementTimeout => Some(Self::Replacement),
            _ => None,
        }
    }

    /// What the sessions must have been logged in with.
    pub const fn pings(self) -> Pings {
        if matches!(self, Self::Address) { Pings::Often } else { Pings::Never }
    }

    /// Cuts the sessions of `paths`; waits until the initiator knows, if it can know at once.
    pub fn strike(self, paths: &[Path]) -> Outcome {
        let sessions: Vec<Session> = paths.iter().map(session_of).collect::<Outcome<_>>()?;
        if self == Self::Replacement {
            for session in &sessions {
                let file = format!("{}/recovery_tmo", session.folder());
                fs::write(&file, "1").guest(format_args!("write 1 to {file}"))?;
            }
        }
        sessions.iter().try_for_each(|session| match self {
            Self::Portal | Self::Replacement => session.portal.disable(),
            Self::Address => session.portal.remove_address(),
        })?;
        if self != Self::Address {
            wait_for(NOTICED, "the initiator knows that the session is lost", || {
                let known: Vec<_> = sessions.iter().filter(|session| session.is_logged_in()).collect();
                Ok(if known.is_empty() { Ok(()) } else { Err(format!("{known:?}")) })
            })?;
        }
        happened("sessions cut", &[("how", &format_args!("{self:?}")), ("paths", &paths.len())]);
        Ok(())
    }

    /// The cause goes. After [`Self::Replacement`] the session comes back by itself, with the same disk; after the others it
    /// is ended and another one logs in, with a new one.
    pub fn mend(self, paths: &[Path]) -> Outcome<Vec<Path>> {
        let sessions: Vec<Session> = paths.iter().map(session_of).collect::<Outcome<_>>()?;
        let portals: Vec<Portal> = sessions.iter().map(|session| session.portal).collect();
        restore()?;
        if self == Self::Replacement {
            return sessions.iter().map(come_back).collect();
        }
        initiator::log_out(&sessions)?;
        initiator::log_in(&portals, self.pings())
    }
}

/// Every portal answers, and has its address.
pub fn restore() -> Outcome {
    Portal::all().filter(|portal| portal.is_cut()).try_for_each(|portal| {
        portal.add_address()?;
        portal.enable()
    })
}

/// The session that a path goes over.
pub(super) fn session_of(path: &Path) -> Outcome<Session> {
    initiator::sessions()
        .into_iter()
        .find(|session| session.host == path.address().host)
        .ok_or_else(|| Failure::guest(format_args!("{path} has no iSCSI session")))
}

fn come_back(session: &Session) -> Outcome<Path> {
    let path = wait_for(NOTICED, "the session comes back", || {
        let state = session.state().unwrap_or_default();
        Ok(session.path().ok_or_else(|| format!("{} is {state}", session.name)))
    })?;
    happened("session came back", &[("session", &session.name), ("path", &path)]);
    Ok(path)
}
