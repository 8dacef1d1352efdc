// SPDX-License-Identifier: GPL-2.0-only
//! What a person reads: one line a case while the run goes on, and the summary at its end. Pure: returns text; where
//! it goes, and whether colours make sense there, the caller knows.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use camino::Utf8Path;
use console::Style;

use super::model::{CaseResult, Results, Status};
use super::plain;
use crate::run::stress;

/// How many of the slowest cases are told, in a run of more than as many.
const SLOWEST: usize = 5;

/// `        Pass    0.512 s  compat::x[bio]`, with the explanation on a line of its own below it.
pub fn status_line(case: &CaseResult, colours: bool) -> String {
    let word = paint(case.outcome, &format!("{:>14}", case.outcome.name()), colours);
    let mut out = format!("{word} {:>8.3} s  {}", case.seconds, plain(&case.full_name));
    for line in case.message.lines() {
        let _ = write!(out, "\n{:>27}{}", "", plain(line));
    }
    out
}

/// The end of a run: what was tested on what, everything that did not pass, the counts.
pub fn summary(results: &Results, run_folder: &Utf8Path, colours: bool) -> String {
    let mut out = String::new();
    head(&mut out, results);
    deviations(&mut out, &results.cases, colours);
    skips(&mut out, &results.cases, colours);
    slowest(&mut out, &results.cases);
    out += &troubles(results, run_folder, colours);
    counts(&mut out, results, run_folder, colours);
    out
}

fn head(out: &mut String, results: &Results) {
    let (kernel, host) = (&results.kernel, &results.host);
    let _ = writeln!(out, "kernel  {} ({}), {}", kernel.release, kernel.source, kernel.treatment());
    let _ = writeln!(
        out,
        "host    {}, {} ({}), {} CPUs, {} MiB",
        host.qemu, host.accel, host.accel_reason, host.cpus, host.memory_mib
    );
    if host.boot.starts_with("virtme") {
        let _ = writeln!(out, "booted  by {}, over this host's file system, read-only", host.boot);
    }
    let kinds: BTreeSet<&str> = results.cases.iter().filter_map(|case| case.evidence.as_deref()).collect();
    if !kinds.is_empty() {
        let _ = writeln!(out, "seen by {}", kinds.into_iter().collect::<Vec<_>>().join("; "));
    }
    if let Some(stress) = results.stress {
        let _ = writeln!(out, "stress  {}", stress::options(stress).join(" "));
    }
    if !kernel.unknown_symbols.is_empty() {
        let _ = writeln!(out, "        this tree does not know {}", kernel.unknown_symbols.join(", "));
    }
}

/// Known deviations, those with the same explanation together.
fn deviations(out: &mut String, cases: &[CaseResult], colours: bool) {
    grouped(out, cases, Status::KnownDeviation, "known deviations (neither pass nor failure)", colours);
}

fn skips(out: &mut String, cases: &[CaseResult], colours: bool) {
    grouped(out, cases, Status::Skipped, "skipped", colours);
}

fn grouped(out: &mut String, cases: &[CaseResult], status: Status, title: &str, colours: bool) {
    let mut reasons: Vec<(&str, Vec<&CaseResult>)> = Vec::new();
    for case in cases.iter().filter(|case| case.outcome == status) {
        match reasons.iter_mut().find(|(reason, _)| *reason == case.message) {
            Some((_, same)) => same.push(case),
            None => reasons.push((&case.message, vec![case])),
        }
    }
    if reasons.is_empty() {
        return;
    }
    let _ = writeln!(out, "\n{}:", paint(status, title, colours));
    for (reason, same) in reasons {
        for case in same {
            let _ = writeln!(out, "  {}", plain(&case.full_name));
        }
        for line in reason.lines() {
            let _ = writeln!(out, "      {}", plain(line));
        }
    }
}

