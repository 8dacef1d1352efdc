// SPDX-License-Identifier: GPL-2.0-only
//! The cache folder: `$DM_PUSHBACK_CACHE`, else `$XDG_CACHE_HOME/dm-pushback`, else `~/.cache/dm-pushback`.
//! Entries are made beside their place and published by `rename(2)`, so a half-written one is never seen; a lock
//! per entry lets two runs share the cache. The lock is `flock(2)`: it goes with the process that holds it.

use std::fs::File;
use std::os::fd::AsFd as _;

use anyhow::Context as _;
use camino::{Utf8Path, Utf8PathBuf};
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};

use crate::interrupt;
use crate::progress::Progress;

/// The cache folder.
#[derive(Debug, Clone)]
pub struct Cache {
    root: Utf8PathBuf,
}

/// Held while an entry is made or changed.
#[derive(Debug)]
pub struct Lock {
    _file: Flock<File>,
}

impl Cache {
    /// Finds the folder from the environment and makes sure that it can be written.
    pub fn open() -> anyhow::Result<Self> {
        let var = |name: &str| std::env::var(name).ok().filter(|v| !v.is_empty()).map(Utf8PathBuf::from);
        let root = var("DM_PUSHBACK_CACHE")
            .or_else(|| var("XDG_CACHE_HOME").map(|dir| dir.join("dm-pushback")))
            .or_else(|| var("HOME").map(|dir| dir.join(".cache/dm-pushback")))
            .context("find a cache folder: neither DM_PUSHBACK_CACHE nor XDG_CACHE_HOME nor HOME is set")?;
        Self::at(&root)
    }

    /// A cache at a given place.
    pub fn at(root: &Utf8Path) -> anyhow::Result<Self> {
        let make = || -> anyhow::Result<Utf8PathBuf> {
            fs_err::create_dir_all(root.join("locks"))?;
            fs_err::create_dir_all(root.join("tmp"))?;
            tempfile::tempfile_in(root.join("tmp"))?;
            Ok(Utf8PathBuf::try_from(fs_err::canonicalize(root)?)?)
        };
        let root = make()
            .with_context(|| format!("write to the cache folder {root} (hint: set DM_PUSHBACK_CACHE to a folder that can be written)"))?;
        Ok(Self { root })
    }

    /// The folder itself.
    pub fn root(&self) -> &Utf8Path {
        &self.root
    }

    /// A subfolder or file of it; not created.
    pub fn path(&self, relative: impl AsRef<Utf8Path>) -> Utf8PathBuf {
        self.root.join(relative.as_ref())
    }

    /// A fresh folder inside the cache, removed when dropped: the place to make an entry before its rename.
    pub fn scratch(&self, prefix: &str) -> anyhow::Result<tempfile::TempDir> {
        tempfile::Builder::new()
            .prefix(prefix)
            .tempdir_in(self.root.join("tmp"))
            .with_context(|| format!("make a folder in {}", self.root.join("tmp")))
    }

    /// Publishes a finished scratch folder as `place` by rename; what stood there is replaced.
    pub fn publish(&self, scratch: tempfile::TempDir, place: &Utf8Path) -> anyhow::Result<()> {
        if let Some(parent) = place.parent() {
            fs_err::create_dir_all(parent)?;
        }
        if place.exists() {
            let old = self.scratch("old-")?;
            fs_err::rename(place, old.path().join("entry"))?;
        }
        fs_err::rename(scratch.path(), place)?;
        let _ = scratch.keep(); // renamed away: nothing is left to remove
        Ok(())
    }

    /// Takes the lock called `name`; waits, and says for whom, while another process holds it.
    pub fn lock(&self, name: &str, progress: &Progress) -> anyhow::Result<Lock> {
        let mut told = false;
        loop {
            if let Some(lock) = self.try_lock(name)? {
                return Ok(lock);
            }
            if !told {
                progress.line(&format!("waiting for another run that works on {name}"));
                told = true;
            }
            interrupt::check()?;
            std::thread::sleep(std::time::Duration::from_millis(100));
        }
    }

    /// The same, but `None` while another process holds it.
    pub fn try_lock(&self, name: &str) -> anyhow::Result<Option<Lock>> {
        let path = self.root.join("locks").join(name.replace('/', "_"));
        let file = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path)
            .with_context(|| format!("open the lock {path}"))?;
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(locked) => Ok(Some(Lock { _file: locked })),
            Err((_, Errno::EWOULDBLOCK)) => Ok(None),
            Err((_, errno)) => Err(errno).with_context(|| format!("lock {path}")),
        }
    }

    /// Bytes free on the cache's file system for an ordinary user.
    pub fn free_bytes(&self) -> anyhow::Result<u64> {
        let dir = File::open(&self.root)?;
        let stat = nix::sys::statvfs::fstatvfs(dir.as_fd()).context("statvfs the cache folder")?;
        Ok(stat.blocks_available() * stat.fragment_size())
    }

    /// An error that says what is missing when less than `need` bytes are free.
    pub fn require_free(&self, need: u64, what_for: &str) -> anyhow::Result<()> {
        let free = self.free_bytes()?;
        anyhow::ensure!(
            free >= need,
            "not enough space for {what_for}: {} has {:.1} GB free, {:.1} GB are needed \
             (hint: `cargo xtask kernel prune` frees old kernels, or set DM_PUSHBACK_CACHE to another disk)",
            self.root,
            gigabytes(free),
            gigabytes(need),
        );
        Ok(())
    }
}

#[expect(clippy::cast_precision_loss, reason = "shown with one digit after the point")]
fn gigabytes(bytes: u64) -> f64 {
    bytes as f64 / 1e9
}
