// SPDX-License-Identifier: GPL-2.0-only
//! The real multipathd on a map that it made itself: how users meet noflush pushback. docs/multipathd.md has what the
//! daemon asks the kernel for in each of these.

use guest::bench::daemon::RECOVERED;
use guest::bench::io::Io;
use guest::bench::multipath::MultipathMap;
use guest::case::LeftOut;
use guest::paths::{Path, scsi_debug};
use guest::prelude::*;

use crate::matrix::Matrix;

/// The daemon hears of paths that are gone.
pub const TAKEN_OUT: &str = "multipathd takes deleted paths out of the table";
/// `multipath -f` leaves a map alone that somebody has open.
pub const REFUSED: &str = "multipath -f refuses a map in use";
/// And takes away one that nobody uses.
pub const FLUSHED: &str = "multipath -f removes the map";

const FORMS: LeftOut =
    LeftOut { what: "explicit, implicit", reason: "the daemon chooses the form; the case looks which it is" };

const ISCSI: LeftOut = LeftOut {
    what: "iscsi",
    reason: "udev tells the daemon of each path in the same way, and a log-in for each new one costs a second more",
};

/// The table of this group.
pub const CASES: &[Case] = &[
    Case {
        name: "daemon::new_paths_complete_queued_io",
        claim: "seed, normal path 4, as multipathd does it",
        summary: "all paths are lost under load, new ones come, multipathd reloads its map, and the I/O completes",
        tag: Tag::Daemon,
        needs: super::NEEDS,
        conditions: || Matrix::of_fast_maps().faults(&[Fault::Offline, Fault::Delete]).crossed().build(),
        left_out: &[
            FORMS,
            ISCSI,
            LeftOut {
                what: "message",
                reason: "the daemon's checker finds such a path up and reinstates it",
            },
            LeftOut {
                what: "bio with delete, rq with offline",
                reason: "the daemon takes a path out by the same reload as it puts one in, in either mode",
            },
        ],
        allow: &[],
        deadline_seconds: 40,
        run: new_paths_complete_queued_io,
    },
    Case {
        name: "daemon::its_suspend_pushes_back",
        claim: "seed, normal path 1 to 3, by multipathd",
        summary: "`multipathd suspend map` pushes I/O back, `resume map` queues it again, its checker reinstates paths",
        tag: Tag::Daemon,
        needs: super::NEEDS,
        conditions: || Matrix::of_fast_maps().in_mode(QueueMode::Rq).build(),
        left_out: &[
            FORMS,
            ISCSI,
            LeftOut {
                what: "bio",
                reason: "the daemon asks for the same, and noflush::queued_io_leaves_the_target_without_returning has both modes",
            },
        ],
        allow: &[],
        deadline_seconds: 40,
        run: its_suspend_pushes_back,
    },
    Case {
        name: "daemon::its_removal_keeps_queued_io",
        claim: "since the seed, 6076905b5ef3: paths fail, and the map is removed at once",
        summary: "`multipath -f` leaves queued I/O alone; once that has failed as told, it removes the map",
        tag: Tag::Daemon,
        needs: super::NEEDS,
        conditions: || Matrix::of_fast_maps().in_mode(QueueMode::Bio).build(),
        left_out: &[
            FORMS,
            ISCSI,
            LeftOut { what: "rq", reason: "nothing is suspended, and the daemon asks for the same" },
        ],
        allow: &[],
        deadline_seconds: 40,
        run: its_removal_keeps_queued_io,
    },
];

/// I/O that waits in the target of a map that multipathd made.
struct Queued {
    map: MultipathMap,
    io: Io,
}

/// Two more paths, or as many as it takes until one takes I/O: the daemon asks for ALUA's handler, which lets none through to a
/// standby path.
fn paths_that_take_io(bench: &mut Bench) -> Outcome<Vec<Path>> {
    let mut paths = bench.paths(2)?;
    while paths.iter().all(scsi_debug::is_standby) {
        paths.extend(bench.paths(1)?);
    }
    Ok(paths)
}

