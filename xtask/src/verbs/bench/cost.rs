// SPDX-License-Identifier: GPL-2.0-only
//! What the patches cost an I/O that is never suspended: the variants side by side, as ratios to stock. Pure: from the
//! nanoseconds that each VM measured to figures and a table.

use std::fmt::Write as _;

use serde::Serialize;

use super::{median, quartiles};

/// The most that a variant may cost over stock.
const GOAL: f64 = 1.01;

/// What one VM measured of one queue mode: nanoseconds an I/O, one for each of its rounds.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    /// Which turn of the variants.
    pub turn: usize,
    /// `bio` or `rq`.
    pub mode: &'static str,
    /// The variant.
    pub variant: &'static str,
    /// Nanoseconds an I/O.
    pub ns: Vec<f64>,
}

/// One variant in one queue mode.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Row {
    /// `bio` or `rq`.
    pub mode: &'static str,
    /// The variant.
    pub variant: &'static str,
    /// Nanoseconds of the virtual clock an I/O: instructions, where the clock counts them. Median of the turns.
    pub ns: f64,
    /// Over stock in the same turn, one for each turn.
    pub ratios: Vec<f64>,
    /// Their median.
    pub ratio: f64,
    /// Their quartiles.
    pub quartiles: [f64; 2],
    /// Whether the ratio is within the goal, or the goal within the spread.
    pub met: bool,
}

/// Folds the samples; `reference` is the variant that all are compared with.
pub fn rows(samples: &[Sample], reference: &str) -> Vec<Row> {
    let mut rows: Vec<Row> = Vec::new();
    for sample in samples {
        if rows.iter().any(|row| (row.mode, row.variant) == (sample.mode, sample.variant)) {
            continue;
        }
        let of = |variant: &str| -> Vec<(usize, f64)> {
            let same = |other: &&Sample| other.mode == sample.mode && other.variant == variant;
            samples.iter().filter(same).map(|other| (other.turn, median(&other.ns))).collect()
        };
        let (mine, stock) = (of(sample.variant), of(reference));
        let ratio = |(turn, ns): &(usize, f64)| {
            stock.iter().find(|(other, _)| other == turn).map(|(_, stock)| ns / stock)
        };
        let ratios: Vec<f64> = mine.iter().filter_map(ratio).collect();
        let quartiles = quartiles(&ratios);
        rows.push(Row {
            mode: sample.mode,
            variant: sample.variant,
            ns: median(&mine.iter().map(|(_, ns)| *ns).collect::<Vec<_>>()),
            ratio: median(&ratios),
            met: median(&ratios) <= GOAL || quartiles[0] <= 1.0,
            quartiles,
            ratios,
        });
    }
    rows
}

/// For the terminal.
pub fn table(rows: &[Row]) -> String {
    let mut out = format!(
        "{:<6} {:<10} {:>16} {:>10} {:>19}\n",
        "mode", "variant", "instructions/IO", "over stock", "quartiles"
    );
    for row in rows {
        let missed = if row.met { "" } else { "  missed (goal 1.01, or within the spread)" };
        let _ = writeln!(
            out,
            "{:<6} {:<10} {:>16.0} {:>10.4} {:>9.4} {:>9.4}{missed}",
            row.mode, row.variant, row.ns, row.ratio, row.quartiles[0], row.quartiles[1]
        );
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(turn: usize, variant: &'static str, ns: &[f64]) -> Sample {
        Sample { turn, mode: "bio", variant, ns: ns.to_vec() }
    }

    #[test]
    fn each_turn_is_compared_with_its_own_stock() {
        let samples = [
            sample(0, "stock", &[1000.0, 1000.0, 9000.0]),
            sample(0, "pushback", &[1005.0]),
            sample(1, "stock", &[2000.0]),
            sample(1, "pushback", &[2000.0]),
            sample(2, "stock", &[1000.0]),
            sample(2, "pushback", &[1008.0]),
            sample(2, "baseline", &[1100.0]),
        ];
        let rows = rows(&samples, "stock");
        assert_eq!(rows.len(), 3);
        insta::assert_snapshot!(table(&rows), @r"
        mode   variant     instructions/IO over stock           quartiles
        bio    stock                  1000     1.0000    1.0000    1.0000
        bio    pushback               1008     1.0050    1.0000    1.0080
        bio    baseline               1100     1.1000    1.1000    1.1000  missed (goal 1.01, or within the spread)
        ");
    }
}
