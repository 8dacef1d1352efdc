// SPDX-License-Identifier: GPL-2.0-only
//! The ALUA device handler, `scsi_dh_alua`: it asks a disk for the state of its port groups, and has dm-multipath initialise a
//! group of paths before it is used (`pg_init`). Attached where a case asks for it, and gone after it: all other cases
//! run without.

use std::fs;
use std::time::Duration;

use super::{Hctl, Path, folder, read};
use crate::failure::{GuestContext as _, Outcome};
use crate::modules;
use crate::report::happened;
use crate::wait::wait_for;

/// The module.
pub const MODULE: &str = "scsi_dh_alua";
/// The handler.
const NAME: &str = "alua";
/// How long the last user may take to let go, before scaling.
const UNUSED: Duration = Duration::from_secs(5);

/// Attaches the handler to the device of each path.
pub fn attach(paths: &[Path]) -> Outcome {
    modules::require(MODULE)?.insert(MODULE, "").guest(format_args!("load {MODULE}"))?;
    for path in paths {
        let file = format!("{}/dh_state", folder(path.address()));
        if read(&file).is_ok_and(|state| state != NAME) {
            fs::write(&file, NAME).guest(format_args!("attach {NAME} to {path}"))?;
        }
        happened("handler attached", &[("path", path), ("handler", &NAME)]);
    }
    Ok(())
}

/// Takes the module away. The kernel can't detach a handler (`sdev_store_dh_state`), so the devices that have one are
/// deleted; whoever keeps paths for the next case looks for them again.
pub fn remove() -> Outcome {
    // Only what was loaded has this file.
    if !std::path::Path::new("/sys/module").join(MODULE).join("initstate").exists() {
        return Ok(());
    }
    let devices = fs::read_dir("/sys/class/scsi_device").into_iter().flatten().flatten();
    for address in devices.filter_map(|entry| entry.file_name().to_str()?.parse::<Hctl>().ok()) {
        if read(&format!("{}/dh_state", folder(address))).is_ok_and(|state| state == NAME) {
            super::delete(address)?;
        }
    }
    wait_for(UNUSED, "the module scsi_dh_alua can be removed", || {
        Ok(modules::remove(MODULE).map_err(|error| error.to_string()))
    })
}
