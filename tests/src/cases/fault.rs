// SPDX-License-Identifier: GPL-2.0-only
//! What paths do beside failing while a map is suspended: they answer again, they take nothing, they fail without harm to
//! I/O in flight, all of them go; and what kernels after the seed's have learned about it. That I/O outlives each fault
//! is in the groups of the seed's lists, whose cases have the fault as an axis.

use std::time::Duration;

use guest::bench::fault::{repair, strike};
use guest::bench::holdable::HoldablePath;
use guest::bench::io::Io;
use guest::bench::multipath::MultipathMap;
use guest::case::LeftOut;
use guest::cpu;
use guest::dm::Flush::{Flush, Noflush};
use guest::dm::{NoPath, Selector, Suspender};
use guest::io::Engine;
use guest::paths::Path;
use guest::prelude::*;
use nix::libc;

use crate::arrange::{
    InFlight, Queued, Split, in_flight, queued_in_the_target, split_between_path_and_target,
};
use crate::matrix::Matrix;

/// I/O that a busy host does not take waits.
pub const WAITS_FOR_THE_HOST: &str = "I/O waits for a busy host";
/// A busy host is no failed path.
pub const NO_PATH_FAILS: &str = "no path fails because its host is busy";
/// The processors have better things to do than to ask a busy host again.
pub const IDLE: &str = "I/O that waits for a busy host costs little CPU time";
/// The limits of a map outlive its paths.
pub const LIMITS: &str = "a map without paths keeps its limits";
/// Large I/O waits for a path.
pub const LARGE_WAITS: &str = "large I/O waits for a path";
/// An ioctl that needs a path waits for one.
pub const IOCTL_WAITS: &str = "an ioctl waits for a path";
/// It ends, at the latest when there is one.
pub const IOCTL_ENDS: &str = "an ioctl that waited for a path ends";

/// The largest I/O that a disk gets, in KiB.
const LARGEST_IO: &str = "max_sectors_kb";

const IMPLICIT: LeftOut = LeftOut {
    what: "implicit",
    reason: "its one ioctl suspends by the same function, and leaves no time in which something could happen",
};

