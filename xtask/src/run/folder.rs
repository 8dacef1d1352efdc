// SPDX-License-Identifier: GPL-2.0-only
//! The run folder: everything about one run, and a folder for each failure that somebody else can use.
//!
//! ```text
//! runs/latest -> 20261123-204200
//! runs/20261123-204200/
//!   events.jsonl  results.json  rerun.json  kernel.json  kernel.config  image-files.tsv  qemu.sh
//!   vm-1/console.log  vm-1/qemu.stderr
//!   failures/<case>/console.log events.jsonl outcome.txt captured/ rerun.json qemu.sh kernel.json kernel.config image-files.tsv
//! ```

use std::io::ErrorKind;
use std::time::SystemTime;

use anyhow::Context as _;
use camino::{Utf8Path, Utf8PathBuf};
use serde::{Deserialize, Serialize};

use crate::event::{Event, Kind};
use crate::outcome::Outcome;

/// What `--rerun` reads: the options that chose kernel and machine, and the cases by full name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rerun {
    /// Version of this file: 1.
    pub v: u32,
    /// Options of `cargo xtask test`.
    pub options: Vec<String>,
    /// Full names `case[condition]`.
    pub cases: Vec<String>,
}

impl Rerun {
    /// Reads it from a run folder or from the folder of a failure.
    pub fn read(dir: &Utf8Path) -> anyhow::Result<Self> {
        let path = dir.join("rerun.json");
        let text = fs_err::read_to_string(&path)
            .context("--rerun takes a run folder or the folder of a failure, which holds a rerun.json")?;
        let rerun: Self = serde_json::from_str(&text).with_context(|| format!("read {path}"))?;
        anyhow::ensure!(rerun.v == 1, "{path} has version {}, this xtask knows version 1", rerun.v);
        Ok(rerun)
    }
}

/// A run folder.
#[derive(Debug, Clone)]
pub struct RunFolder {
    dir: Utf8PathBuf,
    shared: Vec<&'static str>,
}

impl RunFolder {
    /// A new folder below `parent`, named after the time (UTC), with the link `latest` on it.
    pub fn create(parent: &Utf8Path) -> anyhow::Result<Self> {
        let folder = Self::unlinked(parent)?;
        folder.link()?;
        Ok(folder)
    }

    /// The same without the link, for a run that may come to nothing: [`Self::link`] makes it once there is something.
    pub fn unlinked(parent: &Utf8Path) -> anyhow::Result<Self> {
        let hint = || format!("make a run folder in {parent} (hint: --out DIR chooses another place)");
        fs_err::create_dir_all(parent).with_context(hint)?;
        let parent = &Utf8PathBuf::try_from(fs_err::canonicalize(parent)?)?;
        let stamp = stamp(SystemTime::now());
        let mut name = stamp.clone();
        for n in 2.. {
            match std::fs::create_dir(parent.join(&name)) {
                Ok(()) => break,
                Err(error) if error.kind() == ErrorKind::AlreadyExists => name = format!("{stamp}-{n}"),
                Err(error) => return Err(error).with_context(hint),
            }
        }
        Ok(Self::at(parent.join(name)))
    }

    /// Makes the link `latest` beside it lead here.
    pub fn link(&self) -> anyhow::Result<()> {
        let name = self.dir.file_name().context("link a run folder: it has no name")?;
        let beside = self.dir.with_file_name(format!(".latest-{name}"));
        // Of a run that was killed here.
        let _ = std::fs::remove_file(&beside);
        std::os::unix::fs::symlink(name, &beside).with_context(|| format!("make the link {beside}"))?;
        Ok(fs_err::rename(&beside, self.dir.with_file_name("latest"))?)
    }

    /// One that is there already.
    pub const fn at(dir: Utf8PathBuf) -> Self {
        Self { dir, shared: vec![] }
    }

    /// The folder called `name` inside of this one, for a run that is one of several.
    pub fn inside(&self, name: &str) -> anyhow::Result<Self> {
        let dir = self.dir.join(name);
        fs_err::create_dir(&dir)?;
        Ok(Self::at(dir))
    }

    /// The runs that a run is made of, `part-1` and so on, as far as they are there. Of most runs, none.
    pub fn parts(dir: &Utf8Path) -> Vec<Utf8PathBuf> {
        let mut parts = Vec::new();
        loop {
            let next = dir.join(format!("part-{}", parts.len() + 1));
            if !next.is_dir() {
                return parts;
            }
            parts.push(next);
        }
    }

    /// Its path.
    pub fn path(&self) -> &Utf8Path {
        &self.dir
    }

