// SPDX-License-Identifier: GPL-2.0-only
//! A run: plan, schedule over VMs, the stream of events, the judge, the run folder.

pub mod plan;
