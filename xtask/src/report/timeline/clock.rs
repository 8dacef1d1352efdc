// SPDX-License-Identifier: GPL-2.0-only
//! The axis: seconds to picture units. One scale everywhere, but idle time that would flatten all the rest is cut out and
//! the cut is marked: a case that waited 60 s for a clock to run out did its work in the first second.

/// A gap is cut only if it is that much longer than the longest one that stays …
const JUMP: f64 = 3.0;
/// … and this long, in seconds …
const WORTH: f64 = 0.05;
/// … and there are no more than this many of them.
const MOST: usize = 8;
/// Units that a cut takes.
const CUT: f64 = 18.0;
/// Least distance of two labels, in units.
const APART: f64 = 52.0;

/// A run of time without a cut.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Piece {
    from: f64,
    to: f64,
    x: f64,
}

/// The axis of one time line.
#[derive(Debug)]
pub struct Clock {
    pieces: Vec<Piece>,
    /// Units a second.
    scale: f64,
    width: f64,
}

/// A label of the axis.
#[derive(Debug, Clone, PartialEq)]
pub struct Tick {
    /// Where.
    pub x: f64,
    /// `0.25`.
    pub label: String,
}

impl Clock {
    /// For things that happened at `times`, in order, over `width` units.
    pub fn over(times: &[f64], width: f64) -> Self {
        let first = times.first().copied().unwrap_or(0.0).min(0.0);
        let last = times.last().copied().unwrap_or(0.0).max(first);
        let mut at = vec![first];
        at.extend_from_slice(times);
        let mut cuts = cuts(&at);
        cuts.sort_by(|a, b| a.0.total_cmp(&b.0));
        let active = last - first - cuts.iter().map(|(from, to)| to - from).sum::<f64>();
        #[expect(clippy::cast_precision_loss, reason = "at most MOST")]
        let room = width - cuts.len() as f64 * CUT;
        let scale = if active > 0.0 { room / active } else { 0.0 };
        let (mut pieces, mut from, mut x) = (vec![], first, 0.0);
        for (until, again) in cuts {
            pieces.push(Piece { from, to: until, x });
            x += (until - from) * scale + CUT;
            from = again;
        }
        pieces.push(Piece { from, to: last, x });
        Self { pieces, scale, width }
    }

    /// Where `t` is. Time inside a cut is in the middle of its mark.
    pub fn x(&self, t: f64) -> f64 {
        let next = self.pieces.iter().position(|piece| t <= piece.to).unwrap_or(self.pieces.len() - 1);
        let piece = self.pieces[next];
        let x = if t < piece.from && next > 0 {
            piece.x - CUT / 2.0
        } else {
            piece.x + (t - piece.from).max(0.0) * self.scale
        };
        x.clamp(0.0, self.width)
    }

    /// The marks of the cuts: where each begins, and how wide they are.
    pub fn cuts(&self) -> (Vec<f64>, f64) {
        (self.pieces.iter().skip(1).map(|piece| piece.x - CUT).collect(), CUT)
    }

    /// The labels: round times, and where each piece begins.
    pub fn ticks(&self) -> Vec<Tick> {
        let (step, decimals) = self.step();
        let mut ticks: Vec<Tick> = vec![];
        let mut add = |t: f64, decimals: usize, first: bool| {
            let x = self.x(t);
            // Where time goes on after a cut must be told.
            while first && ticks.last().is_some_and(|last| x - last.x < APART) {
                ticks.pop();
            }
            if ticks.last().is_none_or(|last| x - last.x >= APART) && x <= self.width - 28.0 {
                ticks.push(Tick { x, label: format!("{t:.decimals$}") });
            }
        };
        for (n, piece) in self.pieces.iter().enumerate() {
            if n > 0 {
                add(piece.from, decimals.max(2), true);
            }
            let mut at = (piece.from / step).ceil() * step;
            // At most a label each APART units: the loop ends soon.
            while at <= piece.to && step > 0.0 {
                add(at, decimals, false);
                at += step;
            }
        }
        ticks
    }

