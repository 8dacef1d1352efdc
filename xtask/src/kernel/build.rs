// SPDX-License-Identifier: GPL-2.0-only
//! A base from source to store. Its id is known before anything is fetched or built, so that a kernel that is in
//! the store costs no more than verifying it.

use std::collections::BTreeSet;

use anyhow::Context as _;
use camino::{Utf8Path, Utf8PathBuf};

use crate::cache::Cache;
use crate::exit::{Code, coded};
use crate::kernel::bases::{self, Base};
use crate::kernel::fetch::{self, Package};
use crate::kernel::make::{self, BUILD_BYTES, Make};
use crate::kernel::recipe::Recipe;
use crate::kernel::store::{self, Manifest};
use crate::kernel::{Kernel, Variant, config, selftest, sha};
use crate::progress::Progress;

/// Lines that a build from scratch prints: 1,939 for 6.12 and this configuration; the last build's count is better
/// and is used when there is one.
pub const EXPECTED_LINES: u64 = 1950;

/// The kernel of a base.
pub fn obtain(name: &str, variant: Variant, cache: &Cache, progress: &Progress) -> anyhow::Result<Kernel> {
    let base = bases::find(name)?;
    if variant != Variant::Stock {
        return Err(coded(
            Code::Usage,
            format!(
                "base {name} has no variant `{}`: kernel-patches/{name}/{} does not exist (hint: --variant stock)",
                variant.name(),
                variant.name()
            ),
        ));
    }
    let recipe = Recipe::of_this_host()?;
    let package = fetch::package(base, cache)?;
    let id = id(&package, variant, &recipe);
    let _lock = cache.lock(&format!("kernel-{id}"), progress)?;
    if let Some(kernel) = store::open(cache, &id, progress)? {
        return Ok(kernel);
    }
    build(base, variant, &package, &recipe, &id, cache, progress)
}

/// Key of a base's kernel. Patches of a variant will be one more ingredient.
fn id(package: &Package, variant: Variant, recipe: &Recipe) -> String {
    sha::key(&[("source", &package.sha256), ("variant", variant.name()), ("recipe", &recipe.fingerprint())])
}

fn build(
    base: &Base,
    variant: Variant,
    package: &Package,
    recipe: &Recipe,
    id: &str,
    cache: &Cache,
    progress: &Progress,
) -> anyhow::Result<Kernel> {
    let source = fetch::source(base, package, cache, progress)?;
    cache.require_free(BUILD_BYTES, "building a kernel")?;
    let what = format!("base {} {}", base.name, variant.name());
    // Kept after the build: it resumes after an interruption, and a variant differs in a few modules only.
    let make = Make::new(&source, cache.path("builds").join(id), recipe, &what, cache)?;
    // A base knows all of our symbols, so nothing counts as unknown.
    make.configure(|| Ok(recipe.config.symbols().map(ToOwned::to_owned).collect()))?;
    compile(&make, progress)?;
    let module = selftest::build(&make)?;
    let scratch = cache.scratch("kernel-")?;
    let release = make.release()?;
    install(&make, Some(&module), Utf8Path::from_path(scratch.path()).context("path of the cache")?)?;
    let manifest = Manifest {
        id: id.to_owned(),
        source: format!("base {}", base.name),
        variant: variant.name().to_owned(),
        release,
        origin: package.origin(),
        compiler: recipe.compiler.clone(),
        ..Manifest::default()
    };
    store::publish(cache, scratch, manifest)
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
pub fn install(make: &Make<'_>, module: Option<&Utf8PathBuf>, place: &Utf8Path) -> anyhow::Result<()> {
    make.install(place)?;
    let release = make.release()?;
    if let Some(module) = module {
        selftest::install(module, place, &release)?;
    }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exit::code_of;

    #[test]
    fn a_variant_without_patches_is_a_usage_error() {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::at(Utf8Path::from_path(dir.path()).unwrap()).unwrap();
        let error = obtain("6.12", Variant::Pushback, &cache, &Progress::silent()).unwrap_err();
        assert_eq!(code_of(&error), Code::Usage);
        insta::assert_snapshot!(error, @"base 6.12 has no variant `pushback`: kernel-patches/6.12/pushback does not exist (hint: --variant stock)");
    }
}