/// Two paths, multipathd, its map; the paths are lost, which the I/O finds out, and it waits in the target.
fn queued_in_the_daemons_map(bench: &mut Bench) -> Outcome<Queued> {
    let paths = paths_that_take_io(bench)?;
    let map = bench.multipathd(&paths)?;
    map.fail_every_path(Fault::Offline)?;
    let io = bench.submit(&map)?;
    map.has_no_valid_path()?;
    io.is_queued_in_the_target()?;
    Ok(Queued { map, io })
}

// The data is verified over the first paths, which answer again for it: a further host may be a standby path to ALUA's
// handler, which the daemon attached, and take no reads (docs/multipathd.md).

/// The first purpose of the seed, by the program that it was written for: every path of a map is lost, its I/O waits. Then
/// paths come: other ones; or, after the lost ones were deleted and multipathd has taken them out of the table, these
/// as new disks. udev tells multipathd, which loads a table with them and resumes the running map with noflush, and all
/// I/O completes.
fn new_paths_complete_queued_io(bench: &mut Bench) -> Outcome {
    let Queued { map, io } = queued_in_the_daemons_map(bench)?;
    let before = bench.asked(&map)?;

    if bench.fault() == Fault::Delete {
        map.fail_every_path(Fault::Delete)?;
        map.has_paths(0, TAKEN_OUT)?;
        io.is_queued_in_the_target_again()?;
        map.repair_every_path(Fault::Delete)?;
    } else {
        paths_that_take_io(bench)?;
    }
    io.succeeds()?;
    bench.reloaded_by_noflush_resume(&map, &before)?;
    map.has_valid_paths(1, RECOVERED)?;
    if bench.fault() == Fault::Offline {
        map.repair_every_path(Fault::Offline)?;
    }
    bench.data_is_what_was_written()
}

/// `multipathd suspend map` is an explicit suspend with noflush: the I/O goes to the core. After `multipathd resume map`
/// it is in the target's queue again, for no path has come back, and the map still queues. When the paths answer again,
/// the daemon's checker finds out and reinstates them by a message.
fn its_suspend_pushes_back(bench: &mut Bench) -> Outcome {
    let Queued { map, io } = queued_in_the_daemons_map(bench)?;
    let name = map.map().name().clone();
    let before = bench.asked(&map)?;

    bench.daemon()?.command(&format!("suspend map {name}"))?;
    io.is_pushed_back_to_the_core()?;
    bench.daemon()?.command(&format!("resume map {name}"))?;
    io.is_queued_in_the_target_again()?;
    map.still_queues_without_paths()?;
    let expected = ["suspend (noflush, skip_lockfs)", "resume (noflush, skip_lockfs)"];
    bench.asked_for(&map, &before, &expected)?;

    map.repair_every_path(Fault::Offline)?;
    map.has_valid_paths(1, RECOVERED)?;
    io.succeeds()?;
    bench.data_is_what_was_written()
}

/// Removal while I/O waits. `multipath -f` refuses: whoever waits has the map open. Told to stop queueing, the daemon sends
/// `fail_if_no_path` and the I/O fails; the removal that follows at once, while the events of the failed paths are still
/// under way, returns.
fn its_removal_keeps_queued_io(bench: &mut Bench) -> Outcome {
    let Queued { map, io } = queued_in_the_daemons_map(bench)?;
    let name = map.map().name().clone();
    let before = bench.asked(&map)?;

    let refused = bench.daemon()?.try_flush(name.as_str())?;
    ensure(!refused.succeeded, REFUSED, "it succeeded")?;
    io.is_queued_in_the_target()?;
    bench.daemon()?.command(&format!("disablequeueing map {name}"))?;
    io.fails_with_eio()?;
    let flushed = bench.daemon()?.try_flush(name.as_str())?;
    ensure(flushed.succeeded, FLUSHED, &flushed.stderr)?;
    ensure(!guest::dm::map::all_names().contains(&name.to_string()), FLUSHED, "it is still there")?;
    bench.asked_for(&map, &before, &["message fail_if_no_path", "remove (skip_lockfs)"])?;
    map.repair_every_path(Fault::Offline)?;
    bench.data_is_what_was_written()
}
