// SPDX-License-Identifier: GPL-2.0-only
//! The seed's regression and compatibility list: what was true before noflush pushback must stay true.

use guest::bench::io::COUNT;
use guest::case::LeftOut;
use guest::condition::{Fault, IoKind, SuspendForm};
use guest::dm::Flush::Flush;
use guest::dm::NoPath;
use guest::io::Engine;
use guest::prelude::*;

use crate::arrange::{Queued, Spanning, queued_in_the_target, spanning_in_the_targets};
use crate::matrix::Matrix;

const NO_SUSPEND: LeftOut = LeftOut { what: "suspend form", reason: "nothing is suspended" };
const OFFLINE_AS_DELETE: LeftOut = LeftOut {
    what: "offline",
    reason: "without a queue it takes the same way as delete: the path's next I/O fails",
};

/// The table of this group.
pub const CASES: &[Case] = &[
    Case {
        name: "compat::io_succeeds_with_paths",
        claim: "seed, regression 1",
        summary: "I/O succeeds while a path is left",
        tag: Tag::Compat,
        needs: super::NEEDS,
        conditions: || Matrix::of_maps().ios(IoKind::BASIC).build(),
        left_out: &[
            NO_SUSPEND,
            LeftOut {
                what: "discard, write_zeroes, cached, mapped",
                reason: "noflush::queued_io_leaves_the_target_without_returning and \
                         noflush::page_cache_writes_are_pushed_back end with their success",
            },
        ],
        allow: &[],
        deadline_seconds: 30,
        run: io_succeeds_with_paths,
    },
    Case {
        name: "compat::io_fails_without_paths",
        claim: "seed, regression 2",
        summary: "I/O fails when no path is left and queue_if_no_path is not set",
        tag: Tag::Compat,
        needs: super::NEEDS,
        conditions: || Matrix::of_maps().faults(&[Fault::Message, Fault::Delete]).crossed().build(),
        left_out: &[NO_SUSPEND, OFFLINE_AS_DELETE, super::CROSSED],
        allow: &[],
        deadline_seconds: 30,
        run: io_fails_without_paths,
    },
    Case {
        name: "compat::io_queues_without_paths",
        claim: "seed, regression 3",
        summary: "I/O waits in the multipath target when no path is left and queue_if_no_path is set",
        tag: Tag::Compat,
        needs: super::NEEDS,
        conditions: || Matrix::of_maps().faults(&[Fault::Message, Fault::Offline]).crossed().build(),
        left_out: &[
            NO_SUSPEND,
            super::CROSSED,
            LeftOut {
                what: "delete",
                reason: "a deleted disk comes back as another one, which needs a new table; \
                         noflush::resume_after_table_load_completes queues over deleted paths",
            },
        ],
        allow: &[],
        deadline_seconds: 30,
        run: io_queues_without_paths,
    },
    Case {
        name: "compat::flush_suspend_fails_queued_io",
        claim: "seed, regression 4",
        summary: "a suspend without noflush makes the queued I/O fail",
        tag: Tag::Compat,
        needs: super::NEEDS,
        conditions: || {
            let found_by_io =
                |fault: Fault| fault.fails_paths() && fault != Fault::Message && !fault.takes_long();
            let explicit = Matrix::of_maps().suspends(&[SuspendForm::Explicit]);
            Matrix::of_maps().suspends(SuspendForm::ALL).and(explicit.faults_where(found_by_io)).build()
        },
        left_out: &[
            LeftOut {
                what: "aborted_command, timeout, address_removed, replacement_timeout",
                reason: "queued I/O does not show by what its paths failed, and these take seconds: \
                         noflush::resume_after_table_load_completes has them",
            },
            LeftOut { what: "host_busy", reason: "it fails no path: fault::io_outlives_a_busy_host" },
            LeftOut { what: "implicit with a fault", reason: "the suspend is the same function" },
        ],
        allow: &[],
        deadline_seconds: 30,
        run: flush_suspend_fails_queued_io,
    },
    Case {
        name: "compat::flush_suspend_fails_spanning_io",
        claim: "seed, regression 4, second sentence",
        summary: "a suspend without noflush makes queued I/O that spans two multipath targets fail",
        tag: Tag::Compat,
        needs: super::NEEDS,
        conditions: || Matrix::of_maps().suspends(&[SuspendForm::Explicit]).build(),
        left_out: &[LeftOut {
            what: "implicit",
            reason: "its resume would complete one half before the other map is suspended: \
                     the two halves would not meet the same suspend",
        }],
        allow: &[],
        deadline_seconds: 30,
        run: flush_suspend_fails_spanning_io,
    },
];

