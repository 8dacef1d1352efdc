// SPDX-License-Identifier: GPL-2.0-only
//! From the start of QEMU to the agent's first message: what ends a boot, and whose fault it is.

use std::time::{Duration, Instant};

use guest::message::{FromGuest, PROTOCOL};

use super::clocks::Factor;
use super::session::{Session, TICK};
use crate::event::{Kind, Source};
use crate::interrupt;
use crate::vm::console::Found;
use crate::vm::qemu::Signal;

/// Why a VM did not come up.
#[derive(Debug, thiserror::Error)]
pub enum BootError {
    /// QEMU, the image or the agent: says nothing about the kernel.
    #[error("{0}")]
    Host(String),
    /// The kernel does not boot, or not cleanly.
    #[error("{0}")]
    Kernel(String),
    /// Ctrl-C.
    #[error("interrupted")]
    Interrupted,
}

/// How virtme-ng's process 1 signs its lines, the Rust one and the shell one.
const VIRTME_INIT: [&str; 2] = ["virtme-ng-init: ", "virtme-init: "];

/// A kernel whose process 1 ran has booted; that this one did not get as far as the agent is the host's affair. (Process 1
/// speaks at level `info`: on the console of a second, verbose try.)
fn not_up(init_seen: bool, message: &str) -> BootError {
    if init_seen {
        BootError::Host(format!("virtme-ng's process 1 did not bring the agent up: {message}"))
    } else {
        BootError::Kernel(format!("the kernel does not boot: {message}"))
    }
}

impl Session {
    /// Waits for the agent's first message, or for a reason to give up.
    pub(super) fn wait_for_agent(&mut self) -> Result<(), BootError> {
        let mut heard = Instant::now();
        let mut last_line = String::new();
        let mut init_seen = false;
        loop {
            if interrupt::requested() {
                return Err(BootError::Interrupted);
            }
            let now = Instant::now();
            let boot = now - self.qemu.started;
            if now - heard > self.factor.boot_progress() || boot > self.factor.boot() {
                let seconds = boot.as_secs_f64();
                self.emit(Source::Host, Kind::Expired { clock: "boot".into(), seconds });
                return Err(not_up(
                    init_seen,
                    &format!("no agent after {seconds:.0} s; last console line: {last_line:?}"),
                ));
            }
            let Some((at, signal)) = self.qemu.next(TICK) else { continue };
            heard = at;
            match signal {
                Signal::Console(found) => {
                    if let Found::Line(text) = &found {
                        last_line.clone_from(text);
                        init_seen |= VIRTME_INIT.iter().any(|init| text.contains(init));
                        if let Some(why) = text.split_once("dm-pushback: agent failed: ") {
                            return Err(BootError::Host(format!("the guest's agent failed: {}", why.1)));
                        }
                    }
                    if let Found::Splat(splat) = &found {
                        let text = splat.first_line.clone();
                        self.console(found);
                        return Err(BootError::Kernel(format!("the kernel's boot is not clean: {text}")));
                    }
                    self.console(found);
                }
                Signal::SplatStarted(..) => {}
                Signal::Agent(FromGuest::Hello {
                    protocol, t, release, missing_modules, observed, ..
                }) => {
                    if protocol != PROTOCOL {
                        return Err(BootError::Host(format!(
                            "the agent speaks protocol {protocol}, not {PROTOCOL}"
                        )));
                    }
                    self.synchronise(at, t);
                    self.boot_seconds = (at - self.qemu.started).as_secs_f64();
                    self.factor = Factor::measured(at - self.qemu.started, self.virtme);
                    let (seconds, time_factor) = (self.boot_seconds, self.factor.value());
                    let kind = Kind::VmReady { seconds, release, time_factor, missing_modules, observed };
                    self.emit(Source::Host, kind);
                    return Ok(());
                }
                Signal::Agent(other) => {
                    return Err(BootError::Host(format!("the agent's first message is {other:?}")));
                }
                Signal::Broken(error) => {
                    return Err(BootError::Host(format!("the agent's channel broke: {error}")));
                }
                Signal::ConsoleEnded => {
                    let status = self.qemu.wait(Duration::from_secs(5));
                    let said = self.qemu.complaints();
                    return Err(if last_line.is_empty() {
                        BootError::Host(format!(
                            "QEMU ended before the kernel printed anything ({status:?}): {said}"
                        ))
                    } else {
                        not_up(init_seen, &format!("the VM ended; last console line: {last_line:?} {said}"))
                    });
                }
            }
        }
    }
}
