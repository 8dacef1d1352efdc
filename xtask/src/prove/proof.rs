// SPDX-License-Identifier: GPL-2.0-only
//! The proof as a whole: every cell with its verdict, the counts, the exit code. It is also the format of `prove.json`:
//!
//! ```text
//! {"v":1, "base":"6.12",
//!  "runs":[{"variant":"baseline", "kernel":{as in results.json}, "folder":"baseline", "complete":true}],
//!  "cells":[{"claim":"seed, normal path 1", "case":"noflush::x", "conditions":{"queue_mode":"bio",…},
//!            "full_name":"noflush::x[…]", "variant":"baseline",
//!            "expected":{"then":"pass"|"fails"|"deviates"|"not_applicable", "assertion"?, "deviation"?, "reason"?},
//!            "outcome":"Fail" (as in results.json; null without one), "assertion"?, "message"?, "artifacts"?,
//!            "verdict":"as_expected"|"not_applicable"|"mismatch"|"not_run"}],
//!  "summary":{"as_expected","not_applicable","mismatched","not_run","seconds","exit_code"}}
//! ```
//! `folder` is relative to the folder of the proof, `artifacts` to that of the run.

use std::collections::BTreeMap;

use ::tests::expectations::{Expected, Kernel, expected};
use camino::Utf8Path;
use guest::condition::Condition;
use serde::Serialize;

use super::compare::{Verdict, compare, expected_words, seen_words};
use crate::event::KernelFacts;
use crate::exit::Code;
use crate::report::counts::Counts;
use crate::report::model::{CaseResult, Results, Status};
use crate::run::plan::Planned;

/// The whole of `prove.json`.
#[derive(Debug, Clone, Serialize)]
pub struct Proof {
    /// Version of the format: 1.
    pub v: u32,
    /// The base.
    pub base: String,
    /// One run a variant, in the order of the table's columns.
    pub runs: Vec<Run>,
    /// In the order of the catalogue; of each case and condition one for every variant, in the order of the runs.
    pub cells: Vec<Cell>,
    /// The counts.
    pub summary: Summary,
}

/// The run of one variant.
#[derive(Debug, Clone, Serialize)]
pub struct Run {
    /// Its name.
    pub variant: &'static str,
    /// The kernel.
    pub kernel: KernelFacts,
    /// The run folder, relative to the folder of the proof.
    pub folder: String,
    /// It came to its end; false as well if it never began.
    pub complete: bool,
    /// What it gave, by full name.
    #[serde(skip)]
    pub results: BTreeMap<String, CaseResult>,
    /// Wall seconds.
    #[serde(skip)]
    pub seconds: f64,
    /// Options of `cargo xtask test` that choose the same kernel and machine.
    #[serde(skip)]
    pub options: Vec<String>,
}

impl Run {
    /// Takes over what a run gave.
    pub fn take(&mut self, results: Results) {
        self.kernel = results.kernel;
        self.complete = results.summary.complete;
        self.seconds = results.summary.seconds;
        self.results = results.cases.into_iter().map(|case| (case.full_name.clone(), case)).collect();
    }
}

/// One case under one condition on one variant.
#[derive(Debug, Clone, Serialize)]
pub struct Cell {
    /// Which claim of the seed it proves.
    pub claim: &'static str,
    /// `group::name`.
    pub case: &'static str,
    /// The condition.
    pub conditions: Condition,
    /// `case[condition]`.
    pub full_name: String,
    /// Which variant.
    pub variant: &'static str,
    /// What it should do.
    pub expected: Option<Expected>,
    /// What it did.
    pub outcome: Option<Status>,
    /// The assertion at which it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub assertion: Option<String>,
    /// The explanation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// Folder of the failure, relative to the run folder.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub artifacts: Option<String>,
    /// Whether that is the same.
    pub verdict: Verdict,
    /// `it should pass, and failed: …`; for a mismatch.
    #[serde(skip)]
    pub why: String,
}

/// A case and a variant.
pub type Place = (&'static str, &'static str);

/// How many cells of what.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Summary {
    /// Did what they should.
    pub as_expected: usize,
    /// Make no sense on that variant.
    pub not_applicable: usize,
    /// Did something else.
    pub mismatched: usize,
    /// Have no outcome.
    pub not_run: usize,
    /// Wall seconds of all runs.
    pub seconds: f64,
    /// What the verb ends with.
    pub exit_code: u8,
}

impl Proof {
    /// Puts the plan's cells beside what the runs gave. `interrupted`: by the user.
    pub fn new(base: &str, plan: &[Planned], runs: Vec<Run>, interrupted: bool) -> Self {
        let of = |planned: &Planned| runs.iter().map(|run| cell(planned, run)).collect::<Vec<_>>();
        let cells: Vec<_> = plan.iter().flat_map(of).collect();
        let count = |verdict| cells.iter().filter(|cell| cell.verdict == verdict).count();
        let summary = Summary {
            as_expected: count(Verdict::AsExpected),
            not_applicable: count(Verdict::NotApplicable),
            mismatched: count(Verdict::Mismatch),
            not_run: count(Verdict::NotRun),
            seconds: runs.iter().map(|run| run.seconds).sum(),
            exit_code: exit_code(&cells, interrupted) as u8,
        };
        Self { v: 1, base: base.to_owned(), runs, cells, summary }
    }

