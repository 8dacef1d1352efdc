// SPDX-License-Identifier: GPL-2.0-only
//! One VM from boot to power-off: boots it, hands it cases one at a time, gathers what is seen of each. It decides
//! nothing: [`super::judge`] does.

use std::time::{Duration, Instant};

use camino::Utf8Path;
use guest::case::{Case, Tag, full_name};
use guest::message::{FromGuest, ToGuest};
use guest::stress::Stress;
use guest::trace::Record;

use super::boot::BootError;
use super::clocks::Factor;
use super::judge::Facts;
use super::plan::Planned;
use super::stream::{Place, Stream};
use crate::event::{Kind, Source};
use crate::interrupt;
use crate::vm::argv::Spec;
use crate::vm::console::{self, Edge, Found};
use crate::vm::qemu::{Qemu, Signal};

/// More kernel messages than this in one case (a minute, if it is asked to go on for a time) are a failure of their own:
/// they would bury a splat.
const FLOOD_KIB: u64 = 1024;

/// How often a wait looks at the user's Ctrl-C.
pub(super) const TICK: Duration = Duration::from_millis(50);

/// A booted VM.
pub struct Session {
    pub(super) qemu: Qemu,
    stream: Stream,
    place: Place,
    pub(super) factor: Factor,
    /// virtme-ng made the VM.
    pub(super) virtme: bool,
    /// Run clock minus guest clock, in seconds: the smallest seen, since a message is never early.
    offset: f64,
    /// Seconds from QEMU's start to the agent's first message.
    pub boot_seconds: f64,
}

/// What a case's loop has seen, beside the facts.
struct Watch {
    case: Case,
    token: u64,
    facts: Facts,
    heard: Instant,
    last_event: String,
    console_bytes: u64,
    ended_at: Option<Instant>,
    flood_kib: u64,
}

impl Watch {
    /// The first splat counts, unless the case allows it. A panic never is allowed: the VM is gone.
    fn splat(&mut self, kind: console::Kind, first_line: &str) {
        let allowed = self.case.allow.iter().any(|allowed| first_line.contains(allowed.splat));
        if allowed && kind != console::Kind::Panic {
            self.facts.allowed_splat = true;
        } else {
            let first = self.facts.splat.get_or_insert((kind.name().to_owned(), first_line.to_owned()));
            if first_line.starts_with(&first.1) {
                // The same report, complete by now.
                first_line.clone_into(&mut first.1);
            } else {
                self.facts.more_splats = true;
            }
        }
    }
}

impl Session {
    /// Starts QEMU and waits for the agent.
    pub fn boot(spec: &Spec, dir: &Utf8Path, vm: u32, stream: &Stream) -> Result<Self, BootError> {
        let place = Place { vm: Some(vm), case: None };
        let qemu = Qemu::start(spec, dir).map_err(|error| BootError::Host(format!("{error:#}")))?;
        stream.at(
            stream.seconds(qemu.started),
            Source::Host,
            &place,
            Kind::VmStarted { argv: qemu.argv.clone() },
        );
        let factor = Factor::guess(&spec.accel);
        let mut session = Self {
            qemu,
            stream: stream.clone(),
            place,
            factor,
            virtme: spec.virtme.is_some(),
            offset: f64::INFINITY,
            boot_seconds: 0.0,
        };
        let result = session.wait_for_agent();
        if let Err(error) = &result {
            session.ended(&error.to_string());
        }
        result.map(|()| session)
    }

    /// Runs one case to its end, or to the end of a clock; `None` when the user interrupts.
    pub fn run_case(&mut self, planned: &Planned, stress: Stress, shown: &str, token: u64) -> Option<Facts> {
        let Planned { case, condition } = *planned;
        self.place.case = Some(shown.to_owned());
        let started = Instant::now();
        let asked_for = stress.seconds.filter(|_| case.tag == Tag::Stress).unwrap_or(0);
        let deadline = self.factor.case(case.deadline_seconds) + Duration::from_secs(asked_for.into());
        let kind =
            Kind::CaseStarted { name: case.name.to_owned(), condition, deadline: deadline.as_secs_f64() };
        self.emit(Source::Host, kind);
        let (name, time_factor) = (case.name.to_owned(), self.factor.value());
        let request = ToGuest::Run { token, case: name, condition, time_factor, stress };
        let mut watch = Watch {
            case: *case,
            token,
            facts: Facts::default(),
            heard: started,
            last_event: format!("start of {}", full_name(case.name, &condition)),
            console_bytes: 0,
            ended_at: None,
            flood_kib: FLOOD_KIB * (1 + u64::from(asked_for) / 60),
        };
        if let Err(error) = self.qemu.send(&request) {
            watch.facts.channel = Some(format!("{error:#}"));
            return Some(watch.facts);
        }
        loop {
            if interrupt::requested() {
                return None;
            }
            if let Some((at, signal)) = self.qemu.next(TICK) {
                watch.heard = at;
                if self.take(&mut watch, at, signal) {
                    return Some(watch.facts);
                }
            } else if let Some((clock, limit, waited_for)) = self.expired(&watch, started, deadline) {
                let seconds = limit.as_secs_f64();
                self.emit(Source::Host, Kind::Expired { clock: clock.into(), seconds });
                watch.facts.expired = Some(format!("{clock} clock, {seconds:.1} s: {waited_for}"));
                self.capture(token);
                return Some(watch.facts);
            }
            // A guest that never stops talking must not escape its deadline.
            if started.elapsed() > deadline + self.factor.silence() && watch.facts.expired.is_none() {
                watch.facts.expired = Some(format!("case clock, {:.1} s", deadline.as_secs_f64()));
                return Some(watch.facts);
            }
        }
    }

