// SPDX-License-Identifier: GPL-2.0-only
//! From the new failures of a job to the bisections that explain them: which cases, between which commits, in which
//! repository.

use std::collections::BTreeMap;
use std::time::Instant;

use camino::{Utf8Path, Utf8PathBuf};

use super::config::{History, Job};
use super::job::{Runner, short};
use super::state::Memory;
use super::verdict::{Found, Report};
use crate::bisect::state::{End, State};
use crate::bisect::{Asked, Resume};
use crate::compare::Change;
use crate::interrupt;
use crate::kernel::git_in;
use crate::report::terminal::quoted;
use crate::run::prepare::{Choice, Setting, as_option};
use crate::verbs::bisect::bisect;

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
pub fn new_failures(
    runner: &Runner<'_>,
    job: &Job,
    report: &Report,
    known: &Memory,
) -> anyhow::Result<Vec<Found>> {
    let (true, Some(history), Some(bad), Some(run)) = (job.bisect, &job.history, &report.commit, &report.run)
    else {
        return Ok(vec![]);
    };
    let questions = questions(&report.new_failures().collect::<Vec<_>>(), known, bad);
    questions.iter().map(|question| ask(runner, job, history, run, question)).collect()
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

/// Asks one question. What goes wrong is told beside it, for the failure itself is believed already; only the user's
/// interruption ends more than that.
fn ask(
    runner: &Runner<'_>,
    job: &Job,
    history: &History,
    run: &str,
    question: &Question,
) -> anyhow::Result<Found> {
    let not_found = |why: &str| {
        let message = format!("{why}; to find the commit: {}", command(job, history, question));
        Found { case: question.told(), commit: None, message, folder: None }
    };
    if runner.deadline.is_some_and(|deadline| Instant::now() >= deadline) {
        return Ok(not_found("the budget was spent before its turn"));
    }
    runner.progress.line(&format!("== bisect {}", question.told()));
    match search(runner, job, history, run, question) {
        Err(error) if interrupt::requested() => Err(error),
        Err(error) => Ok(not_found(&format!("{error:#}"))),
        found => found,
    }
}

fn search(
    runner: &Runner<'_>,
    job: &Job,
    history: &History,
    run: &str,
    question: &Question,
) -> anyhow::Result<Found> {
    let repository = match history {
        History::Here(dir) => dir.clone(),
        History::Remote(url) => cloned(runner, job, url)?,
    };
    let Choice { flavour, accel, boot, .. } = job.choice;
    let asked = Asked {
        good: question.good.clone(),
        bad: question.bad.clone(),
        cases: vec![question.case.clone()],
        repeat: runner.config.confirm.max(1),
        flavour: as_option(&flavour.unwrap_or_default()),
        boot: as_option(&boot),
        // What is not committed was not tested either: such a tree has no commit.
        allow_dirty: true,
    };
    let out = runner.folder.path(run).join("bisect");
    let setting = Setting { flavour, accel, boot, out, yes: runner.yes };
    // An interrupted night goes on with its bisection, too.
    let told = bisect(&repository, Some(asked), Resume::IfSame, &setting, runner.jobs, runner.progress)?;
    let State { end, steps, runs, .. } = &told.state;
    let (commit, message) = match end {
        Some(End::Found(id)) => {
            let subject = steps.iter().find(|step| step.commit == *id).map(|step| step.subject.clone());
            (Some(id.clone()), subject.unwrap_or_else(|| "the last commit".to_owned()))
        }
        Some(End::OneOf(ids)) => {
            let ids: Vec<&str> = ids.iter().map(|id| short(id)).collect();
            (None, format!("one of {}, which can't be tested", ids.join(", ")))
        }
        None => (None, "no end".to_owned()),
    };
    let folder = Some(runner.folder.relative(Utf8Path::new(runs)));
    Ok(Found { case: question.told(), commit, message, folder })
}

/// A clone of a remote repository with all of its history, and with files as they are asked for.
fn cloned(runner: &Runner<'_>, job: &Job, url: &str) -> anyhow::Result<Utf8PathBuf> {
    let tree = job.name.rsplit_once('.').map_or(job.name.as_str(), |(tree, _)| tree);
    let place = runner.folder.path("git").join(format!("{tree}.git"));
    if place.exists() {
        git_in(&place).args(["fetch", "--quiet", url, "+refs/heads/*:refs/heads/*"]).run()?;
        return Ok(place);
    }
    let step = runner.progress.step(format!("fetch the history of {url}"));
    let beside = runner.folder.path("git").join(format!("{tree}.new"));
    if beside.exists() {
        fs_err::remove_dir_all(&beside)?;
    }
    fs_err::create_dir_all(runner.folder.path("git"))?;
    let clone = ["clone", "--quiet", "--bare", "--filter=blob:none", "--", url, beside.as_str()];
    git_in(runner.folder.root()).args(clone).run()?;
    fs_err::rename(&beside, &place)?;
    step.done("done");
    Ok(place)
}

/// The command that asks the same.
fn command(job: &Job, history: &History, question: &Question) -> String {
    let repository = match history {
        History::Here(dir) => dir.to_string(),
        History::Remote(url) => format!("a clone of {url}"),
    };
    let flavour =
        job.choice.flavour.map_or(String::new(), |flavour| format!(" --flavour {}", flavour.name()));
    format!(
        "cargo xtask bisect --tree {repository} --good {} --bad {}{flavour} {}",
        short(&question.good),
        short(&question.bad),
        quoted(&question.case)
    )
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
            troubled: 0,
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
