// SPDX-License-Identifier: GPL-2.0-only
//! Time lines of recorded cases, and of what a recording does not hold.

use std::fmt::Write as _;

use guest::trace::{Io, Phase, Step};

use super::io::Places;
use super::*;
use crate::event::{FORMAT, Source};
use crate::report::recorded;

fn event(t: f64, kind: Kind) -> Event {
    Event { v: FORMAT, t, src: Source::Guest, vm: Some(1), case: Some("a::b".into()), kind }
}

fn happened(t: f64, what: &str, details: &[(&str, &str)]) -> Event {
    let details = details.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    event(t, Kind::Happened { what: what.into(), details })
}

fn traced(t: f64, what: What) -> Event {
    event(t, Kind::Traced { dev: "254:0".into(), what })
}

fn io(step: Step, kind: &str, sector: u64, error: i32) -> What {
    What::Io(Io { step, kind: kind.into(), op: "W".into(), sector, sectors: 8, error })
}

fn phase(name: &str, noflush: bool, error: i32) -> Phase {
    Phase { phase: name.into(), noflush, error, deferred: 0 }
}

fn line(events: &[Event]) -> TimeLine {
    TimeLine::of(&events.iter().collect::<Vec<_>>())
}

/// All lanes as text.
fn told(line: &TimeLine) -> String {
    let mut out = String::new();
    for lane in &line.suspends {
        for span in &lane.spans {
            let noflush = if span.noflush { "noflush " } else { "" };
            let _ =
                writeln!(out, "{}: {noflush}{:?} {:.3} … {:.3}", lane.map, span.doing, span.from, span.to);
        }
    }
    for place in &line.places {
        let peak = |of: fn(&Places) -> u32| place.levels.iter().map(of).max().unwrap_or(0);
        let marks = |mark| place.marks.iter().filter(|(_, m)| *m == mark).count();
        let last = place.levels.last().copied().unwrap_or_default();
        let _ = writeln!(
            out,
            "{}: at most {} in the target, {} in the core; {} re-issued, {} completed, {} failed; {} and {} left",
            place.map,
            peak(|at| at.target),
            peak(|at| at.core),
            marks(Mark::Reissued),
            marks(Mark::Completed),
            marks(Mark::Failed),
            last.target,
            last.core,
        );
    }
    for (path, state) in line.paths.iter().flat_map(|path| path.states.iter().map(move |state| (path, state)))
    {
        let name = path.name.as_deref().unwrap_or("?");
        let _ = writeln!(out, "{} {name} {}: {:?} at {:.3}", path.map, path.dev, state.1, state.0);
    }
    if let Some(at) = line.returned.last() {
        let _ = writeln!(out, "{} pending, {} ok, {} failed", at.pending, at.ok, at.failed);
    }
    let _ = writeln!(
        out,
        "{} steps, {} lines, {} captured",
        line.steps.len(),
        line.console.len(),
        line.captured.len()
    );
    out
}

/// Of one case of the recording that the report's browser tests use.
fn recorded(run: &str, case: &str) -> TimeLine {
    let dir = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/html_report/proof");
    let run = recorded::read(&camino::Utf8Path::new(dir).join(run)).unwrap();
    TimeLine::of(&run.events.iter().filter(|event| event.case.as_deref() == Some(case)).collect::<Vec<_>>())
}

