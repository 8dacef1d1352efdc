// SPDX-License-Identifier: GPL-2.0-only
//! Kernels: source → config → build → store. The one noun is [`Kernel`]: a kernel image with its modules, ready to
//! boot, and what is known about it. Booting it is not done here.

mod archive;
mod bases;
mod build;
mod config;
mod debian;
mod embedded;
mod fetch;
mod flavour;
mod git;
mod make;
mod mirror;
mod modules;
mod package;
mod prebuilt;
mod prune;
mod recipe;
mod series;
mod sha;
mod shape;
mod snapshot;
mod source;
mod store;
mod tree;
mod unpacked;

use std::collections::BTreeMap;
use std::sync::Arc;

use camino::{Utf8Path, Utf8PathBuf};

use crate::cache::Cache;
use crate::event;
use crate::exit::{Code, coded};
use crate::progress::Progress;

pub use bases::{Base, all as bases, names as base_names};
pub use config::Config;
pub use fetch::{Download, fetch, to_download};
pub use flavour::Flavour;
pub use git::{PATIENCE, remote_git, shown as shown_url};
pub use prune::prune;
pub use series::repo::git_in;
pub use sha::key as key_of;
pub use shape::PARTS as TREE_PARTS;
#[cfg(test)]
pub use shape::pretend as pretend_tree;
pub use source::{Source, from_anywhere};
pub use store::{Entry, Manifest, list};

/// The variant of a base.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Variant {
    /// The base as its distribution ships it
    Stock,
    /// Noflush pushback removed
    Baseline,
    /// The seed's patch, ported
    Pushback,
}

impl Variant {
    /// Its name, as on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Stock => "stock",
            Self::Baseline => "baseline",
            Self::Pushback => "pushback",
        }
    }
}

/// A kernel that can be booted.
#[derive(Debug, Clone)]
pub struct Kernel {
    /// Its folder: the store's entry, or where a prebuilt image lies.
    pub dir: Utf8PathBuf,
    /// What is known about it.
    pub manifest: Manifest,
    bzimage: Utf8PathBuf,
    modules: Utf8PathBuf,
    config: Option<Utf8PathBuf>,
    symbols: Option<Arc<Config>>,
    /// Keeps `kernel prune` away for as long as the kernel is in use.
    in_use: Option<Arc<store::InUse>>,
}

impl Kernel {
    /// The kernel image for QEMU.
    pub fn bzimage(&self) -> Utf8PathBuf {
        self.bzimage.clone()
    }

    /// `…/lib/modules/<release>`.
    pub fn modules(&self) -> Utf8PathBuf {
        self.modules.clone()
    }

    /// `uname -r`.
    pub fn release(&self) -> &str {
        &self.manifest.release
    }

    /// The `.config` it was built with; unknown for some prebuilt kernels.
    pub fn config(&self) -> Option<Utf8PathBuf> {
        self.config.clone()
    }

    /// Whether a symbol (without `CONFIG_`) is built in or a module; `None` if the config is unknown.
    pub fn has_symbol(&self, symbol: &str) -> Option<bool> {
        self.symbols.as_ref().map(|config| config.enabled(symbol))
    }

    /// Modules of this project that could not be built for it, and why.
    pub fn missing_modules(&self) -> &BTreeMap<String, String> {
        &self.manifest.missing_modules
    }

    /// What reports say about it.
    pub fn facts(&self) -> event::KernelFacts {
        event::KernelFacts {
            source: self.manifest.source.clone(),
            variant: self.manifest.variant.clone(),
            observe: self.manifest.observe,
            flavour: self.manifest.flavour.clone(),
            release: self.manifest.release.clone(),
            id: self.manifest.id.clone(),
            unknown_symbols: self.manifest.unknown_symbols.clone(),
        }
    }
}

