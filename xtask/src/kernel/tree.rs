// SPDX-License-Identifier: GPL-2.0-only
//! A kernel tree that is not ours: built incrementally out of tree, never written to. Its build folder stays in
//! the cache, keyed by the tree's path and the flavour; the result goes to the store under a key of what came out.
//!
//! Make alone needs 6 s to find that nothing changed. So we look ourselves: a snapshot of the tree (see
//! [`Snapshot`]) says what changed since the last successful build.
//!
//! | changed                                          | done                                     |
//! | ------------------------------------------------ | ---------------------------------------- |
//! | nothing                                          | the last kernel is used as it is         |
//! | only C files below drivers/md, all of them parts of modules and of no built-in object | the modules below drivers/md are made, the rest is the last kernel's |
//! | anything else                                    | full make                                |
//! | a file older than the last build replaced another| the build folder is thrown away: make would not see it |

use anyhow::Context as _;
use camino::{Utf8Path, Utf8PathBuf};
use serde::{Deserialize, Serialize};

use crate::cache::Cache;
use crate::kernel::make::{self, BUILD_BYTES, Make};
use crate::kernel::recipe::Recipe;
use crate::kernel::snapshot::{Change, Snapshot};
use crate::kernel::store::{self, Manifest};
use crate::kernel::{Flavour, Kernel, build, mirror, modules, sha, shape};
use crate::progress::Progress;

/// The folder whose modules can be made alone.
const FAST: &str = "drivers/md/";

/// Kernels of one tree that are kept in the store; older ones go when a new one comes.
const KEPT: usize = 4;

/// What is remembered of the last successful build of a tree.
#[derive(Debug, Serialize, Deserialize)]
struct State {
    /// Of the recipe and of the way that the tree is read.
    fingerprint: String,
    /// The kernel that came out.
    kernel: String,
    /// Symbols that the tree does not define.
    unknown_symbols: Vec<String>,
}

/// What has to be done about a tree.
#[derive(Debug, PartialEq, Eq)]
enum Work {
    Nothing,
    /// Make the modules below [`FAST`].
    Modules,
    /// Make everything; whether kconfig has to run first.
    Full {
        configure: bool,
    },
    /// Make everything in a new build folder.
    Scratch,
}

/// A kernel source in a folder.
#[derive(Debug, Clone, Copy)]
pub struct Tree<'a> {
    /// Where it is.
    pub dir: &'a Utf8Path,
    /// What it is called in manifests and reports, if not by its folder.
    pub called: Option<&'a str>,
}

/// A tree at work.
struct Build<'a> {
    tree: Utf8PathBuf,
    /// Its name in manifests: `tree /path`, or what it was called.
    called: String,
    home: Utf8PathBuf,
    recipe: Recipe,
    fingerprint: String,
    cache: &'a Cache,
    progress: &'a Progress,
}

/// The kernel of a tree.
pub fn obtain(
    what: Tree<'_>,
    flavour: Flavour,
    cache: &Cache,
    progress: &Progress,
) -> anyhow::Result<Kernel> {
    let tree = shape::checked(what.dir)?;
    let called = what.called.map_or_else(|| format!("tree {tree}"), str::to_owned);
    let recipe = Recipe::of_this_host(flavour)?;
    let key = sha::key(&[("tree", tree.as_str()), ("flavour", flavour.name())]);
    let _lock = cache.lock(&format!("tree-{key}"), progress)?;
    let home = cache.path("trees").join(key);
    fs_err::create_dir_all(&home)?;
    fs_err::write(home.join("path"), tree.as_str())?;
    let mirrored = mirror::needed(&tree);
    let fingerprint = format!(
        "{} modules={} mirrored={mirrored} ccache={}",
        recipe.fingerprint(),
        modules::fingerprint(),
        recipe.ccache
    );
    Build { tree, called, home, recipe, fingerprint, cache, progress }.run(mirrored)
}

