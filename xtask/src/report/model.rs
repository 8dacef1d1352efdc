// SPDX-License-Identifier: GPL-2.0-only
//! What a run amounts to: the stream of events folded into `results.json`, which every report is made from, and
//! the exit code. Judges nothing: outcomes come in as events.
//!
//! ```text
//! {"v":1,
//!  "kernel":{"source","variant","release","id"}, "host":{"qemu","accel","accel_reason","cpus","memory_mib"},
//!  "stress":{"seed","seconds"?}?, "partition":"1/2"?,
//!  "cases":[{"name":"compat::x", "conditions":{"queue_mode":"bio",…}, "full_name":"compat::x[bio]",
//!            "outcome":"Fail", "seconds":1.5, "message":"assertion: seen", "assertion"?, "splat"?, "artifacts"?,
//!            "evidence"?, "history"?}],
//!  "summary":{"total","passed","failed","known_deviations","skipped","infra","not_run","seconds","complete","exit_code"}}
//! ```
//! `outcome` is a name of the vocabulary, or `NotRun`: planned, and the run ended before it had an outcome. That is
//! the absence of an outcome and never counts as a pass: with one in it, the exit code is not 0.

use std::collections::BTreeMap;

use guest::case::full_name;
use guest::condition::Condition;
use guest::stress::Stress;
use serde::{Deserialize, Serialize};

use crate::event::{Event, FORMAT, HostFacts, KernelFacts, Kind};
use crate::exit::Code;
use crate::outcome::Outcome;
use crate::run::partition::Partition;

use super::history::Trace;

/// What a case on an observed kernel relies on.
const TRACEPOINTS: &str = "tracepoints";
/// The same, when some events were lost.
const TRACEPOINTS_CUT: &str = "tracepoints (incomplete)";
/// The best that other kernels offer; see docs/evidence.md.
const STOCK_EVIDENCE: &str = "inflight, blk-mq debugfs";

/// The whole of `results.json`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Results {
    /// [`FORMAT`].
    pub v: u32,
    /// The kernel under test.
    pub kernel: KernelFacts,
    /// The host.
    pub host: HostFacts,
    /// What was asked of stress cases, if there were any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stress: Option<Stress>,
    /// Which part of the selection was run, if it was one of several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub partition: Option<Partition>,
    /// In the order of the plan; what was not planned (there should be none) after it.
    pub cases: Vec<CaseResult>,
    /// The counts.
    pub summary: Summary,
}

/// One run of one case under one condition.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CaseResult {
    /// `module::function`.
    pub name: String,
    /// The condition.
    pub conditions: Condition,
    /// `case[condition]`, with ` #2` and so on for repetitions: unique in a run.
    pub full_name: String,
    /// The outcome's name.
    pub outcome: Status,
    /// Wall seconds.
    pub seconds: f64,
    /// The explanation; empty for a pass.
    pub message: String,
    /// The assertion that failed, of `Fail` and `KnownDeviation`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub assertion: Option<String>,
    /// The kind of splat, of `KernelSplat`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub splat: Option<String>,
    /// Folder with console, events and so on, relative to the run folder.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifacts: Option<String>,
    /// What tells where the I/O was: `tracepoints`, or what stock kernels offer. Nothing for a case that did not run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evidence: Option<String>,
    /// The tracepoints condensed: lines of text, times in seconds since the case began.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub history: Vec<String>,
}

/// The name of an [`Outcome`], or that there is none; from the best to the worst.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Status {
    /// [`Outcome::Pass`].
    Pass,
    /// [`Outcome::KnownDeviation`].
    KnownDeviation,
    /// [`Outcome::Skipped`].
    Skipped,
    /// Planned, and the run ended before it had an outcome.
    NotRun,
    /// [`Outcome::Infra`].
    Infra,
    /// [`Outcome::VmLost`].
    VmLost,
    /// [`Outcome::Timeout`].
    Timeout,
    /// [`Outcome::KernelSplat`].
    KernelSplat,
    /// [`Outcome::Fail`].
    Fail,
}

/// How many of what.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// All cases: the sum of the six counts below.
    pub total: usize,
    /// `Pass`.
    pub passed: usize,
    /// `Fail`, `KernelSplat`, `Timeout`, `VmLost`.
    pub failed: usize,
    /// `KnownDeviation`: neither pass nor failure.
    pub known_deviations: usize,
    /// `Skipped`.
    pub skipped: usize,
    /// `Infra`.
    pub infra: usize,
    /// `NotRun`.
    pub not_run: usize,
    /// By outcome; those that occur.
    pub outcomes: BTreeMap<String, usize>,
    /// Wall seconds of the run.
    pub seconds: f64,
    /// Whether the run came to its end by itself; false after Ctrl-C, and if the stream breaks off.
    pub complete: bool,
    /// What the run ends with.
    pub exit_code: u8,
}

