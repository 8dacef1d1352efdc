// SPDX-License-Identifier: GPL-2.0-only
//! The console scanner: bytes in, lines, splats and markers out. Pure and incremental: it knows no clock, no file
//! and no VM, and how the bytes are cut into chunks changes nothing.
//!
//! Every line comes out as [`Found::Line`]; what else it meant comes out after it. A splat comes out when its
//! report is complete: at its end as the kernel prints it, at a bound, at the next splat, at a marker, or at
//! [`Scanner::finish`]. [`Scanner::pending`] shows one whose report is still coming in.

mod line;
mod report;
mod rules;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;

use line::Assembler;
use report::Open;
pub use report::Splat;
pub use rules::Kind;

/// What the scanner found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// A line, as clean text.
    Line(String),
    /// A splat, complete.
    Splat(Splat),
    /// The kernel dropped messages before they reached the console: a clean console proves nothing here.
    Dropped {
        /// How many.
        lines: u64,
    },
    /// The agent marks the start or the end of a case's console text.
    Marker(Marker),
}

/// A line `dm-pushback: begin 7 compat::x[…]` of the agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Marker {
    /// Which end.
    pub edge: Edge,
    /// The token of the run of the case.
    pub token: u64,
    /// The full name of the case.
    pub name: String,
}

/// Which end of a case's console text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Edge {
    /// What follows belongs to the case.
    Begin,
    /// All that the case caused before its verdict is above.
    End,
}

/// Lines kept between `cut here` and the line that says what it is.
const CUT_HERE: usize = 6;

/// The incremental scanner of one VM's console.
#[derive(Debug, Default)]
pub struct Scanner {
    assembler: Assembler,
    open: Option<Open>,
    /// The lines since `------------[ cut here ]------------`, while they may announce a splat.
    cut_here: VecDeque<String>,
}

impl Scanner {
    /// A scanner at byte 0.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the next bytes of the console.
    pub fn push(&mut self, bytes: &[u8]) -> Vec<Found> {
        let mut found = Vec::new();
        let mut assembler = std::mem::take(&mut self.assembler);
        assembler.push(bytes, |line| self.line(line, true, &mut found));
        self.assembler = assembler;
        found
    }

    /// The console has ended: whatever is incomplete comes out. A marker without its newline is none.
    pub fn finish(&mut self) -> Vec<Found> {
        let mut found = Vec::new();
        if let Some(rest) = self.assembler.finish() {
            self.line(&rest, false, &mut found);
        }
        self.close(&mut found);
        found
    }

    /// The splat whose report is still coming in.
    pub fn pending(&self) -> Option<&Splat> {
        self.open.as_ref().map(Open::splat)
    }

    fn line(&mut self, raw: &[u8], complete: bool, found: &mut Vec<Found>) {
        let text = line::text(raw);
        let records = line::records(raw);
        found.push(Found::Line(text.clone()));
        // A line joins the open report once, whatever it consists of.
        let mut joined = false;
        for record in &records {
            if let Some(marker) = complete.then(|| marker(record)).flatten() {
                self.close(found);
                found.push(Found::Marker(marker));
            } else if let Some(lines) = dropped(record) {
                found.push(Found::Dropped { lines });
            } else if let Some(rule) = rules::matching(record) {
                match &mut self.open {
                    Some(open) if open.takes(rule) => open.go_on(rule),
                    _ => {
                        self.close(found);
                        let before: Vec<String> = self.cut_here.drain(..).collect();
                        let open = Open::new(rule, record, &before, &text);
                        joined = true;
                        if open.is_one_line() {
                            found.push(Found::Splat(open.into_splat()));
                        } else {
                            self.open = Some(open);
                        }
                    }
                }
            }
        }
        if !joined && self.open.as_mut().is_some_and(|open| open.add(&text, &records)) {
            self.close(found);
        }
        self.remember_cut_here(text, &records);
    }

    fn remember_cut_here(&mut self, text: String, records: &[String]) {
        if self.open.is_some() {
            self.cut_here.clear();
        } else if records.iter().any(|record| record.contains("[ cut here ]")) {
            self.cut_here = VecDeque::from([text]);
        } else if !self.cut_here.is_empty() {
            self.cut_here.push_back(text);
            if self.cut_here.len() > CUT_HERE {
                self.cut_here.clear();
            }
        }
    }

    fn close(&mut self, found: &mut Vec<Found>) {
        found.extend(self.open.take().map(|open| Found::Splat(open.into_splat())));
    }
}

/// `dm-pushback: begin 7 compat::x[…]`.
fn marker(record: &str) -> Option<Marker> {
    let mut words = record.strip_prefix(rules::AGENT)?.trim_end().splitn(3, ' ');
    let edge = match words.next()? {
        "begin" => Edge::Begin,
        "end" => Edge::End,
        _ => return None,
    };
    Some(Marker { edge, token: words.next()?.parse().ok()?, name: words.next()?.to_owned() })
}

/// `** 123 printk messages dropped **` (kernel/printk/printk.c `console_prepend_dropped`).
fn dropped(record: &str) -> Option<u64> {
    let rest = record.trim().strip_prefix("** ")?;
    let (count, rest) = rest.split_once(' ')?;
    rest.starts_with("printk messages dropped").then(|| count.parse().ok()).flatten()
}
