// SPDX-License-Identifier: GPL-2.0-only
//! N bios pushed back and re-issued: time and memory for each must not depend on N. Pure: from the events of the
//! measurement to figures and a table.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use anyhow::Context as _;
use guest::measure::{SCALE, detail};
use serde::Serialize;

use super::median;
use crate::event::{Event, Kind};

/// Where "for each" begins to mean something: below, the fixed cost of an ioctl and of a slab page is most of it.
const FROM: u64 = 1_000;

/// The most that the figure of one I/O may grow from [`FROM`] to the largest N, to be called linear. A quadratic
/// step would make it a hundred.
const GOAL: f64 = 2.0;

/// The figures for one N: medians of its rounds, for each I/O.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Row {
    /// N.
    pub count: u64,
    /// Rounds.
    pub rounds: usize,
    /// Nanoseconds to submit one.
    pub submit_ns: f64,
    /// Nanoseconds of the noflush suspend, for each.
    pub push_back_ns: f64,
    /// Nanoseconds from the resume to the last completion, for each.
    pub complete_ns: f64,
    /// Bytes of slab for each, all of them waiting in the target.
    pub slab_parked: f64,
    /// The same, all of them pushed back.
    pub slab_pushed_back: f64,
    /// The same, all of them completed.
    pub slab_after: f64,
}

/// How a figure grows from [`FROM`] to the largest N: 1 is linear.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Growth {
    /// Of what.
    pub of: &'static str,
    /// The figure of one I/O at the largest N over that at [`FROM`].
    pub ratio: f64,
}

/// The whole measurement.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Scale {
    /// One for each N.
    pub rows: Vec<Row>,
    /// How each figure grows.
    pub growth: Vec<Growth>,
    /// The largest of them, or 1: linear within this factor.
    pub linear_within: f64,
    /// The most that is called linear.
    pub goal: f64,
    /// Whether it is.
    pub met: bool,
}

impl Scale {
    /// From the events of the case.
    pub fn from_events(events: &[Event]) -> anyhow::Result<Self> {
        let mut rounds: BTreeMap<u64, Vec<BTreeMap<String, f64>>> = BTreeMap::new();
        for event in events {
            if let Kind::Happened { what, details } = &event.kind
                && what == SCALE
            {
                let numbers: BTreeMap<String, f64> = details
                    .iter()
                    .map(|(name, text)| Ok((name.clone(), text.parse::<f64>()?)))
                    .collect::<anyhow::Result<_>>()
                    .with_context(|| format!("read the figures {details:?}"))?;
                let count = details.get(detail::COUNT).context("figures without a count")?.parse()?;
                rounds.entry(count).or_default().push(numbers);
            }
        }
        let rows: Vec<Row> = rounds.iter().map(|(count, rounds)| row(*count, rounds)).collect();
        let at = |count: u64| rows.iter().find(|row| row.count == count);
        let (small, large) = (at(FROM), rows.last());
        let (small, large) = small.zip(large).context("the measurement has no figures")?;
        let growth: Vec<Growth> = [
            ("push back", small.push_back_ns, large.push_back_ns),
            ("re-issue and complete", small.complete_ns, large.complete_ns),
            ("slab parked", small.slab_parked, large.slab_parked),
            ("slab pushed back", small.slab_pushed_back, large.slab_pushed_back),
        ]
        .into_iter()
        .map(|(of, small, large)| Growth { of, ratio: large / small })
        .collect();
        let linear_within = growth.iter().map(|growth| growth.ratio).fold(1.0, f64::max);
        let met = growth.iter().all(|growth| growth.ratio <= GOAL);
        Ok(Self { rows, growth, linear_within, goal: GOAL, met })
    }

