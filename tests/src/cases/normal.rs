// SPDX-License-Identifier: GPL-2.0-only
//! The seed's list for the normal path of noflush pushback. The names say `noflush::`: it is what they are about.

use guest::case::LeftOut;
use guest::condition::{Fault, IoKind, SuspendForm};
use guest::dm::Flush::Noflush;
use guest::prelude::*;

use crate::arrange::{Queued, Spanning, queued_in_the_target, spanning_in_the_targets};
use crate::matrix::Matrix;

/// The table of this group.
pub const CASES: &[Case] = &[
    Case {
        name: "noflush::queued_io_leaves_the_target_without_returning",
        claim: "seed, normal path 1",
        summary: "a noflush suspend empties the target's queue and none of that I/O returns",
        tag: Tag::Normal,
        needs: super::NEEDS,
        conditions: || {
            let explicit = || Matrix::of_maps().suspends(&[SuspendForm::Explicit]).faults(&[Fault::Message]);
            explicit().ios(IoKind::BASIC).and(explicit().ios(IoKind::ZEROING).crossed()).build()
        },
        left_out: &[
            super::IMPLICIT,
            LeftOut {
                what: "the other half of discard and write_zeroes",
                reason: "to a map both are one bio or request without data (__process_abnormal_io(), blk_rq_prep_clone()), \
                         so each queue mode and each transport has one of them",
            },
            LeftOut {
                what: "cached, mapped",
                reason: "noflush::page_cache_writes_are_pushed_back, after the cases that delete disks (see GROUPS)",
            },
        ],
        allow: &[],
        deadline_seconds: 30,
        run: queued_io_leaves_the_target_without_returning,
    },
    Case {
        name: "noflush::resume_without_recovery_queues_again",
        claim: "seed, normal path 2",
        summary: "a resume without a working path puts the pushed-back I/O into the target's queue again",
        tag: Tag::Normal,
        needs: super::NEEDS,
        conditions: || {
            let explicit = Matrix::of_maps().suspends(&[SuspendForm::Explicit]).faults(&[Fault::Message]);
            explicit
                .and(Matrix::of_maps().suspends(&[SuspendForm::Implicit]).faults(&[Fault::Offline]))
                .build()
        },
        left_out: &[
            LeftOut {
                what: "implicit, message",
                reason: "the table that the implicit form needs starts with every path active, \
                         so a path that failed by message only would have recovered",
            },
            LeftOut {
                what: "explicit, offline",
                reason: "without a new table, why a path failed is all the same",
            },
            LeftOut { what: "delete", reason: "a deleted disk can't be named in a table" },
        ],
        allow: &[],
        deadline_seconds: 30,
        run: resume_without_recovery_queues_again,
    },
    Case {
        name: "noflush::resume_after_path_recovery_completes",
        claim: "seed, normal path 3, path recovery",
        summary: "pushed-back I/O succeeds when its own paths work again",
        tag: Tag::Normal,
        needs: super::NEEDS,
        conditions: || {
            Matrix::of_maps()
                .suspends(&[SuspendForm::Explicit])
                .faults(&[Fault::Message, Fault::Offline])
                .crossed()
                .build()
        },
        left_out: &[
            super::CROSSED,
            LeftOut { what: "implicit", reason: "a resume suspends first only if a table was loaded" },
            LeftOut {
                what: "delete",
                reason: "a deleted disk comes back as another one, which needs a new table",
            },
        ],
        allow: &[],
        deadline_seconds: 30,
        run: resume_after_path_recovery_completes,
    },
    Case {
        name: "noflush::resume_after_table_load_completes",
        claim: "seed, normal path 3, table load",
        summary: "pushed-back I/O succeeds over the paths of a table loaded while suspended",
        tag: Tag::Normal,
        needs: super::NEEDS,
        conditions: || {
            Matrix::of_maps()
                .suspends(&[SuspendForm::Explicit])
                .faults_where(|fault| fault.fails_paths() && fault != Fault::Offline)
                .slow_faults_in(QueueMode::Rq)
                .build()
        },
        left_out: &[
            LeftOut { what: "implicit", reason: "noflush::load_then_noflush_resume_completes is that form" },
            LeftOut { what: "offline", reason: "noflush::resume_after_path_recovery_completes has it" },
            LeftOut {
                what: "bio with a fault that takes seconds",
                reason: "queued I/O does not show by what its paths failed; \
                         noflush::io_failing_during_the_wait_is_pushed_back is about that",
            },
        ],
        allow: &[],
        deadline_seconds: 30,
        run: resume_after_table_load_completes,
    },
    Case {
        name: "noflush::load_then_noflush_resume_completes",
        claim: "seed, normal path 4",
        summary: "queued I/O succeeds when a table is loaded and one noflush resume takes it into use",
        tag: Tag::Normal,
        needs: super::NEEDS,
        conditions: || {
            let implicit = || Matrix::of_maps().suspends(&[SuspendForm::Implicit]);
            let writes = implicit().faults(&[Fault::Message, Fault::Delete]).ios(&[IoKind::Write]);
            writes.and(implicit().faults(&[Fault::Message]).ios(&[IoKind::Flush])).build()
        },
        left_out: &[
            LeftOut { what: "explicit", reason: "noflush::resume_after_table_load_completes is that form" },
            LeftOut {
                what: "read, fua, discard, write_zeroes",
                reason: "noflush::queued_io_leaves_the_target_without_returning has them",
            },
            LeftOut { what: "offline", reason: "noflush::resume_without_recovery_queues_again has it" },
        ],
        allow: &[],
        deadline_seconds: 30,
        run: load_then_noflush_resume_completes,
    },
    Case {
        name: "noflush::spanning_io_completes",
        claim: "seed, normal path 4, second sentence",
        summary: "queued I/O that spans two multipath targets succeeds after noflush and new tables",
        tag: Tag::Normal,
        needs: super::NEEDS,
        conditions: || Matrix::of_maps().suspends(SuspendForm::ALL).build(),
        left_out: &[],
        allow: &[],
        deadline_seconds: 30,
        run: spanning_io_completes,
    },
];

