// SPDX-License-Identifier: GPL-2.0-only
//! The real udevd. multipathd takes paths from udev's database and from its broadcast alone, and waits for the cookies
//! of its maps until udev's rules have run (`95-dm-notify.rules`).

use std::fs;
use std::path::Path as FilePath;

use super::service::{STEP, Service};
use crate::failure::{GuestContext as _, Outcome, skip};
use crate::paths::Path;
use crate::report::happened;
use crate::wait::wait_for;

const PROGRAM: &str = "/usr/lib/systemd/systemd-udevd";

/// Its socket for commands.
const CONTROL: &str = "/run/udev/control";

/// Its database, and the links that it makes.
const LEFT: [&str; 2] = ["/run/udev", "/dev/disk"];

/// udevd under way.
#[derive(Debug)]
pub struct Udevd(Service);

impl Udevd {
    /// Starts it, waits until it listens, and shows it `paths`.
    pub fn start(paths: &[Path]) -> Outcome<Self> {
        if !FilePath::new(PROGRAM).exists() {
            return skip(format!("this guest has no {PROGRAM}"));
        }
        if FilePath::new(CONTROL).exists() {
            return skip("in this guest an udevd runs already, with other rules");
        }
        let mut service = Service::start("udevd", PROGRAM, &[], "/run/udevd.log")?;
        service.is_ready()?;
        add(paths)?;
        Ok(Self(service))
    }

    /// It finishes what it is at, and ends.
    pub fn ask_to_end(&self) {
        self.0.ask_to_end();
    }

    /// Waits until it has ended, and removes what it has left.
    pub fn wait(mut self) -> Outcome {
        let ended = self.0.end();
        for folder in LEFT {
            let _nothing_left = fs::remove_dir_all(folder);
        }
        ended
    }
}

/// Shows udevd disks that were there before it, as `udevadm trigger` does, and waits until it knows them.
fn add(paths: &[Path]) -> Outcome {
    for path in paths {
        let file = format!("/sys/dev/block/{}/uevent", path.device());
        fs::write(&file, "add").guest(format_args!("write to {file}"))?;
    }
    for path in paths {
        let file = format!("/run/udev/data/b{}", path.device());
        wait_for(STEP, "udev knows the path", || {
            let known = fs::read_to_string(&file).is_ok_and(|text| text.contains("E:ID_SERIAL="));
            Ok(if known { Ok(()) } else { Err(format!("{file} has no ID_SERIAL")) })
        })?;
    }
    happened("udev knows the paths", &[("paths", &paths.len())]);
    Ok(())
}
