// SPDX-License-Identifier: GPL-2.0-only
//! A kernel that the distribution built, `deb:PACKAGE`: its packages are downloaded and unpacked in the cache, not
//! installed, and nothing is compiled. A meta package leads to the newest image, and where a distribution keeps image,
//! modules and configuration in packages of their own, all of them are taken.

use std::collections::BTreeSet;
use std::sync::Arc;

use camino::{Utf8Path, Utf8PathBuf};
use nix::fcntl::FlockArg;

use crate::cache::Cache;
use crate::command::Tool;
use crate::exit::{Code, coded};
use crate::host::apt::Apt;
use crate::interrupt;
use crate::kernel::package::{self, Package};
use crate::kernel::recipe::path_with_sbin;
use crate::kernel::store::InUse;
use crate::kernel::{Kernel, prebuilt, sha, unpacked};
use crate::progress::Progress;

/// Dependencies that are a part of the kernel: `linux-image-6.1.0-56-amd64`. Neither `linux-base`, a script, nor
/// anything else is.
const PARTS: [&str; 4] = ["linux-image-", "linux-modules-", "linux-binary-", "linux-base-"];

/// More packages than any kernel consists of.
const MOST: usize = 12;

/// Where a kernel image is, after its folder.
const IMAGES: [&str; 3] = ["boot", "usr/lib/modules", "lib/modules"];

/// The kernel in a package, which may be named with its version, `NAME=VERSION`, or with a suite of the archive that the
/// host does not use, `NAME/SUITE`.
pub fn obtain(name: &str, cache: &Cache, progress: &Progress) -> anyhow::Result<Kernel> {
    package::require_programs(
        &format!("deb:{name} is a package of Debian"),
        "on other distributions unpack the kernel's package and use --kernel BZIMAGE --modules DIR",
    )?;
    let (package, apt) = match name.split_once('/') {
        None => (name, Apt::host()),
        Some((package, suite)) => (package, Apt::of_suite(checked(suite)?, cache, progress)?),
    };
    let packages = resolve(checked(package)?, |name| Package::find(name, &apt))?;
    let told = packages.iter().map(|package| format!("{} {}", package.name, package.version));
    let told = told.collect::<Vec<_>>().join(", ");
    progress.line(&format!("deb:{name} is {told}"));
    let sums: Vec<_> = packages.iter().map(|package| package.sha256.as_str()).collect();
    let key = sha::key(&[("debs", &sums.join(" ")), ("depmod", "1")]);
    let in_use = InUse::take(cache, &key, FlockArg::LockShared)?;
    let root = cache.path("debs").join(&key);
    let lock = cache.lock(&format!("deb-{key}"), progress)?;
    unpacked::obtain(&root, &format!("the kernel of {name}"), cache, progress, |scratch| {
        let root = scratch.join("root");
        fs_err::create_dir(&root)?;
        for package in &packages {
            package.download(&apt, cache, progress)?;
            package.unpack(&root, cache)?;
        }
        let (_, release) = image(&root, name)?;
        index(&root, &release)?;
        Ok(root)
    })?;
    drop(lock);
    let (bzimage, release) = image(&root, name)?;
    let mut kernel = prebuilt::open(&bzimage, &modules(&root).join(&release))?;
    // The last one is what all others only lead to.
    let image = packages.last().map_or_else(String::new, |p| format!(" ({} {})", p.name, p.version));
    kernel.manifest.source = format!("deb {name}{image}");
    kernel.manifest.origin = packages.iter().map(Package::origin).collect::<Vec<_>>().join(", ");
    kernel.in_use = in_use.map(Arc::new);
    Ok(kernel)
}

/// A name that apt can be given.
fn checked(name: &str) -> anyhow::Result<&str> {
    // A version may have a colon.
    if name.split('=').next().is_some_and(|name| name.contains(':')) {
        return Err(coded(
            Code::Usage,
            format!("`{name}` names an architecture, and only kernels of this host's run here: leave it out"),
        ));
    }
    let well_formed = |c: char| c.is_ascii_alphanumeric() || "+-.=:~".contains(c);
    if name.is_empty() || name.starts_with(['-', '.']) || !name.chars().all(well_formed) {
        return Err(coded(
            Code::Usage,
            format!(
                "`{name}` is not the name of a package or a suite: --kernel deb:PACKAGE, deb:PACKAGE/SUITE"
            ),
        ));
    }
    Ok(name)
}

