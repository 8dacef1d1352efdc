// SPDX-License-Identifier: GPL-2.0-only
//! Nights without a kernel: what is said of them, in which turn jobs run, and how one goes on after an interruption.

use camino::Utf8Path;

use super::*;
use crate::compare::{Change, Seen, Summary, What};
use crate::event::KernelFacts;
use crate::report::model;
use crate::report::recorded::results;
use crate::report::tests::every_outcome;
use verdict::Found;

fn config() -> Config {
    let dir = tempfile::tempdir().unwrap();
    let path = Utf8Path::from_path(dir.path()).unwrap().join("nightly.toml");
    let tree =
        |name: &str| format!("[[tree]]\nname = \"{name}\"\nbase = \"6.12\"\nfilters = [\"compat::\"]\n");
    fs_err::write(&path, format!("state = \"state\"\n{}{}{}", tree("a"), tree("b"), tree("c"))).unwrap();
    config::read(&path).unwrap()
}

/// A state folder for nights without kernels.
struct Lab {
    _dir: tempfile::TempDir,
    config: Config,
    folder: Folder,
}

impl Lab {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let folder = Folder::open(&Utf8Path::from_path(dir.path()).unwrap().join("state")).unwrap();
        Self { config: config(), folder, _dir: dir }
    }

    /// A night in which each job gives what is said of it; returns those that had their turn, too.
    fn night(&self, deadline: Option<Instant>, said: &[Report]) -> (Done, Vec<String>) {
        let mut turns = Vec::new();
        let done = whole(&self.config, &self.folder, deadline, &Progress::silent(), |job, _| {
            turns.push(job.name.clone());
            let said = said.iter().find(|report| report.job == job.name).cloned();
            said.unwrap_or_else(|| Report::bare(&job.name, Status::Unchanged, ""))
        });
        (done.unwrap(), turns)
    }

    fn read(&self, file: &str) -> String {
        fs_err::read_to_string(self.folder.path(file)).unwrap()
    }
}

fn seen(outcome: model::Status, message: &str, runs: u32, failed: u32) -> Seen {
    let artifacts = (failed > 0).then(|| "part-1/failures/x".to_owned());
    let assertion = (failed > 0).then(|| "no write returns".to_owned());
    let (message, troubled) = (message.into(), 0);
    Seen { outcome, assertion, splat: None, message, seconds: 0.5, runs, failed, troubled, artifacts }
}

/// A night with something of everything.
pub fn night() -> Night {
    let pass = || seen(model::Status::Pass, "", 1, 0);
    let fail = |failed| seen(model::Status::Fail, "no write returns: 3 of 32\nmore", 4, failed);
    let change = |name: &str, change, old, new| Change {
        full_name: name.into(),
        change,
        old: Some(old),
        new: Some(new),
    };
    let changes = vec![
        change("compat::x[bio]", What::NewFailure, pass(), fail(4)),
        change("compat::y[bio]", What::Flaky, pass(), fail(1)),
        change("compat::z[bio]", What::Fixed, fail(4), pass()),
    ];
    let counts =
        Summary { new_failures: 1, flaky: 1, fixed: 1, same: 317, exit_code: 1, ..Summary::default() };
    let tested = Report {
        kernel: Some(KernelFacts { release: "6.13.0-rc1".into(), ..KernelFacts::default() }),
        commit: Some("f00dfeedf00dfeed".into()),
        news: vec!["0123456789ab → f00dfeedf00d".into(), "12 commits".into(), "  abc dm: x".into()],
        run: Some("runs/main.lock/20261125-010203".into()),
        changes,
        counts,
        found: vec![Found {
            case: "compat::x[bio]".into(),
            commit: Some("c0ffee0123456789".into()),
            message: "dm: break it".into(),
            folder: Some("runs/main.lock/20261125-010203/bisect".into()),
        }],
        seconds: 412.4,
        ..Report::bare("main.lock", Status::Tested, "")
    };
    let unchanged = Report {
        counts: Summary { still_failing: 2, ..Summary::default() },
        ..Report::bare("a.lock", Status::Unchanged, "")
    };
    let failed = Report::bare("b.lock", Status::Failed, "can't fetch from https://x: no route\x1b[31m\nmore");
    let no_time = Report::bare("c.kasan", Status::NoTime, "the budget was spent");
    let jobs = vec![tested, unchanged, failed, no_time];
    Night { v: FORMAT, started: "20261125-010000".into(), finished: true, seconds: 431.0, jobs, exit_code: 1 }
}

