// SPDX-License-Identifier: GPL-2.0-only
//! How far verdicts on a bug can be trusted that does not show in every run. Pure.
//!
//! A commit with a bug that shows in a run with probability `p` passes `N` runs with probability `(1 − p)^N`: that is the
//! chance that it is called good by mistake. A commit is called bad only for a failure that was seen, so if `k` steps of
//! a bisection were called good, all verdicts are right with probability `(1 − (1 − p)^N)^k` at least.
//!
//! `p` is not known. It is estimated from the runs at --bad: `shown / of`; and since they are few, a lower bound is
//! given as well, the one that holds with 95 % confidence (Clopper and Pearson, one-sided): the `p` at which a bug shows
//! that often, or more often, in only 5 % of all series of that many runs.

use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

/// One minus the confidence of the lower bound.
const ALPHA: f64 = 0.05;

/// What a good verdict should be wrong with, at most, before more runs are advised.
const TOLERATED: f64 = 0.01;

/// The most that `--repeat` takes.
pub const MOST_RUNS: u32 = 1000;

/// In how many of the runs at --bad a case failed that is used to tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Odds {
    /// Runs with a failure.
    pub shown: u32,
    /// All runs.
    pub of: u32,
}

impl Odds {
    /// The share that was seen.
    pub fn estimate(self) -> f64 {
        f64::from(self.shown) / f64::from(self.of.max(1))
    }

    /// The lower bound.
    pub fn at_least(self) -> f64 {
        let (mut low, mut high) = (0.0, self.estimate());
        // Each turn halves the interval: 50 of them leave less than a double can hold apart.
        for _ in 0..50 {
            let middle = f64::midpoint(low, high);
            if self.tail(middle) < ALPHA { low = middle } else { high = middle }
        }
        low
    }

    /// The probability that a bug of probability `p` shows in `shown` of the runs or in more.
    fn tail(self, p: f64) -> f64 {
        // Each term by its ratio to the one before, in logarithms: p^200 may be less than a double can hold.
        let (n, ratio, mut sum) = (self.of, p.ln() - (-p).ln_1p(), 0.0);
        let mut term = f64::from(n) * (-p).ln_1p();
        for k in 0..=n {
            if k >= self.shown {
                sum += term.exp();
            }
            term += (f64::from(n - k) / f64::from(k + 1)).ln() + ratio;
        }
        sum
    }

    /// Whether it showed in every run, as far as that was tried.
    pub fn is_sure(self) -> bool {
        self.shown == self.of
    }

    /// How many clean runs are enough to call a commit good, if it is no more than can be asked for.
    pub fn advised(self) -> Option<u32> {
        (1..=MOST_RUNS).find(|&n| miss(self.estimate(), n) <= TOLERATED)
    }
}

/// The probability that a bug that shows with probability `p` stays hidden in `runs`.
pub fn miss(p: f64, runs: u32) -> f64 {
    (1.0 - p).powf(f64::from(runs))
}

/// The probability that `good` verdicts of `runs` clean runs each are all right.
pub fn all_right(p: f64, runs: u32, good: u32) -> f64 {
    (1.0 - miss(p, runs)).powf(f64::from(good))
}

/// What the verification of --bad says about the steps to come.
pub fn outlook(odds: Odds, repeat: u32) -> String {
    let Odds { shown, of } = odds;
    let seen = format!("the failure showed in {shown} of {of} runs at --bad");
    match (of, odds.is_sure()) {
        (1, _) => format!("{seen}; it is taken to show in every run (hint: --repeat N tells)"),
        (_, true) => format!("{seen}: one run of a commit tells"),
        _ => {
            let wrong = miss(odds.estimate(), repeat);
            let mut text = format!(
                "{seen}: p = {}, so {repeat} clean runs of a bad commit happen with (1 − p)^{repeat} = {}",
                probability(odds.estimate()),
                percent(wrong)
            );
            if wrong > TOLERATED {
                let _ = match odds.advised() {
                    Some(runs) => write!(text, " (hint: --repeat {runs} makes that 1 % or less)"),
                    None => write!(
                        text,
                        ", and --repeat {MOST_RUNS}, the most there is, makes that {}",
                        percent(miss(odds.estimate(), MOST_RUNS))
                    ),
                };
            }
            text
        }
    }
}

/// The confidence in the result, with formula and numbers, in lines of text.
pub fn confidence(odds: Odds, repeat: u32, good: u32) -> String {
    let Odds { shown, of } = odds;
    if of == 1 {
        return "Each verdict rests on one run. If the failure does not show in every run, a\n\
                commit may have been called good by mistake (--repeat N tells).\n"
            .to_owned();
    }
    let (p, low) = (odds.estimate(), odds.at_least());
    let (wrong, worst) = (miss(p, repeat), miss(low, repeat));
    let (right, least) = (all_right(p, repeat, good), all_right(low, repeat, good));
    format!(
        "The failure showed in {shown} of {of} runs of the bad commit: p = {}, and with\n\
         95 % confidence p >= {}. A commit that has it passes N = {repeat} runs with\n\
         (1 - p)^N = {} (upper bound {}). {good} {} called good, so all verdicts are\n\
         right with (1 - (1 - p)^N)^{good} = {} (lower bound {}).\n",
        probability(p),
        probability(low),
        percent(wrong),
        percent(worst),
        if good == 1 { "step was" } else { "steps were" },
        percent(right),
        percent(least),
    )
}

