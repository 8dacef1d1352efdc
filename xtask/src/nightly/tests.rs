// SPDX-License-Identifier: GPL-2.0-only
//! Nights without a kernel: what is said of them, in which turn jobs run, and how one goes on after an interruption.

use camino::Utf8Path;

use super::*;
use crate::compare::{Change, Seen, Summary, What};
use crate::event::KernelFacts;
use crate::report::model;
use state::Memory;
use verdict::Found;

fn config() -> Config {
    let dir = tempfile::tempdir().unwrap();
    let path = Utf8Path::from_path(dir.path()).unwrap().join("nightly.toml");
    let tree =
        |name: &str| format!("[[tree]]\nname = \"{name}\"\nbase = \"6.12\"\nfilters = [\"compat::\"]\n");
    fs_err::write(&path, format!("state = \"state\"\n{}{}{}", tree("a"), tree("b"), tree("c"))).unwrap();
    config::read(&path).unwrap()
}

fn seen(outcome: model::Status, message: &str, runs: u32, failed: u32) -> Seen {
    let artifacts = (failed > 0).then(|| "part-1/failures/x".to_owned());
    let assertion = (failed > 0).then(|| "no write returns".to_owned());
    let (message, troubled) = (message.into(), 0);
    Seen { outcome, assertion, splat: None, message, seconds: 0.5, runs, failed, troubled, artifacts }
}

fn night() -> Night {
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
    let counts = Summary { new_failures: 1, flaky: 1, fixed: 1, same: 317, ..Summary::default() };
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
    let memory = |run: &str| Memory { run: format!("runs/x/{run}"), ..Memory::default() };
    let jobs =
        [("a.lock".to_owned(), memory("20261125-010000")), ("c.lock".to_owned(), memory("20261124-010000"))];
    let state = State { v: 1, jobs: jobs.into() };
    let config = config();
    let names: Vec<_> = in_turn(&config, &state).iter().map(|job| job.name.clone()).collect();
    assert_eq!(names, ["b.lock", "c.lock", "a.lock"]);
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
