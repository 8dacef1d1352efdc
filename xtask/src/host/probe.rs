// SPDX-License-Identifier: GPL-2.0-only
//! Looks on the host for what needs.toml names. `is_there` costs a few stat(2) and no process; `look` also asks for
//! versions. Installs nothing.

use camino::{Utf8Path, Utf8PathBuf};

use super::needs::{self, Need};
use crate::command::{Error, Tool};

/// Folders that hold administration programs; not on every user's PATH (dmsetup, depmod on Debian).
const SBIN: [&str; 3] = ["/usr/local/sbin", "/usr/sbin", "/sbin"];

/// Where things are looked for.
#[derive(Debug, Clone)]
pub struct Places {
    /// Folders with programs.
    pub programs: Vec<Utf8PathBuf>,
    /// Folders with headers.
    pub headers: Vec<Utf8PathBuf>,
    /// In front of absolute paths; `/` but in tests.
    pub root: Utf8PathBuf,
}

/// What was found of a need.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// There, with its version.
    Version(String),
    /// There; the version is not known and does not matter.
    Present,
    /// There, but older than what is needed.
    TooOld {
        /// The version found.
        found: String,
        /// The oldest that does.
        minimum: String,
    },
    /// Not there: what exactly.
    Missing(String),
}

impl Found {
    /// Whether it will do.
    pub const fn is_good(&self) -> bool {
        matches!(self, Self::Version(_) | Self::Present)
    }
}

impl Places {
    /// This host: PATH and the sbin folders, the compiler's include folders.
    pub fn host() -> Self {
        let list = |name: &str| {
            let value = std::env::var(name).unwrap_or_default();
            value.split(':').filter(|d| d.starts_with('/')).map(Utf8PathBuf::from).collect::<Vec<_>>()
        };
        let mut programs = list("PATH");
        programs.extend(SBIN.map(Utf8PathBuf::from));
        let mut headers = list("CPATH");
        headers.extend(list("C_INCLUDE_PATH"));
        headers.extend(
            ["/usr/include", "/usr/include/x86_64-linux-gnu", "/usr/local/include"].map(Utf8PathBuf::from),
        );
        Self { programs, headers, root: "/".into() }
    }

    /// The program's path.
    pub fn program(&self, name: &str) -> Option<Utf8PathBuf> {
        self.programs.iter().map(|dir| dir.join(name)).find(|path| is_executable(path))
    }

    fn header(&self, name: &str) -> Option<Utf8PathBuf> {
        self.headers.iter().map(|dir| dir.join(name)).find(|path| path.is_file())
    }

    /// `path` below the root.
    pub fn file(&self, path: &str) -> Utf8PathBuf {
        self.root.join(path.trim_start_matches('/'))
    }

    /// What of the need is missing, by existence alone.
    pub fn missing(&self, need: &Need) -> Option<String> {
        if let Some(program) = need.programs.iter().find(|name| self.program(name).is_none()) {
            return Some(program.clone());
        }
        if let Some(header) = &need.header
            && self.header(header).is_none()
        {
            return Some(header.clone());
        }
        let none = !need.files.is_empty() && !need.files.iter().any(|path| self.file(path).exists());
        none.then(|| need.files[0].rsplit('/').next().unwrap_or_default().to_owned())
    }

    /// What there is of the need, with its version.
    pub fn look(&self, need: &Need) -> Found {
        if let Some(what) = self.missing(need) {
            return Found::Missing(what);
        }
        let text = if let Some(header) = need.header.as_ref().and_then(|name| self.header(name)) {
            fs_err::read_to_string(header).unwrap_or_default()
        } else if let Some(program) = need.programs.first().and_then(|name| self.program(name)) {
            printed(&program, &need.version_args)
        } else {
            String::new()
        };
        graded(need, &text)
    }
}

/// The verdict on a need that is there and whose program (or header) says `text`.
fn graded(need: &Need, text: &str) -> Found {
    let version = need.version.as_deref().and_then(|pattern| needs::version_in(pattern, text));
    match (version, &need.minimum) {
        (Some(found), Some(minimum)) if needs::compare(&found, minimum).is_lt() => {
            Found::TooOld { found, minimum: minimum.clone() }
        }
        (Some(found), _) => Found::Version(found),
        (None, _) => Found::Present,
    }
}