/// R1 (seed, regression 1): I/O succeeds as long as a valid path exists: over two paths, and over the one that
/// is left when the other failed. Both I/O engines must agree on it.
fn io_succeeds_with_paths(bench: &mut Bench) -> Outcome {
    let paths = bench.paths(2)?;
    let map = bench.multipath("map", &paths, NoPath::Queue)?;

    bench.submit_with(Engine::IoUring, &map, 0)?.succeeds()?;
    bench.submit_with(Engine::Threads, &map, u64::from(COUNT) * 2)?.succeeds()?;

    map.fail_first_path(bench.fault())?;
    bench.submit_with(Engine::IoUring, &map, 1)?.succeeds()?;

    bench.data_is_what_was_written()
}

/// R2 (seed, regression 2): I/O fails with EIO when there is no valid path and queue_if_no_path is not set.
fn io_fails_without_paths(bench: &mut Bench) -> Outcome {
    let paths = bench.paths(2)?;
    let map = bench.multipath("map", &paths, NoPath::Fail)?;
    map.fail_every_path(bench.fault())?;

    bench.submit(&map)?.fails_with_eio()?;

    map.has_no_valid_path()?;
    bench.data_is_what_was_written()
}

/// R3 (seed, regression 3): I/O is queued in the multipath target when there is no valid path and
/// queue_if_no_path is set. Once the paths work again, it completes.
fn io_queues_without_paths(bench: &mut Bench) -> Outcome {
    let paths = bench.paths(2)?;
    let map = bench.multipath("map", &paths, NoPath::Queue)?;
    map.fail_every_path(bench.fault())?;

    let io = bench.submit(&map)?;
    map.has_no_valid_path()?;
    io.is_queued_in_the_target()?;

    map.repair_every_path(bench.fault())?;
    map.reinstate_every_path()?;
    io.succeeds()?;
    bench.data_is_what_was_written()
}

/// R4 (seed, regression 4): I/O that is queued in the target fails when the map is suspended without noflush.
///
/// Where it survives instead (request-based maps of today's kernels keep it in blk-mq), the survivors must be
/// complete and must succeed after the resume; only then the case says that they did not fail.
fn flush_suspend_fails_queued_io(bench: &mut Bench) -> Outcome {
    let Queued { paths, map, io } = queued_in_the_target(bench)?;

    if bench.condition().suspend == Some(SuspendForm::Explicit) {
        map.suspend(Flush)?;
        io.has_failed_or_is_in_the_core()?;
        map.load(&map.repair_every_path(bench.fault())?)?;
        map.resume()?;
    } else {
        map.load(&paths)?;
        map.resume_with(Flush)?;
    }

    io.comes_back()?;
    bench.data_is_what_was_written()?;
    io.has_failed_with_eio()
}

/// R4s (seed, regression 4, second sentence): the same for I/O that spans two multipath targets. Each half is
/// queued in its own map; both are suspended without noflush.
fn flush_suspend_fails_spanning_io(bench: &mut Bench) -> Outcome {
    let Spanning { paths, left, right, io } = spanning_in_the_targets(bench)?;

    left.suspend(Flush)?;
    right.suspend(Flush)?;
    io.has_failed_or_is_in_the_core()?;

    left.load(&paths[..1])?;
    right.load(&paths[1..])?;
    left.resume()?;
    right.resume()?;

    io.comes_back()?;
    bench.data_is_what_was_written()?;
    io.has_failed_with_eio()
}