/// The table of this group.
pub const CASES: &[Case] = &[
    Case {
        name: "fault::path_answers_again_while_the_suspend_waits",
        claim: "seed, normal path 3, path recovery in the middle of a suspend",
        summary: "a path that works again while a noflush suspend waits gets nothing before the resume, and all after it",
        tag: Tag::Fault,
        needs: super::HELD,
        conditions: || Matrix::of_maps().faults(&[Fault::Message, Fault::Offline]).crossed().build(),
        left_out: &[
            super::CROSSED,
            IMPLICIT,
            LeftOut {
                what: "delete",
                reason: "a deleted disk comes back as another one, which needs a new table",
            },
            LeftOut {
                what: "transport_error, aborted_command, timeout",
                reason: "they strike all paths at once, and one must hold I/O; the map knows all of them as a failed path",
            },
        ],
        allow: &[],
        deadline_seconds: 30,
        run: path_answers_again_while_the_suspend_waits,
    },
    Case {
        name: "fault::io_in_flight_outlives_its_path",
        claim: "seed, DM_ENDIO_REQUEUE is for I/O that fails",
        summary: "I/O in flight completes although its path fails by message while a suspend waits for it",
        tag: Tag::Fault,
        needs: super::HELD,
        conditions: || Matrix::of_maps().faults(&[Fault::Message]).build(),
        left_out: &[
            IMPLICIT,
            LeftOut {
                what: "other faults",
                reason: "they make the I/O fail: noflush::io_failing_during_the_wait_is_pushed_back",
            },
        ],
        allow: &[],
        deadline_seconds: 30,
        run: io_in_flight_outlives_its_path,
    },
    Case {
        name: "fault::io_outlives_a_busy_host",
        claim: "seed, DM_ENDIO_REQUEUE is for I/O that fails; and not for I/O that waits",
        summary: "I/O that a busy host does not take fails no path, and completes after a suspend of either kind",
        tag: Tag::Fault,
        needs: super::NEEDS,
        conditions: || Matrix::of_maps().faults_where(is_busy).build(),
        left_out: &[IMPLICIT],
        allow: &[],
        deadline_seconds: 30,
        run: io_outlives_a_busy_host,
    },
    Case {
        name: "fault::busy_host_costs_no_cpu_time",
        claim: "since the seed, ac514ffc968b: no busy loop when a resource is lacking",
        summary: "the kernel does not spin on I/O that a busy host does not take",
        tag: Tag::Fault,
        needs: super::NEEDS,
        conditions: || Matrix::of_maps().faults_where(is_busy).build(),
        left_out: &[LeftOut { what: "suspend form", reason: "nothing is suspended" }],
        allow: &[],
        deadline_seconds: 30,
        run: busy_host_costs_no_cpu_time,
    },
    Case {
        name: "fault::requeued_io_leaves_the_path_selector",
        claim: "since the seed, 5de719e3d01b: the path selector is told of I/O that is requeued",
        summary: "after I/O was requeued again and again, the path selector counts none in flight",
        tag: Tag::Fault,
        needs: &["BLK_DEV_DM", "DM_MULTIPATH", "DM_MULTIPATH_QL", "BLK_DEV_SD", "SCSI_DEBUG"],
        conditions: || Matrix::of_maps().faults_where(is_busy).build(),
        left_out: &[IMPLICIT],
        allow: &[],
        deadline_seconds: 30,
        run: requeued_io_leaves_the_path_selector,
    },
    Case {
        name: "fault::limits_outlive_the_paths",
        claim: "since the seed, 3ae706561637: a table without paths keeps the limits",
        summary: "large I/O queued in a map without paths fits the paths of the next table",
        tag: Tag::Fault,
        needs: super::NEEDS,
        conditions: || Matrix::of_maps().suspends(&[SuspendForm::Implicit]).faults(&[Fault::Delete]).build(),
        left_out: &[LeftOut {
            what: "explicit",
            reason: "the table is exchanged by the same function (dm_swap_table)",
        }],
        allow: &[],
        deadline_seconds: 30,
        run: limits_outlive_the_paths,
    },
    Case {
        name: "fault::queueing_outlives_suspends",
        claim: "since the seed, 553ec94cb4b4: queue_if_no_path is not lost over noflush suspends",
        summary: "without a path, noflush suspends and resumes again and again keep I/O and feature",
        tag: Tag::Fault,
        needs: super::NEEDS,
        conditions: || Matrix::of_maps().suspends(&[SuspendForm::Explicit]).build(),
        left_out: &[LeftOut {
            what: "implicit",
            reason: "it brings a new table, with a new flag: noflush::resume_without_recovery_queues_again",
        }],
        allow: &[],
        deadline_seconds: 30,
        run: queueing_outlives_suspends,
    },
    Case {
        name: "fault::ioctl_waits_for_paths",
        claim: "since the seed, 7ba10aa6fbac: an ioctl without a path does not block the reload that brings one",
        summary: "a noflush reload goes on while an ioctl to the map waits for a path, which ends the wait",
        tag: Tag::Fault,
        needs: super::NEEDS,
        conditions: || Matrix::of_maps().suspends(SuspendForm::ALL).crossed().build(),
        left_out: &[super::CROSSED],
        allow: &[],
        deadline_seconds: 30,
        run: ioctl_waits_for_paths,
    },
];

fn is_busy(fault: Fault) -> bool {
    fault == Fault::HostBusy
}

/// I/O of a map is in two places when it is suspended with noflush: a path holds some, and the rest is pushed back. While
/// the suspend waits for the former, the map's other path answers again, and the map is told: it is not suspended yet, so it
/// takes the message. What was pushed back stays so. After the resume that path takes all of it.
fn path_answers_again_while_the_suspend_waits(bench: &mut Bench) -> Outcome {
    let Split { slow, failed, map, held, queued } = split_between_path_and_target(bench)?;
    let other = std::slice::from_ref(&failed);
    strike(bench.fault(), other, Duration::ZERO)?;

    let mut suspend = Suspender::start(map.map(), Noflush, Signal::Eintr)?;
    suspend.waits()?;
    queued.is_pushed_back_while_the_suspend_waits()?;
    repair(bench.fault(), other)?;
    map.reinstate_first_path()?;
    queued.is_pushed_back_while_the_suspend_waits()?;

    slow.let_go()?;
    held.succeeds()?;
    suspend.succeeds()?;
    queued.is_pushed_back_to_the_core()?;
    map.resume()?;
    queued.succeeds()?;
    bench.data_is_what_was_written()
}

