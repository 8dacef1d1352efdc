// SPDX-License-Identifier: GPL-2.0-only
//! Process 1 of an image, and the one that virtme-ng's process 1 starts: boots the guest, serves the host's requests one
//! at a time, runs each case in a process of its own and looks at what it left behind. It has one thread, so that `fork(2)` without `exec` is sound.

mod boot;
mod capture;
mod case_process;
mod host_root;
mod port;
mod postcondition;
pub(crate) mod process;
pub mod sabotage;
mod timers;
mod tracer;

use std::os::fd::AsFd as _;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::unistd::Pid;

use crate::case::{Case, Tag, full_name};
use crate::kmsg;
use crate::message::{FromGuest, PROTOCOL, ToGuest, mode};
use crate::wire::Decoder;
use case_process::Asked;
use port::Port;
use postcondition::{Before, Residents};
use tracer::Tracer;

/// Seconds on `CLOCK_MONOTONIC`, the clock of every message.
pub fn now() -> f64 {
    nix::time::clock_gettime(nix::time::ClockId::CLOCK_MONOTONIC)
        .map(|t| std::time::Duration::from(t).as_secs_f64())
        .unwrap_or_default()
}

/// What the guest binary does with the catalogue; never returns.
pub fn main(catalogue: &'static [Case]) -> ! {
    let error = match boot::prepare() {
        Err(error) => error,
        Ok(ready) => match ready.mode.as_str() {
            mode::SHELL => boot::shell(),
            _ => match serve(catalogue, &ready) {
                Ok(()) => boot::power_off(0),
                Err(error) => error,
            },
        },
    };
    // The host reads this on the console; without an agent there is no other way to tell.
    let _ = kmsg::line(&format!("agent failed: {error}"));
    boot::power_off(1)
}

/// A case under way.
struct Running {
    token: u64,
    name: String,
    pid: Pid,
    before: Before,
}

struct Agent {
    catalogue: &'static [Case],
    port: Port,
    running: Option<Running>,
    capture: Option<(u64, Pid)>,
    /// Of an observed kernel.
    tracer: Option<Tracer>,
    residents: Residents,
}

fn serve(catalogue: &'static [Case], ready: &boot::Ready) -> std::io::Result<()> {
    let mut wanted = SigSet::empty();
    wanted.add(Signal::SIGCHLD);
    wanted.thread_block()?;
    let signals = SignalFd::with_flags(&wanted, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)?;
    let tracer = Tracer::open()?;
    let port = Port::open()?;
    port.send(&FromGuest::Hello {
        protocol: PROTOCOL,
        t: now(),
        release: ready.release.clone(),
        taint: postcondition::taint(),
        missing_modules: ready.missing_modules.clone(),
        observed: tracer.is_some(),
    })?;
    let residents = Residents::look();
    let mut agent = Agent { catalogue, port, running: None, capture: None, tracer, residents };
    let mut decoder = Decoder::new();
    let mut buffer = [0; 4096];
    loop {
        let mut fds = [
            PollFd::new(agent.port.as_fd(), PollFlags::POLLIN),
            PollFd::new(signals.as_fd(), PollFlags::POLLIN),
        ];
        let tracing = agent.tracer.as_ref().is_some_and(Tracer::is_running);
        let limit = if tracing { tracer::READ_EVERY_MS.into() } else { PollTimeout::NONE };
        match poll(&mut fds, limit) {
            Ok(_) | Err(nix::errno::Errno::EINTR) => {}
            Err(errno) => return Err(errno.into()),
        }
        let readable =
            |fd: &PollFd| fd.revents().is_some_and(|r| r.intersects(PollFlags::POLLIN | PollFlags::POLLHUP));
        let (from_host, from_children) = (readable(&fds[0]), readable(&fds[1]));
        if !from_host && !from_children {
            agent.forward_trace()?;
        }
        if from_children {
            while signals.read_signal()?.is_some() {}
            agent.reap()?;
        }
        if from_host {
            match agent.port.read(&mut buffer)? {
                0 => return Ok(()), // the host hung up
                n => decoder.push(&buffer[..n]),
            }
            while let Some(request) = decoder.message() {
                let request = request.map_err(std::io::Error::other)?;
                if agent.obey(request)?.is_break() {
                    return Ok(());
                }
            }
        }
    }
}

impl Agent {
    fn obey(&mut self, request: ToGuest) -> std::io::Result<std::ops::ControlFlow<()>> {
        match request {
            ToGuest::PowerOff => return Ok(std::ops::ControlFlow::Break(())),
            ToGuest::Capture { token } => {
                self.forward_trace()?;
                let pid = process::fork(|| capture::collect(&self.port, token))?;
                self.capture = Some((token, pid));
            }
            ToGuest::Run { token, case, condition, time_factor, stress } => {
                let name = full_name(&case, &condition);
                kmsg::line(&format!("begin {token} {name}"))?;
                self.port.send(&FromGuest::Started { token, t: now() })?;
                let found = self.catalogue.iter().find(|c| c.name == case);
                let before = Before::look(found.is_some_and(|case| !case.allow.is_empty()), &self.residents);
                // What is measured is not looked at.
                let traced = found.is_some_and(|case| case.tag != Tag::Measurement);
                if let Some(tracer) = self.tracer.as_mut().filter(|_| traced) {
                    tracer.start()?;
                }
                let asked = Asked { condition, time_factor, stress };
                let pid = process::fork(|| case_process::run(&self.port, token, found, &asked))?;
                self.running = Some(Running { token, name, pid, before });
            }
        }
        Ok(std::ops::ControlFlow::Continue(()))
    }

    /// Sends what the running case's trace has so far.
    fn forward_trace(&mut self) -> std::io::Result<()> {
        match (&mut self.tracer, &self.running) {
            (Some(tracer), Some(running)) if tracer.is_running() => tracer.forward(&self.port, running.token),
            _ => Ok(()),
        }
    }

    /// Collects ended children: the case, a capture, and orphans, which become ours.
    fn reap(&mut self) -> std::io::Result<()> {
        while let Some((pid, exit)) = process::reap() {
            if let Some(running) = self.running.take_if(|running| running.pid == pid) {
                process::end_group(pid);
                let violations = running.before.violations();
                if let Some(tracer) = self.tracer.as_mut().filter(|tracer| tracer.is_running()) {
                    tracer.stop(&self.port, running.token)?;
                }
                kmsg::line(&format!("end {} {}", running.token, running.name))?;
                self.port.send(&FromGuest::Ended { token: running.token, t: now(), exit, violations })?;
            } else if let Some((token, _)) = self.capture.take_if(|(_, capture)| *capture == pid) {
                self.port.send(&FromGuest::CaptureDone { token })?;
            }
        }
        Ok(())
    }
}
