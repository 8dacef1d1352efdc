// SPDX-License-Identifier: GPL-2.0-only
//! What a bisection knows, on disk: one file, replaced as a whole after every commit that was tested. It alone is what
//! an interrupted bisection goes on from; git's own state is made from it again.

use anyhow::Context as _;
use camino::Utf8Path;
use serde::{Deserialize, Serialize};

use super::odds::Odds;
use super::trial::{Trial, Verdict};
use crate::exit::{Code, coded};

/// Version of the format.
const FORMAT: u32 = 1;

/// A revision as the user named it, and the commit that it meant then.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rev {
    /// `v6.12`, `master`.
    pub name: String,
    /// The full id.
    pub commit: String,
}

impl std::fmt::Display for Rev {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let short = short(&self.commit);
        if self.commit.starts_with(&self.name) {
            f.write_str(short)
        } else {
            write!(f, "{} ({short})", self.name)
        }
    }
}

/// A commit's id as people write it: 12 digits, as the kernel's documentation asks for.
pub fn short(commit: &str) -> &str {
    commit.get(..12).unwrap_or(commit)
}

/// What is asked. Two bisections with the same question are the same.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Question {
    /// The repository, by the folder that its worktrees share.
    pub repository: String,
    /// Where the cases pass.
    pub good: Rev,
    /// Where one of them fails.
    pub bad: Rev,
    /// Full names of the cases to choose from.
    pub cases: Vec<String>,
    /// Runs a commit.
    pub repeat: u32,
    /// Which checkers the kernels carry.
    pub flavour: String,
    /// What makes the VM: `image` or `virtme`.
    pub boot: String,
}

/// A commit that was tested between good and bad.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Step {
    /// The full id.
    pub commit: String,
    /// First line of its message.
    pub subject: String,
    /// How many commits it was one of.
    pub left: u64,
    /// What was found.
    pub trial: Trial,
}

/// How it ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum End {
    /// This commit is the first bad one.
    Found(String),
    /// One of these is: all but the last could not be tested.
    OneOf(Vec<String>),
}

/// Everything that is known.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct State {
    /// [`FORMAT`].
    v: u32,
    /// What is asked.
    pub question: Question,
    /// Where the runs of all commits go.
    pub runs: String,
    /// The test of --bad, of all cases.
    #[serde(default)]
    pub bad: Option<Trial>,
    /// The test of --good, of those that failed at --bad.
    #[serde(default)]
    pub good: Option<Trial>,
    /// The commits between, in the order in which they were tested.
    #[serde(default)]
    pub steps: Vec<Step>,
    /// How it ended, once it has.
    #[serde(default)]
    pub end: Option<End>,
    /// git's log of it, once it has ended.
    #[serde(default)]
    pub log: String,
}

/// Only the version, whatever else there may be.
#[derive(Deserialize)]
struct Version {
    v: u32,
}

impl State {
    /// Before anything is known.
    pub fn new(question: Question, runs: &Utf8Path) -> Self {
        Self {
            v: FORMAT,
            question,
            runs: runs.to_string(),
            bad: None,
            good: None,
            steps: vec![],
            end: None,
            log: String::new(),
        }
    }

    /// Reads it; `None` if there is none.
    pub fn read(file: &Utf8Path) -> anyhow::Result<Option<Self>> {
        if !file.exists() {
            return Ok(None);
        }
        let text = fs_err::read_to_string(file)?;
        let hint = "(hint: --restart drops it and begins anew)";
        let Version { v } = serde_json::from_str(&text).map_err(|error| {
            coded(Code::Usage, format!("{file} is no state of a bisection: {error} {hint}"))
        })?;
        if v != FORMAT {
            let text = format!("{file} has version {v}, this xtask knows version {FORMAT} {hint}");
            return Err(coded(Code::Usage, text));
        }
        let state = serde_json::from_str(&text)
            .map_err(|error| coded(Code::Usage, format!("{file} is damaged: {error} {hint}")))?;
        Ok(Some(state))
    }

    /// Writes it by way of a neighbour and rename(2): a reader never sees half of it.
    pub fn write(&self, file: &Utf8Path) -> anyhow::Result<()> {
        crate::report::write_file(file, &(serde_json::to_string_pretty(self)? + "\n"))
            .context("remember where the bisection is")
    }

