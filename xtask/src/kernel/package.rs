// SPDX-License-Identifier: GPL-2.0-only
//! A Debian package as a file: what apt's signed lists say about it, downloaded without root, checked, and unpacked
//! with dpkg-deb. Nothing is installed.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use camino::{Utf8Path, Utf8PathBuf};
use serde::{Deserialize, Serialize};

use crate::cache::Cache;
use crate::command::Tool;
use crate::exit::{Code, coded};
use crate::host::apt::Apt;
use crate::kernel::recipe::which;
use crate::progress::Progress;

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
    /// Names of packages that it depends on; of alternatives the first.
    #[serde(skip)]
    pub depends: Vec<String>,
}

impl Package {
    /// In words, for manifests.
    pub fn origin(&self) -> String {
        format!("{} {} sha256:{}", self.name, self.version, self.sha256)
    }

    /// Where its file is once it is downloaded.
    pub fn deb(&self, cache: &Cache) -> Utf8PathBuf {
        cache.path(format!("downloads/{}_{}.deb", self.name, self.version.replace(':', "%3a")))
    }

    /// What apt's lists say about `name`, which may be `NAME=VERSION`, without touching the network; `None` if they do
    /// not know it.
    pub fn find(name: &str, apt: &Apt) -> Option<Self> {
        let output = apt.tool("apt-cache").args(["show", "--no-all-versions", "--", name]).read().ok()?;
        stanza(&output.text)
    }

    /// Makes sure that the right .deb is in the cache. A wrong one is named and fetched again.
    pub fn download(&self, apt: &Apt, cache: &Cache, progress: &Progress) -> anyhow::Result<()> {
        let deb = self.deb(cache);
        if deb.exists() {
            match self.check(&deb) {
                Ok(()) => return Ok(()),
                Err(error) => progress.line(&format!("warning: {error:#}: fetched again")),
            }
            fs_err::remove_file(&deb)?;
        }
        cache.require_free(self.size * 2, &format!("the package {}", self.name))?;
        fs_err::create_dir_all(cache.path("downloads"))?;
        let scratch = cache.scratch("download-")?;
        let dir = Utf8Path::from_path(scratch.path()).context("path of the cache")?;
        let mut step = progress.step(format!("fetch {} {}", self.name, self.version));
        let finished = AtomicBool::new(false);
        let result = std::thread::scope(|scope| {
            scope.spawn(|| {
                while !finished.load(Ordering::Relaxed) {
                    step.set(folder_bytes(dir), self.size, "");
                    std::thread::sleep(Duration::from_millis(200));
                }
            });
            let what = format!("{}={}", self.name, self.version);
            let result = apt.tool("apt-get").args(["-q", "download", &what]).cwd(dir).run();
            finished.store(true, Ordering::Relaxed);
            result
        });
        result.with_context(|| {
            format!(
                "download {} {} (hint: no network, or apt's lists are old: run `apt-get update` as root)",
                self.name, self.version
            )
        })?;
        let file = dir
            .read_dir_utf8()?
            .filter_map(Result::ok)
            .find(|entry| entry.path().extension() == Some("deb"))
            .with_context(|| format!("apt-get left no .deb for {}", self.name))?;
        self.check(file.path())?;
        fs_err::rename(file.path(), &deb)?;
        step.done(format!("{:.1} MB, checksum right", megabytes(self.size)));
        Ok(())
    }

    /// Unpacks the downloaded file into `root`; several packages may share one.
    pub fn unpack(&self, root: &Utf8Path, cache: &Cache) -> anyhow::Result<()> {
        let deb = self.deb(cache);
        Tool::new("dpkg-deb")
            .args(["-x", deb.as_str(), root.as_str()])
            .read()
            .with_context(|| format!("unpack {deb} (hint: remove it to have it fetched again)"))?;
        Ok(())
    }

    fn check(&self, deb: &Utf8Path) -> anyhow::Result<()> {
        let size = fs_err::metadata(deb)?.len();
        anyhow::ensure!(size == self.size, "{deb} is corrupt: {size} bytes instead of {}", self.size);
        anyhow::ensure!(
            sha256sum(deb)? == self.sha256,
            "{deb} is corrupt: its SHA256 is not {}",
            self.sha256
        );
        Ok(())
    }
}

/// The checksum of a large file by the host's sha256sum: 153 MB take it 0.1 s, and an unoptimized build of ours many
/// times that.
pub fn sha256sum(file: &Utf8Path) -> anyhow::Result<String> {
    // With a file of a strange name the line starts with a backslash.
    let line = Tool::new("sha256sum").args(["--", file.as_str()]).read()?.text;
    let sum = line.trim_start_matches('\\').split(' ').next().unwrap_or_default();
    anyhow::ensure!(sum.len() == 64, "sha256sum said about {file}: {line}");
    Ok(sum.to_owned())
}

/// An error (exit code 128) if this host can't handle packages. `what` is wanted of it; `instead` is another way.
pub fn require_programs(what: &str, instead: &str) -> anyhow::Result<()> {
    for program in ["apt-cache", "apt-get", "dpkg-deb", "tar", "xz"] {
        if which(program).is_none() {
            return Err(coded(
                Code::HostFailed,
                format!("{what}, and this host has no {program} (hint: {instead})"),
            ));
        }
    }
    Ok(())
}

#[expect(clippy::cast_precision_loss, reason = "shown with one digit after the point")]
fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}

fn folder_bytes(dir: &Utf8Path) -> u64 {
    let Ok(entries) = dir.read_dir_utf8() else { return 0 };
    entries.filter_map(|entry| entry.ok()?.metadata().ok()).map(|metadata| metadata.len()).sum()
}

/// The first stanza of `apt-cache show`.
fn stanza(text: &str) -> Option<Package> {
    let first = text.split("\n\n").next()?;
    let field = |name: &str| first.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
    // "kmod, linux-base (>= 4.3~), initramfs-tools (>= 0.120) | linux-initramfs-tool, libc6:any"
    let name = |item: &str| item.trim().split([' ', '|', ':', '(']).next().unwrap_or_default().to_owned();
    Some(Package {
        name: field("Package")?.to_owned(),
        version: field("Version")?.to_owned(),
        sha256: field("SHA256").filter(|sum| sum.len() == 64)?.to_owned(),
        size: field("Size")?.parse().ok()?,
        depends: field("Depends").unwrap_or_default().split(',').map(name).collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_apt_cache_shows() {
        // Recorded on Debian 12, shortened.
        let text = "Package: linux-source-6.12\nSource: linux-6.12\nVersion: 6.12.117-1~deb12u1\n\
            Installed-Size: 149880\nDescription: Linux kernel source\n SHA256: not a field\nSection: kernel\n\
            Depends: binutils, xz-utils (>= 5), initramfs-tools (>= 0.120) | linux-initramfs-tool, python3:any\n\
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
                depends: [
                    "binutils",
                    "xz-utils",
                    "initramfs-tools",
                    "python3",
                ],
            },
        )
        "#);
        assert_eq!(stanza(""), None);
        assert_eq!(stanza("Package: x\nVersion: 1\nSize: 3\nSHA256: short"), None);
    }
}
