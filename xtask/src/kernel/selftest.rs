// SPDX-License-Identifier: GPL-2.0-only
//! The out-of-tree module that misbehaves on request, built with every kernel that is built here. Its source is
//! part of this program, so that a built xtask needs no checkout.

use camino::{Utf8Path, Utf8PathBuf};

use crate::kernel::make::Make;

/// Name of the module.
pub const NAME: &str = "dm-pushback-selftest";

/// Its files.
pub const SOURCE: [(&str, &str); 2] = [
    ("Makefile", include_str!("../../../kernel-patches/modules/dm-pushback-selftest/Makefile")),
    (
        "dm-pushback-selftest.c",
        include_str!("../../../kernel-patches/modules/dm-pushback-selftest/dm-pushback-selftest.c"),
    ),
];

/// Builds it against the kernel that `make` has built; returns the module's file.
pub fn build(make: &Make<'_>) -> anyhow::Result<Utf8PathBuf> {
    let dir = make.home.join("selftest");
    fs_err::create_dir_all(&dir)?;
    for (name, text) in SOURCE {
        let file = dir.join(name);
        // Left alone when unchanged: its time tells make whether to compile.
        if fs_err::read_to_string(&file).ok().as_deref() != Some(text) {
            fs_err::write(&file, text)?;
        }
    }
    make.run(&[&format!("M={dir}"), "modules"], None, |_| {})?;
    Ok(dir.join(format!("{NAME}.ko")))
}

/// Puts the built module beside the kernel's own, in `extra/`.
pub fn install(module: &Utf8Path, root: &Utf8Path, release: &str) -> anyhow::Result<()> {
    let extra = root.join("lib/modules").join(release).join("extra");
    fs_err::create_dir_all(&extra)?;
    fs_err::copy(module, extra.join(format!("{NAME}.ko")))?;
    Ok(())
}