/// The same in a few words.
pub fn in_short(odds: Odds, repeat: u32, good: u32) -> String {
    let Odds { shown, of } = odds;
    let right = |p| percent(all_right(p, repeat, good));
    format!(
        "it showed in {shown} of {of} runs of the bad commit, so all verdicts are right with {} (lower bound {})",
        right(odds.estimate()),
        right(odds.at_least())
    )
}

/// `0.50`, `0.0033`: with two digits that say something.
fn probability(p: f64) -> String {
    let decimals = match p {
        p if p >= 0.1 => 2,
        p if p >= 0.01 => 3,
        p if p >= 0.001 => 4,
        _ => 6,
    };
    format!("{p:.decimals$}")
}

/// `0.39 %`, `99.6 %`, `100 %`: as many digits as make a difference.
fn percent(share: f64) -> String {
    let percent = share * 100.0;
    let text = match percent {
        p if p > 0.0 && p < 0.01 => return "less than 0.01 %".to_owned(),
        p if p < 10.0 => format!("{p:.2}"),
        p if p > 99.99 && p < 100.0 => return "more than 99.99 %".to_owned(),
        p if p > 99.0 => format!("{p:.2}"),
        p => format!("{p:.1}"),
    };
    format!("{} %", text.strip_suffix(".00").unwrap_or(&text))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Within what a table of four digits shows.
    fn near(a: f64, b: f64) -> bool {
        (a - b).abs() < 5e-5
    }

    #[test]
    fn the_lower_bound_is_that_of_clopper_and_pearson() {
        // The bound of n of n is alpha^(1/n); of 1 of n, 1 - (1 - alpha)^(1/n); the others by R's
        // qbeta(0.05, shown, of - shown + 1).
        let table = [
            (8, 8, 0.6877),
            (1, 1, 0.05),
            (1, 10, 0.0051),
            (5, 10, 0.2224),
            (11, 20, 0.3469),
            (1, 200, 0.000_256),
            (10, 300, 0.0182),
            (1, 1000, 0.000_051),
            (500, 1000, 0.4735),
            (1000, 1000, 0.9970),
        ];
        for (shown, of, bound) in table {
            let odds = Odds { shown, of };
            assert!(near(odds.at_least(), bound), "{shown} of {of}: {}", odds.at_least());
        }
        assert!(Odds { shown: 0, of: 5 }.at_least() < 1e-9);
    }

    #[test]
    fn clean_runs_of_a_bad_commit() {
        assert!(near(miss(0.5, 8), 0.0039));
        assert!(near(all_right(0.5, 8, 3), 0.9883));
        assert_eq!(Odds { shown: 4, of: 8 }.advised(), Some(7));
        assert_eq!(Odds { shown: 8, of: 8 }.advised(), Some(1));
        assert_eq!(Odds { shown: 1, of: 217 }.advised(), Some(998));
        assert_eq!(Odds { shown: 1, of: 218 }.advised(), None);
    }

    #[test]
    fn what_is_said() {
        insta::assert_snapshot!(outlook(Odds { shown: 4, of: 8 }, 8), @"the failure showed in 4 of 8 runs at --bad: p = 0.50, so 8 clean runs of a bad commit happen with (1 − p)^8 = 0.39 %");
        insta::assert_snapshot!(outlook(Odds { shown: 1, of: 3 }, 3), @"the failure showed in 1 of 3 runs at --bad: p = 0.33, so 3 clean runs of a bad commit happen with (1 − p)^3 = 29.6 % (hint: --repeat 12 makes that 1 % or less)");
        insta::assert_snapshot!(outlook(Odds { shown: 8, of: 8 }, 8), @"the failure showed in 8 of 8 runs at --bad: one run of a commit tells");
        insta::assert_snapshot!(outlook(Odds { shown: 1, of: 300 }, 300), @"the failure showed in 1 of 300 runs at --bad: p = 0.0033, so 300 clean runs of a bad commit happen with (1 − p)^300 = 36.7 %, and --repeat 1000, the most there is, makes that 3.55 %");
        insta::assert_snapshot!(confidence(Odds { shown: 5, of: 10 }, 10, 3), @r"
        The failure showed in 5 of 10 runs of the bad commit: p = 0.50, and with
        95 % confidence p >= 0.22. A commit that has it passes N = 10 runs with
        (1 - p)^N = 0.10 % (upper bound 8.08 %). 3 steps were called good, so all verdicts are
        right with (1 - (1 - p)^N)^3 = 99.71 % (lower bound 77.7 %).
        ");
        assert_eq!(
            [0.5, 1.0, 0.05, 0.0033, 0.000_256].map(probability),
            ["0.50", "1.00", "0.050", "0.0033", "0.000256"]
        );
        assert_eq!(
            [0.0, 1.0, 0.000_01, 0.999_99].map(percent),
            ["0 %", "100 %", "less than 0.01 %", "more than 99.99 %"]
        );
    }

    proptest! {
        #[test]
        fn the_bound_is_below_the_estimate_and_more_runs_never_mislead_more(shown in 1u32..500, more in 0u32..500, runs in 1u32..50) {
            let odds = Odds { shown, of: shown + more };
            let low = odds.at_least();
            prop_assert!(low > 0.0 && low <= odds.estimate());
            prop_assert!(odds.tail(low) <= ALPHA + 1e-6);
            prop_assert!(miss(low, runs + 1) <= miss(low, runs));
            prop_assert!(all_right(low, runs, 3) <= all_right(low, runs, 2));
        }
    }
}