impl Build<'_> {
    fn run(&self, mirrored: bool) -> anyhow::Result<Kernel> {
        let started = now();
        let source = if mirrored { self.home.join("mirror") } else { self.tree.clone() };
        if mirrored {
            mirror::sync(&self.tree, &source)?;
        }
        let snapshot = Snapshot::take(&source)?;
        let last = self.last();
        let kernel = match &last {
            Some((state, _)) => store::open(self.cache, &state.kernel, self.progress)?,
            None => None,
        };
        let work = match &last {
            _ if self.outdated(&snapshot) => Work::Scratch,
            Some((_, before)) => work(&before.changes(&snapshot), kernel.is_some(), |c| self.is_module(c)),
            None => Work::Full { configure: true },
        };
        let (kernel, unknown) = match (work, kernel, &last) {
            (Work::Nothing, Some(kernel), Some(_)) => {
                warn(&kernel.manifest, self.progress);
                return Ok(kernel);
            }
            (Work::Modules, Some(kernel), Some((state, _))) => {
                let make = self.start(&source, &snapshot, started)?;
                (self.modules(&make, &kernel)?, state.unknown_symbols.clone())
            }
            (work, _, _) => {
                if work == Work::Scratch {
                    self.progress
                        .line("some files of the tree were replaced by older ones: built from scratch");
                    let grave = self.cache.scratch("outdated-")?;
                    fs_err::rename(self.home.join("out"), grave.path().join("out"))?;
                }
                self.cache.require_free(BUILD_BYTES, "building a kernel")?;
                // From here on the build folder does not match the last kernel any more.
                let _ = fs_err::remove_file(self.home.join("state.json"));
                let make = self.start(&source, &snapshot, started)?;
                let unknown = match (&last, work) {
                    (Some((state, _)), Work::Full { configure: false }) => state.unknown_symbols.clone(),
                    _ => make.configure(|| build::defined_symbols(&source, snapshot.paths()))?,
                };
                (self.full(&make, &unknown)?, unknown)
            }
        };
        warn(&kernel.manifest, self.progress);
        fs_err::copy(self.home.join("attempt"), self.home.join("snapshot"))?;
        let state = State {
            fingerprint: self.fingerprint.clone(),
            kernel: kernel.manifest.id.clone(),
            unknown_symbols: unknown,
        };
        fs_err::write(self.home.join("state.json"), serde_json::to_string_pretty(&state)?)?;
        store::prune_kernels(self.cache, KEPT, |entry| entry.source == kernel.manifest.source)?;
        Ok(kernel)
    }

    /// Records what make is about to see, whether it succeeds or not.
    fn start<'a>(
        &'a self,
        source: &'a Utf8Path,
        snapshot: &Snapshot,
        started: i128,
    ) -> anyhow::Result<Make<'a>> {
        fs_err::write(self.home.join("attempt"), snapshot.render())?;
        fs_err::write(self.home.join("attempt.started"), started.to_string())?;
        Make::new(source, self.home.clone(), &self.recipe, &self.called, self.cache)
    }

    /// Whether a file changed since the last attempt and yet looks older than it: make compares times and would
    /// keep what it made of the file's predecessor.
    fn outdated(&self, snapshot: &Snapshot) -> bool {
        let read = |name: &str| fs_err::read_to_string(self.home.join(name)).unwrap_or_default();
        let Ok(started) = read("attempt.started").parse::<i128>() else { return false };
        if !self.home.join("out").exists() {
            return false;
        }
        let changes = Snapshot::parse(&read("attempt")).changes(snapshot);
        changes
            .iter()
            .any(|c| c.existed && !is_noise(&c.path) && c.mtime.is_some_and(|mtime| mtime <= started))
    }

    /// State and snapshot of the last build, if they are of the same recipe.
    fn last(&self) -> Option<(State, Snapshot)> {
        let state = fs_err::read_to_string(self.home.join("state.json")).ok()?;
        let state: State = serde_json::from_str(&state).ok()?;
        let snapshot = fs_err::read_to_string(self.home.join("snapshot")).ok()?;
        (state.fingerprint == self.fingerprint).then(|| (state, Snapshot::parse(&snapshot)))
    }

    /// Whether a C file is part of modules only: kbuild's record of how its object was made has `-DMODULE`.
    fn is_module(&self, c_file: &str) -> bool {
        let Some((dir, name)) = c_file.strip_suffix(".c").and_then(|stem| stem.rsplit_once('/')) else {
            return false;
        };
        let record = self.home.join("out").join(dir).join(format!(".{name}.o.cmd"));
        fs_err::read_to_string(record)
            .is_ok_and(|text| text.lines().next().is_some_and(|line| line.contains(" -DMODULE ")))
    }

    fn full(&self, make: &Make<'_>, unknown: &[String]) -> anyhow::Result<Kernel> {
        build::compile(make, self.progress)?;
        let mut manifest = self.manifest(make.release()?, unknown);
        let modules = modules::build_what_builds(make)?;
        let warning = |(name, why): (&String, &String)| format!("the module {name} {why}");
        manifest.warnings.extend(modules.missing.iter().map(warning));
        manifest.missing_modules.clone_from(&modules.missing);
        let scratch = self.cache.scratch("kernel-")?;
        build::install(make, &modules, utf8(scratch.path())?)?;
        self.publish(scratch, manifest)
    }

    /// Makes the modules below [`FAST`] and puts them into a copy of the last kernel.
    fn modules(&self, make: &Make<'_>, last: &Kernel) -> anyhow::Result<Kernel> {
        // A make of single modules takes away the list of all; so did one that was interrupted here.
        let order_file = make.out().join("modules.order");
        let Ok(order) = fs_err::read_to_string(&order_file) else {
            return self.full(make, &last.manifest.unknown_symbols);
        };
        let modules = modules_below(&order, FAST);
        let targets: Vec<_> = modules.iter().map(String::as_str).collect();
        let step = self.progress.step(format!("build the modules in {FAST}"));
        // modpost of single modules leaves a Module.symvers without the others'.
        let symvers = fs_err::read(make.out().join("Module.symvers"))?;
        let built = make.run(&targets, None, |_| {});
        fs_err::write(make.out().join("Module.symvers"), symvers)?;
        fs_err::write(&order_file, &order)?;
        built?;
        let scratch = self.cache.scratch("kernel-")?;
        let place = utf8(scratch.path())?;
        for name in last.manifest.files.keys() {
            let to = place.join(name);
            if let Some(parent) = to.parent() {
                fs_err::create_dir_all(parent)?;
            }
            fs_err::copy(last.dir.join(name), to)?;
        }
        let release = last.release();
        for module in &modules {
            fs_err::copy(
                make.out().join(module),
                place.join("lib/modules").join(release).join("kernel").join(module),
            )?;
        }
        make::depmod(place, release)?;
        let mut manifest = self.manifest(release.to_owned(), &last.manifest.unknown_symbols);
        manifest.warnings.clone_from(&last.manifest.warnings);
        manifest.missing_modules.clone_from(&last.manifest.missing_modules);
        let kernel = self.publish(scratch, manifest)?;
        step.done(format!("{} modules", modules.len()));
        Ok(kernel)
    }

    fn manifest(&self, release: String, unknown: &[String]) -> Manifest {
        Manifest {
            source: self.called.clone(),
            variant: "as is".to_owned(),
            flavour: self.recipe.flavour.name().to_owned(),
            release,
            origin: self.tree.to_string(),
            compiler: self.recipe.compiler.clone(),
            unknown_symbols: unknown.to_vec(),
            ..Manifest::default()
        }
    }

    /// Publishes under a key of the content.
    fn publish(&self, scratch: tempfile::TempDir, mut manifest: Manifest) -> anyhow::Result<Kernel> {
        manifest.files = store::facts(utf8(scratch.path())?)?;
        let list: Vec<_> =
            manifest.files.iter().map(|(name, fact)| format!("{name} {}", fact.sha256)).collect();
        manifest.id = sha::key(&[("source", &manifest.source), ("files", &list.join("\n"))]);
        let _lock = self.cache.lock(&format!("kernel-{}", manifest.id), self.progress)?;
        if let Some(kernel) = store::open(self.cache, &manifest.id, self.progress)? {
            return Ok(kernel);
        }
        store::publish(self.cache, scratch, manifest)
    }
}

