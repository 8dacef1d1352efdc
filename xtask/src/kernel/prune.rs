// SPDX-License-Identifier: GPL-2.0-only
//! Frees space: old kernels, what killed runs left behind, and on request everything that can be made again.
//! Whatever another run works on or uses stays.

use std::time::Duration;

use nix::fcntl::FlockArg;

use crate::cache::Cache;
use crate::kernel::store::{self, Entry, InUse};
use crate::progress::Progress;

/// Scratch folders older than this belong to a run that was killed.
const STALE: Duration = Duration::from_secs(24 * 3600);

/// Removes all kernels but the `keep` last used; with `all`, the build folders, sources and downloads too. Returns
/// what went, and what was kept because it is in use.
pub fn prune(
    cache: &Cache,
    keep: usize,
    all: bool,
    progress: &Progress,
) -> anyhow::Result<(Vec<Entry>, Vec<Entry>)> {
    let removed = store::prune_kernels(cache, keep, |_| true)?;
    remove_stale(cache)?;
    // (folder, name of the lock that a run holds while it works on an entry of the folder)
    let folders: &[(&str, &str)] = if all {
        &[
            ("builds", "build-"),
            ("trees", "tree-"),
            ("bisect", "bisect-"),
            ("git", "git-"),
            ("archives", "archive-"),
            ("debs", "deb-"),
        ]
    } else {
        &[]
    };
    let mut at_work = false;
    for (folder, lock) in folders {
        let dir = cache.path(folder);
        if !dir.exists() {
            continue;
        }
        for entry in dir.read_dir_utf8()? {
            let entry = entry?;
            let name = entry.file_name();
            let id = name.strip_suffix(".key").unwrap_or(name);
            let Some(_lock) = cache.try_lock(&format!("{lock}{id}"))? else {
                progress.line(&format!("kept {}: in use", entry.path()));
                at_work = true;
                continue;
            };
            // What a run boots from is locked in another way.
            let Some(_unused) = InUse::take(cache, id, FlockArg::LockExclusiveNonblock)? else { continue };
            if entry.file_type()?.is_dir() {
                fs_err::remove_dir_all(entry.path())?;
            } else {
                fs_err::remove_file(entry.path())?;
            }
        }
    }
    if all {
        let bases = super::bases::names();
        let locks = bases.iter().map(|base| cache.try_lock(&format!("source-{base}")));
        let locks = locks.collect::<anyhow::Result<Option<Vec<_>>>>()?;
        for folder in ["sources", "downloads", "apt", "ccache"] {
            let dir = cache.path(folder);
            if !dir.exists() {
                continue;
            }
            // What is kept above may be built from them.
            if at_work || locks.is_none() {
                progress.line(&format!("kept {dir}: in use"));
            } else {
                fs_err::remove_dir_all(dir)?;
            }
        }
    }
    Ok(removed)
}

fn remove_stale(cache: &Cache) -> anyhow::Result<()> {
    for entry in cache.path("tmp").read_dir_utf8()? {
        let entry = entry?;
        let age = entry.metadata()?.modified()?.elapsed().unwrap_or_default();
        if age > STALE && entry.file_type()?.is_dir() {
            fs_err::remove_dir_all(entry.path())?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use camino::Utf8Path;

    use super::*;

    #[test]
    fn all_leaves_nothing_to_speak_of() {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::at(Utf8Path::from_path(dir.path()).unwrap()).unwrap();
        for folder in [
            "builds/1234/out",
            "trees/5678",
            "sources/linux-source-6.12-abc",
            "downloads",
            "debs/9",
            "debs/10",
        ] {
            fs_err::create_dir_all(cache.path(folder)).unwrap();
        }
        fs_err::write(cache.path("debs/9.key"), "").unwrap();
        let in_use = InUse::take(&cache, "10", FlockArg::LockShared).unwrap();
        prune(&cache, 0, false, &Progress::silent()).unwrap();
        assert!(cache.path("builds/1234/out").exists());
        prune(&cache, 0, true, &Progress::silent()).unwrap();
        for folder in ["builds/1234", "trees/5678", "sources", "downloads", "debs/9", "debs/9.key"] {
            assert!(!cache.path(folder).exists(), "{folder}");
        }
        assert!(in_use.is_some() && cache.path("debs/10").exists());
    }

    #[test]
    fn what_a_run_works_on_stays_and_nobody_waits_for_it() {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::at(Utf8Path::from_path(dir.path()).unwrap()).unwrap();
        let left = || {
            let all = ["bisect/1/state.json", "bisect/2", "sources/6.12.json", "ccache"];
            all.map(|path| cache.path(path).exists())
        };
        for folder in ["bisect/1", "bisect/2", "sources", "ccache"] {
            fs_err::create_dir_all(cache.path(folder)).unwrap();
        }
        for file in ["bisect/1/state.json", "sources/6.12.json"] {
            fs_err::write(cache.path(file), "").unwrap();
        }
        for (at_work, stays) in
            [("bisect-1", [true, false, true, true]), ("source-6.12", [false, false, true, true])]
        {
            let lock = cache.try_lock(at_work).unwrap().unwrap();
            prune(&cache, 0, true, &Progress::silent()).unwrap();
            assert_eq!(left(), stays, "{at_work}");
            drop(lock);
        }
        prune(&cache, 0, true, &Progress::silent()).unwrap();
        assert_eq!(left(), [false; 4]);
    }
}
