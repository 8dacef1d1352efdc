// SPDX-License-Identifier: GPL-2.0-only
//! Paths that must be activated before they are used: ALUA through the iSCSI target's port groups. While dm-multipath has the
//! handler initialise a group of paths (`pg_init`), the target keeps I/O although it has valid paths (`MPATHF_QUEUE_IO`).

use std::time::Duration;

use guest::bench::io::Io;
use guest::bench::multipath::MultipathMap;
use guest::case::LeftOut;
use guest::condition::{QueueMode, Signal};
use guest::dm::Flush::Noflush;
use guest::dm::{NoPath, Suspender};
use guest::paths::Path;
use guest::paths::iscsi::group::{Access, PortGroup};
use guest::prelude::*;
use guest::wait::scaled;

use crate::matrix::Matrix;

/// What the initialisation of the group did.
pub const ACTIVATED: &str = "the port group was activated";

const NEEDS: &[&str] = &["BLK_DEV_DM", "DM_MULTIPATH", "BLK_DEV_SD", "SCSI_DH", "SCSI_DH_ALUA"];

const SCSI_DEBUG: LeftOut =
    LeftOut { what: "scsi_debug", reason: "its port groups have one state, and nothing can be activated" };

/// How long a group takes to be activated, before scaling: longer than what a case does meanwhile, some 50 ms.
const ACTIVATION: Duration = Duration::from_millis(400);

const fn case(
    name: &'static str,
    claim: &'static str,
    summary: &'static str,
    run: fn(&mut Bench) -> Outcome,
) -> Case {
    Case {
        name,
        claim,
        summary,
        tag: Tag::Fault,
        needs: NEEDS,
        conditions: || Matrix::of_maps_over(&[Transport::Iscsi]).build(),
        left_out: &[SCSI_DEBUG, super::IMPLICIT],
        allow: &[],
        deadline_seconds: 30,
        run,
    }
}

/// The table of this group.
pub const CASES: &[Case] = &[
    case(
        "alua::io_that_waits_for_a_group_outlives_a_suspend",
        "seed, normal path 1 and 3, for I/O that waits for a path to be activated",
        "I/O that waits for pg_init when a noflush suspend comes does not fail, and completes at the latest after the resume",
        io_that_waits_for_a_group_outlives_a_suspend,
    ),
    case(
        "alua::io_without_an_active_group_is_pushed_back",
        "seed, normal path 3, for paths that answer and take no I/O",
        "I/O that no port group takes is pushed back, and succeeds when one takes it after the resume",
        io_without_an_active_group_is_pushed_back,
    ),
    case(
        "alua::a_group_switch_during_a_suspend_loses_nothing",
        "since the seed, c322ee9320ea: races of pg_init with a suspend",
        "I/O that waits for one group when a suspend comes, and a switch to another group, completes without an error",
        a_group_switch_during_a_suspend_loses_nothing,
    ),
];

/// A map over one path a group; the last group is in standby, and takes its time to be activated.
fn with_a_slow_group(bench: &mut Bench, count: u32) -> Outcome<(MultipathMap, PortGroup)> {
    let paths = bench.paths(count)?;
    bench.use_alua(&paths)?;
    let map = bench.multipath("map", &paths, NoPath::Queue)?;
    let group = PortGroup::of(&paths[paths.len() - 1])?;
    group.set(Access::Standby)?;
    group.takes(scaled(ACTIVATION))?;
    Ok((map, group))
}

fn was_activated(group: PortGroup) -> Outcome {
    ensure(group.is_optimized(), ACTIVATED, "it is in another state")
}

/// I/O comes to a path in standby and waits for its group to be activated; a noflush suspend comes. Request-based: the
/// requests are given back and lie in the core of the suspended map. Bio-based: the target keeps the bios until the group is
/// ready, the suspend waits for them, and they complete before it ends. None fails.
fn io_that_waits_for_a_group_outlives_a_suspend(bench: &mut Bench) -> Outcome {
    let (map, group) = with_a_slow_group(bench, 1)?;
    let io = bench.submit(&map)?;
    map.waits_for_a_group()?;
    io.waits_for_an_activation()?;

    let mut suspend = Suspender::start(map.map(), Noflush, Signal::Eintr)?;
    ends_with_the_activation(&map, &io, &mut suspend)?;
    was_activated(group)?;
    map.resume()?;
    io.succeeds()?;
    bench.data_is_what_was_written()
}

/// The suspend waits for the group to be initialised (`flush_multipath_work`).
fn ends_with_the_activation(map: &MultipathMap, io: &Io, suspend: &mut Suspender) -> Outcome {
    suspend.succeeds()?;
    if map.queue_mode() == QueueMode::Rq { io.is_pushed_back_to_the_core() } else { io.succeeds() }
}

/// Both paths answer, and refuse I/O: one group is in standby, one unavailable, and neither can be activated. The map takes them
/// for failed and queues. A noflush suspend pushes the I/O back; a group comes back, the same paths are loaded, and `pg_init` finds
/// out before the I/O goes on.
fn io_without_an_active_group_is_pushed_back(bench: &mut Bench) -> Outcome {
    let paths: Vec<Path> = bench.paths(2)?;
    bench.use_alua(&paths)?;
    let map = bench.multipath("map", &paths, NoPath::Queue)?;
    let groups: Vec<PortGroup> = paths.iter().map(PortGroup::of).collect::<Outcome<_>>()?;
    for (group, access) in groups.iter().zip([Access::Standby, Access::Unavailable]) {
        group.can_be_activated(false)?;
        group.set(access)?;
    }
    let io = bench.submit(&map)?;
    map.has_no_valid_path()?;
    io.is_queued_in_the_target()?;

    map.suspend(Noflush)?;
    io.is_pushed_back_to_the_core()?;
    groups[0].can_be_activated(true)?;
    groups[0].set(Access::Optimized)?;
    map.load(&paths)?;
    map.resume()?;
    io.succeeds()?;
    bench.data_is_what_was_written()
}

/// The map is told to use its second group, which takes its time; I/O waits for it, a noflush suspend comes, and then the
/// order to use the first group again. A map that is suspended by then refuses it (EBUSY).
fn a_group_switch_during_a_suspend_loses_nothing(bench: &mut Bench) -> Outcome {
    let (map, group) = with_a_slow_group(bench, 2)?;
    bench.submit(&map)?.succeeds()?;
    map.switch_group(2)?;
    let io = bench.submit(&map)?;
    map.waits_for_a_group()?;
    io.waits_for_an_activation()?;

    let mut suspend = Suspender::start(map.map(), Noflush, Signal::Eintr)?;
    map.try_to_switch_group(1)?;
    suspend.succeeds()?;
    was_activated(group)?;
    map.resume()?;
    io.succeeds()?;
    bench.submit(&map)?.succeeds()?;
    bench.data_is_what_was_written()
}
