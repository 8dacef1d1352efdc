// SPDX-License-Identifier: GPL-2.0-only
//! What a VM gets beside the host's file system as its root (`--boot virtme`): a folder with everything of an image that
//! the host does not have at its place. The guest finds it at `guest::message::STAGE`; `guest/src/agent/host_root.rs`
//! makes the guest of it.
//!
//! ```text
//! guest              the guest binary
//! bin/               links to the manifest's tools, wherever the host has them
//! lib/modules/       the kernel's modules, as in an image
//! modprobe           for the kernel, which knows no environment: modprobe with these modules
//! early/             first on process 1's PATH: what virtme-ng shall not start, see `SKIPPED`
//! root/              what the manifest puts below /etc, /var, /run and /tmp
//! host/usr/          what an image has below /usr and this host does not: packages that are unpacked in the cache
//! ```
//! It is kept inside of the image's folder, under the same identity.

use std::os::unix::fs::PermissionsExt as _;

use anyhow::Context as _;
use camino::{Utf8Path, Utf8PathBuf};
use guest::message::STAGE;

use super::manifest::{self, Manifest};
use super::tree::{Entry, Node, Source};
use super::{Image, Parts, Plan, elf, guest_binary, plan, stage};
use crate::cache::Cache;
use crate::image::digest::Digests;
use crate::progress::Progress;

/// Its folder inside of the image's; the number is that of this layout.
const FOLDER: &str = "virtme-2";

/// Programs that virtme-ng's process 1 starts if they are on its PATH, and that the guest does without: over 9p under TCG
/// systemd-tmpfiles takes 2 s, and a coldplug by `udevadm trigger` and `settle` 5 s.
const SKIPPED: [&str; 2] = ["systemd-tmpfiles", "udevadm"];

/// Folders that are empty in such a VM; what the manifest has elsewhere are mount points and the host's own files.
const WRITABLE: [&str; 4] = ["etc", "var", "run", "tmp"];

/// The folder for an image; made if it is not there.
pub fn obtain(
    parts: &Parts,
    image: &Image,
    cache: &Cache,
    progress: &Progress,
) -> anyhow::Result<Utf8PathBuf> {
    let place = image.path.parent().context("find the image's folder")?.join(FOLDER);
    let _lock = cache.lock("images", progress)?;
    if place.exists() {
        return Ok(place);
    }
    let binary = guest_binary(progress)?;
    let mut digests = Digests::load(&cache.path("images/digests.json"));
    let plan = plan(parts, &binary, cache, progress, &mut digests)?;
    anyhow::ensure!(
        plan.id == image.id,
        "the guest binary, a tool or a module changed while the guest image was made of it (hint: run again)"
    );
    let scratch = cache.scratch("virtme-")?;
    let folder = Utf8Path::from_path(scratch.path()).context("the cache folder's name is not UTF-8")?;
    fill(folder, parts, &plan, &binary)?;
    // virtme-ng hands it to a guest whose root may be another user than the one who made it.
    fs_err::set_permissions(folder, std::fs::Permissions::from_mode(0o755))?;
    cache.publish(scratch, &place)?;
    Ok(place)
}

fn fill(folder: &Utf8Path, parts: &Parts, plan: &Plan, binary: &Utf8Path) -> anyhow::Result<()> {
    fs_err::copy(binary, folder.join("guest"))?;
    let bin = folder.join("bin");
    fs_err::create_dir(&bin)?;
    let manifest = Manifest::parse(manifest::BASE).context("read images/base.toml")?;
    for tool in &manifest.tools {
        let host = elf::find_tool(&tool.name)?;
        for name in std::iter::once(&tool.path).chain(&tool.links).filter_map(|path| path.file_name()) {
            fs_err::os::unix::fs::symlink(&host, bin.join(name))?;
        }
    }
    stage::stage(parts.modules, parts.release, plan.selection.files.iter(), folder)?;
    let modprobe = format!("#!/bin/sh\nexec {STAGE}/bin/modprobe -d {STAGE} \"$@\"\n");
    write(&folder.join("modprobe"), modprobe.as_bytes(), 0o755)?;
    fs_err::create_dir(folder.join("early"))?;
    for name in SKIPPED {
        fs_err::os::unix::fs::symlink("/bin/true", folder.join("early").join(name))?;
    }
    for (path, entry) in plan.tree.iter() {
        if WRITABLE.iter().any(|top| path.starts_with(top)) {
            put(&folder.join("root").join(path), entry)?;
        } else if only_in_the_image(path, Utf8Path::new("/")) {
            put(&folder.join("host").join(path), entry)?;
        }
    }
    let mut modules = plan.selection.guest.clone();
    for file in modules.files.values_mut().flatten() {
        file.insert_str(0, STAGE);
    }
    let list = folder.join("root").join(guest::modules::PATH.trim_start_matches('/'));
    Ok(fs_err::write(list, serde_json::to_vec_pretty(&modules).context("write the list of modules")?)?)
}

/// Whether a path of the image is below /usr and nothing stands there on the host. Modules have a folder of their own.
fn only_in_the_image(path: &Utf8Path, host: &Utf8Path) -> bool {
    path.starts_with("usr") && !path.starts_with("usr/lib/modules") && !host.join(path).exists()
}

/// One entry of the tree as a file.
fn put(place: &Utf8Path, entry: &Entry) -> anyhow::Result<()> {
    fs_err::create_dir_all(place.parent().unwrap_or(place))?;
    match &entry.node {
        Node::Directory => {
            fs_err::create_dir_all(place)?;
            fs_err::set_permissions(place, std::fs::Permissions::from_mode(entry.mode))?;
        }
        Node::File(Source::Bytes(bytes)) => write(place, bytes, entry.mode)?,
        Node::File(Source::Host(host)) => write(place, &fs_err::read(host)?, entry.mode)?,
        Node::Symlink(target) => fs_err::os::unix::fs::symlink(target, place)?,
        Node::Character(..) | Node::Block(..) => {
            anyhow::bail!("{place}: a device node can only stand in /dev, which is the kernel's own")
        }
    }
    Ok(())
}

fn write(place: &Utf8Path, bytes: &[u8], mode: u32) -> anyhow::Result<()> {
    fs_err::write(place, bytes)?;
    Ok(fs_err::set_permissions(place, std::fs::Permissions::from_mode(mode))?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_host_lacks_below_usr_is_staged() {
        let dir = tempfile::tempdir().unwrap();
        let host = Utf8Path::from_path(dir.path()).unwrap();
        fs_err::create_dir_all(host.join("usr/sbin")).unwrap();
        fs_err::write(host.join("usr/sbin/dmsetup"), "").unwrap();
        let staged = |path: &str| only_in_the_image(Utf8Path::new(path), host);
        assert!(staged("usr/sbin/multipathd"));
        assert!(!staged("usr/sbin/dmsetup"), "the host's own is taken");
        assert!(!staged("usr/lib/modules/6.12.0/modules.dep"));
        assert!(!staged("etc/multipath.conf"), "that is in root/");
    }
}