impl Status {
    /// The name in every report.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pass => "Pass",
            Self::KnownDeviation => "KnownDeviation",
            Self::Skipped => "Skipped",
            Self::NotRun => "NotRun",
            Self::Infra => "Infra",
            Self::VmLost => "VmLost",
            Self::Timeout => "Timeout",
            Self::KernelSplat => "KernelSplat",
            Self::Fail => "Fail",
        }
    }

    /// Whether the kernel was seen to do wrong.
    pub const fn is_failure(self) -> bool {
        matches!(self, Self::VmLost | Self::Timeout | Self::KernelSplat | Self::Fail)
    }

    /// Whether host, image or user kept the case from an outcome of its own.
    pub const fn is_host_trouble(self) -> bool {
        matches!(self, Self::Infra | Self::NotRun)
    }
}

impl From<&Outcome> for Status {
    fn from(outcome: &Outcome) -> Self {
        match outcome {
            Outcome::Pass => Self::Pass,
            Outcome::Fail { .. } => Self::Fail,
            Outcome::KernelSplat { .. } => Self::KernelSplat,
            Outcome::Timeout { .. } => Self::Timeout,
            Outcome::VmLost { .. } => Self::VmLost,
            Outcome::KnownDeviation { .. } => Self::KnownDeviation,
            Outcome::Skipped { .. } => Self::Skipped,
            Outcome::Infra { .. } => Self::Infra,
        }
    }
}

impl CaseResult {
    /// From the fields of [`Kind::CaseOutcome`]; `full` is the event's `case`.
    pub fn new(
        full: Option<&str>,
        name: &str,
        condition: Condition,
        outcome: &Outcome,
        seconds: f64,
        artifacts: Option<&str>,
    ) -> Self {
        let (assertion, splat) = match outcome {
            Outcome::Fail { assertion, .. } | Outcome::KnownDeviation { assertion, .. } => {
                (Some(assertion), None)
            }
            Outcome::KernelSplat { splat, .. } => (None, Some(splat)),
            _ => (None, None),
        };
        Self {
            name: name.to_owned(),
            conditions: condition,
            full_name: full.map_or_else(|| full_name(name, &condition), str::to_owned),
            outcome: Status::from(outcome),
            seconds,
            message: outcome.message(),
            assertion: assertion.cloned(),
            splat: splat.cloned(),
            artifacts: artifacts.map(str::to_owned),
            evidence: None,
            history: vec![],
        }
    }

    /// Planned and nothing else known, unless it was started.
    fn not_run(full: &str, started: Option<&(String, Condition)>, interrupted: bool) -> Self {
        let end = if interrupted { "the run was interrupted" } else { "the run ended" };
        let message = match started {
            Some(_) => format!("started, but {end} before it had an outcome"),
            None => format!("{end} before it was started"),
        };
        let (name, conditions) = started.cloned().unwrap_or_else(|| {
            (full.split(['[', ' ']).next().unwrap_or(full).to_owned(), parse_condition(full))
        });
        Self {
            name,
            conditions,
            full_name: full.to_owned(),
            outcome: Status::NotRun,
            seconds: 0.0,
            message,
            assertion: None,
            splat: None,
            artifacts: None,
            evidence: None,
            history: vec![],
        }
    }

    /// Adds what the tracepoints said; `observed` is `None` if the case had no VM.
    fn with_evidence(mut self, observed: Option<bool>, trace: Trace) -> Self {
        if self.outcome != Status::Skipped {
            self.evidence = observed.map(|observed| match (observed, trace.is_complete()) {
                (true, true) => TRACEPOINTS.to_owned(),
                (true, false) => TRACEPOINTS_CUT.to_owned(),
                (false, _) => STOCK_EVIDENCE.to_owned(),
            });
        }
        self.history = trace.lines();
        self
    }

    /// What stands between the brackets of the full name, with the repetition: `scsi_debug,bio #2`.
    pub fn label(&self) -> String {
        let rest = self.full_name.strip_prefix(self.name.as_str()).unwrap_or(&self.full_name);
        rest.replace(['[', ']'], "").trim().to_owned()
    }
}

/// The condition that a full name tells; axes are found by their values, which are unique.
fn parse_condition(full: &str) -> Condition {
    let inside =
        full.split_once('[').and_then(|(_, rest)| rest.split_once(']')).map_or("", |(inside, _)| inside);
    let mut condition = Condition::default();
    for part in inside.split(',') {
        condition.transport = condition.transport.or_else(|| part.parse().ok());
        condition.queue_mode = condition.queue_mode.or_else(|| part.parse().ok());
        condition.suspend = condition.suspend.or_else(|| part.parse().ok());
        condition.fault = condition.fault.or_else(|| part.parse().ok());
        condition.io = condition.io.or_else(|| part.parse().ok());
        condition.file_system = condition.file_system.or_else(|| part.parse().ok());
        condition.signal = condition.signal.or_else(|| part.parse().ok());
    }
    condition
}

