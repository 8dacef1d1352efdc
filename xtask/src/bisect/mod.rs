// SPDX-License-Identifier: GPL-2.0-only
//! Finds the commit that broke a case. `git bisect` chooses the commits, in a worktree of our own ([`git`]); each is built
//! incrementally, booted and judged by the cases that tell good from bad ([`kernels`]); what is known is on disk after
//! every step ([`state`]), and at its end becomes a log and a regression report ([`report`]).
//!
//! ```text
//! CACHE/bisect/<repository>/state.json    what is known
//! CACHE/bisect/<repository>/apart/        the same, of who keeps it apart
//! CACHE/bisect/<repository>/tree/         the worktree; its build folder is that of any --tree
//! runs/<time>/<commit>/<time>/            the runs of a commit
//! runs/<time>/bisect.log report.txt bisect.json
//! ```

pub mod drive;
pub mod git;
pub mod kernels;
pub mod odds;
pub mod report;
pub mod state;
#[cfg(test)]
mod tests;
pub mod trial;

use std::time::Instant;

use camino::{Utf8Path, Utf8PathBuf};

use crate::cache::{Cache, Lock};
use crate::exit::{Code, coded};
use crate::kernel::key_of;
use crate::progress::Progress;
use crate::run::folder::RunFolder;
use git::{Repository, Worktree};
use state::{Question, Rev, State, Step};
use trial::{Trial, Verdict};

/// What the user asks, before anything was looked up.
#[derive(Debug, Clone)]
pub struct Asked {
    /// `--good`.
    pub good: String,
    /// `--bad`.
    pub bad: String,
    /// Full names of the cases to choose from.
    pub cases: Vec<String>,
    /// Runs a commit.
    pub repeat: u32,
    /// Which checkers the kernels carry.
    pub flavour: String,
    /// What makes the VM.
    pub boot: String,
    /// Uncommitted changes do not matter.
    pub allow_dirty: bool,
}

/// What to do about a bisection that is there already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resume<'a> {
    /// Go on with it if it is the same, and refuse if it is another that is not finished.
    IfSame,
    /// Drop it.
    Restart,
    /// For callers that nobody watches: leave it alone. Theirs is kept apart from it, under a name; go on with that if it is
    /// the same, and drop it otherwise.
    Apart {
        /// Whose it is.
        name: &'a str,
        /// After it no more commits are tested.
        until: Option<Instant>,
    },
}

/// A bisection that can go on: its state, and where it is kept.
#[derive(Debug)]
pub struct Opened {
    /// What is known.
    pub state: State,
    /// The file of the state.
    pub file: Utf8PathBuf,
    /// Where the worktree goes.
    pub tree: Utf8PathBuf,
    /// After it no more commits are tested.
    pub until: Option<Instant>,
    /// One bisection a repository at a time.
    #[expect(dead_code, reason = "held, never read: the lock goes with it")]
    lock: Lock,
}

impl Asked {
    /// Looks everything up that can be wrong before anything is built.
    pub fn question(&self, repository: &Repository) -> anyhow::Result<Question> {
        let usage = |text: String| Err(coded(Code::Usage, text));
        let rev = |option: &str, name: &str| -> anyhow::Result<Rev> {
            Ok(Rev { name: name.to_owned(), commit: repository.resolve(option, name)? })
        };
        let (good, bad) = (rev("--good", &self.good)?, rev("--bad", &self.bad)?);
        if good.commit == bad.commit {
            return usage(format!("--good {good} and --bad {bad} are the same commit"));
        }
        if repository.contains(&good.commit, &bad.commit)? {
            return usage(format!(
                "--bad {bad} is older than --good {good}: are they swapped? (hint: a bisection finds what broke, on the way from --good to --bad)"
            ));
        }
        repository.require_kernel("--bad", &bad.name, &bad.commit)?;
        repository.require_kernel("--good", &good.name, &good.commit)?;
        if let Some(first) = repository.uncommitted()?.first().filter(|_| !self.allow_dirty) {
            return usage(format!(
                "the tree has uncommitted changes, to {first} at least, and no commit has them: they would not be tested (hint: commit them, or --allow-dirty leaves them aside; the checkout is not touched)"
            ));
        }
        Ok(Question {
            repository: repository.common.to_string(),
            good,
            bad,
            cases: self.cases.clone(),
            repeat: self.repeat,
            flavour: self.flavour.clone(),
            boot: self.boot.clone(),
        })
    }
}

impl Question {
    /// Whether it is the same, however its revisions are called.
    fn is(&self, other: &Self) -> bool {
        let plain = |question: &Self| {
            let mut question = question.clone();
            question.good.name.clear();
            question.bad.name.clear();
            question
        };
        plain(self) == plain(other)
    }
}

