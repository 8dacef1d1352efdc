// SPDX-License-Identifier: GPL-2.0-only
//! A night for people.

use std::fmt::Write as _;

use camino::Utf8Path;

use super::verdict::{Night, Report, Status};
use crate::compare::{What, section};
use crate::report::plain;

/// The whole night: a line a job, then what changed in each.
pub fn render(night: &Night, state: &Utf8Path, colours: bool) -> String {
    let mut out =
        format!("night of {}, {} jobs in {:.0} s\n\n", night.started, night.jobs.len(), night.seconds);
    for job in &night.jobs {
        let _ = writeln!(out, "{}", line(job));
    }
    for job in &night.jobs {
        let news: String =
            job.news.iter().fold(String::new(), |text, line| text + &format!("  {}\n", plain(line)));
        let changes: String = What::TOLD.iter().map(|what| section(&job.changes, *what, colours)).collect();
        if changes.is_empty() && job.found.is_empty() {
            continue;
        }
        let _ = write!(out, "\n== {}\n{news}", job.job);
        if let Some(run) = &job.run {
            let _ = writeln!(out, "  run: {}", state.join(run));
        }
        out += &changes;
        for found in &job.found {
            let _ = writeln!(out, "\nbisected: {}", plain(&found.case));
            let commit = found
                .commit
                .as_deref()
                .map_or(String::new(), |commit| format!("{} ", super::job::short(commit)));
            let _ = writeln!(out, "      {commit}{}", plain(&found.message));
            if let Some(folder) = &found.folder {
                let _ = writeln!(out, "      log and report: {}", state.join(folder));
            }
        }
    }
    let _ = writeln!(out, "\n{}", verdict(night));
    out
}

/// One job in one line.
pub fn line(report: &Report) -> String {
    let kernel = report.kernel.as_ref().map_or(String::new(), |kernel| format!(" {}", kernel.release));
    let mut text = format!("{}: {}{kernel}", report.job, report.status.words());
    if matches!(report.status, Status::Tested | Status::Unchanged | Status::Interrupted) {
        let counts = &report.counts;
        let told = [
            (counts.new_failures, if counts.new_failures == 1 { "new failure" } else { "new failures" }),
            (counts.flaky, "flaky"),
            (counts.still_failing, "still failing"),
            (counts.fixed, "fixed"),
            (report.trouble, "with trouble of the host"),
        ];
        let mut told: Vec<String> = told
            .iter()
            .filter(|(count, _)| *count > 0)
            .map(|(count, what)| format!("{count} {what}"))
            .collect();
        if told.is_empty() && report.status != Status::Interrupted {
            told.push("no failures".to_owned());
        }
        for told in told {
            let _ = write!(text, ", {told}");
        }
    }
    if !report.message.is_empty() {
        let _ = write!(text, ": {}", plain(report.message.lines().next().unwrap_or_default()));
    }
    let _ = write!(text, " ({:.0} s)", report.seconds);
    text
}

/// The last line.
fn verdict(night: &Night) -> String {
    let new: usize = night.jobs.iter().map(|job| job.counts.new_failures).sum();
    let not_tested =
        night.jobs.iter().filter(|job| !matches!(job.status, Status::Tested | Status::Unchanged)).count();
    let new = match new {
        0 => "no new failures".to_owned(),
        1 => "1 new failure".to_owned(),
        new => format!("{new} new failures"),
    };
    let not_tested = if not_tested == 0 { String::new() } else { format!(", {not_tested} jobs not tested") };
    let end = if night.finished { "" } else { "; interrupted (hint: the same command goes on with it)" };
    format!("{new}{not_tested}{end}")
}
