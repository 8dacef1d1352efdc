// SPDX-License-Identifier: GPL-2.0-only
//! `cargo xtask bench kernel`: the feature itself. Boots the VMs; [`super::scale`] and [`super::cost`] make figures of
//! what they measured.
//!
//! The cost of one I/O is measured in a VM whose clock counts instructions (`-icount`), not in time: under emulation,
//! and on a host that does other things, a difference of 1 % could not be seen otherwise. What that can't show is the
//! cost of caches and of contention; a kernel's path that got longer by one branch shows.

use anyhow::Context as _;
use camino::Utf8Path;
use guest::condition::QueueMode;
use guest::measure::{COST, detail};
use guest::stress::Stress;
use serde::Serialize;

use super::cost::{self, Sample};
use super::median;
use super::scale::Scale;
use crate::cache::Cache;
use crate::event::{Event, KernelFacts, Kind};
use crate::exit::{Code, coded};
use crate::kernel::{Flavour, Variant};
use crate::outcome::Outcome;
use crate::progress::Progress;
use crate::run::folder::RunFolder;
use crate::run::judge::{Facts, judge};
use crate::run::plan::{Planned, Scope, Selection};
use crate::run::prepare::{Choice, Common, Prepared, prepare};
use crate::run::session::Session;
use crate::run::stream::{Place, Stream};
use crate::vm::argv::Spec;

/// Room for 100,000 parked bios, at 1 KB each, beside what every VM needs.
const MEMORY_MIB: u64 = 1024;

/// How often each variant takes its turn.
const TURNS: usize = 5;

/// In the order of a turn; the first is what the others are compared with.
const VARIANTS: [Variant; 3] = [Variant::Stock, Variant::Baseline, Variant::Pushback];

/// The feature's part of bench.json.
#[derive(Debug, Serialize)]
pub struct Feature {
    /// The kernel of `scale`.
    pub kernel: KernelFacts,
    /// 1 to 100,000 bios pushed back.
    pub scale: Scale,
    /// I/O that is never suspended, by variant; empty for a kernel that is no base.
    pub cost: Vec<cost::Row>,
}

impl Feature {
    /// For the terminal.
    pub fn table(&self) -> String {
        let KernelFacts { source, variant, flavour, .. } = &self.kernel;
        let mut out = format!("bios pushed back and re-issued ({source}, {variant}, {flavour}), for each:\n");
        out += &self.scale.table();
        if !self.cost.is_empty() {
            out += "\nan I/O that is never suspended:\n";
            out += &cost::table(&self.cost);
        }
        out + "\n"
    }
}

/// The kernel whose pushback is measured: the seed's, unless the user chose another. Without hooks and without
/// checkers, unless the user chose some: both cost more than what is to be seen.
pub fn choice(given: &Choice) -> Choice {
    of_variant(given, given.variant.unwrap_or(Variant::Pushback))
}

fn of_variant(given: &Choice, variant: Variant) -> Choice {
    if given.tree.is_some() || given.kernel.is_some() {
        return given.clone();
    }
    let flavour = given.flavour.or(Some(Flavour::Plain));
    Choice { variant: Some(variant), no_observe: true, flavour, ..given.clone() }
}

/// Measures; `prepared` is what [`choice`] chose.
pub fn measure(
    common: &Common,
    prepared: &Prepared,
    cache: &Cache,
    progress: &Progress,
    folder: &RunFolder,
) -> anyhow::Result<Feature> {
    let mut vms = Vms::new(folder.path(), progress)?;
    let given = &common.choice;
    let (kernel, _) = prepared.facts();
    let memory_mib = prepared.spec.memory_mib + MEMORY_MIB;
    let at_scale = planned("measurement::pushback_at_scale", QueueMode::Bio)?;
    progress.line("1 to 100,000 bios pushed back");
    let events = vms.run(&Spec { memory_mib, ..prepared.spec.clone() }, &[at_scale])?;
    let scale = Scale::from_events(&events.concat())?;
    if given.tree.is_some() || given.kernel.is_some() {
        progress.line("the cost of the patches is left out: it compares the variants of a base");
        return Ok(Feature { kernel, scale, cost: vec![] });
    }
    let mut variants = vec![];
    for variant in VARIANTS {
        variants.push((variant, prepare(&of_variant(given, variant), common.yes, cache, progress)?));
    }
    let mut samples = vec![];
    for turn in 0..TURNS {
        for (variant, prepared) in &variants {
            samples.extend(vms.cost(turn, *variant, &prepared.spec)?);
        }
    }
    Ok(Feature { kernel, scale, cost: cost::rows(&samples, VARIANTS[0].name()) })
}

