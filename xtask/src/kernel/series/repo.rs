// SPDX-License-Identifier: GPL-2.0-only
//! A git repository of the few files that series touch. Nothing of the user's git takes part: no configuration, no
//! hooks, no signing, no identity; the same files and patches always give the same commits.

use camino::{Utf8Path, Utf8PathBuf};

use super::FOLDER;
use crate::command::{Error, Output, Tool};

/// Set by git for its hooks and for `git bisect run`: it would work on the user's repository.
pub const INHERITED: &[&str] = &[
    "GIT_DIR",
    "GIT_WORK_TREE",
    "GIT_INDEX_FILE",
    "GIT_OBJECT_DIRECTORY",
    "GIT_ALTERNATE_OBJECT_DIRECTORIES",
    "GIT_NAMESPACE",
    "GIT_PREFIX",
    "GIT_CONFIG",
    "GIT_CONFIG_COUNT",
    "GIT_CONFIG_PARAMETERS",
    "GIT_EXTERNAL_DIFF",
    "GIT_DIFF_OPTS",
];

/// A command line that starts with git, for the repository that `dir` is in whatever the environment says. It
/// asks for nothing, starts nothing in the background, and speaks English.
pub fn git_in(dir: &Utf8Path) -> Tool {
    let tool = Tool::new("git").cwd(dir).args(["-c", "gc.auto=0", "-c", "maintenance.auto=false"]);
    let tool = INHERITED.iter().fold(tool, Tool::env_remove);
    [("GIT_TERMINAL_PROMPT", "0"), ("GIT_PAGER", "cat"), ("LC_ALL", "C")]
        .into_iter()
        .fold(tool, |tool, (key, value)| tool.env(key, value))
}

/// A repository with a working tree.
#[derive(Debug)]
pub struct Repo {
    /// Its working tree.
    pub root: Utf8PathBuf,
}

impl Repo {
    /// A new one in an empty or absent folder, with [`FOLDER`] of `source` as its first commit.
    pub fn of_source(root: &Utf8Path, source: &Utf8Path) -> anyhow::Result<Self> {
        fs_err::create_dir_all(root)?;
        let repo = Self { root: root.to_owned() };
        // An empty template: no sample hooks, and none of the user's.
        repo.git(["init", "--quiet", "--template=", "--initial-branch=stock"])?;
        repo.import(source, "stock")?;
        Ok(repo)
    }

    /// Makes [`FOLDER`] that of `source`, as a commit.
    pub fn import(&self, source: &Utf8Path, subject: &str) -> anyhow::Result<()> {
        let place = self.root.join(FOLDER);
        if place.exists() {
            fs_err::remove_dir_all(&place)?;
        }
        copy(&source.join(FOLDER), &place)?;
        self.git(["add", "--all", "--force", FOLDER])?;
        self.git(["commit", "--quiet", "--allow-empty", "--message", subject])?;
        Ok(())
    }

    /// A command line that starts with git, for this repository.
    pub fn tool(&self) -> Tool {
        [
            ("HOME", self.root.as_str()),
            ("XDG_CONFIG_HOME", self.root.as_str()),
            ("GIT_CONFIG_GLOBAL", "/dev/null"),
            ("GIT_CONFIG_SYSTEM", "/dev/null"),
            ("GIT_CONFIG_NOSYSTEM", "1"),
            ("GIT_CEILING_DIRECTORIES", "/"),
            ("GIT_AUTHOR_NAME", "dm-pushback"),
            ("GIT_AUTHOR_EMAIL", "dm-pushback@localhost"),
            ("GIT_AUTHOR_DATE", "2000-01-01T00:00:00Z"),
            ("GIT_COMMITTER_NAME", "dm-pushback"),
            ("GIT_COMMITTER_EMAIL", "dm-pushback@localhost"),
            ("GIT_COMMITTER_DATE", "2000-01-01T00:00:00Z"),
            ("TZ", "UTC"),
        ]
        .into_iter()
        .fold(git_in(&self.root), |tool, (key, value)| tool.env(key, value))
    }

    /// Runs git with some arguments.
    pub fn git<'a>(&self, args: impl IntoIterator<Item = &'a str>) -> Result<Output, Error> {
        self.tool().args(args).read()
    }

    /// A branch called `name` at `start`, checked out; only files that differ are written.
    pub fn branch(&self, name: &str, start: &str) -> Result<(), Error> {
        self.git(["checkout", "--quiet", "--force", "-B", name, start])?;
        Ok(())
    }
}

/// Copies a folder of a source: regular files, links as links.
fn copy(from: &Utf8Path, to: &Utf8Path) -> anyhow::Result<()> {
    for entry in walkdir::WalkDir::new(from) {
        let entry = entry?;
        let path = Utf8Path::from_path(entry.path())
            .ok_or_else(|| anyhow::anyhow!("{} is not UTF-8", entry.path().display()))?;
        let target = to.join(path.strip_prefix(from)?);
        if entry.file_type().is_dir() {
            fs_err::create_dir_all(target)?;
        } else if entry.file_type().is_symlink() {
            fs_err::os::unix::fs::symlink(fs_err::read_link(path)?, target)?;
        } else {
            fs_err::copy(path, target)?;
        }
    }
    Ok(())
}
