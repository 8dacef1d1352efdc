// SPDX-License-Identifier: GPL-2.0-only
//! Programs of the host and the shared libraries that they need, read from the ELF files. Nothing is executed:
//! `ldd` would run the program's own interpreter.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt as _;

use anyhow::Context as _;
use camino::{Utf8Path, Utf8PathBuf};
use serde::{Deserialize, Serialize};

use super::tree::{Conflict, Entry, Node, Source, Tree};

/// Where programs for administrators are; not on everybody's `PATH`.
pub(super) const ADMIN_FOLDERS: [&str; 3] = ["/usr/sbin", "/sbin", "/usr/local/sbin"];

/// A file that a program needs in order to start.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Library {
    /// Where the loader looks for it.
    pub path: Utf8PathBuf,
    /// Where that leads, links followed.
    pub real: Utf8PathBuf,
}

/// All that a program needs in order to start; nothing, if it is static.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Closure {
    /// The loader (`PT_INTERP`).
    pub interpreter: Option<Library>,
    /// The libraries by soname.
    pub libraries: BTreeMap<String, Library>,
}

impl Closure {
    /// Whether the program runs with nothing beside it.
    pub fn is_static(&self) -> bool {
        self.interpreter.is_none() && self.libraries.is_empty()
    }
}

/// The first executable called `name` on `PATH` or in the folders for administrators.
pub fn find_tool(name: &str) -> anyhow::Result<Utf8PathBuf> {
    let path = std::env::var("PATH").unwrap_or_default();
    find_in(name, path.split(':').chain(ADMIN_FOLDERS)).with_context(|| {
        let folders = ADMIN_FOLDERS.join(", ");
        format!("the guest image needs `{name}`, which is neither on PATH nor in {folders} (hint: `cargo xtask doctor` tells how to install it)")
    })
}

pub(super) fn find_in<'a>(name: &str, folders: impl Iterator<Item = &'a str>) -> Option<Utf8PathBuf> {
    let executable = |path: &Utf8PathBuf| {
        fs_err::metadata(path).is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
    };
    folders.filter(|f| f.starts_with('/')).map(|folder| Utf8Path::new(folder).join(name)).find(executable)
}

/// What the program at `path` needs. Its libraries may also be in `folders`.
pub fn closure(path: &Utf8Path, folders: &[Utf8PathBuf]) -> anyhow::Result<Closure> {
    let tree = lddtree::DependencyAnalyzer::default()
        .library_paths(folders.iter().map(|folder| folder.clone().into()).collect())
        .analyze(path)
        .with_context(|| format!("read {path} as an ELF program"))?;
    let interpreter = match &tree.interpreter {
        Some(file) => Some(library(path, file, file.into(), std::fs::canonicalize(file).ok())?),
        None => None,
    };
    let mut libraries = BTreeMap::new();
    for (name, found) in tree.libraries {
        let looked = Utf8PathBuf::try_from(found.path.clone())?;
        libraries.insert(name.clone(), library(path, &name, looked, found.realpath)?);
    }
    Ok(Closure { interpreter, libraries })
}

fn library(
    program: &Utf8Path,
    name: &str,
    path: Utf8PathBuf,
    real: Option<std::path::PathBuf>,
) -> anyhow::Result<Library> {
    let real = real.with_context(|| {
        format!("{program} needs the library {name}, which this host does not have (hint: reinstall the package of {program})")
    })?;
    Ok(Library { path, real: Utf8PathBuf::try_from(real)? })
}

/// Puts the libraries of `program` into the image: each at its real path, links where the loader looks for it. The
/// guest has no /etc/ld.so.cache, so each soname is also linked into libc's folder, which every loader searches. What
/// is below `root` on the host has the rest of its path in the guest.
pub fn place(tree: &mut Tree, program: &str, closure: &Closure, root: &Utf8Path) -> Result<(), Conflict> {
    let origin = format!("needed by {program}");
    let system = closure.libraries.get("libc.so.6").and_then(|libc| libc.path.parent());
    for (soname, library) in &closure.libraries {
        let real = in_guest(&library.real, root);
        let node = Node::File(Source::Host(library.real.clone()));
        tree.put(&real, Entry { node, mode: 0o755, origin: library.real.to_string() })?;
        link(tree, &in_guest(&library.path, root), &real, &origin)?;
        if let Some(system) = system {
            link(tree, &system.join(soname), &real, &origin)?;
        }
    }
    if let Some(interpreter) = &closure.interpreter {
        let node = Node::File(Source::Host(interpreter.real.clone()));
        tree.put(&interpreter.real, Entry { node, mode: 0o755, origin: interpreter.real.to_string() })?;
        link(tree, &interpreter.path, &interpreter.real, &origin)?;
    }
    Ok(())
}

/// The guest path of a file of the host: its own, or what is left of it below `root`.
pub fn in_guest(path: &Utf8Path, root: &Utf8Path) -> Utf8PathBuf {
    path.strip_prefix(root).map_or_else(|_| path.to_owned(), |rest| Utf8Path::new("/").join(rest))
}

