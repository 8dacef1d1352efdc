// SPDX-License-Identifier: GPL-2.0-only
//! virtme-ng, which `--boot virtme` needs: the one version that is known to compose what the harness reads, found on `PATH`
//! or installed into the cache by pip, with its digest pinned. Nothing is installed system-wide and no root is needed.

use anyhow::Context as _;
use camino::{Utf8Path, Utf8PathBuf};

use super::install::{confirm, is_interactive};
use super::probe::Places;
use crate::cache::Cache;
use crate::command::Tool;
use crate::exit::{Code, WithCode as _, coded};
use crate::progress::Progress;

/// The version: what it prints and what its process 1 does is relied upon, see `vm/virtme.rs`.
pub const VERSION: &str = "1.42";

/// What pip installs, with digests.
const REQUIREMENTS: &str = include_str!("../../../images/virtme/requirements.txt");

/// An installed virtme-ng of the right version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Installed {
    /// `virtme-run`.
    pub program: Utf8PathBuf,
    /// Its Python modules, if they are where Python does not look.
    pub modules: Option<Utf8PathBuf>,
}

/// Why there is none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Absent {
    /// The version on `PATH`, if there is one.
    pub other: Option<String>,
}

impl std::fmt::Display for Absent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.other {
            None => write!(f, "`--boot virtme` needs virtme-ng {VERSION}, and there is none"),
            Some(other) => write!(f, "`--boot virtme` needs virtme-ng {VERSION}; the one on PATH is {other}"),
        }
    }
}

fn folder(cache: &Utf8Path) -> Utf8PathBuf {
    cache.join("virtme-ng").join(VERSION)
}

/// Looks for it: in the cache, then on `PATH`.
pub fn find(places: &Places, cache: &Utf8Path) -> Result<Installed, Absent> {
    let own = folder(cache);
    // Published by rename: what is there is whole.
    if own.join("bin/virtme-run").is_file() {
        return Ok(Installed { program: own.join("bin/virtme-run"), modules: Some(own) });
    }
    let Some(vng) = places.program("vng") else { return Err(Absent { other: None }) };
    let said = Tool::new(vng.as_str()).arg("--version").read().map(|output| output.text).unwrap_or_default();
    match (version_in(&said), vng.parent().map(|dir| dir.join("virtme-run"))) {
        (Some(VERSION), Some(program)) if program.is_file() => Ok(Installed { program, modules: None }),
        (version, _) => Err(Absent { other: Some(version.unwrap_or("of no known version").to_owned()) }),
    }
}

/// `virtme-ng 1.42`.
fn version_in(said: &str) -> Option<&str> {
    said.lines().find_map(|line| line.strip_prefix("virtme-ng ")).map(str::trim)
}

/// The one to use. Installs it with `yes`, offers to on a terminal, else says how.
pub fn obtain(cache: &Cache, yes: bool, progress: &Progress) -> anyhow::Result<Installed> {
    let absent = match find(&Places::host(), cache.root()) {
        Ok(installed) => return Ok(installed),
        Err(absent) => absent,
    };
    if !yes {
        if !is_interactive() {
            return Err(coded(
                Code::HostFailed,
                format!(
                    "{absent} (hint: `cargo xtask doctor --fix` installs it into the cache, or allow it with --yes)"
                ),
            ));
        }
        eprintln!("{absent}.");
        if !confirm("Install it into the cache with pip?")? {
            return Err(coded(Code::HostFailed, absent));
        }
    }
    install(cache, progress)
}

/// Installs it into the cache.
pub fn install(cache: &Cache, progress: &Progress) -> anyhow::Result<Installed> {
    let _lock = cache.lock("virtme-ng", progress)?;
    let place = folder(cache.root());
    let scratch = cache.scratch("virtme-ng-")?;
    let base = Utf8Path::from_path(scratch.path()).context("the cache folder's name is not UTF-8")?;
    let requirements = tempfile::NamedTempFile::new().context("make a file for pip")?;
    fs_err::write(requirements.path(), REQUIREMENTS)?;
    let step = progress.step("virtme-ng");
    Tool::new("python3")
        .args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-input"])
        .args(["--root-user-action", "ignore", "--only-binary", ":all:", "--no-deps", "--require-hashes"])
        .args(["--target", base.as_str(), "--requirement"])
        .arg(requirements.path())
        .read()
        .context("install virtme-ng into the cache (hint: `cargo xtask doctor` tells whether python3 and pip are there)")
        .code(Code::HostFailed)?;
    anyhow::ensure!(base.join("bin/virtme-run").is_file(), "pip installed no virtme-run");
    cache.publish(scratch, &place)?;
    step.done(format_args!("{VERSION} installed in {place}"));
    Ok(Installed { program: place.join("bin/virtme-run"), modules: Some(place) })
}

/// The doctor's line about it.
pub fn told(found: &Result<Installed, Absent>) -> String {
    match found {
        Ok(Installed { program, .. }) => format!("virtme-ng: {VERSION} ({program})"),
        Err(absent) => {
            format!("virtme-ng: {absent}; `cargo xtask doctor --fix` installs it into the cache (optional)")
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    /// A host in a folder whose `vng` prints `said`, with an empty cache.
    fn host(said: &str) -> (tempfile::TempDir, Places, Utf8PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let root = Utf8PathBuf::try_from(dir.path().to_owned()).unwrap();
        fs_err::create_dir_all(root.join("bin")).unwrap();
        for name in ["vng", "virtme-run"] {
            let path = root.join("bin").join(name);
            fs_err::write(&path, format!("#!/bin/sh\necho '{said}'\n")).unwrap();
            fs_err::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        }
        let places = Places { programs: vec![root.join("bin")], headers: vec![], root: root.clone() };
        (dir, places, root.join("cache"))
    }

    #[test]
    fn only_the_right_version_is_taken() {
        let (_dir, places, cache) = host("virtme-ng 1.42");
        let found = find(&places, &cache).unwrap();
        assert_eq!((found.program, found.modules), (places.root.join("bin/virtme-run"), None));
        let (_dir, places, cache) = host("virtme-ng 1.30");
        insta::assert_snapshot!(told(&find(&places, &cache)), @"virtme-ng: `--boot virtme` needs virtme-ng 1.42; the one on PATH is 1.30; `cargo xtask doctor --fix` installs it into the cache (optional)");
        let (_dir, places, cache) = host("Traceback (most recent call last):");
        assert_eq!(find(&places, &cache), Err(Absent { other: Some("of no known version".into()) }));
        let nothing = Places { programs: vec![], ..places };
        insta::assert_snapshot!(find(&nothing, &cache).unwrap_err(), @"`--boot virtme` needs virtme-ng 1.42, and there is none");
    }

    #[test]
    fn the_one_in_the_cache_comes_first() {
        let (_dir, places, cache) = host("virtme-ng 1.30");
        fs_err::create_dir_all(folder(&cache).join("bin")).unwrap();
        fs_err::write(folder(&cache).join("bin/virtme-run"), "").unwrap();
        assert_eq!(find(&places, &cache).unwrap().modules, Some(folder(&cache)));
    }

    #[test]
    fn what_is_installed_is_what_is_looked_for() {
        assert!(REQUIREMENTS.contains(&format!("\nvirtme-ng=={VERSION} --hash=sha256:")));
    }
}
