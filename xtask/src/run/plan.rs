// SPDX-License-Identifier: GPL-2.0-only
//! The plan: which cases run under which conditions. Pure: from the catalogue, the filters and the axes that the
//! user named to a list. Schedules nothing and runs nothing.

use guest::case::{Case, Tag, full_name};
use guest::condition::{Condition, QueueMode, SuspendForm, Transport};
use regex::Regex;

use crate::exit::{Code, coded};

use super::partition::Partition;

/// What the user selects; the same options for every verb that takes cases.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct Selection {
    /// Regular expressions over `case[conditions]`; a full name, or a part of one, may be given as it is printed
    #[arg(value_name = "FILTER")]
    pub filters: Vec<String>,
    /// Only these ways of making paths: `scsi_debug`, `iscsi` (repeatable; default all)
    #[arg(long, value_name = "TRANSPORT")]
    pub transport: Vec<Transport>,
    /// Only these queue modes of dm-multipath: bio, rq (repeatable; default all)
    #[arg(long, value_name = "MODE")]
    pub queue_mode: Vec<QueueMode>,
    /// Only these ways of exchanging the table: explicit, implicit (repeatable; default all)
    #[arg(long, value_name = "FORM")]
    pub suspend: Vec<SuspendForm>,
    /// Only part M of N, by a hash of each name: for several machines, whose runs `merge` joins
    #[arg(long, value_name = "M/N")]
    pub partition: Option<Partition>,
}

/// Which part of the catalogue a verb looks at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// The cases that test the kernel.
    Kernel,
    /// The hidden cases that test the harness.
    Selftest,
    /// The hidden cases that measure.
    Measurement,
    /// All of them.
    All,
}

impl Scope {
    /// Whether a case of this group is in it.
    pub const fn has(self, tag: Tag) -> bool {
        match tag {
            Tag::Compat
            | Tag::Normal
            | Tag::ErrorPath
            | Tag::Core
            | Tag::Race
            | Tag::Fault
            | Tag::Io
            | Tag::FileSystem
            | Tag::Daemon
            | Tag::Stress => matches!(self, Self::Kernel | Self::All),
            Tag::Selftest => matches!(self, Self::Selftest | Self::All),
            Tag::Measurement => matches!(self, Self::Measurement | Self::All),
        }
    }
}

/// One run of one case.
#[derive(Debug, Clone, Copy)]
pub struct Planned {
    /// The case.
    pub case: &'static Case,
    /// Under which condition.
    pub condition: Condition,
}

impl Planned {
    /// `case[condition]`.
    pub fn full_name(&self) -> String {
        full_name(self.case.name, &self.condition)
    }
}

impl Selection {
    /// The plan, in the order of the catalogue. Every filter must match something that is left: one that does not,
    /// or that is no regular expression, is a usage error that names it.
    pub fn select(&self, catalogue: &'static [Case], scope: Scope) -> anyhow::Result<Vec<Planned>> {
        let all = everything(catalogue);
        let names: Vec<String> = all.iter().map(Planned::full_name).collect();
        let filters =
            self.filters.iter().map(|text| Filter::new(text, &names)).collect::<Result<Vec<_>, _>>()?;
        let in_scope = |planned: &Planned| scope.has(planned.case.tag);
        let on_axes = |planned: &Planned| self.on_axes(planned.condition);
        for filter in &filters {
            let matched: Vec<&Planned> = all
                .iter()
                .zip(&names)
                .filter(|(_, name)| filter.matches(name))
                .map(|(planned, _)| planned)
                .collect();
            if !matched.iter().any(|planned| in_scope(planned) && on_axes(planned)) {
                let hidden = matched.iter().filter(|planned| !in_scope(planned)).count();
                return Err(self.matches_nothing(&filter.text, hidden, matched.len() - hidden));
            }
        }
        let mut plan: Vec<_> = all
            .iter()
            .zip(&names)
            .filter(|(planned, _)| in_scope(planned) && on_axes(planned))
            .filter(|(_, name)| filters.is_empty() || filters.iter().any(|filter| filter.matches(name)))
            .map(|(planned, _)| *planned)
            .collect();
        if plan.is_empty() {
            let axes = self.axes();
            let with = if axes.is_empty() { String::new() } else { format!(" with{axes}") };
            return Err(coded(Code::Usage, format_args!("no case is left{with}")));
        }
        if let Some(partition) = self.partition {
            let selected = plan.len();
            plan.retain(|planned| partition.has(&planned.full_name()));
            if plan.is_empty() {
                return Err(coded(
                    Code::Usage,
                    format_args!(
                        "--partition {partition} holds none of the {selected} selected (hint: take fewer parts)"
                    ),
                ));
            }
        }
        Ok(plan)
    }

