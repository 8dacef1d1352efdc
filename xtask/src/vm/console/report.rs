// SPDX-License-Identifier: GPL-2.0-only
//! The report of one splat while its lines come in: from the first line to its end, bounded.

use super::rules::{self, End, Kind, Rule};

/// A report keeps at most this many lines; an RCU stall with all its stacks has about 150.
const MAX_LINES: usize = 400;
/// And at most this many bytes.
const MAX_BYTES: usize = 64 * 1024;
/// Within this many lines of the first one, a line of a related kind belongs to the same report.
const HEAD: usize = 8;

/// One splat.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Splat {
    /// What it is.
    pub kind: Kind,
    /// The line that tells it, without time stamp; of a complete report about two locks, with both.
    pub first_line: String,
    /// The report as it stood on the console, up to its end or its bound.
    pub text: String,
}

/// A report that is not complete yet.
#[derive(Debug)]
pub struct Open {
    splat: Splat,
    end: End,
    lines: usize,
}

impl Open {
    /// Starts with what `cut here` announced (`before`) and the line that matched.
    pub fn new(rule: &Rule, record: &str, before: &[String], line: &str) -> Self {
        let mut text = before.join("\n");
        if !text.is_empty() {
            text.push('\n');
        }
        text.push_str(line);
        let splat = Splat { kind: rule.kind, first_line: headline(rule.kind, record, before), text };
        Self { splat, end: rule.end, lines: 1 }
    }

    /// The splat as far as it is known.
    pub fn splat(&self) -> &Splat {
        &self.splat
    }

    /// The complete splat.
    pub fn into_splat(mut self) -> Splat {
        if let Some(locks) = locks(&self.splat) {
            self.splat.first_line += &locks;
        }
        self.splat
    }

    /// Whether a record that matches `rule` is this report going on, and not another one.
    pub fn takes(&self, rule: &Rule) -> bool {
        // A SLUB report ends with a WARNING of its own after the dump of the object, 40 lines below.
        let long = matches!(self.splat.kind, Kind::Slab | Kind::Oom) || rule.kind == Kind::CheckerOff;
        let near = long || self.lines < HEAD;
        near && rules::continues(self.splat.kind, rule.kind)
    }

    /// The report goes on in the manner of `rule`: an Oops after `list_del corruption` ends like an Oops.
    pub fn go_on(&mut self, rule: &Rule) {
        if rule.end != End::Line {
            self.end = rule.end;
        }
    }

    /// Adds a line; whether the report is complete with it.
    pub fn add(&mut self, line: &str, records: &[String]) -> bool {
        self.lines += 1;
        self.splat.text.push('\n');
        self.splat.text.push_str(line);
        self.lines >= MAX_LINES
            || self.splat.text.len() >= MAX_BYTES
            || records.iter().any(|record| ends(self.end, record))
    }

    /// Whether the report is complete with its first line.
    pub fn is_one_line(&self) -> bool {
        self.end == End::Line
    }
}

/// The line that tells the splat. For a WARN the place alone says little: what it says itself stands between
/// `cut here` and the line that matched.
fn headline(kind: Kind, record: &str, before: &[String]) -> String {
    let record = record.trim();
    match before.get(1).and_then(|line| super::line::records(line.as_bytes()).pop()) {
        Some(said) if kind == Kind::Warning => format!("{record}: {}", said.trim()),
        _ => record.to_owned(),
    }
}

/// The two locks of a lockdep report, each with the function that takes it: all that tells one cycle from another, and the
/// first line has none of it. `print_circular_bug_header()` of kernel/locking/lockdep.c.
fn locks(splat: &Splat) -> Option<String> {
    let records = splat.text.lines().flat_map(|line| super::line::records(line.as_bytes()));
    let records: Vec<String> = records.collect();
    let after = |end: &str| {
        let at = records.iter().position(|record| record.trim_end().ends_with(end))?;
        lock(records.get(at + 1)?)
    };
    let (wanted, held) = (after("is trying to acquire lock:")?, after("but task is already holding lock:")?);
    (splat.kind == Kind::Lockdep).then(|| format!(": {wanted}, with {held} held"))
}

/// `ffff8880060591b0 (&q->sysfs_lock){+.+.}-{3:3}, at: blk_unregister_queue+0x41/0x120` without what differs from boot to boot:
/// `&q->sysfs_lock at blk_unregister_queue`. `#6` after a name counts classes of the same name.
fn lock(record: &str) -> Option<String> {
    let (name, place) = record.split_once(" (")?.1.split_once("){")?;
    let name = name.rsplit_once('#').map_or(name, |(name, _)| name);
    let place = place.split_once(" at: ")?.1;
    Some(format!("{name} at {}", place.split('+').next()?.trim()))
}

/// Whether a record ends a report. Anything that has an end of its own also ends at `---[ end trace`.
fn ends(end: End, record: &str) -> bool {
    let trace = record.starts_with("---[ end trace");
    let bar = record.len() > 20 && record.bytes().all(|b| b == b'=');
    match end {
        End::Line => true,
        End::Trace => trace || bar,
        End::Panic => record.starts_with("---[ end Kernel panic"),
        End::Bar => bar,
        End::Stack => trace || record.trim() == "</TASK>",
        End::Killed => record.contains("ut of memory: Killed process"),
        End::Fix => record.starts_with("FIX ") || trace,
    }
}
