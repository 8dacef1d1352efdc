// SPDX-License-Identifier: GPL-2.0-only
//! What runs inside the VM: the agent (process 1), the device-mapper toolkit, paths and faults, I/O engines,
//! and the wire protocol that the host shares.
//!
//! The catalogue of cases is the crate `tests`; this crate knows how to run one case, not which cases exist.

pub mod agent;
pub mod assertions;
pub mod bench;
pub mod case;
pub mod condition;
pub mod cpu;
pub mod daemon;
pub mod dm;
pub mod evidence;
pub mod failure;
pub mod io;
pub mod kmsg;
pub mod measure;
pub mod message;
pub mod modules;
pub mod paths;
pub mod rcu;
pub mod report;
pub mod stress;
pub mod trace;
pub mod wait;
pub mod wire;

/// Everything a case needs, in one `use`.
pub mod prelude {
    pub use crate::bench::Bench;
    pub use crate::case::{Case, Tag};
    pub use crate::condition::{
        Condition, Fault, FileSystemKind, IoKind, QueueMode, Signal, SuspendForm, Transport,
    };
    pub use crate::failure::{Failure, Outcome, ensure, skip};
}
