// SPDX-License-Identifier: GPL-2.0-only
//! Cases × conditions × kernels: a square each, coloured by its outcome, that leads to what is known of it.

use maud::{Markup, html};

use super::table::{Cell, Found, Group, Row};
use super::text::shown;
use super::{Page, class};
use crate::report::model::Status;

impl Page<'_> {
    pub(super) fn matrix(&self) -> Markup {
        html! {
            section #matrix {
                h2 { "Cases and conditions" }
                @if self.groups.is_empty() { p { "No case was planned." } }
                @else {
                    (legend())
                    table.matrix {
                        thead {
                            tr {
                                th scope="col" { "case" }
                                @for column in &self.columns { th scope="col" { (shown(column.label)) } }
                            }
                        }
                        tbody {
                            @for group in &self.groups { (self.line(group)) }
                        }
                    }
                }
            }
        }
    }

    fn line(&self, group: &Group) -> Markup {
        html! {
            tr class={ "case" (marks(group)) } {
                th scope="row" { (breakable(group.name)) }
                @for at in 0..self.columns.len() {
                    td {
                        @for row in &group.rows { (square(row, &row.cells[at])) }
                    }
                }
            }
        }
    }
}

/// Colours and letters of the squares.
fn legend() -> Markup {
    let all = [
        (Status::Pass, "passed"),
        (Status::Fail, "failed, splat, time-out, lost VM"),
        (Status::KnownDeviation, "known to deviate"),
        (Status::Skipped, "skipped"),
        (Status::Infra, "host's trouble, not run"),
    ];
    html! {
        p.legend {
            @for (status, words) in all {
                span { i.sq.(class(status)) {} " " (words) }
                " "
            }
            "Each square is one condition."
        }
    }
}

/// The classes by which the filters know a case.
pub(super) fn marks(group: &Group) -> &'static str {
    let any = |what: fn(Status) -> bool| group.rows.iter().any(|row| what(row.status()));
    match (any(Status::is_failure), any(|status| status != Status::Pass)) {
        (true, _) => " h-fail h-odd",
        (false, true) => " h-odd",
        (false, false) => "",
    }
}

/// The classes by which the filters know a condition.
pub(super) fn condition(row: &Row) -> String {
    let status = row.status();
    let kind = if status.is_failure() {
        "is-fail"
    } else if status == Status::Pass {
        "is-pass"
    } else {
        "is-odd"
    };
    row.condition.parts().iter().fold(format!("cond {kind}"), |classes, value| classes + " c-" + value)
}

fn square(row: &Row, cell: &Cell) -> Markup {
    let title = if row.label.is_empty() { "no conditions" } else { row.label };
    html! {
        @match (cell.status(), cell.now.first()) {
            (Some(status), Some(found)) => {
                a class={ "sq " (class(status)) " " (condition(row)) } href={ "#" (anchor(*worst(cell, found))) } title=(title) {
                    span.vh { (status.name()) }
                }
            }
            _ => i class={ "sq none " (condition(row)) } title={ (title) ": not in this run" } {},
        }
    }
}

/// Of repetitions, the one to look at.
fn worst<'c, 'a>(cell: &'c Cell<'a>, first: &'c Found<'a>) -> &'c Found<'a> {
    cell.now.iter().find(|found| Some(found.case.outcome) == cell.status()).unwrap_or(first)
}

/// Where what is known of a result stands.
pub(super) fn anchor(found: Found) -> String {
    format!("r{}-{}", found.run, found.index)
}

/// The outcomes of the runs before, oldest first.
pub(super) fn history(cell: &Cell) -> Markup {
    html! {
        @if !cell.before.is_empty() {
            span.hist title="earlier runs, oldest first" {
                @for status in &cell.before { i class=(status.map_or("none", class)) {} }
            }
        }
    }
}

/// A name that may be broken where a reader would.
pub(super) fn breakable(name: &str) -> Markup {
    let name = shown(name);
    html! {
        @for word in name.split_inclusive("::") {
            @for part in word.split_inclusive(['_', ',', '[']) { (part) wbr; }
        }
    }
}
