// SPDX-License-Identifier: GPL-2.0-only
//! A time line as SVG. The lanes' names stand in a picture of their own at the left, so that they stay in sight when a
//! phone scrolls the lanes. Coordinates are whole units; what falls on one is drawn once.

use std::fmt::Write as _;

use maud::{Markup, html};

use super::text::shown;
use crate::report::history::missing;
use crate::report::timeline::{
    Clock, Doing, Mark, Moment, PathLane, PathState, Returned, SuspendLane, TimeLine, Where,
};

/// Units, which are pixels, for the lanes …
const WIDTH: f64 = 760.0;
/// … and for their names.
const NAMES: u32 = 104;
/// Letters that fit into that.
const LETTERS: usize = 15;
/// Height of the axis, of a lane of bars, of one of levels, and of one of marks.
const AXIS: u32 = 20;
const BARS: u32 = 22;
const LEVELS: u32 = 46;
const MARKS: u32 = 16;
/// Paths beyond this are counted, not drawn.
const MOST_PATHS: usize = 12;

/// How much is drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Detail {
    /// Every mark tells what it is when it is pointed at.
    Full,
    /// Marks of a kind are one path.
    Compact,
}

/// One lane: what it is called, how high it is, and what is in it.
struct Lane {
    name: String,
    height: u32,
    body: Markup,
}

/// The picture.
pub fn draw(line: &TimeLine, detail: Detail) -> Markup {
    let clock = Clock::over(&line.times, WIDTH);
    let pen = Pen { clock: &clock, detail };
    let lanes = pen.lanes(line);
    let height = AXIS + lanes.iter().map(|lane| lane.height).sum::<u32>();
    let (cuts, cut) = clock.cuts();
    let mut y = AXIS;
    let placed: Vec<(u32, Lane)> = lanes
        .into_iter()
        .map(|lane| {
            let at = y;
            y += lane.height;
            (at, lane)
        })
        .collect();
    let more = line.paths.len().saturating_sub(MOST_PATHS);
    html! {
        div.tl {
            svg.names width=(NAMES) height=(height) aria-hidden="true" {
                text x="0" y="13" { "seconds" }
                @for (y, lane) in &placed {
                    text x="0" y=(y + lane.height / 2 + 4) { (cut_short(&lane.name)) }
                }
            }
            // Something that scrolls must be reachable by keyboard.
            div.scroll tabindex="0" {
                svg.lanes width=(WIDTH) height=(height) role="img" aria-label="time line; the history below says the same in words" {
                    @for x in &cuts { rect.cut x=(whole(*x)) y="0" width=(whole(cut)) height=(height) {} }
                    path.grid d=(ticks(&clock, height)) {}
                    @for tick in clock.ticks() { text x=(whole(tick.x) + 3) y="13" { (tick.label) } }
                    @for (y, lane) in &placed {
                        g transform={ "translate(0 " (y) ")" } { (lane.body) }
                    }
                }
            }
        }
        @if more > 0 { p.note { (more) " more paths are not drawn" } }
        @if let Some(cut) = &line.cut {
            p.note { "The kernel's trace is " (shown(&missing(cut))) ": where I/O was, and what suspends did, is drawn as far as it goes" }
        }
    }
}

/// A lane's name, as far as there is room.
fn cut_short(name: &str) -> String {
    let name = shown(name);
    if name.chars().count() <= LETTERS {
        return name;
    }
    name.chars().take(LETTERS - 1).chain(['…']).collect()
}

/// A coordinate.
#[expect(clippy::cast_possible_truncation, reason = "a picture is small")]
fn whole(x: f64) -> i64 {
    x.round() as i64
}

fn ticks(clock: &Clock, height: u32) -> String {
    clock.ticks().iter().fold(String::new(), |mut d, tick| {
        let _ = write!(d, "M{} 0v{height}", whole(tick.x));
        d
    })
}

/// Draws lanes on one clock.
struct Pen<'a> {
    clock: &'a Clock,
    detail: Detail,
}

