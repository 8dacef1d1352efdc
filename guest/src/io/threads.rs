// SPDX-License-Identifier: GPL-2.0-only
//! The thread engine: one thread for each I/O, which makes one synchronous call (two for a write through the page cache).
//! The cross-check of `uring`: no code of `io_uring` is involved, and the kernel submits each bio in the context of a task
//! that waits for it. And the engine of every kind that `io_uring` does not have: it got a discard in 6.12.
//!
//! No order is promised, and it is for small numbers: 1000 parked writes took 2.3 s to start under QEMU's TCG, where
//! `io_uring` took 0.1 s. A FUA write is followed by a flush (`generic_write_sync` of a synchronous kiocb), where the
//! same write through `io_uring` is one bio.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use nix::libc;

use super::batch::{Job, Shared};
use super::mapping::Mapping;
use super::{Engine, IoKind};
use crate::failure::{GuestContext, Outcome};

/// Stack of a thread: thousands of them must fit into a small guest.
const STACK: usize = 64 * 1024;

nix::ioctl_write_ptr_bad!(
    /// `BLKDISCARD` of include/uapi/linux/fs.h: start and length in bytes.
    blkdiscard, nix::request_code_none!(0x12, 119), [u64; 2]);

/// Starts a thread for each job.
pub(super) fn start(
    engine: Engine,
    file: &Arc<File>,
    mapping: Option<&Arc<Mapping>>,
    jobs: Vec<Job>,
    shared: &Arc<Shared>,
) -> Outcome<Vec<JoinHandle<()>>> {
    jobs.into_iter()
        .map(|mut job| {
            let (file, shared, mapping) = (Arc::clone(file), Arc::clone(shared), mapping.cloned());
            let run = move || {
                let outcome = call(engine, &file, mapping.as_deref(), &mut job);
                // The last mapping keeps the device open: it is let go before anybody hears of the end.
                drop(mapping);
                shared.complete(&job, outcome.map_err(|error| error.raw_os_error().unwrap_or(libc::EINVAL)));
            };
            thread::Builder::new()
                .name("io".to_owned())
                .stack_size(STACK)
                .spawn(run)
                .guest("start a thread for an I/O")
        })
        .collect()
}

/// Makes the call of the job; how many bytes it says to have done.
fn call(engine: Engine, file: &File, mapping: Option<&Mapping>, job: &mut Job) -> io::Result<u64> {
    let nowait = if engine == Engine::ThreadsNowait { libc::RWF_NOWAIT } else { 0 };
    let spec = job.spec;
    let (offset, all) = (spec.offset(), spec.bytes());
    match (spec.kind, &mut job.buffer) {
        (IoKind::Read, Some(buffer)) => {
            let part =
                libc::iovec { iov_base: buffer.bytes_mut().as_mut_ptr().cast(), iov_len: buffer.len() };
            // SAFETY: `part` is memory of the buffer that this thread alone uses, during a synchronous call.
            bytes(unsafe { libc::preadv2(file.as_raw_fd(), &raw const part, 1, place(offset)?, nowait) })
        }
        (IoKind::Write, Some(buffer)) => write(file, offset, buffer.bytes(), nowait),
        (IoKind::Fua, Some(buffer)) => write(file, offset, buffer.bytes(), libc::RWF_DSYNC),
        (IoKind::Cached, Some(buffer)) => {
            file.write_all_at(buffer.bytes(), offset)?;
            file.sync_data().map(|()| all)
        }
        (IoKind::Mapped, Some(buffer)) => {
            let mapping = mapping.ok_or(io::ErrorKind::NotConnected)?;
            mapping.store(offset, buffer.bytes()).map(|()| all)
        }
        (IoKind::Discard, _) => {
            let range = [offset, all];
            // SAFETY: the kernel reads the two numbers during the call.
            unsafe { blkdiscard(file.as_raw_fd(), &raw const range) }?;
            Ok(all)
        }
        (IoKind::WriteZeroes, _) => {
            // With this mode `blkdev_fallocate` sends REQ_OP_WRITE_ZEROES and never falls back to writing pages of zeroes.
            let mode = libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE;
            // SAFETY: no memory is involved, and `file` keeps the descriptor open.
            bytes(unsafe { libc::fallocate(file.as_raw_fd(), mode, place(offset)?, place(all)?) as isize })?;
            Ok(all)
        }
        (IoKind::Flush, _) => file.sync_data().map(|()| 0),
        // `Ledger::jobs` gives memory to every kind that has data.
        (_, None) => Err(io::ErrorKind::InvalidInput.into()),
    }
}

fn write(file: &File, offset: u64, data: &[u8], flags: libc::c_int) -> io::Result<u64> {
    let part = libc::iovec { iov_base: data.as_ptr().cast_mut().cast(), iov_len: data.len() };
    // SAFETY: the kernel only reads the memory, which lives during the synchronous call.
    bytes(unsafe { libc::pwritev2(file.as_raw_fd(), &raw const part, 1, place(offset)?, flags) })
}

fn place(offset: u64) -> io::Result<libc::off_t> {
    libc::off_t::try_from(offset).map_err(io::Error::other)
}

/// What a call returned: bytes, or -1 and an errno.
fn bytes(result: isize) -> io::Result<u64> {
    u64::try_from(result).map_err(|_| io::Error::last_os_error())
}
