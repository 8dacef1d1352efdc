// SPDX-License-Identifier: GPL-2.0-only
//! Memory that direct I/O accepts: aligned to a block, owned by one I/O until the kernel is done with it.

use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::ptr::NonNull;
use std::slice;

use super::BLOCK;

/// An aligned, zeroed piece of memory.
#[derive(Debug)]
pub struct Buffer {
    start: NonNull<u8>,
    layout: Layout,
}

// SAFETY: a `Buffer` owns its memory alone, like a `Box<[u8]>`, which is `Send`.
unsafe impl Send for Buffer {}

impl Buffer {
    /// Room for `blocks` blocks; `None` for no block at all or more than the address space has.
    pub fn zeroed(blocks: u64) -> Option<Self> {
        let bytes = usize::try_from(blocks).ok()?.checked_mul(BLOCK as usize).filter(|bytes| *bytes > 0)?;
        let layout = Layout::from_size_align(bytes, BLOCK as usize).ok()?;
        // SAFETY: the size of the layout is not zero.
        let start = unsafe { alloc_zeroed(layout) };
        let Some(start) = NonNull::new(start) else { handle_alloc_error(layout) };
        Some(Self { start, layout })
    }

    /// The address for the kernel. Who hands it out keeps the buffer alive and untouched until the I/O is completed.
    pub const fn address(&self) -> *mut u8 {
        self.start.as_ptr()
    }

    /// Its size in bytes.
    #[expect(clippy::len_without_is_empty, reason = "it never is empty")]
    pub const fn len(&self) -> usize {
        self.layout.size()
    }

    /// The content; not while an I/O is under way.
    pub const fn bytes(&self) -> &[u8] {
        // SAFETY: `start` points to `size` initialized bytes (zeroed at allocation) that this value owns.
        unsafe { slice::from_raw_parts(self.start.as_ptr(), self.layout.size()) }
    }

    /// The content, to be changed; not while an I/O is under way.
    pub const fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: as in `bytes`, and `&mut self` makes this the only reference.
        unsafe { slice::from_raw_parts_mut(self.start.as_ptr(), self.layout.size()) }
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        // SAFETY: allocated in `zeroed` with this very layout, and freed only here.
        unsafe { dealloc(self.start.as_ptr(), self.layout) }
    }
}