impl Pen<'_> {
    fn x(&self, t: f64) -> i64 {
        whole(self.clock.x(t))
    }

    fn lanes(&self, line: &TimeLine) -> Vec<Lane> {
        let mut lanes = vec![];
        for lane in &line.suspends {
            lanes.push(Lane { name: lane.map.clone(), height: BARS, body: self.suspends(lane) });
        }
        for place in &line.places {
            lanes.push(Lane {
                name: format!("{} I/O", place.map),
                height: LEVELS,
                body: self.places(place, line.end),
            });
        }
        if !line.returned.is_empty() {
            let of = |n: fn(&Returned) -> u32| -> Vec<(f64, u32)> {
                line.returned.iter().map(|level| (level.t, n(level))).collect()
            };
            let [all, back, failed] = [
                of(|level| level.pending + level.ok + level.failed),
                of(|level| level.ok + level.failed),
                of(|level| level.failed),
            ];
            let body = self.areas(line.end, &[("pending", &all), ("ok", &back), ("bad", &failed)]);
            lanes.push(Lane { name: "submitted".to_owned(), height: LEVELS, body });
        }
        let several = line.paths.iter().any(|path| path.map != line.paths[0].map);
        for path in line.paths.iter().take(MOST_PATHS) {
            let map = if several { format!(" {}", path.map) } else { String::new() };
            let name = format!("{} {}{map}", path.name.as_deref().unwrap_or("path"), path.dev);
            lanes.push(Lane { name, height: MARKS, body: self.path(path, line.end) });
        }
        for (name, class, symbol, moments) in
            [("steps", "step", "#s", &line.steps), ("console", "line", "#k", &line.console)]
        {
            if !moments.is_empty() {
                lanes.push(Lane {
                    name: name.to_owned(),
                    height: MARKS,
                    body: self.marks(class, symbol, moments),
                });
            }
        }
        lanes
    }

    /// Commands above, what the kernel did below.
    fn suspends(&self, lane: &SuspendLane) -> Markup {
        // What lasts long is drawn first: what is short stands on it.
        let rank = |doing: Doing| match doing {
            Doing::Command | Doing::Suspended => 0,
            Doing::Suspending | Doing::Resuming => 1,
        };
        let mut spans: Vec<_> = lane.spans.iter().collect();
        spans.sort_by_key(|span| rank(span.doing));
        html! {
            @for span in spans {
                @let x = self.x(span.from);
                @let wide = (self.x(span.to) - x).max(2);
                @let (class, y, height, what) = match span.doing {
                    Doing::Command => ("cmd", 1, 4, "command"),
                    Doing::Suspending => ("ing", 7, 11, "suspending"),
                    Doing::Suspended => ("susp", 7, 11, "suspended"),
                    Doing::Resuming => ("res", 7, 11, "resuming"),
                };
                rect class={ (class) @if span.noflush && span.doing != Doing::Resuming { " nf" } } x=(x) y=(y) width=(wide) height=(height) {
                    @if self.detail == Detail::Full {
                        title {
                            @if span.noflush { "noflush: " }
                            (what) " " (seconds(span.from)) " … " (seconds(span.to))
                        }
                    }
                }
            }
            @if self.detail == Detail::Full {
                @for phase in &lane.phases { (self.mark("phase", "#p", 7, phase)) }
            } @else {
                @let failed: Vec<_> = lane.phases.iter().filter(|phase| phase.bad).map(|phase| phase.t).collect();
                (self.strokes("bad", &failed, 7, 11))
            }
        }
    }

    /// Queued in the target on top of what the core has taken back; below them what left both places.
    fn places(&self, place: &Where, end: f64) -> Markup {
        let both: Vec<_> = place.levels.iter().map(|at| (at.t, at.target + at.core)).collect();
        let core: Vec<_> = place.levels.iter().map(|at| (at.t, at.core)).collect();
        html! {
            (self.areas(end, &[("tgt", &both), ("core", &core)]))
            @for (class, mark) in [("reis", Mark::Reissued), ("ok", Mark::Completed), ("bad", Mark::Failed)] {
                @let at: Vec<f64> = place.marks.iter().filter(|(_, m)| *m == mark).map(|(t, _)| *t).collect();
                (self.strokes(class, &at, if mark == Mark::Reissued { 35 } else { 40 }, 4))
            }
        }
    }

    /// Levels from the bottom, each drawn over the one before; the highest is labelled.
    fn areas(&self, end: f64, levels: &[(&str, &[(f64, u32)])]) -> Markup {
        const TOP: f64 = 4.0;
        const BOTTOM: f64 = 34.0;
        let peak = levels.iter().flat_map(|(_, of)| of.iter().map(|(_, n)| *n)).max().unwrap_or(0);
        let peak_t =
            levels.first().and_then(|(_, of)| of.iter().find(|(_, n)| *n == peak)).map_or(0.0, |(t, _)| *t);
        html! {
            @for (class, of) in levels {
                @let d = self.area(end, of, peak, TOP, BOTTOM);
                @if !d.is_empty() { path class=(class) d=(d) {} }
            }
            @if peak > 0 { text.peak x=((self.x(peak_t) - 4).max(18)) y="12" { (peak) } }
        }
    }

    /// A stepped area. Of several levels at one coordinate, the highest and the last are drawn.
    fn area(&self, end: f64, levels: &[(f64, u32)], peak: u32, top: f64, bottom: f64) -> String {
        let y = |n: u32| whole(bottom - f64::from(n) / f64::from(peak.max(1)) * (bottom - top));
        let mut columns: Vec<(i64, u32, u32)> = vec![];
        for (t, n) in levels {
            let x = self.x(*t);
            match columns.last_mut() {
                Some((at, highest, last)) if *at == x => (*highest, *last) = ((*highest).max(*n), *n),
                _ => columns.push((x, *n, *n)),
            }
        }
        let (mut d, mut now, mut open) = (String::new(), 0, false);
        for (x, highest, last) in columns {
            let spike = highest > now.max(last);
            if !open && highest > 0 {
                let _ = write!(d, "M{x} {}", y(0));
                open = true;
            } else if open {
                let _ = write!(d, "H{x}");
            }
            if spike {
                let _ = write!(d, "V{}h1", y(highest));
            }
            if open && (last != now || spike) {
                let _ = write!(d, "V{}", y(last));
            }
            if last == 0 && open {
                d.push('z');
                open = false;
            }
            now = last;
        }
        if open {
            let _ = write!(d, "H{}V{}z", self.x(end), y(0));
        }
        d
    }

    fn path(&self, path: &PathLane, end: f64) -> Markup {
        let until = path.states.iter().skip(1).map(|(t, _)| *t).chain([end]);
        html! {
            @for ((from, state), to) in path.states.iter().zip(until) {
                @let class = match state {
                    PathState::Usable => "up",
                    PathState::Failed => "down",
                    PathState::Gone => "gone",
                };
                @let x = self.x(*from);
                rect class=(class) x=(x) y="3" width=((self.x(to) - x).max(1)) height="9" {
                    @if self.detail == Detail::Full {
                        title { (class) " from " (seconds(*from)) }
                    }
                }
            }
            (self.marks("fault", "#f", &path.faults))
        }
    }

    fn marks(&self, class: &str, symbol: &str, moments: &[Moment]) -> Markup {
        html! {
            @if self.detail == Detail::Full {
                @for moment in moments { (self.mark(class, symbol, 2, moment)) }
            } @else {
                @for bad in [false, true] {
                    @let at: Vec<_> = moments.iter().filter(|m| m.bad == bad).map(|m| m.t).collect();
                    (self.strokes(if bad { "bad" } else { class }, &at, 2, 11))
                }
            }
        }
    }

    fn mark(&self, class: &str, symbol: &str, y: u32, moment: &Moment) -> Markup {
        let class = if moment.bad { "bad" } else { class };
        html! {
            use.(class) href=(symbol) x=(self.x(moment.t)) y=(y) {
                title { (seconds(moment.t)) " " (shown(&first(&moment.text))) }
            }
        }
    }

    /// One path for all marks of a kind.
    fn strokes(&self, class: &str, at: &[f64], y: u32, height: u32) -> Markup {
        let mut xs: Vec<_> = at.iter().map(|t| self.x(*t)).collect();
        xs.sort_unstable();
        xs.dedup();
        let mut d = String::new();
        let mut last: Option<i64> = None;
        for x in xs {
            // Relative to the one before: shorter.
            let _ = match last {
                None => write!(d, "M{x} {y}v{height}"),
                Some(last) => write!(d, "m{} -{height}v{height}", x - last),
            };
            last = Some(x);
        }
        html! { @if !d.is_empty() { path.m.(class) d=(d) {} } }
    }
}

/// What fits a hint.
fn first(text: &str) -> String {
    let line = text.lines().next().unwrap_or_default();
    if line.chars().count() <= 160 {
        line.to_owned()
    } else {
        line.chars().take(159).chain(['…']).collect()
    }
}

/// `+0.412`.
pub fn seconds(t: f64) -> String {
    format!("+{t:.3}")
}