    /// Writes a file that belongs to the whole run and is copied to every failure.
    pub fn write_shared(&mut self, name: &'static str, content: &[u8]) -> anyhow::Result<()> {
        fs_err::write(self.dir.join(name), content)?;
        if name == "qemu.sh" {
            use std::os::unix::fs::PermissionsExt as _;
            fs_err::set_permissions(self.dir.join(name), std::fs::Permissions::from_mode(0o755))?;
        }
        self.shared.push(name);
        Ok(())
    }

    /// The folder of one VM.
    pub fn vm(&self, vm: u32) -> Utf8PathBuf {
        self.dir.join(format!("vm-{vm}"))
    }

    /// Makes the folder of a failure; returns its path relative to the run folder.
    pub fn failure(
        &self,
        shown: &str,
        vm: Option<u32>,
        outcome: &Outcome,
        events: &[Event],
        rerun: &Rerun,
    ) -> anyhow::Result<String> {
        let relative = format!("failures/{}", file_name(shown));
        let dir = self.dir.join(&relative);
        fs_err::create_dir_all(dir.join("captured"))?;
        for name in &self.shared {
            fs_err::copy(self.dir.join(name), dir.join(name))?;
        }
        if let Some(vm) = vm {
            for name in ["console.log", "qemu.stderr"] {
                if self.vm(vm).join(name).exists() {
                    fs_err::copy(self.vm(vm).join(name), dir.join(name))?;
                }
            }
        }
        let mut lines = String::new();
        for event in events {
            lines.push_str(&serde_json::to_string(event)?);
            lines.push('\n');
        }
        fs_err::write(dir.join("events.jsonl"), lines)?;
        fs_err::write(dir.join("outcome.txt"), format!("{shown}\n{outcome}\n"))?;
        fs_err::write(dir.join("rerun.json"), serde_json::to_vec_pretty(rerun)?)?;
        for (title, text) in captured(events) {
            fs_err::write(dir.join("captured").join(format!("{}.txt", file_name(&title))), text)?;
        }
        Ok(relative)
    }
}

/// The pieces of each capture put together, in order of their first piece.
fn captured(events: &[Event]) -> Vec<(String, String)> {
    let mut all: Vec<(String, String)> = vec![];
    for event in events {
        if let Kind::Captured { title, text } = &event.kind {
            match all.iter_mut().find(|(known, _)| known == title) {
                Some((_, known)) => known.push_str(text),
                None => all.push((title.clone(), text.clone())),
            }
        }
    }
    all
}

/// A name that every file system and shell takes: `compat::x[bio,explicit]` becomes `compat-x-bio-explicit`.
fn file_name(shown: &str) -> String {
    let mut name = String::new();
    for c in shown.chars() {
        if c.is_ascii_alphanumeric() || c == '_' || c == '.' {
            name.push(c);
        } else if !name.ends_with('-') {
            name.push('-');
        }
    }
    name.trim_matches('-').to_owned()
}

/// `20261123-204200` in UTC.
pub fn stamp(time: SystemTime) -> String {
    let text = humantime::format_rfc3339_seconds(time).to_string();
    text.replace(['-', ':', 'Z'], "").replace('T', "-")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn names_of_files() {
        assert_eq!(file_name("compat::x[scsi_debug,bio,explicit] #2"), "compat-x-scsi_debug-bio-explicit-2");
        assert_eq!(stamp(SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_466_520)), "20261123-204200");
    }

    #[test]
    fn two_runs_in_one_second_get_two_folders_and_latest_is_the_second() {
        let parent = tempfile::tempdir().unwrap();
        let parent = Utf8Path::from_path(parent.path()).unwrap();
        let (a, b) = (RunFolder::create(parent).unwrap(), RunFolder::create(parent).unwrap());
        assert_ne!(a.path(), b.path());
        assert_eq!(
            fs_err::canonicalize(parent.join("latest")).unwrap(),
            fs_err::canonicalize(b.path()).unwrap()
        );
    }

    #[test]
    fn a_run_that_comes_to_nothing_is_not_the_latest() {
        let parent = tempfile::tempdir().unwrap();
        let parent = Utf8Path::from_path(parent.path()).unwrap();
        let first = RunFolder::create(parent).unwrap();
        let second = RunFolder::unlinked(parent).unwrap();
        let latest = || parent.join("latest").canonicalize_utf8().unwrap();
        assert_eq!(latest(), first.path());
        second.link().unwrap();
        assert_eq!(latest(), second.path());
    }

    #[test]
    fn a_folder_that_is_no_run_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let error = Rerun::read(Utf8Path::from_path(dir.path()).unwrap()).unwrap_err();
        assert!(format!("{error:#}").contains("rerun.json"), "{error:#}");
    }
}
