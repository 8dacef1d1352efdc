// SPDX-License-Identifier: GPL-2.0-only
//! The HTML report: one static file that needs nothing else, neither a server nor the network nor JavaScript. A page shows
//! any number of runs: one run with its time lines, or the newest of several kernels beside their earlier ones.
//! docs/html-report.md says what is on it.

mod drawing;
mod evidence;
mod matrix;
mod summary;
mod table;
mod text;

use std::cell::Cell;
use std::collections::HashMap;

use camino::Utf8Path;
use maud::{DOCTYPE, Markup, PreEscaped, html};
use sha2::{Digest as _, Sha256};

use super::Finished;
use super::model::{Results, Status};
use super::recorded::Earlier;
use crate::event::{Event, KernelFacts};

/// A run as a page shows it.
pub struct Shown<'a> {
    /// Which kernel; runs with the same text are one column, see [`column`].
    pub column: String,
    /// When, or what else tells it from the other runs of its column.
    pub when: String,
    /// What it gave.
    pub results: &'a Results,
    /// Everything that happened; without it, there are no time lines.
    pub events: &'a [Event],
    /// The run folder, if it is still there: failures name their folder in it and how to run them again.
    pub folder: Option<&'a Utf8Path>,
    /// A page of this run alone, relative to the page.
    pub href: Option<&'a str>,
}

/// The name of a kernel's column: what was tested, whichever release or commit it was that day.
pub fn column(kernel: &KernelFacts) -> String {
    let words = [kernel.lineage().to_owned(), kernel.treatment()];
    words.into_iter().filter(|word| !word.is_empty()).collect::<Vec<_>>().join(", ")
}

const STYLE: &str = include_str!("style.css");
const SCRIPT: &str = include_str!("filter.js");
/// Bytes for the time lines of passes: beyond, a page would get slow on a phone. 320 cases take a third of it.
const FOR_PASSES: usize = 6 << 20;
/// Bytes for those of everything else.
const FOR_OTHERS: usize = 16 << 20;

/// The page of one run, with the outcomes of earlier ones beside its own.
pub fn one_run(run: Finished, earlier: &[Earlier]) -> String {
    let column = column(&run.results.kernel);
    let before = earlier.iter().map(|earlier| Shown {
        column: column.clone(),
        when: time(&earlier.name),
        results: &earlier.results,
        events: &[],
        folder: None,
        href: None,
    });
    let name = run.folder.file_name().unwrap_or_default();
    let this = Shown {
        column: column.clone(),
        when: time(name),
        results: run.results,
        events: run.events,
        folder: Some(run.folder),
        href: None,
    };
    page(&format!("dm-pushback: {column}, {}", time(name)), &before.chain([this]).collect::<Vec<_>>())
}

/// `2026-11-23 20:42:00` of a run folder's name; any other name as it is.
pub fn time(name: &str) -> String {
    let digits =
        |text: &str, many: usize| text.len() == many && text.bytes().all(|byte| byte.is_ascii_digit());
    match name.split_once('-') {
        Some((date, time)) if digits(date, 8) && time.is_char_boundary(6) && digits(&time[..6], 6) => {
            let ((year, date), (hour, rest)) = (date.split_at(4), time[..6].split_at(2));
            let ((month, day), (minute, second)) = (date.split_at(2), rest.split_at(2));
            format!("{year}-{month}-{day} {hour}:{minute}:{second}")
        }
        _ => name.to_owned(),
    }
}

/// The page. Runs are given oldest first; of each column, the last one is shown and the others are its history.
pub fn page(title: &str, runs: &[Shown]) -> String {
    index(title, "", runs)
}

/// The same with a text above it that says what the runs amount to.
pub fn index(title: &str, text: &str, runs: &[Shown]) -> String {
    page_within(title, text, runs, FOR_PASSES, FOR_OTHERS)
}

/// The same with other limits for the time lines of passes and of everything else, in bytes.
fn page_within(title: &str, text: &str, runs: &[Shown], passes: usize, others: usize) -> String {
    let columns = table::columns(runs);
    let groups = table::groups(&columns);
    let events = runs.iter().map(|run| by_case(run.events)).collect();
    let (passes, others) = (Cell::new(passes), Cell::new(others));
    let page = Page { text, runs, columns, groups, events, passes, others };
    let body = page.body(title).into_string();
    document(title, &page.style(), &body)
}

/// The head and what surrounds the body. Nothing may be loaded, and no script but ours may run: its nonce is the digest of a
/// body that therefore can't hold it.
fn document(title: &str, style: &str, body: &str) -> String {
    let digest = Sha256::digest(body.as_bytes());
    let nonce = digest.iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"));
    let policy = format!(
        "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'nonce-{nonce}'; base-uri 'none'; form-action 'none'"
    );
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                meta http-equiv="Content-Security-Policy" content=(policy);
                // Without it, browsers ask the server for an icon.
                link rel="icon" href="data:,";
                title { (title) }
                style { (PreEscaped(style)) }
            }
            body {
                (PreEscaped(body))
                script nonce=(nonce) { (PreEscaped(SCRIPT)) }
            }
        }
    };
    page.into_string() + "\n"
}

/// The events of each case.
fn by_case(events: &[Event]) -> HashMap<&str, Vec<&Event>> {
    let mut cases: HashMap<&str, Vec<&Event>> = HashMap::new();
    for event in events {
        if let Some(case) = &event.case {
            cases.entry(case).or_default().push(event);
        }
    }
    cases
}

/// What the pieces of a page know.
struct Page<'a> {
    text: &'a str,
    runs: &'a [Shown<'a>],
    columns: Vec<table::Column<'a>>,
    groups: Vec<table::Group<'a>>,
    /// By run, by full name.
    events: Vec<HashMap<&'a str, Vec<&'a Event>>>,
    /// Bytes left for time lines.
    passes: Cell<usize>,
    others: Cell<usize>,
}

impl Page<'_> {
    fn body(&self, title: &str) -> Markup {
        html! {
            (symbols())
            header { (self.head(title)) }
            (self.filters())
            main {
                (self.matrix())
                (self.failures())
                (self.cases())
            }
            footer {
                p { "dm-pushback: kernel integration tests of noflush suspend pushback." }
            }
        }
    }

    /// The style sheet, and for each value of a condition the rules that hide it.
    fn style(&self) -> String {
        self.values().into_iter().flat_map(|(_, values)| values).fold(STYLE.to_owned(), |style, value| {
            style
                + &format!(
                    "body:has(#f-{value}:not(:checked)) :is(.c-{value},.case:not(:has(.cond:not(.c-{value})))){{display:none}}\n"
                )
        })
    }
}

/// Marks that are drawn in many places.
fn symbols() -> Markup {
    html! {
        svg.defs width="0" height="0" aria-hidden="true" {
            defs {
                path #s d="M0 0v11" {}
                path #k d="M0 0v11M-2 11h4" {}
                path #p d="M0 0v11" {}
                path #f d="M-4 11L0 3L4 11z" {}
            }
        }
    }
}

/// The class that gives an outcome its colour.
const fn class(status: Status) -> &'static str {
    match status {
        Status::Pass => "pass",
        Status::KnownDeviation => "known",
        Status::Skipped => "skip",
        Status::NotRun | Status::Infra => "infra",
        Status::VmLost | Status::Timeout | Status::KernelSplat | Status::Fail => "fail",
    }
}

#[cfg(test)]
mod tests;
