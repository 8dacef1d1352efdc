// SPDX-License-Identifier: GPL-2.0-only
//! A comparison for people.

use std::fmt::Write as _;

use console::Style;

use super::{Change, Comparison, Seen, Side, What};
use crate::report::plain;

/// The whole comparison: the two runs, what changed by kind, the counts.
pub fn render(comparison: &Comparison, colours: bool) -> String {
    let mut out = String::new();
    for (name, side) in [("old", &comparison.old), ("new", &comparison.new)] {
        let _ = writeln!(out, "{name}  {}", told(side));
    }
    for what in What::TOLD {
        out += &section(&comparison.changes, what, colours);
    }
    let _ = writeln!(out, "\n{}", counted(&comparison.summary));
    out
}

fn told(Side { folder, kernel, summary }: &Side) -> String {
    let stopped = if summary.complete { "" } else { "; did not come to its end" };
    format!(
        "{folder}: {} ({}), {}; {} of {} passed{stopped}",
        kernel.release,
        kernel.source,
        kernel.treatment(),
        summary.passed,
        summary.total
    )
}

/// All changes of one kind, with a title; nothing if there are none.
pub fn section(changes: &[Change], what: What, colours: bool) -> String {
    let mut some = changes.iter().filter(|change| change.change == what).peekable();
    let mut out = String::new();
    if some.peek().is_some() {
        let _ = writeln!(out, "\n{}:", paint(what, what.words(), colours));
    }
    for change in some {
        let _ = writeln!(out, "  {}", plain(&change.full_name));
        // Of what was added or is gone, the name says enough.
        if !matches!(what, What::Added | What::Removed) {
            for line in words(change).lines() {
                let _ = writeln!(out, "      {}", plain(line));
            }
        }
    }
    out
}

/// `was Pass, is Fail: no write returns: 3 of 32 returned`, with the folder of a failure.
fn words(change: &Change) -> String {
    let was = change.old.as_ref().map_or("was not there".to_owned(), |old| format!("was {}", outcome(old)));
    let Some(new) = &change.new else { return was };
    let mut text = format!("{was}, is {}", outcome(new));
    if !new.message.is_empty() {
        let _ = write!(text, ": {}", new.message.lines().next().unwrap_or_default());
    }
    if let Some(folder) = &new.artifacts {
        let _ = write!(text, "\nsee {folder}");
    }
    text
}

/// `Fail`, `Fail (2 of 5)`.
fn outcome(seen: &Seen) -> String {
    let name = seen.outcome.name();
    if seen.is_flaky() { format!("{name} ({} of {})", seen.failed, seen.runs) } else { name.to_owned() }
}

/// `1 new failure, 2 fixed, 317 the same`.
fn counted(sum: &super::Summary) -> String {
    let counts = [
        (sum.new_failures, What::NewFailure),
        (sum.flaky, What::Flaky),
        (sum.still_failing, What::StillFailing),
        (sum.fixed, What::Fixed),
        (sum.changed, What::Changed),
        (sum.added, What::Added),
        (sum.removed, What::Removed),
        (sum.same, What::Same),
    ];
    let told = counts.iter().filter(|(count, what)| *count > 0 || *what == What::NewFailure);
    let words = |(count, what): &(usize, What)| match (count, what) {
        (1, What::NewFailure) => "1 new failure".to_owned(),
        (count, what) => format!("{count} {}", what.words()),
    };
    told.map(words).collect::<Vec<_>>().join(", ")
}

fn paint(what: What, text: &str, colours: bool) -> String {
    let style = Style::new().force_styling(colours).bold();
    let style = match what {
        What::NewFailure | What::StillFailing => style.red(),
        What::Fixed => style.green(),
        _ => style.yellow(),
    };
    style.apply_to(text).to_string()
}