/// The message `fail_path` says nothing about I/O that is in flight: a suspend waits for it and it completes, with
/// noflush and without.
fn io_in_flight_outlives_its_path(bench: &mut Bench) -> Outcome {
    let InFlight { slow, failed, map, held } = in_flight(bench, NoPath::Queue)?;
    completes_without_a_path(&map, Noflush, &slow, &held)?;
    map.load(&[failed, slow.path().clone()])?;
    map.resume()?;

    slow.hold()?;
    map.fail_first_path(Fault::Message)?;
    let held = bench.submit_with(Engine::IoUring, &map, 1)?;
    held.is_in_flight()?;
    completes_without_a_path(&map, Flush, &slow, &held)?;
    map.resume()?;
    bench.data_is_what_was_written()
}

fn completes_without_a_path(
    map: &MultipathMap,
    flush: guest::dm::Flush,
    slow: &HoldablePath,
    held: &Io,
) -> Outcome {
    let mut suspend = Suspender::start(map.map(), flush, Signal::Eintr)?;
    suspend.waits()?;
    map.fail_every_path(Fault::Message)?;
    held.is_in_flight()?;
    slow.let_go()?;
    held.succeeds()?;
    suspend.succeeds()
}

/// A map that counts what its paths have in flight, and I/O for it that their hosts do not take.
struct Refused {
    paths: Vec<Path>,
    map: MultipathMap,
    io: Io,
}

fn refused(bench: &mut Bench) -> Outcome<Refused> {
    let paths = bench.paths(2)?;
    let map = bench.multipath_by(Selector::QueueLength, "map", &paths, NoPath::Queue)?;
    map.fail_every_path(bench.fault())?;
    let io = bench.submit(&map)?;
    if map.queue_mode() == QueueMode::Bio {
        // The map has all of it. That it is further down does not show: `inflight` of a disk leaves out what its host has
        // refused (`blk_mq_in_flight`).
        io.is_queued_in_the_target()?;
    }
    Ok(Refused { paths, map, io })
}

/// The SCSI layer does not fail a command that its host does not take (`SCSI_MLQUEUE_HOST_BUSY`); it asks again. In a
/// bio-based map the bio is with the path, and a suspend waits for it. In a request-based map dm-multipath takes the request
/// back (`BLK_STS_RESOURCE`): it has not started, so a noflush suspend does not wait and keeps it in the core.
/// Without noflush nothing fails either.
fn io_outlives_a_busy_host(bench: &mut Bench) -> Outcome {
    let Refused { paths, map, io } = refused(bench)?;

    let mut suspend = Suspender::start(map.map(), Noflush, Signal::Eintr)?;
    if map.queue_mode() == QueueMode::Bio {
        suspend.waits()?;
        ensure(io.tally().all_pending(), WAITS_FOR_THE_HOST, io.tally())?;
        repair(bench.fault(), &paths)?;
        io.succeeds()?;
        suspend.succeeds()?;
    } else {
        suspend.succeeds()?;
        io.is_pushed_back_to_the_core()?;
        repair(bench.fault(), &paths)?;
    }
    map.resume()?;
    io.succeeds()?;

    map.fail_every_path(bench.fault())?;
    let io = bench.submit_with(Engine::IoUring, &map, 1)?;
    let mut suspend = Suspender::start(map.map(), Flush, Signal::Eintr)?;
    repair(bench.fault(), &paths)?;
    suspend.succeeds()?;
    map.resume()?;
    io.succeeds()?;

    let status = map.map().multipath_status()?;
    ensure(status.valid_paths() == paths.len(), NO_PATH_FAILS, format_args!("{status:?}"))?;
    bench.data_is_what_was_written()
}

/// A lower queue that lacks a resource is asked again after a while (`BLK_MQ_RESOURCE_DELAY`, 3 ms), and not at once: on
/// two CPUs under TCG this takes 0.03 to 0.07 of one.
fn busy_host_costs_no_cpu_time(bench: &mut Bench) -> Outcome {
    let Refused { paths, io, .. } = refused(bench)?;

    let busy = cpu::busy_over(Duration::from_millis(300))?;
    ensure(io.tally().all_pending(), WAITS_FOR_THE_HOST, io.tally())?;
    ensure(busy < 0.3, IDLE, format_args!("{busy:.2} processors were busy"))?;

    repair(bench.fault(), &paths)?;
    io.succeeds()?;
    bench.data_is_what_was_written()
}

