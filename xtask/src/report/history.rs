// SPDX-License-Identifier: GPL-2.0-only
//! What the kernel's tracepoints said of a case, condensed to what fits a report: the phases of each suspend and
//! resume, and between them how many I/Os took which step. Pure.
//!
//! ```text
//! +0.412 … 0.431  32 bios of pb-map queued in the target
//! +0.733          noflush suspend of pb-map begins
//! +0.734 … 0.736  32 bios of pb-map pushed back to the core
//! +0.741          noflush suspend of pb-map done, 32 deferred
//! ```
//! Times are seconds since the case began, on the clock of the stream.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use guest::message::Cut;
use guest::trace::{Io, Phase, Step, What};
use nix::errno::Errno;

use super::maps::Maps;
use crate::event::{Event, Kind};

/// More lines than this are cut in the middle: how it began and how it ended is what explains.
const MOST: usize = 24;

/// The events of one case.
#[derive(Debug, Default)]
pub struct Trace {
    /// When the case began.
    began: f64,
    events: Vec<(f64, String, What)>,
    maps: Maps,
    cut: Option<Cut>,
}

impl Trace {
    /// The trace of a case that began at `began`.
    pub fn since(began: f64) -> Self {
        Self { began, ..Self::default() }
    }

    /// An event of the case; takes what is of use here.
    pub fn add(&mut self, event: &Event) {
        match &event.kind {
            Kind::Traced { dev, what } => self.events.push((event.t, dev.clone(), what.clone())),
            Kind::TraceCut { cut } => self.cut = Some(cut.clone()),
            Kind::Happened { what, details } => self.maps.learn(what, details),
            _ => {}
        }
    }

    /// Whether nothing is missing.
    pub fn is_complete(&self) -> bool {
        self.cut.is_none()
    }

    /// The lines.
    pub fn lines(mut self) -> Vec<String> {
        self.events.sort_by(|a, b| a.0.total_cmp(&b.0));
        let mut story = Story { began: self.began, ..Story::default() };
        for (t, dev, what) in &self.events {
            // The first events of a map are older than the news of its name.
            let map = &self.maps.name(dev).unwrap_or_else(|| dev.clone());
            match what {
                What::Io(io) => story.step(*t, map, io),
                What::Merged { count, deferred } => {
                    story.says(*t, &format!("{count} bios of {map} merged, {deferred} deferred"));
                }
                What::Suspend(phase) => story.phase(*t, map, "suspend", phase),
                What::Resume(phase) => story.phase(*t, map, "resume", phase),
            }
        }
        story.end();
        let mut lines = shortened(story.lines);
        lines.extend(self.cut.iter().map(missing));
        lines
    }
}

/// What is missing of a trace, in words.
pub fn missing(cut: &Cut) -> String {
    let counts = format!("incomplete: {} more events, {} lost by the kernel", cut.left_out, cut.lost);
    [&[counts], cut.unreadable.as_slice()].concat().join("; ")
}

fn shortened(mut lines: Vec<String>) -> Vec<String> {
    if lines.len() > MOST {
        let more = lines.len() - (MOST - 1);
        lines.splice(MOST / 2..MOST / 2 + more, [format!("… {more} more lines, see events.jsonl …")]);
    }
    lines
}

/// One step of many I/Os.
#[derive(Debug)]
struct Group {
    map: String,
    step: Step,
    kind: String,
    error: i32,
    first: f64,
    last: f64,
    events: usize,
    ios: BTreeSet<(String, u64, u64)>,
}

#[derive(Debug, Default)]
struct Story {
    began: f64,
    lines: Vec<String>,
    groups: Vec<Group>,
    /// A suspend or resume that began, as long as nothing else happened: when, what.
    begun: Option<(f64, String)>,
}

