// SPDX-License-Identifier: GPL-2.0-only
//! Every kind of mismatch, and the table in each form: of results that are as expected but for some.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod snapshots;

use ::tests::expectations::{Deviation, Expected, Kernel, expected};
use guest::condition::{Condition, Transport};

use super::compare::{Verdict, compare};
use super::*;
use crate::event::KernelFacts;
use crate::exit::Code;
use crate::outcome::Outcome;
use crate::report::model::{CaseResult, Status};
use crate::run::plan::{Planned, Scope, Selection};

const PUSHED_BACK: &str = "I/O is pushed back to the core";

fn fail(assertion: &str) -> Outcome {
    Outcome::Fail { assertion: assertion.into(), message: "32 of 32 failed with EIO".into() }
}

fn deviates(assertion: &str, reason: &str) -> Outcome {
    Outcome::KnownDeviation { assertion: assertion.into(), reason: reason.into() }
}

fn result(outcome: &Outcome) -> CaseResult {
    CaseResult::new(None, "a::b", Condition::default(), outcome, 1.0, None)
}

#[test]
fn every_kind_of_mismatch() {
    let text = |text: &str| text.to_owned();
    let deviation = |sometimes| -> &'static Deviation {
        Box::leak(Box::new(Deviation {
            since: text("x"),
            reason: text("so"),
            fixed: None,
            sometimes,
            splat: None,
        }))
    };
    let fails = Some(Expected::Fails { assertion: PUSHED_BACK });
    let always = Some(Expected::Deviates { assertion: PUSHED_BACK, deviation: deviation(false) });
    let sometimes = Some(Expected::Deviates { assertion: PUSHED_BACK, deviation: deviation(true) });
    let skip = Some(Expected::NotApplicable { reason: "no thin" });
    let splat = Outcome::KernelSplat { splat: text("warning"), message: text("WARNING: x") };
    let timeout = Outcome::Timeout { message: text("case clock") };
    let lost = Outcome::VmLost { message: text("QEMU exited") };
    let infra = Outcome::Infra { message: text("no dmsetup") };
    let skipped = Outcome::Skipped { reason: text("this kernel has no CONFIG_X") };
    let (pass, good, bad) = (Some(Expected::Pass), Verdict::AsExpected, Verdict::Mismatch);
    let table = [
        (pass, &Outcome::Pass, good),
        (pass, &deviates("WARNING: known", "so"), good),
        (pass, &fail(PUSHED_BACK), bad),
        (pass, &splat, bad),
        (pass, &skipped, bad),
        (fails, &fail(PUSHED_BACK), good),
        (fails, &Outcome::Pass, bad),
        (fails, &fail("suspend succeeds"), bad),
        (fails, &deviates(PUSHED_BACK, "so"), bad),
        (fails, &splat, bad),
        (fails, &timeout, bad),
        (fails, &lost, bad),
        (fails, &infra, bad),
        (fails, &skipped, bad),
        (always, &deviates(PUSHED_BACK, "so"), good),
        (always, &deviates("WARNING: known", "so"), bad),
        (always, &Outcome::Pass, bad),
        (always, &fail(PUSHED_BACK), bad),
        (sometimes, &Outcome::Pass, good),
        (sometimes, &deviates(PUSHED_BACK, "so"), good),
        (sometimes, &fail(PUSHED_BACK), bad),
        (skip, &skipped, Verdict::NotApplicable),
        (skip, &Outcome::Pass, bad),
        (None, &Outcome::Pass, bad),
    ];
    for (expected, outcome, verdict) in table {
        assert_eq!(compare(expected, Some(&result(outcome))), verdict, "{expected:?}, {outcome:?}");
    }
    assert_eq!(compare(pass, None), Verdict::NotRun);
    let not_run = CaseResult { outcome: Status::NotRun, ..result(&Outcome::Pass) };
    assert_eq!(compare(pass, Some(&not_run)), Verdict::NotRun);
}

fn plan() -> Vec<Planned> {
    let filters = [
        r"flush_suspend_fails_queued_io\[[a-z_]+,(bio|rq),(ex|im)plicit\]",
        r"noflush::queued_io_leaves.*(write|read|flush|fua)\]",
        "noflush::resume_without",
    ];
    let selection = Selection {
        filters: filters.map(str::to_owned).to_vec(),
        transport: vec![Transport::ScsiDebug],
        ..Selection::default()
    };
    selection.select(::tests::catalogue(), Scope::Kernel).unwrap()
}

