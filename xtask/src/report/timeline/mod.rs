// SPDX-License-Identifier: GPL-2.0-only
//! What happened in one case, as lanes over one clock: suspends and resumes, where the I/O was, the states of the paths,
//! the case's own steps, the console. Folded from the events of the stream; knows nothing of how it is drawn.
//! docs/html-report.md says from which event each mark comes.

mod clock;
mod io;
mod paths;
mod suspends;

pub use clock::Clock;
pub use io::{Mark, Returned, Where};
pub use paths::{PathLane, PathState};
pub use suspends::{Doing, SuspendLane};

use std::fmt::Write as _;

use guest::message::{Cut, Verdict};
use guest::trace::What;

use super::maps::Maps;
use crate::event::{Event, Kind};

/// One thing at one time.
#[derive(Debug, Clone, PartialEq)]
pub struct Moment {
    /// Seconds since the case began.
    pub t: f64,
    /// What.
    pub text: String,
    /// It is what a reader looks for: a splat, a clock that ran out, a verdict that is no pass.
    pub bad: bool,
}

/// The lanes of one case. Times are seconds since it began.
#[derive(Debug, Default)]
pub struct TimeLine {
    /// When the last of it happened.
    pub end: f64,
    /// Every time at which something happened, in order.
    pub times: Vec<f64>,
    /// One lane a map.
    pub suspends: Vec<SuspendLane>,
    /// Where the I/O of each map was, as the tracepoints say; empty on a kernel without them.
    pub places: Vec<Where>,
    /// What the case submitted and what came back.
    pub returned: Vec<Returned>,
    /// One lane a path of a map.
    pub paths: Vec<PathLane>,
    /// What the case told of itself, without the completions of single I/Os.
    pub steps: Vec<Moment>,
    /// Lines of the console.
    pub console: Vec<Moment>,
    /// What was captured after a clock ran out or a failure: title and text.
    pub captured: Vec<(String, String)>,
    /// The whole reports of splats.
    pub splats: Vec<String>,
    /// What is missing of the trace.
    pub cut: Option<Cut>,
}

impl TimeLine {
    /// Of the events of one case, in any order.
    pub fn of(events: &[&Event]) -> Self {
        let mut events = events.to_vec();
        events.sort_by(|a, b| a.t.total_cmp(&b.t));
        let began = began(&events);
        let mut maps = Maps::default();
        for event in &events {
            if let Kind::Happened { what, details } = &event.kind {
                maps.learn(what, details);
            }
        }
        let mut folding = Folding { maps, ..Folding::default() };
        for event in events {
            // What came in late of the case before has no place on this clock.
            folding.add((event.t - began).max(0.0), event);
        }
        folding.end()
    }

    /// Whether there is nothing to draw.
    pub fn is_empty(&self) -> bool {
        self.suspends.is_empty()
            && self.places.is_empty()
            && self.returned.is_empty()
            && self.paths.is_empty()
            && self.steps.is_empty()
            && self.console.is_empty()
    }
}

/// When the case was handed to the agent; if that is not told, when the first thing happened.
fn began(events: &[&Event]) -> f64 {
    let started = events.iter().find(|event| matches!(event.kind, Kind::CaseStarted { .. }));
    started.or(events.first()).map_or(0.0, |event| event.t)
}

#[derive(Default)]
struct Folding {
    line: TimeLine,
    maps: Maps,
    suspends: suspends::Suspends,
    places: io::AllPlaces,
    returned: io::Counts,
    paths: paths::Paths,
}

impl Folding {
    fn add(&mut self, t: f64, event: &Event) {
        self.line.times.push(t);
        self.line.end = self.line.end.max(t);
        match &event.kind {
            Kind::Traced { dev, what } => self.traced(t, dev, what),
            Kind::TraceCut { cut } => self.line.cut = Some(cut.clone()),
            Kind::Happened { what, details } => {
                self.suspends.happened(t, what, details);
                self.paths.happened(t, what, details);
                if !self.returned.happened(t, what, details) {
                    let mut text = what.clone();
                    for (name, value) in details {
                        let _ = write!(text, "; {name}: {value}");
                    }
                    self.step(t, text, false);
                }
            }
            Kind::CaseVerdict { verdict } => {
                let (text, bad) = match verdict {
                    Verdict::Pass => ("verdict: pass".to_owned(), false),
                    Verdict::Fail { assertion, message } => {
                        (format!("verdict: {assertion}: {message}"), true)
                    }
                    Verdict::Skipped { reason } => (format!("verdict: skipped: {reason}"), false),
                    Verdict::Infra { message } => (format!("verdict: {message}"), true),
                };
                self.step(t, text, bad);
            }
            Kind::Line { text } => {
                self.paths.said(t, text, &self.maps);
                self.line.console.push(Moment { t, text: text.clone(), bad: false });
            }
            Kind::Splat { splat, text } => {
                self.line.splats.push(text.clone());
                self.line.console.push(Moment { t, text: format!("the kernel reports: {splat}"), bad: true });
            }
            Kind::Expired { clock, seconds } => {
                self.step(t, format!("the {clock} clock ran out after {seconds:.1} s"), true);
            }
            Kind::Captured { title, text } => self.captured(title, text),
            _ => {}
        }
    }

    fn traced(&mut self, t: f64, dev: &str, what: &What) {
        let map = self.maps.name(dev).unwrap_or_else(|| dev.to_owned());
        match what {
            What::Io(io) => self.places.step(t, &map, io),
            What::Merged { .. } => {}
            What::Suspend(phase) => self.suspends.suspend(t, &map, phase),
            What::Resume(phase) => {
                self.suspends.resume(t, &map, phase);
                if phase.phase == "done" && phase.error == 0 {
                    self.paths.resumed(t, &map);
                }
            }
        }
    }

    fn step(&mut self, t: f64, text: String, bad: bool) {
        self.line.steps.push(Moment { t, text, bad });
    }

    /// Pieces of one title belong together.
    fn captured(&mut self, title: &str, text: &str) {
        match self.line.captured.iter_mut().find(|(known, _)| known == title) {
            Some((_, known)) => known.push_str(text),
            None => self.line.captured.push((title.to_owned(), text.to_owned())),
        }
    }

    fn end(self) -> TimeLine {
        let end = self.line.end;
        TimeLine {
            suspends: self.suspends.lanes(end),
            places: self.places.0,
            returned: self.returned.levels,
            paths: self.paths.lanes(),
            ..self.line
        }
    }
}

#[cfg(test)]
mod tests;
