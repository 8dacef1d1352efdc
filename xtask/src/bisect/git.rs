// SPDX-License-Identifier: GPL-2.0-only
//! The user's repository, and the worktree of our own in it where `git bisect` does its work. References and files of
//! a bisection belong to a worktree, so the user's checkout, and a bisection that he has under way there, see nothing
//! of it. Knows no kernels and gives no verdicts.

use anyhow::Context as _;
use camino::{Utf8Path, Utf8PathBuf};

use crate::command::{Error, Tool};
use crate::exit::{Code, coded};
use crate::kernel::{TREE_PARTS, git_in};

/// A repository of the user's: a checkout, a worktree, or a bare one.
#[derive(Debug, Clone)]
pub struct Repository {
    /// As it was named.
    dir: Utf8PathBuf,
    /// The folder that all of its worktrees share: what it is known by.
    pub common: Utf8PathBuf,
}

/// What a report says of a commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Commit {
    /// Full.
    pub id: String,
    /// First line of its message.
    pub subject: String,
    /// `Name <address>`.
    pub author: String,
    /// Who signed it off, in order, each once.
    pub signed_off: Vec<String>,
}

impl Repository {
    /// The repository that `dir` is in.
    pub fn open(dir: &Utf8Path) -> anyhow::Result<Self> {
        let usage = |text: String| coded(Code::Usage, text);
        let dir = dir.canonicalize_utf8().map_err(|error| {
            usage(format!("--tree {dir}: {error} (hint: name a git repository of Linux)"))
        })?;
        if !dir.is_dir() {
            return Err(usage(format!(
                "--tree {dir} is not a folder (hint: name a git repository of Linux)"
            )));
        }
        let common = git_in(&dir).args(["rev-parse", "--path-format=absolute", "--git-common-dir"]).read();
        let common = match common {
            Ok(output) => Utf8PathBuf::from(output.text),
            // git says "dubious ownership" and how to allow it, or that there is no repository.
            Err(Error::Status { tail, .. }) => {
                let why = tail.lines().next().unwrap_or_default();
                return Err(usage(format!(
                    "--tree {dir}: a bisection needs git's history, and git says: {why} (hint: an unpacked archive has none, clone a repository)"
                )));
            }
            Err(error) => return Err(error.into()),
        };
        let common = common.canonicalize_utf8().with_context(|| format!("look at {common}"))?;
        Ok(Self { dir, common })
    }