impl Story {
    fn step(&mut self, t: f64, map: &str, io: &Io) {
        let same = |group: &&mut Group| {
            (group.map.as_str(), group.step, group.error, &group.kind) == (map, io.step, io.error, &io.kind)
        };
        let id = |n: usize| match io.sectors {
            // An empty flush is like any other.
            0 => (io.op.clone(), io.sector, n as u64),
            sectors => (io.op.clone(), io.sector, sectors),
        };
        match self.groups.iter_mut().find(same) {
            Some(group) => {
                group.last = t;
                group.ios.insert(id(group.events));
                group.events += 1;
            }
            None => self.groups.push(Group {
                map: map.to_owned(),
                step: io.step,
                kind: io.kind.clone(),
                error: io.error,
                first: t,
                last: t,
                events: 1,
                ios: [id(0)].into(),
            }),
        }
    }

    fn phase(&mut self, t: f64, map: &str, verb: &str, phase: &Phase) {
        let noflush = if phase.noflush { "noflush " } else { "" };
        let what = format!("{noflush}{verb} of {map}");
        match phase.phase.as_str() {
            "begin" => {
                self.end();
                self.begun = Some((t, what));
            }
            "done" | "interrupted" => {
                match self.begun.take() {
                    Some((begun, same)) if same == what && self.groups.is_empty() => {
                        self.said(begun, t, &what);
                    }
                    begun => {
                        self.begun = begun;
                        self.says(t, &format!("{what} {}", phase.phase));
                    }
                }
                self.outcome(phase);
            }
            _ => {}
        }
    }

    /// Adds to the last line how a phase ended.
    fn outcome(&mut self, phase: &Phase) {
        let Some(line) = self.lines.last_mut() else { return };
        if phase.deferred > 0 {
            let _ = write!(line, ", {} deferred", phase.deferred);
        }
        if phase.error != 0 {
            let _ = write!(line, ", {}", errno(phase.error));
        }
    }

    fn says(&mut self, t: f64, text: &str) {
        self.end();
        self.said(t, t, text);
    }

    /// What was gathered becomes lines.
    fn end(&mut self) {
        if let Some((t, what)) = self.begun.take() {
            self.said(t, t, &format!("{what} begins"));
        }
        for group in std::mem::take(&mut self.groups) {
            self.said(group.first, group.last, &group.to_string());
        }
    }

    fn said(&mut self, first: f64, last: f64, text: &str) {
        let [first, last] = [first, last].map(|t| format!("{:.3}", t - self.began));
        let when = if first == last { format!("+{first}") } else { format!("+{first} … {last}") };
        self.lines.push(format!("{when:<15}  {text}"));
    }
}

/// The name of a negative errno. Those of the kernel alone, such as `ERESTARTSYS` (512), have none in user space.
fn errno(error: i32) -> String {
    match Errno::from_raw(error.wrapping_neg()) {
        Errno::UnknownErrno => format!("error {error}"),
        known => format!("{known:?}"),
    }
}

