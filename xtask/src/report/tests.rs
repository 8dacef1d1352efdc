// SPDX-License-Identifier: GPL-2.0-only
//! Every report of one stream that has every outcome in it; the KTAP is read back by a small checker.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod ktap_reader;
mod snapshots;

use guest::condition::{Condition, Fault, QueueMode, SuspendForm, Transport};
use guest::message::Cut;
use guest::trace::{Io, Step, What};
use proptest::prelude::*;

use super::model::{Status, exit_code, fold};
use super::*;
use crate::event::{Event, FORMAT, HostFacts, KernelFacts, Kind, Source};
use crate::outcome::Outcome;
use ktap_reader::check_ktap;

fn event(t: f64, case: Option<&str>, kind: Kind) -> Event {
    Event { v: FORMAT, t, src: Source::Host, vm: Some(1), case: case.map(str::to_owned), kind }
}

fn condition(queue_mode: QueueMode) -> Condition {
    Condition {
        transport: Some(Transport::ScsiDebug),
        queue_mode: Some(queue_mode),
        suspend: Some(SuspendForm::Explicit),
        ..Condition::default()
    }
}

fn started(planned: &[&str]) -> Event {
    let kernel = KernelFacts {
        source: "base 6.12".into(),
        variant: "stock".into(),
        release: String::new(),
        id: "0123abcd".into(),
        observe: true,
        flavour: "lock".into(),
        unknown_symbols: vec!["DM_PUSHBACK_OBSERVE".into()],
    };
    let host = HostFacts {
        qemu: "QEMU emulator version 7.2.0".into(),
        accel: "tcg".into(),
        boot: "image".into(),
        accel_reason: "KVM opens but does not boot Linux".into(),
        cpus: 2,
        memory_mib: 7800,
    };
    let planned = planned.iter().map(|&name| name.to_owned()).collect();
    event(0.0, None, Kind::RunStarted { kernel, host, stress: None, partition: None, planned })
}

fn outcome(t: f64, full: &str, condition: Condition, outcome: Outcome) -> Event {
    let artifacts =
        (outcome != Outcome::Pass).then(|| format!("cases/{}", full.replace([':', '[', ']', ' '], "-")));
    let name = full.split(['[', ' ']).next().unwrap().to_owned();
    event(t, Some(full), Kind::CaseOutcome { name, condition, outcome, seconds: t / 10.0, artifacts })
}

fn traced(t: f64, step: Step, error: i32) -> Event {
    let io = Io { step, kind: "bio".into(), op: "W".into(), sector: 56, sectors: 8, error };
    let what = What::Io(io);
    event(
        t,
        Some("normal::queued_io_leaves[scsi_debug,bio,explicit]"),
        Kind::Traced { dev: "253:0".into(), what },
    )
}

/// Of the failure, in an order that is not that of the times.
fn trace() -> Vec<Event> {
    let bio = condition(QueueMode::Bio);
    vec![
        event(
            12.0,
            Some("normal::queued_io_leaves[scsi_debug,bio,explicit]"),
            Kind::CaseStarted { name: "normal::queued_io_leaves".into(), condition: bio, deadline: 30.0 },
        ),
        traced(12.5, Step::Refused, -5),
        traced(12.25, Step::Queued, 0),
        event(
            12.6,
            Some("normal::queued_io_leaves[scsi_debug,bio,explicit]"),
            Kind::TraceCut { cut: Cut { left_out: 0, lost: 3, unreadable: vec!["odd \u{1b}".into()] } },
        ),
    ]
}

fn ended(interrupted: bool) -> Event {
    event(60.0, None, Kind::RunEnded { interrupted, seconds: 60.25 })
}

/// One stream with every outcome, and with the trace of one.
pub fn every_outcome() -> Vec<Event> {
    [trace(), outcomes()].concat()
}

