// SPDX-License-Identifier: GPL-2.0-only
//! I/O that is in flight in a path when the map is suspended, and fails while the suspend waits for it. The seed's
//! message describes it (`DM_ENDIO_REQUEUE`, "the flag must be visible while the target is flushing pending I/Os") and its
//! lists of tests do not. And the flag's end: after the suspend, nothing is pushed back.

use guest::case::LeftOut;
use guest::condition::Signal;
use guest::dm::Flush::{Flush, Noflush};
use guest::dm::{NoPath, Suspender};
use guest::evidence::observe::Observed;
use guest::prelude::*;

use crate::arrange::{Doomed, doomed_in_flight};
use crate::matrix::Matrix;

const NO_FAILURE: LeftOut = LeftOut {
    what: "message, host_busy",
    reason: "neither makes I/O fail that is in flight: fault::io_in_flight_outlives_its_path and fault::io_outlives_a_busy_host",
};

/// Once a path that fails its I/O by itself; and every fault of the transport that makes I/O in flight fail.
fn with_every_fault() -> Matrix {
    let fails = |fault: Fault| fault.fails_paths() && fault != Fault::Message;
    Matrix::of_maps().and(Matrix::of_maps().faults_where(fails))
}

/// The table of this group.
pub const CASES: &[Case] = &[
    Case {
        name: "noflush::io_failing_during_the_wait_is_pushed_back",
        claim: "seed, DM_ENDIO_REQUEUE",
        summary: "I/O that fails in its last path while a noflush suspend waits for it is pushed back",
        tag: Tag::Normal,
        needs: super::HELD,
        conditions: || with_every_fault().timeouts_in(QueueMode::Rq).build(),
        left_out: &[
            super::IMPLICIT,
            NO_FAILURE,
            LeftOut {
                what: "bio with a time-out, rq with another fault that takes seconds",
                reason: "device-mapper sees the error and not how long the layers below took for it; the control, \
                         compat::io_failing_during_flush_suspend_fails, has them the other way round",
            },
        ],
        allow: &[],
        deadline_seconds: 30,
        run: io_failing_during_the_wait_is_pushed_back,
    },
    Case {
        name: "noflush::io_failing_without_queueing_is_pushed_back",
        claim: "seed, DM_ENDIO_REQUEUE, as today's dm-multipath has it",
        summary: "the same for a map that does not queue without paths",
        tag: Tag::Normal,
        needs: super::HELD,
        conditions: || Matrix::of_maps().build(),
        left_out: &[super::IMPLICIT],
        allow: &[],
        deadline_seconds: 30,
        run: io_failing_without_queueing_is_pushed_back,
    },
    Case {
        name: "compat::io_failing_during_flush_suspend_fails",
        claim: "seed, regression 4, for I/O in flight",
        summary: "I/O that fails in its last path while a suspend without noflush waits for it comes back with EIO",
        tag: Tag::Compat,
        needs: super::HELD,
        conditions: || with_every_fault().timeouts_in(QueueMode::Bio).build(),
        left_out: &[
            super::IMPLICIT,
            NO_FAILURE,
            LeftOut {
                what: "rq with a time-out, bio with another fault that takes seconds",
                reason: "it is the control: noflush::io_failing_during_the_wait_is_pushed_back has them the other way round",
            },
        ],
        allow: &[],
        deadline_seconds: 30,
        run: io_failing_during_flush_suspend_fails,
    },
    Case {
        name: "noflush::flag_is_gone_after_resume",
        claim: "seed, DMF_NOFLUSH_SUSPENDING is always cleared before dm_suspend() returns",
        summary: "after a noflush suspend and a resume, I/O without a path fails as before",
        tag: Tag::Normal,
        needs: super::NEEDS,
        conditions: || Matrix::of_maps().build(),
        left_out: &[LeftOut {
            what: "implicit",
            reason: "noflush::load_then_noflush_resume_completes ends with I/O over the map, by the same dm_suspend()",
        }],
        allow: &[],
        deadline_seconds: 30,
        run: flag_is_gone_after_resume,
    },
];

/// E1 (seed, `DM_ENDIO_REQUEUE`): I/O is in flight in the last path of a map when it is suspended with noflush, and fails
/// while the suspend waits for it. It is pushed back and succeeds over the table that is loaded before the resume.
fn io_failing_during_the_wait_is_pushed_back(bench: &mut Bench) -> Outcome {
    failing_io_is_pushed_back(bench, NoPath::Queue)
}

/// F1: the same without queue_if_no_path. The seed's multipath patch pushed back only with it; today's dm-multipath
/// pushes back whatever fails while a noflush suspend waits (`__must_push_back`).
fn io_failing_without_queueing_is_pushed_back(bench: &mut Bench) -> Outcome {
    failing_io_is_pushed_back(bench, NoPath::Fail)
}

fn failing_io_is_pushed_back(bench: &mut Bench, no_path: NoPath) -> Outcome {
    let doomed = doomed_in_flight(bench, no_path)?;
    let Doomed { map, held, .. } = &doomed;

    let mut suspend = Suspender::start(map.map(), Noflush, Signal::Eintr)?;
    suspend.waits()?;
    held.is_in_flight()?;
    doomed.fails(bench)?;
    suspend.succeeds()?;
    held.is_pushed_back_to_the_core()?;

    // In a new table, a path that failed by message only starts as a valid one.
    map.load(&doomed.recovers(bench)?)?;
    map.resume()?;
    held.succeeds()?;
    bench.data_is_what_was_written()
}

/// The control of E1 (seed, regression 4): while a suspend without noflush waits for it, failing I/O comes back with EIO,
/// queue_if_no_path or not.
fn io_failing_during_flush_suspend_fails(bench: &mut Bench) -> Outcome {
    let doomed = doomed_in_flight(bench, NoPath::Queue)?;
    let Doomed { map, held, .. } = &doomed;

    let mut suspend = Suspender::start(map.map(), Flush, Signal::Eintr)?;
    suspend.waits()?;
    held.is_in_flight()?;
    doomed.fails(bench)?;
    held.fails_with_eio()?;
    suspend.succeeds()?;

    map.load(&doomed.recovers(bench)?)?;
    map.resume()?;
    bench.data_is_what_was_written()
}

/// W1 (seed, "it is always cleared before `dm_suspend()` returns"): a noflush suspend and a resume leave nothing behind.
/// When the last path of a map without queue_if_no_path fails afterwards, its I/O fails; with the flag still set it would be
/// pushed back and never return.
fn flag_is_gone_after_resume(bench: &mut Bench) -> Outcome {
    let paths = bench.paths(1)?;
    let map = bench.multipath("map", &paths, NoPath::Fail)?;
    map.suspend(Noflush)?;
    map.resume()?;
    bench.submit(&map)?.succeeds()?;
    let observed = Observed::of(map.map().device());
    let before = observed.as_ref().map(Observed::counters).transpose()?.unwrap_or_default();

    map.fail_every_path(bench.fault())?;
    bench.submit(&map)?.fails_with_eio()?;
    if let Some(observed) = observed {
        let since = observed.counters()?.since(before);
        ensure(since.added + since.refused == 0, NOTHING_PUSHED_BACK, format_args!("{since:?}"))?;
    }
    bench.data_is_what_was_written()
}

/// On an observed kernel: its core was not even asked.
pub const NOTHING_PUSHED_BACK: &str = "nothing is pushed back after the resume";
