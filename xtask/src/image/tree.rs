// SPDX-License-Identifier: GPL-2.0-only
//! What an image contains, as a value: guest path → entry. Symbolic links to folders are followed when something is
//! put below them, as the kernel will do when it unpacks. Nothing is read from the disk here.

use std::collections::BTreeMap;
use std::fmt;

use camino::{Utf8Path, Utf8PathBuf};

/// Where the bytes of a file are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// In a file of the host.
    Host(Utf8PathBuf),
    /// Here.
    Bytes(Vec<u8>),
}

/// What an entry is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Node {
    /// A folder.
    Directory,
    /// A file.
    File(Source),
    /// A symbolic link.
    Symlink(String),
    /// A character device: major, minor.
    Character(u32, u32),
    /// A block device: major, minor.
    Block(u32, u32),
}

/// One entry, with its reason for being there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// What it is.
    pub node: Node,
    /// Permission bits.
    pub mode: u32,
    /// Who asked for it: the manifest, a host path, a tool that needs it.
    pub origin: String,
}

/// The entries of an image, by their path without the leading slash; a folder sorts before what is in it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tree {
    entries: BTreeMap<Utf8PathBuf, Entry>,
}

/// Two different things want the same place.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("two things for {path} of the guest image: {first}, and {second}")]
pub struct Conflict {
    /// Where.
    pub path: Utf8PathBuf,
    /// What stands there.
    pub first: String,
    /// What was to be put there.
    pub second: String,
}

/// More symbolic links than this on one path are a loop; the kernel's own limit (`MAXSYMLINKS`) is 40.
const MAX_LINKS: usize = 40;

impl Tree {
    /// All entries in order.
    pub fn iter(&self) -> impl Iterator<Item = (&Utf8Path, &Entry)> {
        self.entries.iter().map(|(path, entry)| (path.as_path(), entry))
    }

    /// Puts an entry at an absolute guest path; missing folders above it are made. The same thing twice is fine.
    pub fn put(&mut self, path: &Utf8Path, entry: Entry) -> Result<(), Conflict> {
        let place = self.place(path);
        if let Some(parent) = place.parent().filter(|p| !p.as_str().is_empty()) {
            self.folders(parent, &entry.origin)?;
        }
        match self.entries.get(&place) {
            Some(old) if old.node == entry.node => Ok(()),
            Some(old) => {
                Err(Conflict { path: path.to_owned(), first: old.to_string(), second: entry.to_string() })
            }
            None => {
                self.entries.insert(place, entry);
                Ok(())
            }
        }
    }

    fn folders(&mut self, path: &Utf8Path, origin: &str) -> Result<(), Conflict> {
        if let Some(parent) = path.parent().filter(|p| !p.as_str().is_empty()) {
            self.folders(parent, origin)?;
        }
        let folder = || Entry { node: Node::Directory, mode: 0o755, origin: format!("folder for {origin}") };
        let old = self.entries.entry(path.to_owned()).or_insert_with(folder);
        if old.node == Node::Directory {
            return Ok(());
        }
        Err(Conflict { path: path.to_owned(), first: old.to_string(), second: folder().to_string() })
    }

    /// Where something at `path` ends up, links in the folders above it followed; without the leading slash.
    pub fn place(&self, path: &Utf8Path) -> Utf8PathBuf {
        let mut todo: Vec<String> = components(path);
        todo.reverse();
        let mut done = Utf8PathBuf::new();
        let mut links = 0;
        while let Some(name) = todo.pop() {
            if name == ".." {
                done.pop();
                continue;
            }
            done.push(&name);
            let Some(Entry { node: Node::Symlink(target), .. }) = self.entries.get(&done) else { continue };
            if todo.is_empty() || links == MAX_LINKS {
                continue;
            }
            links += 1;
            if target.starts_with('/') {
                done = Utf8PathBuf::new();
            } else {
                done.pop();
            }
            todo.extend(components(Utf8Path::new(target)).into_iter().rev());
        }
        done
    }
}

fn components(path: &Utf8Path) -> Vec<String> {
    path.as_str().split('/').filter(|c| !c.is_empty() && *c != ".").map(str::to_owned).collect()
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.node {
            Node::Directory => write!(f, "a folder")?,
            Node::File(Source::Host(path)) => write!(f, "the file {path}")?,
            Node::File(Source::Bytes(bytes)) => write!(f, "a file of {} bytes", bytes.len())?,
            Node::Symlink(target) => write!(f, "a link to {target}")?,
            Node::Character(major, minor) => write!(f, "a character device {major}:{minor}")?,
            Node::Block(major, minor) => write!(f, "a block device {major}:{minor}")?,
        }
        write!(f, " ({})", self.origin)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(node: Node) -> Entry {
        Entry { node, mode: 0o755, origin: "test".into() }
    }

    fn merged() -> Tree {
        let mut tree = Tree::default();
        tree.put("/lib".into(), entry(Node::Symlink("usr/lib".into()))).unwrap();
        tree.put("/bin".into(), entry(Node::Symlink("/usr/bin".into()))).unwrap();
        tree
    }

    #[test]
    fn links_above_are_followed() {
        let tree = merged();
        let table = [
            ("/lib/x86_64-linux-gnu/libc.so.6", "usr/lib/x86_64-linux-gnu/libc.so.6"),
            ("/bin/sh", "usr/bin/sh"),
            ("/bin", "bin"),
            ("/lib/../etc/passwd", "usr/etc/passwd"),
            ("/etc/passwd", "etc/passwd"),
        ];
        for (path, place) in table {
            assert_eq!(tree.place(path.into()), place, "{path}");
        }
    }

    #[test]
    fn a_loop_of_links_ends() {
        let mut tree = Tree::default();
        tree.put("/a".into(), entry(Node::Symlink("b".into()))).unwrap();
        tree.put("/b".into(), entry(Node::Symlink("a".into()))).unwrap();
        assert!(tree.put("/a/file".into(), entry(Node::Directory)).is_err());
    }

    #[test]
    fn folders_are_made_and_come_first() {
        let mut tree = merged();
        tree.put("/lib/a/b".into(), entry(Node::File(Source::Bytes(vec![])))).unwrap();
        let paths: Vec<_> = tree.iter().map(|(path, _)| path.as_str()).collect();
        assert_eq!(paths, ["bin", "lib", "usr", "usr/lib", "usr/lib/a", "usr/lib/a/b"]);
    }

    #[test]
    fn the_same_twice_is_fine_and_another_is_a_conflict() {
        let mut tree = Tree::default();
        let file = |path: &str| entry(Node::File(Source::Host(path.into())));
        tree.put("/x".into(), file("/host/a")).unwrap();
        tree.put("/x".into(), file("/host/a")).unwrap();
        let error = tree.put("/x".into(), file("/host/b")).unwrap_err().to_string();
        insta::assert_snapshot!(error, @"two things for /x of the guest image: the file /host/a (test), and the file /host/b (test)");
    }
}