    /// An axis that does not matter to a case leaves the case in.
    fn on_axes(&self, condition: Condition) -> bool {
        fn fits<T: PartialEq>(wanted: &[T], value: Option<T>) -> bool {
            wanted.is_empty() || value.is_none_or(|value| wanted.contains(&value))
        }
        fits(&self.transport, condition.transport)
            && fits(&self.queue_mode, condition.queue_mode)
            && fits(&self.suspend, condition.suspend)
    }

    fn matches_nothing(&self, filter: &str, hidden: usize, off_axes: usize) -> anyhow::Error {
        let why = match (off_axes, hidden) {
            (0, 0) => "matches no case (hint: `cargo xtask list` shows all)".to_owned(),
            (0, _) => "matches only hidden cases (hint: `cargo xtask list --all` shows them)".to_owned(),
            (n, _) => format!("matches {n} of case[conditions], but none with{}", self.axes()),
        };
        coded(Code::Usage, format_args!("the filter `{filter}` {why}"))
    }

    /// The axes as they were given, for messages: ` --queue-mode rq`.
    fn axes(&self) -> String {
        let transport = self.transport.iter().map(|v| format!(" --transport {v}"));
        let queue_mode = self.queue_mode.iter().map(|v| format!(" --queue-mode {v}"));
        let suspend = self.suspend.iter().map(|v| format!(" --suspend {v}"));
        transport.chain(queue_mode).chain(suspend).collect()
    }
}

/// The plan that names cases and conditions in full, in that order; `whose` names they are is said of one that is unknown.
pub fn named(names: &[String], whose: &str) -> anyhow::Result<Vec<Planned>> {
    let all = everything(::tests::catalogue());
    let find = |name: &String| {
        let found = all.iter().find(|planned| planned.full_name() == *name).copied();
        found.ok_or_else(|| coded(Code::Usage, format!("{whose}: no case is called {name}")))
    };
    names.iter().map(find).collect()
}

/// Every case under every condition.
fn everything(catalogue: &'static [Case]) -> Vec<Planned> {
    catalogue
        .iter()
        .flat_map(|case| (case.conditions)().into_iter().map(move |condition| Planned { case, condition }))
        .collect()
}

/// One filter. Names contain brackets, which mean something else in a regular expression; so what is literally a
/// part of a name matches that name as well, and what is literally a whole name matches nothing else.
struct Filter {
    text: String,
    whole: bool,
    regex: Option<Regex>,
}

impl Filter {
    fn new(text: &str, names: &[String]) -> anyhow::Result<Self> {
        let regex = match Regex::new(text) {
            Ok(regex) => Some(regex),
            Err(_) if names.iter().any(|name| name.contains(text)) => None,
            Err(error) => {
                // The library's text is a drawing of several lines; its last one says what is wrong.
                let text_of = error.to_string();
                let why = text_of.lines().last().unwrap_or_default().trim_start_matches("error: ");
                return Err(coded(
                    Code::Usage,
                    format_args!("the filter `{text}` is no regular expression: {why}"),
                ));
            }
        };
        Ok(Self { text: text.to_owned(), whole: names.iter().any(|name| name == text), regex })
    }

    fn matches(&self, name: &str) -> bool {
        if self.whole {
            return name == self.text;
        }
        name.contains(&self.text) || self.regex.as_ref().is_some_and(|regex| regex.is_match(name))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]

    use guest::bench::Bench;
    use guest::failure::Outcome;

    use super::*;
    use crate::exit::code_of;

    #[expect(clippy::unnecessary_wraps, reason = "the type of every case")]
    fn nothing(_: &mut Bench) -> Outcome {
        Ok(())
    }

    fn matrix() -> Vec<Condition> {
        let mut all = Vec::new();
        for &queue_mode in QueueMode::ALL {
            for &suspend in SuspendForm::ALL {
                let (transport, queue_mode, suspend) =
                    (Some(Transport::ScsiDebug), Some(queue_mode), Some(suspend));
                all.push(Condition { transport, queue_mode, suspend, ..Condition::default() });
            }
        }
        all
    }

    const fn case(name: &'static str, tag: Tag, conditions: fn() -> Vec<Condition>) -> Case {
        let (claim, summary) = ("seed, regression 1", "I/O fails without paths.");
        let (needs, left_out, deadline_seconds): (&[_], &[_], _) = (&[], &[], 30);
        Case {
            name,
            claim,
            summary,
            tag,
            needs,
            conditions,
            left_out,
            allow: &[],
            deadline_seconds,
            run: nothing,
        }
    }