/// The packages of a kernel, the named one first, the image last.
fn resolve(name: &str, find: impl Fn(&str) -> Option<Package>) -> anyhow::Result<Vec<Package>> {
    let (mut waiting, mut seen, mut packages) = (vec![name.to_owned()], BTreeSet::new(), Vec::new());
    while let Some(next) = waiting.pop() {
        if !seen.insert(next.clone()) || packages.len() == MOST {
            continue;
        }
        let Some(package) = find(&next) else {
            // apt was stopped, and knows it perhaps.
            interrupt::check()?;
            let wanted_by = if next == name { String::new() } else { format!(", which {name} depends on") };
            return Err(coded(
                Code::Usage,
                format!(
                    "apt knows no package {next}{wanted_by} (hint: `apt-cache search linux-image` lists kernels; `apt-get update` as root brings the newest names)"
                ),
            ));
        };
        let is_part = |name: &&String| PARTS.iter().any(|part| name.starts_with(part));
        // Popped from the end: in the order of the package.
        waiting.extend(package.depends.iter().filter(is_part).rev().cloned());
        packages.push(package);
    }
    // Stable: a meta package of one version stands before the image that it leads to.
    let is_image = |package: &Package| {
        let rest = package.name.strip_prefix("linux-image-");
        rest.is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
    };
    packages.sort_by_key(is_image);
    Ok(packages)
}

/// The only kernel image below `root`, and its release.
fn image(root: &Utf8Path, name: &str) -> anyhow::Result<(Utf8PathBuf, String)> {
    let mut found = Vec::new();
    for folder in IMAGES {
        for entry in root.join(folder).read_dir_utf8().into_iter().flatten() {
            let path = entry?.into_path();
            let inside = path.join("vmlinuz");
            if let Some(release) = path.file_name().and_then(|name| name.strip_prefix("vmlinuz-")) {
                found.push((path.clone(), release.to_owned()));
            } else if inside.is_file() {
                found.push((inside, path.file_name().unwrap_or_default().to_owned()));
            }
        }
    }
    // A merged /usr shows the same image twice.
    found.sort_by(|a, b| a.1.cmp(&b.1));
    found.dedup_by(|a, b| a.1 == b.1);
    match &found[..] {
        [only] => Ok(only.clone()),
        [] => Err(coded(
            Code::Usage,
            format!("the package {name} holds no kernel image: no /boot/vmlinuz-* in it"),
        )),
        several => {
            let releases: Vec<_> = several.iter().map(|(_, release)| release.as_str()).collect();
            Err(coded(
                Code::Usage,
                format!("the package {name} holds several kernels: {}", releases.join(", ")),
            ))
        }
    }
}

/// The folder with the modules of each release.
fn modules(root: &Utf8Path) -> Utf8PathBuf {
    let merged = root.join("usr/lib/modules");
    if merged.is_dir() { merged } else { root.join("lib/modules") }
}