/// What a kernel gives that does what is expected of it.
fn as_expected(planned: &Planned, kernel: Kernel<'_>) -> Outcome {
    match expected(planned.case.name, planned.condition, kernel).unwrap() {
        Expected::Pass => Outcome::Pass,
        Expected::Fails { assertion } => fail(assertion),
        Expected::Deviates { assertion, .. } => deviates(assertion, "requests survive (shortened)"),
        Expected::NotApplicable { reason } => Outcome::Skipped { reason: reason.to_owned() },
    }
}

/// Three runs as expected but for what `outcome` says: by variant and full name, `Err` for none at all.
fn proof(outcome: impl Fn(&str, &str) -> Result<Option<Outcome>, ()>, interrupted: bool) -> Proof {
    let run = |variant: &'static str| {
        let kernel =
            KernelFacts { release: "6.12.117".into(), variant: variant.into(), ..KernelFacts::default() };
        let of = |planned: &Planned| {
            let full = planned.full_name();
            let usual = || as_expected(planned, Kernel { variant, release: &kernel.release });
            let outcome = outcome(variant, &full).ok()?.unwrap_or_else(usual);
            let artifacts = (outcome.code() != Code::AllPassed).then_some("failures/x y");
            let (name, condition) = (planned.case.name, planned.condition);
            Some((full, CaseResult::new(None, name, condition, &outcome, 1.0, artifacts)))
        };
        let results = plan().iter().filter_map(of).collect();
        let options = ["--base", "6.12", "--variant", variant].map(str::to_owned).to_vec();
        Run {
            variant,
            kernel: kernel.clone(),
            folder: variant.into(),
            complete: !interrupted,
            results,
            seconds: 20.5,
            options,
        }
    };
    Proof::new("6.12", &plan(), ["baseline", "pushback", "stock"].map(run).to_vec(), interrupted)
}

/// Some cells do what they should not.
fn with_mismatches() -> Proof {
    let outcome = |variant: &str, full: &str| {
        Ok(match (variant, full) {
            (
                "baseline",
                "noflush::queued_io_leaves_the_target_without_returning[scsi_debug,rq,explicit,message,read]",
            ) => Some(Outcome::Pass),
            (
                "baseline",
                "noflush::resume_without_recovery_queues_again[scsi_debug,bio,explicit,message]",
            ) => {
                Some(Outcome::Fail { assertion: "suspend succeeds".into(), message: "\u{1b}[31mEIO".into() })
            }
            (
                "pushback",
                "noflush::resume_without_recovery_queues_again[scsi_debug,bio,explicit,message]",
            ) => Some(Outcome::KernelSplat { splat: "lockdep".into(), message: "WARNING: x".into() }),
            _ => None,
        })
    };
    proof(outcome, false)
}

#[test]
fn exit_codes() {
    let all = |variant: &str, outcome: Outcome| {
        let variant = variant.to_owned();
        move |on: &str, _: &str| Ok((on == variant).then(|| outcome.clone()))
    };
    let good = proof(|_, _| Ok(None), false);
    assert_eq!((good.code(false), good.summary.mismatched), (Code::AllPassed, 0));
    assert_eq!(good.counts().to_string(), "48 passed, 0 failed, 0 skipped");
    assert_eq!(with_mismatches().code(false), Code::CaseFailed);
    assert_eq!(with_mismatches().code(true), Code::HostFailed);
    let infra = proof(all("stock", Outcome::Infra { message: "no dmsetup".into() }), false);
    assert_eq!(infra.code(false), Code::HostFailed);
    let skips = proof(all("stock", Outcome::Skipped { reason: "no CONFIG_X".into() }), false);
    assert_eq!(skips.code(false), Code::CaseFailed, "a skip that is not expected proves nothing");
    let missing = proof(|on, _| if on == "stock" { Err(()) } else { Ok(None) }, true);
    assert_eq!((missing.code(false), missing.summary.not_run), (Code::HostFailed, 16));
    assert_eq!(missing.counts().to_string(), "32 passed, 16 failed, 0 skipped");
    assert_eq!(Proof::new("6.12", &[], vec![], false).code(false), Code::Untestable);
}
