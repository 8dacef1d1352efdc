// SPDX-License-Identifier: GPL-2.0-only
//! `cargo xtask bench`: the speed of all this. Measures and tells; it is no test, and a missed goal is not an error.
//! What is compared is measured side by side in one run, for machines are noisy.

mod cost;
mod feature;
mod front_ends;
mod scale;

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use camino::Utf8Path;
use guest::condition::Transport;
use guest::message::mode;
use serde::Serialize;

use crate::cache::Cache;
use crate::command::Tool;
use crate::event::{Event, HostFacts, KernelFacts, Kind};
use crate::exit::Code;
use crate::kernel;
use crate::progress::Progress;
use crate::report;
use crate::run::folder::RunFolder;
use crate::run::plan::{Scope, Selection};
use crate::run::prepare::{Common, Prepared, jobs, prepare};
use crate::run::schedule;
use crate::run::session::Session;
use crate::run::stream::Stream;
use crate::verbs::test::{self, Done, Job};
use crate::vm::argv::Spec;
use crate::vm::qemu::{Qemu, Signal};

/// The verb's options.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// What to measure [default: all]
    #[arg(value_enum)]
    sections: Vec<Section>,
    #[command(flatten)]
    common: Common,
}

/// A part of the benchmark.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Section {
    /// QEMU start to agent ready, over the same kernel with an init that powers off at once
    Boot,
    /// One case outside its own body: set-up, verdict, post-conditions, clean-up
    Case,
    /// The first paths over iSCSI of a VM, from nothing to two disks: target, initiator, log-in
    Iscsi,
    /// The catalogue on a kernel that is built: over scsi_debug, and whole
    Catalogue,
    /// A warm `test` to its first case
    Warm,
    /// The two front ends, `--boot image` and `--boot virtme`, in turns: boot to agent, and a fixed set of cases
    FrontEnds,
    /// A changed line in drivers/md/dm.c to its first verdict (builds a tree first: minutes)
    Edit,
    /// The feature itself: pushback of many bios, and what the patches cost other I/O (builds every variant)
    Kernel,
}

/// One figure.
#[derive(Debug, Serialize)]
struct Figure {
    name: &'static str,
    unit: &'static str,
    samples: Vec<f64>,
    median: f64,
    goal: f64,
    met: bool,
}

/// bench.json.
#[derive(Debug, Serialize)]
struct Figures {
    v: u32,
    kernel: KernelFacts,
    host: HostFacts,
    measured: Vec<Figure>,
    #[serde(skip_serializing_if = "Option::is_none")]
    feature: Option<feature::Feature>,
}

/// Pairs of boots, and repetitions of the empty case.
const BOOTS: usize = 7;
const CASES: u32 = 20;
const WARM_STARTS: usize = 3;
const EDITS: usize = 3;
const LOG_INS: u32 = 5;

/// The case that does nothing but set up and clean up.
const EMPTY: &str = "selftest::set_up_and_clean_up";
/// The case that does nothing but get paths over iSCSI.
const LOG_IN: &str = "measurement::first_paths_over_iscsi";
/// The case whose verdict ends a warm start and an edit.
const FIRST: &str = "compat::io_succeeds_with_paths[scsi_debug,bio,write]";

/// Runs the verb.
pub fn run(options: &Options) -> anyhow::Result<Code> {
    let progress = Progress::new();
    let cache = Cache::open()?;
    let common = &options.common;
    // The feature's figures have a kernel of their own, and alone they need no other.
    let only_feature = options.sections == [Section::Kernel];
    let of_feature = feature::choice(&common.choice);
    let choice = if only_feature { &of_feature } else { &common.choice };
    let prepared = prepare(choice, common.yes, &cache, &progress)?;
    let folder = RunFolder::create(&options.common.out)?;
    let bench = Bench { options, prepared: &prepared, cache: &cache, progress: &progress, folder: &folder };
    let wanted = |section| options.sections.is_empty() || options.sections.contains(&section);
    let mut figures = vec![];
    if wanted(Section::Boot) {
        figures.extend(bench.boot()?);
    }
    if wanted(Section::Case) {
        figures.push(bench.empty_case()?);
    }
    if wanted(Section::Iscsi) {
        figures.push(bench.iscsi()?);
    }
    if wanted(Section::Catalogue) {
        figures.push(bench.catalogue("the catalogue over scsi_debug", &[Transport::ScsiDebug], 90.0)?);
        figures.push(bench.catalogue("the whole catalogue", &[], 240.0)?);
    }
    if wanted(Section::Warm) {
        figures.push(bench.warm()?);
    }
    if wanted(Section::FrontEnds) {
        figures.extend(front_ends::measure(&bench)?);
    }
    if wanted(Section::Edit) {
        figures.push(bench.edit()?);
    }
    let feature = if wanted(Section::Kernel) {
        let own;
        let prepared = if only_feature {
            &prepared
        } else {
            own = prepare(&of_feature, common.yes, &cache, &progress)?;
            &own
        };
        Some(feature::measure(common, prepared, &cache, &progress, &folder)?)
    } else {
        None
    };
    let (kernel, host) = prepared.facts();
    let all = Figures { v: 1, kernel, host, measured: figures, feature };
    let path = folder.path().join("bench.json");
    report::write_file(&path, &serde_json::to_string_pretty(&all)?)?;
    let measured = if all.measured.is_empty() { String::new() } else { table(&all.measured) };
    let feature = all.feature.as_ref().map(feature::Feature::table).unwrap_or_default();
    println!("{measured}{feature}figures in {path}");
    Ok(Code::AllPassed)
}

