// SPDX-License-Identifier: GPL-2.0-only
//! The proof as Markdown: for a README, a merge request, the summary of a CI job.

use std::fmt::Write as _;

use camino::Utf8Path;

use super::proof::{Proof, again};
use super::rows::rows;
use super::terminal::MARK;
use crate::report::plain;

/// The table, the deviations that showed, the cells that differ, the counts.
pub fn render(proof: &Proof, folder: &Utf8Path) -> String {
    let mut out = String::from("| claim | case | conditions |");
    let releases = proof.runs.iter().map(|run| (run.variant, run.kernel.release.as_str()));
    for (variant, release) in releases {
        let _ = write!(out, " {} |", format!("{variant} {release}").trim_end());
    }
    let _ = writeln!(out, "\n|{}", " --- |".repeat(3 + proof.runs.len()));
    for row in rows(proof) {
        let case = if row.case.is_empty() { String::new() } else { format!("`{}`", row.case) };
        let _ = write!(out, "| {} | {case} | {} |", row.claim, cell(&row.conditions));
        for text in row.cells {
            let text = if text.wrong { format!("**{MARK}{}**", cell(&text.text)) } else { cell(&text.text) };
            let _ = write!(out, " {text} |");
        }
        out.push('\n');
    }
    for (title, notes) in
        [("Known deviations", proof.deviations()), ("Not applicable", proof.not_applicable())]
    {
        for (index, (reason, places)) in notes.into_iter().enumerate() {
            let places: Vec<_> = places.iter().map(|(case, on)| format!("`{case}` on {on}")).collect();
            let title = if index == 0 { format!("\n{title}:\n\n") } else { String::new() };
            let _ = writeln!(out, "{title}- {}: {}", places.join(", "), plain(reason));
        }
    }
    for (index, (cell, run)) in proof.mismatches().enumerate() {
        let title = if index == 0 { "\nNot as expected:\n\n" } else { "" };
        let _ = writeln!(
            out,
            "{title}- `{}` on {}: {}. Again: `{}`",
            cell.full_name,
            cell.variant,
            plain(&cell.why),
            again(cell, run, folder)
        );
    }
    let _ = writeln!(out, "\n{}.", proof.counted());
    out
}

/// A text inside a cell.
fn cell(text: &str) -> String {
    plain(text).replace('|', "\\|")
}
