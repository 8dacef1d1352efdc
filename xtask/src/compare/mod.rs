// SPDX-License-Identifier: GPL-2.0-only
//! Two runs side by side: what failed anew, what still fails, what is fixed, what can't make up its mind. Pure functions from
//! two [`Results`] to a [`Comparison`] and from that to text; `nightly` classifies with the same functions.
//!
//! ```text
//! {"v":1, "old":{"folder","kernel":{as in results.json},"summary":{as in results.json}}, "new":{…},
//!  "changes":[{"full_name":"compat::x[bio]", "change":"new_failure"|"still_failing"|"fixed"|"flaky"|"changed"|"added"|"removed",
//!              "old":{"outcome","assertion"?,"splat"?,"message","seconds","runs","failed","troubled"?,"artifacts"?}?, "new":{…}?}],
//!  "summary":{"new_failures","still_failing","fixed","flaky","changed","added","removed","same","exit_code"}}
//! ```

mod text;

use std::collections::BTreeMap;

use camino::Utf8Path;
use serde::{Deserialize, Serialize};

use crate::event::KernelFacts;
use crate::exit::Code;
use crate::report::model::{self, CaseResult, Results, Status};
use crate::run::merge::repetition;

pub use text::{render, section};

/// Version of the format.
pub const FORMAT: u32 = 1;

/// The difference between two runs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Comparison {
    /// [`FORMAT`].
    pub v: u32,
    /// The earlier run.
    pub old: Side,
    /// The later run.
    pub new: Side,
    /// What is not the same, in the order of the later run; what still fails is in here, too.
    pub changes: Vec<Change>,
    /// The counts.
    pub summary: Summary,
}

/// One of the two runs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Side {
    /// As it was named.
    pub folder: String,
    /// What was tested.
    pub kernel: KernelFacts,
    /// What came of it.
    pub summary: model::Summary,
}

/// A case under one condition that is not simply as it was.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[expect(clippy::struct_field_names, reason = "as in the document")]
pub struct Change {
    /// `case[condition]`, without repetition.
    pub full_name: String,
    /// What happened to it.
    pub change: What,
    /// What it did in the earlier run, if it was in there.
    pub old: Option<Seen>,
    /// What it did in the later run, if it was in there.
    pub new: Option<Seen>,
}

/// What became of a case from one run to the next; in the order in which it is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum What {
    /// It fails and did not fail before, or was not there before.
    NewFailure,
    /// It failed in some of its repetitions and not in others.
    Flaky,
    /// It failed before and fails, perhaps elsewhere.
    StillFailing,
    /// It failed before and passes, or deviates as it is known to.
    Fixed,
    /// Another outcome, and none of the above: a skip, a deviation, trouble of the host.
    Changed,
    /// It was not in the earlier run.
    Added,
    /// It is not in the later run.
    Removed,
    /// As it was.
    Same,
}

impl What {
    /// All that are told.
    pub const TOLD: [Self; 7] = [
        Self::NewFailure,
        Self::Flaky,
        Self::StillFailing,
        Self::Fixed,
        Self::Changed,
        Self::Added,
        Self::Removed,
    ];

    /// In words that read after a number.
    pub const fn words(self) -> &'static str {
        match self {
            Self::NewFailure => "new failures",
            Self::Flaky => "flaky",
            Self::StillFailing => "still failing",
            Self::Fixed => "fixed",
            Self::Changed => "otherwise changed",
            Self::Added => "added",
            Self::Removed => "removed",
            Self::Same => "the same",
        }
    }
}

/// What a case did in one run, all of its repetitions together.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Seen {
    /// The worst outcome.
    pub outcome: Status,
    /// The assertion of that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub assertion: Option<String>,
    /// The kind of splat of that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub splat: Option<String>,
    /// Its explanation; empty for a pass.
    pub message: String,
    /// Wall seconds of that.
    pub seconds: f64,
    /// How often it ran and had an outcome of its own.
    pub runs: u32,
    /// How often it failed.
    pub failed: u32,
    /// How often the host kept it from an outcome.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub troubled: u32,
    /// The folder of the failure, relative to the run folder.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifacts: Option<String>,
}

/// How many of what.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Summary {
    /// [`What::NewFailure`].
    pub new_failures: usize,
    /// [`What::Flaky`].
    pub flaky: usize,
    /// [`What::StillFailing`].
    pub still_failing: usize,
    /// [`What::Fixed`].
    pub fixed: usize,
    /// [`What::Changed`].
    pub changed: usize,
    /// [`What::Added`].
    pub added: usize,
    /// [`What::Removed`].
    pub removed: usize,
    /// [`What::Same`].
    pub same: usize,
    /// What `compare` ends with.
    pub exit_code: u8,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "as serde calls it")]
const fn is_zero(count: &u32) -> bool {
    *count == 0
}

impl Seen {
    fn once(case: &CaseResult) -> Self {
        let troubled = case.outcome.is_host_trouble();
        Self {
            outcome: case.outcome,
            assertion: case.assertion.clone(),
            splat: case.splat.clone(),
            message: case.message.clone(),
            seconds: case.seconds,
            runs: u32::from(!troubled),
            failed: u32::from(case.outcome.is_failure()),
            troubled: u32::from(troubled),
            artifacts: case.artifacts.clone(),
        }
    }

