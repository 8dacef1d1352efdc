// SPDX-License-Identifier: GPL-2.0-only
//! The patches of a base: `kernel-patches/BASE/SERIES/NNNN-*.patch`. A variant is a stack of series:
//!
//! | variant    | without hooks           | observed (with the hooks of `observe`) |
//! | ---------- | ----------------------- | -------------------------------------- |
//! | `stock`    |                         | `observe`                              |
//! | `baseline` | `baseline`              | `baseline`, `observe`                  |
//! | `pushback` | `baseline`, `pushback`  | `baseline`, `pushback`, `observe`      |

pub mod apply;
pub mod check;
pub mod demo;
pub mod patch;
pub mod rebase;
pub mod repo;
#[cfg(test)]
mod tests;
pub mod variant;

use serde::{Deserialize, Serialize};

use crate::exit::{Code, coded};
use crate::kernel::{Variant, embedded, sha};
use patch::Patch;

/// The series with tracepoints, counters and faults.
pub const OBSERVE: &str = "observe";

/// Every patch stays in this folder: only its modules are built for a variant.
pub const FOLDER: &str = "drivers/md/";

/// Part of the kernel image although it lies there, so that a variant would not get its change.
const BUILT_IN: &[&str] = &["drivers/md/dm-builtin.c", "drivers/md/Kconfig"];

/// Patches that belong together, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Series {
    /// Its folder: `baseline`, `pushback`, `observe`.
    pub name: String,
    /// In the order of their names.
    pub patches: Vec<Patch>,
}

/// A patch as manifests name it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Applied {
    /// `pushback/0001-dm-suspend-add-noflush-pushback.patch`.
    pub name: String,
    /// `dm: suspend: add noflush pushback`.
    pub subject: String,
}

impl Variant {
    /// The series of the variant itself.
    fn series(self) -> &'static [&'static str] {
        match self {
            Self::Stock => &[],
            Self::Baseline => &["baseline"],
            Self::Pushback => &["baseline", "pushback"],
        }
    }
}

/// Whether a base has a series.
pub fn has(base: &str, series: &str) -> bool {
    find(base, series).is_some()
}

fn find(base: &str, name: &str) -> Option<Series> {
    let is_patch = |file: &str| Some("patch") == camino::Utf8Path::new(file).extension();
    let files = embedded::files(&format!("{base}/{name}"), is_patch).filter(|files| !files.is_empty())?;
    let patches = files.into_iter().map(|(name, text)| Patch { name: name.into(), text: text.into() });
    Some(Series { name: name.into(), patches: patches.collect() })
}

/// One series of a base.
fn required(base: &str, name: &str, needed_by: &str) -> anyhow::Result<Series> {
    let series = find(base, name).ok_or_else(|| {
        let hint = if name == OBSERVE { "without --observe" } else { "--variant stock" };
        coded(
            Code::Usage,
            format!(
                "base {base} has no {needed_by}: kernel-patches/{base}/{name} does not exist (hint: {hint})"
            ),
        )
    })?;
    series.check()?;
    Ok(series)
}

/// All series of a variant, in order.
pub fn stack(base: &str, variant: Variant, observe: bool) -> anyhow::Result<Vec<Series>> {
    let variant_needs = format!("variant `{}`", variant.name());
    let own = variant.series().iter().map(|name| (*name, variant_needs.as_str()));
    let hooks = observe.then_some((OBSERVE, "hooks to observe with"));
    own.chain(hooks).map(|(name, needed_by)| required(base, name, needed_by)).collect()
}

/// Changes with any patch of a stack.
pub fn fingerprint(stack: &[Series]) -> String {
    let text = |series: &Series| series.patches.iter().map(|patch| patch.text.as_str()).collect::<String>();
    sha::key(&[("patches", &stack.iter().map(text).collect::<String>())])
}

/// What was applied, for manifests.
pub fn applied(stack: &[Series]) -> Vec<Applied> {
    stack.iter().flat_map(|series| series.patches.iter().map(|patch| series.named(patch))).collect()
}

impl Series {
    /// One of its patches, for messages and manifests.
    pub fn named(&self, patch: &Patch) -> Applied {
        Applied { name: format!("{}/{}", self.name, patch.name), subject: patch.subject() }
    }

    /// Refuses a patch that a variant's kernel would carry only half.
    fn check(&self) -> anyhow::Result<()> {
        for patch in &self.patches {
            let files = patch.files();
            let outside = |file: &&String| !file.starts_with(FOLDER) || BUILT_IN.contains(&file.as_str());
            if let Some(file) = files.iter().find(outside) {
                return Err(coded(
                    Code::Untestable,
                    format!(
                        "patch {}/{} changes {file}: only what is a module in {FOLDER} can be patched, since one kernel image serves all variants of a base",
                        self.name, patch.name
                    ),
                ));
            }
            if files.is_empty() {
                return Err(coded(
                    Code::Untestable,
                    format!("patch {}/{} changes no file: is it a patch?", self.name, patch.name),
                ));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod unit {
    use super::*;
    use crate::exit::code_of;

    fn series(text: &str) -> Series {
        let patch = Patch { name: "0001-x.patch".into(), text: text.into() };
        Series { name: "pushback".into(), patches: vec![patch] }
    }

    #[test]
    fn a_missing_series_is_a_usage_error() {
        let error = required("5.10", "pushback", "variant `pushback`").unwrap_err();
        assert_eq!(code_of(&error), Code::Usage);
        insta::assert_snapshot!(error, @"base 5.10 has no variant `pushback`: kernel-patches/5.10/pushback does not exist (hint: --variant stock)");
    }

    #[test]
    fn a_patch_that_leaves_the_folder_is_refused() {
        series(patch::tests::TEXT).check().unwrap();
        for file in ["include/linux/device-mapper.h", "drivers/md/dm-builtin.c"] {
            let error = series(&patch::tests::TEXT.replace("drivers/md/new.h", file)).check().unwrap_err();
            assert_eq!(code_of(&error), Code::Untestable);
            assert!(
                error.to_string().starts_with(&format!("patch pushback/0001-x.patch changes {file}: ")),
                "{error}"
            );
        }
        assert!(series("no patch").check().unwrap_err().to_string().contains("is it a patch?"));
    }

    #[test]
    fn every_shipped_series_is_well_formed() {
        for base in crate::kernel::base_names() {
            for name in embedded::folders(base) {
                let series = required(base, name, "series").unwrap();
                for (index, patch) in series.patches.iter().enumerate() {
                    assert!(
                        patch.name.starts_with(&format!("{:04}-", index + 1)),
                        "{base}/{name}/{}",
                        patch.name
                    );
                    assert!(!patch.subject().is_empty() && !patch.hunks().is_empty(), "{}", patch.name);
                }
            }
        }
    }
}