fn link(tree: &mut Tree, path: &Utf8Path, real: &Utf8Path, origin: &str) -> Result<(), Conflict> {
    let target = tree.place(real);
    if tree.place(path) == target {
        return Ok(());
    }
    let entry = Entry { node: Node::Symlink(format!("/{target}")), mode: 0o777, origin: origin.to_owned() };
    tree.put(path, entry)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn library(path: &str, real: &str) -> Library {
        Library { path: path.into(), real: real.into() }
    }

    #[test]
    fn each_library_is_where_the_loader_looks() {
        let closure = Closure {
            interpreter: Some(library(
                "/lib64/ld-linux-x86-64.so.2",
                "/usr/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2",
            )),
            libraries: [
                (
                    "libc.so.6",
                    library("/lib/x86_64-linux-gnu/libc.so.6", "/usr/lib/x86_64-linux-gnu/libc.so.6"),
                ),
                ("libfar.so.1", library("/opt/far/libfar.so.1", "/opt/far/libfar.so.1.2.3")),
            ]
            .map(|(name, library)| (name.to_owned(), library))
            .into(),
        };
        let mut tree = Tree::default();
        for (path, target) in [("/lib", "usr/lib"), ("/lib64", "usr/lib64")] {
            let entry = Entry { node: Node::Symlink(target.into()), mode: 0o777, origin: "manifest".into() };
            tree.put(path.into(), entry).unwrap();
        }
        place(&mut tree, "dmsetup", &closure, Utf8Path::new("/")).unwrap();
        let lines: Vec<_> = tree.iter().map(|(path, entry)| format!("{path}: {entry}")).collect();
        insta::assert_snapshot!(lines.join("\n"), @r"
        lib: a link to usr/lib (manifest)
        lib64: a link to usr/lib64 (manifest)
        opt: a folder (folder for /opt/far/libfar.so.1.2.3)
        opt/far: a folder (folder for /opt/far/libfar.so.1.2.3)
        opt/far/libfar.so.1: a link to /opt/far/libfar.so.1.2.3 (needed by dmsetup)
        opt/far/libfar.so.1.2.3: the file /opt/far/libfar.so.1.2.3 (/opt/far/libfar.so.1.2.3)
        usr: a folder (folder for /usr/lib/x86_64-linux-gnu/libc.so.6)
        usr/lib: a folder (folder for /usr/lib/x86_64-linux-gnu/libc.so.6)
        usr/lib/x86_64-linux-gnu: a folder (folder for /usr/lib/x86_64-linux-gnu/libc.so.6)
        usr/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2: the file /usr/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2 (/usr/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2)
        usr/lib/x86_64-linux-gnu/libc.so.6: the file /usr/lib/x86_64-linux-gnu/libc.so.6 (/usr/lib/x86_64-linux-gnu/libc.so.6)
        usr/lib/x86_64-linux-gnu/libfar.so.1: a link to /opt/far/libfar.so.1.2.3 (needed by dmsetup)
        usr/lib64: a folder (folder for needed by dmsetup)
        usr/lib64/ld-linux-x86-64.so.2: a link to /usr/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2 (needed by dmsetup)
        ");
    }

    #[test]
    fn what_was_unpacked_has_the_paths_of_what_is_installed() {
        let root = Utf8Path::new("/cache/packages/x");
        assert_eq!(in_guest("/cache/packages/x/lib/a.so".into(), root), "/lib/a.so");
        assert_eq!(in_guest("/usr/lib/b.so".into(), root), "/usr/lib/b.so");
        assert_eq!(in_guest("/usr/lib/b.so".into(), "/".into()), "/usr/lib/b.so");
    }

    #[test]
    fn a_missing_tool_is_named_with_a_hint() {
        let error = find_tool("no-such-tool-here").unwrap_err().to_string();
        assert!(error.contains("`no-such-tool-here`") && error.contains("doctor"), "{error}");
    }

    #[test]
    fn a_missing_library_is_named_with_its_program() {
        let error =
            super::library("/usr/sbin/dmsetup".into(), "libx.so.1", "libx.so.1".into(), None).unwrap_err();
        assert!(error.to_string().starts_with("/usr/sbin/dmsetup needs the library libx.so.1"), "{error}");
    }

    #[test]
    fn this_test_program_needs_libc_or_is_static() {
        let exe = Utf8PathBuf::try_from(std::env::current_exe().unwrap()).unwrap();
        let closure = closure(&exe, &[]).unwrap();
        assert!(
            closure.is_static() || closure.libraries.keys().any(|name| name.starts_with("libc.")),
            "{closure:?}"
        );
    }

    #[test]
    fn what_is_no_program_is_an_error() {
        let error = format!("{:#}", closure(Utf8Path::new("/etc/passwd"), &[]).unwrap_err());
        assert!(error.contains("read /etc/passwd as an ELF program"), "{error}");
    }
}