/// Opens the bisection of a repository: the one that is there, or a new one with its runs below `out`. Without a
/// question it is the one that is there, or an error.
pub fn open(
    repository: &Repository,
    question: Option<Question>,
    resume: Resume<'_>,
    out: &Utf8Path,
    cache: &Cache,
    progress: &Progress,
) -> anyhow::Result<Opened> {
    let (home, lock) = home(repository, cache, progress)?;
    fs_err::create_dir_all(&home)?;
    let (apart, tree) = (home.join("apart"), home.join("tree"));
    let (file, until) = match resume {
        Resume::Apart { name, until } => (apart.join(format!("{name}.json")), until),
        Resume::IfSame | Resume::Restart => (home.join("state.json"), None),
    };
    if resume == Resume::Restart && file.exists() {
        fs_err::remove_file(&file)?;
    }
    let usage = |text: String| Err(coded(Code::Usage, text));
    let begun = match (State::read(&file), resume) {
        // Nobody is there to say --restart.
        (Err(_), Resume::Apart { .. }) => None,
        (begun, _) => begun?,
    };
    let state = match (begun, question) {
        (Some(state), None) => state,
        (None, None) => {
            return usage(format!("there is no bisection of {} to continue", repository.common));
        }
        (Some(state), Some(question)) if question.is(&state.question) => state,
        // One that was interrupted before it knew anything is no loss.
        (Some(State { end: None, bad: Some(_), question: other, .. }), Some(_))
            if resume == Resume::IfSame =>
        {
            return usage(format!(
                "another bisection of this repository is not finished: --good {} --bad {}, {} cases, --repeat {} (hint: --continue goes on with it, --restart drops it)",
                other.good,
                other.bad,
                other.cases.len(),
                other.repeat
            ));
        }
        (_, Some(question)) => {
            let elsewhere = same_in(&apart, &question).filter(|_| resume == Resume::IfSame);
            let state = match elsewhere {
                Some(state) => state,
                None => State::new(question, RunFolder::create(out)?.path()),
            };
            state.write(&file)?;
            state
        }
    };
    let (steps, runs) = (state.steps.len(), &state.runs);
    match (&state.end, &state.bad) {
        (Some(_), _) => progress.line("this bisection is finished (hint: --restart does it again)"),
        (None, Some(_)) => {
            progress.line(&format!("going on with a bisection of {steps} steps; its runs are in {runs}"));
        }
        (None, None) => {}
    }
    Ok(Opened { state, file, tree, until, lock })
}

/// The same bisection, begun by somebody who keeps his apart: whoever asks again need not begin anew.
fn same_in(apart: &Utf8Path, question: &Question) -> Option<State> {
    let entries = apart.read_dir_utf8().ok()?.filter_map(Result::ok);
    let mut states = entries.filter_map(|entry| State::read(entry.path()).ok()?);
    states.find(|state| question.is(&state.question))
}

/// The folder with all that is kept of a repository's bisection, and its lock.
fn home(repository: &Repository, cache: &Cache, progress: &Progress) -> anyhow::Result<(Utf8PathBuf, Lock)> {
    let key = key_of(&[("repository", repository.common.as_str())]);
    let lock = cache.lock(&format!("bisect-{key}"), progress)?;
    Ok((cache.path("bisect").join(key), lock))
}

/// Leaves commits out of a bisection that is not finished, like such that can't be tested.
pub fn leave_out(
    repository: &Repository,
    revs: &[String],
    cache: &Cache,
    progress: &Progress,
) -> anyhow::Result<()> {
    let usage = |text: String| Err(coded(Code::Usage, text));
    let (home, _lock) = home(repository, cache, progress)?;
    let file = home.join("state.json");
    let Some(mut state) = State::read(&file)?.filter(|state| state.end.is_none()) else {
        return usage(format!("there is no unfinished bisection of {}", repository.common));
    };
    for rev in revs {
        let commit = repository.resolve("--skip", rev)?;
        let (good, bad) = (&state.question.good, &state.question.bad);
        let inside = commit != bad.commit
            && repository.contains(&bad.commit, &commit)?
            && !repository.contains(&good.commit, &commit)?;
        let known = state.steps.iter().find(|step| step.commit == commit).map(|step| step.trial.verdict);
        match known {
            Some(Verdict::Skip) => {}
            Some(verdict) => return usage(format!("--skip {rev} was tested: it is {}", verdict.word())),
            None if !inside => {
                return usage(format!("--skip {rev} does not lie between --good {good} and --bad {bad}"));
            }
            None => {
                let subject = repository.commit(&commit)?.subject;
                let left = repository.between(state.last_good(), state.first_bad())?;
                state.steps.push(Step {
                    commit,
                    subject,
                    left,
                    trial: Trial::skip("left out by --skip".into()),
                });
            }
        }
    }
    state.write(&file)
}

/// Where runs go: `out`, or if that is inside of the user's tree, which is not written to, a folder of the cache.
pub fn runs_outside(
    tree: &Utf8Path,
    out: &Utf8Path,
    cache: &Cache,
    progress: &Progress,
) -> anyhow::Result<Utf8PathBuf> {
    let out = Utf8PathBuf::try_from(std::path::absolute(out)?)?;
    if tree.canonicalize_utf8().is_ok_and(|tree| out.starts_with(&tree)) {
        let instead = cache.path("runs");
        progress.line(&format!("runs go to {instead}, since {out} is inside of the tree (hint: --out DIR)"));
        return Ok(instead);
    }
    Ok(out)
}

impl Opened {
    /// The worktree, made if need be.
    pub fn worktree(&self, repository: &Repository) -> anyhow::Result<Worktree> {
        Worktree::open(repository, &self.tree, &self.state.question.bad.commit)
    }
}
