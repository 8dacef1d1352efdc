// SPDX-License-Identifier: GPL-2.0-only
//! A base from source to store. Its id is known before anything is fetched or built, so that a kernel that is in
//! the store costs no more than verifying it.

use std::collections::BTreeSet;

use anyhow::Context as _;
use camino::{Utf8Path, Utf8PathBuf};

use crate::cache::Cache;
use crate::kernel::bases::Base;
use crate::kernel::fetch;
use crate::kernel::make::{self, BUILD_BYTES, Make};
use crate::kernel::modules::{self, Built};
use crate::kernel::package::Package;
use crate::kernel::recipe::Recipe;
use crate::kernel::series::{self, Series, check, variant};
use crate::kernel::store::{self, Manifest};
use crate::kernel::{Against, Flavour, Kernel, Variant, config, sha};
use crate::progress::Progress;

/// Lines that a build from scratch prints: 1,939 for 6.12 and this configuration; the last build's count is better
/// and is used when there is one.
pub const EXPECTED_LINES: u64 = 1950;

/// A base at work: what all of its kernels have in common.
pub struct Workshop<'a> {
    base: &'static Base,
    package: Package,
    recipe: Recipe,
    /// Key of the build folder. Neither patches nor our own modules are part of it: a change to them costs seconds.
    build_id: String,
    cache: &'a Cache,
    progress: &'a Progress,
}

impl<'a> Workshop<'a> {
    /// Finds out what would be built; downloads and builds nothing.
    pub fn open(
        base: &'static Base,
        flavour: Flavour,
        cache: &'a Cache,
        progress: &'a Progress,
    ) -> anyhow::Result<Self> {
        let recipe = Recipe::of_this_host(flavour)?;
        let package = fetch::package(base, cache, progress)?;
        let build_id = sha::key(&[("source", &package.sha256), ("recipe", &recipe.fingerprint())]);
        Ok(Self { base, package, recipe, build_id, cache, progress })
    }

    /// The key in the store of the base with these patches.
    pub fn id(&self, stack: &[Series]) -> String {
        let (modules, patches) = (modules::fingerprint(), series::fingerprint(stack));
        let all = [("build", self.build_id.as_str()), ("modules", &modules), ("patches", &patches)];
        sha::key(if stack.is_empty() { &all[..2] } else { &all })
    }

    /// The base as its distribution ships it.
    pub fn stock(&self) -> anyhow::Result<Kernel> {
        let id = self.id(&[]);
        let _lock = self.cache.lock(&format!("kernel-{id}"), self.progress)?;
        if let Some(kernel) = store::open(self.cache, &id, self.progress)? {
            return Ok(kernel);
        }
        let source = fetch::source(self.base, &self.package, self.cache, self.progress)?;
        let _lock = self.cache.lock(&format!("build-{}", self.build_id), self.progress)?;
        let make = self.built(&source)?;
        let modules = modules::build(&make)?;
        let scratch = self.cache.scratch("kernel-")?;
        install(&make, &modules, Utf8Path::from_path(scratch.path()).context("path of the cache")?)?;
        store::publish(self.cache, scratch, self.manifest(id, make.release()?))
    }

    /// The base with patches.
    pub fn variant(&self, variant: Variant, observe: bool, stack: &[Series]) -> anyhow::Result<Kernel> {
        let id = self.id(stack);
        let _lock = self.cache.lock(&format!("kernel-{id}"), self.progress)?;
        if let Some(kernel) = store::open(self.cache, &id, self.progress)? {
            return Ok(kernel);
        }
        let base = self.stock()?;
        let what = describe(self.base.name, variant.name(), observe, self.recipe.flavour);
        let step = self.progress.step(format!("build {what}"));
        let source = fetch::source(self.base, &self.package, self.cache, self.progress)?;
        let _lock = self.cache.lock(&format!("build-{}", self.build_id), self.progress)?;
        let make = self.built(&source)?.called(what);
        // Always the same path: objects that another variant has, too, come out of ccache.
        let repo = variant::make_modules(&make.home.join("variant"), self.base.name, stack, &make)?;
        let scratch = self.cache.scratch("kernel-")?;
        variant::assemble(&repo, &base, Utf8Path::from_path(scratch.path()).context("path of the cache")?)?;
        let manifest = variant::manifest(&base, id, variant.name(), observe, stack);
        let kernel = store::publish(self.cache, scratch, manifest)?;
        step.done(format!("{} patches", kernel.manifest.patches.len()));
        Ok(kernel)
    }