/// `32 bios of pb-map pushed back to the core`.
impl std::fmt::Display for Group {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let count = self.ios.len();
        let noun = match (self.kind.as_str(), count) {
            ("rq", 1) => "request",
            ("rq", _) => "requests",
            (_, 1) => "bio",
            _ => "bios",
        };
        let step = match self.step {
            Step::Queued => "queued in the target",
            Step::PushedBack => "pushed back to the core",
            Step::Refused => "refused instead of pushed back",
            Step::Reissued => "re-issued by the core",
            Step::Completed => "completed",
        };
        write!(f, "{count} {noun} of {} {step}", self.map)?;
        if self.events > count {
            write!(f, " ({} times)", self.events)?;
        }
        if self.error != 0 { write!(f, " with {}", errno(self.error)) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{FORMAT, Source};

    fn phase(name: &str, noflush: bool, deferred: u64) -> Phase {
        Phase { phase: name.into(), noflush, error: 0, deferred }
    }

    fn io(step: Step, sector: u64, error: i32) -> What {
        What::Io(Io { step, kind: "bio".into(), op: "W".into(), sector, sectors: 8, error })
    }

    fn event(t: f64, kind: Kind) -> Event {
        Event { v: FORMAT, t, src: Source::Guest, vm: Some(1), case: None, kind }
    }

    fn traced(t: f64, what: What) -> Event {
        event(t, Kind::Traced { dev: "253:0".into(), what })
    }

    /// A case as it happens: 4 writes queued (one of them twice), pushed back, re-issued, one of them fails.
    fn case() -> Trace {
        let mut trace = Trace::since(100.0);
        let mut add = |t: f64, what: What| trace.add(&traced(t, what));
        add(100.1, What::Suspend(phase("begin", false, 0)));
        add(100.102, What::Suspend(phase("done", false, 0)));
        for (n, later) in [(0, 0.0), (1, 0.001), (2, 0.002), (3, 0.003)] {
            add(100.412 + later, io(Step::Queued, n * 8, 0));
            add(100.733 + later, io(Step::PushedBack, n * 8, 0));
            add(100.913 + later, io(Step::Reissued, n * 8, 0));
            add(100.914 + later, io(Step::Completed, n * 8, if n == 3 { -5 } else { 0 }));
        }
        add(100.420, io(Step::Queued, 0, 0));
        add(100.731, What::Suspend(phase("begin", true, 0)));
        add(100.732, What::Suspend(phase("blocked", true, 0)));
        add(100.740, What::Merged { count: 4, deferred: 4 });
        add(100.741, What::Suspend(phase("done", true, 4)));
        add(100.911, What::Resume(phase("begin", false, 4)));
        add(100.912, What::Resume(phase("done", false, 0)));
        let details = [("map", "pb-map"), ("device", "253:0")].map(|(k, v)| (k.to_owned(), v.to_owned()));
        trace.add(&event(100.2, Kind::Happened { what: "map created".into(), details: details.into() }));
        trace
    }

    #[test]
    fn a_case_in_a_few_lines() {
        insta::assert_snapshot!(case().lines().join("\n"), @r"
        +0.100 … 0.102   suspend of pb-map
        +0.412 … 0.420   4 bios of pb-map queued in the target (5 times)
        +0.731           noflush suspend of pb-map begins
        +0.733 … 0.736   4 bios of pb-map pushed back to the core
        +0.740           4 bios of pb-map merged, 4 deferred
        +0.741           noflush suspend of pb-map done, 4 deferred
        +0.911 … 0.912   resume of pb-map
        +0.913 … 0.916   4 bios of pb-map re-issued by the core
        +0.914 … 0.916   3 bios of pb-map completed
        +0.917           1 bio of pb-map completed with EIO
        ");
    }

    #[test]
    fn a_flush_suspend_that_fails_io_has_a_begin_and_an_end() {
        let mut trace = Trace::default();
        for (t, what) in [
            (1.0, What::Suspend(phase("begin", false, 0))),
            (1.1, io(Step::Completed, 8, -5)),
            (1.2, What::Suspend(Phase { error: -512, ..phase("interrupted", false, 0) })),
            (1.3, What::Suspend(Phase { error: -4, ..phase("done", false, 0) })),
        ] {
            trace.add(&traced(t, what));
        }
        insta::assert_snapshot!(trace.lines().join("\n"), @r"
        +1.000           suspend of 253:0 begins
        +1.100           1 bio of 253:0 completed with EIO
        +1.200           suspend of 253:0 interrupted, error -512
        +1.300           suspend of 253:0 done, EINTR
        ");
    }

    #[test]
    fn a_span_has_an_end_whatever_its_digits() {
        let mut trace = Trace::default();
        for (t, sector) in [(0.0, 0), (10.0, 8)] {
            trace.add(&traced(t, io(Step::Queued, sector, 0)));
        }
        assert_eq!(trace.lines(), ["+0.000 … 10.000  2 bios of 253:0 queued in the target"]);
    }

    #[test]
    fn what_is_missing_is_told_and_what_is_long_is_cut() {
        let mut trace = Trace::default();
        for n in 0..30 {
            trace.add(&traced(f64::from(n), What::Merged { count: 1, deferred: 1 }));
        }
        let cut = Cut { left_out: 7, lost: 2, unreadable: vec!["expected an event".into()] };
        trace.add(&event(30.0, Kind::TraceCut { cut }));
        let lines = trace.lines();
        assert_eq!(lines.len(), MOST + 1);
        assert_eq!(lines[MOST / 2], "… 7 more lines, see events.jsonl …");
        assert!(lines[MOST - 1].starts_with("+29.000"));
        assert_eq!(lines[MOST], "incomplete: 7 more events, 2 lost by the kernel; expected an event");
    }
}
