// SPDX-License-Identifier: GPL-2.0-only
//! One file a verb.

pub mod bench;
pub mod bisect;
pub mod bisect_demo;
pub mod bisect_step;
pub mod ci;
pub mod doctor;
pub mod kernel;
pub mod list;
pub mod prove;
pub mod report;
pub mod selftest;
pub mod shell;
pub mod test;
