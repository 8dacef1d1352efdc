// SPDX-License-Identifier: GPL-2.0-only
//! A process that suspends a map by the ioctl itself, and gets a signal while it waits in it.
//!
//! `dmsetup` can't be used: what a signal does to the ioctl depends on how its handler was installed, and `dmsetup`
//! installs none. The child says two things through a pipe: that its handler ran, and how the ioctl ended. What
//! it runs between `fork` and `_exit` is async-signal-safe: the case's process has other threads.
//!
//! ```no_run
//! # use guest::{condition::Signal, dm::{Flush, Map, Suspender}};
//! # fn interrupt(map: &Map) -> guest::failure::Outcome {
//! let mut suspend = Suspender::start(map, Flush::Noflush, Signal::Eintr)?;
//! suspend.waits()?;
//! suspend.is_interrupted()   // EINTR; with Signal::Restart: it waits again
//! # }
//! ```

use std::fs::File;
use std::io::{self, PipeReader, Read as _, pipe};
use std::os::fd::{AsFd as _, AsRawFd as _, RawFd};
use std::sync::atomic::{AtomicI32, Ordering};
use std::time::Duration;

use nix::errno::Errno;
use nix::libc;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{self, SaFlags, SigAction, SigHandler, SigSet};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{ForkResult, Pid, fork};

use super::ioctl::{self, DmIoctl};
use super::tool::{DEADLINE, whereabouts};
use super::{DmName, Flush, Map};
use crate::condition::Signal;
use crate::failure::{Failure, GuestContext as _, Outcome, ensure};
use crate::report::happened;
use crate::wait::wait_for;

/// The suspend is seen waiting in the kernel for I/O in flight.
pub const WAITS: &str = "suspend waits for I/O in flight";
/// The handler ran: the ioctl was left.
pub const HANDLED: &str = "a signal gets through to the waiting suspend";
/// Without `SA_RESTART`, the ioctl fails with EINTR.
pub const INTERRUPTED: &str = "interrupted suspend fails with EINTR";
/// With `SA_RESTART`, the ioctl is issued again and waits again.
pub const RESTARTED: &str = "interrupted suspend waits again";
/// It does not wait for I/O any more.
pub const WAKES: &str = "a signal ends the suspend's wait";
/// The suspend ended well; the same words as of [`Map::suspend`].
pub const SUCCEEDS: &str = "suspend succeeds";
const RETURNS: &str = "suspend returns";

/// How long a killed child may take to end.
const END: Duration = Duration::from_secs(2);

nix::ioctl_readwrite!(
    /// `DM_DEV_SUSPEND` of include/uapi/linux/dm-ioctl.h.
    dm_dev_suspend, 0xfd, 6, DmIoctl);

/// What the child says, four bytes each: that its handler ran, or 0 or the errno of its ioctl.
const HANDLER_RAN: i32 = -1;

/// Where the child's handler says so.
static REPORT: AtomicI32 = AtomicI32::new(-1);

/// A process that suspends a map.
#[derive(Debug)]
pub struct Suspender {
    pid: Pid,
    map: DmName,
    signal: Signal,
    said: PipeReader,
    result: Option<Result<(), Errno>>,
}

impl Suspender {
    /// Starts the suspend. What a signal will do to it is decided now.
    pub fn start(map: &Map, flush: Flush, signal: Signal) -> Outcome<Self> {
        let control = ioctl::control()?;
        let (said, report) = pipe().guest("make a pipe")?;
        let mut request = DmIoctl::of(map.name(), ioctl::SUSPEND | flush.flags());
        happened("suspend started", &[("map", map.name()), ("form", &flush.name()), ("signal", &signal)]);
        // The child is born with the signal blocked, so that it can't be killed by it before its handler is installed.
        let mut blocked = SigSet::empty();
        blocked.add(signal::SIGUSR1);
        blocked.thread_block().guest("block a signal")?;
        // SAFETY: the child calls nothing but async-signal-safe functions and does not return.
        let pid = match unsafe { fork() }.guest("fork")? {
            ForkResult::Child => suspend(&control, report.as_raw_fd(), &mut request, signal),
            ForkResult::Parent { child } => child,
        };
        // Its end of the pipe is the child's alone, so that its death is seen as the end of the pipe.
        drop(report);
        Ok(Self { pid, map: map.name().clone(), signal, said, result: None })
    }

