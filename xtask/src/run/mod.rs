// SPDX-License-Identifier: GPL-2.0-only
//! A run: plan, schedule over VMs, the stream of events, the judge, the run folder.

pub mod believe;
pub mod boot;
pub mod clocks;
pub mod folder;
pub mod judge;
pub mod live;
pub mod merge;
pub mod partition;
pub mod plan;
pub mod prepare;
pub mod schedule;
pub mod session;
pub mod stream;
pub mod stress;