struct Bench<'a> {
    options: &'a Options,
    prepared: &'a Prepared,
    cache: &'a Cache,
    progress: &'a Progress,
    folder: &'a RunFolder,
}

impl Bench<'_> {
    fn boot(&self) -> anyhow::Result<[Figure; 3]> {
        let events = self.folder.path().join("boot.jsonl");
        let stream = Stream::create(&events, Box::new(|_| {}))?;
        let (mut bare, mut agent, mut ratios) = (vec![], vec![], vec![]);
        for n in 1..=u32::try_from(BOOTS)? {
            let dir = self.folder.vm(n);
            let without = power_off_at_once(&self.prepared.spec, &dir.join("bare"))?.as_secs_f64();
            let session = Session::boot(&self.prepared.spec, &dir, n, &stream)?;
            let with = session.boot_seconds;
            session.kill("measured");
            self.progress
                .line(&format!("boot {n}: init that powers off {without:.2} s, agent ready {with:.2} s"));
            bare.push(without);
            agent.push(with);
            ratios.push(with / without);
        }
        Ok([
            figure("QEMU start to power-off by a bare init", "s", bare, f64::INFINITY),
            figure("QEMU start to agent ready", "s", agent, f64::INFINITY),
            figure("agent ready / bare init", "ratio", ratios, 1.25),
        ])
    }

    fn empty_case(&self) -> anyhow::Result<Figure> {
        let mut seconds = self.seconds_of(EMPTY, Scope::Selftest, CASES, false)?;
        seconds.remove(0); // the first of a VM loads scsi_debug
        #[expect(clippy::cast_precision_loss, reason = "a count of 19")]
        let mean = seconds.iter().sum::<f64>() / seconds.len() as f64;
        let mut figure = figure("a case outside its own body", "s", seconds, 0.150);
        // The goal is on the mean, which a single slow clean-up does not escape.
        figure.median = mean;
        figure.met = mean <= figure.goal;
        Ok(figure)
    }

    /// Each in a VM of its own.
    fn iscsi(&self) -> anyhow::Result<Figure> {
        let seconds = self.seconds_of(LOG_IN, Scope::Measurement, LOG_INS, true)?;
        Ok(figure("the first paths over iSCSI", "s", seconds, 2.0))
    }

    /// How long one case takes, again and again.
    fn seconds_of(&self, case: &str, scope: Scope, repeat: u32, isolate: bool) -> anyhow::Result<Vec<f64>> {
        let selection = Selection { filters: vec![case.to_owned()], ..Selection::default() };
        let plan = selection.select(::tests::catalogue(), scope)?;
        let done = self.job(&plan, repeat, 1, isolate)?;
        Ok(done.results.cases.iter().map(|case| case.seconds).collect())
    }

    /// Over these transports, or over all.
    fn catalogue(&self, name: &'static str, over: &[Transport], goal: f64) -> anyhow::Result<Figure> {
        let (_, host) = self.prepared.facts();
        let plan = test::default_plan_over(over)?;
        let done = self.job(&plan, 1, jobs(None, &self.prepared.spec, &host)?, false)?;
        Ok(figure(name, "s", vec![done.results.summary.seconds], goal))
    }

    fn job(
        &self,
        plan: &[crate::run::plan::Planned],
        repeat: u32,
        jobs: usize,
        isolate: bool,
    ) -> anyhow::Result<Done> {
        let (items, options) = (schedule::items(plan, repeat), self.options.common.choice.options());
        let job = Job { isolate, ..Job::new(self.prepared, items, jobs, options) };
        let mut done = job.run(&self.options.common.out, self.progress)?;
        let summary = &done.results.summary;
        anyhow::ensure!(
            summary.failed + summary.infra + summary.not_run == 0,
            "the run to be measured did not go well: {} (see {})",
            summary.outcomes.iter().map(|(name, n)| format!("{n} {name}")).collect::<Vec<_>>().join(", "),
            done.folder
        );
        done.failed.take().map_or(Ok(done), Err)
    }

    fn warm(&self) -> anyhow::Result<Figure> {
        let options = self.options.common.choice.options();
        let time = |_| Ok(self.test_in_a_process(&options)?.to_first_case);
        let samples: anyhow::Result<Vec<_>> = (0..WARM_STARTS).map(time).collect();
        Ok(figure("a warm `test` to its first case", "s", samples?, 8.0))
    }

    fn edit(&self) -> anyhow::Result<Figure> {
        let copy = self.cache.scratch("edit-")?;
        let tree = Utf8Path::from_path(copy.path()).context("the cache's path is not UTF-8")?.join("linux");
        let source = kernel::unpacked_source(kernel::base_names()[0], self.cache, self.progress)?;
        Tool::new("cp").args(["-a", "--reflink=auto", source.as_str(), tree.as_str()]).run()?;
        let options = ["--tree".to_owned(), tree.to_string()];
        self.progress.line("building the tree once; what is measured comes after that");
        self.test_in_a_process(&options)?;
        let file = tree.join("drivers/md/dm.c");
        let original = fs_err::read_to_string(&file)?;
        let mut samples = vec![];
        for n in 1..=EDITS {
            // A changed line of code, not a comment, so that the object really differs.
            let changed = original.replacen(
                "#define DM_MSG_PREFIX \"core\"",
                &format!("#define DM_MSG_PREFIX \"core{n}\""),
                1,
            );
            anyhow::ensure!(changed != original, "{file} has no DM_MSG_PREFIX to change");
            fs_err::write(&file, changed)?;
            samples.push(self.test_in_a_process(&options)?.to_first_verdict);
        }
        Ok(figure("a changed line in dm.c to the first verdict", "s", samples, 15.0))
    }

    /// Runs `test` as a user would; the times count from the start of the process.
    fn test_in_a_process(&self, options: &[String]) -> anyhow::Result<Times> {
        let out = self.cache.scratch("warm-")?;
        let out = Utf8Path::from_path(out.path()).context("the cache's path is not UTF-8")?;
        let start = Instant::now();
        Tool::new(std::env::current_exe()?)
            .args(["test", FIRST, "--out", out.as_str()])
            .args(options)
            .run()?;
        let wall = start.elapsed().as_secs_f64();
        let path = out.join("latest/events.jsonl");
        let text = fs_err::read_to_string(&path)?;
        let events: Vec<Event> = text
            .lines()
            .map(serde_json::from_str)
            .collect::<Result<_, _>>()
            .with_context(|| format!("read {path}"))?;
        let at = |what: fn(&Kind) -> bool| events.iter().find(|e| what(&e.kind)).map(|e| e.t);
        let end = at(|kind| matches!(kind, Kind::RunEnded { .. })).context("the run has no end")?;
        let case = at(|kind| matches!(kind, Kind::CaseStarted { .. })).context("no case was started")?;
        let verdict =
            at(|kind| matches!(kind, Kind::CaseOutcome { .. })).context("no case has an outcome")?;
        Ok(Times { to_first_case: wall - (end - case), to_first_verdict: wall - (end - verdict) })
    }
}

