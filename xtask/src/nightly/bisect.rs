// SPDX-License-Identifier: GPL-2.0-only
//! From the new failures of a job to the bisections that explain them: which cases, between which commits, in which
//! repository. What there was no time for, or what the host prevented, is asked again the next night.
//!
//! ```text
//! RUN/bisect/found.json    the questions that were answered: an interruption loses none
//! RUN/bisect/STAMP/        the runs of a bisection, its log and its mail
//! ```

use std::collections::BTreeMap;
use std::time::Instant;

use camino::{Utf8Path, Utf8PathBuf};
use serde::{Deserialize, Serialize};

use super::config::{History, Job};
use super::job::{Runner, short};
use super::state::Memory;
use super::verdict::{Found, Report};
use crate::bisect::state::{End, State};
use crate::bisect::{Asked, Resume, odds};
use crate::compare::Change;
use crate::exit::{Code, code_of};
use crate::interrupt;
use crate::kernel::{PATIENCE, remote_git, shown_url};
use crate::report::terminal::quoted;
use crate::report::write_file;
use crate::run::prepare::{Choice, Setting, as_option};
use crate::verbs::bisect::bisect;

/// In so many runs a bug that shows in half of them stays hidden once in a thousand times. One that shows in fewer seldom
/// fails in all reruns of the night, and is called flaky then.
const RUNS: u32 = 10;

/// One bisection.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Question {
    /// The case that tells good from bad.
    pub case: String,
    /// How many more failed in the same way.
    pub others: usize,
    /// Where it passed.
    pub good: String,
    /// Where it fails.
    pub bad: String,
}

/// A question with its answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Answer {
    question: Question,
    found: Found,
}

/// What is to be asked of a job: what was left open, as long as it fails, and the new failures. `known` has learned of
/// this run already.
pub fn questions(job: &Job, report: &Report, known: &Memory) -> Vec<Question> {
    if !job.bisect || job.history.is_none() {
        return vec![];
    }
    let fails =
        |question: &&Question| known.cases.get(&question.case).is_some_and(|known| known.seen.always_fails());
    let mut all: Vec<Question> = known.open.iter().filter(fails).cloned().collect();
    if let Some(bad) = &report.commit {
        all.extend(of_failures(&report.new_failures().collect::<Vec<_>>(), known, bad));
    }
    all
}

/// Answers the questions as far as time goes, into the report; returns those that are open still. The error is the user's
/// interruption.
pub fn answer(
    runner: &Runner<'_>,
    job: &Job,
    report: &mut Report,
    questions: Vec<Question>,
) -> anyhow::Result<Vec<Question>> {
    let (Some(history), Some(run)) = (&job.history, report.run.clone()) else { return Ok(vec![]) };
    let file = runner.folder.path(&run).join("bisect/found.json");
    report.found.clear();
    remaining(&file, questions, &mut report.found, |question| ask(runner, job, history, &run, question))
}

/// The same, with whoever knows how to ask: it says whether what it found is an answer.
fn remaining(
    file: &Utf8Path,
    questions: Vec<Question>,
    found: &mut Vec<Found>,
    mut ask: impl FnMut(&Question) -> anyhow::Result<(Found, bool)>,
) -> anyhow::Result<Vec<Question>> {
    // Without it, or with half of it, everything is asked again.
    let text = std::fs::read_to_string(file).unwrap_or_default();
    let mut answers: Vec<Answer> = serde_json::from_str(&text).unwrap_or_default();
    let mut open = Vec::new();
    for question in questions {
        if let Some(answer) = answers.iter().find(|answer| answer.question == question) {
            found.push(answer.found.clone());
            continue;
        }
        let (new, is_answer) = ask(&question)?;
        found.push(new.clone());
        if is_answer {
            answers.push(Answer { question, found: new });
            write_file(file, &(serde_json::to_string_pretty(&answers)? + "\n"))?;
        } else {
            open.push(question);
        }
    }
    Ok(open)
}