#[test]
fn a_case_that_was_recorded() {
    let case =
        "noflush::queued_io_leaves_the_target_without_returning[scsi_debug,bio,explicit,message,discard]";
    insta::assert_snapshot!(told(&recorded("pushback", case)), @r"
    pb-map: Suspending 0.310 … 0.311
    pb-map: Resuming 0.312 … 0.312
    pb-map: Suspended 0.311 … 0.312
    pb-map: noflush Suspending 0.652 … 0.667
    pb-map: noflush Command 0.593 … 0.678
    pb-map: Resuming 0.811 … 0.811
    pb-map: noflush Suspended 0.667 … 0.811
    pb-map: Command 0.752 … 0.836
    pb-map: at most 1 in the target, 1 in the core; 1 re-issued, 8 completed, 0 failed; 0 and 0 left
    pb-map sda 8:0: Usable at 0.339
    pb-map sda 8:0: Failed at 0.389
    pb-map sda 8:0: Usable at 0.811
    pb-map sda 8:0: Gone at 0.936
    pb-map sdb 8:16: Usable at 0.339
    pb-map sdb 8:16: Failed at 0.396
    pb-map sdb 8:16: Usable at 0.811
    pb-map sdb 8:16: Gone at 0.936
    0 pending, 8 ok, 0 failed
    21 steps, 6 lines, 0 captured
    ");
}

#[test]
fn the_same_without_the_feature() {
    let case =
        "noflush::queued_io_leaves_the_target_without_returning[scsi_debug,bio,explicit,message,discard]";
    insta::assert_snapshot!(told(&recorded("baseline", case)), @r"
    pb-map: Suspending 0.401 … 0.402
    pb-map: Resuming 0.403 … 0.404
    pb-map: Suspended 0.402 … 0.404
    pb-map: noflush Suspending 0.784 … 0.805
    pb-map: noflush Command 0.714 … 0.813
    pb-map: Resuming 0.950 … 0.950
    pb-map: noflush Suspended 0.805 … 0.950
    pb-map: noflush Command 0.904 … 0.970
    pb-map: at most 1 in the target, 0 in the core; 1 re-issued, 0 completed, 1 failed; 0 and 0 left
    pb-map sda 8:0: Usable at 0.431
    pb-map sda 8:0: Failed at 0.504
    pb-map sda 8:0: Gone at 0.950
    pb-map sdb 8:16: Usable at 0.431
    pb-map sdb 8:16: Failed at 0.511
    pb-map sdb 8:16: Gone at 0.950
    0 pending, 1 ok, 7 failed
    18 steps, 6 lines, 1 captured
    ");
}

#[test]
fn new_paths_take_the_place_of_deleted_ones() {
    let case = "fault::limits_outlive_the_paths[iscsi,bio,implicit,delete]";
    insta::assert_snapshot!(told(&recorded("pushback", case)), @r"
    pb-map: Suspending 0.126 … 0.126
    pb-map: Resuming 0.126 … 0.126
    pb-map: Suspended 0.126 … 0.126
    pb-map: noflush Suspending 0.291 … 0.292
    pb-map: Resuming 0.293 … 0.293
    pb-map: noflush Suspended 0.292 … 0.293
    pb-map: noflush Command 0.246 … 0.299
    pb-map: noflush Suspending 0.726 … 0.729
    pb-map: Resuming 0.731 … 0.731
    pb-map: noflush Suspended 0.729 … 0.731
    pb-map: noflush Command 0.677 … 0.739
    pb-map: at most 1 in the target, 1 in the core; 1 re-issued, 1 completed, 0 failed; 0 and 0 left
    pb-map sdb 8:16: Usable at 0.141
    pb-map sdb 8:16: Gone at 0.293
    pb-map sdb 8:16: Usable at 0.731
    pb-map sdb 8:16: Gone at 0.950
    pb-map sda 8:0: Usable at 0.141
    pb-map sda 8:0: Gone at 0.293
    pb-map sda 8:0: Usable at 0.731
    pb-map sda 8:0: Gone at 0.950
    0 pending, 1 ok, 0 failed
    21 steps, 2 lines, 0 captured
    ");
}

#[test]
fn an_io_is_in_one_place_at_a_time() {
    let steps = [
        (1.0, io(Step::Queued, "bio", 0, 0), (1, 0)),
        (1.1, io(Step::Queued, "bio", 8, 0), (2, 0)),
        (1.2, io(Step::PushedBack, "bio", 0, 0), (1, 1)),
        (1.3, io(Step::PushedBack, "bio", 8, 0), (0, 2)),
        (1.4, io(Step::Reissued, "bio", 0, 0), (0, 1)),
        (1.5, io(Step::Queued, "bio", 0, 0), (1, 1)),
        (1.6, io(Step::Reissued, "bio", 8, 0), (1, 0)),
        (1.7, io(Step::Completed, "bio", 8, 0), (1, 0)),
        (1.8, io(Step::Completed, "bio", 0, -5), (0, 0)),
    ];
    for n in 1..=steps.len() {
        let events: Vec<_> = steps[..n].iter().map(|(t, what, _)| traced(*t, what.clone())).collect();
        let last = line(&events).places[0].levels.last().copied().unwrap();
        assert_eq!((last.target, last.core), steps[n - 1].2, "after {:?}", steps[n - 1].1);
    }
}

#[test]
fn a_request_that_blk_mq_brings_back_every_100_ms_is_one() {
    let queued = || io(Step::Queued, "rq", 16, 0);
    let events = [traced(1.0, queued()), traced(1.1, queued()), traced(1.2, queued())];
    assert_eq!(line(&events).places[0].levels, [Places { t: 0.0, target: 1, core: 0 }]);
    let again = [
        traced(1.0, queued()),
        traced(1.1, io(Step::Reissued, "rq", 16, 0)),
        traced(1.2, queued()),
        traced(1.3, io(Step::Reissued, "rq", 16, 0)),
        traced(
            1.4,
            What::Io(Io {
                sectors: 0,
                ..match io(Step::Completed, "rq", 16, 0) {
                    What::Io(io) => io,
                    _ => unreachable!(),
                }
            }),
        ),
    ];
    let levels: Vec<_> = line(&again).places[0].levels.iter().map(|at| at.target).collect();
    assert_eq!(levels, [1, 0, 1, 0]);
}

#[test]
fn what_a_case_tells_of_its_io_is_enough_on_a_stock_kernel() {
    let told_io =
        |state: &str| [("io", "write 0+1"), ("state", state)].map(|(k, v)| (k.to_owned(), v.to_owned()));
    let completed = |t, state: &str| {
        event(t, Kind::Happened { what: "io completed".into(), details: told_io(state).into() })
    };
    let events = [
        happened(1.0, "io submitted", &[("io", "2 write, 1 read")]),
        completed(1.1, "ok"),
        completed(1.2, "EIO"),
        completed(1.3, "ok"),
        // Of a large batch, the first completion and the tally are told.
        happened(2.0, "io submitted", &[("io", "4000 write")]),
        completed(2.1, "ok"),
        happened(2.2, "io batch completed", &[("tally", "4000 I/Os: 3999 ok, 1 EIO")]),
    ];
    let levels: Vec<_> = line(&events).returned.iter().map(|at| (at.pending, at.ok, at.failed)).collect();
    assert_eq!(levels[..4], [(3, 0, 0), (2, 1, 0), (1, 1, 1), (0, 2, 1)]);
    assert_eq!(levels[4..6], [(4000, 0, 0), (3999, 1, 0)], "counted anew");
    assert_eq!(line(&events).steps.len(), 3, "single completions are no steps");
}

#[test]
fn what_was_going_on_when_a_case_was_cut_short_lasts_to_the_end() {
    let events = [
        traced(1.0, What::Suspend(phase("begin", true, 0))),
        happened(1.5, "suspend started", &[("map", "pb-map"), ("form", "noflush")]),
        event(9.0, Kind::Expired { clock: "case".into(), seconds: 8.0 }),
    ];
    let line = line(&events);
    let spans: Vec<_> = line.suspends.iter().flat_map(|lane| &lane.spans).collect();
    assert_eq!(
        spans.iter().map(|span| (span.doing, span.noflush, span.to)).collect::<Vec<_>>(),
        [(Doing::Suspending, true, 8.0), (Doing::Command, true, 8.0)]
    );
    assert!(
        line.steps.last().is_some_and(|step| step.bad && step.text == "the case clock ran out after 8.0 s")
    );
    assert!(TimeLine::of(&[]).is_empty());
}

#[test]
fn a_suspend_that_was_interrupted_leaves_no_suspended_map() {
    let events = [
        traced(1.0, What::Suspend(phase("begin", true, 0))),
        traced(1.1, What::Suspend(phase("interrupted", true, -512))),
        traced(1.2, What::Suspend(phase("done", true, -4))),
    ];
    let lane = &line(&events).suspends[0];
    assert_eq!(lane.spans.len(), 1);
    let bad: Vec<_> = lane.phases.iter().filter(|phase| phase.bad).map(|phase| phase.text.as_str()).collect();
    assert_eq!(bad, ["noflush suspend: interrupted, error -512", "noflush suspend: done, error -4"]);
}

#[test]
fn a_line_of_the_console_that_only_looks_like_one_of_multipaths_changes_no_path() {
    let said = |text: &str| event(1.0, Kind::Line { text: text.into() });
    let events = [
        said("[ 1.0] device-mapper: multipath: 254:0: Failing path <script>."),
        said("[ 1.0] device-mapper: multipath: Failing path 8:0."),
        said("Failing path 8:0."),
    ];
    assert!(line(&events).paths.is_empty());
    let events = [said("[ 1.0] device-mapper: multipath: 254:0: Failing path 8:0.")];
    assert_eq!(line(&events).paths[0].states, [(0.0, PathState::Failed)]);
}
