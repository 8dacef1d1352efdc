// SPDX-License-Identifier: GPL-2.0-only
//! What `multipathd COMMAND` does: one command over the daemon's socket. A command is its length in eight bytes, then its
//! text with a zero at its end; so is the answer (`mpath_cmd.h`).

use std::io::{self, Read as _, Write as _};
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixStream};
use std::time::Duration;

/// In the abstract name space.
const SOCKET: &str = "/org/kernel/linux/storage/multipathd";

/// No answer of interest is longer.
const LONGEST: usize = 1 << 20;

/// Asks the daemon, and waits for the answer.
pub fn ask(command: &str, limit: Duration) -> io::Result<String> {
    let mut socket = UnixStream::connect_addr(&SocketAddr::from_abstract_name(SOCKET)?)?;
    socket.set_read_timeout(Some(limit))?;
    socket.set_write_timeout(Some(limit))?;
    socket.write_all(&(command.len() + 1).to_ne_bytes())?;
    socket.write_all(command.as_bytes())?;
    socket.write_all(&[0])?;
    let mut length = [0; size_of::<usize>()];
    socket.read_exact(&mut length)?;
    let length = usize::from_ne_bytes(length);
    if length > LONGEST {
        return Err(io::Error::other(format!("an answer of {length} bytes")));
    }
    let mut answer = vec![0; length];
    socket.read_exact(&mut answer)?;
    Ok(String::from_utf8_lossy(&answer).trim_end_matches('\0').to_owned())
}
