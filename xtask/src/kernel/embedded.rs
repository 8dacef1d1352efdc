// SPDX-License-Identifier: GPL-2.0-only
//! `kernel-patches/` as part of this program, so that a built xtask needs no checkout: configuration fragments,
//! out-of-tree modules and patches. `build.rs` makes cargo notice when it changes.

use include_dir::{Dir, include_dir};

static KERNEL_PATCHES: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/../kernel-patches");

/// Name and text of a file.
pub type Text = (&'static str, &'static str);

/// The files directly in a folder whose name `wanted` accepts, sorted by name; `None` if there is no such folder.
pub fn files(folder: &str, wanted: impl Fn(&str) -> bool) -> Option<Vec<Text>> {
    let named = |file: &'static include_dir::File<'static>| {
        Some((file.path().file_name()?.to_str()?, file.contents_utf8()?))
    };
    let dir = KERNEL_PATCHES.get_dir(folder)?;
    let mut files: Vec<_> = dir.files().filter_map(named).filter(|(name, _)| wanted(name)).collect();
    files.sort_unstable();
    Some(files)
}

/// The names of the folders directly in a folder, sorted.
pub fn folders(folder: &str) -> Vec<&'static str> {
    let name = |dir: &'static Dir<'static>| dir.path().file_name()?.to_str();
    let mut names: Vec<_> =
        KERNEL_PATCHES.get_dir(folder).into_iter().flat_map(Dir::dirs).filter_map(name).collect();
    names.sort_unstable();
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_what_the_repository_has() {
        assert!(folders("modules").contains(&"dm-pushback-selftest"));
        assert!(folders("no-such-folder").is_empty());
        let fragments = files("config", |name| name.starts_with('f')).unwrap();
        assert!(fragments.iter().any(|(name, text)| *name == "feature.config" && !text.is_empty()));
        assert!(files("no-such-folder", |_| true).is_none());
    }
}
