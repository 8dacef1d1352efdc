// SPDX-License-Identifier: GPL-2.0-only
//! `images/*.toml`: what goes into a guest image. The text is checked as a whole when it is read, so that whatever
//! uses a [`Manifest`] can rely on it. It names tools and modules; finding them on the host is done elsewhere.

use std::collections::BTreeSet;

use camino::{Utf8Path, Utf8PathBuf};
use serde::Deserialize;

/// The manifest that every image is made from; compiled in, so that a built xtask needs no file beside it.
pub const BASE: &str = include_str!("../../../images/base.toml");

/// A manifest that passed every check.
#[derive(Debug, Clone, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// Folders.
    #[serde(default, rename = "dir")]
    pub dirs: Vec<Dir>,
    /// Symbolic links.
    #[serde(default, rename = "symlink")]
    pub symlinks: Vec<Symlink>,
    /// Device nodes.
    #[serde(default, rename = "node")]
    pub nodes: Vec<DeviceNode>,
    /// Files whose text is in the manifest.
    #[serde(default, rename = "file")]
    pub files: Vec<TextFile>,
    /// Programs of the host, with the libraries they need.
    #[serde(default, rename = "tool")]
    pub tools: Vec<HostTool>,
    /// Kernel modules, in the order of loading.
    #[serde(default, rename = "module")]
    pub modules: Vec<Module>,
    /// What an image can do without, each as a whole.
    #[serde(default, rename = "group")]
    pub groups: Vec<Group>,
}

/// Programs and files of the host that are of use together only. Where the host lacks one of them, its archive is asked
/// for the package, which is unpacked in the cache and not installed.
#[derive(Debug, Clone, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct Group {
    /// What it is called, and the name of the package in Debian's archive.
    pub package: String,
    /// What follows when it can't be had.
    pub without: String,
    /// Programs, with the libraries they need.
    pub tools: Vec<HostTool>,
    /// Files that go to where they are on the host.
    pub files: Vec<HostFile>,
}

/// A file of the host.
#[derive(Debug, Clone, Deserialize, PartialEq, Eq)]
#[serde(transparent)]
pub struct HostFile {
    /// Where it may be; the first that is there is taken.
    pub places: Vec<Utf8PathBuf>,
}

/// A folder.
#[derive(Debug, Clone, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct Dir {
    /// Guest path.
    pub path: Utf8PathBuf,
    /// Permission bits.
    #[serde(default = "executable")]
    pub mode: u32,
}

/// A symbolic link.
#[derive(Debug, Clone, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct Symlink {
    /// Guest path.
    pub path: Utf8PathBuf,
    /// Where it points.
    pub target: String,
}

/// A device node.
#[derive(Debug, Clone, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct DeviceNode {
    /// Guest path.
    pub path: Utf8PathBuf,
    /// Character or block.
    pub kind: DeviceKind,
    /// Major number.
    pub major: u32,
    /// Minor number.
    pub minor: u32,
    /// Permission bits.
    pub mode: u32,
}

/// Character or block device.
#[derive(Debug, Clone, Copy, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum DeviceKind {
    /// A character device.
    Char,
    /// A block device.
    Block,
}

/// A small file.
#[derive(Debug, Clone, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct TextFile {
    /// Guest path.
    pub path: Utf8PathBuf,
    /// Permission bits.
    #[serde(default = "readable")]
    pub mode: u32,
    /// Its content.
    pub text: String,
}

/// A program of the host.
#[derive(Debug, Clone, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct HostTool {
    /// Its name, searched for on `PATH` and in the folders for administrators.
    pub name: String,
    /// Guest path.
    pub path: Utf8PathBuf,
    /// Further guest paths, links to it: what it calls itself by.
    #[serde(default)]
    pub links: Vec<Utf8PathBuf>,
}

/// A kernel module.
#[derive(Debug, Clone, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct Module {
    /// Its name; `-` and `_` are the same.
    pub name: String,
    /// The configuration symbol, without `CONFIG_`, that makes it; none for modules of this project.
    #[serde(default)]
    pub symbol: Option<String>,
    /// Whether hardly a case can run without it: then its absence is told, not only recorded in the image.
    #[serde(default)]
    pub required: bool,
    /// Whether the guest loads it at boot.
    #[serde(default)]
    pub load: bool,
}

fn executable() -> u32 {
    0o755
}

fn readable() -> u32 {
    0o644
}

/// What is wrong with a manifest.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It is not TOML, or has a field that nobody knows.
    #[error("{0}")]
    Syntax(#[from] toml::de::Error),
    /// A guest path that is not absolute and plain.
    #[error("{what} {path:?}: a guest path starts with / and has no empty part, `.` or `..`")]
    Path {
        /// The kind of entry.
        what: &'static str,
        /// The path.
        path: Utf8PathBuf,
    },
    /// Two entries for one path.
    #[error("{what} {path} is there already")]
    Twice {
        /// The kind of entry.
        what: &'static str,
        /// The path or name.
        path: String,
    },
    /// Mode bits outside of 0o7777.
    #[error("{path}: the mode {mode:#o} has bits outside of 0o7777")]
    Mode {
        /// The path.
        path: Utf8PathBuf,
        /// The mode.
        mode: u32,
    },
    /// A tool or module name that can't be one.
    #[error("{what} {name:?}: a name has letters, digits, `-`, `_`, `.` and `+` only")]
    Name {
        /// The kind of entry.
        what: &'static str,
        /// The name.
        name: String,
    },
}

