// SPDX-License-Identifier: GPL-2.0-only
//! What is known of each result: of a failure everything, at once in sight; of a pass its history and its time line, when
//! they are asked for.

use std::cell::Cell as Bytes;

use camino::Utf8Path;
use maud::{Markup, PreEscaped, html};

use super::drawing::{Detail, draw, seconds};
use super::matrix::{anchor, breakable, condition, history, marks};
use super::table::{Found, Group, Row};
use super::text::{shortened, shown};
use super::{Page, class};
use crate::report::model::{CaseResult, Status};
use crate::report::terminal::quoted;
use crate::report::timeline::{Moment, TimeLine};

/// Failures beyond this are closed at first.
const MOST_OPEN: usize = 12;
/// Lines of a console that are shown; all of them are in the failure's folder.
const MOST_LINES: usize = 240;
/// Lines of the console that are shown of a pass.
const MOST_FEW: usize = 12;
/// Lines of each other piece.
const MOST_PIECE: usize = 120;

/// Whether a result gets a place at the top of the page.
const fn is_bad(case: &CaseResult) -> bool {
    case.outcome.is_failure() || matches!(case.outcome, Status::Infra)
}

impl Page<'_> {
    /// Everything that is neither a pass nor explained.
    pub(super) fn failures(&self) -> Markup {
        let bad: Vec<(&Row, Found)> = self
            .groups
            .iter()
            .flat_map(|group| &group.rows)
            .flat_map(|row| {
                row.cells.iter().flat_map(move |cell| cell.now.iter().map(move |found| (row, *found)))
            })
            .filter(|(_, found)| is_bad(found.case))
            .collect();
        html! {
            @if !bad.is_empty() {
                section #failures {
                    h2 { "Failures" }
                    @for (n, (row, found)) in bad.into_iter().enumerate() {
                        (self.failure(row, found, n < MOST_OPEN))
                    }
                }
            }
        }
    }

    fn failure(&self, row: &Row, found: Found, open: bool) -> Markup {
        let case = found.case;
        html! {
            article class={ "bad " (condition(row)) } data-n=(shown(&case.full_name)) {
                details open[open] {
                    summary {
                        h3 {
                            span.badge.(class(case.outcome)) { (case.outcome.name()) }
                            " " (breakable(&case.full_name)) " "
                            small { (self.of_which(found)) (format!("{:.3} s", case.seconds)) }
                        }
                    }
                    // Inside, for a link to it opens it.
                    div id=(anchor(found)) {
                        @if !case.message.is_empty() { pre.message { (shown(&case.message)) } }
                        (self.again(found))
                        (self.story(found, Detail::Full))
                    }
                }
            }
        }
    }

    /// Which kernel, where there are several.
    fn of_which(&self, found: Found) -> Markup {
        html! {
            @if self.columns.len() > 1 { (shown(&self.runs[found.run].column)) ", " }
        }
    }

    /// Where its folder is, and how to run it again.
    fn again(&self, found: Found) -> Markup {
        let run = &self.runs[found.run];
        let inside = |run: &Utf8Path| match &found.case.artifacts {
            Some(artifacts) => run.join(artifacts),
            None => run.to_owned(),
        };
        // A run's own page is in its folder.
        let link = run.href.and_then(|href| Utf8Path::new(href).parent()).map(inside);
        html! {
            @if let Some(folder) = run.folder.map(inside) {
                dl {
                    dt { "artifacts" }
                    dd {
                        @match link {
                            Some(link) => a href={ (link.as_str()) "/" } { code { (shown(folder.as_str())) } },
                            None => code { (shown(folder.as_str())) },
                        }
                    }
                    dt { "again" }
                    dd { code { "cargo xtask test --rerun " (shown(&quoted(folder.as_str()))) } }
                }
            }
        }
    }

    /// The history of its I/O, its time line and what was said.
    fn story(&self, found: Found, detail: Detail) -> Markup {
        let case = found.case;
        let line = self.events[found.run].get(case.full_name.as_str()).map(|events| TimeLine::of(events));
        html! {
            @if let Some(line) = &line { (self.drawn(line, case, detail)) }
            @if !case.history.is_empty() {
                h4 { "History of its I/O, seconds since it began" }
                pre { (case.history.iter().map(|line| shown(line)).collect::<Vec<_>>().join("\n")) }
            }
            @if let Some(line) = &line {
                @if detail == Detail::Full { (told(line)) }
                @else {
                    // Where no tracepoints tell a history, the case's steps are the story.
                    @let steps: &[Moment] = if case.history.is_empty() { &line.steps } else { &[] };
                    @for (title, moments, most) in [("Steps", steps, MOST_FEW * 3), ("Console", &line.console, MOST_FEW)] {
                        @if !moments.is_empty() {
                            h4 { (title) }
                            pre { (shortened(&lines(moments), most, "events.jsonl")) }
                        }
                    }
                }
            }
        }
    }

    /// The time line, as long as there is room on the page.
    fn drawn(&self, line: &TimeLine, case: &CaseResult, detail: Detail) -> Markup {
        if line.is_empty() {
            return html! {};
        }
        let room = if is_bad(case) { &self.others } else { &self.passes };
        let mut drawing = draw(line, detail).into_string();
        if drawing.len() > room.get() && detail == Detail::Full {
            drawing = draw(line, Detail::Compact).into_string();
        }
        if spend(room, drawing.len()) {
            html! { h4 { "Time line" } (PreEscaped(drawing)) }
        } else {
            html! {
                p.note { "No time line: this page is large enough. Run fewer cases, or look at events.jsonl." }
            }
        }
    }

    /// Every case and condition.
    pub(super) fn cases(&self) -> Markup {
        html! {
            @if !self.groups.is_empty() {
                section #cases {
                    h2 { "All cases" }
                    (legend())
                    @for group in &self.groups { (self.case(group)) }
                }
            }
        }
    }

    fn case(&self, group: &Group) -> Markup {
        html! {
            details class={ "case" (marks(group)) } {
                summary {
                    (breakable(group.name))
                    @for column in 0..self.columns.len() { " " (tally(group, column)) }
                }
                @for row in &group.rows { (self.row(row)) }
            }
        }
    }

    fn row(&self, row: &Row) -> Markup {
        let label = if row.label.is_empty() { "no conditions" } else { row.label };
        html! {
            details class=(condition(row)) data-n=(shown(row.full)) {
                summary {
                    @for cell in &row.cells {
                        i.sq.(cell.status().map_or("none", class)) {}
                        (history(cell)) " "
                    }
                    (breakable(label))
                    @if let [found] = row.cells.iter().flat_map(|cell| &cell.now).collect::<Vec<_>>()[..] {
                        " " small { (format!("{:.3} s", found.case.seconds)) }
                    }
                }
                @for found in row.cells.iter().flat_map(|cell| &cell.now) {
                    (self.result(*found))
                }
            }
        }
    }

    fn result(&self, found: Found) -> Markup {
        let case = found.case;
        let several = self.columns.len() > 1 || case.full_name.contains(" #");
        html! {
            @if is_bad(case) {
                p { (self.of_which(found)) a href={ "#" (anchor(found)) } { (case.outcome.name()) ": see above" } }
            } @else {
                div id=(anchor(found)) {
                    @if several || case.outcome != Status::Pass {
                        p { (self.of_which(found)) (case.outcome.name()) " after " (format!("{:.3} s", case.seconds)) }
                    }
                    @if !case.message.is_empty() { pre.message { (shown(&case.message)) } }
                    (self.story(found, Detail::Compact))
                }
            }
        }
    }
}

