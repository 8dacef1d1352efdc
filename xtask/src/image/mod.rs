// SPDX-License-Identifier: GPL-2.0-only
//! The guest image: one initramfs with the guest binary as process 1, tools of the host with their libraries, and
//! kernel modules. Made without root, kept in the cache under the digest of everything that went in.
//!
//! The manifest says what goes in (`manifest`), the host has it (`elf`, `modules`, `stage`), the tree is what it will
//! look like (`tree`), the archive is its bytes (`newc`), and the store keeps it (`store`).
//!
//! It is not compressed. QEMU 7.2 under TCG, q35, 2 CPUs, 512 MB, 6.12 with lockdep, start to the end of an init that
//! powers off, best of 5, 2026-11-23: 1.33 s with that init alone (0.7 MB); 1.34 s with all but kmod and libcrypto
//! (9 MB); 1.37 s with all (15 MB); 1.43 s with all as lz4 (7.5 MB), 1.47 s without kmod as lz4: reading through
//! `fw_cfg` costs less than unpacking.

mod digest;
mod elf;
mod group;
mod guest_binary;
pub mod host_root;
mod manifest;
mod modules;
mod newc;
mod stage;
mod store;
mod tree;

use std::collections::BTreeMap;

use anyhow::Context as _;
use camino::{Utf8Path, Utf8PathBuf};

pub use guest_binary::guest_binary;

use crate::cache::Cache;
use crate::progress::Progress;
use digest::{Digests, sha256};
use manifest::{DeviceKind, Manifest};
use tree::{Entry, Node, Source, Tree};

/// The kernel that an image is for.
#[derive(Debug, Clone, Copy)]
pub struct Parts<'a> {
    /// Its release, as `uname -r` prints it.
    pub release: &'a str,
    /// Its modules on the host: a folder lib/modules/RELEASE.
    pub modules: &'a Utf8Path,
    /// Whether a module that is built into the kernel counts as there.
    pub builtin_ok: bool,
    /// Modules that are known to be missing, with a better reason than that.
    pub missing: &'a BTreeMap<String, String>,
}

/// A finished image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// The initramfs.
    pub path: Utf8PathBuf,
    /// What is in it: guest path, mode, bytes, SHA-256, origin.
    pub list: Utf8PathBuf,
    /// Digest of everything that went in.
    pub id: String,
}

/// Free space that is asked for before an image is written: four times of what one takes with the tools of Debian 12.
const SPACE: u64 = 64 << 20;

/// What of the manifest's groups an image can have on this host, a line each.
pub fn groups(cache: &Cache) -> anyhow::Result<Vec<String>> {
    let manifest = Manifest::parse(manifest::BASE).context("read images/base.toml")?;
    Ok(group::told(&manifest.groups, cache))
}

/// What an image will be made of, and its identity.
struct Plan {
    tree: Tree,
    selection: modules::Selection,
    id: String,
}

/// The image for a kernel: from the cache if nothing changed (0.1 s), else made (1 s in a debug build).
pub fn obtain(parts: &Parts, cache: &Cache, progress: &Progress) -> anyhow::Result<Image> {
    let binary = guest_binary(progress)?;
    let mut digests = Digests::load(&cache.path("images/digests.json"));
    let plan = plan(parts, &binary, cache, progress, &mut digests)?;
    let store = store::Store { cache, progress };
    let _lock = cache.lock("images", progress)?;
    let image = match store.find(&plan.id, &mut digests) {
        Some(image) => image,
        None => make(plan, parts, &store, &mut digests)?,
    };
    digests.save();
    Ok(image)
}

/// Finds everything on the host, and tells which modules are not there.
fn plan(
    parts: &Parts,
    binary: &Utf8Path,
    cache: &Cache,
    progress: &Progress,
    digests: &mut Digests,
) -> anyhow::Result<Plan> {
    let manifest = Manifest::parse(manifest::BASE).context("read images/base.toml")?;
    let index = stage::index(parts.modules, parts.release, cache, progress)?;
    let mut selection = index.select(&manifest.modules, parts.release, parts.builtin_ok);
    for (name, why) in &mut selection.guest.missing {
        if let Some(better) = parts.missing.get(name) {
            why.clone_from(better);
        }
    }
    let lacking = |m: &&manifest::Module| m.required && selection.guest.missing.contains_key(&m.name);
    let lacking: Vec<_> = manifest.modules.iter().filter(lacking).map(|m| m.name.as_str()).collect();
    if !lacking.is_empty() {
        progress.line(&format!(
            "warning: kernel {} lacks {}: neither in {} nor built in; cases that need it are skipped",
            parts.release,
            lacking.join(", "),
            parts.modules
        ));
    }
    let mut tree = skeleton(&manifest)?;
    for tool in &manifest.tools {
        put_tool(&mut tree, tool, &elf::find_tool(&tool.name)?, group::HOST.into(), digests)?;
    }
    for group in &manifest.groups {
        group::put(&mut tree, group, cache, progress, digests)?;
    }
    file(&mut tree, "/init", binary, 0o755)?;
    let list = serde_json::to_vec_pretty(&selection.guest).context("write the list of modules")?;
    let origin = "images/base.toml and modules.dep".to_owned();
    let node = Node::File(Source::Bytes(list));
    tree.put(guest::modules::PATH.into(), Entry { node, mode: 0o644, origin })?;
    let id = identity(&tree, parts, &selection, digests)?;
    Ok(Plan { tree, selection, id })
}