#[test]
fn a_night_for_people() {
    insta::assert_snapshot!(text::render(&night(), Utf8Path::new("/srv/state"), false), @r#"
    night of 20261125-010000, 4 jobs in 431 s

    main.lock: tested 6.13.0-rc1, 1 new failure, 1 flaky, 1 fixed (412 s)
    a.lock: nothing new, 2 still failing (0 s)
    b.lock: failed: can't fetch from https://x: no route\u{1b}[31m (0 s)
    c.kasan: no time left: the budget was spent (0 s)

    == main.lock
      0123456789ab → f00dfeedf00d
      12 commits
        abc dm: x
      run: /srv/state/runs/main.lock/20261125-010203

    new failures:
      compat::x[bio]
          was Pass, is Fail: no write returns: 3 of 32
          see part-1/failures/x

    flaky:
      compat::y[bio]
          was Pass, is Fail (1 of 4): no write returns: 3 of 32
          see part-1/failures/x

    fixed:
      compat::z[bio]
          was Fail, is Pass

    bisected: compat::x[bio]
          c0ffee012345 dm: break it
          log and report: /srv/state/runs/main.lock/20261125-010203/bisect

    1 new failure, 2 jobs not tested
    "#);
    let json = serde_json::to_string(&night()).unwrap();
    assert_eq!(serde_json::from_str::<Night>(&json).unwrap(), night());
}

#[test]
fn who_waited_longest_comes_first() {
    let tried = [("a.lock", "20261125-010000"), ("c.lock", "20261124-010000")];
    let tried = tried.map(|(job, when)| (job.to_owned(), when.to_owned())).into();
    let state = State { v: 1, tried, ..State::default() };
    let config = config();
    let names: Vec<_> = in_turn(&config, &state).iter().map(|job| job.name.clone()).collect();
    assert_eq!(names, ["b.lock", "c.lock", "a.lock"]);
    // One that failed had its turn as well; one without time had none.
    let lab = Lab::new();
    let failed =
        ["a", "b", "c"].map(|tree| Report::bare(&format!("{tree}.lock"), Status::Failed, "no route"));
    assert_eq!(lab.night(None, &failed).1, ["a.lock", "b.lock", "c.lock"]);
    let mut state = lab.folder.state().unwrap();
    assert_eq!(state.tried.len(), 3);
    state.tried.remove("c.lock");
    lab.folder.write_state(&state).unwrap();
    let (done, turns) = lab.night(Some(Instant::now()), &[]);
    assert_eq!((turns.len(), done.night.jobs[0].job.as_str()), (0, "c.lock"));
    assert_eq!(done.night.jobs.iter().map(|report| report.status).collect::<Vec<_>>(), [Status::NoTime; 3]);
    assert_eq!(lab.folder.state().unwrap(), state);
}

#[test]
fn an_interrupted_night_is_told_with_its_code_and_goes_on() {
    let lab = Lab::new();
    let failure = Report { job: "a.lock".into(), ..night().jobs[0].clone() };
    let interrupted = Report::bare("b.lock", Status::Interrupted, "interrupted");
    fs_err::create_dir(lab.folder.path("junit")).unwrap();
    let (done, turns) = lab.night(None, &[failure.clone(), interrupted]);
    assert_eq!(turns, ["a.lock", "b.lock"], "nothing is begun after the interruption");
    assert_eq!((done.night.finished, done.night.code(), done.night.exit_code), (false, Code::CaseFailed, 1));
    assert!(!lab.folder.path("junit").exists(), "those of another night");
    let text = lab.read("night.txt");
    assert!(text.contains("b.lock: interrupted: interrupted (0 s)\n"), "{text}");
    assert!(
        text.ends_with(
            "1 new failure, 1 jobs not tested; interrupted (hint: the same command goes on with it)\n"
        ),
        "{text}"
    );
    assert!(!lab.folder.path("nights").exists());
    assert!(lab.read("index.html").contains("1 new failure"));
    fs_err::create_dir(lab.folder.path("junit")).unwrap();
    // The failure of a job that is done counts in the night that goes on.
    let (done, turns) = lab.night(None, &[]);
    assert_eq!(turns, ["b.lock", "c.lock"]);
    assert_eq!((done.night.finished, done.night.exit_code), (true, 1));
    assert!(lab.folder.path("junit").exists(), "those of this night");
    assert_eq!(lab.read("night.txt"), lab.read(&format!("nights/{}.txt", done.night.started)));
    // An interruption of the one that failed anew: 1 stays 1.
    let unfinished = Report { status: Status::Interrupted, ..failure };
    let (done, _) = lab.night(None, &[unfinished]);
    assert_eq!((done.night.jobs.len(), done.night.code()), (1, Code::CaseFailed));
}

#[test]
fn a_night_that_was_interrupted_long_ago_is_over() {
    let lab = Lab::new();
    let jobs = vec![Report::bare("a.lock", Status::Tested, "")];
    let old = Night { v: FORMAT, started: "20261101-010000".into(), jobs, ..Night::default() };
    for (hours, turns) in [(23, 2), (25, 3)] {
        lab.folder.write_night(&old).unwrap();
        let file = fs_err::OpenOptions::new().write(true).open(lab.folder.path("night.json")).unwrap();
        file.file().set_modified(SystemTime::now() - Duration::from_secs(hours * 60 * 60)).unwrap();
        let (done, had) = lab.night(None, &[]);
        assert_eq!((had.len(), done.night.started == old.started), (turns, turns == 2));
        assert!(lab.folder.path("nights/20261101-010000.txt").exists());
    }
}

#[test]
fn the_index_shows_the_runs_of_all_jobs() {
    let lab = Lab::new();
    for (job, stamp) in
        [("a.lock", "20261124-010203"), ("a.lock", "20261125-010203"), ("c.lock", "20261125-030405")]
    {
        let run = lab.folder.path("runs").join(job).join(stamp);
        let text = serde_json::to_string(&model::fold(&every_outcome())).unwrap();
        write_file(&run.join("results.json"), &text).unwrap();
        assert!(results(&run).is_ok());
    }
    // One without results, and one that nobody can read.
    fs_err::create_dir_all(lab.folder.path("runs/a.lock/20261126-010203/part-1")).unwrap();
    write_file(&lab.folder.path("runs/c.lock/20261126-010203/results.json"), "{").unwrap();
    lab.night(None, &[Report::bare("b.lock", Status::Failed, "no route")]);
    let page = lab.read("index.html");
    let links: Vec<&str> = page.split("href=\"").skip(1).filter_map(|rest| rest.split('"').next()).collect();
    let pages: Vec<&&str> = links.iter().filter(|link| link.ends_with("/report.html")).collect();
    assert_eq!(
        pages,
        [
            &"runs/a.lock/20261125-010203/report.html",
            &"runs/a.lock/20261124-010203/report.html",
            &"runs/c.lock/20261125-030405/report.html"
        ]
    );
    assert!(links.iter().any(|link| link.starts_with("runs/c.lock/20261125-030405/cases/")), "{links:?}");
    assert!(page.contains("b.lock: failed: no route"), "a job without runs is told of");
}

#[test]
fn an_interrupted_night_goes_on_with_what_is_not_done() {
    let report = |name: &str, status| Report::bare(name, status, "");
    let jobs = vec![
        report("a.lock", Status::Tested),
        report("b.lock", Status::Failed),
        report("c.lock", Status::NoTime),
        report("gone.lock", Status::Tested),
    ];
    let night = Night { started: "x".into(), jobs, ..Night::default() };
    let night = resumed(night, &config(), &Progress::silent());
    assert_eq!(night.jobs, [report("a.lock", Status::Tested)]);
    assert_eq!(night.started, "x");
}
