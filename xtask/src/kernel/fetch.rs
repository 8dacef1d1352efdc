// SPDX-License-Identifier: GPL-2.0-only
//! The source of a base: Debian's source package, downloaded with apt without root, checked and unpacked into the
//! cache. What was fetched is pinned: it does not change under anybody's feet until `kernel fetch` looks again.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use camino::{Utf8Path, Utf8PathBuf};
use serde::{Deserialize, Serialize};

use crate::cache::Cache;
use crate::command::Tool;
use crate::exit::{Code, coded};
use crate::kernel::bases::{self, Base};
use crate::kernel::recipe::which;
use crate::kernel::snapshot::Snapshot;
use crate::progress::Progress;

/// Bytes for package (0.15 GB), the archive inside of it (0.15 GB) and the unpacked source (1.7 GB on ext4).
const SOURCE_BYTES: u64 = 2_200_000_000;

/// Records of 10 KiB in the archive, for the percentage: 6.12.117 unpacks to 1.5 GB.
const ARCHIVE_RECORDS: u64 = 150_000;

/// A package that apt knows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Package {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Of the .deb, from apt's signed lists.
    pub sha256: String,
    /// Of the .deb, in bytes.
    pub size: u64,
}

impl Package {
    /// In words, for manifests.
    pub fn origin(&self) -> String {
        format!("{} {} sha256:{}", self.name, self.version, self.sha256)
    }

    fn deb(&self, cache: &Cache) -> Utf8PathBuf {
        cache.path(format!("downloads/{}_{}.deb", self.name, self.version.replace(':', "%3a")))
    }

    fn unpacked(&self, cache: &Cache) -> Utf8PathBuf {
        cache.path(format!("sources/{}-{}", self.name, &self.sha256[..12]))
    }
}

/// Asks apt for the newest package of a base and downloads it, unless that is what we have.
pub fn fetch(base: &str, cache: &Cache, progress: &Progress) -> anyhow::Result<String> {
    let base = bases::find(base)?;
    let _lock = cache.lock(&format!("source-{}", base.name), progress)?;
    let package = newest(base)?;
    download(&package, cache, progress)?;
    pin(base, &package, cache)?;
    Ok(format!("{} {}: {}", package.name, package.version, package.deb(cache)))
}

/// The package that is pinned for a base; the newest one that apt knows if there is none yet.
pub fn package(base: &Base, cache: &Cache) -> anyhow::Result<Package> {
    pinned(base, cache).map_or_else(|| newest(base), Ok)
}

fn pinned(base: &Base, cache: &Cache) -> Option<Package> {
    let text = fs_err::read_to_string(pin_file(base, cache)).ok()?;
    serde_json::from_str(&text).ok().filter(|package: &Package| package.sha256.len() == 64)
}

/// The source package that is still to be downloaded before the base can be built; `None` if it is in the cache.
pub fn to_download(base: &str, cache: &Cache) -> anyhow::Result<Option<&'static str>> {
    let base = bases::find(base)?;
    let there = |package: Package| package.deb(cache).exists() || package.unpacked(cache).exists();
    Ok((!pinned(base, cache).is_some_and(there)).then_some(base.package))
}

/// The unpacked source of a package; fetches and unpacks what is missing.
pub fn source(
    base: &Base,
    package: &Package,
    cache: &Cache,
    progress: &Progress,
) -> anyhow::Result<Utf8PathBuf> {
    let _lock = cache.lock(&format!("source-{}", base.name), progress)?;
    let place = package.unpacked(cache);
    let key_file = Utf8PathBuf::from(format!("{place}.key"));
    if place.exists() {
        if fs_err::read_to_string(&key_file).ok() == Some(Snapshot::take(&place)?.key()) {
            return Ok(place);
        }
        progress.line(&format!("warning: the source in {place} was changed: unpacked again"));
    }
    cache.require_free(SOURCE_BYTES, &format!("the source of {}", package.name))?;
    download(package, cache, progress)?;
    pin(base, package, cache)?;
    let scratch = cache.scratch("source-")?;
    let tree = unpack(
        base,
        &package.deb(cache),
        Utf8Path::from_path(scratch.path()).context("path of the cache")?,
        progress,
    )?;
    let key = Snapshot::take(&tree)?.key();
    let done = cache.scratch("source-")?;
    fs_err::remove_dir(done.path())?;
    fs_err::rename(&tree, done.path())?;
    cache.publish(done, &place)?;
    fs_err::write(key_file, key)?;
    Ok(place)
}