    static CASES: &[Case] = &[
        case("compat::io_fails", Tag::Compat, matrix),
        case("compat::io_fails_late", Tag::Compat, matrix),
        case("normal::plain", Tag::Normal, || vec![Condition::default()]),
        case("selftest::panics", Tag::Selftest, || vec![Condition::default()]),
    ];

    fn selection(filters: &[&str]) -> Selection {
        Selection { filters: filters.iter().map(|&f| f.to_owned()).collect(), ..Selection::default() }
    }

    fn names(selection: &Selection, scope: Scope) -> Vec<String> {
        selection.select(CASES, scope).unwrap().iter().map(Planned::full_name).collect()
    }

    fn error(selection: &Selection) -> String {
        let error = selection.select(CASES, Scope::Kernel).unwrap_err();
        assert_eq!(code_of(&error), Code::Usage);
        error.to_string()
    }

    #[test]
    fn filters() {
        assert_eq!(names(&selection(&[]), Scope::Kernel).len(), 9);
        assert_eq!(names(&selection(&[]), Scope::All).len(), 10);
        assert_eq!(names(&selection(&[]), Scope::Selftest), ["selftest::panics"]);
        assert_eq!(
            names(&selection(&["rq,implicit", "plain"]), Scope::Kernel),
            [
                "compat::io_fails[scsi_debug,rq,implicit]",
                "compat::io_fails_late[scsi_debug,rq,implicit]",
                "normal::plain",
            ]
        );
        assert_eq!(names(&selection(&["^compat::io_fails\\["]), Scope::Kernel).len(), 4);
        // As printed: brackets are no character class then.
        let printed = "compat::io_fails[scsi_debug,rq,implicit]";
        assert_eq!(names(&selection(&[printed]), Scope::Kernel), [printed]);
        assert_eq!(names(&selection(&["io_fails[scsi_debug,rq"]), Scope::Kernel).len(), 2);
    }

    #[test]
    fn axes() {
        let rq = Selection { queue_mode: vec![QueueMode::Rq], ..selection(&[]) };
        assert_eq!(names(&rq, Scope::Kernel).len(), 5, "two of each matrix, and the case without that axis");
        let one = Selection { suspend: vec![SuspendForm::Explicit], ..rq };
        assert_eq!(names(&one, Scope::Kernel).len(), 3);
        let both = Selection { queue_mode: QueueMode::ALL.to_vec(), ..selection(&[]) };
        assert_eq!(names(&both, Scope::Kernel).len(), 9);
    }

    #[test]
    fn parts_are_disjoint_and_together_the_whole() {
        let part = |text: &str| Selection { partition: Some(text.parse().unwrap()), ..selection(&[]) };
        let parts: Vec<_> = ["1/2", "2/2"].iter().map(|text| names(&part(text), Scope::Kernel)).collect();
        let whole = names(&selection(&[]), Scope::Kernel);
        assert_eq!(parts.iter().map(Vec::len).sum::<usize>(), whole.len());
        assert!(whole.iter().all(|name| parts.iter().filter(|part| part.contains(name)).count() == 1));
        // Which part has a name does not depend on what else is selected.
        let few = Selection { filters: vec!["rq".into()], ..part("1/2") };
        assert!(names(&few, Scope::Kernel).iter().all(|name| parts[0].contains(name)));
        let one = Selection { filters: vec!["plain".into()], ..Selection::default() };
        let empty = (1..=2).filter_map(|m| {
            let partition = format!("{m}/2").parse().ok();
            Selection { partition, ..one.clone() }.select(CASES, Scope::Kernel).err()
        });
        let errors: Vec<_> = empty.map(|error| error.to_string()).collect();
        assert_eq!(errors.len(), 1);
        assert!(
            errors[0].ends_with("/2 holds none of the 1 selected (hint: take fewer parts)"),
            "{errors:?}"
        );
    }

    #[test]
    fn what_matches_nothing_is_named() {
        let rq = |filters: &[&str]| Selection { queue_mode: vec![QueueMode::Rq], ..selection(filters) };
        assert_eq!(
            error(&selection(&["plain", "nonesuch"])),
            "the filter `nonesuch` matches no case (hint: `cargo xtask list` shows all)"
        );
        assert_eq!(
            error(&selection(&["panics"])),
            "the filter `panics` matches only hidden cases (hint: `cargo xtask list --all` shows them)"
        );
        assert_eq!(
            error(&rq(&["bio,explicit"])),
            "the filter `bio,explicit` matches 2 of case[conditions], but none with --queue-mode rq"
        );
        assert_eq!(error(&selection(&["a("])), "the filter `a(` is no regular expression: unclosed group");
        let nothing = selection(&[]).select(&[], Scope::All).unwrap_err();
        assert_eq!(code_of(&nothing), Code::Usage);
    }
}