    /// The same case, run once more.
    fn and(self, more: Self) -> Self {
        let (runs, failed) = (self.runs + more.runs, self.failed + more.failed);
        let troubled = self.troubled + more.troubled;
        let worse = if more.outcome > self.outcome { more } else { self };
        Self { runs, failed, troubled, ..worse }
    }

    /// Whether it both failed and did not fail. What the host kept from an outcome is neither.
    pub const fn is_flaky(&self) -> bool {
        self.failed > 0 && self.failed < self.runs
    }

    /// Whether it failed whenever it ran.
    pub const fn always_fails(&self) -> bool {
        self.failed > 0 && self.failed == self.runs
    }

    const fn is_good(&self) -> bool {
        matches!(self.outcome, Status::Pass | Status::KnownDeviation)
    }
}

/// What each case did, by its name without repetition, in the order of the run.
pub fn seen(cases: &[CaseResult]) -> Vec<(String, Seen)> {
    let mut all: Vec<(String, Seen)> = Vec::new();
    let mut places: BTreeMap<&str, usize> = BTreeMap::new();
    for case in cases {
        let (name, _) = repetition(&case.full_name);
        if let Some(place) = places.get(name) {
            let so_far = &mut all[*place].1;
            *so_far = so_far.clone().and(Seen::once(case));
        } else {
            places.insert(name, all.len());
            all.push((name.to_owned(), Seen::once(case)));
        }
    }
    all
}

/// What became of one case.
pub fn classify(old: Option<&Seen>, new: Option<&Seen>) -> What {
    match (old, new) {
        (_, Some(new)) if new.is_flaky() => What::Flaky,
        (Some(old), Some(new)) if new.failed > 0 && old.always_fails() => What::StillFailing,
        (_, Some(new)) if new.failed > 0 => What::NewFailure,
        (Some(old), Some(new)) if old.always_fails() && new.is_good() => What::Fixed,
        (Some(old), Some(new)) if (old.outcome, &old.assertion) == (new.outcome, &new.assertion) => {
            What::Same
        }
        (Some(_), Some(_)) => What::Changed,
        (None, Some(_)) => What::Added,
        (_, None) => What::Removed,
    }
}

/// Compares two runs. `old` and `new` are named as the user named them.
pub fn compare(old: (&Utf8Path, &Results), new: (&Utf8Path, &Results)) -> Comparison {
    let before = seen(&old.1.cases);
    let after = seen(&new.1.cases);
    let mut was: BTreeMap<String, Seen> = before.iter().cloned().collect();
    let mut changes: Vec<Change> = after
        .into_iter()
        .map(|(full_name, seen)| {
            let old = was.remove(&full_name);
            let change = classify(old.as_ref(), Some(&seen));
            Change { full_name, change, old, new: Some(seen) }
        })
        .collect();
    let gone = before.into_iter().filter(|(name, _)| was.contains_key(name));
    changes.extend(gone.map(|(full_name, seen)| Change {
        full_name,
        change: What::Removed,
        old: Some(seen),
        new: None,
    }));
    let mut summary = counts(changes.iter().map(|change| change.change));
    summary.exit_code = exit_code(&changes, new.1) as u8;
    changes.retain(|change| change.change != What::Same);
    let side = |(folder, results): (&Utf8Path, &Results)| Side {
        folder: folder.to_string(),
        kernel: results.kernel.clone(),
        summary: results.summary.clone(),
    };
    Comparison { v: FORMAT, old: side(old), new: side(new), changes, summary }
}

impl Comparison {
    /// What the verb ends with.
    pub const fn code(&self) -> Code {
        match self.summary.exit_code {
            0 => Code::AllPassed,
            1 => Code::CaseFailed,
            _ => Code::HostFailed,
        }
    }
}

/// How many of what.
pub fn counts(changes: impl Iterator<Item = What>) -> Summary {
    let mut sum = Summary::default();
    for change in changes {
        *match change {
            What::NewFailure => &mut sum.new_failures,
            What::Flaky => &mut sum.flaky,
            What::StillFailing => &mut sum.still_failing,
            What::Fixed => &mut sum.fixed,
            What::Changed => &mut sum.changed,
            What::Added => &mut sum.added,
            What::Removed => &mut sum.removed,
            What::Same => &mut sum.same,
        } += 1;
    }
    sum
}

/// 1 if something fails anew; else 128 if the later run tells less than the earlier one because of the host or because it
/// did not come to its end; else 0: nothing got worse.
fn exit_code(changes: &[Change], new: &Results) -> Code {
    let lost = |change: &Change| {
        let trouble = |seen: &Option<Seen>| seen.as_ref().is_some_and(|seen| seen.troubled > 0);
        trouble(&change.new) && !trouble(&change.old)
    };
    if changes.iter().any(|change| change.change == What::NewFailure) {
        Code::CaseFailed
    } else if changes.iter().any(lost) || !new.summary.complete {
        Code::HostFailed
    } else {
        Code::AllPassed
    }
}

#[cfg(test)]
mod tests;