    /// The cases that tell good from bad: those that fail at --bad and pass at --good. Empty before both were tested.
    pub fn telling(&self) -> Vec<String> {
        let (Some(bad), Some(good)) = (&self.bad, &self.good) else { return vec![] };
        let passing = good.passing(self.question.repeat);
        bad.failing().into_iter().filter(|case| passing.contains(case)).collect()
    }

    /// How often one of these failed at --bad.
    pub fn odds(&self) -> Option<Odds> {
        let bad = self.bad.as_ref()?;
        Some(Odds { shown: bad.runs_with_failure(&self.telling()), of: bad.runs() })
    }

    /// How many steps were called good.
    pub fn good_steps(&self) -> u32 {
        let good = self.steps.iter().filter(|step| step.trial.verdict == Verdict::Good).count();
        u32::try_from(good).unwrap_or(u32::MAX)
    }

    /// The last commit that was found good.
    pub fn last_good(&self) -> &str {
        self.last(Verdict::Good).unwrap_or(&self.question.good.commit)
    }

    /// The last commit that was found bad: each one is older than the one before.
    pub fn first_bad(&self) -> &str {
        self.last(Verdict::Bad).unwrap_or(&self.question.bad.commit)
    }

    fn last(&self, verdict: Verdict) -> Option<&str> {
        let found = self.steps.iter().rev().find(|step| step.trial.verdict == verdict);
        found.map(|step| step.commit.as_str())
    }

    /// The test of a commit, as far as it tells: at --bad all cases ran, and some of those that fail there fail at --good.
    pub fn trial(&self, commit: &str) -> Option<Trial> {
        let step = self.steps.iter().find(|step| step.commit == commit).map(|step| &step.trial);
        let trial = step.or_else(|| self.bad.as_ref().filter(|_| self.question.bad.commit == commit))?;
        let (mut trial, telling) = (trial.clone(), self.telling());
        trial.runs.retain(|case, _| telling.contains(case));
        trial.failures.retain(|failure| telling.contains(&failure.case));
        Some(trial)
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;

    /// A question about a repository that does not exist.
    pub fn question() -> Question {
        let rev = |name: &str, digit: char| Rev { name: name.into(), commit: digit.to_string().repeat(40) };
        Question {
            repository: "/src/linux/.git".into(),
            good: rev("v6.12", 'a'),
            bad: rev("master", 'b'),
            cases: vec!["noflush::x[bio]".into()],
            repeat: 3,
            flavour: "lock".into(),
            boot: "image".into(),
        }
    }

    #[test]
    fn comes_back_as_it_went() {
        let dir = tempfile::tempdir().unwrap();
        let file = Utf8Path::from_path(dir.path()).unwrap().join("state.json");
        assert_eq!(State::read(&file).unwrap(), None);
        let mut state = State::new(question(), Utf8Path::new("/runs/1"));
        state.bad = Some(Trial::skip("does not build".into()));
        state.end = Some(End::OneOf(vec!["c".into()]));
        state.write(&file).unwrap();
        assert_eq!(State::read(&file).unwrap(), Some(state));
        assert_eq!(dir.path().read_dir().unwrap().count(), 1, "nothing half-written stays");
    }

    #[test]
    fn what_is_no_state_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let file = Utf8Path::from_path(dir.path()).unwrap().join("state.json");
        for (text, part) in [
            ("", "is no state of a bisection"),
            (r#"{"v":2,"new":1}"#, "has version 2, this xtask knows version 1"),
            (r#"{"v":1,"question":7}"#, "is damaged"),
        ] {
            fs_err::write(&file, text).unwrap();
            let error = State::read(&file).unwrap_err();
            assert_eq!(crate::exit::code_of(&error), Code::Usage);
            let text = error.to_string();
            assert!(text.contains(part) && text.contains("--restart"), "{text}");
        }
    }

    #[test]
    fn a_revision_is_shown_by_name_and_id() {
        assert_eq!(question().good.to_string(), "v6.12 (aaaaaaaaaaaa)");
        let by_id = Rev { name: "a".repeat(20), commit: "a".repeat(40) };
        assert_eq!(by_id.to_string(), "aaaaaaaaaaaa");
    }
}