fn utf8(path: &std::path::Path) -> anyhow::Result<&Utf8Path> {
    Utf8Path::from_path(path).context("the cache folder's path is not UTF-8")
}

fn warn(manifest: &Manifest, progress: &Progress) {
    for symbol in &manifest.unknown_symbols {
        progress.line(&format!("warning: this tree does not know CONFIG_{symbol}: what needs it is skipped"));
    }
    for warning in &manifest.warnings {
        progress.line(&format!("warning: {warning}"));
    }
}

fn now() -> i128 {
    std::time::SystemTime::now()
        .duration_since(std::time::SystemTime::UNIX_EPOCH)
        .map_or(0, |t| t.as_nanos().cast_signed())
}

/// Decides what to make of a tree that make sees rightly.
fn work(changes: &[Change], have_kernel: bool, is_module: impl Fn(&str) -> bool) -> Work {
    let changes: Vec<_> = changes.iter().filter(|c| !is_noise(&c.path)).collect();
    if changes.is_empty() && have_kernel {
        return Work::Nothing;
    }
    let fast = |c: &&Change| {
        c.existed
            && c.mtime.is_some()
            && c.path.starts_with(FAST)
            && Utf8Path::new(&c.path).extension() == Some("c")
            && is_module(&c.path)
    };
    if have_kernel && changes.iter().all(fast) {
        return Work::Modules;
    }
    let configures = |c: &&Change| {
        let name = c.path.rsplit('/').next().unwrap_or_default();
        name.starts_with("Kconfig") || name == "Makefile" || c.path.starts_with("scripts/")
    };
    Work::Full { configure: changes.iter().any(configures) }
}

