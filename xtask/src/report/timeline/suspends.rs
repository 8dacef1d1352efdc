// SPDX-License-Identifier: GPL-2.0-only
//! Suspends and resumes of each map: the phases that the tracepoints tell, and the commands of the case around them.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use guest::trace::Phase;

use super::Moment;

/// What a map, or a command on it, was doing for a while.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Doing {
    /// A command of the case ran that suspends or resumes.
    Command,
    /// The kernel suspends.
    Suspending,
    /// It is suspended.
    Suspended,
    /// The kernel resumes.
    Resuming,
}

/// For how long.
#[derive(Debug, Clone, PartialEq)]
pub struct Span {
    /// What.
    pub doing: Doing,
    /// With the noflush flag.
    pub noflush: bool,
    /// Seconds since the case began.
    pub from: f64,
    /// The same; the end of the case for what was still going on.
    pub to: f64,
}

/// One map.
#[derive(Debug, Default)]
pub struct SuspendLane {
    /// Its name.
    pub map: String,
    /// In the order in which they ended.
    pub spans: Vec<Span>,
    /// The phases, and how a suspend or resume ended that failed.
    pub phases: Vec<Moment>,
    open: Vec<Span>,
}

impl SuspendLane {
    fn begin(&mut self, t: f64, doing: Doing, noflush: bool) {
        self.finish(t, doing);
        self.open.push(Span { doing, noflush, from: t, to: t });
    }

    /// Ends what is going on; says whether it was with noflush.
    fn finish(&mut self, t: f64, doing: Doing) -> Option<bool> {
        let at = self.open.iter().position(|span| span.doing == doing)?;
        let mut span = self.open.swap_remove(at);
        span.to = t;
        let noflush = span.noflush;
        self.spans.push(span);
        Some(noflush)
    }

    fn phase(&mut self, t: f64, verb: &str, phase: &Phase) {
        let noflush = if phase.noflush { "noflush " } else { "" };
        let mut text = format!("{noflush}{verb}: {}", phase.phase);
        if phase.error != 0 {
            let _ = write!(text, ", error {}", phase.error);
        }
        if phase.deferred > 0 {
            let _ = write!(text, ", {} deferred", phase.deferred);
        }
        self.phases.push(Moment { t, text, bad: phase.error != 0 });
    }
}

/// Gathers the lanes.
#[derive(Debug, Default)]
pub struct Suspends(Vec<SuspendLane>);

impl Suspends {
    fn of(&mut self, map: &str) -> &mut SuspendLane {
        let at = self.0.iter().position(|lane| lane.map == map).unwrap_or_else(|| {
            self.0.push(SuspendLane { map: map.to_owned(), ..SuspendLane::default() });
            self.0.len() - 1
        });
        &mut self.0[at]
    }

    /// A suspend came to a phase.
    pub fn suspend(&mut self, t: f64, map: &str, phase: &Phase) {
        let lane = self.of(map);
        lane.phase(t, "suspend", phase);
        match phase.phase.as_str() {
            "begin" => lane.begin(t, Doing::Suspending, phase.noflush),
            "done" => {
                let noflush = lane.finish(t, Doing::Suspending);
                if phase.error == 0 {
                    lane.begin(t, Doing::Suspended, noflush.unwrap_or(phase.noflush));
                }
            }
            _ => {}
        }
    }

    /// A resume came to a phase.
    pub fn resume(&mut self, t: f64, map: &str, phase: &Phase) {
        let lane = self.of(map);
        lane.phase(t, "resume", phase);
        match phase.phase.as_str() {
            "begin" => lane.begin(t, Doing::Resuming, phase.noflush),
            "done" => {
                lane.finish(t, Doing::Resuming);
                if phase.error == 0 {
                    lane.finish(t, Doing::Suspended);
                }
            }
            _ => {}
        }
    }

    /// The case tells of a command.
    pub fn happened(&mut self, t: f64, what: &str, details: &BTreeMap<String, String>) {
        let Some(map) = details.get("map") else { return };
        match what {
            "suspend started" | "resume started" => {
                let noflush = details.get("form").is_some_and(|form| form.contains("noflush"));
                self.of(map).begin(t, Doing::Command, noflush);
            }
            "suspend ended" | "resumed" => {
                self.of(map).finish(t, Doing::Command);
            }
            _ => {}
        }
    }

    /// The lanes of a case that ended at `end`.
    pub fn lanes(mut self, end: f64) -> Vec<SuspendLane> {
        for lane in &mut self.0 {
            lane.spans.extend(lane.open.drain(..).map(|span| Span { to: end, ..span }));
        }
        self.0
    }
}
