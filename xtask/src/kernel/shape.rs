// SPDX-License-Identifier: GPL-2.0-only
//! Is this folder a kernel source that can be built here? Asked before anything is built, and of what was unpacked or
//! fetched before it gets its place in the cache.

use camino::{Utf8Path, Utf8PathBuf};

use crate::exit::{Code, coded};
use crate::kernel::absolute;

/// What every such source has.
pub const PARTS: [&str; 5] =
    ["Makefile", "Kconfig", "arch/x86/Kconfig", "scripts/kconfig", "drivers/md/dm.c"];

/// Which of [`PARTS`] a folder lacks.
pub fn missing(dir: &Utf8Path) -> Option<&'static str> {
    PARTS.into_iter().find(|part| !dir.join(part).exists())
}

/// Makes a folder look like such a source.
#[cfg(test)]
pub fn pretend(dir: &Utf8Path) {
    for part in PARTS {
        let file = dir.join(part);
        fs_err::create_dir_all(file.parent().unwrap()).unwrap();
        fs_err::write(file, "").unwrap();
    }
}

/// The tree's absolute path, if it is a kernel's.
pub fn checked(dir: &Utf8Path) -> anyhow::Result<Utf8PathBuf> {
    let tree = absolute(dir, "the kernel tree")?;
    let usage = |text: String| Err(coded(Code::Usage, text));
    if !tree.is_dir() {
        return usage(format!("{tree} is not a folder (hint: name the one with the kernel's Makefile)"));
    }
    if let Some(missing) = missing(&tree) {
        return usage(format!("{tree} is not a Linux source tree: it has no {missing}"));
    }
    if tree.as_str().contains([' ', ':', '\t', '\n']) {
        return usage(format!(
            "kbuild can't build in a path with a space or a colon: {tree} (hint: name it through a symbolic link without)"
        ));
    }
    Ok(tree)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_kernel_is_the_users_error() {
        let dir = tempfile::tempdir().unwrap();
        let root = Utf8Path::from_path(dir.path()).unwrap();
        for (path, part) in [
            (root.to_owned(), "is not a Linux source tree: it has no Makefile"),
            (root.join("none"), "No such file"),
            (Utf8PathBuf::from("/etc/passwd"), "is not a folder"),
        ] {
            let error = checked(&path).unwrap_err();
            assert_eq!(crate::exit::code_of(&error), Code::Usage);
            assert!(error.to_string().contains(part), "{error}");
        }
    }
}
