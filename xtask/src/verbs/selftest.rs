// SPDX-License-Identifier: GPL-2.0-only
//! `cargo xtask selftest` (hidden; part of `ci`): every outcome that is not a pass, provoked on purpose. Each case
//! must get exactly its outcome within its time, and the case that runs after it must pass.

mod front_end;

use std::fmt::Write as _;
use std::panic::resume_unwind;
use std::thread;

use tests::cases::selftest::{EXPECTED, NOTHING_OF_THE_HOST};

use crate::cache::Cache;
use crate::event::{Event, Kind};
use crate::exit::Code;
use crate::progress::Progress;
use crate::report::model::{CaseResult, Results, Status};
use crate::run::plan::{Planned, Scope, Selection};
use crate::run::prepare::{Common, prepare};
use crate::run::schedule::Item;
use crate::verbs::ci::Stage;
use crate::verbs::test::{self, Job};

/// The verb's options.
#[derive(Debug, clap::Args)]
pub struct Options {
    #[command(flatten)]
    selection: Selection,
    #[command(flatten)]
    common: Common,
}

/// The deadline covers the case; the rest is for the capture of a stuck VM.
const TIME_LIMIT_IN_DEADLINES: f64 = 4.0;

/// Runs the verb.
pub fn run(options: &Options) -> anyhow::Result<Code> {
    let progress = Progress::new();
    let Stage { counts, .. } = selected(&options.selection, &options.common, &progress)?;
    Ok(if counts.failed == 0 { Code::AllPassed } else { Code::CaseFailed })
}

/// All selftests, for `ci`.
pub fn counted(common: &Common, progress: &Progress) -> anyhow::Result<Stage> {
    selected(&Selection::default(), common, progress)
}

fn selected(selection: &Selection, common: &Common, progress: &Progress) -> anyhow::Result<Stage> {
    let selftests = selection.select(tests::catalogue(), Scope::Selftest)?;
    let follower = test::default_plan()?[0];
    let cache = Cache::open()?;
    let prepared = prepare(&common.choice, common.yes, &cache, progress)?;
    let run = |selftests: &[Planned]| {
        // One worker: the case after a selftest is then the follower, in the same VM if that was kept.
        Job::new(&prepared, pairs(selftests, follower), 1, common.choice.options()).run(&common.out, progress)
    };
    // Most of them wait for a clock: two halves side by side, turn about, since those that wait longest stand together.
    let half = |first| selftests.iter().skip(first).step_by(2).copied().collect::<Vec<_>>();
    let halves = [half(0), half(1)].into_iter().filter(|half| !half.is_empty());
    let halves = thread::scope(|scope| {
        let running: Vec<_> = halves.map(|half| scope.spawn(move || run(&half))).collect();
        let done = running.into_iter().map(|half| half.join().unwrap_or_else(|panic| resume_unwind(panic)));
        done.collect::<Vec<_>>()
    });
    println!("{:<36} {:<12} {:<12} {:>7} {:>7}  next case", "selftest", "expected", "outcome", "s", "limit");
    let mut stage = Stage::default();
    let mut folder = None;
    for half in halves {
        let done = half?;
        if let Some(error) = done.failed {
            return Err(error);
        }
        stage += compare(&done.results, &done.events);
        folder.get_or_insert(done.folder);
    }
    if let (Some(virtme), Some(folder), true) = (&prepared.spec.virtme, folder, selection.filters.is_empty())
    {
        stage += front_end::run(&prepared.spec, virtme, &follower, &cache, &folder)?;
    }
    Ok(stage)
}

/// Each selftest, then the follower.
fn pairs(selftests: &[Planned], follower: Planned) -> Vec<Item> {
    let pair = |selftest: &Planned| {
        let name = selftest.case.name;
        [
            Item { planned: *selftest, shown: name.to_owned() },
            Item { planned: follower, shown: format!("{} after {name}", follower.case.name) },
        ]
    };
    selftests.iter().flat_map(pair).collect()
}

/// Prints the rows of the selftests of one run.
fn compare(results: &Results, events: &[Event]) -> Stage {
    let mut stage = Stage::default();
    for pair in results.cases.chunks(2) {
        let [case, next] = pair else { continue };
        let (row, good) = compare_one(case, next, deadline(events, case), &results.host.boot);
        print!("{row}");
        match good {
            _ if is_not_applicable(case, &results.host.boot) => stage.counts.skipped += 1,
            true => stage.counts.passed += 1,
            false => {
                stage.counts.failed += 1;
                stage.failures += &row;
            }
        }
    }
    stage
}

/// Whether the flavour has not got what would notice (KASAN, KCSAN, lockdep), or the image nothing of the host.
fn is_not_applicable(case: &CaseResult, boot: &str) -> bool {
    let image_has_none = boot == "image" && case.message.contains(NOTHING_OF_THE_HOST);
    case.outcome == Status::Skipped && (image_has_none || case.message.contains("this kernel has no CONFIG_"))
}

fn compare_one(case: &CaseResult, next: &CaseResult, deadline: f64, boot: &str) -> (String, bool) {
    let expected = EXPECTED.iter().find(|(name, ..)| *name == case.name);
    let (outcome, pieces) = expected.map_or(("(none)", &[][..]), |(_, outcome, pieces)| (*outcome, *pieces));
    let limit = deadline * TIME_LIMIT_IN_DEADLINES;
    let right = case.outcome.name() == outcome && pieces.iter().all(|piece| case.message.contains(piece));
    let good = right && case.seconds <= limit && next.outcome == Status::Pass;
    let mut row = String::new();
    let (name, seconds) = (&case.name, case.seconds);
    let _ = writeln!(
        row,
        "{name:<36} {outcome:<12} {:<12} {seconds:>7.1} {limit:>7.1}  {}",
        case.outcome.name(),
        next.outcome.name()
    );
    if !good && !is_not_applicable(case, boot) {
        let _ = writeln!(
            row,
            "    WRONG: {} (expected a message with {pieces:?}); next case: {}",
            case.message, next.message
        );
    }
    (row, good)
}

/// The case's deadline on the VM that ran it.
fn deadline(events: &[Event], case: &CaseResult) -> f64 {
    let of = |event: &Event| match &event.kind {
        Kind::CaseStarted { deadline, .. } if event.case.as_deref() == Some(&case.full_name) => {
            Some(*deadline)
        }
        _ => None,
    };
    events.iter().find_map(of).unwrap_or_default()
}
