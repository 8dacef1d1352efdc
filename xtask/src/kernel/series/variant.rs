// SPDX-License-Identifier: GPL-2.0-only
//! A variant from its patches to the store: [`FOLDER`] of the base's source in a repository of its own, the series
//! applied with `git am`, its modules built against the base's finished build, and a copy of the base's store entry
//! with those modules in the place of its own. Neither source nor build folder of the base is written to.

use anyhow::Context as _;
use camino::{Utf8Path, Utf8PathBuf};
use walkdir::WalkDir;

use super::repo::Repo;
use super::{FOLDER, Series, apply};
use crate::exit::{Code, coded};
use crate::kernel::Kernel;
use crate::kernel::make::{self, Make};
use crate::kernel::store::Manifest;

/// Says that a module belongs to the tree, as modpost says it of every module but those built with `M=`. A variant's
/// modules are the tree's own, and would mark the kernel as tainted otherwise.
const INTREE: &str =
    "\t.section .modinfo, \"a\"\n\t.asciz \"intree=Y\"\n\t.section .note.GNU-stack, \"\", @progbits\n";

/// Builds [`FOLDER`] of a repository as modules against the build of `make`. `variables` go to make as they are.
pub fn build(
    repo: &Repo,
    make: &Make<'_>,
    variables: &[&str],
    each: impl FnMut(&str),
) -> anyhow::Result<Result<(), make::Failure>> {
    let intree = intree(repo)?;
    let place = format!("M={}", repo.root.join(FOLDER.trim_end_matches('/')));
    // __FILE__ in a WARN is then what it is in the base; ccache makes paths relative to the build folder.
    let relative = repo.root.file_name().unwrap_or_default();
    let flags = format!("KCFLAGS=-fmacro-prefix-map={}/= -fmacro-prefix-map=../{relative}/=", repo.root);
    let link = format!("LDFLAGS_MODULE={intree}");
    let mut args = vec![place.as_str(), flags.as_str(), link.as_str()];
    args.extend(variables);
    args.push("modules");
    make.attempt(&args, None, each)
}

/// An object file that every module is linked with.
fn intree(repo: &Repo) -> anyhow::Result<Utf8PathBuf> {
    let source = repo.root.join(".git/intree.S");
    let object = source.with_extension("o");
    if !object.exists() {
        fs_err::write(&source, INTREE)?;
        let args = ["-c", "-o", object.as_str(), source.as_str()];
        crate::command::Tool::new("gcc")
            .args(args)
            .read()
            .context("assemble the mark of the tree's own modules")?;
    }
    Ok(object)
}

/// Applies the stack to the source of `make` in `root`, which is made anew, and builds the modules.
pub fn make_modules(root: &Utf8Path, base: &str, stack: &[Series], make: &Make<'_>) -> anyhow::Result<Repo> {
    if root.exists() {
        fs_err::remove_dir_all(root)?;
    }
    let repo = Repo::of_source(root, make.source)?;
    apply::apply_stack(&repo, base, stack)?;
    build(&repo, make, &[], |_| {})?.map_err(make::Failure::into_error)?;
    Ok(repo)
}

/// Lays the kernel out in `place`: that of the base, but for the modules of [`FOLDER`].
pub fn assemble(repo: &Repo, base: &Kernel, place: &Utf8Path) -> anyhow::Result<()> {
    let release = base.release();
    let modules = Utf8PathBuf::from(format!("lib/modules/{release}/kernel"));
    let replaced = modules.join(FOLDER);
    let mut built = built(repo)?;
    for name in base.manifest.files.keys().map(Utf8PathBuf::from) {
        let to = place.join(&name);
        if let Some(parent) = to.parent() {
            fs_err::create_dir_all(parent)?;
        }
        let module = name.strip_prefix(&modules).ok().filter(|_| name.starts_with(&replaced));
        let from = match module.filter(|module| module.extension() == Some("ko")) {
            None => base.dir.join(&name),
            Some(module) => take(&mut built, module)?,
        };
        fs_err::copy(from, to)?;
    }
    // What a series adds.
    for module in built {
        let relative = module.strip_prefix(&repo.root)?;
        fs_err::copy(&module, place.join(&modules).join(relative))?;
    }
    make::depmod(place, release)
}

/// The path of a module that was built, which is taken off the list.
fn take(built: &mut Vec<Utf8PathBuf>, module: &Utf8Path) -> anyhow::Result<Utf8PathBuf> {
    let Some(index) = built.iter().position(|file| file.ends_with(module)) else {
        return Err(coded(Code::Untestable, format!("the patched {FOLDER} no longer builds {module}")));
    };
    Ok(built.swap_remove(index))
}

/// The modules of a repository after its build.
fn built(repo: &Repo) -> anyhow::Result<Vec<Utf8PathBuf>> {
    let mut files = Vec::new();
    for entry in WalkDir::new(repo.root.join(FOLDER)) {
        let path = Utf8PathBuf::try_from(entry?.into_path())?;
        if path.extension() == Some("ko") {
            files.push(path);
        }
    }
    Ok(files)
}

/// The manifest of the variant: the base's, but for what the patches change.
pub fn manifest(base: &Kernel, id: String, variant: &str, observe: bool, stack: &[Series]) -> Manifest {
    Manifest {
        id,
        variant: variant.to_owned(),
        observe,
        patches: super::applied(stack),
        files: std::collections::BTreeMap::new(),
        ..base.manifest.clone()
    }
}