impl Manifest {
    /// Reads and checks a manifest.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let manifest: Self = toml::from_str(text)?;
        manifest.check_paths()?;
        manifest.check_modes()?;
        manifest.check_names()?;
        Ok(manifest)
    }

    fn paths(&self) -> impl Iterator<Item = (&'static str, &Utf8Path)> {
        let tools = self.tools.iter().chain(self.groups.iter().flat_map(|group| &group.tools));
        let tools = tools.flat_map(|t| std::iter::once(&t.path).chain(&t.links));
        let of_groups = self.groups.iter().flat_map(|group| &group.files).flat_map(|file| &file.places);
        (self.dirs.iter().map(|e| ("dir", e.path.as_path())))
            .chain(self.symlinks.iter().map(|e| ("symlink", e.path.as_path())))
            .chain(self.nodes.iter().map(|e| ("node", e.path.as_path())))
            .chain(self.files.iter().map(|e| ("file", e.path.as_path())))
            .chain(tools.map(|path| ("tool", path.as_path())))
            .chain(of_groups.map(|path| ("file", path.as_path())))
    }

    fn check_paths(&self) -> Result<(), Error> {
        let mut seen = BTreeSet::new();
        for (what, path) in self.paths() {
            let plain = |part: &str| !matches!(part, "" | "." | "..") && !part.contains(['\0', '\t', '\n']);
            if !path.as_str().strip_prefix('/').is_some_and(|rest| rest.split('/').all(plain)) {
                return Err(Error::Path { what, path: path.to_owned() });
            }
            if !seen.insert(path) {
                return Err(Error::Twice { what, path: path.to_string() });
            }
        }
        Ok(())
    }

    fn check_modes(&self) -> Result<(), Error> {
        let modes = (self.dirs.iter().map(|e| (&e.path, e.mode)))
            .chain(self.nodes.iter().map(|e| (&e.path, e.mode)))
            .chain(self.files.iter().map(|e| (&e.path, e.mode)));
        for (path, mode) in modes {
            if mode > 0o7777 {
                return Err(Error::Mode { path: path.clone(), mode });
            }
        }
        Ok(())
    }

    fn check_names(&self) -> Result<(), Error> {
        let tools = self.tools.iter().chain(self.groups.iter().flat_map(|group| &group.tools));
        let names = (tools.map(|t| ("tool", &t.name)))
            .chain(self.groups.iter().map(|group| ("group", &group.package)))
            .chain(self.modules.iter().map(|m| ("module", &m.name)));
        let mut seen = BTreeSet::new();
        for (what, name) in names {
            let plain = |c: char| c.is_ascii_alphanumeric() || "-_.+".contains(c);
            if name.is_empty() || name.starts_with('.') || !name.chars().all(plain) {
                return Err(Error::Name { what, name: name.clone() });
            }
            if !seen.insert((what, name.replace('-', "_"))) {
                return Err(Error::Twice { what, path: name.clone() });
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shipped_manifest_is_valid() {
        let manifest = Manifest::parse(BASE).unwrap();
        assert!(manifest.tools.iter().any(|t| t.name == "dmsetup"));
        assert!(manifest.modules.iter().any(|m| m.name == "dm-multipath" && m.required));
        for module in manifest.modules.iter().filter(|m| m.symbol.is_none()) {
            assert!(module.name.starts_with("dm-pushback-"), "{} has no symbol", module.name);
        }
    }

    #[test]
    fn each_mistake_has_its_message() {
        let table = [
            "[[dri]]\npath = \"/proc\"",
            "[[dir]]\npath = \"/proc\"\nmod = 0o755",
            "[[dir]]\npath = \"proc\"",
            "[[dir]]\npath = \"/a/../b\"",
            "[[dir]]\npath = \"/a/\"",
            "[[dir]]\npath = \"/a\"\nmode = 0o17777",
            "[[dir]]\npath = \"/a\"\n[[symlink]]\npath = \"/a\"\ntarget = \"b\"",
            "[[tool]]\nname = \"a/b\"\npath = \"/b\"",
            "[[module]]\nname = \"dm-mod\"\n[[module]]\nname = \"dm_mod\"",
            "[[node]]\npath = \"/n\"\nkind = \"fifo\"\nmajor = 1\nminor = 1\nmode = 0o600",
        ];
        let messages: Vec<_> =
            table.iter().map(|text| Manifest::parse(text).unwrap_err().to_string()).collect();
        insta::assert_snapshot!(messages.join("\n---\n"), @r#"
        TOML parse error at line 1, column 3
          |
        1 | [[dri]]
          |   ^^^
        unknown field `dri`, expected one of `dir`, `symlink`, `node`, `file`, `tool`, `module`, `group`

        ---
        TOML parse error at line 3, column 1
          |
        3 | mod = 0o755
          | ^^^
        unknown field `mod`, expected `path` or `mode`

        ---
        dir "proc": a guest path starts with / and has no empty part, `.` or `..`
        ---
        dir "/a/../b": a guest path starts with / and has no empty part, `.` or `..`
        ---
        dir "/a/": a guest path starts with / and has no empty part, `.` or `..`
        ---
        /a: the mode 0o17777 has bits outside of 0o7777
        ---
        symlink /a is there already
        ---
        tool "a/b": a name has letters, digits, `-`, `_`, `.` and `+` only
        ---
        module dm_mod is there already
        ---
        TOML parse error at line 3, column 8
          |
        3 | kind = "fifo"
          |        ^^^^^^
        unknown variant `fifo`, expected `char` or `block`
        "#);
    }
}