/// Makes sure that the kernel is there: taken from the store if it can be, else built.
pub fn obtain(source: &Source, cache: &Cache, progress: &Progress) -> anyhow::Result<Kernel> {
    match source {
        Source::Base { base, variant, observe, flavour } => {
            let base = bases::find(base)?;
            let stack = series::stack(base.name, *variant, *observe)?;
            let workshop = build::Workshop::open(base, *flavour, cache, progress)?;
            if stack.is_empty() { workshop.stock() } else { workshop.variant(*variant, *observe, &stack) }
        }
        Source::Tree { dir, flavour } => {
            tree::obtain(tree::Tree { dir, called: None }, *flavour, cache, progress)
        }
        Source::Archive { file, flavour } => {
            let dir = archive::obtain(file, cache, progress)?;
            let called = format!("archive {}", absolute(file, "the kernel archive")?);
            tree::obtain(tree::Tree { dir: &dir, called: Some(&called) }, *flavour, cache, progress)
        }
        Source::Git { url, reference, flavour } => {
            let checkout = git::obtain(url, reference, cache, progress)?;
            let called = format!("git {}#{reference}", checkout.url);
            let tree = tree::Tree { dir: &checkout.dir, called: Some(&called) };
            let mut kernel = tree::obtain(tree, *flavour, cache, progress)?;
            // Not in the store: commits that differ in no file have one kernel.
            kernel.manifest.source = format!("{called} ({})", &checkout.commit[..12]);
            kernel.manifest.origin = format!("commit {}", checkout.commit);
            Ok(kernel)
        }
        Source::Package { name } => debian::obtain(name, cache, progress),
        Source::Prebuilt { bzimage, modules } => prebuilt::open(bzimage, modules),
    }
}

/// The key that a base's kernel has in the store, there or not; fetches and builds nothing.
pub fn key(source: &Source, cache: &Cache, progress: &Progress) -> anyhow::Result<String> {
    let Source::Base { base, variant, observe, flavour } = source else {
        return Err(coded(
            Code::Usage,
            "only a base's kernel has a key before it is built (hint: name a --base)",
        ));
    };
    let base = bases::find(base)?;
    let stack = series::stack(base.name, *variant, *observe)?;
    Ok(build::Workshop::open(base, *flavour, cache, progress)?.id(&stack))
}

/// What the patched modules are built against when patches are checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Against {
    /// The base's kernel, which is built first
    Kernel,
    /// What its headers need and no more, which takes seconds: a symbol that no module and no kernel exports is not noticed
    Headers,
}

/// Checks the patches of a base: they apply, build without warnings after each, and are in style.
pub fn check(
    base: &str,
    against: Against,
    cache: &Cache,
    progress: &Progress,
) -> anyhow::Result<series::check::Report> {
    build::Workshop::open(bases::find(base)?, Flavour::default(), cache, progress)?.check(against)
}

/// Applies the series of a base to another source (default: what the base is today) in a new repository at `out`
/// (default: in the cache).
pub fn rebase(
    base: &str,
    to: Option<&Utf8Path>,
    out: Option<&Utf8Path>,
    cache: &Cache,
    progress: &Progress,
) -> anyhow::Result<series::rebase::Rebase> {
    let old = unpacked_source(base, cache, progress)?;
    let new = to.map_or_else(|| Ok(old.clone()), |dir| absolute(dir, "the new source"))?;
    if !new.join(series::FOLDER).is_dir() {
        return Err(coded(
            Code::Usage,
            format!(
                "{new} is not a Linux source tree: it has no {} (hint: unpack an archive first)",
                series::FOLDER
            ),
        ));
    }
    let root = out.map_or_else(|| cache.path("rebase").join(base), Utf8Path::to_owned);
    series::rebase::run(base, &old, &new, &root)
}

/// Whether a base can carry the hooks of the series `observe`.
pub fn can_be_observed(base: &str) -> bool {
    series::has(base, series::OBSERVE)
}

/// The unpacked source of a base, for who wants a tree of his own; never to be written to.
pub fn unpacked_source(base: &str, cache: &Cache, progress: &Progress) -> anyhow::Result<Utf8PathBuf> {
    let base = bases::find(base)?;
    fetch::source(base, &fetch::package(base, cache, progress)?, cache, progress)
}

/// Generates a history with known bugs, from the source and the patches of a base, in a new bare repository. Returns the
/// names in it, and what is there.
pub fn demo_history(
    base: &str,
    out: &Utf8Path,
    cache: &Cache,
    progress: &Progress,
) -> anyhow::Result<Vec<(&'static str, &'static str)>> {
    let stack = series::stack(base, Variant::Pushback, can_be_observed(base))?;
    let source = unpacked_source(base, cache, progress)?;
    series::demo::generate(base, &stack, &source, out, progress)?;
    Ok(series::demo::MARKS.iter().map(|mark| (mark.name, mark.what)).collect())
}

/// An absolute path without symbolic links, or an error that is the user's.
fn absolute(path: &Utf8Path, what: &str) -> anyhow::Result<Utf8PathBuf> {
    path.canonicalize_utf8().map_err(|error| coded(Code::Usage, format!("{what} {path}: {error}")))
}
