// SPDX-License-Identifier: GPL-2.0-only
//! The guest's end of the agent's virtio-serial port. `/dev/virtio-ports` links are udev's work; here the port is
//! found by its name in sysfs.

use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsFd, BorrowedFd};
use std::thread;
use std::time::{Duration, Instant};

use crate::message::{FromGuest, PORT_NAME};
use crate::wire;

/// The port is created by a control message after the driver's probe; it takes milliseconds.
const APPEARS_WITHIN: Duration = Duration::from_secs(10);

/// An open port. Copies made by fork write to the same port; one frame is one `write(2)`.
#[derive(Debug)]
pub struct Port {
    file: File,
}

impl Port {
    /// Finds and opens the port.
    pub fn open() -> io::Result<Self> {
        let start = Instant::now();
        loop {
            if let Some(name) = find() {
                let file = File::options().read(true).write(true).open(format!("/dev/{name}"))?;
                return Ok(Self { file });
            }
            if start.elapsed() > APPEARS_WITHIN {
                return Err(io::Error::other(format!("no virtio-serial port is called {PORT_NAME}")));
            }
            thread::sleep(Duration::from_millis(2));
        }
    }

    /// A second handle on the same port.
    pub fn share(&self) -> io::Result<Self> {
        Ok(Self { file: self.file.try_clone()? })
    }

    /// Sends one message.
    pub fn send(&self, message: &FromGuest) -> io::Result<()> {
        self.send_raw(&wire::encode(message).map_err(io::Error::other)?)
    }

    /// Writes bytes that need not be a frame; for the harness's tests of itself.
    pub fn send_raw(&self, bytes: &[u8]) -> io::Result<()> {
        (&self.file).write_all(bytes)
    }

    /// Reads what the host sent.
    pub fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        (&self.file).read(buffer)
    }
}

impl AsFd for Port {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

fn find() -> Option<String> {
    let ports = fs::read_dir("/sys/class/virtio-ports").ok()?;
    ports
        .flatten()
        .find(|port| fs::read_to_string(port.path().join("name")).is_ok_and(|name| name.trim() == PORT_NAME))
        .and_then(|port| port.file_name().into_string().ok())
}
