// SPDX-License-Identifier: GPL-2.0-only
//! The tracepoints of the observe series (system `dm_pushback`) as types, and the lines of a trace buffer parsed.
//! Pure; the agent reads the buffer.
//!
//! A line of `trace_pipe` is `comm-pid [cpu] flags seconds.micros: event: text`. A command's name may hold any
//! character, blanks, brackets and colons included, so the line is read from its end: the text of these events has
//! no colon that is followed by a blank.

use serde::{Deserialize, Serialize};

use crate::dm::{DevNo, ParseError};

/// The system's name below `events/`.
pub const SYSTEM: &str = "dm_pushback";

/// One event of one map.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// Seconds on `CLOCK_MONOTONIC` (`trace_clock` is `mono`).
    pub t: f64,
    /// The map, as `MAJOR:MINOR`.
    pub dev: String,
    /// What happened.
    #[serde(flatten)]
    pub what: What,
}

/// What happened to a map or to an I/O of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum What {
    /// An I/O took a step.
    Io(Io),
    /// The list of pushed-back bios was put in front of the deferred ones.
    Merged {
        /// Bios moved.
        count: u64,
        /// Deferred bios after it.
        deferred: u64,
    },
    /// A suspend came to a phase.
    Suspend(Phase),
    /// A resume came to a phase.
    Resume(Phase),
}

/// A step of an I/O.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Io {
    /// Which step.
    pub step: Step,
    /// `bio` or `rq`.
    pub kind: String,
    /// Operation with its flags, e.g. `W`, `FWFS` (`blk_fill_rwbs`).
    pub op: String,
    /// First sector.
    pub sector: u64,
    /// How many.
    pub sectors: u64,
    /// 0, or a negative errno.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub error: i32,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_zero(error: &i32) -> bool {
    *error == 0
}

/// The steps of an I/O, in the order of its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    /// The target keeps it: dm-multipath's own queue, or the requeue list.
    Queued,
    /// The core took it back.
    PushedBack,
    /// It was to be pushed back and gets an error instead.
    Refused,
    /// The core gives it to the target again.
    Reissued,
    /// It goes back to whoever submitted it.
    Completed,
}

/// A phase of a suspend or of a resume.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Phase {
    /// `begin`, `presuspended`, `blocked`, `waited`, `interrupted`, `merged`, `flushed`, `done`.
    pub phase: String,
    /// With the noflush flag.
    pub noflush: bool,
    /// 0, or a negative errno.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub error: i32,
    /// Bios on the list of deferred ones.
    pub deferred: u64,
}

/// A line of the trace buffer.
#[derive(Debug, Clone, PartialEq)]
pub enum Line {
    /// An event.
    Event(Record),
    /// The buffer of a CPU ran over; how many events that cost, its `stats` know.
    Lost,
}

const SUSPEND_PHASES: [&str; 7] =
    ["begin", "presuspended", "blocked", "waited", "interrupted", "merged", "done"];
const RESUME_PHASES: [&str; 3] = ["begin", "flushed", "done"];

impl Line {
    /// Parses one line.
    pub fn parse(line: &str) -> Result<Self, ParseError> {
        if is_lost(line) {
            return Ok(Self::Lost);
        }
        let fields = Fields { line };
        let (head, text) = line.rsplit_once(": ").ok_or_else(|| fields.wanted("`: ` and a text", line))?;
        let (head, event) = head.rsplit_once(": ").ok_or_else(|| fields.wanted("an event", head))?;
        let stamp = head.rsplit(' ').next().unwrap_or_default();
        let t = seconds(stamp).ok_or_else(|| fields.wanted("seconds with six decimals", stamp))?;
        let words = Words { fields, text };
        let what = match event {
            "dm_io_queued" => words.io(Step::Queued)?,
            "dm_io_pushed_back" => words.io(Step::PushedBack)?,
            "dm_io_refused" => words.io(Step::Refused)?,
            "dm_io_reissued" => words.io(Step::Reissued)?,
            "dm_io_completed" => words.io(Step::Completed)?,
            "dm_pushback_merged" => {
                What::Merged { count: words.number("count")?, deferred: words.number("deferred")? }
            }
            "dm_suspend_phase" => What::Suspend(words.phase(&SUSPEND_PHASES)?),
            "dm_resume_phase" => What::Resume(words.phase(&RESUME_PHASES)?),
            other => return Err(fields.wanted("an event of dm_pushback", other)),
        };
        let dev: DevNo = words.number("dev")?;
        Ok(Self::Event(Record { t, dev: dev.to_string(), what }))
    }
}

/// `CPU:1 [LOST 123 EVENTS]`, or without the number (`print_trace_line` in kernel/trace/trace.c).
fn is_lost(line: &str) -> bool {
    let rest = line.strip_prefix("CPU:").and_then(|rest| rest.split_once(" [LOST "));
    rest.is_some_and(|(cpu, rest)| cpu.parse::<u32>().is_ok() && rest.trim_end().ends_with("EVENTS]"))
}

/// `12.345678`: nothing else that `f64` would take, such as `inf`.
fn seconds(stamp: &str) -> Option<f64> {
    let (whole, micros) = stamp.split_once('.')?;
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if digits(whole) && digits(micros) && micros.len() == 6 { stamp.parse().ok() } else { None }
}

/// Makes errors that name the line.
#[derive(Clone, Copy)]
struct Fields<'a> {
    line: &'a str,
}

impl Fields<'_> {
    fn wanted(&self, wanted: &str, found: &str) -> ParseError {
        ParseError { wanted: wanted.to_owned(), line: self.line.to_owned(), found: format!("`{found}`") }
    }
}

/// The `key=value` words of an event's text.
#[derive(Clone, Copy)]
struct Words<'a> {
    fields: Fields<'a>,
    text: &'a str,
}

impl<'a> Words<'a> {
    fn word(&self, name: &str) -> Result<&'a str, ParseError> {
        let of = |word: &'a str| word.strip_prefix(name)?.strip_prefix('=');
        let found = self.text.split_ascii_whitespace().find_map(of);
        found.ok_or_else(|| self.fields.wanted(&format!("`{name}=`"), self.text))
    }

    fn number<T: std::str::FromStr>(&self, name: &str) -> Result<T, ParseError> {
        let word = self.word(name)?;
        word.parse().map_err(|_| self.fields.wanted(&format!("a value of `{name}`"), word))
    }

    fn io(&self, step: Step) -> Result<What, ParseError> {
        let kind = match self.word("kind")? {
            kind @ ("bio" | "rq") => kind.to_owned(),
            other => return Err(self.fields.wanted("bio or rq", other)),
        };
        let op = self.word("op")?;
        // RWBS_LEN of include/linux/blktrace_api.h is 8 or 10.
        if op.is_empty() || op.len() > 10 || !op.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
            return Err(self.fields.wanted("an operation", op));
        }
        let (sector, sectors, error) =
            (self.number("sector")?, self.number("sectors")?, self.number("error")?);
        Ok(What::Io(Io { step, kind, op: op.to_owned(), sector, sectors, error }))
    }

    fn phase(&self, known: &[&str]) -> Result<Phase, ParseError> {
        let word = self.word("phase")?;
        let phase = known.iter().find(|phase| **phase == word);
        let phase = phase.ok_or_else(|| self.fields.wanted(&known.join(", "), word))?;
        let noflush = self.number::<u8>("noflush")? != 0;
        Ok(Phase {
            phase: (*phase).to_owned(),
            noflush,
            error: self.number("error")?,
            deferred: self.number("deferred")?,
        })
    }
}

#[cfg(test)]
mod tests;