    /// Waits until the child is seen in the kernel, waiting for I/O in flight. Assertion: [`WAITS`].
    pub fn waits(&mut self) -> Outcome {
        self.waits_as(WAITS)
    }

    fn waits_as(&mut self, name: &str) -> Outcome {
        let place = wait_for(DEADLINE, name, || {
            self.listen()?;
            if let Some(result) = self.result {
                return Err(Failure::assertion(name, format_args!("it ended: {}", text(result))));
            }
            let place = place_in_kernel(self.pid);
            Ok(if waits_for_io(&place) { Ok(place) } else { Err(whereabouts(self.pid)) })
        })?;
        let place = place.lines().map(str::trim).collect::<Vec<_>>().join(" < ");
        happened(name, &[("map", &self.map), ("process", &self.pid), ("place", &place)]);
        Ok(())
    }

    /// Sends a signal, and waits for what it must do: with [`Signal::Eintr`] the ioctl ends with EINTR, with
    /// [`Signal::Restart`] it is issued again and waits again. Assertions: [`HANDLED`], [`INTERRUPTED`],
    /// [`RESTARTED`].
    pub fn is_interrupted(&mut self) -> Outcome {
        self.interrupt()?;
        self.was_interrupted()
    }

    /// After [`Self::interrupt`]: waits until the suspend is seen to wait for I/O no more. Assertion: [`WAKES`].
    pub fn stops_waiting(&self) -> Outcome {
        wait_for(DEADLINE, WAKES, || {
            let place = place_in_kernel(self.pid);
            Ok(if waits_for_io(&place) { Err(whereabouts(self.pid)) } else { Ok(()) })
        })
    }

    /// The second half of [`Self::is_interrupted`].
    pub fn was_interrupted(&mut self) -> Outcome {
        wait_for(DEADLINE, HANDLED, || Ok(if self.listen()? { Ok(()) } else { Err(whereabouts(self.pid)) }))?;
        match self.signal {
            Signal::Eintr => {
                let result = self.returns()?;
                ensure(result == Err(Errno::EINTR), INTERRUPTED, text(result))
            }
            Signal::Restart => self.waits_as(RESTARTED),
        }
    }

    /// Sends a signal, wherever the suspend is.
    pub fn interrupt(&self) -> Outcome {
        happened("signal sent", &[("map", &self.map), ("process", &self.pid)]);
        signal::kill(self.pid, signal::SIGUSR1).guest("send a signal")
    }

    /// Waits until the suspend ends well. Assertions: `suspend returns`, `suspend succeeds`.
    pub fn succeeds(&mut self) -> Outcome {
        let result = self.returns()?;
        ensure(result.is_ok(), SUCCEEDS, text(result))
    }

    /// Waits for the end of the suspend, whatever it is.
    pub fn returns(&mut self) -> Outcome<Result<(), Errno>> {
        let result = wait_for(DEADLINE, RETURNS, || {
            self.listen()?;
            Ok(self.result.ok_or_else(|| whereabouts(self.pid)))
        })?;
        happened("suspend ended", &[("map", &self.map), ("result", &text(result))]);
        Ok(result)
    }

    /// Hears all that the child has said; whether its handler ran.
    fn listen(&mut self) -> Outcome<bool> {
        let mut handled = false;
        while self.result.is_none() && is_readable(&self.said).guest("listen to a process")? {
            let mut word = [0; 4];
            self.said.read_exact(&mut word).guest("hear how a suspend ended: its process is gone")?;
            match i32::from_ne_bytes(word) {
                HANDLER_RAN => handled = true,
                0 => self.result = Some(Ok(())),
                errno => self.result = Some(Err(Errno::from_raw(errno))),
            }
        }
        Ok(handled)
    }
}

/// Ends the child if it still waits. A suspend can be interrupted; one that can't be is found by the agent.
impl Drop for Suspender {
    fn drop(&mut self) {
        let _gone_already = signal::kill(self.pid, signal::SIGKILL);
        let ended = wait_for(END, "killed suspend ends", || {
            Ok(match waitpid(self.pid, Some(WaitPidFlag::WNOHANG)) {
                Ok(WaitStatus::StillAlive) => Err(whereabouts(self.pid)),
                _ => Ok(()),
            })
        });
        if let Err(failure) = ended {
            happened("clean-up failed", &[("why", &failure)]);
        }
    }
}

