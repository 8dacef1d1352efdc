// SPDX-License-Identifier: GPL-2.0-only
//! `cargo xtask list`: cases and conditions, with tags and one-line meaning. Boots nothing and builds nothing.

use std::fmt::Write as _;
use std::io::Write as _;

use anyhow::Context as _;
use guest::case::Case;
use guest::condition::Condition;
use serde::Serialize;
use tests::expectations::{self, Expected, Kernel};

use crate::exit::Code;
use crate::kernel::Variant;
use crate::prove::compare::expected_words;
use crate::prove::deviations;
use crate::run::plan::{Planned, Scope, Selection};

/// The verb's options.
#[derive(Debug, clap::Args)]
pub struct Options {
    #[command(flatten)]
    selection: Selection,
    /// For people or for programs
    #[arg(long, value_enum, default_value_t = Format::Human)]
    format: Format,
    /// Also the hidden cases, which test the harness or measure
    #[arg(long)]
    all: bool,
    /// Also what is expected of each on this variant of a base
    #[arg(long, value_enum)]
    variant: Option<Variant>,
    /// The known deviations instead: the Markdown table of docs/deviations.md
    #[arg(long, conflicts_with_all = ["filters", "format", "all", "variant"])]
    deviations: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    /// Text
    Human,
    /// One JSON document: `{"v":1,"cases":[…]}`
    Json,
}

/// Runs the verb.
pub fn run(options: &Options) -> anyhow::Result<Code> {
    if options.deviations {
        return print(&deviations::table(&expectations::deviations()));
    }
    let scope = if options.all { Scope::All } else { Scope::Kernel };
    let plan = options.selection.select(tests::catalogue(), scope)?;
    let text = match options.format {
        Format::Human => human(&plan, options.variant),
        Format::Json => json(&plan, options.variant)?,
    };
    print(&text)
}

fn print(text: &str) -> anyhow::Result<Code> {
    match std::io::stdout().lock().write_all(text.as_bytes()) {
        // `list | head` is no failure.
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(Code::AllPassed),
        done => done.map(|()| Code::AllPassed).context("write to standard output"),
    }
}

/// The plan by case, in its order.
fn by_case(plan: &[Planned]) -> Vec<(&'static Case, Vec<Condition>)> {
    let mut cases: Vec<(&'static Case, Vec<Condition>)> = Vec::new();
    for planned in plan {
        match cases.iter_mut().find(|(case, _)| case.name == planned.case.name) {
            Some((_, conditions)) => conditions.push(planned.condition),
            None => cases.push((planned.case, vec![planned.condition])),
        }
    }
    cases
}

/// What the data says for no release in particular.
fn expected(case: &Case, condition: Condition, variant: Option<Variant>) -> Option<Expected> {
    let kernel = Kernel { variant: variant?.name(), release: "" };
    expectations::expected(case.name, condition, kernel)
}

fn human(plan: &[Planned], variant: Option<Variant>) -> String {
    let cases = by_case(plan);
    let mut out = String::new();
    for (case, conditions) in &cases {
        let _ = writeln!(out, "{}  ({}; {})", case.name, case.tag.name(), case.claim);
        let _ = writeln!(out, "    {}", case.summary);
        for condition in conditions {
            let expected = expected(case, *condition, variant);
            let should = expected.map(|expected| format!("should {}", expected_words(Some(expected))));
            let label = (!condition.parts().is_empty()).then(|| format!("[{condition}]"));
            let parts: Vec<String> = label.into_iter().chain(should).collect();
            if !parts.is_empty() {
                let _ = writeln!(out, "    {}", parts.join(" "));
            }
        }
        for left_out in case.left_out {
            let _ = writeln!(out, "    left out: {}: {}", left_out.what, left_out.reason);
        }
        if !case.needs.is_empty() {
            let _ = writeln!(out, "    needs: {}", case.needs.join(", "));
        }
        out.push('\n');
    }
    let _ = writeln!(out, "cases: {}, with their conditions: {}", cases.len(), plan.len());
    out
}

#[derive(Serialize)]
struct Document {
    v: u32,
    cases: Vec<Entry>,
}

#[derive(Serialize)]
struct Entry {
    name: &'static str,
    tag: &'static str,
    claim: &'static str,
    summary: &'static str,
    needs: &'static [&'static str],
    deadline_seconds: u32,
    conditions: Vec<Run>,
    left_out: Vec<LeftOut>,
}

