// SPDX-License-Identifier: GPL-2.0-only
//! The bases, as data: which kernels the repository builds by name, and where their source comes from.

use crate::exit::{Code, coded};

/// A kernel source that is known by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Base {
    /// Its name on the command line.
    pub name: &'static str,
    /// The Debian package with its source, and the archive inside of it.
    pub package: &'static str,
    /// Where the package keeps the archive.
    pub archive: &'static str,
    /// The suite of the distribution's archive that has the package, if it is not one that the host uses.
    pub suite: Option<&'static str>,
}

/// All of them, the default first.
const BASES: &[Base] = &[
    Base {
        name: "6.12",
        package: "linux-source-6.12",
        archive: "./usr/src/linux-source-6.12.tar.xz",
        suite: None,
    },
    Base {
        name: "6.1",
        package: "linux-source-6.1",
        archive: "./usr/src/linux-source-6.1.tar.xz",
        suite: None,
    },
    Base {
        name: "7.3",
        package: "linux-source-7.3",
        archive: "./usr/src/linux-source-7.3.tar.xz",
        suite: Some("trixie-backports"),
    },
];

/// All of them, the default first.
pub const fn all() -> &'static [Base] {
    BASES
}

/// Their names, the default first.
pub fn names() -> Vec<&'static str> {
    BASES.iter().map(|base| base.name).collect()
}

/// The base called `name`.
pub fn find(name: &str) -> anyhow::Result<&'static Base> {
    BASES.iter().find(|base| base.name == name).ok_or_else(|| {
        coded(
            Code::Usage,
            format!(
                "unknown base `{name}`; the bases are {} (hint: any other kernel goes in as a source: --tree)",
                names().join(", ")
            ),
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exit::code_of;

    #[test]
    fn an_unknown_base_names_the_known_ones() {
        let error = find("5.10").unwrap_err();
        assert_eq!(code_of(&error), Code::Usage);
        insta::assert_snapshot!(error, @"unknown base `5.10`; the bases are 6.12, 6.1, 7.3 (hint: any other kernel goes in as a source: --tree)");
    }
}
