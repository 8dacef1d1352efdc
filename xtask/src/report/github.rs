// SPDX-License-Identifier: GPL-2.0-only
//! What GitHub's runner understands in the output of a step: groups, which it folds, and errors, which it shows on top of
//! the run and beside the change. Pure; whether a runner reads along, [`crate::progress::Progress`] knows.
//! <https://docs.github.com/en/actions/reference/workflows-and-actions/workflow-commands>

use super::model::{CaseResult, Results, Status};
use super::plain;

/// The runner shows no more errors of one step.
pub const MOST: usize = 10;

/// Ends the group that was opened last.
pub const END_GROUP: &str = "::endgroup::";

/// Opens a group; there are none inside of another.
pub fn group(title: &str) -> String {
    format!("::group::{}", escaped(title))
}

/// An error, in one line.
pub fn error(title: &str, message: &str) -> String {
    // A property ends at a comma or at the double colon; a file and a line are not known.
    let title = escaped(title).replace(':', "%3A").replace(',', "%2C");
    format!("::error title={title}::{}", escaped(message))
}

/// One error for each case that failed, or that the host kept from an outcome; the last one says how many more there are.
pub fn errors(results: &Results) -> Vec<String> {
    let bad = |case: &&CaseResult| case.outcome.is_failure() || case.outcome == Status::Infra;
    let all: Vec<_> = results.cases.iter().filter(bad).collect();
    let shown = if all.len() > MOST { MOST - 1 } else { all.len() };
    let told =
        |case: &&CaseResult| error(&case.full_name, &format!("{}: {}", case.outcome.name(), case.message));
    let mut errors: Vec<String> = all.iter().take(shown).map(told).collect();
    if all.len() > shown {
        errors.push(error("and more", &format!("{} more cases, see the log", all.len() - shown)));
    }
    errors
}

/// A line break is escaped as the runner wants it; other control characters as in every report.
fn escaped(text: &str) -> String {
    let lines: Vec<String> = text.lines().map(|line| plain(line).replace('%', "%25")).collect();
    lines.join("%0A")
}

#[cfg(test)]
mod tests {
    use guest::condition::Condition;
    use proptest::prelude::*;

    use super::*;
    use crate::outcome::Outcome;

    fn failures(count: usize) -> Results {
        let case = |n| {
            let outcome =
                Outcome::Fail { assertion: "no write returns".into(), message: "3 of 32\n100 %".into() };
            let full = format!("a::b[bio,explicit] #{n}");
            CaseResult::new(Some(&full), "a::b", Condition::default(), &outcome, 0.1, None)
        };
        Results { cases: (1..=count).map(case).collect(), ..Results::default() }
    }

    #[test]
    fn errors_are_one_line_each_and_not_too_many() {
        assert_eq!(
            errors(&failures(1)),
            ["::error title=a%3A%3Ab[bio%2Cexplicit] #1::Fail: no write returns: 3 of 32%0A100 %25"]
        );
        assert_eq!(errors(&failures(10)).len(), 10);
        let many = errors(&failures(14));
        assert_eq!((many.len(), many[9].as_str()), (10, "::error title=and more::5 more cases, see the log"));
        assert_eq!(group("2 cases\n"), "::group::2 cases");
    }

    proptest! {
        #[test]
        fn no_text_breaks_out_of_its_line(title in "(?s).{0,20}", message in "(?s).{0,40}") {
            let line = error(&title, &message);
            prop_assert!(!line.contains(|c: char| c.is_control()), "{line:?}");
            prop_assert!(line.starts_with("::error title="));
        }
    }
}
