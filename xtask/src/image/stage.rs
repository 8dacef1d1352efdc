// SPDX-License-Identifier: GPL-2.0-only
//! Kernel modules from the host's folder into one that an image can be made from: the chosen files, uncompressed
//! (so that neither the guest's kmod nor its kernel has to know the compression), with fresh depmod(8) tables.

use anyhow::Context as _;
use camino::{Utf8Path, Utf8PathBuf};

use super::digest::sha256;
use super::elf::find_tool;
use super::modules::{Index, uncompressed};
use crate::cache::Cache;
use crate::command::Tool;
use crate::progress::Progress;

/// Files beside the modules that depmod(8) reads and modprobe(8) wants; of no kernel are all of them required.
const TABLES: [&str; 3] = ["modules.builtin", "modules.builtin.modinfo", "modules.order"];

/// Which of [`TABLES`] this kernel has.
pub fn tables(modules: &Utf8Path) -> Vec<Utf8PathBuf> {
    TABLES.iter().map(|name| modules.join(name)).filter(|path| path.is_file()).collect()
}

/// Reads what depmod(8) knows about the modules in `modules`, which is lib/modules/RELEASE.
pub fn index(modules: &Utf8Path, release: &str, cache: &Cache, progress: &Progress) -> anyhow::Result<Index> {
    anyhow::ensure!(
        modules.is_dir(),
        "no folder {modules} with the modules of kernel {release} (hint: `make modules_install INSTALL_MOD_PATH=DIR` makes one)"
    );
    let own = modules.join("modules.dep").is_file();
    let folder = if own { modules.to_owned() } else { made(modules, release, cache, progress)? };
    let read = |name: &str| match fs_err::read_to_string(folder.join(name)) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(String::new()),
        other => other,
    };
    let builtin = match fs_err::read_to_string(modules.join("modules.builtin")) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
        other => other?,
    };
    Ok(Index::parse(&read("modules.dep")?, &builtin, &read("modules.softdep")?, &read("modules.alias")?))
}

/// A folder of the cache with the tables that `modules` lacks: `make modules_install` leaves them out where /sbin is
/// not on `PATH`, and an unpacked distribution package has never had them. Kept by name, size and time of all
/// modules: depmod(8) takes 4 s over those of a Debian kernel.
fn made(
    modules: &Utf8Path,
    release: &str,
    cache: &Cache,
    progress: &Progress,
) -> anyhow::Result<Utf8PathBuf> {
    let (files, key) = listing(modules)?;
    let place = cache.path("depmod").join(key);
    let _lock = cache.lock("depmod", progress)?;
    if place.join("modules.dep").is_file() {
        return Ok(place);
    }
    let scratch = cache.scratch("depmod-")?;
    let base = Utf8Path::from_path(scratch.path()).context("the cache folder's name is not UTF-8")?;
    let staged = folder(base, release)?;
    for relative in &files {
        let link = staged.join(relative);
        fs_err::create_dir_all(link.parent().unwrap_or(&staged))?;
        fs_err::os::unix::fs::symlink(fs_err::canonicalize(modules.join(relative))?, link)?;
    }
    depmod(base, release)?;
    let result = cache.scratch("depmod-")?;
    for name in ["modules.softdep", "modules.alias", "modules.dep"] {
        fs_err::copy(staged.join(name), result.path().join(name))?;
    }
    cache.publish(result, &place)?;
    Ok(place)
}

/// The files below `modules`, and a digest of their names, sizes and times.
fn listing(modules: &Utf8Path) -> anyhow::Result<(Vec<Utf8PathBuf>, String)> {
    use std::fmt::Write as _;
    use std::os::unix::fs::MetadataExt as _;
    let (mut files, mut text) = (vec![], format!("{modules}\n"));
    // The links `build` and `source` beside the modules lead to kernel trees; they are not followed.
    for entry in walkdir::WalkDir::new(modules).sort_by_file_name() {
        let entry = entry?;
        if entry.file_type().is_file() {
            let meta = entry.metadata()?;
            let path = Utf8Path::from_path(entry.path()).context("a module's name is not UTF-8")?;
            let relative = path.strip_prefix(modules)?;
            writeln!(text, "{relative} {} {} {}", meta.size(), meta.mtime(), meta.mtime_nsec())?;
            files.push(relative.to_owned());
        }
    }
    Ok((files, sha256(text.as_bytes())))
}

/// BASE/lib/modules/RELEASE, and the same through /usr: where a depmod looks depends on how it was built.
fn folder(base: &Utf8Path, release: &str) -> anyhow::Result<Utf8PathBuf> {
    let place = base.join("usr/lib/modules").join(release);
    fs_err::create_dir_all(&place)?;
    fs_err::os::unix::fs::symlink("usr/lib", base.join("lib"))?;
    Ok(place)
}

fn depmod(base: &Utf8Path, release: &str) -> anyhow::Result<()> {
    let depmod = find_tool("depmod")?;
    Tool::new(depmod.as_str()).args(["-b", base.as_str(), release]).run()?;
    Ok(())
}

/// Copies `files` (relative to `modules`) below `base` and runs depmod(8) there; the answer is lib/modules/RELEASE
/// below `base`.
pub fn stage<'a>(
    modules: &Utf8Path,
    release: &str,
    files: impl Iterator<Item = &'a String>,
    base: &Utf8Path,
) -> anyhow::Result<Utf8PathBuf> {
    let place = folder(base, release)?;
    for file in files {
        let from = modules.join(file);
        let to = place.join(uncompressed(file));
        fs_err::create_dir_all(to.parent().unwrap_or(&place))?;
        copy(&from, &to).with_context(|| format!("copy the kernel module {from}"))?;
    }
    for table in tables(modules) {
        fs_err::copy(&table, place.join(table.file_name().unwrap_or_default()))?;
    }
    depmod(base, release)?;
    Ok(place)
}

fn copy(from: &Utf8Path, to: &Utf8Path) -> anyhow::Result<()> {
    let program = match from.extension() {
        Some("xz") => "xz",
        Some("zst") => "zstd",
        Some("gz") => "gzip",
        _ => {
            fs_err::copy(from, to)?;
            return Ok(());
        }
    };
    // All three write the decompressed file beside the compressed one; zstd leaves that one there.
    let ending = from.extension().unwrap_or_default();
    let copied = Utf8PathBuf::from(format!("{to}.{ending}"));
    fs_err::copy(from, &copied)?;
    Tool::new(program).args(["--decompress", "--quiet", "--force", copied.as_str()]).run()?;
    if copied.exists() {
        fs_err::remove_file(&copied)?;
    }
    Ok(())
}