fn planned(name: &str, mode: QueueMode) -> anyhow::Result<Planned> {
    let selection = Selection { filters: vec![format!("^{name}\\[{mode}\\]$")], ..Selection::default() };
    let plan = selection.select(::tests::catalogue(), Scope::Measurement)?;
    plan.first().copied().with_context(|| format!("the catalogue has no {name}[{mode}]"))
}

/// One VM after another.
struct Vms<'a> {
    dir: &'a Utf8Path,
    progress: &'a Progress,
    stream: Stream,
    count: u32,
}

impl<'a> Vms<'a> {
    fn new(dir: &'a Utf8Path, progress: &'a Progress) -> anyhow::Result<Self> {
        let stream = Stream::create(&dir.join("kernel.jsonl"), Box::new(|_| {}))?;
        Ok(Self { dir, progress, stream, count: 0 })
    }

    /// Boots a VM for some cases and returns the events of each, if all passed.
    fn run(&mut self, spec: &Spec, plan: &[Planned]) -> anyhow::Result<Vec<Vec<Event>>> {
        self.count += 1;
        let vm = self.count;
        let dir = self.dir.join(format!("kernel-vm-{vm}"));
        let mut session = Session::boot(spec, &dir, vm, &self.stream)?;
        let mut seen = vec![];
        for (token, planned) in (1..).zip(plan) {
            let shown = format!("{} #{vm}", planned.full_name());
            let Some(facts) = session.run_case(planned, Stress::default(), &shown, token) else {
                session.kill("the user interrupted the run");
                return Err(coded(Code::HostFailed, "interrupted"));
            };
            seen.push((shown, facts));
        }
        if let Some((_, last)) = seen.last_mut() {
            session.power_off(last);
        }
        let events = |(shown, facts): (String, Facts)| {
            let outcome = judge(&facts);
            anyhow::ensure!(outcome == Outcome::Pass, "{shown}: {}: {outcome} (see {dir})", outcome.name());
            Ok(self.stream.of(&Place { vm: Some(vm), case: Some(shown) }))
        };
        seen.into_iter().map(events).collect()
    }

    /// The cost of an I/O in both queue modes on one kernel.
    fn cost(&mut self, turn: usize, variant: Variant, spec: &Spec) -> anyhow::Result<Vec<Sample>> {
        let spec =
            Spec { accel: "tcg".into(), cpu_model: "max".into(), cpus: 1, icount: true, ..spec.clone() };
        let plan: Vec<Planned> = QueueMode::ALL
            .iter()
            .map(|mode| planned("measurement::io_without_suspend", *mode))
            .collect::<anyhow::Result<_>>()?;
        let mut samples = vec![];
        for (mode, events) in QueueMode::ALL.iter().zip(self.run(&spec, &plan)?) {
            samples.push(Sample { turn, mode: mode.name(), variant: variant.name(), ns: costs(&events)? });
        }
        let told = |sample: &Sample| format!("{} {:.0}", sample.mode, median(&sample.ns));
        let told = samples.iter().map(told).collect::<Vec<_>>().join(", ");
        self.progress.line(&format!(
            "turn {} of {TURNS}: {}: instructions an I/O: {told}",
            turn + 1,
            variant.name()
        ));
        Ok(samples)
    }
}

/// Nanoseconds an I/O of each round.
fn costs(events: &[Event]) -> anyhow::Result<Vec<f64>> {
    let mut all = vec![];
    for event in events {
        if let Kind::Happened { what, details } = &event.kind
            && what == COST
        {
            let number = |name: &str| -> anyhow::Result<f64> {
                let text = details.get(name).with_context(|| format!("a figure without {name}"))?;
                text.parse().with_context(|| format!("read {name} {text}"))
            };
            all.push(number(detail::NANOSECONDS)? / number(detail::COUNT)?);
        }
    }
    anyhow::ensure!(!all.is_empty(), "the measurement has no figures");
    Ok(all)
}
