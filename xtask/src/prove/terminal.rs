// SPDX-License-Identifier: GPL-2.0-only
//! The proof for people: a table as wide as the terminal, what the words in it mean, and what differs.

use std::fmt::Write as _;

use camino::Utf8Path;
use console::Style;

use super::proof::{Proof, again};
use super::rows::{Row, rows};
use crate::report::plain;

/// Between two columns.
const GAP: usize = 2;
/// A column is never made narrower than this.
const NARROWEST: usize = 8;
/// In front of what is not as expected.
pub const MARK: &str = "✗ ";

/// The table, the deviations that showed, the cells that differ, the counts.
pub fn render(proof: &Proof, folder: &Utf8Path, width: usize, colours: bool) -> String {
    let rows = rows(proof);
    let kernels: Vec<_> =
        proof.runs.iter().map(|run| format!("{} {}", run.variant, run.kernel.release)).collect();
    let mut out = format!("base {}: {}\n\n", proof.base, kernels.join(", "));
    table(&mut out, proof, &rows, width, colours);
    notes(&mut out, proof);
    out += &differences(proof, folder, colours);
    let _ = writeln!(out, "\n{}", paint(&proof.counted(), proof.summary.mismatched > 0, colours));
    let _ = writeln!(out, "everything is in {folder}");
    out
}

fn table(out: &mut String, proof: &Proof, rows: &[Row], width: usize, colours: bool) {
    let mut header = vec!["claim".to_owned(), "case".to_owned(), "conditions".to_owned()];
    header.extend(proof.runs.iter().map(|run| run.variant.to_owned()));
    let lines: Vec<Vec<String>> = rows.iter().map(texts).collect();
    let widths = widths(&header, &lines, width);
    let rule: Vec<String> = widths.iter().map(|width| "-".repeat(*width)).collect();
    line(out, &header, &widths, |_| false, colours);
    line(out, &rule, &widths, |_| false, colours);
    for (row, texts) in rows.iter().zip(&lines) {
        let wrong = |column: usize| column >= 3 && row.cells.get(column - 3).is_some_and(|cell| cell.wrong);
        line(out, texts, &widths, wrong, colours);
    }
}

fn texts(row: &Row) -> Vec<String> {
    let mut texts = vec![row.claim.to_owned(), row.case.to_owned(), row.conditions.clone()];
    let cell =
        |cell: &super::rows::Text| format!("{}{}", if cell.wrong { MARK } else { "" }, plain(&cell.text));
    texts.extend(row.cells.iter().map(cell));
    texts
}

/// As wide as the longest text of each column; while that is too much together, the widest gives way.
fn widths(header: &[String], lines: &[Vec<String>], width: usize) -> Vec<usize> {
    let longest = |column: usize| {
        let of = |texts: &Vec<String>| texts[column].chars().count();
        lines.iter().map(of).chain([header[column].chars().count()]).max().unwrap_or(0)
    };
    let mut widths: Vec<usize> = (0..header.len()).map(longest).collect();
    let room = width.saturating_sub(GAP * (header.len() - 1));
    while widths.iter().sum::<usize>() > room {
        match widths.iter_mut().max_by_key(|width| **width) {
            Some(widest) if *widest > NARROWEST => *widest -= 1,
            _ => break,
        }
    }
    widths
}

/// One row, as many lines as its longest cell takes.
fn line(out: &mut String, texts: &[String], widths: &[usize], wrong: impl Fn(usize) -> bool, colours: bool) {
    let wrapped: Vec<Vec<String>> =
        texts.iter().zip(widths).map(|(text, width)| wrap(text, *width)).collect();
    for n in 0..wrapped.iter().map(Vec::len).max().unwrap_or(0) {
        let mut text = String::new();
        for (column, (lines, width)) in wrapped.iter().zip(widths).enumerate() {
            let piece = lines.get(n).map_or("", String::as_str);
            let pad = " ".repeat(width - piece.chars().count().min(*width));
            let _ =
                write!(text, "{}{pad}{:GAP$}", paint(piece, wrong(column) && !piece.is_empty(), colours), "");
        }
        let _ = writeln!(out, "{}", text.trim_end());
    }
}

/// Breaks a text into lines, after a blank, comma, underscore, colon or bar if there is one.
fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines = Vec::new();
    let mut rest: Vec<char> = text.chars().collect();
    while rest.len() > width {
        let may_break = |c: &char| matches!(c, ' ' | ',' | '_' | ':' | '|');
        // A blank that would be the next line's first stays on this one, unseen.
        let at = rest[..=width].iter().rposition(|c| *c == ' ').filter(|at| *at == width).map(|at| at + 1);
        let at = at.or_else(|| rest[..width].iter().rposition(may_break).map(|at| at + 1)).unwrap_or(width);
        lines.push(rest[..at].iter().collect::<String>().trim_end().to_owned());
        rest.drain(..at);
    }
    lines.push(rest.into_iter().collect());
    lines
}

/// What deviates and what is not applicable, with the reasons.
fn notes(out: &mut String, proof: &Proof) {
    for (title, notes) in
        [("known deviations", proof.deviations()), ("not applicable", proof.not_applicable())]
    {
        if !notes.is_empty() {
            let _ = writeln!(out, "\n{title}:");
        }
        for (reason, places) in notes {
            for (case, variant) in places {
                let _ = writeln!(out, "  {case} on {variant}");
            }
            let _ = writeln!(out, "      {}", plain(reason));
        }
    }
}

/// Every cell that is not as expected, with why and how to run it again.
pub fn differences(proof: &Proof, folder: &Utf8Path, colours: bool) -> String {
    let mut out = String::new();
    for (cell, run) in proof.mismatches() {
        let place = format!("{MARK}{} on {}", cell.full_name, cell.variant);
        let _ = writeln!(out, "\n{}", paint(&place, true, colours));
        let _ = writeln!(out, "    {}", plain(&cell.why));
        let _ = writeln!(out, "    run:   {}", folder.join(&run.folder));
        let _ = writeln!(out, "    again: {}", again(cell, run, folder));
    }
    for run in proof.runs.iter().filter(|run| !run.complete) {
        let _ = writeln!(out, "\nthe run on {} did not come to its end", run.variant);
    }
    out
}

fn paint(text: &str, wrong: bool, colours: bool) -> String {
    let style = if wrong { Style::new().red().bold() } else { Style::new() };
    style.force_styling(colours).apply_to(text).to_string()
}
