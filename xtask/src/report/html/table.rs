// SPDX-License-Identifier: GPL-2.0-only
//! The runs of a page put side by side: one column a kernel, one row a case under one condition, and in each cell the
//! newest run's results with the outcomes of the runs before it. Pure.

use std::collections::HashMap;

use guest::condition::Condition;

use super::Shown;
use crate::report::model::{CaseResult, Status};

/// The runs of one kernel.
pub struct Column<'a> {
    /// Its name.
    pub label: &'a str,
    /// Oldest first; the last is the one that is shown. Never empty.
    pub runs: Vec<(usize, &'a Shown<'a>)>,
}

impl<'a> Column<'a> {
    /// The run that is shown, and its place in the page's list.
    pub fn newest(&self) -> Option<(usize, &'a Shown<'a>)> {
        self.runs.last().copied()
    }
}

/// A result and where it stands: the run's place in the page's list, its own in the run.
#[derive(Clone, Copy)]
pub struct Found<'a> {
    /// Which run.
    pub run: usize,
    /// Which result of it.
    pub index: usize,
    /// The result.
    pub case: &'a CaseResult,
}

/// One case under one condition on one kernel.
#[derive(Default)]
pub struct Cell<'a> {
    /// In the newest run: one, or as many as it was repeated.
    pub now: Vec<Found<'a>>,
    /// In the runs before, oldest first; `None` where it was not part of the run.
    pub before: Vec<Option<Status>>,
}

impl Cell<'_> {
    /// The worst that it gave.
    pub fn status(&self) -> Option<Status> {
        self.now.iter().map(|found| found.case.outcome).max()
    }
}

/// One case under one condition.
pub struct Row<'a> {
    /// `case[condition]`, without a number of a repetition.
    pub full: &'a str,
    /// What stands between the brackets.
    pub label: &'a str,
    /// The condition.
    pub condition: Condition,
    /// One a column.
    pub cells: Vec<Cell<'a>>,
}

impl Row<'_> {
    /// The worst of all columns.
    pub fn status(&self) -> Status {
        self.cells.iter().filter_map(Cell::status).max().unwrap_or(Status::NotRun)
    }
}

/// The rows of one case.
pub struct Group<'a> {
    /// `module::function`.
    pub name: &'a str,
    /// In the order in which they first appear.
    pub rows: Vec<Row<'a>>,
}

/// Runs of one column belong together, in the order of the list.
pub fn columns<'a>(runs: &'a [Shown<'a>]) -> Vec<Column<'a>> {
    let mut columns: Vec<Column> = vec![];
    for (place, run) in runs.iter().enumerate() {
        match columns.iter_mut().find(|column| column.label == run.column) {
            Some(column) => column.runs.push((place, run)),
            None => columns.push(Column { label: &run.column, runs: vec![(place, run)] }),
        }
    }
    columns
}

/// What the newest runs of all columns hold.
pub fn groups<'a>(columns: &[Column<'a>]) -> Vec<Group<'a>> {
    let mut groups: Vec<Group> = vec![];
    let mut places: HashMap<&str, (usize, usize)> = HashMap::new();
    let mut names: HashMap<&str, usize> = HashMap::new();
    for (at, column) in columns.iter().enumerate() {
        let Some((run, shown)) = column.newest() else { continue };
        for (index, case) in shown.results.cases.iter().enumerate() {
            let full = without_number(&case.full_name);
            let (group, row) = *places.entry(full).or_insert_with(|| {
                let group = *names.entry(&case.name).or_insert_with(|| {
                    groups.push(Group { name: &case.name, rows: vec![] });
                    groups.len() - 1
                });
                let label = full.strip_prefix(case.name.as_str()).unwrap_or(full);
                groups[group].rows.push(Row {
                    full,
                    label: label.trim_start_matches('[').trim_end_matches(']'),
                    condition: case.conditions,
                    cells: columns.iter().map(|_| Cell::default()).collect(),
                });
                (group, groups[group].rows.len() - 1)
            });
            groups[group].rows[row].cells[at].now.push(Found { run, index, case });
        }
        let before = column.runs.split_last().map_or(&[][..], |(_, before)| before);
        for (_, earlier) in before {
            let outcomes = worst(&earlier.results.cases);
            for row in groups.iter_mut().flat_map(|group| &mut group.rows) {
                row.cells[at].before.push(outcomes.get(row.full).copied());
            }
        }
    }
    groups
}

fn worst(cases: &[CaseResult]) -> HashMap<&str, Status> {
    let mut outcomes = HashMap::new();
    for case in cases {
        let known = outcomes.entry(without_number(&case.full_name)).or_insert(case.outcome);
        *known = case.outcome.max(*known);
    }
    outcomes
}

/// `case[condition] #2` is a repetition of `case[condition]`.
fn without_number(full: &str) -> &str {
    match full.rsplit_once(" #") {
        Some((rest, number)) if number.bytes().all(|byte| byte.is_ascii_digit()) => rest,
        _ => full,
    }
}