/// Failures at one assertion that began between the same two commits have one cause, as long as nobody knows better. One
/// that never passed has no good commit, and nothing that could be searched.
fn of_failures(failures: &[&Change], known: &Memory, bad: &str) -> Vec<Question> {
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

/// Asks one question, and says whether what it gives is the answer. What goes wrong is told beside it, for the failure
/// itself is believed already; only the user's interruption is an error.
fn ask(
    runner: &Runner<'_>,
    job: &Job,
    history: &History,
    run: &str,
    question: &Question,
) -> anyhow::Result<(Found, bool)> {
    let not_found = |why: &str, is_answer: bool| {
        let command = command(runner, job, history, question);
        let next = if is_answer { "to find the commit" } else { "the next night goes on, and by hand" };
        let message = format!("{why}; {next}: {command}");
        (Found { case: question.told(), commit: None, message, folder: None }, is_answer)
    };
    if runner.deadline.is_some_and(|deadline| Instant::now() >= deadline) {
        return Ok(not_found("the budget was spent before its turn", false));
    }
    runner.progress.line(&format!("== bisect {}", question.told()));
    match search(runner, job, history, run, question) {
        Ok(found) => Ok((found, true)),
        Err(error) if interrupt::requested() => Err(error),
        Err(error) => Ok(not_found(&format!("{error:#}"), code_of(&error) != Code::HostFailed)),
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
        repeat: repeat(runner),
        flavour: as_option(&flavour.unwrap_or_default()),
        boot: as_option(&boot),
        // What is not committed was not tested either: such a tree has no commit.
        allow_dirty: true,
    };
    let out = runner.folder.path(run).join("bisect");
    let setting = Setting { flavour, accel, boot, out, yes: runner.yes };
    // An interrupted night goes on with its bisection, too; one that the user has under way is not for us to drop.
    let resume = Resume::Apart { name: &job.name, until: runner.deadline };
    let told = bisect(&repository, Some(asked), resume, &setting, runner.jobs, runner.progress)?;
    let (commit, message) = outcome(&told.state);
    let folder = Some(runner.folder.relative(Utf8Path::new(&told.state.runs)));
    Ok(Found { case: question.told(), commit, message, folder })
}

/// The commit, if it was found, and what a night says about it: also how far that can be trusted, for nobody was there to
/// choose the number of runs.
fn outcome(state: &State) -> (Option<String>, String) {
    let (commit, mut message) = match &state.end {
        Some(End::Found(id)) => {
            let step = state.steps.iter().find(|step| step.commit == *id);
            (Some(id.clone()), step.map_or_else(|| "the last commit".to_owned(), |step| step.subject.clone()))
        }
        Some(End::OneOf(ids)) => {
            let ids: Vec<&str> = ids.iter().map(|id| short(id)).collect();
            (None, format!("one of {}, which can't be tested", ids.join(", ")))
        }
        None => return (None, "no end".to_owned()),
    };
    if let Some(odds) = state.odds() {
        let odds = odds::in_short(odds, state.question.repeat, state.good_steps());
        message = format!("{message}; {odds}");
    }
    (commit, message)
}

/// Runs a commit: at least [`RUNS`], and not less than those after which the failure was believed.
fn repeat(runner: &Runner<'_>) -> u32 {
    runner.config.confirm.max(RUNS)
}

/// Where the clone of a job's repository is, or goes: one for all flavours.
fn place_of_clone(runner: &Runner<'_>, job: &Job) -> Utf8PathBuf {
    let tree = job.name.rsplit_once('.').map_or(job.name.as_str(), |(tree, _)| tree);
    runner.folder.path("git").join(format!("{tree}.git"))
}

/// A clone of a remote repository with all of its history, and with files as they are asked for.
fn cloned(runner: &Runner<'_>, job: &Job, url: &str) -> anyhow::Result<Utf8PathBuf> {
    let place = place_of_clone(runner, job);
    let step = runner.progress.step(format!("fetch the history of {}", shown_url(url)));
    fetch_history(url, &place)?;
    step.done("done");
    Ok(place)
}

fn fetch_history(url: &str, place: &Utf8Path) -> anyhow::Result<()> {
    if place.exists() {
        let git = || remote_git().args(["--git-dir", place.as_str()]);
        // The tree may have another URL by now, and files that are asked for later come from there as well.
        git().args(["remote", "set-url", "origin", url]).run()?;
        git().args(["fetch", "--quiet", "--prune", "origin", "+refs/heads/*:refs/heads/*"]).run()?;
        return Ok(());
    }
    let beside = place.with_extension("new");
    if beside.exists() {
        fs_err::remove_dir_all(&beside)?;
    }
    if let Some(parent) = place.parent() {
        fs_err::create_dir_all(parent)?;
    }
    let clone = remote_git().args(["clone", "--quiet", "--bare", "--filter=blob:none"]);
    // Kept in the clone, for whoever fetches files later.
    let clone = PATIENCE.into_iter().fold(clone, |clone, setting| clone.args(["--config", setting]));
    clone.args(["--", url, beside.as_str()]).run()?;
    Ok(fs_err::rename(&beside, place)?)
}

/// The command that asks the same.
fn command(runner: &Runner<'_>, job: &Job, history: &History, question: &Question) -> String {
    let (clone, repository) = match history {
        History::Here(dir) => (String::new(), dir.clone()),
        History::Remote(url) => {
            let place = place_of_clone(runner, job);
            let clone =
                format!("git clone --bare {} {} && ", quoted(&shown_url(url)), quoted(place.as_str()));
            (if place.exists() { String::new() } else { clone }, place)
        }
    };
    let flavour =
        job.choice.flavour.map_or(String::new(), |flavour| format!(" --flavour {}", flavour.name()));
    format!(
        "{clone}cargo xtask bisect --tree {} --good {} --bad {} --repeat {}{flavour} {}",
        quoted(repository.as_str()),
        short(&question.good),
        short(&question.bad),
        repeat(runner),
        quoted(&question.case)
    )
}

#[cfg(test)]
#[path = "bisect_tests.rs"]
mod tests;