/// In an order that is not that of the plan.
fn outcomes() -> Vec<Event> {
    let (bio, rq) = (condition(QueueMode::Bio), condition(QueueMode::Rq));
    let text = str::to_owned;
    vec![
        started(&[
            "compat::queued_io_fails[scsi_debug,bio,explicit]",
            "compat::queued_io_fails[scsi_debug,rq,explicit]",
            "compat::io_fails_without_paths[scsi_debug,bio,explicit]",
            "compat::io_fails_without_paths[scsi_debug,bio,explicit] #2",
            "normal::queued_io_leaves[scsi_debug,bio,explicit]",
            "normal::queued_io_leaves[scsi_debug,rq,explicit]",
            "normal::needs_debugfs",
            "normal::wedged",
            "normal::vm_went_away",
            "normal::no_tool",
            "normal::never_started[scsi_debug,bio,explicit,offline]",
            "normal::unfinished[scsi_debug,rq,explicit]",
        ]),
        event(
            4.0,
            None,
            Kind::VmReady {
                seconds: 3.5,
                release: "6.12.117".into(),
                time_factor: 1.0,
                missing_modules: [("dm-dust".into(), "not found".into())].into(),
                observed: true,
            },
        ),
        outcome(12.0, "compat::io_fails_without_paths[scsi_debug,bio,explicit] #2", bio, Outcome::Pass),
        outcome(10.0, "compat::queued_io_fails[scsi_debug,bio,explicit]", bio, Outcome::Pass),
        outcome(
            11.0,
            "compat::queued_io_fails[scsi_debug,rq,explicit]",
            rq,
            Outcome::KnownDeviation {
                assertion: "every queued write fails with EIO".into(),
                reason: "stock request-based multipath keeps requeued requests over a flush suspend".into(),
            },
        ),
        outcome(11.5, "compat::io_fails_without_paths[scsi_debug,bio,explicit]", bio, Outcome::Pass),
        outcome(
            13.0,
            "normal::queued_io_leaves[scsi_debug,bio,explicit]",
            bio,
            Outcome::Fail {
                assertion: "no write returns".into(),
                message: text(
                    "3 of 32 returned with EIO\nthe first: #7 <sector 56> & \"its\" neighbours\x1b[31m\0",
                ),
            },
        ),
        outcome(
            14.0,
            "normal::queued_io_leaves[scsi_debug,rq,explicit]",
            rq,
            Outcome::KernelSplat {
                splat: "warning".into(),
                message: "WARNING: CPU: 1 PID: 77 at drivers/md/dm-rq.c:195 f+0x1/0x2 ]]>".into(),
            },
        ),
        outcome(
            15.0,
            "normal::needs_debugfs",
            Condition::default(),
            Outcome::Skipped { reason: "this kernel has no BLK_DEBUG_FS".into() },
        ),
        outcome(
            40.0,
            "normal::wedged",
            Condition::default(),
            Outcome::Timeout {
                message: "case clock, 30.0 s: waiting for `map reports 0 valid paths`".into(),
            },
        ),
        outcome(
            41.0,
            "normal::vm_went_away",
            Condition::default(),
            Outcome::VmLost { message: "QEMU ended with signal 6".into() },
        ),
        outcome(
            42.0,
            "normal::no_tool",
            Condition::default(),
            Outcome::Infra { message: "the image has no dmsetup".into() },
        ),
        event(
            43.0,
            Some("normal::unfinished[scsi_debug,rq,explicit]"),
            Kind::CaseStarted { name: "normal::unfinished".into(), condition: rq, deadline: 30.0 },
        ),
        ended(true),
    ]
}

#[test]
fn counts_agree() {
    let sum = fold(&every_outcome()).summary;
    assert_eq!(
        sum.total,
        sum.passed + sum.failed + sum.known_deviations + sum.skipped + sum.infra + sum.not_run
    );
    assert_eq!(sum.outcomes.values().sum::<usize>(), sum.total);
}

#[test]
fn exit_codes() {
    let of = |outcomes: &[Outcome], interrupted: bool| {
        let names: Vec<_> = (0..outcomes.len()).map(|n| format!("a::b #{n}")).collect();
        let names: Vec<_> = names.iter().map(String::as_str).collect();
        let mut stream = vec![started(&names)];
        stream.extend(
            outcomes.iter().zip(&names).map(|(o, name)| outcome(1.0, name, Condition::default(), o.clone())),
        );
        stream.push(ended(interrupted));
        exit_code(&fold(&stream)) as u8
    };
    let fail = Outcome::VmLost { message: String::new() };
    let infra = Outcome::Infra { message: String::new() };
    let skip = Outcome::Skipped { reason: String::new() };
    let known = Outcome::KnownDeviation { assertion: String::new(), reason: String::new() };
    assert_eq!(of(&[Outcome::Pass, skip.clone(), known.clone()], false), 0);
    assert_eq!(of(std::slice::from_ref(&known), false), 0);
    assert_eq!(of(&[Outcome::Pass, infra.clone(), fail.clone()], false), 1, "a proven failure is bad");
    assert_eq!(of(std::slice::from_ref(&fail), true), 1, "also when the user stopped the run after it");
    assert_eq!(of(&[Outcome::Pass, infra], false), 128);
    assert_eq!(of(&[Outcome::Pass], true), 128);
    assert_eq!(of(&[], false), 128);
    assert_eq!(of(&[skip.clone(), skip], false), 125, "a kernel that shows nothing is not good");
}

