// SPDX-License-Identifier: GPL-2.0-only
//! What is merged is what one run would have given; everything else is refused or told.

use guest::condition::Condition;
use proptest::prelude::*;

use super::*;
use crate::outcome::Outcome;
use crate::report::model::{Results, Status, fold};

fn event(vm: Option<u32>, case: Option<&str>, kind: Kind) -> Event {
    Event { v: FORMAT, t: 1.0, src: Source::Host, vm, case: case.map(str::to_owned), kind }
}

fn kernel(id: &str) -> KernelFacts {
    KernelFacts {
        source: "base 6.12".into(),
        release: "6.12.117".into(),
        id: id.into(),
        ..KernelFacts::default()
    }
}

/// A run that planned these names and gave some of them an outcome, each on a VM of its own.
fn run(folder: &str, partition: Option<&str>, planned: &[&str], outcomes: &[(&str, Outcome)]) -> Part {
    let started = Kind::RunStarted {
        kernel: kernel("0123"),
        host: HostFacts { accel: "tcg".into(), cpus: folder.len(), ..HostFacts::default() },
        stress: None,
        partition: partition.map(|text| text.parse().unwrap()),
        planned: planned.iter().map(|&name| name.to_owned()).collect(),
    };
    let mut events = vec![event(None, None, started)];
    for ((name, outcome), vm) in outcomes.iter().zip(1..) {
        let kind = Kind::CaseOutcome {
            name: name.split(['[', ' ']).next().unwrap().to_owned(),
            condition: Condition::default(),
            outcome: outcome.clone(),
            seconds: 0.5,
            artifacts: (*outcome != Outcome::Pass).then(|| format!("failures/{name}")),
        };
        events.push(event(Some(vm), Some(name), kind));
    }
    let interrupted = outcomes.len() < planned.len();
    events.push(event(None, None, Kind::RunEnded { interrupted, seconds: 10.0 }));
    Part { place: String::new(), folder: folder.into(), events }
}

fn merged(runs: &[Part]) -> Result<(Results, Vec<String>), Refused> {
    let part = |(run, n): (&Part, usize)| Part { place: format!("part-{n}"), ..run.clone() };
    let parts: Vec<_> = runs.iter().zip(1..).map(part).collect();
    merge(&parts).map(|merged| (fold(&merged.events), merged.notes))
}

fn fails() -> Outcome {
    Outcome::Fail { assertion: "x".into(), message: "y".into() }
}

#[test]
fn two_parts_are_one_run() {
    let a = run("a", Some("1/2"), &["m::b"], &[("m::b", fails())]);
    let b = run("bb", Some("2/2"), &["m::c", "m::a"], &[("m::c", Outcome::Pass), ("m::a", Outcome::Pass)]);
    let (results, notes) = merged(&[a.clone(), b.clone()]).unwrap();
    assert_eq!(notes, [""; 0]);
    assert_eq!((results.summary.exit_code, results.summary.complete, results.summary.total), (1, true, 3));
    assert_eq!(results.cases[0].artifacts.as_deref(), Some("part-1/failures/m::b"));
    assert_eq!((results.host.accel.as_str(), results.host.cpus), ("tcg", 1));
    assert!((results.summary.seconds - 10.0).abs() < f64::EPSILON, "side by side");
    // A VM is not taken for one of another machine.
    let parts = [a, b];
    let vms: Vec<_> = merge(&parts).unwrap().events.iter().filter_map(|event| event.vm).collect();
    assert_eq!(vms, [1, 2, 3]);
}

#[test]
fn what_nobody_ran_is_no_pass() {
    let part = run("a", Some("1/3"), &["m::a"], &[("m::a", Outcome::Pass)]);
    let (results, notes) = merged(&[part]).unwrap();
    assert_eq!(notes, ["part 2/3 is missing", "part 3/3 is missing"]);
    assert_eq!((results.summary.exit_code, results.summary.complete), (128, false));
    let broken_off = run("a", None, &["m::a", "m::b"], &[("m::a", Outcome::Pass)]);
    let (results, _) = merged(std::slice::from_ref(&broken_off)).unwrap();
    assert_eq!((results.summary.exit_code, results.cases[1].outcome), (128, Status::NotRun));
    // The rest, run later, makes it whole.
    let rest = run("b", None, &["m::b"], &[("m::b", Outcome::Pass)]);
    let (results, notes) = merged(&[broken_off, rest]).unwrap();
    assert_eq!((results.summary.exit_code, results.summary.complete, notes.len()), (0, true, 0));
}

