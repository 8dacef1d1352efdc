// SPDX-License-Identifier: GPL-2.0-only
//! The cases, one file a group. A file starts with its table; the functions below it are the proofs.

pub mod alua;
pub mod compat;
pub mod core;
pub mod daemon;
pub mod error_path;
pub mod fault;
pub mod file_system;
pub mod in_flight;
pub mod io_kind;
pub mod measurement;
pub mod normal;
pub mod race;
pub mod requests;
pub mod selftest;
pub mod stress;

use guest::case::{Case, LeftOut};

/// The groups, in the order in which they run. Groups that delete SCSI devices come before those that leave data to the
/// writeback of a request-based map: lockdep of 6.12 takes the writeback work of one device for that of another, and reports a
/// cycle when a path of such a map is deleted (`del_gendisk`, `bdi_unregister`; `wb_workfn`, `multipath_clone_and_map`).
pub const GROUPS: &[&[Case]] = &[
    compat::CASES,
    normal::CASES,
    in_flight::CASES,
    fault::CASES,
    alua::CASES,
    daemon::CASES,
    stress::CASES,
    requests::CASES,
    io_kind::CASES,
    file_system::CASES,
    error_path::CASES,
    core::CASES,
    race::CASES,
    selftest::CASES,
    measurement::CASES,
];

/// What every case about a kernel needs of its configuration, beside what its transport needs.
const NEEDS: &[&str] = &["BLK_DEV_DM", "DM_MULTIPATH", "BLK_DEV_SD"];

/// Of cases that look at the suspended map.
const IMPLICIT: LeftOut = LeftOut {
    what: "implicit",
    reason: "one ioctl suspends, exchanges the table and resumes: there is no suspended map to look at",
};

/// Of cases whose axes each go their own way in the kernel.
const CROSSED: LeftOut = LeftOut {
    what: "half of the product of transport, queue mode and the last axis",
    reason: "each value of an axis meets each of the others, two at a time",
};

/// Of cases about the core alone.
const ANY_TRANSPORT: LeftOut = LeftOut {
    what: "iscsi",
    reason: "between the core and the path is the test target: how the path is made makes no difference to either",
};

/// What every case about the core alone needs.
const CORE_NEEDS: &[&str] = &["BLK_DEV_DM", "BLK_DEV_SD"];

/// The same for a case that holds I/O in flight.
const HELD: &[&str] = &["BLK_DEV_DM", "DM_MULTIPATH", "BLK_DEV_SD", "BLK_DEV_LOOP"];
