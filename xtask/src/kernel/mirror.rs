// SPDX-License-Identifier: GPL-2.0-only
//! A tree that was built in place can't be built out of tree: kbuild says "the source tree is not clean". Since we
//! never write to a tree, and never ask for `make mrproper`, such a tree is built through a folder of symbolic
//! links to its source files. Its .gitignore files can't tell which those are: Debian's source ignores `/*`.

use std::collections::BTreeSet;
use std::os::unix::fs::symlink;

use anyhow::Context as _;
use camino::{Utf8Path, Utf8PathBuf};
use walkdir::WalkDir;

/// Whether kbuild would refuse to build out of this tree: the three things that its top Makefile looks for
/// (target `outputmakefile`).
pub fn needed(tree: &Utf8Path) -> bool {
    tree.join(".config").is_file()
        || tree.join("include/config").is_dir()
        || tree.join("arch/x86/include/generated").is_dir()
}

/// Makes `mirror` show the source files of `tree`: adds links to new files, removes those of files that are gone.
pub fn sync(tree: &Utf8Path, mirror: &Utf8Path) -> anyhow::Result<()> {
    let wanted = sources(tree)?;
    fs_err::create_dir_all(mirror)?;
    let mut present = BTreeSet::new();
    for entry in WalkDir::new(mirror).min_depth(1) {
        let entry = entry.with_context(|| format!("look at {mirror}"))?;
        if entry.file_type().is_dir() {
            continue;
        }
        let path = Utf8PathBuf::try_from(entry.into_path())?;
        let relative = path.strip_prefix(mirror)?.to_string();
        if wanted.contains(&relative) {
            present.insert(relative);
        } else {
            fs_err::remove_file(path)?;
        }
    }
    let mut last_parent = Utf8PathBuf::new();
    for relative in wanted.difference(&present) {
        let link = mirror.join(relative);
        if let Some(parent) = link.parent().filter(|parent| *parent != last_parent) {
            fs_err::create_dir_all(parent)?;
            parent.clone_into(&mut last_parent);
        }
        symlink(tree.join(relative), &link).with_context(|| format!("link {link}"))?;
    }
    Ok(())
}

/// The source files of a tree, relative to it.
fn sources(tree: &Utf8Path) -> anyhow::Result<BTreeSet<String>> {
    let mut files = BTreeSet::new();
    let relative = |path: &std::path::Path| -> anyhow::Result<String> {
        Ok(Utf8Path::from_path(path).context("a file name is not UTF-8")?.strip_prefix(tree)?.to_string())
    };
    let mut walk = WalkDir::new(tree).min_depth(1).into_iter();
    while let Some(entry) = walk.next() {
        let entry = entry.with_context(|| format!("look at the files of {tree}"))?;
        let path = relative(entry.path())?;
        if entry.file_type().is_dir() {
            if is_product_folder(&path) {
                walk.skip_current_dir();
            }
        } else if !is_product(&path) && !is_program(entry.path()) {
            files.insert(path);
        }
    }
    Ok(files)
}

/// Whether a file is a program that the build compiled for its own use (fixdep, conf, modpost, objtool).
fn is_program(path: &std::path::Path) -> bool {
    use std::io::Read as _;
    use std::os::unix::fs::PermissionsExt as _;
    let executable = || {
        path.metadata().is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0)
    };
    let mut magic = [0; 4];
    path.extension().is_none()
        && executable()
        && std::fs::File::open(path).and_then(|mut file| file.read_exact(&mut magic)).is_ok()
        && magic == *b"\x7fELF"
}

/// Folders that hold nothing but build products (`MRPROPER_FILES` in the top Makefile), and git's.
fn is_product_folder(path: &str) -> bool {
    matches!(path, ".git" | "include/config" | "include/generated" | ".tmp_versions")
        || path
            .strip_prefix("arch/")
            .and_then(|rest| rest.split_once('/'))
            .is_some_and(|(_, rest)| rest == "include/generated")
}

