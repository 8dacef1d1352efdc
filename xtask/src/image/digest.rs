// SPDX-License-Identifier: GPL-2.0-only
//! SHA-256 of host files, remembered by what stat(2) says about them, and the libraries of host programs, remembered
//! by those digests: an unchanged file is not read again. (Reading the ELF files of three tools takes 450 ms in a
//! debug build, 2026.) The memory is a hint: when it is lost or damaged everything is read again.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt as _;
use std::time::{Duration, SystemTime};

use camino::{Utf8Path, Utf8PathBuf};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::elf::{self, Closure};

/// A file that changed more recently than this may change again without a new time stamp: the kernel's clock for
/// files ticks every 4 to 10 ms, some network file systems have whole seconds.
const SETTLED: Duration = Duration::from_secs(2);

/// What is remembered about a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Known {
    /// Size, inode, and both times in nanoseconds.
    stamp: (u64, u64, i128, i128),
    sha256: String,
}

/// A program's libraries, and the digest of all that they were found by.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Program {
    key: String,
    closure: Closure,
}

/// What is kept between runs.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Memory {
    files: BTreeMap<Utf8PathBuf, Known>,
    programs: BTreeMap<Utf8PathBuf, Program>,
}

/// Digests of files, with their memory.
#[derive(Debug)]
pub struct Digests {
    place: Utf8PathBuf,
    memory: Memory,
    changed: bool,
}

/// SHA-256 as hexadecimal digits.
pub fn sha256(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    Sha256::digest(bytes).iter().fold(String::with_capacity(64), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

impl Digests {
    /// Reads the memory from `place`.
    pub fn load(place: &Utf8Path) -> Self {
        let memory = fs_err::read(place)
            .ok()
            .and_then(|bytes| serde_json::from_slice(&bytes).ok())
            .unwrap_or_default();
        Self { place: place.to_owned(), memory, changed: false }
    }

    /// The digest of a file.
    pub fn of(&mut self, path: &Utf8Path) -> anyhow::Result<String> {
        let meta = fs_err::metadata(path)?;
        let nanoseconds = |seconds: i64, rest: i64| i128::from(seconds) * 1_000_000_000 + i128::from(rest);
        let changed = nanoseconds(meta.ctime(), meta.ctime_nsec());
        let stamp = (meta.size(), meta.ino(), nanoseconds(meta.mtime(), meta.mtime_nsec()), changed);
        if let Some(known) = self.memory.files.get(path).filter(|known| known.stamp == stamp) {
            return Ok(known.sha256.clone());
        }
        let sha256 = sha256(&fs_err::read(path)?);
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let settled =
            i128::try_from(now.saturating_sub(SETTLED).as_nanos()).is_ok_and(|limit| changed < limit);
        if settled {
            self.memory.files.insert(path.to_owned(), Known { stamp, sha256: sha256.clone() });
            self.changed = true;
        }
        Ok(sha256)
    }

    /// What a program needs in order to start; its libraries may also be in `folders`.
    pub fn closure(&mut self, program: &Utf8Path, folders: &[Utf8PathBuf]) -> anyhow::Result<Closure> {
        if let Some(Program { key, closure }) = self.memory.programs.get(program).cloned()
            && self.key(program, &closure).is_ok_and(|now| now == key)
        {
            return Ok(closure);
        }
        let closure = elf::closure(program, folders)?;
        let key = self.key(program, &closure)?;
        self.memory.programs.insert(program.to_owned(), Program { key, closure: closure.clone() });
        self.changed = true;
        Ok(closure)
    }

    /// Digest of what decides about the libraries of a program: its content and theirs, where the loader's links
    /// lead, and the loader's configuration.
    fn key(&mut self, program: &Utf8Path, closure: &Closure) -> anyhow::Result<String> {
        use std::fmt::Write as _;
        let mut text = format!("{} {:?}\n", self.of(program)?, std::env::var_os("LD_LIBRARY_PATH"));
        let loader_cache = Utf8Path::new("/etc/ld.so.cache");
        if loader_cache.exists() {
            writeln!(text, "{}", self.of(loader_cache)?)?;
        }
        for library in closure.interpreter.iter().chain(closure.libraries.values()) {
            let real = fs_err::canonicalize(&library.path)?;
            writeln!(text, "{} {} {}", library.path, real.display(), self.of(&library.real)?)?;
        }
        Ok(sha256(text.as_bytes()))
    }

    /// Writes the memory back if it changed, forgetting files that are gone. A failure costs time only.
    pub fn save(mut self) {
        if !self.changed {
            return;
        }
        self.memory.files.retain(|path, _| path.exists());
        self.memory.programs.retain(|path, _| path.exists());
        if let Err(error) = self.write() {
            tracing::debug!(%error, "keep the digests of files");
        }
    }

    fn write(&self) -> anyhow::Result<()> {
        let parent = self.place.parent().unwrap_or(Utf8Path::new("."));
        fs_err::create_dir_all(parent)?;
        let mut file = tempfile::NamedTempFile::new_in(parent)?;
        serde_json::to_writer(&mut file, &self.memory)?;
        file.persist(&self.place)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_digest_is_sha256() {
        assert_eq!(sha256(b"abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    }

    #[test]
    fn a_changed_file_has_a_new_digest_and_a_damaged_memory_is_ignored() {
        let dir = tempfile::tempdir().unwrap();
        let dir = Utf8Path::from_path(dir.path()).unwrap();
        let (file, memory) = (dir.join("file"), dir.join("digests.json"));
        fs_err::write(&memory, "{\"half").unwrap();
        for content in ["one", "two"] {
            fs_err::write(&file, content).unwrap();
            let mut digests = Digests::load(&memory);
            assert_eq!(digests.of(&file).unwrap(), sha256(content.as_bytes()));
            digests.save();
        }
    }

    #[test]
    fn the_libraries_of_a_program_are_remembered_and_the_memory_is_checked() {
        let dir = tempfile::tempdir().unwrap();
        let memory = Utf8Path::from_path(dir.path()).unwrap().join("digests.json");
        let program = elf::find_tool("sh").unwrap();
        let closure = elf::closure(&program, &[]).unwrap();
        let mut digests = Digests::load(&memory);
        assert_eq!(digests.closure(&program, &[]).unwrap(), closure);
        digests.save();
        let mut digests = Digests::load(&memory);
        let known = digests.memory.programs.get_mut(&program).unwrap();
        known.closure = Closure::default(); // no longer what the key was made of
        assert_eq!(digests.closure(&program, &[]).unwrap(), closure);
    }

    #[test]
    fn an_unchanged_file_is_not_read_again() {
        let dir = tempfile::tempdir().unwrap();
        let memory = Utf8Path::from_path(dir.path()).unwrap().join("digests.json");
        let file = Utf8Path::new("/etc/passwd");
        let mut digests = Digests::load(&memory);
        digests.of(file).unwrap();
        digests.memory.files.get_mut(file).unwrap().sha256 = "remembered".into();
        digests.save();
        assert_eq!(Digests::load(&memory).of(file).unwrap(), "remembered");
    }
}
