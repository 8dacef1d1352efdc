// SPDX-License-Identifier: GPL-2.0-only
//! From the judge's outcome to the one that is reported: what `tests/expectations/` knows about the case on this variant
//! makes a failure a known deviation, and says whether the VM is still good. Pure; the judge knows no expectations.

use ::tests::expectations::{Expected, Kernel, Seen, expected, known_deviation};

use super::judge::{Facts, judge};
use super::plan::Planned;
use crate::outcome::Outcome;

/// What is reported of a case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Believed {
    /// The outcome.
    pub outcome: Outcome,
    /// The VM may go on: everything is proven clean, though the case may have failed where it is expected to.
    pub keeps_vm: bool,
}

/// What is reported of a case. `strict`: a known deviation stays the failure that it is, with its reason added.
pub fn believe(facts: &Facts, planned: &Planned, kernel: Kernel<'_>, strict: bool) -> Believed {
    let judged = judge(facts);
    let known = |seen| known_deviation(planned.case.name, planned.condition, kernel, seen);
    let rest = match &judged {
        Outcome::KernelSplat { message, .. } => {
            known(Seen::Splat(message)).zip(facts.but_for_one_splat()).map(|(why, rest)| (message, why, rest))
        }
        _ => None,
    };
    // A known splat leaves what the case says of itself; what is worse than that is told as before.
    let (without_splat, facts_left) = match &rest {
        Some((.., rest)) => (judge(rest), rest),
        None => (judged.clone(), facts),
    };
    let deviation = match (&without_splat, &rest) {
        (Outcome::Pass, Some((line, why, _))) => Some(((*line).clone(), *why)),
        (Outcome::Fail { assertion, .. }, _) if facts_left.is_clean() => {
            known(Seen::Assertion(assertion)).map(|why| (assertion.clone(), why))
        }
        _ => None,
    };
    let outcome = match (deviation, &without_splat) {
        (Some((_, why)), _) if strict => with_reason(judged, why),
        (Some((assertion, why)), _) => Outcome::KnownDeviation { assertion, reason: why.to_owned() },
        (None, Outcome::Fail { .. }) => without_splat,
        (None, _) => judged,
    };
    let as_expected = match &outcome {
        Outcome::Fail { assertion: seen, .. } => {
            let expected = expected(planned.case.name, planned.condition, kernel);
            facts.is_clean() && matches!(expected, Some(Expected::Fails { assertion }) if assertion == seen)
        }
        other => other.leaves_vm_clean(),
    };
    Believed { outcome, keeps_vm: as_expected && !facts.had_splat() }
}

/// Why the case can't be run on this kernel at all, if it can't.
pub fn not_applicable(planned: &Planned, kernel: Kernel<'_>) -> Option<&'static str> {
    match expected(planned.case.name, planned.condition, kernel) {
        Some(Expected::NotApplicable { reason }) => Some(reason),
        _ => None,
    }
}

fn with_reason(outcome: Outcome, why: &str) -> Outcome {
    let with =
        |message: String| format!("{message}\na known deviation, which --strict counts as a failure: {why}");
    match outcome {
        Outcome::Fail { assertion, message } => Outcome::Fail { assertion, message: with(message) },
        Outcome::KernelSplat { splat, message } => Outcome::KernelSplat { splat, message: with(message) },
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use guest::message::{Exit, Verdict};

    use super::*;
    use crate::run::plan::{Scope, Selection};

    fn planned(full: &str) -> Planned {
        let all = Selection::default().select(::tests::catalogue(), Scope::Kernel).unwrap();
        all.into_iter().find(|planned| planned.full_name() == full).unwrap()
    }

    fn facts(verdict: Verdict) -> Facts {
        Facts {
            verdicts: vec![verdict],
            ended: Some((Exit::Exited { status: 0 }, vec![])),
            console_complete: true,
            ..Facts::default()
        }
    }

    fn fails(assertion: &str) -> Facts {
        facts(Verdict::Fail { assertion: assertion.to_owned(), message: "32 succeeded".into() })
    }

    /// The outcome, and whether the VM goes on.
    fn is(facts: &Facts, full: &str, variant: &str, release: &str, strict: bool) -> (Outcome, bool) {
        let Believed { outcome, keeps_vm } =
            believe(facts, &planned(full), Kernel { variant, release }, strict);
        (outcome, keeps_vm)
    }

    const FLUSH: &str = "compat::flush_suspend_fails_queued_io[scsi_debug,rq,explicit]";
    const FUA: &str =
        "noflush::queued_io_leaves_the_target_without_returning[scsi_debug,rq,explicit,message,fua]";

    #[test]
    fn a_known_deviation_is_one_unless_strict() {
        let (outcome, keeps) = is(&fails("queued I/O fails with EIO"), FLUSH, "as is", "6.12.1", false);
        assert_eq!((outcome.name(), keeps), ("KnownDeviation", true));
        let (outcome, keeps) = is(&fails("queued I/O fails with EIO"), FLUSH, "stock", "6.12.1", true);
        assert_eq!((outcome.name(), keeps), ("Fail", false));
        let said = outcome.message();
        assert!(
            said.contains("32 succeeded\na known deviation, which --strict counts as a failure: In"),
            "{said}"
        );
        let left = Facts {
            ended: Some((Exit::Exited { status: 0 }, vec!["dm-0".into()])),
            ..fails("queued I/O fails with EIO")
        };
        assert_eq!(is(&left, FLUSH, "stock", "6.12.1", false).0.name(), "Fail", "something is left behind");
    }

    #[test]
    fn a_failure_is_one_where_the_kernel_lacks_the_feature_but_its_vm_goes_on() {
        let (outcome, keeps) = is(&fails("I/O is pushed back to the core"), FUA, "baseline", "6.12.1", false);
        assert_eq!((outcome.name(), keeps), ("Fail", true));
        let (outcome, keeps) = is(&fails("data is what was written"), FUA, "baseline", "6.12.1", false);
        assert_eq!((outcome.name(), keeps), ("Fail", false));
        let (outcome, keeps) = is(&fails("I/O is pushed back to the core"), FUA, "pushback", "6.12.1", false);
        assert_eq!((outcome.name(), keeps), ("Fail", false));
    }

    #[test]
    fn a_known_splat_leaves_what_the_case_says_of_itself() {
        let splat = Some(("warning".to_owned(), "WARNING: at dd_exit_sched+0xf1/0x110".to_owned()));
        let tainted =
            Some((Exit::Exited { status: 0 }, vec!["the kernel's taint went from 0 to 512".to_owned()]));
        let with = |facts: Facts| Facts { splat: splat.clone(), ended: tainted.clone(), ..facts };
        let passes = with(facts(Verdict::Pass));
        assert_eq!(is(&passes, FUA, "pushback", "6.1.9", false).0.name(), "KnownDeviation");
        assert_eq!(is(&passes, FUA, "pushback", "6.1.9", true).0.name(), "KernelSplat");
        assert_eq!(is(&passes, FUA, "pushback", "6.12.9", false).0.name(), "KernelSplat");
        let fails = with(fails("I/O is pushed back to the core"));
        let (outcome, keeps) = is(&fails, FUA, "baseline", "6.1.9", false);
        assert_eq!((outcome.name(), keeps), ("Fail", false));
        let lost = Facts { vm_gone: Some("QEMU exited".into()), verdicts: vec![], ..passes };
        assert_eq!(is(&lost, FUA, "pushback", "6.1.9", false).0.name(), "KernelSplat");
    }
}
