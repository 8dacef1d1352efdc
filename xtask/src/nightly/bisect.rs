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
mod tests {
    use anyhow::bail;
    use clap::Parser as _;

    use super::*;
    use crate::Cli;
    use crate::bisect;
    use crate::bisect::state::{Rev, Step};
    use crate::bisect::trial::{Runs, Trial, Verdict};
    use crate::cache::Cache;
    use crate::compare::{Seen, What};
    use crate::kernel::git_in;
    use crate::nightly::config;
    use crate::nightly::state::{Folder, Known};
    use crate::nightly::verdict;
    use crate::progress::Progress;
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
        let questions = of_failures(&failures.iter().collect::<Vec<_>>(), &memory, "2");
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
    fn question(case: &str) -> Question {
        Question { case: case.into(), others: 0, good: "1".repeat(40), bad: "2".repeat(40) }
    }

    /// What there is before the first night of one tree.
    struct Lab {
        dir: tempfile::TempDir,
        config: config::Config,
        folder: Folder,
        cache: Cache,
        progress: Progress,
    }

    impl Lab {
        fn new(tree: &str) -> Self {
            let dir = tempfile::tempdir().unwrap();
            let root = Utf8Path::from_path(dir.path()).unwrap();
            let file = root.join("nightly.toml");
            let text =
                format!("state = \"the state\"\nfilters = [\"compat::\"]\n[[tree]]\nname = \"a\"\n{tree}\n");
            fs_err::write(&file, text).unwrap();
            let config = config::read(&file).unwrap();
            let folder = Folder::open(&config.state).unwrap();
            let cache = Cache::at(&root.join("cache")).unwrap();
            let progress = Progress::silent();
            Self { dir, config, folder, cache, progress }
        }

        fn runner(&self) -> Runner<'_> {
            let Self { config, folder, cache, progress, .. } = self;
            Runner { config, folder, cache, jobs: None, yes: true, progress, deadline: None }
        }