/// Files that editors and git leave, and that no build reads.
fn is_noise(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or_default();
    name.starts_with(".#")
        || [".swp", ".swo", "~", ".orig", ".rej"].iter().any(|end| name.ends_with(end))
        || name == "tags"
        || name == "cscope.out"
}

/// The module files below `dir` in a modules.order, which lists objects up to Linux 6.1 as `.ko`, later as `.o`.
fn modules_below(order: &str, dir: &str) -> Vec<String> {
    let module = |line: &str| {
        let stem = line.strip_suffix(".o").or_else(|| line.strip_suffix(".ko"))?;
        stem.starts_with(dir).then(|| format!("{stem}.ko"))
    };
    order.lines().filter_map(module).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decides_what_to_make() {
        let change = |path: &str, mtime, existed| Change { path: path.to_owned(), mtime, existed };
        let new = Some(200);
        let table = [
            (vec![], Work::Nothing),
            (vec![change("drivers/md/.dm.c.swp", new, false)], Work::Nothing),
            (vec![change("drivers/md/dm.c", new, true)], Work::Modules),
            (
                vec![change("drivers/md/dm.c", new, true), change("drivers/md/dm-mpath.c", new, true)],
                Work::Modules,
            ),
            (vec![change("drivers/md/dm-builtin.c", new, true)], Work::Full { configure: false }),
            (vec![change("drivers/md/dm-core.h", new, true)], Work::Full { configure: false }),
            (
                vec![
                    change("drivers/md/dm.c", new, true),
                    change("include/linux/device-mapper.h", new, true),
                ],
                Work::Full { configure: false },
            ),
            (vec![change("drivers/md/new.c", new, false)], Work::Full { configure: false }),
            (vec![change("drivers/md/dm.c", None, true)], Work::Full { configure: false }),
            (vec![change("drivers/md/Kconfig", new, true)], Work::Full { configure: true }),
            (vec![change("drivers/md/Makefile", new, true)], Work::Full { configure: true }),
        ];
        for (changes, expected) in table {
            assert_eq!(work(&changes, true, |c| c != "drivers/md/dm-builtin.c"), expected, "{changes:?}");
        }
        let dm = [change("drivers/md/dm.c", new, true)];
        assert_eq!(
            work(&dm, false, |_| true),
            Work::Full { configure: false },
            "no kernel to take the rest from"
        );
        assert_eq!(work(&[], false, |_| true), Work::Full { configure: false });
    }

    #[test]
    fn reads_both_forms_of_modules_order() {
        let old = "crypto/crc32c_generic.ko\ndrivers/md/dm-mod.ko\ndrivers/md/persistent-data/dm-persistent-data.ko\n";
        let new = "drivers/md/dm-mod.o\ndrivers/scsi/scsi_debug.o\n";
        assert_eq!(
            modules_below(old, FAST),
            ["drivers/md/dm-mod.ko", "drivers/md/persistent-data/dm-persistent-data.ko"]
        );
        assert_eq!(modules_below(new, FAST), ["drivers/md/dm-mod.ko"]);
    }
}