    fn git<'a>(&self, args: impl IntoIterator<Item = &'a str>) -> Result<String, Error> {
        git_in(&self.dir).args(args).read().map(|output| output.text)
    }

    /// The commit that `rev` means; `option` is where it was given.
    pub fn resolve(&self, option: &str, rev: &str) -> anyhow::Result<String> {
        let wanted = format!("{rev}^{{commit}}");
        self.git(["rev-parse", "--verify", "--quiet", "--end-of-options", &wanted]).map_err(|error| match error {
            Error::Status { .. } => coded(
                Code::Usage,
                format!(
                    "{option} {rev}: {} has no such commit (hint: fetch it, a shallow clone lacks most; `git log` shows what is there)",
                    self.dir
                ),
            ),
            other => other.into(),
        })
    }

    /// Whether everything that leads to `old` leads to `new` as well; true of one and the same commit.
    pub fn contains(&self, new: &str, old: &str) -> anyhow::Result<bool> {
        Ok(self.git(["rev-list", "--max-count=1", old, "--not", new])?.is_empty())
    }

    /// How many commits lead to `bad` and not to `good`.
    pub fn between(&self, good: &str, bad: &str) -> anyhow::Result<u64> {
        let text = self.git(["rev-list", "--count", bad, "--not", good])?;
        text.parse().with_context(|| format!("git rev-list --count says `{text}`"))
    }

    /// Refuses a commit that is no Linux source tree.
    pub fn require_kernel(&self, option: &str, rev: &str, commit: &str) -> anyhow::Result<()> {
        let there = |file: &&&str| self.git(["cat-file", "-e", &format!("{commit}:{file}")]).is_err();
        match TREE_PARTS.iter().find(there) {
            None => Ok(()),
            Some(file) => Err(coded(
                Code::Usage,
                format!("{option} {rev}: {} is not a Linux source tree there: it has no {file}", self.dir),
            )),
        }
    }

    /// Files of the user's checkout that differ from its commit; those that git does not know do not count.
    pub fn uncommitted(&self) -> anyhow::Result<Vec<String>> {
        if self.git(["rev-parse", "--is-inside-work-tree"])? != "true" {
            return Ok(vec![]);
        }
        let text = self.git(["--no-optional-locks", "status", "--porcelain", "--untracked-files=no"])?;
        Ok(text.lines().filter_map(|line| line.get(3..)).map(str::to_owned).collect())
    }

    /// What a report says of a commit.
    pub fn commit(&self, id: &str) -> anyhow::Result<Commit> {
        let format = "--format=%H%n%s%n%an <%ae>%n%(trailers:key=Signed-off-by,valueonly)";
        let text = self.git(["show", "--no-patch", format, id])?;
        let mut lines = text.lines().map(str::to_owned);
        let mut next = || lines.next().unwrap_or_default();
        let (id, subject, author) = (next(), next(), next());
        let mut signed_off: Vec<String> = Vec::new();
        for line in lines.filter(|line| !line.trim().is_empty()) {
            if !signed_off.contains(&line) {
                signed_off.push(line);
            }
        }
        Ok(Commit { id, subject, author, signed_off })
    }
}

/// A worktree of our own.
#[derive(Debug, Clone)]
pub struct Worktree {
    /// Where its files are.
    pub root: Utf8PathBuf,
}

/// What `git bisect` wants next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// A test of this commit.
    Test(String),
    /// Nothing: this one is it.
    Found(String),
    /// Nothing: it is one of these, and all but the last could not be tested.
    OneOf(Vec<String>),
}

impl Worktree {
    /// The worktree at `root`, made if it is not there. What a killed run left half done is put right.
    pub fn open(repository: &Repository, root: &Utf8Path, commit: &str) -> anyhow::Result<Self> {
        let worktree = Self { root: root.to_owned() };
        if worktree.belongs_to(repository) {
            let lock = worktree.git(["rev-parse", "--path-format=absolute", "--git-path", "index.lock"])?;
            // We hold the lock of this folder, so no git of ours is alive that could have made it.
            let _ = fs_err::remove_file(lock);
            return Ok(worktree);
        }
        if root.exists() {
            fs_err::remove_dir_all(root)?;
        }
        if let Some(parent) = root.parent() {
            fs_err::create_dir_all(parent)?;
        }
        // Without files: those come with the first checkout, which can be interrupted and done again. By force, since git may
        // know of one here that is gone, and twice for one that it still had under way. Never prune: the user's own worktrees
        // may be on a disk that is not mounted.
        repository
            .git([
                "worktree",
                "add",
                "--quiet",
                "--force",
                "--force",
                "--detach",
                "--no-checkout",
                root.as_str(),
                commit,
            ])
            .with_context(|| format!("make a worktree of {} in {root}", repository.dir))?;
        Ok(worktree)
    }

    fn belongs_to(&self, repository: &Repository) -> bool {
        let common = ["rev-parse", "--path-format=absolute", "--git-common-dir"];
        self.root.join(".git").is_file()
            && self.git(common).is_ok_and(|common| {
                Utf8Path::new(&common).canonicalize_utf8().is_ok_and(|common| common == repository.common)
            })
    }

    /// The hooks are the user's, and not meant for this.
    fn tool(&self) -> Tool {
        git_in(&self.root).args(["-c", "core.hooksPath=/dev/null", "-c", "advice.detachedHead=false"])
    }

