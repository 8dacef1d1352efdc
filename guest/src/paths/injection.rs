// SPDX-License-Identifier: GPL-2.0-only
//! Errors that `scsi_debug` injects into what its disks answer.
//!
//! Linux 6.1 injects by attributes of the driver (`opts` says what, `every_nth` how often), which are the same for every
//! command of every host; only newer kernels have errors per device (debugfs). So here, on both, a fault strikes all paths
//! at once, as a controller with all its ports does. The timers of the SCSI layer are made short for as long as it lasts: a
//! command must fail its path after the retries that show the kernel's way, not after those that show its patience.

use std::fs;
use std::time::Duration;

use super::{Path, queue_setting, scsi_debug};
use crate::failure::{GuestContext as _, Outcome};
use crate::report::happened;
use crate::wait::wait_for;

/// How long commands that are in the device may take to leave it, before scaling.
const LEAVES: Duration = Duration::from_secs(5);

/// What is injected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Injection {
    /// Each command ends with the sense data ABORTED COMMAND, ACK/NAK TIMEOUT.
    TransportError,
    /// Reads, writes and flushes are taken and never answered; the SCSI layer aborts them, and gives up.
    AbortedCommand,
    /// The host takes no command (`SCSI_MLQUEUE_HOST_BUSY`).
    HostBusy,
    /// As an aborted command, but the SCSI layer tries once more, and its error handler has to end that.
    Timeout,
}

/// `SD_MAX_RETRIES` of drivers/scsi/sd.h.
const RETRIES: u32 = 5;
/// `SD_TIMEOUT` of drivers/scsi/sd.h.
const TIMEOUT: Duration = Duration::from_secs(30);

/// The attributes of the driver, as [`scsi_debug::PARAMETERS`] has them while nothing is injected.
const QUIET: [(&str, &str); 3] = [("every_nth", "0"), ("opts", "0x0"), ("delay", "0")];

impl Injection {
    /// Bits of `opts`, `SDEBUG_OPT_*` of `drivers/scsi/scsi_debug.c`. Its `SDEBUG_OPT_CMD_ABORT` is not used: in 6.1, a command
    /// with it can complete before its abort begins, and then succeeds (`schedule_resp`).
    const fn opts(self) -> &'static str {
        match self {
            Self::TransportError => "0x10",
            Self::HostBusy => "0x8000",
            // SDEBUG_OPT_MAC_TIMEOUT. With SDEBUG_OPT_TIMEOUT, the error handler's own TEST UNIT READY would wait 10 s
            // for its answer (`eh_timeout`), and then take the device offline.
            Self::AbortedCommand | Self::Timeout => "0x80",
        }
    }

    /// How often sd tries again. Once is what lets a time-out wake the error handler's thread: the first abort succeeds,
    /// and `scsi_abort_command()` leaves a command that was aborted before to the thread. (A short `eh_deadline` would wake it
    /// at the first time-out, but then it goes straight to the reset of the host, after which it sleeps for 10 s.)
    const fn retries(self) -> u32 {
        if matches!(self, Self::Timeout) { 1 } else { 0 }
    }

    /// From now on every host of the driver does this; `paths` are those whose timers are shortened. A command that comes
    /// to a device stays in it for at least `stay` before it fails.
    ///
    /// A time-out takes up to 1.024 s more than that: so late may the block layer look for expired commands
    /// (`blk_round_jiffies`, HZ 1000).
    pub fn start(self, paths: &[Path], stay: Duration) -> Outcome {
        let timeout = match self {
            Self::TransportError | Self::HostBusy => TIMEOUT,
            Self::AbortedCommand | Self::Timeout => stay,
        };
        paths.iter().try_for_each(|path| set_timers(path, self.retries(), timeout))?;
        if self == Self::TransportError {
            // With `delay=0`, a command is answered before anything is injected (`schedule_resp`). The driver takes less
            // than a second.
            set_when_idle("ndelay", &stay.as_nanos().clamp(1, 999_999_999).to_string())?;
        }
        set("opts", self.opts())?;
        set("every_nth", "1")?;
        happened(
            "errors injected",
            &[("what", &format_args!("{self:?}")), ("stay", &format_args!("{stay:?}"))],
        );
        Ok(())
    }
}

/// Every host answers every command as it should. One that was not answered still has its time-out before it.
pub fn stop(paths: &[Path]) -> Outcome {
    if !is_active() {
        return Ok(());
    }
    // First the errors: with them, commands stay in the driver.
    for (name, value) in &QUIET[..2] {
        set(name, value)?;
    }
    let (delay, none) = QUIET[2];
    set_when_idle(delay, none)?;
    for path in paths.iter().filter(|path| path.state().is_some()) {
        set_timers(path, RETRIES, TIMEOUT)?;
    }
    happened("no errors injected", &[]);
    Ok(())
}

/// Whether the driver injects errors, or delays its answers.
pub fn is_active() -> bool {
    QUIET
        .iter()
        .any(|(name, quiet)| fs::read_to_string(attribute(name)).is_ok_and(|value| value.trim() != *quiet))
}

fn set(name: &str, value: &str) -> Outcome {
    fs::write(attribute(name), value).guest(format_args!("write {value} to scsi_debug's {name}"))
}

/// A delay, which the driver refuses to change while it has commands (EBUSY).
fn set_when_idle(name: &str, value: &str) -> Outcome {
    wait_for(LEAVES, "scsi_debug has no command left", || {
        Ok(fs::write(attribute(name), value).map_err(|error| format!("{name} = {value}: {error}")))
    })
}

fn attribute(name: &str) -> String {
    format!("{}/{name}", scsi_debug::DRIVER)
}

/// `device/timeout` sets the same time-out, in seconds.
fn set_timers(path: &Path, retries: u32, timeout: Duration) -> Outcome {
    let address = path.address();
    for (file, value) in [
        (format!("/sys/class/scsi_disk/{address}/max_retries"), u128::from(retries)),
        (queue_setting(path.device(), "io_timeout"), timeout.as_millis().max(1)),
    ] {
        fs::write(&file, value.to_string()).guest(format_args!("write {value} to {file}"))?;
    }
    Ok(())
}
