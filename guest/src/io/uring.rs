// SPDX-License-Identifier: GPL-2.0-only
//! The `io_uring` engine: one ring and one thread for each batch, which submits everything and then reaps.
//!
//! * The thread of the ring is not the case's own: completions are delivered as task work to the submitting task,
//!   and the pending signal that comes with them would interrupt a suspend ioctl issued by that task.
//! * Every request carries `IOSQE_ASYNC`, except with the engine `IoUringInline`. Without it, the kernel first tries each one with `REQ_NOWAIT`, which
//!   device-mapper treats differently (`dm_submit_bio` fails it while suspended), and a request-based map out of
//!   tags would block the submitter.
//! * Reads and writes are issued by a single io-wq worker and so in the order given: asynchronous direct I/O on a
//!   block device needs no worker once `submit_bio` has returned. A flush keeps its worker until it completes
//!   (`io_fsync`), so a batch with flushes gets a worker for each of its I/Os, and no order is promised.
//!
//! * A polled ring (`IORING_SETUP_IOPOLL`) gets its completions only while somebody asks for them, which its thread does all
//!   the time: it keeps a CPU busy.
//!
//! What is left when a case ends with I/O pending (tried on 6.12): reads and writes do not keep the process from
//! ending, and complete later; a flush does, because its worker is a thread of the process, as every thread of the
//! other engine is.

use std::fs::File;
use std::mem::ManuallyDrop;
use std::os::fd::AsRawFd;
use std::sync::{Arc, mpsc};
use std::thread::{self, JoinHandle};
use std::time::Duration;
use std::{io, iter};

use io_uring::{IoUring, opcode, squeue, types};
use nix::libc;

use super::batch::{Job, Shared};
use super::{Engine, IoKind};
use crate::failure::{Failure, GuestContext, Outcome};
use crate::wait::scaled;

/// More than the kernel's `IORING_MAX_ENTRIES` do not fit into one ring.
const MAX_JOBS: usize = 32768;

/// Time for the thread to submit; the submission itself never waits for the device.
const SUBMISSION: Duration = Duration::from_secs(10);

/// Submits the jobs and returns when the kernel has them.
pub(super) fn start(
    engine: Engine,
    file: &Arc<File>,
    jobs: Vec<Job>,
    shared: &Arc<Shared>,
) -> Outcome<Vec<JoinHandle<()>>> {
    if jobs.len() > MAX_JOBS {
        return Err(Failure::guest(format_args!("{} I/Os in one batch, at most {MAX_JOBS} fit", jobs.len())));
    }
    let (answer, submitted) = mpsc::sync_channel(1);
    let (file, shared) = (Arc::clone(file), Arc::clone(shared));
    let run = move || match submit(engine, &file, &jobs) {
        Ok(ring) => {
            let _nobody_waits = answer.send(Ok(()));
            reap(ring, jobs, &shared);
        }
        Err(failure) => {
            // Some may have been submitted: their buffers stay.
            let _kept = ManuallyDrop::new(jobs);
            let _nobody_waits = answer.send(Err(failure));
        }
    };
    let thread =
        thread::Builder::new().name("io-ring".to_owned()).spawn(run).guest("start the thread of a ring")?;
    match submitted.recv_timeout(scaled(SUBMISSION)) {
        Ok(Ok(())) => Ok(vec![thread]),
        Ok(Err(failure)) => Err(failure),
        Err(_) => Err(Failure::guest("the thread of a ring did not submit in time")),
    }
}

/// Makes a ring and submits everything.
fn submit(engine: Engine, file: &File, jobs: &[Job]) -> Outcome<IoUring> {
    let entries = u32::try_from(jobs.len().next_power_of_two()).guest("count the I/Os")?;
    let mut builder = IoUring::builder();
    if engine == Engine::IoUringPolled {
        builder.setup_iopoll();
    }
    let mut ring = builder.build(entries).map_err(|error| no_ring(&error))?;
    let flushes = jobs.iter().any(|job| job.spec.kind == IoKind::Flush);
    let workers = if flushes { entries } else { 1 };
    ring.submitter().register_iowq_max_workers(&mut [workers, 1]).guest("limit the io-wq workers")?;
    let flags = if engine == Engine::IoUringInline { squeue::Flags::empty() } else { squeue::Flags::ASYNC };
    for job in jobs {
        let entry = entry(file, job)?.flags(flags).user_data(job.index as u64);
        // SAFETY: the file is open and the buffer lives, untouched, until the completion was reaped: the thread
        // holds both, and leaks the buffers rather than free one that the kernel may still use.
        unsafe { ring.submission().push(&entry) }.guest("fill the ring")?;
    }
    let mut left = jobs.len();
    while left > 0 {
        match ring.submit() {
            Ok(taken) => left = left.saturating_sub(taken),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(Failure::guest(format_args!("failed to submit to io_uring: {error}"))),
        }
    }
    Ok(ring)
}

/// A kernel without `io_uring` skips the case; anything else is the guest's own fault.
fn no_ring(error: &io::Error) -> Failure {
    match error.raw_os_error() {
        Some(libc::ENOSYS | libc::EPERM) => Failure::Skip(
            "this kernel has no io_uring (CONFIG_IO_URING, sysctl kernel.io_uring_disabled)".to_owned(),
        ),
        _ => Failure::guest(format_args!("failed to make an io_uring: {error}")),
    }
}

fn entry(file: &File, job: &Job) -> Outcome<squeue::Entry> {
    let fd = types::Fd(file.as_raw_fd());
    let Some(buffer) = &job.buffer else {
        return Ok(opcode::Fsync::new(fd).build());
    };
    let length = u32::try_from(buffer.len()).guest("submit 4 GiB at once")?;
    let (address, offset) = (buffer.address(), job.spec.offset());
    let write = opcode::Write::new(fd, address, length).offset(offset);
    Ok(match job.spec.kind {
        IoKind::Read => opcode::Read::new(fd, address, length).offset(offset).build(),
        IoKind::Fua => write.rw_flags(libc::RWF_DSYNC).build(),
        // Nothing else has memory here: see `Engine::carries`.
        _ => write.build(),
    })
}

/// Waits for every completion.
fn reap(mut ring: IoUring, jobs: Vec<Job>, shared: &Shared) {
    // Freed at the end only: until then the kernel may write to them.
    let jobs = ManuallyDrop::new(jobs);
    let mut left = jobs.len();
    while left > 0 {
        match ring.submit_and_wait(1) {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return shared.give_up(format!("failed to wait for io_uring: {error}")),
        }
        for completion in iter::from_fn(|| ring.completion().next()) {
            let index = usize::try_from(completion.user_data()).ok();
            let Some(job) = index.and_then(|index| jobs.get(index)) else { continue };
            let outcome = u64::try_from(completion.result()).map_err(|_| -completion.result());
            left -= usize::from(shared.complete(job, outcome));
        }
    }
    drop(ManuallyDrop::into_inner(jobs));
}
