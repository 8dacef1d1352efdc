// SPDX-License-Identifier: GPL-2.0-only
//! Holds the data against the catalogue: what is missing, what is about nothing, what can't be meant.

use guest::assertions;
use guest::case::{Case, Tag, full_name};

use super::VARIANTS;
use super::format::{CaseRows, File, Row, Rows, Then};

/// Everything that is wrong, one sentence each; empty if the data fits.
pub(super) fn problems(file: &File, catalogue: &[Case]) -> Vec<String> {
    let mut found = Vec::new();
    for case in catalogue.iter().filter(|case| !case.tag.is_hidden()) {
        match file.case.get(case.name) {
            Some(rows) => check_case(&mut found, case, rows),
            None => found.push(format!("{}: nothing is expected of it, on no variant", case.name)),
        }
    }
    for name in file.case.keys() {
        match catalogue.iter().find(|case| case.name == name) {
            None => found.push(format!("{name}: there is no such case")),
            Some(case) if case.tag == Tag::Selftest => {
                found.push(format!("{name}: what a selftest must give stands beside it"));
            }
            Some(case) if case.tag == Tag::Measurement => {
                found.push(format!("{name}: a measurement proves nothing"));
            }
            Some(_) => {}
        }
    }
    for (case, rows) in &file.case {
        for (variants, row) in rows.all() {
            let may_fail = variants == ["baseline"];
            check_words(&mut found, file, &format!("{case} on {}", variants.join(", ")), row, may_fail);
        }
    }
    check_deviations(&mut found, file);
    found
}

fn check_case(found: &mut Vec<String>, case: &Case, rows: &CaseRows) {
    for variant in VARIANTS {
        match rows.of(variant) {
            Some(rows) => check_rows(found, case, variant, rows),
            None => found.push(format!("{}: nothing is expected on {variant}", case.name)),
        }
    }
    let conditions = (case.conditions)();
    for (number, row) in (1..).zip(&rows.splats) {
        if !conditions.iter().any(|condition| row.covers(*condition, &row.release)) {
            found.push(format!("{}: splat {number} is about no condition of the case", case.name));
        }
        if !matches!(row.then, Then::Splat { .. }) {
            found.push(format!("{}: splat {number} takes a deviation and nothing else", case.name));
        }
    }
}

fn check_rows(found: &mut Vec<String>, case: &Case, variant: &str, rows: &Rows) {
    let conditions = (case.conditions)();
    for condition in &conditions {
        // A row for some releases only leaves the others without an expectation.
        let covers = |row: &&Row| row.release.is_empty() && row.covers(*condition, "");
        if !rows.0.iter().any(|row| covers(&row)) {
            let name = full_name(case.name, condition);
            found.push(format!("{name}: nothing is expected on {variant}"));
        }
    }
    for (index, row) in rows.0.iter().enumerate() {
        let mine: Vec<_> = conditions.iter().filter(|c| row.covers(**c, &row.release)).collect();
        let left =
            mine.iter().filter(|c| !rows.0[..index].iter().any(|row_| row_.covers(***c, &row.release)));
        let (place, number) = (format!("{} on {variant}", case.name), index + 1);
        if mine.is_empty() {
            found.push(format!("{place}: row {number} is about no condition of the case"));
        } else if left.count() == 0 {
            found.push(format!("{place}: rows above row {number} are about all of its conditions"));
        }
        if matches!(row.then, Then::Splat { .. }) {
            found.push(format!("{place}: row {number} has a deviation, but not where it fails"));
        }
    }
}

/// What can be checked of a row without its case. Only a kernel that lacks the feature `may_fail` for no other reason.
fn check_words(found: &mut Vec<String>, file: &File, place: &str, row: &Row, may_fail: bool) {
    match &row.then {
        Then::Fails { assertion, .. } if !assertions::is_known(assertion) => {
            found.push(format!(
                "{place}: no assertion `{assertion}` (hint: guest::assertions::ALL lists them)"
            ));
        }
        Then::Fails { assertion, deviation: None } if !may_fail => {
            found.push(format!("{place}: fails at `{assertion}`, but names no deviation"));
        }
        Then::Skip { reason } if reason.is_empty() => found.push(format!("{place}: skip without a reason")),
        _ => {}
    }
    if let Some(name) = row.then.deviation() {
        let Some(deviation) = file.deviation.get(name) else {
            found.push(format!("{place}: there is no deviation `{name}`"));
            return;
        };
        if deviation.splat.is_some() != matches!(row.then, Then::Splat { .. }) {
            found.push(format!("{place}: `{name}` is a splat in one place and a failure in the other"));
        }
    }
}

fn check_deviations(found: &mut Vec<String>, file: &File) {
    let rows: Vec<_> = file.case.values().flat_map(CaseRows::all).collect();
    for (name, deviation) in &file.deviation {
        if !rows.iter().any(|(_, row)| row.then.deviation() == Some(name)) {
            found.push(format!("deviation `{name}`: no case shows it"));
        }
        if deviation.reason.trim().is_empty() || deviation.since.trim().is_empty() {
            found.push(format!("deviation `{name}`: it needs since and reason"));
        }
    }
}