/// Whether a file is what `make clean` and `make mrproper` remove: the patterns of their `find` in the top
/// Makefile, and the names of `CLEAN_FILES` and `MRPROPER_FILES`. Products that these miss (generated headers, host
/// programs) do no harm: their rules are `if_changed`, which makes them again where it finds no record.
fn is_product(path: &str) -> bool {
    let (dir, name) = path.rsplit_once('/').unwrap_or(("", path));
    let top = [
        ".config",
        ".config.old",
        ".version",
        "System.map",
        "vmlinux",
        "vmlinux.o",
        "vmlinux.a",
        "vmlinux.map",
        "vmlinux.unstripped",
        "vmlinux.symvers",
        "modules-only.symvers",
        "modules.builtin",
        "modules.builtin.modinfo",
        "modules.builtin.ranges",
        "modules.nsdeps",
    ];
    let hidden = [".cmd", ".d", ".tmp"];
    let ends = [
        ".a",
        ".o",
        ".i",
        ".s",
        ".rsi",
        ".ko",
        ".mod",
        ".mod.c",
        ".dwo",
        ".lst",
        ".su",
        ".usyms",
        ".lex.c",
        ".tab.c",
        ".tab.h",
        ".asn1.c",
        ".asn1.h",
        ".symtypes",
        ".gcno",
        ".ll",
        ".so",
        ".so.dbg",
        ".o.d",
    ];
    (dir.is_empty() && top.contains(&name))
        || name == "modules.order"
        || name == "Module.symvers"
        || name == "vmlinux.lds"
        || name.starts_with('.') && hidden.iter().any(|end| name.ends_with(end))
        || name.starts_with(".tmp_")
        || ends.iter().any(|end| name.ends_with(end))
        || dir.starts_with("arch/x86/boot")
            && ["bzImage", "setup.bin", "setup.elf", "vmlinux.bin", "vmlinux", "zoffset.h", "piggy.S"]
                .contains(&name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn follows_added_and_removed_files_and_leaves_products_out() {
        let dir = tempfile::tempdir().unwrap();
        let root = Utf8Path::from_path(dir.path()).unwrap();
        let (tree, mirror) = (root.join("tree"), root.join("mirror"));
        fs_err::create_dir_all(tree.join("drivers/md")).unwrap();
        fs_err::create_dir_all(tree.join("include/config")).unwrap();
        for file in [
            ".gitignore",
            ".config",
            "Makefile",
            "drivers/md/dm.c",
            "drivers/md/dm.o",
            "include/config/auto.conf",
        ] {
            fs_err::write(tree.join(file), "x").unwrap();
        }
        assert!(needed(&tree));
        sync(&tree, &mirror).unwrap();
        assert!(mirror.join("drivers/md/dm.c").is_symlink());
        for product in ["drivers/md/dm.o", ".config", "include/config"] {
            assert!(!mirror.join(product).exists(), "{product}");
        }

        fs_err::remove_file(tree.join("drivers/md/dm.c")).unwrap();
        fs_err::write(tree.join("drivers/md/new.c"), "x").unwrap();
        sync(&tree, &mirror).unwrap();
        assert!(mirror.join("drivers/md/new.c").exists());
        assert!(!mirror.join("drivers/md/dm.c").is_symlink());
    }

    #[test]
    fn tells_products_from_sources() {
        for product in [
            "vmlinux",
            "drivers/md/dm-mod.ko",
            "drivers/md/.dm.o.cmd",
            "drivers/md/dm-mod.mod.c",
            "kernel/bounds.s",
            "scripts/kconfig/lexer.lex.c",
            "arch/x86/boot/bzImage",
            "modules.order",
            ".tmp_vmlinux1",
        ] {
            assert!(is_product(product), "{product}");
        }
        for source in [
            "Makefile",
            ".clang-format",
            "drivers/md/dm.c",
            "arch/x86/kernel/vmlinux.lds.S",
            "scripts/kconfig/lexer.l",
            "tools/testing/selftests/bpf/config",
            "arch/x86/boot/header.S",
            "lib/.kunitconfig",
        ] {
            assert!(!is_product(source), "{source}");
        }
        assert!(is_product_folder("arch/x86/include/generated") && !is_product_folder("arch/x86/include"));
    }
}
