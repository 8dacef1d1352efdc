// SPDX-License-Identifier: GPL-2.0-only
//! The device under a ledger: opened for direct I/O, its size, and plain sequential transfers of the whole of it.

use std::fs::{File, OpenOptions};
use std::io::{self, Seek, SeekFrom};
use std::os::unix::fs::{FileExt, FileTypeExt, OpenOptionsExt};
use std::path::Path;

use nix::libc;

use super::BLOCK;
use super::buffer::Buffer;

/// Blocks of one transfer when the whole disk is read or written: 256 KiB. Measured for 8 MiB of `scsi_debug` under
/// QEMU's TCG, lockdep kernel 6.12: 17 ms for the reads alone (64 KiB at a time: 33 ms)
/// with `sector_size=4096`, and 60 ms with the default of 512, where `do_device_access` copies sector by sector and
/// walks the list from its start for each (1 MiB: 120 ms).
const CHUNK: u64 = 64;

/// Opens for direct I/O. An ordinary file on a file system that knows no direct I/O (tmpfs before Linux 6.6) is
/// opened without: unit tests use it; a block device never refuses.
pub fn open(path: &Path, write: bool) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(write);
    match options.clone().custom_flags(libc::O_DIRECT).open(path) {
        Err(error)
            if error.raw_os_error() == Some(libc::EINVAL)
                && !path.metadata()?.file_type().is_block_device() =>
        {
            options.open(path)
        }
        other => other,
    }
}

/// Opens for I/O through the page cache.
pub fn open_cached(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).open(path)
}

/// Size in whole blocks.
pub fn blocks(mut file: &File) -> io::Result<u64> {
    Ok(file.seek(SeekFrom::End(0))? / u64::from(BLOCK))
}

/// Writes `blocks` blocks from the start of `file`; `content` fills each.
pub fn write_all(file: &File, blocks: u64, mut content: impl FnMut(u64, &mut [u8])) -> Result<(), String> {
    transfer(blocks, |first, chunk| {
        for (block, bytes) in (first..).zip(chunk.chunks_exact_mut(BLOCK as usize)) {
            content(block, bytes);
        }
        file.write_all_at(chunk, first * u64::from(BLOCK))
    })
}

/// Reads `blocks` blocks from the start of `file` and shows them to `visit`, chunk after chunk.
pub fn read_all(file: &File, blocks: u64, mut visit: impl FnMut(u64, &[u8])) -> Result<(), String> {
    transfer(blocks, |first, chunk| {
        file.read_exact_at(chunk, first * u64::from(BLOCK))?;
        visit(first, chunk);
        Ok(())
    })
}

/// One buffer, chunk after chunk; an error names the blocks of its chunk.
fn transfer(blocks: u64, mut step: impl FnMut(u64, &mut [u8]) -> io::Result<()>) -> Result<(), String> {
    let mut buffer = Buffer::zeroed(CHUNK).ok_or("no memory")?;
    let mut first = 0;
    while first < blocks {
        let count = CHUNK.min(blocks - first);
        let bytes = usize::try_from(count * u64::from(BLOCK)).map_err(|error| error.to_string())?;
        step(first, &mut buffer.bytes_mut()[..bytes])
            .map_err(|error| format!("blocks {first}-{}: {error}", first + count - 1))?;
        first += count;
    }
    Ok(())
}
