// SPDX-License-Identifier: GPL-2.0-only
//! Writes the "newc" cpio format that the kernel unpacks as initramfs: entries in, bytes out. Pure and
//! deterministic: time 0, owner 0, inode numbers counted from 1. It does not compress and knows no files.
//!
//! The format: Documentation/driver-api/early-userspace/buffer-format.rst; its reader: init/initramfs.c.

use std::io::{self, Write};

/// Part of an image's identity: raise it when the bytes written for the same entries change.
pub const VERSION: u32 = 1;

/// Name of the entry that ends an archive.
const TRAILER: &str = "TRAILER!!!";

/// `S_IFDIR` and its siblings, stat(2).
const DIRECTORY: u32 = 0o040_000;
const REGULAR: u32 = 0o100_000;
const SYMLINK: u32 = 0o120_000;
const CHARACTER: u32 = 0o020_000;
const BLOCK: u32 = 0o060_000;

/// What an entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind<'a> {
    /// A folder.
    Directory,
    /// A file with its content.
    File(&'a [u8]),
    /// A symbolic link and where it points.
    Symlink(&'a str),
    /// A character device: major, minor.
    Character(u32, u32),
    /// A block device: major, minor.
    Block(u32, u32),
}

/// An archive that is being written.
#[derive(Debug)]
pub struct Archive<W> {
    out: W,
    inode: u32,
}

/// A size as the eight hexadecimal digits of a header field hold it.
fn field(size: usize) -> io::Result<u32> {
    u32::try_from(size).map_err(|_| {
        io::Error::new(io::ErrorKind::InvalidInput, "4 GiB or more do not fit into a newc entry")
    })
}

impl<W: Write> Archive<W> {
    /// An empty archive.
    pub fn new(out: W) -> Self {
        Self { out, inode: 0 }
    }

    /// One entry. `path` is relative, without `./`; `permissions` are the lower 12 bits of the mode. A folder comes
    /// before what is in it: the kernel does not make missing parents.
    pub fn entry(&mut self, path: &str, permissions: u32, kind: Kind<'_>) -> io::Result<()> {
        self.inode += 1;
        let (format, links, device, content) = match kind {
            Kind::Directory => (DIRECTORY, 2, (0, 0), &[][..]),
            Kind::File(bytes) => (REGULAR, 1, (0, 0), bytes),
            Kind::Symlink(target) => (SYMLINK, 1, (0, 0), target.as_bytes()),
            Kind::Character(major, minor) => (CHARACTER, 1, (major, minor), &[][..]),
            Kind::Block(major, minor) => (BLOCK, 1, (major, minor), &[][..]),
        };
        let inode = self.inode;
        self.record(path, inode, format | (permissions & 0o7777), links, device, content)
    }

    /// Ends the archive and gives back what it was written to.
    pub fn finish(mut self) -> io::Result<W> {
        self.record(TRAILER, 0, 0, 1, (0, 0), &[])?;
        self.out.flush()?;
        Ok(self.out)
    }

    fn record(
        &mut self,
        path: &str,
        inode: u32,
        mode: u32,
        links: u32,
        (major, minor): (u32, u32),
        content: &[u8],
    ) -> io::Result<()> {
        let (size, name_size) = (field(content.len())?, field(path.len() + 1)?);
        // ino mode uid gid nlink mtime filesize maj min rmaj rmin namesize chksum
        let fields = [inode, mode, 0, 0, links, 0, size, 0, 0, major, minor, name_size, 0];
        write!(self.out, "070701")?;
        for value in fields {
            write!(self.out, "{value:08x}")?;
        }
        self.out.write_all(path.as_bytes())?;
        // The header is 110 bytes, the name ends with at least one NUL; both parts end on a multiple of four.
        self.out.write_all(&[0; 4][..=padding(110 + path.len() + 1)])?;
        self.out.write_all(content)?;
        self.out.write_all(&[0; 3][..padding(content.len())])
    }
}

/// Bytes from `at` to the next multiple of four.
fn padding(at: usize) -> usize {
    at.wrapping_neg() % 4
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[derive(Debug, Clone, PartialEq, Eq)]
    struct Read {
        path: String,
        mode: u32,
        device: (u32, u32),
        content: Vec<u8>,
    }

    /// A reader written from the format's description, to check the writer with.
    fn read(archive: &[u8]) -> Vec<Read> {
        let mut at = 0;
        let mut entries = vec![];
        loop {
            assert_eq!(at % 4, 0, "a header starts on a multiple of four");
            assert_eq!(&archive[at..at + 6], b"070701");
            let header = &archive[at..at + 110];
            let number = |n: usize| {
                let text = std::str::from_utf8(&header[6 + 8 * n..14 + 8 * n]).unwrap();
                u32::from_str_radix(text, 16).unwrap()
            };
            let (mode, size, name_size) = (number(1), number(6) as usize, number(11) as usize);
            let name = &archive[at + 110..at + 110 + name_size];
            let path = String::from_utf8(name[..name_size - 1].to_vec()).unwrap();
            assert_eq!(name[name_size - 1], 0);
            let start = (at + 110 + name_size).next_multiple_of(4);
            let content = archive[start..start + size].to_vec();
            let device = (number(9), number(10));
            at = (start + size).next_multiple_of(4);
            if path == TRAILER {
                assert_eq!(at, archive.len(), "nothing follows the trailer");
                return entries;
            }
            assert_eq!(number(0) as usize, entries.len() + 1, "inodes count from 1");
            entries.push(Read { path, mode, device, content });
        }
    }

    #[test]
    fn small_archive() {
        let mut archive = Archive::new(Vec::new());
        archive.entry("dev", 0o755, Kind::Directory).unwrap();
        archive.entry("dev/console", 0o600, Kind::Character(5, 1)).unwrap();
        archive.entry("etc", 0o755, Kind::File(b"hello")).unwrap();
        archive.entry("sh", 0o777, Kind::Symlink("usr/bin/sh")).unwrap();
        let bytes = archive.finish().unwrap();
        let text = String::from_utf8(bytes).unwrap().replace('\0', "~").replace("070701", "\n070701");
        insta::assert_snapshot!(text.trim_start(), @r"
        07070100000001000041ed0000000000000000000000020000000000000000000000000000000000000000000000000000000400000000dev~~~
        07070100000002000021800000000000000000000000010000000000000000000000000000000000000005000000010000000c00000000dev/console~~~
        07070100000003000081ed0000000000000000000000010000000000000005000000000000000000000000000000000000000400000000etc~~~hello~~~
        070701000000040000a1ff000000000000000000000001000000000000000a000000000000000000000000000000000000000300000000sh~~~~usr/bin/sh~~
        07070100000000000000000000000000000000000000010000000000000000000000000000000000000000000000000000000b00000000TRAILER!!!~~~~
        ");
    }

    #[test]
    fn same_entries_same_bytes() {
        let write = || {
            let mut archive = Archive::new(Vec::new());
            archive.entry("a", 0o644, Kind::File(b"x")).unwrap();
            archive.finish().unwrap()
        };
        assert_eq!(write(), write());
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(
            files in prop::collection::btree_map("[a-z][a-z/.-]{0,40}", (0u32..0o10000, prop::collection::vec(any::<u8>(), 0..70)), 0..9)
        ) {
            let mut archive = Archive::new(Vec::new());
            let mut wanted = vec![];
            for (path, (mode, content)) in &files {
                archive.entry(path, *mode, Kind::File(content)).unwrap();
                wanted.push(Read { path: path.clone(), mode: REGULAR | mode, device: (0, 0), content: content.clone() });
            }
            prop_assert_eq!(read(&archive.finish().unwrap()), wanted);
        }
    }
}
