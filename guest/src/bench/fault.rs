// SPDX-License-Identifier: GPL-2.0-only
//! What makes the device below a path fail and work again, device-mapper aside. The message `fail_path`, which touches
//! no device, is the map's business: [`super::multipath::MultipathMap::fail_every_path`].

use std::time::Duration;

use crate::condition::Fault;
use crate::failure::Outcome;
use crate::paths::Path;
use crate::paths::injection::{self, Injection};
use crate::paths::iscsi::cut::Cut;

/// The fault strikes the devices of `paths`; one that scsi_debug injects strikes all others too, and commands stay
/// in them for at least `stay` before they fail.
pub fn strike(fault: Fault, paths: &[Path], stay: Duration) -> Outcome {
    match fault {
        Fault::Message => Ok(()),
        Fault::Offline => paths.iter().try_for_each(Path::set_offline),
        Fault::Delete => paths.iter().try_for_each(Path::delete),
        Fault::TransportError => Injection::TransportError.start(paths, stay),
        Fault::AbortedCommand => Injection::AbortedCommand.start(paths, stay),
        Fault::HostBusy => Injection::HostBusy.start(paths, stay),
        Fault::Timeout => Injection::Timeout.start(paths, stay),
        Fault::PortalDisabled => Cut::Portal.strike(paths),
        Fault::AddressRemoved => Cut::Address.strike(paths),
        Fault::ReplacementTimeout => Cut::Replacement.strike(paths),
    }
}

/// The devices of `paths` work again, without a word to any map. Deleted ones come back as new disks, so these are
/// what a map should be given next.
pub fn repair(fault: Fault, paths: &[Path]) -> Outcome<Vec<Path>> {
    match fault {
        Fault::Message => Ok(paths.to_vec()),
        Fault::Offline => paths.iter().try_for_each(Path::set_running).map(|()| paths.to_vec()),
        Fault::Delete => paths.iter().map(Path::rescan).collect(),
        Fault::TransportError | Fault::AbortedCommand | Fault::HostBusy | Fault::Timeout => {
            injection::stop(paths).map(|()| paths.to_vec())
        }
        Fault::PortalDisabled => Cut::Portal.mend(paths),
        Fault::AddressRemoved => Cut::Address.mend(paths),
        Fault::ReplacementTimeout => Cut::Replacement.mend(paths),
    }
}
