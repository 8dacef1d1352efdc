// SPDX-License-Identifier: GPL-2.0-only
//! The source of a base: Debian's source package, downloaded with apt without root, checked and unpacked into the
//! cache. What was fetched is pinned: it does not change under anybody's feet until `kernel fetch` looks again.

use anyhow::Context as _;
use camino::{Utf8Path, Utf8PathBuf};

use crate::cache::Cache;
use crate::exit::{Code, coded};
use crate::host::apt::Apt;
use crate::kernel::bases::{self, Base};
use crate::kernel::package::{self, Package};
use crate::kernel::{archive, unpacked};
use crate::progress::Progress;

/// Asks apt for the newest package of a base and downloads it, unless that is what we have.
pub fn fetch(base: &str, cache: &Cache, progress: &Progress) -> anyhow::Result<String> {
    let base = bases::find(base)?;
    let _lock = cache.lock(&format!("source-{}", base.name), progress)?;
    let package = newest(base, cache, progress)?;
    package.download(&apt(base, cache, progress)?, cache, progress)?;
    pin(base, &package, cache)?;
    Ok(format!("{} {}: {}", package.name, package.version, package.deb(cache)))
}

/// The package that is pinned for a base; the newest one that apt knows if there is none yet.
pub fn package(base: &Base, cache: &Cache, progress: &Progress) -> anyhow::Result<Package> {
    pinned(base, cache).map_or_else(|| newest(base, cache, progress), Ok)
}

fn pinned(base: &Base, cache: &Cache) -> Option<Package> {
    let text = fs_err::read_to_string(pin_file(base, cache)).ok()?;
    serde_json::from_str(&text).ok().filter(|package: &Package| package.sha256.len() == 64)
}

/// A source package that is not in the cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Download {
    /// Its name.
    pub package: &'static str,
    /// Whether it is in another suite than those that the host's apt knows.
    pub elsewhere: bool,
}

/// The source package that is still to be downloaded before the base can be built; `None` if it is in the cache.
pub fn to_download(base: &str, cache: &Cache) -> anyhow::Result<Option<Download>> {
    let base = bases::find(base)?;
    let there = |package: Package| package.deb(cache).exists() || place(&package, cache).exists();
    let download = Download { package: base.package, elsewhere: base.suite.is_some() };
    Ok((!pinned(base, cache).is_some_and(there)).then_some(download))
}

/// The unpacked source of a package; fetches and unpacks what is missing.
pub fn source(
    base: &Base,
    package: &Package,
    cache: &Cache,
    progress: &Progress,
) -> anyhow::Result<Utf8PathBuf> {
    let _lock = cache.lock(&format!("source-{}", base.name), progress)?;
    let place = place(package, cache);
    unpacked::obtain(&place, &format!("the source of {}", package.name), cache, progress, |scratch| {
        package.download(&apt(base, cache, progress)?, cache, progress)?;
        pin(base, package, cache)?;
        unpack(base, package, scratch, cache, progress)
    })?;
    Ok(place)
}

fn place(package: &Package, cache: &Cache) -> Utf8PathBuf {
    cache.path(format!("sources/{}-{}", package.name, &package.sha256[..12]))
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

/// The apt that knows the package of a base.
fn apt(base: &Base, cache: &Cache, progress: &Progress) -> anyhow::Result<Apt> {
    base.suite.map_or_else(|| Ok(Apt::host()), |suite| Apt::of_suite(suite, cache, progress))
}

/// What apt's lists say; those of another suite are fetched for it.
fn newest(base: &Base, cache: &Cache, progress: &Progress) -> anyhow::Result<Package> {
    package::require_programs(
        &format!("the source of base {} is Debian's package {}", base.name, base.package),
        "on other distributions unpack a kernel source yourself and use --tree DIR",
    )?;
    Package::find(base.package, &apt(base, cache, progress)?).ok_or_else(|| {
        let why = base.suite.map_or_else(
            || {
                "run `apt-get update` as root; if that does not help, this release of the distribution does not have it"
                    .to_owned()
            },
            |suite| format!("{suite} has moved on to a newer kernel"),
        );
        coded(
            Code::HostFailed,
            format!("apt does not know the package {} (hint: {why}: use --tree DIR)", base.package),
        )
    })
}

/// Unpacks the archive inside a .deb into `scratch` and returns the tree.
fn unpack(
    base: &Base,
    package: &Package,
    scratch: &Utf8Path,
    cache: &Cache,
    progress: &Progress,
) -> anyhow::Result<Utf8PathBuf> {
    let (outer, tree) = (scratch.join("deb"), scratch.join("tree"));
    fs_err::create_dir_all(&tree)?;
    package.unpack(&outer, cache)?;
    let deb = package.deb(cache);
    archive::extract(
        &outer.join(base.archive),
        &["--xz", "--strip-components=1"],
        &tree,
        base.package,
        progress,
    )
    .with_context(|| format!("unpack {deb} (hint: remove it to have it fetched again)"))?;
    anyhow::ensure!(tree.join("Makefile").exists(), "{deb} holds no kernel source at {}", base.archive);
    Ok(tree)
}
