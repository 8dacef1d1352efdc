// SPDX-License-Identifier: GPL-2.0-only
//! Where kernels of today are known to differ from the seed: `expectations.toml`, read and checked.

use std::sync::LazyLock;

use guest::condition::{Condition, Fault, IoKind, QueueMode, Signal, SuspendForm, Transport};
use serde::Deserialize;

/// The data.
const TEXT: &str = include_str!("../expectations.toml");

static EXPECTATIONS: LazyLock<Result<Expectations, toml::de::Error>> = LazyLock::new(|| toml::from_str(TEXT));

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Expectations {
    deviation: Vec<Deviation>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Deviation {
    case: String,
    #[serde(default)]
    condition: Subset,
    variants: Vec<String>,
    /// Only releases that start so, e.g. `6.1.`; all if it is empty.
    #[serde(default)]
    release: String,
    /// Exactly one of `assertion` and `splat` is given.
    assertion: Option<String>,
    splat: Option<String>,
    reason: String,
}

/// What was seen instead of a pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seen<'a> {
    /// The assertion of this name failed.
    Assertion(&'a str),
    /// The case passed, and the kernel printed one splat with this first line.
    Splat(&'a str),
}

impl Deviation {
    fn describes(&self, seen: Seen<'_>) -> bool {
        match seen {
            Seen::Assertion(name) => self.assertion.as_deref() == Some(name),
            Seen::Splat(line) => self.splat.as_ref().is_some_and(|piece| line.contains(piece)),
        }
    }
}

/// The axes that must have a certain value. Unlike [`Condition`] it refuses an axis that does not exist.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Subset {
    transport: Option<Transport>,
    queue_mode: Option<QueueMode>,
    suspend: Option<SuspendForm>,
    fault: Option<Fault>,
    io: Option<IoKind>,
    signal: Option<Signal>,
}

impl Subset {
    fn covers(&self, condition: Condition) -> bool {
        fn holds<T: PartialEq + Copy>(wanted: Option<T>, is: Option<T>) -> bool {
            wanted.is_none() || wanted == is
        }
        holds(self.transport, condition.transport)
            && holds(self.queue_mode, condition.queue_mode)
            && holds(self.suspend, condition.suspend)
            && holds(self.fault, condition.fault)
            && holds(self.io, condition.io)
            && holds(self.signal, condition.signal)
    }
}

/// Why `case`, under `condition`, on a kernel of this `variant` and `release`, is known to give what was `seen`;
/// `None` if it is not, and the failure is one.
pub fn known_deviation(
    case: &str,
    condition: Condition,
    (variant, release): (&str, &str),
    seen: Seen<'_>,
) -> Option<&'static str> {
    let expectations = EXPECTATIONS.as_ref().ok()?;
    let found = expectations.deviation.iter().find(|known| {
        known.case == case
            && known.describes(seen)
            && release.starts_with(&known.release)
            && known.variants.iter().any(|name| name == variant)
            && known.condition.covers(condition)
    });
    found.map(|known| known.reason.trim())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalogue;

    /// The variants that a run can have.
    const VARIANTS: [&str; 4] = ["stock", "baseline", "pushback", "as is"];
    /// The assertions that a deviation may name.
    const ASSERTIONS: [&str; 1] = [guest::bench::io::QUEUED_FAILS];

    #[test]
    fn the_data_fits_the_catalogue() {
        let expectations = EXPECTATIONS.as_ref().unwrap_or_else(|error| panic!("expectations.toml: {error}"));
        for known in &expectations.deviation {
            let case = catalogue().iter().find(|case| case.name == known.case);
            let case = case.unwrap_or_else(|| panic!("there is no case {}", known.case));
            let some = (case.conditions)().iter().any(|condition| known.condition.covers(*condition));
            assert!(some, "{} has no such condition", known.case);
            assert!(known.assertion.is_some() != known.splat.is_some(), "{}: assertion or splat", known.case);
            if let Some(assertion) = &known.assertion {
                assert!(ASSERTIONS.contains(&assertion.as_str()), "no assertion `{assertion}`");
            }
            assert!(
                known.variants.iter().all(|name| VARIANTS.contains(&name.as_str())),
                "{:?}",
                known.variants
            );
            assert!(!known.variants.is_empty() && !known.reason.trim().is_empty(), "{}", known.case);
        }
    }

    #[test]
    fn only_the_described_failure_is_a_deviation() {
        let case = "compat::flush_suspend_fails_queued_io";
        let rq = Condition { queue_mode: Some(QueueMode::Rq), ..Condition::default() };
        let explicit = Condition { suspend: Some(SuspendForm::Explicit), ..rq };
        let bio = Condition { queue_mode: Some(QueueMode::Bio), ..explicit };
        let fails = guest::bench::io::QUEUED_FAILS;
        let table = [
            ("the known one", case, explicit, "stock", fails, true),
            ("in a kernel that was given", case, explicit, "as is", fails, true),
            ("where the patch should hold", case, explicit, "pushback", fails, false),
            ("in bio mode", case, bio, "stock", fails, false),
            ("elsewhere in the case", case, explicit, "stock", "data is what was written", false),
            ("in another case", "compat::io_fails_without_paths", explicit, "stock", fails, false),
        ];
        for (what, case, condition, variant, assertion, known) in table {
            assert_eq!(
                known_deviation(case, condition, (variant, "6.12.117"), Seen::Assertion(assertion)).is_some(),
                known,
                "{what}"
            );
        }
    }

    #[test]
    fn a_known_splat_is_one_only_on_its_releases() {
        let case = "noflush::queued_io_leaves_the_target_without_returning";
        let condition = Condition {
            queue_mode: Some(QueueMode::Rq),
            io: Some(IoKind::Fua),
            suspend: Some(SuspendForm::Explicit),
            ..Condition::default()
        };
        let line = "WARNING: CPU: 1 PID: 886 at block/mq-deadline.c:669 dd_exit_sched+0xf1/0x110: statistics";
        let known =
            |release, line| known_deviation(case, condition, ("stock", release), Seen::Splat(line)).is_some();
        assert!(known("6.1.192", line));
        assert!(!known("6.12.117", line));
        assert!(!known("6.1.192", "WARNING: possible recursive locking detected"));
    }

    #[test]
    fn unknown_words_are_refused() {
        for text in
            ["[[deviation]]\ncase = 'x'\nwhy = 'y'", "[[deviation]]\ncondition = { queue = 'rq' }", "[[x]]"]
        {
            assert!(toml::from_str::<Expectations>(text).is_err(), "{text}");
        }
    }
}
