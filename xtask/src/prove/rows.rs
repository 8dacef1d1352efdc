// SPDX-License-Identifier: GPL-2.0-only
//! The rows of the table: conditions of a case that agree on every variant become one, named by what sets them apart from
//! the case's other conditions.

use ::tests::expectations::Expected;
use guest::condition::Condition;

use super::compare::Verdict;
use super::proof::{Cell, Proof};
use crate::report::model::Status;

/// One row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// The claim; empty below the first row of a case.
    pub claim: &'static str,
    /// The case; empty below its first row.
    pub case: &'static str,
    /// Which conditions.
    pub conditions: String,
    /// One for each variant.
    pub cells: Vec<Text>,
}

/// What a cell says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Text {
    /// The text.
    pub text: String,
    /// Whether it is not as expected.
    pub wrong: bool,
}

/// The table.
pub fn rows(proof: &Proof) -> Vec<Row> {
    let mut rows = Vec::new();
    let variants = proof.runs.len().max(1);
    let mut rest = proof.cells.as_slice();
    while let Some(first) = rest.first() {
        let end = rest.iter().position(|cell| cell.case != first.case).unwrap_or(rest.len());
        let (case, others) = rest.split_at(end);
        rest = others;
        let all: Vec<Condition> = case.chunks(variants).map(|cells| cells[0].conditions).collect();
        let mut named: Vec<(String, Vec<Text>)> = Vec::new();
        let mut unnamed: Vec<(Vec<Condition>, Vec<Text>)> = Vec::new();
        for (same, cells) in groups(case, variants) {
            match label(&all, &same) {
                Some(label) => named.push((label, cells)),
                None => unnamed.push((same, cells)),
            }
        }
        // The largest group without a name of its own is what is left when all others have been told.
        unnamed.sort_by_key(|(same, _)| same.len());
        let others = unnamed.pop();
        for (same, cells) in unnamed {
            let varying = axes(&all).into_iter().filter(|(_, values)| values.len() > 1);
            let varying: Vec<String> = varying.map(|(axis, _)| axis).collect();
            named.extend(same.iter().map(|one| (values(*one, &varying).join(","), cells.clone())));
        }
        named
            .extend(others.map(|(same, cells)| (format!("others ({} of {})", same.len(), all.len()), cells)));
        for (index, (conditions, cells)) in named.into_iter().enumerate() {
            let (claim, case) = if index == 0 { (first.claim, first.case) } else { ("", "") };
            rows.push(Row { claim, case, conditions, cells });
        }
    }
    rows
}

/// The conditions that agree, with what they agree on.
fn groups(case: &[Cell], variants: usize) -> Vec<(Vec<Condition>, Vec<Text>)> {
    let mut groups: Vec<(Vec<Condition>, Vec<Text>)> = Vec::new();
    for cells in case.chunks(variants) {
        let texts: Vec<Text> = cells.iter().map(text).collect();
        match groups.iter_mut().find(|(_, known)| *known == texts) {
            Some((same, _)) => same.push(cells[0].conditions),
            None => groups.push((vec![cells[0].conditions], texts)),
        }
    }
    groups
}

/// Short: what differs is told in full below the table.
fn text(cell: &Cell) -> Text {
    let assertion = cell.assertion.as_deref().unwrap_or_default();
    let text = match cell.outcome {
        _ if cell.verdict == Verdict::NotApplicable => "not applicable".to_owned(),
        None | Some(Status::NotRun) => "not run".to_owned(),
        Some(Status::Pass) => "pass".to_owned(),
        Some(Status::Fail) => format!("fails: {assertion}"),
        // At no assertion, so it was a splat; its first line stands in the message.
        Some(Status::KnownDeviation) if cell.expected == Some(Expected::Pass) => {
            "passes, known splat".to_owned()
        }
        Some(Status::KnownDeviation) => format!("deviates: {assertion}"),
        Some(other) => other.name().to_owned(),
    };
    Text { text, wrong: cell.verdict == Verdict::Mismatch }
}

/// A name for some of a case's conditions: `all 8`, or the values of the axes that set them apart; `None` if no values do.
fn label(all: &[Condition], some: &[Condition]) -> Option<String> {
    if let [one] = all {
        return Some(one.to_string());
    }
    if some.len() == all.len() {
        return Some(format!("all {}", all.len()));
    }
    let apart: Vec<(String, Vec<&str>)> = axes(all)
        .into_iter()
        .filter_map(|(axis, mut values)| {
            let known = values.len();
            values.retain(|v| some.iter().any(|condition| value(*condition, &axis).as_deref() == Some(v)));
            (values.len() < known).then_some((axis, values))
        })
        .collect();
    let fits = |condition: &&Condition| {
        let fits = |(axis, values): &(String, Vec<&str>)| {
            value(**condition, axis).is_none_or(|is| values.contains(&is.as_str()))
        };
        apart.iter().all(fits)
    };
    let named: Vec<String> = apart.iter().map(|(_, values)| values.join("|")).collect();
    let right = all.iter().filter(fits).count() == some.len();
    right.then(|| format!("{} ({} of {})", named.join(","), some.len(), all.len()))
}

/// The axes of a case in the order in which names have them, each with its values in the order of the case's matrix.
fn axes(all: &[Condition]) -> Vec<(String, Vec<&'static str>)> {
    let mut found: Vec<(String, Vec<&'static str>)> = Vec::new();
    for condition in all {
        for part in condition.parts() {
            let Some(axis) = axis_of(*condition, part) else { continue };
            match found.iter_mut().find(|(known, _)| *known == axis) {
                Some((_, values)) if values.contains(&part) => {}
                Some((_, values)) => values.push(part),
                None => found.push((axis, vec![part])),
            }
        }
    }
    found
}

/// The fields of a condition by name, as they are written everywhere: a new axis is in here by itself.
fn fields(condition: Condition) -> serde_json::Map<String, serde_json::Value> {
    match serde_json::to_value(condition) {
        Ok(serde_json::Value::Object(fields)) => fields,
        _ => serde_json::Map::new(),
    }
}

fn axis_of(condition: Condition, part: &str) -> Option<String> {
    fields(condition).into_iter().find(|(_, value)| value == part).map(|(axis, _)| axis)
}

fn values(condition: Condition, axes: &[String]) -> Vec<String> {
    axes.iter().filter_map(|axis| value(condition, axis)).collect()
}

fn value(condition: Condition, axis: &str) -> Option<String> {
    fields(condition).get(axis).and_then(|value| value.as_str()).map(str::to_owned)
}