fn text(result: Result<(), Errno>) -> String {
    result.map_or_else(|errno| format!("{errno:?}"), |()| "ok".to_owned())
}

fn is_readable(pipe: &PipeReader) -> io::Result<bool> {
    let mut fds = [PollFd::new(pipe.as_fd(), PollFlags::POLLIN)];
    Ok(poll(&mut fds, PollTimeout::ZERO)? > 0)
}

/// The stack of a process in the kernel (`CONFIG_STACKTRACE`), or the function that it sleeps in.
fn place_in_kernel(pid: Pid) -> String {
    let read = |file: &str| std::fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap_or_default();
    let stack = read("stack");
    if stack.is_empty() { read("wchan") } else { stack }
}

/// `dm_wait_for_completion()` and `dm_wait_for_bios_completion()` of drivers/md/dm.c; for requests, 6.1 sleeps in
/// `msleep()` there, which is all that `wchan` then tells, and nothing else in a suspend does that. Kernels of this
/// project drain the request queue of a flush suspend before it is stopped, and wait for a freeze of it meanwhile.
fn waits_for_io(place: &str) -> bool {
    ["dm_wait_for_", "dm_drain_queue", "blk_mq_freeze_queue_wait"].iter().any(|name| place.contains(name))
        || place == "msleep"
}

/// What the child does.
fn suspend(control: &File, report: RawFd, request: &mut DmIoctl, signal: Signal) -> ! {
    let control = control.as_raw_fd();
    close_all_but(control.min(report), control.max(report));
    REPORT.store(report, Ordering::Relaxed);
    let flags = match signal {
        Signal::Eintr => SaFlags::empty(),
        Signal::Restart => SaFlags::SA_RESTART,
    };
    let action = SigAction::new(SigHandler::Handler(note), flags, SigSet::empty());
    // SAFETY: the handler calls write(2) only.
    let installed = unsafe { signal::sigaction(signal::SIGUSR1, &action) };
    let unblocked = SigSet::empty().thread_set_mask();
    // SAFETY: the kernel reads and writes `data_size` bytes of `request`, which lives until the process ends.
    let suspended =
        installed.and(unblocked).and_then(|()| unsafe { dm_dev_suspend(control, request) }.map(drop));
    say(report, suspended.map_or_else(|errno| errno as i32, |()| 0));
    // SAFETY: ends the process without the handlers of exit(3), which belong to the parent's threads.
    unsafe { libc::_exit(0) }
}

/// The maps under test must not be open in this process too.
fn close_all_but(low: RawFd, high: RawFd) {
    let last = libc::c_uint::MAX;
    let number = |fd: RawFd| libc::c_uint::try_from(fd).unwrap_or(last);
    for (from, to) in [(0, number(low - 1)), (number(low + 1), number(high - 1)), (number(high + 1), last)] {
        // SAFETY: the descriptors are not used in this process. An empty range (from > to) is refused.
        let _refused = unsafe { libc::syscall(libc::SYS_close_range, from, to, 0) };
    }
}

extern "C" fn note(_: libc::c_int) {
    say(REPORT.load(Ordering::Relaxed), HANDLER_RAN);
}

fn say(to: RawFd, word: i32) {
    let bytes = word.to_ne_bytes();
    // SAFETY: the bytes live during the call. Four bytes into an empty pipe are never cut, and nobody is left to
    // tell if it fails.
    let _written = unsafe { libc::write(to, bytes.as_ptr().cast(), bytes.len()) };
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As /proc/PID/stack and /proc/PID/wchan of 6.12.117 show it.
    #[test]
    fn only_the_wait_for_io_counts() {
        assert!(waits_for_io(
            "[<0>] dm_wait_for_completion+0x8d/0x130 [dm_mod]\n[<0>] __dm_suspend+0x1b4/0x320 [dm_mod]\n"
        ));
        assert!(waits_for_io("dm_wait_for_bios_completion"));
        assert!(!waits_for_io("[<0>] synchronize_srcu+0x5a/0xa0\n[<0>] __dm_suspend+0x9c/0x320 [dm_mod]\n"));
        assert!(!waits_for_io("0") && !waits_for_io(""));
    }
}