#[test]
fn overlapping_runs_are_told_and_the_worse_outcome_counts() {
    let good = run("a", None, &["m::a", "m::b"], &[("m::a", Outcome::Pass), ("m::b", Outcome::Pass)]);
    let bad = run("b", None, &["m::a"], &[("m::a", fails())]);
    for runs in [[good.clone(), bad.clone()], [bad, good]] {
        let (results, notes) = merged(&runs).unwrap();
        assert_eq!(notes, ["the runs overlap, and the worse outcome counts of: m::a"]);
        assert_eq!((results.summary.exit_code, results.summary.total), (1, 2));
    }
}

#[test]
fn what_does_not_belong_together_is_refused() {
    let mut other = run("run-b", None, &["m::a"], &[("m::a", Outcome::Pass)]);
    if let Kind::RunStarted { kernel, .. } = &mut other.events[0].kind {
        *kernel = KernelFacts { release: "6.1.170".into(), ..self::kernel("4567") };
    }
    let one = run("run-a", None, &["m::a"], &[("m::a", Outcome::Pass)]);
    insta::assert_snapshot!(merged(&[one.clone(), other]).unwrap_err(), @r#"
    runs of different kernels can't be merged:
      run-a: 6.12.117 (base 6.12), , 0123
      run-b: 6.1.170 (base 6.12), , 4567
    (hint: `cargo xtask compare` shows what differs)
    "#);
    let empty = Part { place: String::new(), folder: "run-c".into(), events: vec![] };
    assert_eq!(merged(&[one, empty]).unwrap_err(), Refused::Empty("run-c".into()));
    let part = |folder, text| run(folder, Some(text), &["m::a"], &[("m::a", Outcome::Pass)]);
    insta::assert_snapshot!(merged(&[part("a", "1/2"), part("b", "1/3")]).unwrap_err(), @"a is part 1/2 and b is part 1/3: parts of different numbers can't be put together");
}

#[test]
fn names_are_in_the_order_of_one_run() {
    let all = Selection::default().select(::tests::catalogue(), Scope::Kernel).unwrap();
    let names: Vec<_> = all.iter().map(super::super::plan::Planned::full_name).collect();
    let again = names.iter().map(|name| format!("{name} #2"));
    let whole: Vec<String> = names.iter().cloned().chain(again).collect();
    let mut mixed = whole.clone();
    mixed.reverse();
    assert_eq!(in_order(mixed), whole);
    assert_eq!(repetition("a::b[x] #12"), ("a::b[x]", 12));
    assert_eq!(repetition("a::b[x] #x"), ("a::b[x] #x", 1));
}

proptest! {
    /// However a run is cut into parts, together they are that run.
    #[test]
    fn any_cut_gives_the_whole(cut in prop::collection::vec((0_usize..3, any::<bool>()), 1..20)) {
        let names: Vec<_> = (0..cut.len()).map(|n| format!("m::case_{n:02}")).collect();
        let outcome = |pass: &bool| if *pass { Outcome::Pass } else { fails() };
        let of = |which: Option<usize>| -> Part {
            let mine: Vec<_> = cut.iter().zip(&names).filter(|((part, _), _)| which.is_none_or(|n| n == *part)).collect();
            let planned: Vec<_> = mine.iter().map(|(_, name)| name.as_str()).collect();
            let outcomes: Vec<_> = mine.iter().map(|((_, pass), name)| (name.as_str(), outcome(pass))).collect();
            run("x", None, &planned, &outcomes)
        };
        let sorted = |results: &Results| {
            let mut all: Vec<_> = results.cases.iter().map(|case| (case.full_name.clone(), case.outcome)).collect();
            all.sort();
            (all, results.summary.exit_code, results.summary.outcomes.clone())
        };
        let whole = fold(&of(None).events);
        let (together, notes) = merged(&[of(Some(0)), of(Some(1)), of(Some(2))]).unwrap();
        prop_assert_eq!(sorted(&whole), sorted(&together));
        prop_assert!(notes.is_empty());
    }
}
