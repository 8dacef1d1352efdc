// SPDX-License-Identifier: GPL-2.0-only
//! The state of a source tree: every file with its times and size. Two snapshots tell which files changed between
//! them; 92,000 files take a fraction of a second. The change time (ctime) is part of it: no ordinary program can
//! change a file and keep that.

use std::fmt::Write as _;
use std::os::unix::fs::MetadataExt as _;

use anyhow::Context as _;
use camino::Utf8Path;
use walkdir::WalkDir;

use crate::kernel::sha;

/// One file.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct File {
    path: String,
    /// Nanoseconds since 1970.
    mtime: i128,
    ctime: i128,
    size: u64,
}

/// Every file of a tree, sorted by path.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Snapshot {
    files: Vec<File>,
}

/// A file that is not what it was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Relative to the tree.
    pub path: String,
    /// When it was last written, in nanoseconds since 1970; `None` if it is gone.
    pub mtime: Option<i128>,
    /// Whether it was there before.
    pub existed: bool,
}

impl Snapshot {
    /// Looks at every file below `root`; `.git` is left out. Symbolic links count as what they point to.
    pub fn take(root: &Utf8Path) -> anyhow::Result<Self> {
        let mut files = Vec::with_capacity(100_000);
        let walk = WalkDir::new(root)
            .into_iter()
            .filter_entry(|entry| entry.depth() == 0 || entry.file_name() != ".git");
        for entry in walk {
            let entry = entry.with_context(|| format!("look at the files of {root}"))?;
            if entry.file_type().is_dir() {
                continue;
            }
            let Ok(relative) = entry.path().strip_prefix(root) else { continue };
            let metadata = if entry.path_is_symlink() {
                // A dangling link is a file of its own.
                std::fs::metadata(entry.path()).or_else(|_| std::fs::symlink_metadata(entry.path()))?
            } else {
                entry.metadata()?
            };
            let nanos = |seconds: i64, nanos: i64| i128::from(seconds) * 1_000_000_000 + i128::from(nanos);
            files.push(File {
                path: relative.to_string_lossy().into_owned(),
                mtime: nanos(metadata.mtime(), metadata.mtime_nsec()),
                ctime: nanos(metadata.ctime(), metadata.ctime_nsec()),
                size: metadata.size(),
            });
        }
        files.sort_unstable();
        Ok(Self { files })
    }

    /// The paths, sorted.
    pub fn paths(&self) -> impl Iterator<Item = &str> {
        self.files.iter().map(|file| file.path.as_str())
    }

    /// As text, a line a file.
    pub fn render(&self) -> String {
        let mut text = String::with_capacity(self.files.len() * 90);
        for File { path, mtime, ctime, size } in &self.files {
            let _ = writeln!(text, "{mtime} {ctime} {size} {path}");
        }
        text
    }

    /// From that text; lines that make no sense are left out, which looks like a change.
    pub fn parse(text: &str) -> Self {
        let file = |line: &str| {
            let mut words = line.splitn(4, ' ');
            let mut number = || words.next()?.parse().ok();
            let (mtime, ctime, size) = (number()?, number()?, number()?);
            Some(File { path: words.next()?.to_owned(), mtime, ctime, size: u64::try_from(size).ok()? })
        };
        Self { files: text.lines().filter_map(file).collect() }
    }

    /// A key of paths, sizes and modification times: the same for the same archive unpacked again.
    pub fn key(&self) -> String {
        let list = self.files.iter().fold(String::new(), |mut text, file| {
            let _ = writeln!(text, "{} {} {}", file.mtime, file.size, file.path);
            text
        });
        sha::key(&[("files", &list)])
    }

    /// What changed from `self` to `now`.
    pub fn changes(&self, now: &Self) -> Vec<Change> {
        let mut changes = Vec::new();
        let (mut old, mut new) = (self.files.iter().peekable(), now.files.iter().peekable());
        loop {
            let order = match (old.peek(), new.peek()) {
                (None, None) => return changes,
                (Some(_), None) => std::cmp::Ordering::Less,
                (None, Some(_)) => std::cmp::Ordering::Greater,
                (Some(a), Some(b)) => a.path.cmp(&b.path),
            };
            let before = if order.is_le() { old.next() } else { None };
            let after = if order.is_ge() { new.next() } else { None };
            if before != after
                && let Some(File { path, .. }) = before.or(after)
            {
                changes.push(Change {
                    path: path.clone(),
                    mtime: after.map(|f| f.mtime),
                    existed: before.is_some(),
                });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(files: &[(&str, u64)]) -> Snapshot {
        let mut files: Vec<_> = files
            .iter()
            .map(|&(path, size)| File { path: path.to_owned(), mtime: 7, ctime: 8, size })
            .collect();
        files.sort();
        Snapshot { files }
    }

    #[test]
    fn tells_changed_added_and_removed() {
        let old = of(&[("Makefile", 1), ("a.c", 2), ("gone.c", 3)]);
        let new = of(&[("Makefile", 1), ("a.c", 9), ("new.h", 4)]);
        let change = |path: &str, mtime, existed| Change { path: path.to_owned(), mtime, existed };
        assert_eq!(
            old.changes(&new),
            [change("a.c", Some(7), true), change("gone.c", None, true), change("new.h", Some(7), false)]
        );
        assert!(old.changes(&old).is_empty());
    }

    #[test]
    fn looks_at_real_files() {
        let dir = tempfile::tempdir().unwrap();
        let root = Utf8Path::from_path(dir.path()).unwrap();
        fs_err::create_dir_all(root.join(".git")).unwrap();
        fs_err::write(root.join(".git/index"), "x").unwrap();
        fs_err::create_dir_all(root.join("drivers/md")).unwrap();
        fs_err::write(root.join("drivers/md/dm.c"), "int x;").unwrap();
        let first = Snapshot::take(root).unwrap();
        assert_eq!(first.paths().collect::<Vec<_>>(), ["drivers/md/dm.c"]);
        fs_err::write(root.join("drivers/md/dm.c"), "int y;").unwrap();
        assert_eq!(first.changes(&Snapshot::take(root).unwrap()).len(), 1);
    }

    proptest! {
        #[test]
        fn rendered_is_parsed_again(files in proptest::collection::btree_map("[a-z /.]{1,9}", any::<(i64, i64, u32)>(), 0..20)) {
            let files = files.into_iter().map(|(path, (m, c, s))| File { path, mtime: m.into(), ctime: c.into(), size: s.into() });
            let snapshot = Snapshot { files: files.collect() };
            prop_assert_eq!(&Snapshot::parse(&snapshot.render()), &snapshot);
        }
    }
}