struct Times {
    to_first_case: f64,
    to_first_verdict: f64,
}

/// From QEMU's start to its end, with an init that powers off as the first thing it does.
fn power_off_at_once(spec: &Spec, dir: &Utf8Path) -> anyhow::Result<Duration> {
    let qemu = Qemu::start(&Spec { mode: mode::POWEROFF, ..spec.clone() }, dir)?;
    let limit = Duration::from_secs(120);
    while qemu.started.elapsed() < limit {
        if let Some((at, Signal::ConsoleEnded)) = qemu.next(Duration::from_millis(50)) {
            return Ok(at - qemu.started);
        }
    }
    anyhow::bail!("the VM did not power off within {} s (console: {dir}/console.log)", limit.as_secs())
}

/// The middle of the samples.
fn median(samples: &[f64]) -> f64 {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
}

/// What a quarter and three quarters of the samples do not exceed.
fn quartiles(samples: &[f64]) -> [f64; 2] {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    let at = |index: usize| sorted.get(index).copied().unwrap_or(f64::NAN);
    let last = sorted.len().saturating_sub(1);
    [at(last / 4), at(last - last / 4)]
}

fn figure(name: &'static str, unit: &'static str, samples: Vec<f64>, goal: f64) -> Figure {
    let median = median(&samples);
    Figure { name, unit, samples, median, goal, met: median <= goal }
}

fn table(figures: &[Figure]) -> String {
    let mut out = format!("{:<46} {:>8} {:>8} {:>8} {:>8}\n", "", "measured", "least", "most", "goal");
    for f in figures {
        let least = f.samples.iter().copied().fold(f64::INFINITY, f64::min);
        let most = f.samples.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let goal = if f.goal.is_finite() { format!("{:.2}", f.goal) } else { "-".into() };
        let missed = if f.met { "" } else { "  missed" };
        let _ = writeln!(
            out,
            "{:<46} {:>8.2} {least:>8.2} {most:>8.2} {goal:>8} {}{missed}",
            f.name, f.median, f.unit
        );
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missed_goal_is_told() {
        let figures = [
            figure("agent ready / bare init", "ratio", vec![1.3, 1.1, 1.2], 1.25),
            figure("the whole catalogue", "s", vec![61.5], 60.0),
            figure("QEMU start to agent ready", "s", vec![2.5], f64::INFINITY),
        ];
        insta::assert_snapshot!(table(&figures), @r"
                                                       measured    least     most     goal
        agent ready / bare init                            1.20     1.10     1.30     1.25 ratio
        the whole catalogue                               61.50    61.50    61.50    60.00 s  missed
        QEMU start to agent ready                          2.50     2.50     2.50        - s
        ");
    }
}
