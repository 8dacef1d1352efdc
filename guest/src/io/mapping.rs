// SPDX-License-Identifier: GPL-2.0-only
//! A device as memory: stores into it are dirty pages of the page cache, and `msync` writes them.

use std::io;
use std::num::NonZero;
use std::os::raw::c_void;
use std::path::Path;
use std::ptr::NonNull;

use nix::sys::mman::{MapFlags, MsFlags, ProtFlags, mmap, msync, munmap};

use super::{BLOCK, device};

/// The first blocks of a device, mapped and shared.
#[derive(Debug)]
pub struct Mapping {
    start: NonNull<u8>,
    length: NonZero<usize>,
}

// SAFETY: the memory belongs to the mapping, which stays where it is until it is dropped.
unsafe impl Send for Mapping {}
// SAFETY: see `store`, the only access: who shares a mapping stores to different blocks.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// Maps the first `blocks` blocks of the device at `path` and reads them all: a store must not have to read first. A
    /// page that can't be read costs the process (SIGBUS).
    pub fn of(path: &Path, blocks: u64) -> io::Result<Self> {
        let file = device::open_cached(path)?;
        let length = usize::try_from(blocks * u64::from(BLOCK)).ok().and_then(NonZero::new);
        let length = length.ok_or(io::ErrorKind::InvalidInput)?;
        let access = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
        // SAFETY: a new mapping, which replaces nothing.
        let start =
            unsafe { mmap(None, length, access, MapFlags::MAP_SHARED | MapFlags::MAP_POPULATE, &file, 0) }?;
        Ok(Self { start: start.cast(), length })
    }

    /// Stores `bytes` at `offset` and writes them to the device; returns when they are there. Both are whole blocks.
    pub fn store(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let offset = usize::try_from(offset).map_err(io::Error::other)?;
        if offset.checked_add(bytes.len()).is_none_or(|end| end > self.length.get()) {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        // SAFETY: inside the mapping, as was checked; `bytes` are other memory. Two writes to one block at a time would
        // mix their bytes, which the oracle would call torn; no case makes them.
        unsafe {
            let to = self.start.add(offset);
            to.copy_from_nonoverlapping(NonNull::from(bytes).cast(), bytes.len());
            msync(to.cast::<c_void>(), bytes.len(), MsFlags::MS_SYNC)?;
        }
        Ok(())
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: mapped in `of`, and nobody has it any more. It can't fail with these values.
        let _unmapped = unsafe { munmap(self.start.cast(), self.length.get()) };
    }
}