    fn expired(
        &self,
        watch: &Watch,
        started: Instant,
        deadline: Duration,
    ) -> Option<(&'static str, Duration, String)> {
        let last = || format!("last event: {}", watch.last_event);
        if let Some(ended) = watch.ended_at {
            let limit = self.factor.console();
            return (ended.elapsed() > limit)
                .then(|| ("console", limit, "the end marker on the console".into()));
        }
        if started.elapsed() > deadline {
            let what =
                if watch.facts.verdicts.is_empty() { "no verdict" } else { "the clean-up did not end" };
            return Some(("case", deadline, format!("{what}; {}", last())));
        }
        let limit = self.factor.silence();
        (watch.heard.elapsed() > limit).then(|| ("silence", limit, last()))
    }

    /// Takes one signal; true when the case is over.
    fn take(&mut self, watch: &mut Watch, at: Instant, signal: Signal) -> bool {
        match signal {
            Signal::Console(found) => {
                match &found {
                    Found::Line(text) => watch.console_bytes += text.len() as u64 + 1,
                    Found::Dropped { lines } => watch.facts.console_lost += lines,
                    Found::Marker(marker) if marker.edge == Edge::End && marker.token == watch.token => {
                        watch.facts.console_complete = true;
                    }
                    Found::Marker(_) | Found::Splat(_) => {}
                }
                if let Found::Splat(splat) = &found {
                    watch.splat(splat.kind, &splat.first_line);
                }
                self.console(found);
                if watch.console_bytes > watch.flood_kib * 1024 {
                    watch.facts.console_flood_kib = Some(watch.flood_kib);
                    return true;
                }
            }
            Signal::SplatStarted(kind, first_line) => watch.splat(kind, &first_line),
            Signal::Agent(message) => {
                if let Err(error) = self.message(watch, at, message) {
                    watch.facts.channel = Some(error);
                    return true;
                }
            }
            Signal::Broken(error) => {
                watch.facts.channel = Some(error.to_string());
                return true;
            }
            Signal::ConsoleEnded => {
                let status = self.qemu.wait(Duration::from_secs(5));
                let status =
                    status.map_or_else(|| "closed its console".to_owned(), |s| format!("ended with {s}"));
                watch.facts.vm_gone =
                    Some(format!("QEMU {status} {}", self.qemu.complaints()).trim().to_owned());
                return true;
            }
        }
        watch.ended_at.is_some() && watch.facts.console_complete
    }

    fn message(&mut self, watch: &mut Watch, at: Instant, message: FromGuest) -> Result<(), String> {
        let of = match &message {
            FromGuest::Hello { .. } => return Err("the agent started anew in the middle of a case".into()),
            FromGuest::Started { token, .. }
            | FromGuest::Happened { token, .. }
            | FromGuest::Traced { token, .. }
            | FromGuest::TraceCut { token, .. }
            | FromGuest::Verdict { token, .. }
            | FromGuest::Ended { token, .. }
            | FromGuest::Captured { token, .. }
            | FromGuest::CaptureDone { token } => *token,
        };
        if of != watch.token {
            return Err(format!("a message of case {of} while case {} runs", watch.token));
        }
        match message {
            FromGuest::Happened { t, what, details, .. } => {
                watch.last_event.clone_from(&what);
                self.emit_at(at, t, Kind::Happened { what, details });
            }
            FromGuest::Traced { records, .. } => self.traced(at, records),
            FromGuest::TraceCut { t, cut, .. } => self.emit_at(at, t, Kind::TraceCut { cut }),
            FromGuest::Verdict { t, verdict, .. } => {
                watch.facts.verdicts.push(verdict.clone());
                self.emit_at(at, t, Kind::CaseVerdict { verdict });
            }
            FromGuest::Ended { t, exit, violations, .. } => {
                if watch.facts.ended.is_some() {
                    return Err("the case ended twice".into());
                }
                watch.facts.ended = Some((exit, violations.clone()));
                watch.ended_at = Some(at);
                self.emit_at(at, t, Kind::CaseEnded { exit, violations });
            }
            FromGuest::Captured { title, text, .. } => {
                self.emit(Source::Guest, Kind::Captured { title, text });
            }
            FromGuest::Started { .. } | FromGuest::CaptureDone { .. } | FromGuest::Hello { .. } => {}
        }
        Ok(())
    }