/// What the program prints; some tell their version and fail (dmsetup where the host has no device-mapper).
fn printed(program: &Utf8Path, args: &[String]) -> String {
    if args.is_empty() {
        return String::new();
    }
    match Tool::new(program.as_str()).args(args).env("LC_ALL", "C").read() {
        Ok(output) => output.text,
        Err(Error::Status { tail, .. }) => tail,
        Err(_) => String::new(),
    }
}

fn is_executable(path: &Utf8Path) -> bool {
    path.is_file() && nix::unistd::access(path.as_std_path(), nix::unistd::AccessFlags::X_OK).is_ok()
}

/// Where a program is on this host, sbin folders included: `depmod` and `dmsetup` are not on every user's PATH.
pub fn find_program(name: &str) -> Option<Utf8PathBuf> {
    Places::host().program(name)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn need(name: &str) -> Need {
        needs::shipped().unwrap().into_iter().find(|need| need.name == name).unwrap()
    }

    /// A host in a folder, with one executable script that prints `text` and exits with `status`.
    fn host_with(program: &str, text: &str, status: u8) -> (tempfile::TempDir, Places) {
        let dir = tempfile::tempdir().unwrap();
        let root = Utf8PathBuf::try_from(dir.path().to_owned()).unwrap();
        fs_err::create_dir_all(root.join("bin")).unwrap();
        let script = root.join("bin").join(program);
        fs_err::write(&script, format!("#!/bin/sh\necho '{text}'\nexit {status}\n")).unwrap();
        fs_err::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).unwrap();
        let places = Places { programs: vec![root.join("bin")], headers: vec![root.join("include")], root };
        (dir, places)
    }

    #[test]
    fn a_program_is_found_with_its_version_even_if_it_fails() {
        let (_dir, places) = host_with("dmsetup", "Library version:   1.02.185 (2022-05-18)", 1);
        assert_eq!(places.look(&need("dmsetup")), Found::Version("1.02.185".into()));
        assert_eq!(places.look(&need("flex")), Found::Missing("flex".into()));
    }

    #[test]
    fn too_old_and_unknown_versions() {
        let (_dir, places) = host_with("qemu-system-x86_64", "QEMU emulator version 5.2.0", 0);
        let old = Found::TooOld { found: "5.2.0".into(), minimum: "6.2".into() };
        assert_eq!(places.look(&need("qemu-system-x86_64")), old);
        let (_dir, places) = host_with("make", "bmake", 0);
        assert_eq!(places.look(&need("make")), Found::Present);
    }

    #[test]
    fn a_file_that_may_not_be_executed_is_no_program() {
        let (_dir, places) = host_with("bc", "bc 1.07", 0);
        let path = places.program("bc").unwrap();
        fs_err::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        assert_eq!(places.look(&need("bc")), Found::Missing("bc".into()));
    }

    #[test]
    fn every_program_of_a_need_must_be_there() {
        let (_dir, places) = host_with("gcc", "12.2.0", 0);
        assert_eq!(places.missing(&need("gcc")).as_deref(), Some("ld"));
    }

    #[test]
    fn headers_and_files() {
        let (_dir, places) = host_with("x", "", 0);
        assert_eq!(places.missing(&need("libssl headers")).as_deref(), Some("openssl/opensslv.h"));
        assert_eq!(places.missing(&need("static C library")).as_deref(), Some("libc.a"));
        fs_err::create_dir_all(places.root.join("include/openssl")).unwrap();
        let text = "# define OPENSSL_VERSION_TEXT \"OpenSSL 3.0.15 3 Sep 2024\"";
        fs_err::write(places.root.join("include/openssl/opensslv.h"), text).unwrap();
        fs_err::create_dir_all(places.root.join("usr/lib64")).unwrap();
        fs_err::write(places.root.join("usr/lib64/libc.a"), "").unwrap();
        assert_eq!(places.look(&need("libssl headers")), Found::Version("3.0.15".into()));
        assert_eq!(places.look(&need("static C library")), Found::Present);
    }
}