#[test]
fn what_the_stream_does_not_hold_is_no_pass() {
    // Planned and silent, in a run that says it is complete.
    let results = fold(&[started(&["a::b[scsi_debug,rq,implicit,delete]"]), ended(false)]);
    assert_eq!((results.cases[0].outcome, results.summary.exit_code), (Status::NotRun, 128));
    assert_eq!(results.cases[0].conditions.fault, Some(Fault::Delete));
    // The stream breaks off after a pass.
    let results = fold(&[started(&["a::b"]), outcome(1.0, "a::b", Condition::default(), Outcome::Pass)]);
    assert_eq!(
        (results.summary.passed, results.summary.complete, results.summary.exit_code),
        (1, false, 128)
    );
    // Two outcomes: the worse one stands, in either order.
    let fail = Outcome::Fail { assertion: "x".into(), message: "y".into() };
    for outcomes in [[Outcome::Pass, fail.clone()], [fail, Outcome::Pass]] {
        let [first, second] = outcomes.map(|o| outcome(1.0, "a::b", Condition::default(), o));
        let results = fold(&[started(&["a::b"]), first, second, ended(false)]);
        assert_eq!((results.summary.total, results.cases[0].outcome), (1, Status::Fail));
    }
    assert_eq!(fold(&[]).summary.exit_code, 128);
}

#[test]
fn odd_characters_are_told_and_not_sent() {
    assert_eq!(plain("a\tb\x1b[31m\0\u{fffe}\u{85}é"), "a b\\u{1b}[31m\\u{0}\\u{fffe}\\u{85}é");
}

#[test]
fn requests() {
    let parse = |text: &str| text.parse::<Request>();
    assert_eq!(parse("ktap"), Ok(Request { format: Format::Ktap, path: None }));
    assert_eq!(parse("ktap=-"), parse("ktap"));
    assert_eq!(parse("junit=a=b.xml"), Ok(Request { format: Format::Junit, path: Some("a=b.xml".into()) }));
    assert_eq!(parse("xml=a").unwrap_err(), "`xml` is none of ktap, junit, json, html");
    assert_eq!(parse("json=").unwrap_err(), "no path after `json=` (hint: `json=-` is standard output)");
    let all = |texts: &[&str]| check(&texts.iter().map(|text| parse(text).unwrap()).collect::<Vec<_>>());
    assert!(all(&["ktap", "json=a", "junit=b"]).is_ok());
    let error = all(&["ktap", "json=-"]).unwrap_err();
    assert_eq!(crate::exit::code_of(&error), Code::Usage);
    assert_eq!(
        error.to_string(),
        "two reports to standard output (hint: give one of them another path, --report FORMAT=PATH)"
    );
}

#[test]
fn files_are_whole_or_absent() {
    let dir = tempfile::tempdir().unwrap();
    let dir = Utf8Path::from_path(dir.path()).unwrap();
    let events = every_outcome();
    let results = fold(&events);
    let run = Finished { results: &results, events: &events, folder: dir };
    let place = dir.join("new/folder/results.json");
    write(run, &[Request { format: Format::Json, path: Some(place.clone()) }]).unwrap();
    assert_eq!(fs_err::read_to_string(&place).unwrap(), json::render(&results).unwrap());
    // A folder stands where the report should go: an error, and no rest of it.
    let error = write(run, &[Request { format: Format::Html, path: Some(dir.join("new")) }]).unwrap_err();
    assert!(error.to_string().starts_with("write the report "), "{error:#}");
    assert_eq!(dir.read_dir_utf8().unwrap().count(), 1);
}

fn any_outcome() -> impl Strategy<Value = Outcome> {
    let text = || "(?s).{0,60}";
    prop_oneof![
        Just(Outcome::Pass),
        (text(), text()).prop_map(|(assertion, message)| Outcome::Fail { assertion, message }),
        (text(), text()).prop_map(|(splat, message)| Outcome::KernelSplat { splat, message }),
        (text(), text()).prop_map(|(assertion, reason)| Outcome::KnownDeviation { assertion, reason }),
        text().prop_map(|message| Outcome::Timeout { message }),
        text().prop_map(|reason| Outcome::Skipped { reason }),
        text().prop_map(|message| Outcome::Infra { message }),
    ]
}

proptest! {
    #[test]
    fn any_message_gives_valid_reports(outcomes in prop::collection::vec(any_outcome(), 0..8)) {
        let names: Vec<_> = (0..outcomes.len()).map(|n| format!("a::c{}[{}]", n % 3, ["bio", "rq"][n % 2])).collect();
        let mut stream = vec![started(&names.iter().map(String::as_str).collect::<Vec<_>>())];
        stream.extend(outcomes.into_iter().zip(&names).map(|(o, name)| outcome(1.0, name, Condition::default(), o)));
        let results = fold(&stream);
        let ktap = ktap::render(&results);
        prop_assert!(check_ktap(&ktap).is_ok(), "{:?}\n{}", check_ktap(&ktap), ktap);
        let xml = junit::render(&results).unwrap();
        let forbidden = |c: char| (c < ' ' && !"\n\t\r".contains(c)) || matches!(c, '\u{fffe}' | '\u{ffff}');
        prop_assert!(!xml.contains(forbidden));
        prop_assert_eq!(&serde_json::from_str::<Results>(&json::render(&results).unwrap()).unwrap(), &results);
        let shown = terminal::summary(&results, Utf8Path::new("out"), false);
        prop_assert!(!shown.contains(|c: char| c.is_control() && c != '\n'));
    }
}