/// Folds the stream.
pub fn fold<'a>(events: impl IntoIterator<Item = &'a Event>) -> Results {
    let mut results = Results { v: FORMAT, ..Results::default() };
    let mut planned_names = Vec::new();
    let mut started: BTreeMap<String, (String, Condition)> = BTreeMap::new();
    let mut traces: BTreeMap<String, Trace> = BTreeMap::new();
    let mut observed: BTreeMap<u32, bool> = BTreeMap::new();
    let mut ended = None;
    let mut last = 0.0_f64;
    for event in events {
        last = last.max(event.t);
        match &event.kind {
            Kind::RunStarted { kernel, host, stress, partition, planned } => {
                (results.stress, results.partition) = (*stress, *partition);
                results.kernel = kernel.clone();
                results.host = host.clone();
                planned_names.clone_from(planned);
            }
            Kind::VmReady { release, observed: hooks, .. } => {
                if results.kernel.release.is_empty() {
                    results.kernel.release.clone_from(release);
                }
                observed.extend(event.vm.map(|vm| (vm, *hooks)));
            }
            Kind::CaseStarted { name, condition, .. } => {
                let full = event.case.clone().unwrap_or_else(|| full_name(name, condition));
                traces.insert(full.clone(), Trace::since(event.t));
                started.insert(full, (name.clone(), *condition));
            }
            Kind::Traced { .. } | Kind::TraceCut { .. } | Kind::Happened { .. } => {
                if let Some(trace) = event.case.as_ref().and_then(|case| traces.get_mut(case)) {
                    trace.add(event);
                }
            }
            Kind::CaseOutcome { name, condition, outcome, seconds, artifacts } => {
                let (full, artifacts) = (event.case.as_deref(), artifacts.as_deref());
                let new = CaseResult::new(full, name, *condition, outcome, *seconds, artifacts);
                let trace = traces.remove(&new.full_name).unwrap_or_default();
                let hooks = event.vm.and_then(|vm| observed.get(&vm)).copied();
                add(&mut results.cases, new.with_evidence(hooks, trace));
            }
            Kind::RunEnded { interrupted, seconds } => ended = Some((*interrupted, *seconds)),
            _ => {}
        }
    }
    let interrupted = ended.is_none_or(|(interrupted, _)| interrupted);
    results.cases = in_order(&planned_names, results.cases, |full| {
        CaseResult::not_run(full, started.get(full), interrupted)
    });
    results.summary = summary(&results.cases, !interrupted, ended.map_or(last, |(_, seconds)| seconds));
    results.summary.exit_code = exit_code(&results) as u8;
    results
}

/// One outcome a run of a case. Should the stream hold two, the worse one stands: a pass never covers a failure.
fn add(cases: &mut Vec<CaseResult>, new: CaseResult) {
    match cases.iter_mut().find(|case| case.full_name == new.full_name) {
        Some(old) if old.outcome < new.outcome => *old = new,
        Some(_) => {}
        None => cases.push(new),
    }
}

fn in_order(
    planned: &[String],
    mut cases: Vec<CaseResult>,
    missing: impl Fn(&str) -> CaseResult,
) -> Vec<CaseResult> {
    let mut ordered = Vec::with_capacity(planned.len());
    for full in planned {
        match cases.iter().position(|case| &case.full_name == full) {
            Some(at) => ordered.push(cases.remove(at)),
            None => ordered.push(missing(full)),
        }
    }
    ordered.extend(cases);
    ordered
}

fn summary(cases: &[CaseResult], complete: bool, seconds: f64) -> Summary {
    let mut sum = Summary { total: cases.len(), seconds, complete, ..Summary::default() };
    for case in cases {
        *sum.outcomes.entry(case.outcome.name().to_owned()).or_default() += 1;
        let count = match case.outcome {
            Status::Pass => &mut sum.passed,
            Status::KnownDeviation => &mut sum.known_deviations,
            Status::Skipped => &mut sum.skipped,
            Status::NotRun => &mut sum.not_run,
            Status::Infra => &mut sum.infra,
            Status::VmLost | Status::Timeout | Status::KernelSplat | Status::Fail => &mut sum.failed,
        };
        *count += 1;
    }
    sum
}

/// What the run ends with, seen by `git bisect run`:
/// 1 if any case failed, for a proven failure makes the commit bad whatever else went wrong on the host;
/// else 128 if the host failed, something was not run, or nothing was run at all: that must not be taken for good;
/// else 125 if every case was skipped: this kernel shows nothing, neither good nor bad;
/// else 0. A known deviation is neither pass nor failure, but it shows that the kernel was tested.
pub fn exit_code(results: &Results) -> Code {
    let any = |what: fn(Status) -> bool| results.cases.iter().any(|case| what(case.outcome));
    if any(Status::is_failure) {
        Code::CaseFailed
    } else if any(Status::is_host_trouble) || !results.summary.complete || results.cases.is_empty() {
        Code::HostFailed
    } else if results.cases.iter().all(|case| case.outcome == Status::Skipped) {
        Code::Untestable
    } else {
        Code::AllPassed
    }
}
