// SPDX-License-Identifier: GPL-2.0-only
//! One cell: what the case should do there, what it did, and whether that is the same.

use ::tests::expectations::Expected;
use serde::Serialize;

use crate::report::model::{CaseResult, Status};

/// What is to be said of a cell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// It did what it should.
    AsExpected,
    /// It makes no sense there, and was not run.
    NotApplicable,
    /// It did something else.
    Mismatch,
    /// There is no outcome: the run did not come that far.
    NotRun,
}

/// Compares. A case that fails where it is expected to fails at the named assertion and nowhere else; a splat, a
/// time-out or a lost VM is never expected, nor is a skip for any other reason than that the cell is not applicable.
pub fn compare(expected: Option<Expected>, got: Option<&CaseResult>) -> Verdict {
    let Some(got) = got.filter(|got| got.outcome != Status::NotRun) else { return Verdict::NotRun };
    let at = |assertion: &str| got.assertion.as_deref() == Some(assertion);
    let same = match expected {
        // A deviation where none is expected at an assertion is a known splat.
        Some(Expected::Pass) => matches!(got.outcome, Status::Pass | Status::KnownDeviation),
        Some(Expected::Fails { assertion }) => got.outcome == Status::Fail && at(assertion),
        Some(Expected::Deviates { assertion, deviation }) => {
            (got.outcome == Status::KnownDeviation && at(assertion))
                || (got.outcome == Status::Pass && deviation.sometimes)
        }
        Some(Expected::NotApplicable { .. }) => {
            return if got.outcome == Status::Skipped { Verdict::NotApplicable } else { Verdict::Mismatch };
        }
        None => false,
    };
    if same { Verdict::AsExpected } else { Verdict::Mismatch }
}

/// What it should do, in words that read after "it should".
pub fn expected_words(expected: Option<Expected>) -> String {
    match expected {
        Some(Expected::Pass) => "pass".into(),
        Some(Expected::Fails { assertion }) => format!("fail at `{assertion}`"),
        Some(Expected::Deviates { assertion, .. }) => format!("fail at `{assertion}`, as a known deviation"),
        Some(Expected::NotApplicable { .. }) => "not be run".into(),
        None => "be in tests/expectations/".into(),
    }
}

/// What it did, in words that read after "it". The first line of the message says enough; the rest is in its folder.
pub fn seen_words(got: &CaseResult) -> String {
    let message = got.message.lines().next().unwrap_or_default();
    match got.outcome {
        Status::Pass => "passed".into(),
        Status::Fail => format!("failed: {message}"),
        Status::Skipped => format!("was skipped: {message}"),
        Status::NotRun => "was not run".into(),
        other => format!("ended as {}: {message}", other.name()),
    }
}
