// SPDX-License-Identifier: GPL-2.0-only
//! What the host can do: the tools that are needed (data: needs.toml), how its package manager installs them, and
//! the accelerator that is proven to boot Linux. Not for the kernel under test and not for the VMs of a run.

pub mod accel;
pub mod apt;
mod boot;
mod install;
pub mod manager;
pub mod needs;
pub mod probe;
mod ready;
mod resources;
pub mod table;
pub mod virtme;

pub use accel::{Choice, Want, choose};
pub use install::{Elevation, confirm, install, is_interactive};
pub use ready::{Needs, ensure_ready, manager as manager_of, needs_refresh};
pub use resources::{cpus, facts, memory_mib};

pub use probe::find_program;