/// N1 (seed, normal path 1): a noflush suspend empties the multipath target's queue, and none of that I/O comes
/// back to whoever submitted it. What was pushed back is whole: it completes over a new table.
fn queued_io_leaves_the_target_without_returning(bench: &mut Bench) -> Outcome {
    let Queued { paths, map, io } = queued_in_the_target(bench)?;

    map.suspend(Noflush)?;
    io.is_pushed_back_to_the_core()?;

    // A loaded table does not matter until the resume. In it, every path starts as a valid one.
    map.load(&paths)?;
    io.is_pushed_back_to_the_core()?;
    map.resume()?;
    io.succeeds()?;
    bench.data_is_what_was_written()
}

/// N2 (seed, normal path 2): the I/O that a noflush suspend pushed back is queued in the target again when the
/// map is resumed and still has no valid path. The feature queue_if_no_path outlives it.
fn resume_without_recovery_queues_again(bench: &mut Bench) -> Outcome {
    let Queued { paths, map, io } = queued_in_the_target(bench)?;

    if bench.condition().suspend == Some(SuspendForm::Explicit) {
        map.suspend(Noflush)?;
        io.is_pushed_back_to_the_core()?;
        map.resume()?;
    } else {
        // The same paths once more: they still refuse everything, so the I/O finds no valid one.
        map.load(&paths)?;
        map.resume_with(Noflush)?;
    }

    // At once, for what has come back is not queued; and when the target has found out about its paths.
    io.is_queued_in_the_target_again()?;
    map.has_no_valid_path()?;
    io.is_queued_in_the_target_again()?;
    map.still_queues_without_paths()?;

    map.repair_every_path(bench.fault())?;
    map.reinstate_every_path()?;
    io.succeeds()?;
    bench.data_is_what_was_written()
}

/// N3, first half (seed, normal path 3): pushed-back I/O succeeds when the map is resumed and its paths have
/// recovered. The devices recover while the map is suspended. Today's kernels refuse the message
/// `reinstate_path` on a suspended map (EBUSY, `multipath_message`), so the map is told right after the resume.
fn resume_after_path_recovery_completes(bench: &mut Bench) -> Outcome {
    let Queued { map, io, .. } = queued_in_the_target(bench)?;

    map.suspend(Noflush)?;
    io.is_pushed_back_to_the_core()?;
    map.repair_every_path(bench.fault())?;
    io.is_pushed_back_to_the_core()?;

    map.resume()?;
    map.reinstate_every_path()?;
    io.succeeds()?;
    bench.data_is_what_was_written()
}

/// N3, second half (seed, normal path 3): pushed-back I/O succeeds when a table with working paths is loaded
/// before the resume.
fn resume_after_table_load_completes(bench: &mut Bench) -> Outcome {
    let Queued { map, io, .. } = queued_in_the_target(bench)?;

    map.suspend(Noflush)?;
    io.is_pushed_back_to_the_core()?;

    let repaired = map.repair_every_path(bench.fault())?;
    map.load(&repaired)?;
    map.resume()?;
    io.succeeds()?;
    bench.data_is_what_was_written()
}

/// N4 (seed, normal path 4): queued I/O succeeds when a table is loaded and the running map is resumed with
/// noflush: one ioctl that suspends, exchanges the table and resumes. It is how multipathd reloads a map.
fn load_then_noflush_resume_completes(bench: &mut Bench) -> Outcome {
    let Queued { map, io, .. } = queued_in_the_target(bench)?;

    let fresh = bench.paths(1)?;
    map.load(&fresh)?;
    io.is_queued_in_the_target()?;
    map.resume_with(Noflush)?;
    io.succeeds()?;
    bench.data_is_what_was_written()
}

/// N4s (seed, normal path 4, second sentence): the same for I/O that spans two multipath targets, each of which
/// gets a new table of its own.
fn spanning_io_completes(bench: &mut Bench) -> Outcome {
    let Spanning { paths, left, right, io } = spanning_in_the_targets(bench)?;

    if bench.condition().suspend == Some(SuspendForm::Explicit) {
        left.suspend(Noflush)?;
        right.suspend(Noflush)?;
        io.is_pushed_back_to_the_core()?;
        left.load(&paths[..1])?;
        right.load(&paths[1..])?;
        left.resume()?;
        right.resume()?;
    } else {
        left.load(&paths[..1])?;
        right.load(&paths[1..])?;
        left.resume_with(Noflush)?;
        right.resume_with(Noflush)?;
    }

    io.succeeds()?;
    bench.data_is_what_was_written()
}