fn slowest(out: &mut String, cases: &[CaseResult]) {
    let mut by_time: Vec<_> = cases.iter().filter(|case| case.outcome != Status::NotRun).collect();
    if by_time.len() <= SLOWEST {
        return;
    }
    by_time.sort_by(|a, b| b.seconds.total_cmp(&a.seconds));
    let _ = writeln!(out, "\nslowest:");
    for case in by_time.iter().take(SLOWEST) {
        let _ = writeln!(out, "  {:>8.3} s  {}", case.seconds, plain(&case.full_name));
    }
}

/// Everything that is neither pass nor explained: with its message, its folder, and how to run it again.
pub fn troubles(results: &Results, run_folder: &Utf8Path, colours: bool) -> String {
    let (mut out, cases) = (String::new(), &results.cases);
    let bad = |case: &&CaseResult| case.outcome.is_failure() || case.outcome == Status::Infra;
    for case in cases.iter().filter(bad) {
        let word = paint(case.outcome, case.outcome.name(), colours);
        let _ = writeln!(out, "\n{word}  {} ({:.3} s)", plain(&case.full_name), case.seconds);
        for line in case.message.lines() {
            let _ = writeln!(out, "    {}", plain(line));
        }
        if !case.history.is_empty() {
            let _ = writeln!(out, "    history of its I/O, seconds since it began:");
        }
        for line in &case.history {
            let _ = writeln!(out, "      {}", plain(line));
        }
        if let Some(folder) = &case.artifacts {
            let folder = run_folder.join(folder);
            let _ = writeln!(out, "    artifacts: {folder}");
            let _ = writeln!(out, "    again:     cargo xtask test --rerun {}", quoted(folder.as_str()));
        } else {
            let _ = writeln!(out, "    again:     cargo xtask test --rerun {}", quoted(run_folder.as_str()));
        }
    }
    let not_run: Vec<_> = cases.iter().filter(|case| case.outcome == Status::NotRun).collect();
    let mut why: BTreeMap<&str, usize> = BTreeMap::new();
    for case in &not_run {
        *why.entry(&case.message).or_default() += 1;
    }
    for (message, count) in why {
        let word = paint(Status::NotRun, "NotRun", colours);
        let _ = writeln!(out, "\n{word}  {count} of {} cases: {}", cases.len(), plain(message));
    }
    out
}

fn counts(out: &mut String, results: &Results, run_folder: &Utf8Path, colours: bool) {
    let sum = &results.summary;
    let parts: Vec<String> = [
        (sum.passed, Status::Pass, "passed".to_owned()),
        (sum.failed, Status::Fail, "failed".to_owned()),
        (sum.known_deviations, Status::KnownDeviation, plural("known deviation", sum.known_deviations)),
        (sum.skipped, Status::Skipped, "skipped".to_owned()),
        (sum.infra, Status::Infra, plural("infrastructure failure", sum.infra)),
        (sum.not_run, Status::NotRun, "not run".to_owned()),
    ]
    .into_iter()
    .filter(|(count, status, _)| *count > 0 || *status == Status::Pass)
    .map(|(count, status, words)| paint(status, &format!("{count} {words}"), colours && count > 0))
    .collect();
    let stopped = if sum.complete { "" } else { "; the run did not come to its end" };
    let _ = writeln!(out, "\n{} of {} in {:.1} s{stopped}", parts.join(", "), sum.total, sum.seconds);
    let _ = writeln!(out, "everything is in {run_folder}");
}

fn plural(one: &str, count: usize) -> String {
    format!("{one}{}", if count == 1 { "" } else { "s" })
}

fn paint(status: Status, text: &str, colours: bool) -> String {
    let style = Style::new().force_styling(colours).bold();
    let style = match status {
        Status::Pass => style.green(),
        Status::KnownDeviation | Status::Skipped => style.yellow(),
        Status::NotRun | Status::Infra => style.magenta(),
        Status::VmLost | Status::Timeout | Status::KernelSplat | Status::Fail => style.red(),
    };
    style.apply_to(text).to_string()
}

/// A word for a POSIX shell.
pub fn quoted(word: &str) -> String {
    let harmless = |c: char| c.is_ascii_alphanumeric() || "/._-+:,@%=".contains(c);
    if !word.is_empty() && word.chars().all(harmless) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}
