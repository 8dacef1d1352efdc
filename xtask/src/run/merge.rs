// SPDX-License-Identifier: GPL-2.0-only
//! Several runs of one kernel become one: the stream of events that one machine would have written. Pure; so every report
//! and the exit code come out as they do for any run. Nothing is judged here, and nothing is invented: what was
//! planned somewhere and has no outcome anywhere stays without one, and so does a part that nobody ran.
//!
//! The streams are put one after the other, for clocks of different machines can't be compared.

use std::collections::{BTreeMap, BTreeSet};

use camino::{Utf8Path, Utf8PathBuf};
use guest::stress::Stress;

use super::partition::Partition;
use super::plan::{Scope, Selection};
use crate::event::{Event, FORMAT, HostFacts, KernelFacts, Kind, Source};

/// How many names a note shows.
const SHOWN: usize = 3;

/// A run that is to be merged.
#[derive(Debug, Clone)]
pub struct Part {
    /// Where its folder is, relative to the folder of the merged run.
    pub place: String,
    /// The folder as it was named.
    pub folder: Utf8PathBuf,
    /// Its events, in their order.
    pub events: Vec<Event>,
}

/// The merged run.
#[derive(Debug, Clone)]
pub struct Merged {
    /// Its stream.
    pub events: Vec<Event>,
    /// What whoever merges should know.
    pub notes: Vec<String>,
}

/// Why runs can't be merged.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// A folder without the beginning of a run.
    #[error("{0} holds no run: its events.jsonl does not begin with run_started")]
    Empty(String),
    /// They would be a report about no kernel at all.
    #[error("runs of different kernels can't be merged:{}\n(hint: `cargo xtask compare` shows what differs)", .0.concat())]
    Kernels(Vec<String>),
    /// `1/2` and `1/3`.
    #[error("{0} is part {1} and {2} is part {3}: parts of different numbers can't be put together")]
    Numbers(String, Partition, String, Partition),
}

/// What a run says about itself at its start.
struct Started<'a> {
    folder: &'a Utf8Path,
    kernel: &'a KernelFacts,
    host: &'a HostFacts,
    stress: Option<Stress>,
    partition: Option<Partition>,
    planned: &'a [String],
}

impl<'a> Started<'a> {
    fn of(part: &'a Part) -> Result<Self, Refused> {
        match part.events.first().map(|event| &event.kind) {
            Some(Kind::RunStarted { kernel, host, stress, partition, planned }) => Ok(Self {
                folder: &part.folder,
                kernel,
                host,
                stress: *stress,
                partition: *partition,
                planned,
            }),
            _ => Err(Refused::Empty(part.folder.to_string())),
        }
    }
}

/// Merges; the order of the parts does not matter to the results.
pub fn merge(parts: &[Part]) -> Result<Merged, Refused> {
    let starts = parts.iter().map(Started::of).collect::<Result<Vec<_>, _>>()?;
    let kernel = same_kernel(&starts)?;
    let mut notes: Vec<String> = Vec::new();
    let missing = missing_parts(&starts)?;
    notes.extend(missing.iter().map(|part| format!("part {part} is missing")));
    let planned = in_order(starts.iter().flat_map(|start| start.planned.iter().cloned()).collect());
    let outcomes = outcomes(parts);
    notes.extend(overlap(&outcomes));
    let stress: Vec<Stress> = distinct(starts.iter().filter_map(|start| start.stress));
    if stress.len() > 1 {
        notes
            .push("the runs had different seeds or times for stress cases: the report names none".to_owned());
    }
    let whole = missing.is_empty() && planned.iter().all(|name| outcomes.contains_key(name.as_str()));
    let started = Kind::RunStarted {
        kernel: kernel.clone(),
        host: hosts(&starts),
        stress: stress.first().copied().filter(|_| stress.len() == 1),
        partition: None,
        planned,
    };
    let seconds = parts.iter().map(seconds).fold(0.0, f64::max);
    let host = |t, kind| Event { v: FORMAT, t, src: Source::Host, vm: None, case: None, kind };
    let mut events = vec![host(0.0, started)];
    let mut vms = 0;
    for part in parts {
        let before = vms;
        for event in &part.events {
            let event = moved(event, before, &part.place);
            vms = vms.max(event.vm.unwrap_or(0));
            if !matches!(event.kind, Kind::RunStarted { .. } | Kind::RunEnded { .. }) {
                events.push(event);
            }
        }
    }
    events.push(host(seconds, Kind::RunEnded { interrupted: !whole, seconds }));
    Ok(Merged { events, notes })
}

/// An event of a part in the merged stream: its VMs are counted on, its folders are below the part's.
fn moved(event: &Event, vms_before: u32, place: &str) -> Event {
    let mut event = event.clone();
    event.vm = event.vm.map(|vm| vm + vms_before);
    if let Kind::CaseOutcome { artifacts: Some(folder), .. } = &mut event.kind {
        *folder = format!("{place}/{folder}");
    }
    event
}

