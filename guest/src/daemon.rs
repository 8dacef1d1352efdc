// SPDX-License-Identifier: GPL-2.0-only
//! The real multipathd, as users run it, and the udevd that it learns from. Both run while a case wants them, and are
//! gone when it ends. What the daemon asked of the kernel is read from its own log ([`ioctls`]).
//!
//! `docs/multipathd.md` says which rules of udev are in the guest, and what the daemon was seen to do.

mod client;
pub mod ioctls;
mod service;
mod udev;

use std::fs;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path as FilePath, PathBuf};

use crate::condition::QueueMode;
use crate::dm::tool::{Answer, Call};
use crate::failure::{Failure, GuestContext as _, Outcome, skip};
use crate::paths::Path;
use crate::report::happened;
use crate::wait::{scaled, wait_for};
use ioctls::Ioctl;
use service::{STEP, Service};
use udev::Udevd;

/// A command of the daemon's does what it says.
pub const OBEYS: &str = "multipathd does as it is told";

const PROGRAM: &str = "/usr/sbin/multipathd";
const LOG: &str = "/run/multipathd.log";
const CONFIGURATION: &str = include_str!("../../images/multipath/multipath.conf");
const FOLDER: &str = "/etc/multipath";
const ENABLED: &str = "/etc/systemd/system/sysinit.target.wants";

/// multipathd under way.
#[derive(Debug)]
pub struct Multipathd {
    daemon: Service,
    udevd: Option<Udevd>,
}

impl Multipathd {
    /// Starts udevd, shows it the paths, and starts the daemon, which makes a map of them.
    pub fn start(queue_mode: QueueMode, paths: &[Path]) -> Outcome<Self> {
        if !FilePath::new(PROGRAM).exists() {
            return skip(format!(
                "this guest has no {PROGRAM}: the host has no multipath-tools to take it from"
            ));
        }
        configure(queue_mode)?;
        let udevd = Udevd::start(paths)?;
        // -d: in the foreground, as systemd starts it. -s: no time stamps. -v5: libdevmapper tells each of its ioctls.
        let daemon = Service::start("multipathd", PROGRAM, &["-d", "-s", "-v5"], LOG)?;
        happened("multipathd started", &[("queue_mode", &queue_mode)]);
        Ok(Self { daemon, udevd: Some(udevd) })
    }

    /// The name of the map that it made, when it has made one and udev its node.
    pub fn map(&mut self) -> Outcome<String> {
        self.daemon.is_ready()?;
        wait_for(STEP, "multipathd makes a map", || {
            let made = map_of_the_daemon().filter(|name| FilePath::new("/dev/mapper").join(name).exists());
            Ok(made.ok_or_else(|| "there is none".to_owned()))
        })
    }

    /// Gives it a command over its socket, which costs no process. It refuses some (`suspend map`, `restorequeueing map`)
    /// until udev has told it of its own map (`wait_for_udev`), and is asked again. Assertion: [`OBEYS`].
    pub fn command(&self, command: &str) -> Outcome {
        wait_for(STEP, OBEYS, || {
            let answer = client::ask(command, scaled(STEP))
                .map_err(|error| Failure::assertion(OBEYS, format_args!("`{command}`: {error}")))?;
            let answer = answer.trim();
            Ok(if answer == "ok" { Ok(()) } else { Err(format!("`{command}` gave `{answer}`")) })
        })?;
        happened("multipathd was told", &[("command", &command)]);
        Ok(())
    }

    /// `multipath -f`: flushes a map, which may be refused.
    pub fn try_flush(&self, map: &str) -> Outcome<Answer> {
        let call = Call { program: "multipath", what: "flush", args: &["-f", map], stdin: None };
        let answer = call.answer()?;
        happened("multipath -f", &[("map", &map), ("succeeded", &answer.succeeded)]);
        Ok(answer)
    }

    /// Everything that it has asked of the kernel about a map so far, in order.
    pub fn ioctls(&self, map: &str) -> Outcome<Vec<Ioctl>> {
        let log = fs::read(LOG).guest(format_args!("read {LOG}"))?;
        Ok(ioctls::of_map(&String::from_utf8_lossy(&log), map))
    }

    /// Asks it to end and waits until it has. It stops queueing on all of its maps then (`queue_without_daemon no`).
    pub fn stop(&mut self) -> Outcome {
        self.daemon.end()
    }

    /// Asks udevd to end; whoever still works for it may wait for I/O.
    pub fn let_udevd_go(&self) {
        if let Some(udevd) = &self.udevd {
            udevd.ask_to_end();
        }
    }

    /// After all I/O has ended: waits until udevd has too, and removes what both have left.
    pub fn clean_up(&mut self) -> Outcome {
        let ended = self.udevd.take().map_or(Ok(()), Udevd::wait);
        let _nothing_left = fs::remove_dir_all(FOLDER);
        ended
    }
}

/// Writes the daemon's configuration. With the mode among the features, it is in every table that the daemon loads.
fn configure(queue_mode: QueueMode) -> Outcome {
    let snippets = PathBuf::from(FOLDER).join("conf.d");
    let write = || {
        fs::DirBuilder::new().recursive(true).mode(0o755).create(&snippets)?;
        fs::write("/etc/multipath.conf", CONFIGURATION)?;
        // As a distribution enables the service. Without it `multipath -u`, which udev runs for each path before the daemon
        // is there, says that the path is none, and the daemon has udev look at all of them again.
        fs::DirBuilder::new().recursive(true).mode(0o755).create(ENABLED)?;
        fs::write(FilePath::new(ENABLED).join("multipathd.service"), "")?;
        let mode = format!("defaults {{\n\tfeatures \"2 queue_mode {queue_mode}\"\n}}\n");
        fs::write(snippets.join("queue_mode.conf"), mode)
    };
    write().guest("write the configuration of multipathd")
}

/// The daemon marks its maps by their uuid.
fn map_of_the_daemon() -> Option<String> {
    let entries = fs::read_dir("/sys/block").ok()?;
    entries.flatten().map(|entry| entry.path().join("dm")).find_map(|dm| {
        let uuid = fs::read_to_string(dm.join("uuid")).ok()?;
        let name = fs::read_to_string(dm.join("name")).ok()?;
        uuid.starts_with("mpath-").then(|| name.trim_end().to_owned())
    })
}