fn pin_file(base: &Base, cache: &Cache) -> Utf8PathBuf {
    cache.path(format!("sources/{}.json", base.name))
}

fn pin(base: &Base, package: &Package, cache: &Cache) -> anyhow::Result<()> {
    let file = pin_file(base, cache);
    fs_err::create_dir_all(cache.path("sources"))?;
    let new = Utf8PathBuf::from(format!("{file}.new"));
    fs_err::write(&new, serde_json::to_string_pretty(package)?)?;
    Ok(fs_err::rename(new, file)?)
}

/// What apt's lists say, without touching the network.
fn newest(base: &Base) -> anyhow::Result<Package> {
    for program in ["apt-cache", "apt-get", "dpkg-deb", "tar", "xz"] {
        if which(program).is_none() {
            return Err(coded(
                Code::HostFailed,
                format!(
                    "the source of base {} is Debian's package {}, and this host has no {program} (hint: on other \
                     distributions unpack a kernel source yourself and use --tree DIR)",
                    base.name, base.package
                ),
            ));
        }
    }
    let unknown = || {
        coded(
            Code::HostFailed,
            format!(
                "apt does not know the package {} (hint: run `apt-get update` as root; if that does not help, this \
                 release of the distribution does not have it: use --tree DIR)",
                base.package
            ),
        )
    };
    let output = Tool::new("apt-cache")
        .args(["show", "--no-all-versions", base.package])
        .env("LC_ALL", "C")
        .read()
        .map_err(|_| unknown())?;
    stanza(&output.text).ok_or_else(unknown)
}

/// The first stanza of `apt-cache show`.
fn stanza(text: &str) -> Option<Package> {
    let first = text.split("\n\n").next()?;
    let field = |name: &str| first.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
    Some(Package {
        name: field("Package")?.to_owned(),
        version: field("Version")?.to_owned(),
        sha256: field("SHA256").filter(|sum| sum.len() == 64)?.to_owned(),
        size: field("Size")?.parse().ok()?,
    })
}

/// Makes sure that the right .deb is in the cache. A wrong one is named and fetched again.
fn download(package: &Package, cache: &Cache, progress: &Progress) -> anyhow::Result<()> {
    let deb = package.deb(cache);
    if deb.exists() {
        match check(&deb, package) {
            Ok(()) => return Ok(()),
            Err(error) => progress.line(&format!("warning: {error:#}: fetched again")),
        }
        fs_err::remove_file(&deb)?;
    }
    cache.require_free(package.size * 2, &format!("the package {}", package.name))?;
    fs_err::create_dir_all(cache.path("downloads"))?;
    let scratch = cache.scratch("download-")?;
    let dir = Utf8Path::from_path(scratch.path()).context("path of the cache")?;
    let mut step = progress.step(format!("fetch {} {}", package.name, package.version));
    let finished = AtomicBool::new(false);
    let result = std::thread::scope(|scope| {
        scope.spawn(|| {
            while !finished.load(Ordering::Relaxed) {
                step.set(folder_bytes(dir), package.size, "");
                std::thread::sleep(Duration::from_millis(200));
            }
        });
        let result = Tool::new("apt-get")
            .args(["-q", "download", &format!("{}={}", package.name, package.version)])
            .cwd(dir)
            .env("LC_ALL", "C")
            .run();
        finished.store(true, Ordering::Relaxed);
        result
    });
    result.with_context(|| {
        format!(
            "download {} {} (hint: no network, or apt's lists are old: run `apt-get update` as root)",
            package.name, package.version
        )
    })?;
    let file = dir
        .read_dir_utf8()?
        .filter_map(Result::ok)
        .find(|entry| entry.path().extension() == Some("deb"))
        .with_context(|| format!("apt-get left no .deb for {}", package.name))?;
    check(file.path(), package)?;
    fs_err::rename(file.path(), &deb)?;
    step.done(format!("{} MB, checksum right", package.size / 1_000_000));
    Ok(())
}