    /// Collects what explains a stuck case: from the agent if it answers, by SysRq and the monitor if it does not.
    fn capture(&mut self, token: u64) {
        let asked = self.qemu.send(&ToGuest::Capture { token }).is_ok();
        let limit = self.factor.capture();
        let answered = asked
            && self.drain(limit, |signal| matches!(signal, Signal::Agent(FromGuest::CaptureDone { .. })));
        if !answered {
            for key in [b'w', b't'] {
                if self.qemu.sysrq(key).is_ok() {
                    self.drain(limit / 4, |_| false);
                }
            }
        }
        let registers = self.qemu.registers().unwrap_or_else(|error| format!("{error:#}"));
        self.emit(
            Source::Host,
            Kind::Captured { title: "registers of the virtual CPUs".into(), text: registers },
        );
        self.drain(Duration::from_millis(200), |_| false);
    }

    /// Puts signals into the stream until `done`, the end of the console, or the limit; true if `done` was seen.
    fn drain(&mut self, limit: Duration, done: impl Fn(&Signal) -> bool) -> bool {
        let start = Instant::now();
        while start.elapsed() < limit && !interrupt::requested() {
            let Some((at, signal)) = self.qemu.next(TICK) else { continue };
            let (over, ended) = (done(&signal), matches!(signal, Signal::ConsoleEnded));
            match signal {
                Signal::Console(found) => self.console(found),
                Signal::Agent(FromGuest::Captured { title, text, .. }) => {
                    self.emit(Source::Guest, Kind::Captured { title, text });
                }
                Signal::Agent(FromGuest::Traced { records, .. }) => self.traced(at, records),
                _ => {}
            }
            if over || ended {
                return over;
            }
        }
        false
    }

    /// Powers the VM off as planned; an error says what was not as planned, and belongs to the last case.
    pub fn power_off(mut self, facts: &mut Facts) {
        let limit = self.factor.power_off();
        let sent = self.qemu.send(&ToGuest::PowerOff);
        let mut splat = None;
        let start = Instant::now();
        let ended = loop {
            if start.elapsed() > limit || sent.is_err() {
                break false;
            }
            match self.qemu.next(TICK) {
                Some((_, Signal::ConsoleEnded)) => break true,
                Some((_, Signal::Console(found))) => {
                    if let Found::Splat(s) = &found {
                        splat.get_or_insert((s.kind.name().to_owned(), s.first_line.clone()));
                    }
                    self.console(found);
                }
                _ => {}
            }
        };
        let status = ended.then(|| self.qemu.wait(limit)).flatten();
        if let Some(splat) = splat {
            facts.splat.get_or_insert(splat);
        } else if !status.is_some_and(|s| s.success()) {
            let how = status.map_or_else(|| "did not power off".to_owned(), |s| format!("ended with {s}"));
            facts
                .vm_gone
                .get_or_insert(format!("after the last case the VM {how} {}", self.qemu.complaints()));
        } else if let Some(wrong) = self.qemu.wrong_status() {
            facts.status.get_or_insert(wrong);
        }
        self.ended("powered off as planned");
    }

    /// Kills the VM.
    pub fn kill(mut self, why: &str) {
        self.ended(why);
    }

    fn ended(&mut self, why: &str) {
        self.place.case = None;
        self.emit(Source::Host, Kind::VmEnded { reason: why.to_owned() });
    }

    pub(super) fn console(&self, found: Found) {
        let kind = match found {
            Found::Line(text) => Kind::Line { text },
            Found::Splat(splat) => Kind::Splat { splat: splat.kind.name().to_owned(), text: splat.text },
            Found::Dropped { .. } | Found::Marker(_) => return, // the line itself is in the stream
        };
        self.emit(Source::Console, kind);
    }

    pub(super) fn emit(&self, src: Source, kind: Kind) {
        self.stream.now(src, &self.place, kind);
    }

    fn emit_at(&mut self, at: Instant, guest_t: f64, kind: Kind) {
        self.synchronise(at, guest_t);
        self.stream.at(guest_t + self.offset, Source::Guest, &self.place, kind);
    }

    fn traced(&mut self, at: Instant, records: Vec<Record>) {
        for Record { t, dev, what } in records {
            self.emit_at(at, t, Kind::Traced { dev, what });
        }
    }

    pub(super) fn synchronise(&mut self, at: Instant, guest_t: f64) {
        self.offset = self.offset.min(self.stream.seconds(at) - guest_t);
    }
}
