// SPDX-License-Identifier: GPL-2.0-only
//! From the new failures of a job to the bisections that explain them: which cases, between which commits, in which
//! repository.

use std::collections::BTreeMap;

use super::config::{History, Job};
use super::job::short;
use super::state::Memory;
use super::verdict::{Found, Report};
use crate::compare::Change;
use crate::report::terminal::quoted;

/// One bisection.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Question {
    /// The case that tells good from bad.
    case: String,
    /// How many more failed in the same way.
    others: usize,
    /// Where it did not fail.
    good: String,
    /// Where it fails.
    bad: String,
}

/// What bisecting the new failures gives.
pub fn new_failures(job: &Job, report: &Report, known: &Memory) -> Vec<Found> {
    let (true, Some(history), Some(bad)) = (job.bisect, &job.history, &report.commit) else { return vec![] };
    let questions = questions(&report.new_failures().collect::<Vec<_>>(), known, bad);
    questions.iter().map(|question| ask(job, history, question)).collect()
}

/// Failures at one assertion that began between the same two commits have one cause, as long as nobody knows better. One
/// that never passed has no good commit, and nothing that could be searched.
fn questions(failures: &[&Change], known: &Memory, bad: &str) -> Vec<Question> {
    let mut groups: BTreeMap<(String, Option<String>, Option<String>), Question> = BTreeMap::new();
    for failure in failures {
        let good = known.cases.get(&failure.full_name).and_then(|known| known.good.clone());
        let (Some(good), Some(new)) = (good.filter(|good| good != bad), &failure.new) else { continue };
        let key = (good.clone(), new.assertion.clone(), new.splat.clone());
        let question = || Question { case: failure.full_name.clone(), others: 0, good, bad: bad.to_owned() };
        groups.entry(key).and_modify(|question| question.others += 1).or_insert_with(question);
    }
    groups.into_values().collect()
}

impl Question {
    /// The case, and that there are others.
    fn told(&self) -> String {
        match self.others {
            0 => self.case.clone(),
            1 => format!("{} (and 1 more at the same assertion)", self.case),
            others => format!("{} (and {others} more at the same assertion)", self.case),
        }
    }
}

/// The command that finds the commit.
fn ask(job: &Job, history: &History, question: &Question) -> Found {
    let repository = match history {
        History::Here(dir) => dir.to_string(),
        History::Remote(url) => format!("a clone of {url}"),
    };
    let flavour =
        job.choice.flavour.map_or(String::new(), |flavour| format!(" --flavour {}", flavour.name()));
    let message = format!(
        "to find the commit: cargo xtask bisect --tree {repository} --good {} --bad {}{flavour} {}",
        short(&question.good),
        short(&question.bad),
        quoted(&question.case)
    );
    Found { case: question.told(), commit: None, message, folder: None }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compare::{Seen, What};
    use crate::nightly::state::Known;
    use crate::report::model::Status;

    fn seen(assertion: &str) -> Seen {
        Seen {
            outcome: Status::Fail,
            assertion: Some(assertion.into()),
            splat: None,
            message: String::new(),
            seconds: 0.5,
            runs: 4,
            failed: 4,
            artifacts: None,
        }
    }

    #[test]
    fn failures_with_one_cause_are_one_question() {
        let failure = |name: &str, assertion: &str| Change {
            full_name: name.into(),
            change: What::NewFailure,
            old: None,
            new: Some(seen(assertion)),
        };
        let failures = [
            failure("a::b[bio]", "no write returns"),
            failure("a::b[rq]", "no write returns"),
            failure("a::c", "another"),
            failure("a::older", "no write returns"),
            failure("a::never_passed", "no write returns"),
            failure("a::passed_here", "no write returns"),
        ];
        let known = |good: Option<&str>| Known { seen: seen("x"), good: good.map(str::to_owned) };
        let cases = [
            ("a::b[bio]", Some("1")),
            ("a::b[rq]", Some("1")),
            ("a::c", Some("1")),
            ("a::older", Some("0")),
            ("a::never_passed", None),
            ("a::passed_here", Some("2")),
        ];
        let cases = cases.map(|(name, good)| (name.to_owned(), known(good))).into();
        let memory = Memory { cases, ..Memory::default() };
        let questions = questions(&failures.iter().collect::<Vec<_>>(), &memory, "2");
        let told: Vec<_> =
            questions.iter().map(|question| (question.told(), question.good.as_str())).collect();
        assert_eq!(
            told,
            [
                ("a::older".to_owned(), "0"),
                ("a::c".to_owned(), "1"),
                ("a::b[bio] (and 1 more at the same assertion)".to_owned(), "1"),
            ]
        );
    }
}