    /// What the verb ends with.
    pub fn code(&self, interrupted: bool) -> Code {
        exit_code(&self.cells, interrupted)
    }

    /// For the closing line of `ci`: a cell that did what it should has passed, whatever that was.
    pub fn counts(&self) -> Counts {
        let Summary { as_expected, not_applicable, mismatched, not_run, .. } = self.summary;
        Counts { passed: as_expected, failed: mismatched + not_run, skipped: not_applicable }
    }

    /// The cells that differ, with their run.
    pub fn mismatches(&self) -> impl Iterator<Item = (&Cell, &Run)> {
        let differs = |cell: &&Cell| cell.verdict == Verdict::Mismatch;
        let run = |cell: &Cell| self.runs.iter().find(|run| run.variant == cell.variant);
        self.cells.iter().filter(differs).filter_map(move |cell| Some((cell, run(cell)?)))
    }

    /// The deviations that showed, by reason: which cells.
    pub fn deviations(&self) -> Vec<(&str, Vec<Place>)> {
        self.by_reason(|cell| {
            let deviates = cell.outcome == Some(Status::KnownDeviation);
            // The message of a deviation is `assertion: reason`, and what it deviates at stands in the table.
            let message = cell.message.as_deref().filter(|_| deviates)?;
            Some(message.strip_prefix(cell.assertion.as_deref()?)?.trim_start_matches(": "))
        })
    }

    /// What was not run because it makes no sense, by reason: which cells.
    pub fn not_applicable(&self) -> Vec<(&str, Vec<Place>)> {
        self.by_reason(|cell| cell.message.as_deref().filter(|_| cell.verdict == Verdict::NotApplicable))
    }

    /// Conditions of one case on one variant are told once.
    fn by_reason<'a>(&'a self, reason: impl Fn(&'a Cell) -> Option<&'a str>) -> Vec<(&'a str, Vec<Place>)> {
        let mut all: Vec<(&str, Vec<Place>)> = Vec::new();
        for cell in &self.cells {
            let Some(reason) = reason(cell) else { continue };
            let place = (cell.case, cell.variant);
            match all.iter_mut().find(|(known, _)| *known == reason) {
                Some((_, places)) if places.contains(&place) => {}
                Some((_, places)) => places.push(place),
                None => all.push((reason, vec![place])),
            }
        }
        all
    }

    /// `72 cells as expected, 0 not, 3 not applicable`.
    pub fn counted(&self) -> String {
        let Summary { as_expected, not_applicable, mismatched, not_run, seconds, .. } = self.summary;
        let more =
            |count: usize, what: &str| if count > 0 { format!(", {count} {what}") } else { String::new() };
        let (skipped, missing) = (more(not_applicable, "not applicable"), more(not_run, "not run"));
        format!("{as_expected} cells as expected, {mismatched} not{skipped}{missing} in {seconds:.1} s")
    }
}

fn cell(planned: &Planned, run: &Run) -> Cell {
    let full_name = planned.full_name();
    let kernel = Kernel { variant: run.variant, release: &run.kernel.release };
    let expected = expected(planned.case.name, planned.condition, kernel);
    let got = run.results.get(&full_name);
    let verdict = compare(expected, got);
    let why = match got {
        Some(got) if verdict == Verdict::Mismatch => {
            format!("it should {}, and {}", expected_words(expected), seen_words(got))
        }
        _ => String::new(),
    };
    Cell {
        claim: planned.case.claim,
        case: planned.case.name,
        conditions: planned.condition,
        full_name,
        variant: run.variant,
        expected,
        outcome: got.map(|got| got.outcome),
        assertion: got.and_then(|got| got.assertion.clone()),
        message: got.map(|got| got.message.clone()).filter(|message| !message.is_empty()),
        artifacts: got.and_then(|got| got.artifacts.clone()),
        verdict,
        why,
    }
}

/// 128 after Ctrl-C, whatever was seen until then: a proof is whole or none. 1 if a kernel did what it should not; 128 if
/// only the host stood in the way; 125 if nothing could be compared at all; else 0.
fn exit_code(cells: &[Cell], interrupted: bool) -> Code {
    let differs = |cell: &&Cell| cell.verdict == Verdict::Mismatch;
    let by_kernel = |cell: &Cell| cell.outcome.is_some_and(|outcome| !outcome.is_host_trouble());
    if interrupted {
        Code::HostFailed
    } else if cells.iter().filter(differs).any(by_kernel) {
        Code::CaseFailed
    } else if cells.iter().any(|cell| matches!(cell.verdict, Verdict::Mismatch | Verdict::NotRun)) {
        Code::HostFailed
    } else if cells.iter().all(|cell| cell.verdict == Verdict::NotApplicable) {
        Code::Untestable
    } else {
        Code::AllPassed
    }
}

/// The line that runs the case of a cell again.
pub fn again(cell: &Cell, run: &Run, folder: &Utf8Path) -> String {
    use crate::report::terminal::quoted;
    match &cell.artifacts {
        Some(artifacts) => {
            let failure = folder.join(&run.folder).join(artifacts);
            format!("cargo xtask test --rerun {}", quoted(failure.as_str()))
        }
        None => format!("cargo xtask test {} {}", run.options.join(" "), quoted(&cell.full_name)),
    }
}
