// SPDX-License-Identifier: GPL-2.0-only
//! The thread engine: one thread for each I/O, which makes one synchronous call. The cross-check of `uring`: no code
//! of `io_uring` is involved, and the kernel submits each bio in the context of a task that waits for it.
//!
//! No order is promised, and it is for small numbers: 1000 parked writes took 2.3 s to start under QEMU's TCG, where
//! `io_uring` took 0.1 s. A FUA write is followed by a flush (`generic_write_sync` of a synchronous kiocb), where the
//! same write through `io_uring` is one bio.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use nix::libc;

use super::IoKind;
use super::batch::{Job, Shared};
use crate::failure::{GuestContext, Outcome};

/// Stack of a thread: thousands of them must fit into a small guest.
const STACK: usize = 64 * 1024;

/// Starts a thread for each job.
pub(super) fn start(file: &Arc<File>, jobs: Vec<Job>, shared: &Arc<Shared>) -> Outcome<Vec<JoinHandle<()>>> {
    jobs.into_iter()
        .map(|mut job| {
            let (file, shared) = (Arc::clone(file), Arc::clone(shared));
            let run = move || {
                let outcome = call(&file, &mut job);
                shared.complete(&job, outcome);
            };
            thread::Builder::new()
                .name("io".to_owned())
                .stack_size(STACK)
                .spawn(run)
                .guest("start a thread for an I/O")
        })
        .collect()
}

/// Makes the call of the job; bytes or errno.
fn call(file: &File, job: &mut Job) -> Result<u64, i32> {
    let fd = file.as_raw_fd();
    let offset = libc::off_t::try_from(job.spec.offset()).map_err(|_| libc::EOVERFLOW)?;
    let kind = job.spec.kind;
    let result = match &mut job.buffer {
        // SAFETY: no memory is involved, and `file` keeps the descriptor open.
        None => unsafe { libc::fdatasync(fd) as isize },
        Some(buffer) => {
            let part = libc::iovec {
                iov_base: buffer.bytes_mut().as_mut_ptr().cast(),
                iov_len: buffer.bytes().len(),
            };
            match kind {
                // SAFETY: `part` is memory of the buffer that this thread alone uses, during a synchronous call.
                IoKind::Read => unsafe { libc::preadv(fd, &raw const part, 1, offset) },
                // SAFETY: the same; the kernel only reads it.
                IoKind::Write | IoKind::Flush => unsafe { libc::pwritev(fd, &raw const part, 1, offset) },
                // SAFETY: the same.
                IoKind::Fua => unsafe { libc::pwritev2(fd, &raw const part, 1, offset, libc::RWF_DSYNC) },
            }
        }
    };
    u64::try_from(result).map_err(|_| io::Error::last_os_error().raw_os_error().unwrap_or(libc::EIO))
}
