// SPDX-License-Identifier: GPL-2.0-only
//! Tests of a night's bisections: which questions are asked, what is told, what an interruption keeps.

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
    let told: Vec<_> = questions.iter().map(|question| (question.told(), question.good.as_str())).collect();
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
    let change = Change { full_name: "a::new".into(), change: What::NewFailure, old: None, new: Some(new) };
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
    insta::assert_snapshot!(message, @"dm: 4; it showed in 1 of 2 runs of the bad commit, so all verdicts are right with 75.0 % (lower bound 5 %)");
}

#[test]
fn the_history_is_that_of_the_url_that_the_tree_has_now() {
    let dir = tempfile::tempdir().unwrap();
    let root = Utf8Path::from_path(dir.path()).unwrap();
    let git = |dir: &Utf8Path, args: &[&str]| {
        let identity = ["-c", "user.name=x", "-c", "user.email=x@localhost", "-c", "commit.gpgsign=false"];
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
