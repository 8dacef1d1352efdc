// SPDX-License-Identifier: GPL-2.0-only
//! `JUnit` XML: one suite a case, one test case a condition. `KnownDeviation` is a `skipped` with that type, for `JUnit`
//! knows nothing between pass and failure; `Infra` and `NotRun` are `error`, what the kernel did wrong is `failure`.

use std::time::Duration;

use quick_junit::{NonSuccessKind, Report, TestCase, TestCaseStatus, TestSuite};

use super::ktap::groups;
use super::model::{CaseResult, Results, Status};
use super::plain;

/// The document. Characters that XML 1.0 can't hold (kernel messages may contain any) are replaced.
pub fn render(results: &Results) -> anyhow::Result<String> {
    let mut report = Report::new("dm-pushback");
    report.set_time(seconds(results.summary.seconds));
    for group in groups(&results.cases) {
        let name = group.first().map_or("", |case| case.name.as_str());
        let mut suite = TestSuite::new(name);
        suite.set_time(seconds(group.iter().map(|case| case.seconds).sum()));
        for (what, value) in [
            ("kernel.source", &results.kernel.source),
            ("kernel.variant", &results.kernel.variant),
            ("kernel.observe", &results.kernel.observe.to_string()),
            ("kernel.flavour", &results.kernel.flavour),
            ("kernel.release", &results.kernel.release),
            ("kernel.id", &results.kernel.id),
        ] {
            suite.add_property((what, plain(value).as_str()));
        }
        suite.add_test_cases(group.into_iter().map(test_case));
        report.add_test_suite(suite);
    }
    Ok(report.to_string()?)
}

fn test_case(case: &CaseResult) -> TestCase {
    let mut status = match case.outcome {
        Status::Pass => TestCaseStatus::success(),
        Status::Skipped | Status::KnownDeviation => TestCaseStatus::skipped(),
        Status::Infra | Status::NotRun => TestCaseStatus::non_success(NonSuccessKind::Error),
        Status::Fail | Status::KernelSplat | Status::Timeout | Status::VmLost => {
            TestCaseStatus::non_success(NonSuccessKind::Failure)
        }
    };
    if case.outcome != Status::Pass {
        status.set_type(case.outcome.name());
        status.set_message(plain(case.message.lines().next().unwrap_or("")));
        if case.message.lines().nth(1).is_some() {
            status.set_description(case.message.lines().map(plain).collect::<Vec<_>>().join("\n"));
        }
    }
    let mut test = TestCase::new(plain(&case.full_name), status);
    test.set_classname(case.name.as_str());
    test.set_time(seconds(case.seconds));
    if let Some(evidence) = &case.evidence {
        test.add_property(("evidence", evidence.as_str()));
    }
    if !case.history.is_empty() {
        test.set_system_out(case.history.iter().map(|line| plain(line)).collect::<Vec<_>>().join("\n"));
    }
    if let Some(folder) = &case.artifacts {
        test.add_property(("artifacts", plain(folder).as_str()));
    }
    test
}

fn seconds(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds).unwrap_or_default()
}