    /// The least of 1, 2, 5 × 10^n seconds that is wide enough, and the decimals that it takes.
    fn step(&self) -> (f64, usize) {
        let mut decimals = 6_usize;
        for exponent in -6..6 {
            for digit in [1.0, 2.0, 5.0] {
                let step = digit * 10_f64.powi(exponent);
                if step * self.scale >= APART {
                    return (step, decimals);
                }
            }
            decimals = decimals.saturating_sub(1);
        }
        (f64::INFINITY, 0)
    }
}

/// The longest gaps, if they stand out.
fn cuts(times: &[f64]) -> Vec<(f64, f64)> {
    let mut gaps: Vec<(f64, f64)> = times.windows(2).map(|pair| (pair[0], pair[1])).collect();
    let length = |gap: &(f64, f64)| gap.1 - gap.0;
    gaps.sort_by(|a, b| length(b).total_cmp(&length(a)));
    let jump = |n: usize| {
        let rest = gaps.get(n).map_or(0.0, length);
        if length(&gaps[n - 1]) >= WORTH && rest > 0.0 { length(&gaps[n - 1]) / rest } else { 0.0 }
    };
    let best = (1..=MOST.min(gaps.len())).max_by(|a, b| jump(*a).total_cmp(&jump(*b)));
    let count = best.filter(|n| jump(*n) >= JUMP).unwrap_or(0);
    gaps.truncate(count);
    gaps
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn labels(clock: &Clock) -> String {
        clock
            .ticks()
            .iter()
            .map(|tick| format!("{} at {:.0}", tick.label, tick.x))
            .collect::<Vec<_>>()
            .join(", ")
    }

    #[test]
    fn an_even_case_is_linear() {
        let times: Vec<f64> = (0..=40).map(|n| f64::from(n) / 100.0).collect();
        let clock = Clock::over(&times, 400.0);
        assert_eq!((clock.x(0.0), clock.x(0.1).round(), clock.x(0.4).round()), (0.0, 100.0, 400.0));
        assert!(clock.cuts().0.is_empty());
        insta::assert_snapshot!(labels(&clock), @"0.0 at 0, 0.1 at 100, 0.2 at 200, 0.3 at 300");
    }

    #[test]
    fn a_long_wait_is_cut() {
        let mut times: Vec<f64> = (0..=20).map(|n| f64::from(n) / 100.0).collect();
        times.extend((0..=20).map(|n| 60.0 + f64::from(n) / 100.0));
        let clock = Clock::over(&times, 418.0);
        let (cuts, wide) = clock.cuts();
        assert_eq!((cuts.len(), cuts[0].round(), wide), (1, 200.0, 18.0));
        assert_eq!(
            (clock.x(0.1).round(), clock.x(30.0).round(), clock.x(60.0).round()),
            (100.0, 209.0, 218.0)
        );
        insta::assert_snapshot!(labels(&clock), @"0.0 at 0, 0.1 at 100, 60.00 at 218, 60.1 at 318");
    }

    #[test]
    fn little_or_nothing_to_show_is_no_trouble() {
        for times in [&[][..], &[0.0], &[0.0, 0.0], &[0.0, 5.0], &[1.0]] {
            let clock = Clock::over(times, 100.0);
            assert!((0.0..=100.0).contains(&clock.x(0.5)), "{times:?}");
            assert!(clock.ticks().len() <= 3, "{times:?}");
        }
    }

    proptest! {
        #[test]
        fn later_is_never_left_of_earlier(mut times in prop::collection::vec(0.0..100.0_f64, 0..60), t in 0.0..100.0_f64, later in 0.0..1.0_f64) {
            times.sort_by(f64::total_cmp);
            let clock = Clock::over(&times, 700.0);
            prop_assert!(clock.x(t) <= clock.x(t + later) + 1e-6);
            prop_assert!((0.0..=700.0).contains(&clock.x(t)));
            let ticks = clock.ticks();
            prop_assert!(ticks.windows(2).all(|pair| pair[1].x - pair[0].x >= APART - 1e-6));
        }
    }
}