    fn git<'a>(&self, args: impl IntoIterator<Item = &'a str>) -> Result<String, Error> {
        self.tool().args(args).read().map(|output| output.text)
    }

    /// Makes the files those of `commit`; only those that differ are written, which make needs to see.
    pub fn checkout(&self, commit: &str) -> anyhow::Result<()> {
        let checkout = || -> anyhow::Result<()> {
            self.tool().args(["checkout", "--quiet", "--force", "--detach", commit]).run()?;
            // What a checkout that was killed had written already.
            self.tool().args(["clean", "--quiet", "--force", "-d", "-x"]).run()?;
            Ok(())
        };
        checkout().with_context(|| format!("check out {commit}"))
    }

    /// Starts a bisection, in the place of any that there was. Files stay as they are: [`Self::checkout`] writes
    /// those of the commit to be tested, and none in between.
    pub fn start(&self, good: &str, bad: &str) -> anyhow::Result<()> {
        self.bisect(&["start", "--no-checkout", bad, good])
    }

    /// Tells git what a commit was found to be, in its word: `good`, `bad`, `skip`.
    pub fn say(&self, word: &str, commit: &str) -> anyhow::Result<()> {
        self.bisect(&[word, commit])
    }

    /// `git bisect` ends with a status of its own when only skipped commits are left.
    fn bisect(&self, args: &[&str]) -> anyhow::Result<()> {
        match self.tool().arg("bisect").args(args).read() {
            Ok(_) => Ok(()),
            Err(Error::Status { .. }) if ended(&self.log()?).is_some() => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// What is to be done next.
    pub fn next(&self) -> anyhow::Result<Next> {
        match ended(&self.log()?) {
            Some(end) => Ok(end),
            None => Ok(Next::Test(self.git(["rev-parse", "--verify", "BISECT_HEAD"])?)),
        }
    }

    /// How many commits could still be the one, and about how many more tests that takes, as git reckons.
    pub fn left(&self) -> anyhow::Result<(u64, u64)> {
        let text =
            self.git(["rev-list", "--bisect-vars", "refs/bisect/bad", "--not", "--glob=refs/bisect/good-*"])?;
        let number =
            |name: &str| text.lines().find_map(|line| line.strip_prefix(name)?.parse().ok()).unwrap_or(0);
        Ok((number("bisect_all="), number("bisect_steps=")))
    }

    /// The log of the bisection, in the form that `git bisect replay` reads.
    pub fn log(&self) -> anyhow::Result<String> {
        Ok(self.git(["bisect", "log"])?)
    }

    /// Ends the bisection; files stay as they are.
    pub fn reset(&self) -> anyhow::Result<()> {
        self.bisect(&["reset"])
    }
}

/// From the log of a bisection, how it ended, if it did.
fn ended(log: &str) -> Option<Next> {
    let commit = |line: &str, what: &str| {
        let (id, _) = line.strip_prefix(what)?.split_once(']')?;
        Some(id.to_owned())
    };
    let found = log.lines().find_map(|line| commit(line, "# first bad commit: ["));
    let possible: Vec<_> =
        log.lines().filter_map(|line| commit(line, "# possible first bad commit: [")).collect();
    found.map(Next::Found).or_else(|| (!possible.is_empty()).then_some(Next::OneOf(possible)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_tells_how_it_ended() {
        // Recorded from git 2.47.
        let under_way = "git bisect start '--no-checkout' 'b' 'a'\n# status: waiting for good commit(s)\n# bad: [b] two\ngit bisect bad b\n# good: [a] one\ngit bisect good a\n";
        assert_eq!(ended(under_way), None);
        let found = format!("{under_way}# first bad commit: [0123abcd] dm: break it [again]\n");
        assert_eq!(ended(&found), Some(Next::Found("0123abcd".into())));
        let left = format!(
            "{under_way}# only skipped commits left to test\n# possible first bad commit: [b] two\n# possible first bad commit: [c] three\n"
        );
        assert_eq!(ended(&left), Some(Next::OneOf(vec!["b".into(), "c".into()])));
    }
}