        fn job(&self) -> &Job {
            &self.config.jobs[0]
        }
    }

    #[test]
    fn what_was_left_open_is_asked_as_long_as_it_fails() {
        let lab = Lab::new("git = \"https://example.org/x.git\"\nref = \"master\"");
        let passes = Seen { outcome: Status::Pass, failed: 0, ..seen("x") };
        let known = |seen: Seen| Known { seen, good: Some("1".repeat(40)) };
        let cases = [("a::fails", seen("x")), ("a::fixed", passes), ("a::new", seen("y"))];
        let memory = Memory {
            cases: cases.map(|(name, seen)| (name.to_owned(), known(seen))).into(),
            open: ["a::fails", "a::fixed", "a::gone"].map(question).to_vec(),
            ..Memory::default()
        };
        let new = seen("y");
        let change =
            Change { full_name: "a::new".into(), change: What::NewFailure, old: None, new: Some(new) };
        let report = Report {
            commit: Some("2".repeat(40)),
            changes: vec![change],
            ..Report::bare("a.lock", verdict::Status::Tested, "")
        };
        assert_eq!(questions(lab.job(), &report, &memory), ["a::fails", "a::new"].map(question));
        let job = Job { bisect: false, ..lab.job().clone() };
        assert!(questions(&job, &report, &memory).is_empty());
    }

    #[test]
    fn an_interruption_loses_no_answer() {
        let dir = tempfile::tempdir().unwrap();
        let file = Utf8Path::from_path(dir.path()).unwrap().join("bisect/found.json");
        let all = || ["a::found", "a::no_time", "a::interrupted"].map(question).to_vec();
        let mut asked = Vec::new();
        let mut night = |end: bool| {
            let mut found = Vec::new();
            let open = remaining(&file, all(), &mut found, |question| {
                asked.push(question.case.clone());
                if question.case == "a::interrupted" && !end {
                    bail!("interrupted");
                }
                let (case, message) = (question.case.clone(), String::new());
                Ok((Found { case, commit: None, message, folder: None }, question.case != "a::no_time"))
            });
            (open.ok(), found.len())
        };
        assert_eq!(night(false), (None, 2));
        assert_eq!(night(true), (Some(vec![question("a::no_time")]), 3));
        let (first, second) = asked.split_at(3);
        assert_eq!(first, ["a::found", "a::no_time", "a::interrupted"]);
        assert_eq!(second, ["a::no_time", "a::interrupted"]);
    }

    #[test]
    fn how_far_a_result_can_be_trusted_is_told() {
        let rev = |digit: &str| Rev { name: digit.repeat(40), commit: digit.repeat(40) };
        let question = bisect::state::Question {
            repository: "/linux/.git".into(),
            good: rev("1"),
            bad: rev("2"),
            cases: vec!["a::b".into()],
            repeat: 2,
            flavour: "lock".into(),
            boot: "image".into(),
        };
        let mut state = State::new(question, Utf8Path::new("/runs/1"));
        let trial = |verdict, failed: &[u32], passed: &[u32]| {
            let runs =
                Runs { failed: failed.iter().copied().collect(), passed: passed.iter().copied().collect() };
            Trial { verdict, runs: [("a::b".to_owned(), runs)].into(), ..Trial::skip(String::new()) }
        };
        state.bad = Some(trial(Verdict::Bad, &[1], &[2]));
        state.good = Some(trial(Verdict::Good, &[], &[1, 2]));
        let step = |digit: &str, trial| Step {
            commit: digit.repeat(40),
            subject: format!("dm: {digit}"),
            left: 2,
            trial,
        };
        state.steps =
            vec![step("3", trial(Verdict::Good, &[], &[1, 2])), step("4", trial(Verdict::Bad, &[1], &[]))];
        state.end = Some(End::Found("4".repeat(40)));
        let (commit, message) = outcome(&state);
        assert_eq!(commit, Some("4".repeat(40)));
        insta::assert_snapshot!(message, @"dm: 4; it showed in 1 of 2 runs of the bad commit, so all verdicts are right with 75.0 % (at least 5 %)");
    }

    #[test]
    fn the_history_is_that_of_the_url_that_the_tree_has_now() {
        let dir = tempfile::tempdir().unwrap();
        let root = Utf8Path::from_path(dir.path()).unwrap();
        let git = |dir: &Utf8Path, args: &[&str]| {
            let identity =
                ["-c", "user.name=x", "-c", "user.email=x@localhost", "-c", "commit.gpgsign=false"];
            git_in(dir).args(identity).args(args.iter().copied()).read().unwrap().text
        };
        let upstream = |name: &str| {
            let dir = root.join(name);
            fs_err::create_dir(&dir).unwrap();
            git(&dir, &["init", "--quiet", "--initial-branch=master"]);
            git(&dir, &["commit", "--quiet", "--allow-empty", "--message", name]);
            (format!("file://{dir}"), git(&dir, &["rev-parse", "HEAD"]))
        };
        let (old, new) = (upstream("old"), upstream("new"));
        let place = root.join("git/a.git");
        for (url, commit) in [old, new] {
            fetch_history(&url, &place).unwrap();
            assert_eq!(git(&place, &["rev-parse", "master"]), commit);
            assert_eq!(git(&place, &["config", "remote.origin.url"]), url);
        }
        assert_eq!(git(&place, &["config", "http.lowSpeedTime"]), "60");
    }

    #[test]
    fn the_command_that_is_told_can_be_run() {
        let case = crate::verbs::test::default_plan().unwrap()[0].full_name();
        let told = |lab: &Lab| {
            let job = lab.job();
            command(&lab.runner(), job, job.history.as_ref().unwrap(), &question(&case))
                .replace(lab.dir.path().to_str().unwrap(), "DIR")
                .replace(&case, "CASE")
        };
        let far = Lab::new("git = \"https://me:secret@example.org/x.git\"\nref = \"master\"");
        let mut here = Lab::new("path = \"linux\"\nflavours = [\"kasan\"]");
        here.config.jobs[0].history = Some(History::Here(here.config.state.with_file_name("linux")));
        insta::assert_snapshot!(told(&far), @"git clone --bare https://example.org/x.git 'DIR/the state/git/a.git' && cargo xtask bisect --tree 'DIR/the state/git/a.git' --good 111111111111 --bad 222222222222 --repeat 10 --flavour lock 'CASE'");
        fs_err::create_dir_all(far.folder.path("git/a.git")).unwrap();
        insta::assert_snapshot!(told(&far), @"cargo xtask bisect --tree 'DIR/the state/git/a.git' --good 111111111111 --bad 222222222222 --repeat 10 --flavour lock 'CASE'");
        insta::assert_snapshot!(told(&here), @"cargo xtask bisect --tree DIR/linux --good 111111111111 --bad 222222222222 --repeat 10 --flavour kasan 'CASE'");
        for told in [told(&far), told(&here)] {
            let words = shlex::split(&told).unwrap();
            Cli::try_parse_from(words.iter().skip(1)).unwrap();
        }
    }
}