    /// Checks the patches of the base.
    pub fn check(&self, against: Against) -> anyhow::Result<check::Report> {
        let source = fetch::source(self.base, &self.package, self.cache, self.progress)?;
        let _lock = self.cache.lock(&format!("build-{}", self.build_id), self.progress)?;
        let make = match against {
            Against::Kernel => self.built(&source)?,
            Against::Headers => self.prepared(&source)?,
        };
        check::run(self.base.name, &make, &make.home.join("check"), self.progress)
    }

    /// The build of the base as far as modules need it to be compiled, for who holds the lock of its folder.
    fn prepared<'m>(&'m self, source: &'m Utf8Path) -> anyhow::Result<Make<'m>> {
        let make = self.make(source)?;
        if !complete(&make).exists() {
            self.configure(&make)?;
            make.run(&["modules_prepare"], None, |_| {})?;
        }
        Ok(make)
    }

    fn make<'m>(&'m self, source: &'m Utf8Path) -> anyhow::Result<Make<'m>> {
        let home = self.cache.path("builds").join(&self.build_id);
        let what = describe(self.base.name, Variant::Stock.name(), false, self.recipe.flavour);
        Make::new(source, home, &self.recipe, &what, self.cache)
    }

    fn configure(&self, make: &Make<'_>) -> anyhow::Result<()> {
        self.cache.require_free(BUILD_BYTES, "building a kernel")?;
        // A base knows all of our symbols, so nothing counts as unknown.
        make.configure(|| Ok(self.recipe.config.symbols().map(ToOwned::to_owned).collect())).map(drop)
    }

    /// The build of the base, for who holds the lock of its folder. That is kept: a build resumes after an
    /// interruption, and our modules and variants are built over it.
    fn built<'m>(&'m self, source: &'m Utf8Path) -> anyhow::Result<Make<'m>> {
        let make = self.make(source)?;
        let complete = complete(&make);
        if !complete.exists() {
            self.configure(&make)?;
            compile(&make, self.progress)?;
            fs_err::write(complete, "")?;
        }
        Ok(make)
    }

    fn manifest(&self, id: String, release: String) -> Manifest {
        Manifest {
            id,
            source: format!("base {}", self.base.name),
            variant: Variant::Stock.name().to_owned(),
            flavour: self.recipe.flavour.name().to_owned(),
            release,
            origin: self.package.origin(),
            compiler: self.recipe.compiler.clone(),
            ..Manifest::default()
        }
    }
}

/// There once the build is. The source is pinned and the recipe is in the folder's key: what is complete once stays so.
fn complete(make: &Make<'_>) -> Utf8PathBuf {
    make.home.join("complete")
}

/// A kernel in words: `base 6.12 pushback observed kasan`.
fn describe(base: &str, variant: &str, observe: bool, flavour: Flavour) -> String {
    let observed = if observe { " observed" } else { "" };
    format!("base {base} {variant}{observed} {}", flavour.name())
}

/// Kernel image and modules, with a percentage; remembers how many lines that took.
pub fn compile(make: &Make<'_>, progress: &Progress) -> anyhow::Result<()> {
    let count = make.home.join("lines");
    let before: Option<u64> = fs_err::read_to_string(&count).ok().and_then(|text| text.trim().parse().ok());
    let mut step = progress.step(format!("build {}", make.what));
    let lines = make.build(&["bzImage", "modules"], before.unwrap_or(EXPECTED_LINES), &mut step)?;
    // A build that found most things done says nothing about the next one from scratch.
    if lines > before.unwrap_or(EXPECTED_LINES / 2) {
        fs_err::write(count, lines.to_string())?;
    }
    step.set(100, 100, "");
    step.done(format!("{lines} steps"));
    Ok(())
}

/// Lays the results out as a store entry in `place`.
pub fn install(make: &Make<'_>, modules: &Built, place: &Utf8Path) -> anyhow::Result<()> {
    make.install(place)?;
    let release = make.release()?;
    modules.install(place, &release)?;
    make::depmod(place, &release)
}

/// The symbols that the Kconfig files among `paths` (relative to `root`) define.
pub fn defined_symbols<'a>(
    root: &Utf8Path,
    paths: impl Iterator<Item = &'a str>,
) -> anyhow::Result<BTreeSet<String>> {
    let mut symbols = BTreeSet::new();
    for path in paths.filter(|path| path.rsplit('/').next().is_some_and(|name| name.starts_with("Kconfig"))) {
        let text = fs_err::read(root.join(path))?;
        config::defined_in(&String::from_utf8_lossy(&text), &mut symbols);
    }
    Ok(symbols)
}
