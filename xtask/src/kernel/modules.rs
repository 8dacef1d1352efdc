// SPDX-License-Identifier: GPL-2.0-only
//! The out-of-tree modules of `kernel-patches/modules/`, each a folder called like its module and built by itself
//! with every kernel that is built here. Against a base all of them must build; a tree of somebody else's may lack
//! what one needs, and then its cases are skipped with that reason.

use std::collections::BTreeMap;

use camino::{Utf8Path, Utf8PathBuf};

use crate::kernel::make::{Failure, Make};
use crate::kernel::{embedded, sha};

/// Where they are in [`embedded`].
const FOLDER: &str = "modules";

/// What came of building all of them.
#[derive(Debug, Default)]
pub struct Built {
    files: Vec<Utf8PathBuf>,
    /// Those that do not build for this kernel, and why.
    pub missing: BTreeMap<String, String>,
}

/// Their names.
pub fn names() -> impl Iterator<Item = &'static str> {
    embedded::folders(FOLDER).into_iter()
}

/// The sources of a module; a checkout may have products of a build by hand beside them.
fn source(name: &str) -> Vec<embedded::Text> {
    let is_source = |file: &str| file == "Makefile" || [".c", ".h"].iter().any(|end| file.ends_with(end));
    embedded::files(&format!("{FOLDER}/{name}"), is_source).unwrap_or_default()
}

/// Changes with the source of any of them.
pub fn fingerprint() -> String {
    let one = |name| source(name).into_iter().map(move |(file, text)| format!("{name}/{file}\n{text}"));
    let all: Vec<_> = names().flat_map(one).collect();
    sha::key(&[("modules", &all.join("\n"))])
}

/// Builds all of them against the kernel that `make` has built; one that fails is an error.
pub fn build(make: &Make<'_>) -> anyhow::Result<Built> {
    let mut built = Built::default();
    for name in names() {
        let (file, result) = build_one(make, name)?;
        result.map_err(Failure::into_error)?;
        built.files.push(file);
    }
    Ok(built)
}

/// As [`build`], but those that do not build are told in the result.
pub fn build_what_builds(make: &Make<'_>) -> anyhow::Result<Built> {
    let mut built = Built::default();
    for name in names() {
        let (file, result) = build_one(make, name)?;
        match result {
            Ok(()) => built.files.push(file),
            Err(failure) if failure.is_the_hosts() => return Err(failure.into_error()),
            Err(failure) => {
                let why = format!("does not build for this kernel: {}", blame(&failure.errors));
                built.missing.insert(name.to_owned(), why);
            }
        }
    }
    Ok(built)
}

/// The module's file, and whether it could be made.
fn build_one(make: &Make<'_>, name: &str) -> anyhow::Result<(Utf8PathBuf, Result<(), Failure>)> {
    let dir = make.home.join("modules").join(name);
    fs_err::create_dir_all(&dir)?;
    let files = source(name);
    for (file, text) in &files {
        let path = dir.join(file);
        // Left alone when unchanged: its time tells make whether to compile.
        if fs_err::read_to_string(&path).ok().as_deref() != Some(*text) {
            fs_err::write(&path, text)?;
        }
    }
    let make = make.called(format!("the module {name} for {}", make.what));
    let result = make.attempt(&[&format!("M={dir}"), "modules"], None, |_| {})?;
    Ok((dir.join(format!("{name}.ko")), result))
}

impl Built {
    /// Puts them beside the kernel's own modules, in `extra/`.
    pub fn install(&self, root: &Utf8Path, release: &str) -> anyhow::Result<()> {
        let extra = root.join("lib/modules").join(release).join("extra");
        fs_err::create_dir_all(&extra)?;
        for file in &self.files {
            fs_err::copy(file, extra.join(file.file_name().unwrap_or_default()))?;
        }
        Ok(())
    }
}

/// What a kernel lacks, in one line, from the errors of make.
fn blame(errors: &[String]) -> String {
    // (before the name, after it, what it means)
    const SIGNS: &[(&str, &str, &str)] = &[
        ("ERROR: modpost: \"", "\" [", "it does not export"),
        ("implicit declaration of function '", "'", "it has no function"),
        ("fatal error: ", ": No such file", "it has no header"),
        ("error: '", "' undeclared", "it does not define"),
        ("has no member named '", "'", "a structure has no member"),
        ("unknown type name '", "'", "it has no type"),
    ];
    let name = |error: &str| {
        SIGNS.iter().find_map(|(before, after, meaning)| {
            let (_, rest) = error.split_once(before)?;
            let (name, _) = rest.split_once(after)?;
            Some(format!("{meaning} {name}"))
        })
    };
    let plain = || errors.first().map_or_else(|| "make failed".to_owned(), |line| line.trim().to_owned());
    errors.iter().find_map(|error| name(error)).unwrap_or_else(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_module_has_its_source() {
        for name in names() {
            let files: Vec<_> = source(name).into_iter().map(|(file, _)| file).collect();
            assert!(files.contains(&"Makefile") && files.len() > 1, "{name}: {files:?}");
        }
    }

    #[test]
    fn what_a_kernel_lacks_is_named() {
        // Recorded from gcc 12 and modpost of 6.12.
        let table = [
            (
                "/m/x.c:15:9: error: implicit declaration of function 'dm_foo' [-Werror=implicit-function-declaration]",
                "it has no function dm_foo",
            ),
            ("ERROR: modpost: \"dm_foo\" [/m/x.ko] undefined!", "it does not export dm_foo"),
            (
                "/m/x.c:3:10: fatal error: linux/foo.h: No such file or directory",
                "it has no header linux/foo.h",
            ),
            (
                "/m/x.c:20:16: error: 'DM_FOO' undeclared (first use in this function)",
                "it does not define DM_FOO",
            ),
            (
                "/m/x.c:20:11: error: 'struct target_type' has no member named 'foo'; did you mean 'io'?",
                "a structure has no member foo",
            ),
            ("/m/x.c:1:1: error: unknown type name 'foo_t'", "it has no type foo_t"),
            (
                "/m/x.c:20:9: error: too few arguments to function 'f'",
                "/m/x.c:20:9: error: too few arguments to function 'f'",
            ),
        ];
        for (line, expected) in table {
            assert_eq!(blame(&["make[2]: *** x".into(), line.into()][1..]), expected);
        }
        assert_eq!(blame(&[]), "make failed");
    }
}
