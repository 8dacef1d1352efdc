// SPDX-License-Identifier: GPL-2.0-only
//! What differs between file systems: how one is made, mounted and checked, by its own tools.

use std::io::ErrorKind;
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::time::Duration;

use super::CLEAN;
use crate::condition::FileSystemKind;
use crate::failure::{Failure, GuestContext as _, Outcome, ensure, skip};
use crate::report::happened;
use crate::wait::wait_for;

/// How long a tool may take, before scaling.
const DONE: Duration = Duration::from_secs(10);

/// Nothing but the case commits. And no read-ahead: 6.12 warns in `blk_rq_set_mixed_merge()` when a read of bio-based
/// multipath (`REQ_FAILFAST_TRANSPORT`) is merged with a read-ahead (all `REQ_FAILFAST_MASK`), suspended or not. (An XFS of
/// one allocation group reads nothing ahead.)
pub const fn options(kind: FileSystemKind) -> &'static str {
    match kind {
        FileSystemKind::Ext4 => "commit=1000,inode_readahead_blks=0,no_prefetch_block_bitmaps",
        FileSystemKind::Xfs => "",
    }
}

/// Options of a read-only mount that leaves the journal as it is.
pub const fn without_replay(kind: FileSystemKind) -> &'static str {
    match kind {
        FileSystemKind::Ext4 => "noload",
        FileSystemKind::Xfs => "norecovery",
    }
}

/// Makes a file system on the whole of a device. `features` are added to those that every ext4 has here.
pub fn make(kind: FileSystemKind, features: &str, device: &Path) -> Outcome {
    let mut command = match kind {
        // A small disk holds a journal with blocks of 1 KiB only, and nothing is left to be initialised in the background.
        FileSystemKind::Ext4 => {
            let mut command = Command::new("mke2fs");
            command.args(["-q", "-F", "-t", "ext4", "-b", "1024"]);
            command.args(["-E", "lazy_itable_init=0,lazy_journal_init=0,nodiscard"]);
            command.arg("-O").arg(format!("^resize_inode{features}"));
            command
        }
        // Since xfsprogs 5.19, mkfs.xfs refuses less than 300 MB unless these three say that xfstests ask for it.
        FileSystemKind::Xfs => {
            let mut command = Command::new("mkfs.xfs");
            command.args(["-q", "-f", "-K"]);
            command.envs(["TEST_DIR", "TEST_DEV", "QA_CHECK_FS"].map(|name| (name, "1")));
            command
        }
    };
    let (status, said) = run(command.arg(device))?;
    if status.success() {
        happened("file system made", &[("kind", &kind), ("device", &device.display())]);
        return Ok(());
    }
    Err(Failure::guest(format_args!("{command:?} failed ({status}): {said}")))
}

/// Checks an unmounted file system and changes nothing. Assertion: [`CLEAN`].
pub fn check(kind: FileSystemKind, device: &Path) -> Outcome {
    let mut command = match kind {
        FileSystemKind::Ext4 => {
            let mut command = Command::new("e2fsck");
            command.args(["-f", "-n"]);
            command
        }
        // One allocation group has nothing to compare its geometry with, and nothing to read ahead from (`-P`).
        FileSystemKind::Xfs => {
            let mut command = Command::new("xfs_repair");
            command.args(["-n", "-P", "-o", "force_geometry"]);
            command
        }
    };
    let (status, said) = run(command.arg(device))?;
    ensure(status.success(), CLEAN, format_args!("{command:?} ({status}): {said}"))?;
    happened("file system checked", &[("kind", &kind), ("device", &device.display())]);
    Ok(())
}

/// Runs a tool to its end; what it said.
fn run(command: &mut Command) -> Outcome<(ExitStatus, String)> {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let name = command.get_program().to_string_lossy().into_owned();
    let mut child = match command.spawn() {
        // Not every host has the tools of every file system.
        Err(error) if error.kind() == ErrorKind::NotFound => {
            return skip(format!("no {name} in the guest image"));
        }
        started => started.guest(format_args!("start {name}"))?,
    };
    let ended = wait_for(DONE, &format!("{name} ends"), || {
        Ok(child.try_wait().guest(format_args!("wait for {name}"))?.ok_or_else(|| "it still runs".to_owned()))
    });
    if ended.is_err() {
        let _gone_already = child.kill();
    }
    let status = ended?;
    let said = child.wait_with_output().guest(format_args!("hear {name}"))?;
    let said = [said.stdout, said.stderr].map(|bytes| String::from_utf8_lossy(&bytes).trim().to_owned());
    Ok((status, said.join(" ").trim().to_owned()))
}