fn same_kernel<'a>(starts: &[Started<'a>]) -> Result<&'a KernelFacts, Refused> {
    let id = |start: &Started| {
        let KernelFacts { id, release, variant, observe, flavour, .. } = start.kernel;
        (id.clone(), release.clone(), variant.clone(), *observe, flavour.clone())
    };
    match starts.first() {
        Some(first) if starts.iter().all(|start| id(start) == id(first)) => Ok(first.kernel),
        Some(_) => Err(Refused::Kernels(starts.iter().map(told).collect())),
        None => Err(Refused::Empty("nothing".to_owned())),
    }
}

/// One line of the refusal.
fn told(start: &Started<'_>) -> String {
    let KernelFacts { id, release, source, .. } = start.kernel;
    format!("\n  {}: {release} ({source}), {}, {id}", start.folder, start.kernel.treatment())
}

/// The parts of the whole that no run is; none if no run is a part.
fn missing_parts(starts: &[Started<'_>]) -> Result<Vec<Partition>, Refused> {
    let mut parts = starts.iter().filter_map(|start| Some((start.partition?, start.folder)));
    let Some((first, folder)) = parts.next() else { return Ok(vec![]) };
    let mut there = BTreeSet::from([first.part()]);
    for (other, its_folder) in parts {
        if other.of() != first.of() {
            return Err(Refused::Numbers(folder.to_string(), first, its_folder.to_string(), other));
        }
        there.insert(other.part());
    }
    Ok((1..=first.of()).filter(|part| !there.contains(part)).map(|part| first.sibling(part)).collect())
}

/// How many runs have an outcome of each name.
fn outcomes(parts: &[Part]) -> BTreeMap<&str, usize> {
    let mut all = BTreeMap::new();
    for part in parts {
        let done = part.events.iter().filter(|event| matches!(event.kind, Kind::CaseOutcome { .. }));
        for name in done.filter_map(|event| event.case.as_deref()).collect::<BTreeSet<_>>() {
            *all.entry(name).or_default() += 1;
        }
    }
    all
}

fn overlap(outcomes: &BTreeMap<&str, usize>) -> Option<String> {
    let twice: Vec<_> = outcomes.iter().filter(|(_, runs)| **runs > 1).map(|(name, _)| *name).collect();
    let (shown, more) = twice.split_at(twice.len().min(SHOWN));
    let more = if more.is_empty() { String::new() } else { format!(" and {} more", more.len()) };
    (!twice.is_empty())
        .then(|| format!("the runs overlap, and the worse outcome counts of: {}{more}", shown.join(", ")))
}

/// Each name once, in the order in which one run would have had them: repetitions last, else as in the catalogue.
fn in_order(names: Vec<String>) -> Vec<String> {
    let all = Selection::default().select(::tests::catalogue(), Scope::All).unwrap_or_default();
    let place: BTreeMap<_, _> = all.iter().map(super::plan::Planned::full_name).zip(0_usize..).collect();
    let mut names = distinct(names);
    names.sort_by_key(|name| {
        let (once, repetition) = repetition(name);
        (repetition, place.get(once).copied().unwrap_or(usize::MAX))
    });
    names
}

/// `case[condition] #2` taken apart: the name without repetition, and the number of that.
pub fn repetition(shown: &str) -> (&str, u32) {
    let apart = shown.rsplit_once(" #").and_then(|(name, n)| Some((name, n.parse().ok()?)));
    apart.unwrap_or((shown, 1))
}

fn distinct<T: PartialEq>(all: impl IntoIterator<Item = T>) -> Vec<T> {
    all.into_iter().fold(Vec::new(), |mut kept, one| {
        if !kept.contains(&one) {
            kept.push(one);
        }
        kept
    })
}

/// What the hosts had: each text once, and of cores and memory what every one of them had at least.
fn hosts(starts: &[Started<'_>]) -> HostFacts {
    let text = |of: fn(&HostFacts) -> &String| {
        distinct(starts.iter().map(|start| of(start.host).as_str())).join("; ")
    };
    HostFacts {
        qemu: text(|host| &host.qemu),
        accel: text(|host| &host.accel),
        accel_reason: text(|host| &host.accel_reason),
        boot: text(|host| &host.boot),
        cpus: starts.iter().map(|start| start.host.cpus).min().unwrap_or(0),
        memory_mib: starts.iter().map(|start| start.host.memory_mib).min().unwrap_or(0),
    }
}

/// Wall seconds of a run; of one that has no end, until it was last heard of.
fn seconds(part: &Part) -> f64 {
    let of = |event: &Event| match event.kind {
        Kind::RunEnded { seconds, .. } => seconds,
        _ => event.t,
    };
    part.events.iter().map(of).fold(0.0, f64::max)
}

#[cfg(test)]
#[path = "merge_tests.rs"]
mod tests;
