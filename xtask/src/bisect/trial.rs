// SPDX-License-Identifier: GPL-2.0-only
//! What was found of one commit: in which of its runs each case failed, and the verdict that follows. From the results
//! of a run, as a value that is kept on disk. Pure.

use std::collections::{BTreeMap, BTreeSet};

use camino::Utf8Path;
use serde::{Deserialize, Serialize};

use crate::exit::{Code, coded};
use crate::report::model::{CaseResult, Results, Status, exit_code};

/// Lines of evidence that are kept of a failure.
const EVIDENCE: usize = 12;

/// The verdict on a commit, in git's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// No case failed; of a step, see [`Trial::of_step`]: every case passed in every run.
    Good,
    /// A case failed.
    Bad,
    /// It can't be tested: does not build, does not boot, lacks what the cases need.
    Skip,
}

impl Verdict {
    /// As `git bisect` calls it.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Bad => "bad",
            Self::Skip => "skip",
        }
    }

    /// What `git bisect run` takes for it.
    pub const fn code(self) -> Code {
        match self {
            Self::Good => Code::AllPassed,
            Self::Bad => Code::CaseFailed,
            Self::Skip => Code::Untestable,
        }
    }
}

/// Everything that is kept of the test of one commit.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Trial {
    /// The verdict.
    pub verdict: Verdict,
    /// Why it can't be tested; or the first of what neither passed nor failed.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub why: String,
    /// In which runs, counted from 1, each case had which outcome; what did not run is not in it.
    #[serde(default)]
    pub runs: BTreeMap<String, Runs>,
    /// The first failure of each case.
    #[serde(default)]
    pub failures: Vec<Failure>,
    /// `uname -r`.
    #[serde(default)]
    pub release: String,
    /// What it was built with, in the compiler's own words.
    #[serde(default)]
    pub compiler: String,
    /// QEMU and accelerator.
    #[serde(default)]
    pub machine: String,
    /// The run folder.
    #[serde(default)]
    pub folder: String,
    /// Wall seconds of the checkout, of the build with the image, and of VMs and cases.
    pub seconds: Seconds,
}

/// Where the time went.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Seconds {
    /// Until the files were those of the commit.
    pub checkout: f64,
    /// Until kernel and image were there.
    pub build: f64,
    /// From the first VM to the last outcome.
    pub cases: f64,
}

impl Seconds {
    /// All of it.
    pub fn total(self) -> f64 {
        self.checkout + self.build + self.cases
    }
}

/// The runs of one case.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Runs {
    /// Those that it passed.
    pub passed: BTreeSet<u32>,
    /// Those in which it failed.
    pub failed: BTreeSet<u32>,
}

/// One failure of one case.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// `case[conditions]`.
    pub case: String,
    /// `Fail`, `KernelSplat`, `Timeout`, `VmLost`.
    pub outcome: String,
    /// The assertion, or the kind of splat, if it has a name: what makes two failures the same.
    pub name: String,
    /// What was seen, and the first lines of the history of its I/O.
    pub evidence: Vec<String>,
    /// Everything about it.
    pub folder: String,
}

impl Failure {
    fn new(case: &str, result: &CaseResult, folder: &Utf8Path) -> Self {
        let name = result.assertion.clone().or_else(|| result.splat.clone()).unwrap_or_default();
        let lines = result.message.lines().chain(result.history.iter().map(String::as_str));
        let at = result.artifacts.as_ref().map_or_else(|| folder.to_owned(), |at| folder.join(at));
        Self {
            case: case.to_owned(),
            outcome: result.outcome.name().to_owned(),
            name,
            evidence: lines.take(EVIDENCE).map(crate::report::plain).collect(),
            folder: at.into_string(),
        }
    }

    /// Whether another failure looks like the same bug.
    pub fn looks_like(&self, other: &Self) -> bool {
        (&self.outcome, &self.name) == (&other.outcome, &other.name)
    }

    /// `Fail: I/O is pushed back to the core`.
    pub fn in_short(&self) -> String {
        if self.name.is_empty() { self.outcome.clone() } else { format!("{}: {}", self.outcome, self.name) }
    }
}

impl Trial {
    /// Of a commit that can't be tested.
    pub fn skip(why: String) -> Self {
        Self {
            verdict: Verdict::Skip,
            why,
            runs: BTreeMap::new(),
            failures: vec![],
            release: String::new(),
            compiler: String::new(),
            machine: String::new(),
            folder: String::new(),
            seconds: Seconds::default(),
        }
    }

