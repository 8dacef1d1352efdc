// SPDX-License-Identifier: GPL-2.0-only
//! The needs as data: needs.toml parsed and checked, and versions compared. Looks at nothing on the host.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use anyhow::Context as _;
use serde::Deserialize;

use super::manager::Manager;

/// The shipped table.
const SHIPPED: &str = include_str!("needs.toml");

/// What a need is needed for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// Every VM.
    Run,
    /// Compiling a kernel.
    Build,
    /// Fetching a packaged base.
    Base,
    /// Nice to have.
    Optional,
    /// Installing virtme-ng.
    Virtme,
}

impl Scope {
    /// Whether a host is complete without.
    pub const fn is_optional(self) -> bool {
        matches!(self, Self::Optional | Self::Virtme)
    }
}

/// One thing that must be on the host.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Need {
    /// As shown in the table.
    pub name: String,
    /// What it is needed for.
    pub scope: Scope,
    /// Programs that must all be there.
    #[serde(default)]
    pub programs: Vec<String>,
    /// Arguments that make the first program tell its version; empty: it is not asked.
    #[serde(default)]
    pub version_args: Vec<String>,
    /// A header in the compiler's include folders.
    #[serde(default)]
    pub header: Option<String>,
    /// Files of which one must exist.
    #[serde(default)]
    pub files: Vec<String>,
    /// Regular expression whose group 1 is the version.
    #[serde(default)]
    pub version: Option<String>,
    /// The oldest version that does.
    #[serde(default)]
    pub minimum: Option<String>,
    /// What it does for us.
    pub purpose: String,
    /// What follows when it is missing.
    pub without: String,
    /// Package names by package manager.
    pub packages: BTreeMap<Manager, Vec<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    need: Vec<Need>,
}

/// The shipped needs, in the order of the table.
pub fn shipped() -> anyhow::Result<Vec<Need>> {
    parse(SHIPPED)
}

fn parse(text: &str) -> anyhow::Result<Vec<Need>> {
    let table: Table = toml::from_str(text).context("read needs.toml")?;
    for need in &table.need {
        let kinds = [!need.programs.is_empty(), need.header.is_some(), !need.files.is_empty()];
        anyhow::ensure!(
            kinds.iter().filter(|kind| **kind).count() == 1,
            "needs.toml: `{}` must have exactly one of programs, header, files",
            need.name
        );
    }
    Ok(table.need)
}

/// The packages of `needs` for one manager, sorted, each once.
pub fn packages<'a>(needs: impl IntoIterator<Item = &'a Need>, manager: Manager) -> Vec<String> {
    let mut all: Vec<_> =
        needs.into_iter().flat_map(|need| need.packages.get(&manager).cloned().unwrap_or_default()).collect();
    all.sort();
    all.dedup();
    all
}

/// The version in what a program printed (or in a header), by the need's pattern.
pub fn version_in(pattern: &str, text: &str) -> Option<String> {
    let found = regex::Regex::new(pattern).ok()?.captures(text)?;
    Some(found.get(1)?.as_str().to_owned())
}

