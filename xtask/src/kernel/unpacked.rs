// SPDX-License-Identifier: GPL-2.0-only
//! A source that is unpacked into the cache once and used by many runs: published as a whole, and unpacked again if
//! somebody changed it there. Whoever calls holds the lock of the entry.

use anyhow::Context as _;
use camino::{Utf8Path, Utf8PathBuf};

use crate::cache::Cache;
use crate::kernel::snapshot::Snapshot;
use crate::progress::Progress;

/// Bytes of an archive of Linux (0.15 GB) and of what is in it (1.7 GB on ext4).
pub const SOURCE_BYTES: u64 = 2_200_000_000;

/// Makes sure that `place` holds what `unpack` makes of a scratch folder: it returns the folder inside that is to be
/// published. An error leaves nothing behind.
pub fn obtain(
    place: &Utf8Path,
    what: &str,
    cache: &Cache,
    progress: &Progress,
    unpack: impl FnOnce(&Utf8Path) -> anyhow::Result<Utf8PathBuf>,
) -> anyhow::Result<()> {
    let key_file = Utf8PathBuf::from(format!("{place}.key"));
    if place.exists() {
        if fs_err::read_to_string(&key_file).ok() == Some(Snapshot::take(place)?.key()) {
            return Ok(());
        }
        progress.line(&format!("warning: {what} in {place} was changed: unpacked again"));
    }
    cache.require_free(SOURCE_BYTES, what)?;
    let scratch = cache.scratch("unpack-")?;
    let tree = unpack(Utf8Path::from_path(scratch.path()).context("path of the cache")?)?;
    let key = Snapshot::take(&tree)?.key();
    let done = cache.scratch("unpack-")?;
    fs_err::remove_dir(done.path())?;
    fs_err::rename(&tree, done.path())?;
    cache.publish(done, place)?;
    Ok(fs_err::write(key_file, key)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unpacks_once_and_again_only_what_was_changed() {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::at(Utf8Path::from_path(dir.path()).unwrap()).unwrap();
        let place = cache.path("archives/1");
        let mut count = 0;
        let mut get = |good: bool| {
            obtain(&place, "a source", &cache, &Progress::silent(), |scratch| {
                count += 1;
                let tree = scratch.join("tree");
                fs_err::create_dir(&tree)?;
                fs_err::write(tree.join("Makefile"), "all:\n")?;
                anyhow::ensure!(good, "half of it");
                Ok(tree)
            })
            .map(|()| count)
        };
        assert!(get(false).is_err());
        assert!(!place.exists() && cache.path("tmp").read_dir_utf8().unwrap().next().is_none());
        assert_eq!(get(true).unwrap(), 2);
        assert_eq!(get(true).unwrap(), 2);
        fs_err::write(place.join("Makefile"), "all: changed\n").unwrap();
        assert_eq!(get(true).unwrap(), 3);
        assert_eq!(fs_err::read_to_string(place.join("Makefile")).unwrap(), "all:\n");
    }
}
