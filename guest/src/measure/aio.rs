// SPDX-License-Identifier: GPL-2.0-only
//! Very many direct writes at once, through the kernel's own AIO (`io_submit(2)`): it has no limit below
//! `fs.aio-max-nr`, issues each I/O in the caller's context, and its bookkeeping is one slab object an I/O. All
//! writes share one buffer, so that memory is not dominated by data.

use std::fs::{self, File};
use std::io;
use std::mem::ManuallyDrop;
use std::os::fd::AsRawFd as _;
use std::ptr;

use nix::libc;

use crate::failure::{Failure, GuestContext as _, Outcome};
use crate::io::{BLOCK, Buffer};

/// `struct iocb` of `include/uapi/linux/aio_abi.h`, little endian.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default)]
struct Iocb {
    data: u64,
    key: u32,
    rw_flags: u32,
    opcode: u16,
    priority: i16,
    fd: u32,
    buffer: u64,
    bytes: u64,
    offset: u64,
    reserved: u64,
    flags: u32,
    eventfd: u32,
}

/// `struct io_event` there.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default)]
struct IoEvent {
    data: u64,
    iocb: u64,
    result: i64,
    result2: i64,
}

const _: () = assert!(size_of::<Iocb>() == 64 && size_of::<IoEvent>() == 32, "the layout is the kernel's");

/// `IOCB_CMD_PWRITE`.
const WRITE: u16 = 1;

/// I/Os in one system call.
const BATCH: usize = 1024;

/// A device, and room for many writes to it.
#[derive(Debug)]
pub struct Aio {
    context: libc::c_ulong,
    file: File,
    /// Freed only when no I/O uses it any more.
    buffer: ManuallyDrop<Buffer>,
    blocks: u64,
    pending: usize,
}

impl Aio {
    /// Room for `most` writes to the first `blocks` blocks of `file`, which is open for direct I/O.
    pub fn new(file: File, blocks: u64, most: u32) -> Outcome<Self> {
        fs::write("/proc/sys/fs/aio-max-nr", (most.saturating_mul(2)).to_string())
            .guest("raise aio-max-nr")?;
        let buffer = Buffer::zeroed(1).ok_or_else(|| Failure::guest("no memory for a block"))?;
        let mut context: libc::c_ulong = 0;
        // SAFETY: the kernel writes one word to `context`.
        let done = unsafe { libc::syscall(libc::SYS_io_setup, libc::c_long::from(most), &raw mut context) };
        if done != 0 {
            return Err(io::Error::last_os_error()).guest(format_args!("make room for {most} I/Os"));
        }
        Ok(Self { context, file, buffer: ManuallyDrop::new(buffer), blocks, pending: 0 })
    }

    /// Submits `count` writes, block after block and round again.
    pub fn submit(&mut self, count: usize) -> Outcome {
        let fd = u32::try_from(self.file.as_raw_fd()).guest("use a file descriptor")?;
        let write = |n: usize| Iocb {
            opcode: WRITE,
            fd,
            buffer: self.buffer.address() as u64,
            bytes: u64::from(BLOCK),
            offset: n as u64 % self.blocks * u64::from(BLOCK),
            ..Iocb::default()
        };
        let mut next = 0;
        while next < count {
            let mut iocbs: Vec<Iocb> = (next..count.min(next + BATCH)).map(write).collect();
            let pointers: Vec<*mut Iocb> = iocbs.iter_mut().map(ptr::from_mut).collect();
            // SAFETY: the context lives; each pointer is to an iocb that outlives the call, which copies it; the
            // buffer lives until every I/O has completed (`Drop`).
            let taken = unsafe {
                libc::syscall(libc::SYS_io_submit, self.context, pointers.len(), pointers.as_ptr())
            };
            let taken = usize::try_from(taken)
                .map_err(|_| io::Error::last_os_error())
                .guest(format_args!("submit I/O {next} of {count}"))?;
            self.pending += taken;
            next += taken;
        }
        Ok(())
    }

    /// How many have completed and were not waited for yet: none of them may have, while they are parked.
    pub fn completed(&mut self) -> Outcome<usize> {
        self.events(0, Some(libc::timespec { tv_sec: 0, tv_nsec: 0 }))
    }

    /// Waits until every write has completed; one that failed is an error.
    pub fn wait_for_all(&mut self) -> Outcome {
        while self.pending > 0 {
            self.events(self.pending.min(BATCH), None)?;
        }
        Ok(())
    }

    fn events(&mut self, least: usize, limit: Option<libc::timespec>) -> Outcome<usize> {
        let mut events = vec![IoEvent::default(); BATCH];
        let limit = limit.as_ref().map_or(ptr::null(), ptr::from_ref);
        // SAFETY: the context lives; the kernel writes at most BATCH events and reads the time, if there is one.
        let got = unsafe {
            libc::syscall(libc::SYS_io_getevents, self.context, least, BATCH, events.as_mut_ptr(), limit)
        };
        let got =
            usize::try_from(got).map_err(|_| io::Error::last_os_error()).guest("wait for completions")?;
        self.pending -= got.min(self.pending);
        match events[..got].iter().find(|event| event.result != i64::from(BLOCK)) {
            Some(event) => {
                Err(Failure::assertion("writes succeed", format_args!("a write ended with {}", event.result)))
            }
            None => Ok(got),
        }
    }
}

impl Drop for Aio {
    fn drop(&mut self) {
        // With I/O pending, io_destroy(2) would wait for it, and the buffer is still in use: both stay.
        if self.pending == 0 {
            // SAFETY: the context was made by io_setup(2) and is used no more.
            unsafe { libc::syscall(libc::SYS_io_destroy, self.context) };
            // SAFETY: no I/O uses the buffer, and it is not used after this.
            unsafe { ManuallyDrop::drop(&mut self.buffer) };
        }
    }
}