    /// For the terminal.
    pub fn table(&self) -> String {
        let mut out = format!(
            "{:>8} {:>6} {:>12} {:>12} {:>14} {:>12} {:>12} {:>12}\n{:>8} {:>6} {:>12} {:>12} {:>14} {:>12} {:>12} {:>12}\n",
            "parked",
            "rounds",
            "submit",
            "push back",
            "re-issue and",
            "slab",
            "slab pushed",
            "slab",
            "bios",
            "",
            "ns/bio",
            "ns/bio",
            "complete ns/bio",
            "parked B/bio",
            "back B/bio",
            "after B/bio",
        );
        for row in &self.rows {
            let bytes = |bytes: f64| if row.count < FROM { "-".to_owned() } else { format!("{bytes:.0}") };
            let _ = writeln!(
                out,
                "{:>8} {:>6} {:>12.0} {:>12.0} {:>14.0} {:>12} {:>12} {:>12}",
                row.count,
                row.rounds,
                row.submit_ns,
                row.push_back_ns,
                row.complete_ns,
                bytes(row.slab_parked),
                bytes(row.slab_pushed_back),
                bytes(row.slab_after),
            );
        }
        let growth: Vec<String> =
            self.growth.iter().map(|growth| format!("{} {:.2}", growth.of, growth.ratio)).collect();
        let most = self.rows.last().map_or(0, |row| row.count);
        let _ = writeln!(out, "one bio of {most} over one of {FROM}: {}", growth.join(", "));
        let verdict = if self.met { "linear" } else { "not linear" };
        let _ = writeln!(out, "{verdict} within {:.2} (goal {:.2})", self.linear_within, self.goal);
        out
    }
}

fn row(count: u64, rounds: &[BTreeMap<String, f64>]) -> Row {
    #[expect(clippy::cast_precision_loss, reason = "a count of at most a million")]
    let each = |name: &str| {
        let samples: Vec<f64> = rounds.iter().filter_map(|round| round.get(name).copied()).collect();
        median(&samples) / count as f64
    };
    Row {
        count,
        rounds: rounds.len(),
        submit_ns: each(detail::SUBMIT),
        push_back_ns: each(detail::PUSH_BACK),
        complete_ns: each(detail::COMPLETE),
        slab_parked: each(detail::PARKED),
        slab_pushed_back: each(detail::PUSHED_BACK),
        slab_after: each(detail::AFTER),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{FORMAT, Source};

    fn measured(count: u64, push_back: u64) -> Event {
        let details = [
            (detail::COUNT, count),
            (detail::SUBMIT, 20_000 * count),
            (detail::PUSH_BACK, push_back),
            (detail::COMPLETE, 50_000 * count),
            (detail::PARKED, 900 * count),
            (detail::PUSHED_BACK, 500 * count),
            (detail::AFTER, 0),
        ];
        let details = details.map(|(name, value)| (name.to_owned(), value.to_string())).into();
        let kind = Kind::Happened { what: SCALE.to_owned(), details };
        Event { v: FORMAT, t: 0.0, src: Source::Guest, vm: Some(1), case: None, kind }
    }

    #[test]
    fn linear_growth_is_called_linear() {
        let events = [
            measured(1, 900_000),
            measured(1_000, 30_000_000),
            measured(1_000, 90_000_000),
            measured(1_000, 40_000_000),
            measured(100_000, 4_400_000_000),
        ];
        let scale = Scale::from_events(&events).unwrap();
        assert!(scale.met);
        insta::assert_snapshot!(scale.table(), @r"
          parked rounds       submit    push back   re-issue and         slab  slab pushed         slab
            bios              ns/bio       ns/bio complete ns/bio parked B/bio   back B/bio  after B/bio
               1      1        20000       900000          50000            -            -            -
            1000      3        20000        40000          50000          900          500            0
          100000      1        20000        44000          50000          900          500            0
        one bio of 100000 over one of 1000: push back 1.10, re-issue and complete 1.00, slab parked 1.00, slab pushed back 1.00
        linear within 1.10 (goal 2.00)
        ");
    }

    #[test]
    fn quadratic_growth_is_not() {
        let events = [measured(1_000, 30_000_000), measured(100_000, 300_000_000_000)];
        let scale = Scale::from_events(&events).unwrap();
        assert!(!scale.met && scale.linear_within > 90.0);
        assert!(scale.table().ends_with("not linear within 100.00 (goal 2.00)\n"));
    }

    #[test]
    fn no_figures_are_an_error() {
        assert!(Scale::from_events(&[]).is_err());
    }
}
