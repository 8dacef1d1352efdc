// SPDX-License-Identifier: GPL-2.0-only
//! The format of `tests/expectations/*.toml`: text to rows. Knows nothing of the catalogue.

use std::collections::BTreeMap;

use guest::case::full_name;
use guest::condition::Condition;
use serde::{Deserialize, Serialize};
use toml::{Table, Value};

use super::VARIANTS;

/// One file, or all of them as one.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct File {
    #[serde(default)]
    pub deviation: BTreeMap<String, Deviation>,
    #[serde(default)]
    pub case: BTreeMap<String, CaseRows>,
}

/// Something that kernels are known to do otherwise than the seed says.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Deviation {
    /// The commit that brought it, or where it was found.
    pub since: String,
    /// What happens and why, for reports and documentation.
    pub reason: String,
    /// The commit that fixes it in newer kernels; it becomes part of the reason.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fixed: Option<String>,
    /// A race decides whether it shows: a pass is as expected, too.
    #[serde(default)]
    pub sometimes: bool,
    /// Piece of the first line of the one splat that the kernel prints although nothing else is wrong.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub splat: Option<String>,
}

impl File {
    /// Reads all files, each with its name.
    pub fn read(files: &[(&str, &str)]) -> Result<Self, String> {
        let mut all = Self { deviation: BTreeMap::new(), case: BTreeMap::new() };
        for (name, text) in files {
            let one: Self = toml::from_str(text).map_err(|error| format!("{name}: {error}"))?;
            for (case, rows) in one.case {
                if all.case.insert(case.clone(), rows).is_some() {
                    return Err(format!("{name}: {case} is in another file, too"));
                }
            }
            for (deviation, mut what) in one.deviation {
                if let Some(fixed) = &what.fixed {
                    what.reason = format!("{} Fixed by {fixed}.", what.reason.trim());
                }
                if all.deviation.insert(deviation.clone(), what).is_some() {
                    return Err(format!("{name}: deviation.{deviation} is in another file, too"));
                }
            }
        }
        Ok(all)
    }
}

/// What one case does.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct CaseRows {
    pub stock: Option<Rows>,
    pub baseline: Option<Rows>,
    pub pushback: Option<Rows>,
    /// Splats that do not count against it, on any variant.
    #[serde(default)]
    pub splats: Vec<Row>,
}

impl CaseRows {
    /// What is expected on one variant.
    pub fn of(&self, variant: &str) -> Option<&Rows> {
        match variant {
            "baseline" => self.baseline.as_ref(),
            "pushback" => self.pushback.as_ref(),
            _ => self.stock.as_ref(),
        }
    }

    /// Every row, with the variants that it is about.
    pub fn all(&self) -> impl Iterator<Item = (&'static [&'static str], &Row)> {
        let of = |variant: &'static [&'static str]| {
            let rows = self.of(variant[0]).into_iter().flat_map(|rows| &rows.0);
            rows.map(move |row| (variant, row))
        };
        VARIANTS.chunks(1).flat_map(of).chain(self.splats.iter().map(|row| (&VARIANTS[..], row)))
    }
}

/// What a case does on one variant: the first row that covers the condition counts.
#[derive(Debug, Deserialize)]
#[serde(try_from = "Value")]
pub(super) struct Rows(pub Vec<Row>);

/// One row: for these conditions, that.
#[derive(Debug, Deserialize)]
#[serde(try_from = "Value")]
pub(super) struct Row {
    /// Values of axes; an axis that is not named may be anything.
    when: Table,
    /// Releases that start so; all, if it is empty.
    pub release: String,
    /// What the case does there.
    pub then: Then,
}

/// What a row says.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Then {
    Pass,
    Fails { assertion: String, deviation: Option<String> },
    Skip { reason: String },
    Splat { deviation: String },
}

impl Then {
    /// The name of the deviation, if it is one.
    pub fn deviation(&self) -> Option<&str> {
        match self {
            Self::Fails { deviation, .. } => deviation.as_deref(),
            Self::Splat { deviation } => Some(deviation),
            Self::Pass | Self::Skip { .. } => None,
        }
    }
}

impl Row {
    /// Whether it is about this condition and this release.
    pub fn covers(&self, condition: Condition, release: &str) -> bool {
        // Compared as the tables they are written as, so that a new axis is compared like the others.
        let is = Table::try_from(condition).unwrap_or_default();
        release.starts_with(&self.release)
            && self.when.iter().all(|(axis, value)| is.get(axis) == Some(value))
    }

    /// The full name of the first condition of `case` that it is about.
    pub fn first_name(&self, case: &str) -> Option<String> {
        let case = crate::catalogue().iter().find(|known| known.name == case)?;
        let conditions = (case.conditions)();
        let first = conditions.iter().find(|condition| self.covers(**condition, &self.release))?;
        Some(full_name(case.name, first))
    }
}

impl TryFrom<Value> for Rows {
    type Error = String;

    fn try_from(value: Value) -> Result<Self, String> {
        let rows = if let Value::Array(rows) = value { rows } else { vec![value] };
        rows.into_iter().map(Row::try_from).collect::<Result<_, _>>().map(Self)
    }
}

impl TryFrom<Value> for Row {
    type Error = String;

    fn try_from(value: Value) -> Result<Self, String> {
        match value {
            Value::String(word) if word == "pass" => {
                Ok(Self { when: Table::new(), release: String::new(), then: Then::Pass })
            }
            Value::Table(table) => Self::from_table(table),
            other => Err(format!("{other} is neither \"pass\" nor a table")),
        }
    }
}

impl Row {
    fn from_table(mut table: Table) -> Result<Self, String> {
        let all = table.to_string().replace('\n', ", ");
        let mut text = |key: &str| match table.remove(key) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.trim().to_owned())),
            Some(other) => Err(format!("{key} = {other}: not a text")),
        };
        let [fails, skip, deviation, release] =
            [text("fails")?, text("skip")?, text("deviation")?, text("release")?];
        let pass = table.remove("pass") == Some(Value::Boolean(true));
        let then = match (pass, fails, skip, deviation) {
            (true, None, None, None) => Then::Pass,
            (false, Some(assertion), None, deviation) => Then::Fails { assertion, deviation },
            (false, None, Some(reason), None) => Then::Skip { reason },
            (false, None, None, Some(deviation)) => Then::Splat { deviation },
            _ => return Err(format!("one of pass = true, fails, skip and (for splats) deviation: {all}")),
        };
        // What is left must be axes, each with one of its values.
        let condition = Condition::deserialize(table.clone()).map_err(|error| error.message().to_owned())?;
        let known = Table::try_from(condition).map_err(|error| error.to_string())?;
        match table.keys().find(|axis| !known.contains_key(*axis)) {
            Some(axis) => Err(format!("unknown axis `{axis}`: {all}")),
            None => Ok(Self { when: table, release: release.unwrap_or_default(), then }),
        }
    }
}
