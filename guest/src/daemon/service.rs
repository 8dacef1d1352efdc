// SPDX-License-Identifier: GPL-2.0-only
//! A program that systemd would start as `Type=notify`: it says when it is ready (`sd_notify(3)`). Until then udevd may
//! miss an event and multipathd a command.

use std::fs::{self, File};
use std::os::unix::net::UnixDatagram;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::failure::{Failure, GuestContext as _, Outcome};
use crate::wait::{scaled, wait_for};

/// How long any step of a service may take, before scaling. multipathd's checkers look once a second.
pub const STEP: Duration = Duration::from_secs(5);

/// A service under way, and where it says what it does.
#[derive(Debug)]
pub struct Service {
    name: &'static str,
    child: Child,
    notices: UnixDatagram,
}

impl Service {
    /// Starts `program`; what it says on standard error goes into `log`.
    pub fn start(name: &'static str, program: &str, args: &[&str], log: &str) -> Outcome<Self> {
        let socket = format!("/run/{name}.notify");
        let _none_left = fs::remove_file(&socket);
        let notices = UnixDatagram::bind(&socket).guest(format_args!("make {socket}"))?;
        let child = Command::new(program)
            .args(args)
            .env_clear()
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .env("NOTIFY_SOCKET", &socket)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(log).guest(format_args!("make {log}"))?)
            .spawn()
            .guest(format_args!("start {program}"))?;
        Ok(Self { name, child, notices })
    }

    /// Waits until it has said that it is ready.
    pub fn is_ready(&mut self) -> Outcome {
        let begun = Instant::now();
        let mut notice = [0; 4096];
        while let Some(left) = scaled(STEP).checked_sub(begun.elapsed()).filter(|left| !left.is_zero()) {
            if let Some(status) = self.child.try_wait().guest("look at a service")? {
                return Err(Failure::guest(format_args!("{} ended ({status})", self.name)));
            }
            // Not the whole time at once: one that ends says nothing.
            let slice = left.min(Duration::from_millis(100));
            self.notices.set_read_timeout(Some(slice)).guest("set a time-out")?;
            let Ok(length) = self.notices.recv(&mut notice) else { continue };
            if notice[..length].split(|byte| *byte == b'\n').any(|line| line == b"READY=1") {
                return Ok(());
            }
        }
        Err(Failure::guest(format_args!(
            "{} was not ready within {:.1} s",
            self.name,
            begun.elapsed().as_secs_f64()
        )))
    }

    /// Asks it to end.
    pub fn ask_to_end(&self) {
        if let Ok(pid) = i32::try_from(self.child.id()) {
            let _gone_already = kill(Pid::from_raw(pid), Signal::SIGTERM);
        }
    }

    /// Asks it to end, waits until it has, and kills it if it does not.
    pub fn end(&mut self) -> Outcome {
        self.ask_to_end();
        let name = self.name;
        let ended = wait_for(STEP, &format!("{name} ends"), || {
            let ended = self.child.try_wait().guest(format_args!("wait for {name}"))?;
            Ok(ended.ok_or_else(|| "it still runs".to_owned()))
        });
        if ended.is_err() {
            let _gone_already = self.child.kill();
        }
        ended.map(drop)
    }
}