fn folder_bytes(dir: &Utf8Path) -> u64 {
    let Ok(entries) = dir.read_dir_utf8() else { return 0 };
    entries.filter_map(|entry| entry.ok()?.metadata().ok()).map(|metadata| metadata.len()).sum()
}

fn check(deb: &Utf8Path, package: &Package) -> anyhow::Result<()> {
    let size = fs_err::metadata(deb)?.len();
    anyhow::ensure!(size == package.size, "{deb} is corrupt: {size} bytes instead of {}", package.size);
    // The host's sha256sum: 153 MB take it 0.1 s, and an unoptimized build of ours many times that.
    let sum = Tool::new("sha256sum").arg(deb.as_str()).read()?.text;
    anyhow::ensure!(sum.contains(&package.sha256), "{deb} is corrupt: its SHA256 is not {}", package.sha256);
    Ok(())
}

/// Unpacks the archive inside a .deb into `scratch` and returns the tree.
fn unpack(
    base: &Base,
    deb: &Utf8Path,
    scratch: &Utf8Path,
    progress: &Progress,
) -> anyhow::Result<Utf8PathBuf> {
    let mut step = progress.step(format!("unpack {}", base.package));
    let (outer, tree) = (scratch.join("deb"), scratch.join("tree"));
    fs_err::create_dir_all(&tree)?;
    let context = || format!("unpack {deb} (hint: remove it to have it fetched again)");
    Tool::new("dpkg-deb").args(["-x", deb.as_str(), outer.as_str()]).read().with_context(context)?;
    Tool::new("tar")
        .args(["--extract", "--xz", "--strip-components=1", "--no-same-owner"])
        .args(["--checkpoint=1500", "--checkpoint-action=echo=%u"])
        .args(["--file", outer.join(base.archive).as_str(), "--directory", tree.as_str()])
        .env("LC_ALL", "C")
        .stream(|line| {
            if let Some(record) =
                line.trim().trim_start_matches("tar: ").parse().ok().filter(|n: &u64| *n > 0)
            {
                step.set(record.min(ARCHIVE_RECORDS - 1), ARCHIVE_RECORDS, "");
            }
        })
        .with_context(context)?;
    anyhow::ensure!(tree.join("Makefile").exists(), "{deb} holds no kernel source at {}", base.archive);
    step.done("done");
    Ok(tree)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_apt_cache_shows() {
        // Recorded on Debian 12, shortened.
        let text = "Package: linux-source-6.12\nSource: linux-6.12\nVersion: 6.12.117-1~deb12u1\n\
            Installed-Size: 149880\nDescription: Linux kernel source\n SHA256: not a field\nSection: kernel\n\
            Filename: pool/updates/main/l/linux-6.12/linux-source-6.12_6.12.117-1~deb12u1_all.deb\nSize: 153476148\n\
            SHA256: e849faf31ca3555757f3a8877cb01af92122f744f75d1f3102734651c4e14703\n\n\
            Package: linux-source-6.12\nVersion: 6.12.115-2~deb12u1\n";
        insta::assert_debug_snapshot!(stanza(text), @r#"
        Some(
            Package {
                name: "linux-source-6.12",
                version: "6.12.117-1~deb12u1",
                sha256: "e849faf31ca3555757f3a8877cb01af92122f744f75d1f3102734651c4e14703",
                size: 153476148,
            },
        )
        "#);
        assert_eq!(stanza(""), None);
        assert_eq!(stanza("Package: x\nVersion: 1\nSize: 3\nSHA256: short"), None);
    }
}
