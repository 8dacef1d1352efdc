// SPDX-License-Identifier: GPL-2.0-only
//! The stream of events of a run, on one clock. Every report is a pure consumer of it: what is not in the stream
//! is not in a report.

use std::collections::BTreeMap;

use guest::condition::Condition;
use guest::message::{Cut, Exit, Verdict};
use guest::stress::Stress;
use guest::trace::What;
use serde::{Deserialize, Serialize};

use crate::outcome::Outcome;
use crate::run::partition::Partition;

/// Version of the format, the field `v` of every line of events.jsonl.
pub const FORMAT: u32 = 1;

/// Who saw it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// The xtask.
    Host,
    /// The agent or a case.
    Guest,
    /// The VM's serial console.
    Console,
}

/// One thing that happened.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// [`FORMAT`].
    pub v: u32,
    /// Seconds since the run started, on the host's monotonic clock; guest times are shifted onto it.
    pub t: f64,
    /// Who saw it.
    pub src: Source,
    /// Which VM, counted from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vm: Option<u32>,
    /// The full name `case[condition]`, with ` #2` and so on for repetitions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub case: Option<String>,
    /// What.
    #[serde(flatten)]
    pub kind: Kind,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Kind {
    /// The run starts: what is tested, on what.
    RunStarted {
        /// The kernel under test.
        kernel: KernelFacts,
        /// The host.
        host: HostFacts,
        /// What is asked of stress cases, if there are any.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        stress: Option<Stress>,
        /// Which part of the selection this run is, if it is one of several.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        partition: Option<Partition>,
        /// Full names of what was planned.
        planned: Vec<String>,
    },
    /// A VM's QEMU was started.
    VmStarted {
        /// The argument vector.
        argv: Vec<String>,
    },
    /// The agent answered.
    VmReady {
        /// Seconds from the start of QEMU.
        seconds: f64,
        /// `uname -r` of the guest.
        release: String,
        /// Factor by which deadlines are scaled from here on.
        time_factor: f64,
        /// Modules that the image names and this kernel does not have.
        missing_modules: BTreeMap<String, String>,
        /// The kernel carries the observe series: `traced` events tell where the I/O is.
        #[serde(default)]
        observed: bool,
    },
    /// A VM is gone.
    VmEnded {
        /// Why, in words.
        reason: String,
    },
    /// A case was handed to the agent.
    CaseStarted {
        /// Its name without condition.
        name: String,
        /// The condition.
        condition: Condition,
        /// Seconds until it is a `Timeout`.
        deadline: f64,
    },
    /// Something that the case itself reports.
    Happened {
        /// What.
        what: String,
        /// Details by name.
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        details: BTreeMap<String, String>,
    },
    /// A tracepoint of the observe series. `t` is when the kernel passed it; it comes into the stream later.
    Traced {
        /// The map, as `MAJOR:MINOR`; the case's events `map created` know its name.
        dev: String,
        /// What happened.
        #[serde(flatten)]
        what: What,
    },
    /// Something is missing of the case's trace.
    TraceCut {
        /// What.
        #[serde(flatten)]
        cut: Cut,
    },
    /// The case's verdict on itself; not yet the outcome.
    CaseVerdict {
        /// The verdict.
        #[serde(flatten)]
        verdict: Verdict,
    },
    /// The case's process ended and the post-conditions were checked.
    CaseEnded {
        /// How.
        exit: Exit,
        /// What was left behind.
        violations: Vec<String>,
    },
    /// A line of the console.
    Line {
        /// Its text, lossy UTF-8.
        text: String,
    },
    /// The console scanner found a splat.
    Splat {
        /// Its kind, e.g. `lockdep`.
        splat: String,
        /// Its first line.
        text: String,
    },
    /// A clock ran out.
    Expired {
        /// `boot`, `silence` or `case`.
        clock: String,
        /// Its length in seconds.
        seconds: f64,
    },
    /// A piece of the capture after an expiry.
    Captured {
        /// Where from.
        title: String,
        /// What.
        text: String,
    },
    /// The outcome of one case under one condition: the judge's word.
    CaseOutcome {
        /// Its name without condition.
        name: String,
        /// The condition.
        condition: Condition,
        /// The outcome.
        #[serde(flatten)]
        outcome: Outcome,
        /// Wall seconds from the case's start to its outcome.
        seconds: f64,
        /// Folder with console, events and so on, relative to the run folder.
        artifacts: Option<String>,
    },
    /// The run is over.
    RunEnded {
        /// Whether the user stopped it.
        interrupted: bool,
        /// Wall seconds.
        seconds: f64,
    },
}

/// The kernel under test, as told in results.json.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct KernelFacts {
    /// Where it comes from: `base 6.12`, `tree /path`, `prebuilt /path`; with what it was that day, `git URL#REF (COMMIT)`,
    /// `deb PACKAGE (PACKAGE VERSION)`.
    pub source: String,
    /// `stock`, `baseline`, `pushback`; `as is` for trees and prebuilt kernels.
    pub variant: String,
    /// Whether it carries the hooks of the series `observe`.
    #[serde(default)]
    pub observe: bool,
    /// Which checkers it carries: `plain`, `lock`, `kasan`, `kcsan`; `as is` for prebuilt kernels.
    #[serde(default)]
    pub flavour: String,
    /// Kernel release (`uname -r`).
    pub release: String,
    /// Key in the store.
    pub id: String,
    /// Symbols that were asked for and that this tree does not know.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unknown_symbols: Vec<String>,
}

impl KernelFacts {
    /// The source without what it was that day: what the runs of one branch, or of one package, have in common.
    pub fn lineage(&self) -> &str {
        let moves_on = self.source.starts_with("git ") || self.source.starts_with("deb ");
        match self.source.rsplit_once(" (") {
            Some((lineage, _)) if moves_on => lineage,
            _ => &self.source,
        }
    }

    /// What was done to the source, in words: `pushback, observed, kasan`.
    pub fn treatment(&self) -> String {
        let observed = if self.observe { "observed" } else { "" };
        let words = [self.variant.as_str(), observed, self.flavour.as_str()];
        let mut words: Vec<_> = words.into_iter().filter(|word| !word.is_empty()).collect();
        // A prebuilt kernel is "as is" in every respect.
        words.dedup();
        words.join(", ")
    }
}

/// The host, as told in results.json.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct HostFacts {
    /// `qemu-system-x86_64 --version`, first line.
    pub qemu: String,
    /// `kvm` or `tcg`.
    pub accel: String,
    /// Why that one.
    pub accel_reason: String,
    /// What makes the VMs: `image`, or `virtme-ng` and its version.
    #[serde(default)]
    pub boot: String,
    /// Online CPUs.
    pub cpus: usize,
    /// Memory in MiB.
    pub memory_mib: u64,
}