/// Makes the image and publishes it.
fn make(plan: Plan, parts: &Parts, store: &store::Store, digests: &mut Digests) -> anyhow::Result<Image> {
    let Plan { tree, selection, id } = plan;
    store.cache.require_free(SPACE, "a guest image")?;
    let step = store.progress.step("guest image");
    let scratch = store.cache.scratch("modules-")?;
    let base = Utf8Path::from_path(scratch.path()).context("the cache folder's name is not UTF-8")?;
    let staged = stage::stage(parts.modules, parts.release, selection.files.iter(), base)?;
    let mut full = tree.clone();
    add_modules(&mut full, parts, &selection, &staged)?;
    let unchanged = || Ok(identity(&tree, parts, &selection, digests)? == id);
    let image = store.make(&id, &full, unchanged)?;
    step.done(format_args!("made {}", &id[..12]));
    Ok(image)
}

/// What the manifest itself holds.
fn skeleton(manifest: &Manifest) -> anyhow::Result<Tree> {
    let mut tree = Tree::default();
    let mut put =
        |path: &Utf8Path, node, mode| tree.put(path, Entry { node, mode, origin: "images/base.toml".into() });
    for link in &manifest.symlinks {
        put(&link.path, Node::Symlink(link.target.clone()), 0o777)?;
    }
    for dir in &manifest.dirs {
        put(&dir.path, Node::Directory, dir.mode)?;
    }
    for node in &manifest.nodes {
        let kind = match node.kind {
            DeviceKind::Char => Node::Character(node.major, node.minor),
            DeviceKind::Block => Node::Block(node.major, node.minor),
        };
        put(&node.path, kind, node.mode)?;
    }
    for text in &manifest.files {
        put(&text.path, Node::File(Source::Bytes(text.text.clone().into_bytes())), text.mode)?;
    }
    Ok(tree)
}

fn file(tree: &mut Tree, path: &str, host: &Utf8Path, mode: u32) -> anyhow::Result<()> {
    let node = Node::File(Source::Host(host.to_owned()));
    Ok(tree.put(path.into(), Entry { node, mode, origin: host.to_string() })?)
}

/// A program of the host and what it needs. `root` is where it was unpacked, [`group::HOST`] if it is installed.
fn put_tool(
    tree: &mut Tree,
    tool: &manifest::HostTool,
    host: &Utf8Path,
    root: &Utf8Path,
    digests: &mut Digests,
) -> anyhow::Result<()> {
    file(tree, tool.path.as_str(), host, 0o755)?;
    for link in &tool.links {
        let node = Node::Symlink(tool.path.to_string());
        tree.put(link, Entry { node, mode: 0o777, origin: tool.name.clone() })?;
    }
    let closure = digests.closure(host, &group::library_folders(root))?;
    Ok(elf::place(tree, &tool.name, &closure, root)?)
}

/// The staged modules with their tables.
fn add_modules(
    tree: &mut Tree,
    parts: &Parts,
    selection: &modules::Selection,
    staged: &Utf8Path,
) -> anyhow::Result<()> {
    let from: BTreeMap<_, _> =
        selection.files.iter().map(|file| (modules::uncompressed(file), file)).collect();
    for entry in walkdir::WalkDir::new(staged).sort_by_file_name() {
        let entry = entry?;
        let path = Utf8Path::from_path(entry.path()).context("a module's name is not UTF-8")?;
        if entry.file_type().is_file() {
            let relative = path.strip_prefix(staged)?;
            let place = format!("/lib/modules/{}/{relative}", parts.release);
            let origin = from.get(relative.as_str()).map(|file| parts.modules.join(file).to_string());
            let origin = origin.unwrap_or_else(|| "depmod".to_owned());
            let node = Node::File(Source::Bytes(fs_err::read(path)?));
            tree.put(Utf8Path::new(&place), Entry { node, mode: 0o644, origin })?;
        }
    }
    Ok(())
}

/// Digest of all inputs: the tree without modules, the modules as they are on the host, depmod, and our own writer.
fn identity(
    tree: &Tree,
    parts: &Parts,
    selection: &modules::Selection,
    digests: &mut Digests,
) -> anyhow::Result<String> {
    use std::fmt::Write as _;
    let mut text = format!("writer {}\nrelease {}\n", newc::VERSION, parts.release);
    for (path, entry) in tree.iter() {
        let content = match &entry.node {
            Node::File(Source::Host(host)) => digests.of(host)?,
            Node::File(Source::Bytes(bytes)) => sha256(bytes),
            other => format!("{other:?}"),
        };
        writeln!(text, "{path} {:o} {content} {}", entry.mode, entry.origin)?;
    }
    for file in selection.files.iter().map(|file| parts.modules.join(file)) {
        let digest = digests.of(&file).with_context(|| {
            let modules = parts.modules;
            format!("read a module that modules.dep in {modules} names (hint: is {modules} complete? else run `depmod` for it)")
        })?;
        writeln!(text, "{file} {digest}")?;
    }
    for input in stage::tables(parts.modules).into_iter().chain([elf::find_tool("depmod")?]) {
        writeln!(text, "{input} {}", digests.of(&input)?)?;
    }
    Ok(sha256(text.as_bytes()))
}