    /// From the results of a run; an error if the host failed, which says nothing about the commit.
    pub fn of_results(results: &Results, folder: &Utf8Path) -> anyhow::Result<Self> {
        let mut trial = Self::skip(String::new());
        trial.folder = folder.to_string();
        trial.release.clone_from(&results.kernel.release);
        trial.machine = format!("{}, {}", results.host.qemu, results.host.accel);
        trial.verdict = match exit_code(results) {
            Code::AllPassed => Verdict::Good,
            Code::CaseFailed => Verdict::Bad,
            Code::Untestable => Verdict::Skip,
            Code::HostFailed | Code::Usage => return Err(host_failed(results, folder)),
        };
        for result in &results.cases {
            let (case, run) = of_name(&result.full_name);
            if result.outcome != Status::Pass && trial.verdict != Verdict::Bad && trial.why.is_empty() {
                trial.why = told(result);
            }
            if result.outcome == Status::Pass {
                trial.runs.entry(case.to_owned()).or_default().passed.insert(run);
            } else if result.outcome.is_failure() {
                let runs = trial.runs.entry(case.to_owned()).or_default();
                if runs.failed.is_empty() {
                    trial.failures.push(Failure::new(case, result, folder));
                }
                runs.failed.insert(run);
            }
        }
        Ok(trial)
    }

    /// The same with the verdict on a step, which is good only if these cases passed every run: one that is skipped, or deviates
    /// as known, proves nothing.
    #[must_use]
    pub fn of_step(mut self, cases: &[String], repeat: u32) -> Self {
        let passing = self.passing(repeat);
        if self.verdict == Verdict::Good && !cases.iter().all(|case| passing.contains(case)) {
            self.verdict = Verdict::Skip;
        }
        self
    }

    /// The cases that failed in at least one run.
    pub fn failing(&self) -> Vec<String> {
        self.runs.iter().filter(|(_, runs)| !runs.failed.is_empty()).map(|(case, _)| case.clone()).collect()
    }

    /// The cases that passed all of `repeat` runs.
    pub fn passing(&self, repeat: u32) -> Vec<String> {
        let all = |runs: &Runs| runs.failed.is_empty() && runs.passed.len() == repeat as usize;
        self.runs.iter().filter(|(_, runs)| all(runs)).map(|(case, _)| case.clone()).collect()
    }

    /// In how many runs at least one of `cases` failed.
    pub fn runs_with_failure(&self, cases: &[String]) -> u32 {
        let failed = cases.iter().filter_map(|case| self.runs.get(case)).flat_map(|runs| &runs.failed);
        u32::try_from(failed.collect::<BTreeSet<_>>().len()).unwrap_or(u32::MAX)
    }

    /// How many runs there were.
    pub fn runs(&self) -> u32 {
        self.runs.values().flat_map(|runs| runs.passed.iter().chain(&runs.failed)).max().copied().unwrap_or(0)
    }
}

fn host_failed(results: &Results, folder: &Utf8Path) -> anyhow::Error {
    let trouble = results.cases.iter().find(|case| case.outcome.is_host_trouble());
    let what = trouble.map_or_else(|| "nothing was run".to_owned(), told);
    coded(
        Code::HostFailed,
        format!(
            "the host failed, which says nothing about the kernel: {what} ({folder}) (hint: if that happens at this commit every time, `bisect --continue --skip REV` leaves it out, or `git bisect skip`)"
        ),
    )
}

/// `compat::x[bio] #3: Skipped: the reason`.
fn told(case: &CaseResult) -> String {
    format!("{}: {}: {}", case.full_name, case.outcome.name(), case.message)
}

/// Case and number of the run from a name as `compat::x[bio] #3`.
fn of_name(full: &str) -> (&str, u32) {
    let numbered = full.rsplit_once(" #").and_then(|(case, run)| Some((case, run.parse().ok()?)));
    numbered.unwrap_or((full, 1))
}

#[cfg(test)]
pub mod tests {
    use guest::condition::Condition;

    use super::*;
    use crate::exit::code_of;
    use crate::report::model::Summary;