/// Makes modules.dep, which the package leaves to the installation: 4 s for all modules of a distribution.
fn index(root: &Utf8Path, release: &str) -> anyhow::Result<()> {
    if !modules(root).join(release).is_dir() {
        return Err(coded(
            Code::Usage,
            format!("no package of the kernel {release} holds its modules: no lib/modules/{release}"),
        ));
    }
    if !root.join("lib").exists() {
        fs_err::os::unix::fs::symlink("usr/lib", root.join("lib"))?;
    }
    Tool::new("depmod").args(["-b", root.as_str(), release]).env("PATH", path_with_sbin()).read()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exit::code_of;

    /// Recorded from Debian 12 and from trixie-backports: (name, what it depends on).
    const KNOWN: &[(&str, &str)] = &[
        ("linux-image-amd64", "linux-image-6.1.0-56-amd64"),
        ("linux-image-6.1.0-56-amd64", "kmod linux-base initramfs-tools"),
        ("linux-image-bpo", "linux-base-amd64 linux-image-7.3.4+deb13-amd64 linux-modules-amd64"),
        ("linux-base-amd64", "linux-base-7.3.4+deb13-amd64"),
        (
            "linux-image-7.3.4+deb13-amd64",
            "dracut linux-base-7.3.4+deb13-amd64 linux-binary-7.3.4+deb13-amd64 linux-modules-7.3.4+deb13-amd64",
        ),
        ("linux-modules-amd64", "linux-modules-7.3.4+deb13-amd64"),
        ("linux-base-7.3.4+deb13-amd64", ""),
        ("linux-binary-7.3.4+deb13-amd64", ""),
        ("linux-modules-7.3.4+deb13-amd64", "linux-base-7.3.4+deb13-amd64"),
        ("linux-image-broken", "linux-image-gone"),
    ];

    fn known(name: &str) -> Option<Package> {
        let (_, depends) = KNOWN.iter().find(|(known, _)| *known == name)?;
        Some(Package {
            name: name.to_owned(),
            version: "1".into(),
            sha256: "0".repeat(64),
            size: 1,
            depends: depends.split_whitespace().map(str::to_owned).collect(),
        })
    }

    fn names(name: &str) -> String {
        resolve(name, known).unwrap().into_iter().map(|package| package.name).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn a_meta_package_leads_to_the_image_and_its_parts() {
        assert_eq!(names("linux-image-6.1.0-56-amd64"), "linux-image-6.1.0-56-amd64");
        assert_eq!(names("linux-image-amd64"), "linux-image-amd64 linux-image-6.1.0-56-amd64");
        insta::assert_snapshot!(names("linux-image-bpo").replace(' ', "\n"), @r"
        linux-image-bpo
        linux-base-amd64
        linux-base-7.3.4+deb13-amd64
        linux-binary-7.3.4+deb13-amd64
        linux-modules-7.3.4+deb13-amd64
        linux-modules-amd64
        linux-image-7.3.4+deb13-amd64
        ");
    }

    #[test]
    fn what_does_not_exist_is_the_users_error() {
        for (name, part) in [
            ("linux-image-9", "apt knows no package linux-image-9 (hint:"),
            (
                "linux-image-broken",
                "apt knows no package linux-image-gone, which linux-image-broken depends on",
            ),
        ] {
            let error = resolve(name, known).unwrap_err();
            assert_eq!(code_of(&error), Code::Usage);
            assert!(error.to_string().contains(part), "{error}");
        }
        for name in ["", "-o Dir=/", "a b", "../x", "a/b"] {
            let error = checked(name).unwrap_err();
            assert_eq!(code_of(&error), Code::Usage);
            assert!(error.to_string().contains("is not the name of a package or a suite"), "{error}");
        }
        let error = checked("linux-image-686:i386=1:6.1").unwrap_err();
        assert_eq!(code_of(&error), Code::Usage);
        insta::assert_snapshot!(error, @"`linux-image-686:i386=1:6.1` names an architecture, and only kernels of this host's run here: leave it out");
        assert!(checked("linux-image-amd64=1:6.1.192-2~bpo1").is_ok());
    }

    #[test]
    fn the_image_is_found_where_distributions_keep_it() {
        let dir = tempfile::tempdir().unwrap();
        let root = Utf8Path::from_path(dir.path()).unwrap();
        let error = image(root, "bash").unwrap_err();
        assert_eq!(code_of(&error), Code::Usage);
        insta::assert_snapshot!(error, @"the package bash holds no kernel image: no /boot/vmlinuz-* in it");
        for (file, release) in [("boot/vmlinuz-6.1.0", "6.1.0"), ("usr/lib/modules/7.3.4/vmlinuz", "7.3.4")] {
            let file = root.join(file);
            fs_err::create_dir_all(file.parent().unwrap()).unwrap();
            fs_err::write(&file, "").unwrap();
            assert_eq!(image(root, "x").unwrap(), (file.clone(), release.to_owned()));
            fs_err::remove_file(file).unwrap();
        }
        let error = index(root, "6.1.0").unwrap_err();
        insta::assert_snapshot!(error, @"no package of the kernel 6.1.0 holds its modules: no lib/modules/6.1.0");
    }
}
