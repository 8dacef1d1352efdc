// SPDX-License-Identifier: GPL-2.0-only
//! Every kind of change, as data and as text.

use guest::condition::Condition;
use proptest::prelude::*;

use super::*;
use crate::outcome::Outcome;

fn fails(at: &str) -> Outcome {
    Outcome::Fail { assertion: at.into(), message: "3 of 32 returned\nmore".into() }
}

fn run(cases: &[(&str, Outcome)], complete: bool) -> Results {
    let case = |(name, outcome): &(&str, Outcome)| {
        let folder = outcome.code() == Code::CaseFailed;
        let folder = folder.then(|| format!("failures/{name}"));
        CaseResult::new(Some(name), name, Condition::default(), outcome, 0.5, folder.as_deref())
    };
    let mut results = Results { v: 1, cases: cases.iter().map(case).collect(), ..Results::default() };
    results.kernel.release = "6.12.117".into();
    results.kernel.source = "base 6.12".into();
    results.kernel.variant = "stock".into();
    results.summary.total = cases.len();
    results.summary.passed = cases.iter().filter(|(_, outcome)| *outcome == Outcome::Pass).count();
    results.summary.complete = complete;
    results
}

fn compared(old: &Results, new: &Results) -> Comparison {
    compare((Utf8Path::new("runs/a"), old), (Utf8Path::new("runs/b"), new))
}

fn skipped() -> Outcome {
    Outcome::Skipped { reason: "no CONFIG_X".into() }
}

fn infra() -> Outcome {
    Outcome::Infra { message: "no space".into() }
}

#[test]
fn every_kind_of_change() {
    let old = run(
        &[
            ("a::breaks", Outcome::Pass),
            ("a::still_fails", fails("x")),
            ("a::fixed", fails("x")),
            ("a::flaky", Outcome::Pass),
            ("a::skipped_now", Outcome::Pass),
            ("a::gone", Outcome::Pass),
            ("a::failed_and_is_not_known", fails("x")),
            ("a::same", Outcome::Pass),
        ],
        true,
    );
    let new = run(
        &[
            ("a::flaky", Outcome::Pass),
            ("a::breaks", fails("no write returns")),
            ("a::still_fails", fails("y")),
            ("a::fixed", Outcome::Pass),
            ("a::skipped_now", skipped()),
            ("a::new", Outcome::Pass),
            ("a::new_and_fails", fails("z")),
            ("a::failed_and_is_not_known", infra()),
            ("a::same", Outcome::Pass),
            ("a::flaky #2", fails("sometimes")),
            ("a::flaky #3", Outcome::Pass),
        ],
        true,
    );
    let comparison = compared(&old, &new);
    insta::assert_snapshot!(render(&comparison, false), @r#"
    old  runs/a: 6.12.117 (base 6.12), stock; 5 of 8 passed
    new  runs/b: 6.12.117 (base 6.12), stock; 5 of 11 passed

    new failures:
      a::breaks
          was Pass, is Fail: no write returns: 3 of 32 returned
          see failures/a::breaks
      a::new_and_fails
          was not there, is Fail: z: 3 of 32 returned
          see failures/a::new_and_fails

    flaky:
      a::flaky
          was Pass, is Fail (1 of 3): sometimes: 3 of 32 returned
          see failures/a::flaky #2

    still failing:
      a::still_fails
          was Fail, is Fail: y: 3 of 32 returned
          see failures/a::still_fails

    fixed:
      a::fixed
          was Fail, is Pass

    otherwise changed:
      a::skipped_now
          was Pass, is Skipped: no CONFIG_X
      a::failed_and_is_not_known
          was Fail, is Infra: no space

    added:
      a::new

    removed:
      a::gone

    2 new failures, 1 flaky, 1 still failing, 1 fixed, 2 otherwise changed, 1 added, 1 removed, 1 the same
    "#);
    assert_eq!(comparison.summary.exit_code, 1);
    let json = serde_json::to_string(&comparison).unwrap();
    assert_eq!(serde_json::from_str::<Comparison>(&json).unwrap(), comparison);
}

#[test]
fn exit_codes() {
    let code = |old: &[(&str, Outcome)], new: &[(&str, Outcome)], complete| {
        compared(&run(old, true), &run(new, complete)).summary.exit_code
    };
    let (pass, fail) = ([("a", Outcome::Pass)], [("a", fails("x"))]);
    assert_eq!(code(&pass, &pass, true), 0);
    assert_eq!(code(&pass, &fail, true), 1);
    assert_eq!(code(&[], &fail, true), 1);
    assert_eq!(code(&fail, &fail, true), 0, "nothing got worse");
    assert_eq!(code(&fail, &pass, true), 0);
    assert_eq!(code(&pass, &pass, false), 128, "less is known than before");
    assert_eq!(code(&pass, &[("a", infra())], true), 128);
    assert_eq!(code(&[("a", infra())], &[("a", infra())], true), 0);
    assert_eq!(code(&[("a", infra())], &fail, true), 1);
    assert_eq!(code(&pass, &[("a", Outcome::Pass), ("a #2", fails("x"))], true), 0, "flaky is no proof");
}

#[test]
fn a_repetition_without_an_outcome_makes_no_failure_flaky() {
    let of = |outcomes: [Outcome; 3]| {
        let names = ["a", "a #2", "a #3"];
        let cases: Vec<_> = names.into_iter().zip(outcomes).collect();
        let comparison = compared(&run(&[("a", Outcome::Pass)], true), &run(&cases, true));
        let [Change { change, new: Some(seen), .. }] = &comparison.changes[..] else { panic!("one change") };
        (*change, seen.runs, seen.failed, seen.troubled, comparison.summary.exit_code)
    };
    assert_eq!(of([fails("x"), infra(), fails("x")]), (What::NewFailure, 2, 2, 1, 1));
    assert_eq!(of([fails("x"), infra(), infra()]), (What::NewFailure, 1, 1, 2, 1));
    assert_eq!(of([fails("x"), infra(), Outcome::Pass]), (What::Flaky, 2, 1, 1, 128), "less is known");
    assert_eq!(of([fails("x"), Outcome::Pass, Outcome::Pass]), (What::Flaky, 3, 1, 0, 0));
}

fn any_outcome() -> impl Strategy<Value = Outcome> {
    prop_oneof![Just(Outcome::Pass), Just(skipped()), Just(infra()), "[xy]".prop_map(|at| fails(&at))]
}

proptest! {
    /// Every case is counted once; a run is no change of itself; a failure is never called fixed, nor a pass a failure.
    #[test]
    fn counts_add_up(cases in prop::collection::vec((any_outcome(), any_outcome()), 0..12)) {
        let names: Vec<_> = (0..cases.len()).map(|n| format!("a::b{n}")).collect();
        let of = |new: bool| -> Vec<(&str, Outcome)> {
            let pick = |(old, later): &(Outcome, Outcome)| if new { later.clone() } else { old.clone() };
            names.iter().map(String::as_str).zip(cases.iter().map(pick)).collect()
        };
        let (old, new) = (run(&of(false), true), run(&of(true), true));
        let Comparison { changes, summary, .. } = compared(&old, &new);
        prop_assert_eq!(changes.len() + summary.same, cases.len());
        for Change { change, new, .. } in &changes {
            let failed = new.as_ref().unwrap().failed > 0;
            prop_assert_eq!(failed, matches!(change, What::NewFailure | What::StillFailing));
        }
        let itself = compared(&new, &new);
        prop_assert!(itself.changes.iter().all(|change| change.change == What::StillFailing));
    }
}
