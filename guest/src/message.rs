// SPDX-License-Identifier: GPL-2.0-only
//! The messages between host and guest. They travel as JSON inside the frames of [`crate::wire`].
//!
//! ```text
//! host                          agent (process 1)            case process
//!  |  <------------- Hello ------------ |                        |
//!  |  -- Run{token,case,cond} --------> | -- fork -------------> |
//!  |  <------------- Started ---------- |                        |
//!  |  <------------- Happened ----------------------------------- |   any number
//!  |  <------------- Traced ------------ |                        |   any number, on an observed kernel
//!  |  <------------- Verdict ------------------------------------ |   exactly one
//!  |                                    | <---- exit ----------- |
//!  |  <------------- Traced, TraceCut - |                            all of the trace, and what is missing of it
//!  |  <-- Ended{exit, violations} ----- |                            exactly one
//!  |  -- Capture ---------------------> |  (after a deadline: at any time)
//!  |  <-- Captured ... CaptureDone ---- |
//!  |  -- PowerOff --------------------> |
//! ```
//! Both processes write to the same port; a frame is one `write(2)` of at most [`crate::wire::MAX_FRAME`]
//! bytes, which `virtio_console`'s `port_fops_write` takes as a whole (it cuts at 32 KiB).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::condition::Condition;
use crate::stress::Stress;
use crate::trace::Record;

/// Version of this protocol; both sides are built from one tree, so any difference is an error.
pub const PROTOCOL: u32 = 3;

/// Name of the virtio-serial port, the same in QEMU's argv and in `/sys/class/virtio-ports/*/name`.
pub const PORT_NAME: &str = "org.dm-pushback.agent";

/// Kernel parameter that chooses what process 1 does: [`mode::AGENT`] (the default), [`mode::SHELL`] or [`mode::POWEROFF`].
pub const MODE_PARAMETER: &str = "dm_pushback.mode";

/// Where a VM whose root is the host's file system (`--boot virtme`) has what an image would have beyond it: the guest
/// binary, kernel modules, links to the tools, files for /etc and the like.
pub const STAGE: &str = "/run/dm-pushback";

/// Values of [`MODE_PARAMETER`].
pub mod mode {
    /// Serve the host.
    pub const AGENT: &str = "agent";
    /// An interactive shell on the console; power off when it ends.
    pub const SHELL: &str = "shell";
    /// Power off at once: what the benchmark compares the boot of the agent with.
    pub const POWEROFF: &str = "poweroff";
}

/// What the host asks of the agent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum ToGuest {
    /// Run one case under one condition.
    Run {
        /// Echoed in every message that belongs to this run of the case.
        token: u64,
        /// `module::function`.
        case: String,
        /// The point of the matrix.
        condition: Condition,
        /// Factor for every deadline inside the case (accelerator, debug kernel).
        time_factor: f64,
        /// Where the schedules of stress cases come from, and how long they go on.
        stress: Stress,
    },
    /// Collect what helps to explain a case that did not end.
    Capture {
        /// Of the running case.
        token: u64,
    },
    /// Power off at once; there is nothing to sync.
    PowerOff,
}

/// The verdict that a case gives on itself. The host adds what it saw before it believes it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "verdict", rename_all = "snake_case")]
pub enum Verdict {
    /// Every assertion held.
    Pass,
    /// The named assertion failed.
    Fail {
        /// Stable name of the assertion.
        assertion: String,
        /// What was seen instead.
        message: String,
    },
    /// Not applicable to this kernel or image.
    Skipped {
        /// What is missing.
        reason: String,
    },
    /// The guest could not do its part.
    Infra {
        /// What went wrong.
        message: String,
    },
}

/// How the process of a case ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "how", rename_all = "snake_case")]
pub enum Exit {
    /// It returned with this status.
    Exited {
        /// Exit status.
        status: i32,
    },
    /// A signal ended it.
    Signaled {
        /// Signal number.
        signal: i32,
    },
}

/// What is missing of a trace.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cut {
    /// Events beyond what one case may put into the stream.
    pub left_out: u64,
    /// Events that the kernel's buffer had no room for.
    pub lost: u64,
    /// What could not be read or understood; a few of each kind.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unreadable: Vec<String>,
}

/// What the guest tells the host. `t` is seconds on the guest's `CLOCK_MONOTONIC`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum FromGuest {
    /// First message after boot.
    Hello {
        /// [`PROTOCOL`].
        protocol: u32,
        /// Seconds since boot.
        t: f64,
        /// `uname -r`.
        release: String,
        /// `/proc/sys/kernel/tainted` at start.
        taint: u64,
        /// Modules that could not be loaded, with modprobe's words.
        missing_modules: BTreeMap<String, String>,
        /// The kernel carries the observe series: cases are traced.
        observed: bool,
    },
    /// The agent has accepted `Run` and forked the case's process.
    Started {
        /// Of the run.
        token: u64,
        /// Seconds since boot.
        t: f64,
    },
    /// Something happened in a case.
    Happened {
        /// Of the run.
        token: u64,
        /// Seconds since boot.
        t: f64,
        /// What, e.g. `io_submitted`, `suspended`, `path_failed`, `waiting`, `waited`.
        what: String,
        /// Its details, by name.
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        details: BTreeMap<String, String>,
    },
    /// What the kernel's tracepoints said while the case ran, in their order; several in a frame.
    Traced {
        /// Of the run.
        token: u64,
        /// The events.
        records: Vec<Record>,
    },
    /// What is missing of the case's trace; only if something is.
    TraceCut {
        /// Of the run.
        token: u64,
        /// Seconds since boot.
        t: f64,
        /// What is missing.
        #[serde(flatten)]
        cut: Cut,
    },
    /// The case's verdict on itself.
    Verdict {
        /// Of the run.
        token: u64,
        /// Seconds since boot.
        t: f64,
        /// The verdict.
        verdict: Verdict,
    },
    /// The case's process is gone and the post-conditions were looked at.
    Ended {
        /// Of the run.
        token: u64,
        /// Seconds since boot.
        t: f64,
        /// How the process ended.
        exit: Exit,
        /// What was left behind: dm devices, SCSI hosts, D-state tasks, taint. Empty is the only good answer.
        violations: Vec<String>,
    },
    /// A piece of a capture.
    Captured {
        /// Of the run.
        token: u64,
        /// Where it comes from, e.g. `dmsetup table`.
        title: String,
        /// Text.
        text: String,
    },
    /// The capture is complete.
    CaptureDone {
        /// Of the run.
        token: u64,
    },
}