/// Each time a request comes back for lack of a resource, the path selector is told (`multipath_release_clone`), or
/// its count of I/Os in flight grows for ever and the path is avoided. The selector of a bio-based map still counts the bios,
/// which are with the path.
fn requeued_io_leaves_the_path_selector(bench: &mut Bench) -> Outcome {
    let Refused { paths, map, io } = refused(bench)?;
    if map.queue_mode() == QueueMode::Rq {
        for _ in 0..2 {
            map.suspend(Noflush)?;
            io.is_pushed_back_to_the_core()?;
            map.resume()?;
        }
        map.has_an_idle_selector()?;
    }

    repair(bench.fault(), &paths)?;
    io.succeeds()?;
    map.has_an_idle_selector()?;
    bench.data_is_what_was_written()
}

/// All paths are deleted and the map gets a table without any; then large I/O comes. It must be cut to what the paths took,
/// since the next paths take no more: a request that is too large for its path fails (`blk_cloned_rq_check_limits`), over and
/// over.
fn limits_outlive_the_paths(bench: &mut Bench) -> Outcome {
    let paths = bench.paths(2)?;
    let usual: Vec<String> = paths.iter().map(|path| path.setting(LARGEST_IO)).collect::<Outcome<_>>()?;
    let outcome = queue_large_io_without_paths(bench, &paths);
    // The disks stay in the VM: what is at a path's address now, by whatever number.
    for (now, usual) in paths.iter().zip(&usual).filter_map(|(path, usual)| Some((path.usable()?, usual))) {
        now.set_setting(LARGEST_IO, usual)?;
    }
    outcome
}

fn queue_large_io_without_paths(bench: &mut Bench, paths: &[Path]) -> Outcome {
    let limit = |path: &Path| path.set_setting(LARGEST_IO, "8");
    paths.iter().try_for_each(limit)?;
    let map = bench.multipath("map", paths, NoPath::Queue)?;
    map.fail_every_path(bench.fault())?;
    map.load(&[])?;
    map.resume_with(Noflush)?;
    let largest = map.setting(LARGEST_IO)?;
    ensure(largest == "8", LIMITS, format_args!("{LARGEST_IO} is {largest}"))?;

    let io = bench.submit_large(&map)?;
    ensure(io.tally().all_pending(), LARGE_WAITS, io.tally())?;
    let repaired = map.repair_every_path(bench.fault())?;
    repaired.iter().try_for_each(limit)?;
    map.load(&repaired)?;
    map.resume_with(Noflush)?;
    io.succeeds()?;
    bench.data_is_what_was_written()
}

/// Three times, because the feature was lost only when it had been saved twice.
fn queueing_outlives_suspends(bench: &mut Bench) -> Outcome {
    let Queued { map, io, .. } = queued_in_the_target(bench)?;

    for _ in 0..3 {
        map.suspend(Noflush)?;
        io.is_pushed_back_to_the_core()?;
        map.resume()?;
        io.is_queued_in_the_target_again()?;
        map.still_queues_without_paths()?;
    }

    map.reinstate_every_path()?;
    io.succeeds()?;
    bench.data_is_what_was_written()
}

/// An ioctl that the map must pass on to a path finds none, and asks again every 10 ms (`dm_prepare_ioctl`). It holds
/// nothing meanwhile that a suspend, a load or a resume need. With the new paths it succeeds, if it did not meet the suspend:
/// a suspended map answers EAGAIN, and a bio-based one EIO before that, since `multipath_presuspend` has taken the flag away
/// by which the ioctl waits (6.12.117).
fn ioctl_waits_for_paths(bench: &mut Bench) -> Outcome {
    let Queued { paths, map, io } = queued_in_the_target(bench)?;
    let mut ioctl = map.start_ioctl()?;
    ioctl.is_blocked(IOCTL_WAITS)?;

    if bench.condition().suspend == Some(SuspendForm::Explicit) {
        map.suspend(Noflush)?;
        io.is_pushed_back_to_the_core()?;
        map.load(&paths)?;
        map.resume()?;
    } else {
        map.load(&paths)?;
        map.resume_with(Noflush)?;
    }

    io.succeeds()?;
    if let Err(error) = ioctl.returns(IOCTL_ENDS)? {
        let expected = [libc::EAGAIN, libc::EIO].map(Some).contains(&error.raw_os_error());
        ensure(expected, IOCTL_ENDS, &error)?;
    }
    bench.data_is_what_was_written()
}