    /// One line of a run.
    fn result(full: &str, outcome: Status) -> CaseResult {
        CaseResult {
            name: full.split('[').next().unwrap_or(full).to_owned(),
            conditions: Condition::default(),
            full_name: full.to_owned(),
            outcome,
            seconds: 1.0,
            message: if outcome == Status::Pass {
                String::new()
            } else {
                "I/O ends well: 3 of 32 did".into()
            },
            assertion: (outcome == Status::Fail).then(|| "I/O ends well".to_owned()),
            splat: None,
            artifacts: None,
            evidence: None,
            history: vec![],
        }
    }

    fn trial(outcomes: &[(&str, Status)]) -> anyhow::Result<Trial> {
        let cases = outcomes.iter().map(|(full, outcome)| result(full, *outcome)).collect();
        let summary = Summary { complete: true, ..Summary::default() };
        Trial::of_results(&Results { cases, summary, ..Results::default() }, Utf8Path::new("/runs/1"))
    }

    #[test]
    fn verdicts_are_those_of_git_bisect_run() {
        use Status::{Fail, Infra, KnownDeviation, NotRun, Pass, Skipped, VmLost};
        let table: [(&[(&str, Status)], Verdict); 7] = [
            (&[("a", Pass), ("a #2", Pass)], Verdict::Good),
            (&[("a", Pass), ("a #2", Fail)], Verdict::Bad),
            (&[("a", Fail), ("b", NotRun), ("c", Infra)], Verdict::Bad),
            (&[("a", VmLost)], Verdict::Bad),
            (&[("a", Skipped), ("b", Skipped)], Verdict::Skip),
            (&[("a", KnownDeviation)], Verdict::Good),
            (&[("a", Pass), ("b", Skipped)], Verdict::Good),
        ];
        for (outcomes, verdict) in table {
            assert_eq!(trial(outcomes).unwrap().verdict, verdict, "{outcomes:?}");
        }
        for outcomes in [&[("a", Pass), ("b", Infra)][..], &[("a", NotRun)], &[]] {
            let error = trial(outcomes).unwrap_err();
            assert_eq!(code_of(&error), Code::HostFailed, "{outcomes:?}");
            assert!(error.to_string().contains("`bisect --continue --skip REV` leaves it out"), "{error}");
        }
    }

    #[test]
    fn counts_runs_and_not_cases() {
        use Status::{Fail, Pass};
        let seen = [
            ("a[x]", Fail),
            ("b", Pass),
            ("a[x] #2", Pass),
            ("b #2", Pass),
            ("a[x] #3", Fail),
            ("b #3", Fail),
        ];
        let trial = trial(&seen).unwrap();
        assert_eq!(trial.failing(), ["a[x]", "b"]);
        assert!(trial.passing(3).is_empty());
        let both = ["a[x]", "b"].map(str::to_owned);
        assert_eq!(
            (trial.runs(), trial.runs_with_failure(&both), trial.runs_with_failure(&both[1..])),
            (3, 2, 1)
        );
        assert_eq!(trial.failures.len(), 2, "one of each case");
        assert_eq!(trial.failures[0].in_short(), "Fail: I/O ends well");
        assert_eq!(serde_json::from_str::<Trial>(&serde_json::to_string(&trial).unwrap()).unwrap(), trial);
    }

    #[test]
    fn what_is_neither_a_pass_nor_a_failure_makes_no_good_step() {
        use Status::{Fail, KnownDeviation, Pass, Skipped};
        let step = |second: Status| {
            let trial = trial(&[("a", Pass), ("b", second), ("a #2", Pass), ("b #2", Pass)]).unwrap();
            trial.of_step(&["a", "b"].map(str::to_owned), 2)
        };
        for outcome in [KnownDeviation, Skipped] {
            let trial = step(outcome);
            assert_eq!((trial.verdict, trial.passing(2)), (Verdict::Skip, vec!["a".to_owned()]));
            assert_eq!(trial.why, format!("b: {}: I/O ends well: 3 of 32 did", outcome.name()));
        }
        assert_eq!([Pass, Fail].map(|outcome| step(outcome).verdict), [Verdict::Good, Verdict::Bad]);
    }

    #[test]
    fn names_with_and_without_the_number_of_a_run() {
        assert_eq!(of_name("a[x,y] #12"), ("a[x,y]", 12));
        assert_eq!(of_name("a[x,y]"), ("a[x,y]", 1));
        assert_eq!(of_name("a #b"), ("a #b", 1));
    }
}