#[derive(Serialize)]
struct Run {
    full_name: String,
    #[serde(flatten)]
    condition: Condition,
    /// With `--variant`; as in prove.json.
    #[serde(skip_serializing_if = "Option::is_none")]
    expected: Option<Expected>,
}

#[derive(Serialize)]
struct LeftOut {
    what: &'static str,
    reason: &'static str,
}

fn json(plan: &[Planned], variant: Option<Variant>) -> anyhow::Result<String> {
    let entry = |(case, conditions): (&'static Case, Vec<Condition>)| Entry {
        name: case.name,
        tag: case.tag.name(),
        claim: case.claim,
        summary: case.summary,
        needs: case.needs,
        deadline_seconds: case.deadline_seconds,
        conditions: conditions
            .into_iter()
            .map(|condition| Run {
                full_name: Planned { case, condition }.full_name(),
                condition,
                expected: expected(case, condition, variant),
            })
            .collect(),
        left_out: case.left_out.iter().map(|l| LeftOut { what: l.what, reason: l.reason }).collect(),
    };
    let document = Document { v: 1, cases: by_case(plan).into_iter().map(entry).collect() };
    Ok(serde_json::to_string_pretty(&document)? + "\n")
}

#[cfg(test)]
mod unit {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]

    use guest::bench::Bench;
    use guest::case::Tag;
    use guest::condition::{QueueMode, Transport};
    use guest::failure::Outcome;

    use super::*;

    #[expect(clippy::unnecessary_wraps, reason = "the type of every case")]
    fn nothing(_: &mut Bench) -> Outcome {
        Ok(())
    }

    static CASES: &[Case] = &[
        Case {
            name: "compat::io_fails",
            claim: "seed, regression 1",
            summary: "I/O fails at once without paths.",
            tag: Tag::Compat,
            needs: &["BLK_DEBUG_FS"],
            conditions: || {
                let one = |queue_mode| Condition {
                    transport: Some(Transport::ScsiDebug),
                    queue_mode: Some(queue_mode),
                    ..Condition::default()
                };
                vec![one(QueueMode::Bio), one(QueueMode::Rq)]
            },
            left_out: &[guest::case::LeftOut { what: "implicit", reason: "nothing is suspended" }],
            allow: &[],
            deadline_seconds: 30,
            run: nothing,
        },
        Case {
            name: "selftest::panics",
            claim: "a kernel panic",
            summary: "Panics.",
            tag: Tag::Selftest,
            needs: &[],
            conditions: || vec![Condition::default()],
            left_out: &[],
            allow: &[],
            deadline_seconds: 30,
            run: nothing,
        },
    ];

    #[test]
    fn for_people() {
        let plan = Selection::default().select(CASES, Scope::All).unwrap();
        insta::assert_snapshot!(human(&plan, None), @r#"
        compat::io_fails  (compat; seed, regression 1)
            I/O fails at once without paths.
            [scsi_debug,bio]
            [scsi_debug,rq]
            left out: implicit: nothing is suspended
            needs: BLK_DEBUG_FS

        selftest::panics  (selftest; a kernel panic)
            Panics.

        cases: 2, with their conditions: 3
        "#);
    }

    #[test]
    fn for_programs() {
        let plan = Selection::default().select(CASES, Scope::Kernel).unwrap();
        insta::assert_snapshot!(json(&plan, None).unwrap(), @r#"
        {
          "v": 1,
          "cases": [
            {
              "name": "compat::io_fails",
              "tag": "compat",
              "claim": "seed, regression 1",
              "summary": "I/O fails at once without paths.",
              "needs": [
                "BLK_DEBUG_FS"
              ],
              "deadline_seconds": 30,
              "conditions": [
                {
                  "full_name": "compat::io_fails[scsi_debug,bio]",
                  "transport": "scsi_debug",
                  "queue_mode": "bio"
                },
                {
                  "full_name": "compat::io_fails[scsi_debug,rq]",
                  "transport": "scsi_debug",
                  "queue_mode": "rq"
                }
              ],
              "left_out": [
                {
                  "what": "implicit",
                  "reason": "nothing is suspended"
                }
              ]
            }
          ]
        }
        "#);
    }
}
