// SPDX-License-Identifier: GPL-2.0-only
//! Target port groups (ALUA, SPC-4 5.15): each portal is in one of its own, so that a case can say what each path is good
//! for. `drivers/target/target_core_alua.c`.

use std::fs;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use super::target::{CORE, Portal, write};
use crate::failure::{GuestContext as _, Outcome};
use crate::paths::Path;
use crate::report::happened;

/// What a port group does with I/O.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Takes it.
    Optimized,
    /// Refuses it, but can be activated.
    Standby,
    /// Refuses it, and knows little else.
    Unavailable,
}

impl Access {
    /// `ALUA_ACCESS_STATE_*` of `target_core_alua.h`.
    const fn number(self) -> &'static str {
        match self {
            Self::Optimized => "0",
            Self::Standby => "2",
            Self::Unavailable => "3",
        }
    }
}

/// The port group of one portal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PortGroup(Portal);

impl PortGroup {
    /// Of the portal that a path goes to.
    pub fn of(path: &Path) -> Outcome<Self> {
        super::cut::session_of(path).map(|session| Self(session.portal))
    }

    /// Makes it, and puts the portal's LUN into it.
    pub(super) fn make(portal: Portal) -> io::Result<()> {
        let group = Self(portal);
        fs::create_dir(group.folder())?;
        write(&group.folder().join("tg_pt_gp_id"), &portal.tag().to_string())?;
        write(&portal.lun().join("alua_tg_pt_gp"), &group.name())
    }

    /// What the target makes of it now.
    pub fn set(self, access: Access) -> Outcome {
        self.write("alua_access_state", access.number())?;
        happened("port group set", &[("portal", &self.0), ("access", &format_args!("{access:?}"))]);
        Ok(())
    }

    /// Whether it takes I/O.
    pub fn is_optimized(self) -> bool {
        fs::read_to_string(self.folder().join("alua_access_state"))
            .is_ok_and(|state| state.trim() == Access::Optimized.number())
    }

    /// How long it takes from one state to another.
    pub fn takes(self, time: Duration) -> Outcome {
        self.write("trans_delay_msecs", &time.as_millis().to_string())
    }

    /// Whether an initiator can make it take I/O (SET TARGET PORT GROUPS): an array whose other controller is dead, too,
    /// can't be asked to fail over.
    pub fn can_be_activated(self, can: bool) -> Outcome {
        self.write("alua_support_active_optimized", if can { "1" } else { "0" })
    }

    /// As it was made.
    fn reset(self) -> Outcome {
        if self.is_optimized() && self.is_quick() {
            return Ok(());
        }
        self.takes(Duration::ZERO)?;
        self.can_be_activated(true)?;
        self.set(Access::Optimized)
    }

    fn is_quick(self) -> bool {
        fs::read_to_string(self.folder().join("trans_delay_msecs")).is_ok_and(|delay| delay.trim() == "0")
    }

    fn write(self, attribute: &str, value: &str) -> Outcome {
        write(&self.folder().join(attribute), value).guest(format_args!("set the port group of {}", self.0))
    }

    fn folder(self) -> PathBuf {
        PathBuf::from(CORE).join("alua").join(self.name())
    }

    fn name(self) -> String {
        format!("group{}", self.0.tag())
    }
}

/// Every group takes I/O, as it was made.
pub fn reset() -> Outcome {
    Portal::all().map(PortGroup).try_for_each(PortGroup::reset)
}

/// Groups that a case left otherwise.
pub fn leftovers() -> impl Iterator<Item = String> {
    let changed = Portal::all().map(PortGroup).filter(|group| !(group.is_optimized() && group.is_quick()));
    changed.map(|group| format!("port group of {} that was not reset", group.0))
}
