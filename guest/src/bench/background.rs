// SPDX-License-Identifier: GPL-2.0-only
//! A system call that may not return for a while, made by a thread of its own: the case sees it asleep in the kernel,
//! goes on, and asks for its result later. If the kernel never comes back, the case says so at its deadline.

use std::io;
use std::sync::mpsc::{self, Receiver, TryRecvError};
use std::thread;

use nix::unistd::{Pid, gettid};

use super::io::STEP;
use crate::failure::{Failure, GuestContext as _, Outcome, ensure};
use crate::report::happened;
use crate::wait::{scaled, wait_for};

/// A call under way.
#[derive(Debug)]
pub struct Background {
    what: String,
    thread: Pid,
    result: Receiver<io::Result<()>>,
}

impl Background {
    /// Starts `call`; `what` reads like the end of "waited for", e.g. `fsync`.
    pub fn start(
        what: impl Into<String>,
        call: impl FnOnce() -> io::Result<()> + Send + 'static,
    ) -> Outcome<Self> {
        let what = what.into();
        let (told, thread) = mpsc::sync_channel(1);
        let (done, result) = mpsc::sync_channel(1);
        let run = move || {
            let _nobody_waits = told.send(gettid());
            let _nobody_waits = done.send(call());
        };
        thread::Builder::new().name("background".to_owned()).spawn(run).guest("start a thread")?;
        let thread = thread.recv_timeout(scaled(STEP)).guest("start a thread")?;
        happened("call started", &[("call", &what)]);
        Ok(Self { what, thread, result })
    }

    /// Waits until it sleeps uninterruptibly in the kernel: it waits for something that it can't do without. Fails the
    /// assertion `name` if it returns.
    pub fn is_blocked(&mut self, name: &str) -> Outcome {
        wait_for(STEP, name, || match self.result.try_recv() {
            Err(TryRecvError::Empty) => {
                let state = self.state();
                Ok(if state == Some('D') { Ok(()) } else { Err(format!("its state is {state:?}")) })
            }
            Ok(result) => Err(Failure::assertion(name, format_args!("{} returned {result:?}", self.what))),
            Err(TryRecvError::Disconnected) => {
                Err(Failure::guest(format_args!("{} has no thread", self.what)))
            }
        })?;
        happened(name, &[("call", &self.what)]);
        Ok(())
    }

    /// Waits until it has returned without an error: the assertion `name`.
    pub fn succeeds(self, name: &str) -> Outcome {
        let what = self.what.clone();
        self.returns(name)?.map_err(|error| Failure::assertion(name, format_args!("{what}: {error}")))
    }

    /// The same, or with EBUSY: somebody else's call is under way, and this kernel lets one at a time in.
    pub fn succeeds_unless_busy(self, name: &str) -> Outcome {
        let what = self.what.clone();
        match self.returns(name)? {
            Err(error) if error.raw_os_error() != Some(nix::libc::EBUSY) => {
                Err(Failure::assertion(name, format_args!("{what}: {error}")))
            }
            _ => Ok(()),
        }
    }

    /// Waits until it has returned, with an error or without: the assertion `name`.
    pub fn returns(self, name: &str) -> Outcome<io::Result<()>> {
        let limit = scaled(STEP);
        let Ok(result) = self.result.recv_timeout(limit) else {
            let (state, limit) = (self.state(), limit.as_secs_f64());
            return Err(Failure::assertion(
                name,
                format_args!("{} did not return within {limit:.1} s, its state is {state:?}", self.what),
            ));
        };
        happened("call returned", &[("call", &self.what), ("result", &format_args!("{result:?}"))]);
        Ok(result)
    }

    /// Waits until it has returned with EIO: the assertion `name`.
    pub fn fails_with_eio(self, name: &str) -> Outcome {
        let result = self.result.recv_timeout(scaled(STEP));
        let eio = matches!(&result, Ok(Err(error)) if error.raw_os_error() == Some(nix::libc::EIO));
        ensure(eio, name, format_args!("{}: {result:?}, its state is {:?}", self.what, self.state()))
    }

    fn state(&self) -> Option<char> {
        let text = std::fs::read_to_string(format!("/proc/self/task/{}/stat", self.thread)).ok()?;
        Some(crate::agent::process::parse_stat(&text)?.state)
    }
}