/// Takes bytes, if there are as many.
fn spend(room: &Bytes<usize>, bytes: usize) -> bool {
    let left = room.get().checked_sub(bytes);
    room.set(left.unwrap_or_else(|| room.get()));
    left.is_some()
}

/// `8 of 10` in the colour of the worst.
fn tally(group: &Group, column: usize) -> Markup {
    let all: Vec<Status> = group.rows.iter().filter_map(|row| row.cells[column].status()).collect();
    let passed = all.iter().filter(|status| **status == Status::Pass).count();
    html! {
        @if let Some(worst) = all.iter().max() {
            span.badge.(class(*worst)) {
                (passed) @if passed < all.len() { " of " (all.len()) }
            }
        }
    }
}

/// The steps, the console, the splats, and what was captured.
fn told(line: &TimeLine) -> Markup {
    let steps = lines(&line.steps);
    html! {
        @for splat in &line.splats {
            h4 { "What the kernel reports" }
            pre { (shortened(splat, MOST_PIECE, "console.log")) }
        }
        @for (title, text, most) in [("Steps", steps, MOST_LINES), ("Console", lines(&line.console), MOST_LINES)] {
            @if !text.is_empty() {
                details {
                    summary { (title) }
                    pre { (shortened(&text, most, "events.jsonl")) }
                }
            }
        }
        @for (title, text) in &line.captured {
            details {
                summary { "Captured: " (shown(title)) }
                pre { (shortened(text, MOST_PIECE, "captured/ in its folder")) }
            }
        }
    }
}

/// `+0.412  text`, a line each.
fn lines(moments: &[Moment]) -> String {
    let all = moments.iter().map(|moment| format!("{:<8} {}", seconds(moment.t), shown(&moment.text)));
    all.collect::<Vec<_>>().join("\n")
}

/// What the colours of a time line mean.
fn legend() -> Markup {
    let all = [
        ("tgt", "queued in the target"),
        ("core", "pushed back to the core"),
        ("pending", "submitted, not back"),
        ("ok", "completed"),
        ("bad", "failed, refused"),
        ("reis", "re-issued"),
        ("ing nf", "noflush suspend"),
        ("ing", "suspend"),
        ("susp", "suspended"),
        ("res", "resume"),
        ("cmd", "command"),
        ("up", "path usable"),
        ("down", "path failed"),
    ];
    html! {
        p.legend {
            "Open a condition for its time line: seconds since the case began, "
            "a dotted column stands for idle time that is left out. "
            @for (class, words) in all {
                span { svg.key width="12" height="12" aria-hidden="true" { rect class=(class) width="12" height="12" {} } " " (words) }
                " "
            }
        }
    }
}