/// Compares dotted versions number by number; a missing number counts as 0.
pub fn compare(left: &str, right: &str) -> Ordering {
    let numbers = |text: &str| text.split('.').map(|n| n.parse::<u64>().unwrap_or(0)).collect::<Vec<_>>();
    let (mut left, mut right) = (numbers(left), numbers(right));
    let length = left.len().max(right.len());
    left.resize(length, 0);
    right.resize(length, 0);
    left.cmp(&right)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn pattern_of(name: &str) -> String {
        shipped().unwrap().into_iter().find(|need| need.name == name).unwrap().version.unwrap()
    }

    #[test]
    fn versions_as_real_programs_print_them() {
        for (need, text, version) in [
            ("qemu-system-x86_64", "QEMU emulator version 7.2.22 (Debian 1:7.2+dfsg-7+deb12u18)", "7.2.22"),
            ("qemu-system-x86_64", "QEMU emulator version 9.1.2 (qemu-9.1.2-2.fc41)\nCopyright", "9.1.2"),
            ("gcc", "12.2.0", "12.2.0"),
            ("make", "GNU Make 4.3\nBuilt for x86_64-pc-linux-gnu", "4.3"),
            ("flex", "flex 2.6.4", "2.6.4"),
            ("bison", "bison (GNU Bison) 3.8.2\nWritten by", "3.8.2"),
            ("bc", "bc 1.07.1\nCopyright 1991-1994", "1.07.1"),
            ("perl", "\nThis is perl 5, version 36, subversion 0 (v5.36.0) built for", "5.36.0"),
            ("git", "git version 2.47.3", "2.47.3"),
            ("tar", "tar (GNU tar) 1.34\nCopyright", "1.34"),
            ("xz", "xz (XZ Utils) 5.4.1\nliblzma 5.4.1", "5.4.1"),
            ("apt-get, dpkg-deb", "apt 2.6.1 (amd64)\nSupported modules:", "2.6.1"),
            ("kmod", "kmod version 30\n+ZSTD +XZ", "30"),
            // dmsetup without a device-mapper in the running kernel: still tells the library's version.
            (
                "dmsetup",
                "Library version:   1.02.185 (2022-05-18)\n/dev/mapper/control: open failed",
                "1.02.185",
            ),
            ("open-iscsi", "iscsid version 2.1.8", "2.1.8"),
            ("busybox", "BusyBox v1.35.0 (Debian 1:1.35.0-4+b1) multi-call binary.", "1.35.0"),
            ("python3, pip", "Python 3.11.2", "3.11.2"),
            ("ccache", "ccache version 4.7.5\nFeatures: file-storage", "4.7.5"),
            ("libssl headers", "# define OPENSSL_VERSION_TEXT \"OpenSSL 3.0.15 3 Sep 2024\"", "3.0.15"),
        ] {
            assert_eq!(version_in(&pattern_of(need), text).as_deref(), Some(version), "{need}: {text}");
        }
        assert_eq!(version_in(&pattern_of("flex"), "flex: command failed"), None);
    }

    #[test]
    fn versions_compare_by_number() {
        for (left, right, order) in [
            ("7.2.22", "6.2", Ordering::Greater),
            ("2.5.4", "2.5.35", Ordering::Less),
            ("4.0", "4", Ordering::Equal),
            ("10.0", "9.9", Ordering::Greater),
        ] {
            assert_eq!(compare(left, right), order, "{left} {right}");
        }
    }

    #[test]
    fn every_need_can_be_installed_everywhere() {
        for need in shipped().unwrap() {
            for manager in Manager::ALL {
                // The packaged bases are Debian's: no other manager has them.
                let has = need.packages.get(&manager).is_some_and(|names| !names.is_empty());
                assert!(
                    has || (need.scope == Scope::Base && manager != Manager::Apt),
                    "{} {manager}",
                    need.name
                );
            }
        }
    }

    #[test]
    fn every_version_pattern_has_one_group() {
        // Not checked by parse(): compiling them all costs 20 ms in a debug build, and `ensure_ready` needs none.
        for need in shipped().unwrap() {
            let groups = need.version.map(|pattern| regex::Regex::new(&pattern).unwrap().captures_len());
            assert!(groups.is_none_or(|groups| groups == 2), "{}", need.name);
        }
    }

    #[test]
    fn mistakes_in_the_table_are_named() {
        let entry = "[[need]]\nname='x'\nscope='run'\npurpose=''\nwithout=''\npackages={}\n";
        let error = |more: &str| format!("{:#}", parse(&format!("{entry}{more}")).unwrap_err());
        insta::assert_snapshot!(error(""), @"needs.toml: `x` must have exactly one of programs, header, files");
        assert!(error("colour='red'").contains("unknown field `colour`"));
    }

    proptest! {
        #[test]
        fn comparing_never_panics_and_is_antisymmetric(a in "[0-9a-z.]{0,20}", b in "[0-9a-z.]{0,20}") {
            prop_assert_eq!(compare(&a, &b), compare(&b, &a).reverse());
        }
    }
}
