// SPDX-License-Identifier: GPL-2.0-only
//! KTAP version 1, as Documentation/dev-tools/ktap.rst of the kernel defines it: one test a case, one subtest a
//! condition.
//!
//! | outcome | line |
//! | --- | --- |
//! | `Pass` | `ok 1 name` |
//! | `Skipped` | `ok 1 name # SKIP reason` |
//! | `KnownDeviation` | `ok 1 name # XFAIL assertion: reason`: as kselftest's `ksft_test_result_xfail` prints it |
//! | `Timeout` | `not ok 1 name # TIMEOUT message` |
//! | `Infra`, `NotRun` | `not ok 1 name # ERROR message` |
//! | `Fail`, `KernelSplat`, `VmLost` | `not ok 1 name # Fail: message`: diagnostic data without a directive |

use std::fmt::Write as _;

use super::model::{CaseResult, Results, Status};
use super::plain;

/// The document.
pub fn render(results: &Results) -> String {
    let groups = groups(&results.cases);
    let mut out = format!("KTAP version 1\n1..{}\n", groups.len());
    let kernel = &results.kernel;
    for (what, value) in [
        ("kernel", &kernel.release),
        ("source", &kernel.source),
        ("variant", &kernel.variant),
        ("observe", &kernel.observe.to_string()),
        ("flavour", &kernel.flavour),
    ] {
        let _ = writeln!(out, "# {what}: {}", plain(value));
    }
    for (number, group) in (1..).zip(&groups) {
        match group.as_slice() {
            [case] if case.label().is_empty() => result(&mut out, "", number, &case.name, case),
            cases => nested(&mut out, number, cases),
        }
    }
    let sum = &results.summary;
    let _ = writeln!(
        out,
        "# passed {} failed {} known-deviations {} skipped {} infra {} not-run {} of {} in {:.1} s",
        sum.passed,
        sum.failed,
        sum.known_deviations,
        sum.skipped,
        sum.infra,
        sum.not_run,
        sum.total,
        sum.seconds,
    );
    out
}

/// The results of one case together, in the order in which the cases first appear.
pub(super) fn groups(cases: &[CaseResult]) -> Vec<Vec<&CaseResult>> {
    let mut groups: Vec<Vec<&CaseResult>> = Vec::new();
    for case in cases {
        match groups.iter_mut().find(|group| group.iter().any(|other| other.name == case.name)) {
            Some(group) => group.push(case),
            None => groups.push(vec![case]),
        }
    }
    groups
}

fn nested(out: &mut String, number: usize, cases: &[&CaseResult]) {
    let _ = writeln!(out, "  KTAP version 1\n  1..{}", cases.len());
    for (number, case) in (1..).zip(cases) {
        let label = case.label();
        result(out, "  ", number, if label.is_empty() { &case.name } else { &label }, case);
    }
    let name = cases.first().map_or("", |case| &case.name);
    let bad = cases.iter().filter(|case| !is_ok(case.outcome)).count();
    let all_skipped = cases.iter().all(|case| case.outcome == Status::Skipped);
    let tail = match bad {
        0 if all_skipped => " # SKIP under every condition".to_owned(),
        0 => String::new(),
        bad => format!(" # {bad} of {} conditions", cases.len()),
    };
    let _ = writeln!(out, "{} {number} {}{tail}", if bad == 0 { "ok" } else { "not ok" }, description(name));
}

const fn is_ok(status: Status) -> bool {
    matches!(status, Status::Pass | Status::Skipped | Status::KnownDeviation)
}

fn result(out: &mut String, indent: &str, number: usize, name: &str, case: &CaseResult) {
    let name = description(name);
    for line in case.message.lines().filter(|line| !line.trim().is_empty()) {
        let _ = writeln!(out, "{indent}# {name}: {}", plain(line));
    }
    // Of a pass, the other reports tell it.
    if case.outcome != Status::Pass {
        for line in &case.history {
            let _ = writeln!(out, "{indent}# {name}: {}", plain(line));
        }
    }
    if let Some(folder) = &case.artifacts {
        let _ = writeln!(out, "{indent}# {name}: artifacts in {}", plain(folder));
    }
    let message = plain(case.message.lines().next().unwrap_or(""));
    let tail = match case.outcome {
        Status::Pass => format!("{:.3} s", case.seconds),
        Status::Skipped => format!("SKIP {message}"),
        Status::KnownDeviation => format!("XFAIL {message}"),
        Status::Timeout => format!("TIMEOUT {message}"),
        Status::Infra | Status::NotRun => format!("ERROR {}: {message}", case.outcome.name()),
        Status::Fail | Status::KernelSplat | Status::VmLost => format!("{}: {message}", case.outcome.name()),
    };
    let word = if is_ok(case.outcome) { "ok" } else { "not ok" };
    let _ = writeln!(out, "{indent}{word} {number} {name} # {}", tail.trim_end());
}

/// A description is any string without `#` and newline; `#2` of a repetition becomes `run 2`.
fn description(name: &str) -> String {
    plain(name).replace('#', "run ")
}
