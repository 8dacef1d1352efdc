// SPDX-License-Identifier: GPL-2.0-only
//! The seed's list for the error paths of noflush pushback: the suspend is interrupted by a signal, or fails, while
//! I/O has been pushed back already and other I/O is still in flight.

use guest::bench::io::PUSHED_BACK;
use guest::case::LeftOut;
use guest::condition::Signal;
use guest::dm::Flush::Noflush;
use guest::dm::{NoPath, Suspender};
use guest::evidence::observe::Observed;
use guest::io::Engine;
use guest::prelude::*;
use nix::errno::Errno;

use crate::arrange::{
    InFlight, Queued, Split, in_flight, queued_in_the_target, split_between_path_and_target,
};
use crate::matrix::Matrix;

const IMPLICIT: LeftOut = LeftOut {
    what: "implicit",
    reason: "an implicit suspend is the same function (dm_suspend), and what interrupts it interrupts the resume too",
};

/// The table of this group.
pub const CASES: &[Case] = &[
    Case {
        name: "error_path::failed_suspend_reissues_pushed_back_io",
        claim: "seed, error path 1",
        summary: "I/O pushed back by a noflush suspend that then fails is queued in the target again, and the flag is gone",
        tag: Tag::ErrorPath,
        needs: super::NEEDS,
        conditions: || Matrix::of_maps().build(),
        left_out: &[IMPLICIT],
        allow: &[],
        deadline_seconds: 30,
        run: failed_suspend_reissues_pushed_back_io,
    },
    Case {
        name: "error_path::interrupted_suspend_keeps_pushed_back_io",
        claim: "seed, error path 2, already pushed back",
        summary: "I/O pushed back by a noflush suspend that is interrupted is queued in the target again",
        tag: Tag::ErrorPath,
        needs: super::HELD,
        conditions: || Matrix::of_maps().signals(Signal::ALL).build(),
        left_out: &[IMPLICIT],
        allow: &[],
        deadline_seconds: 30,
        run: interrupted_suspend_keeps_pushed_back_io,
    },
    Case {
        name: "error_path::interrupted_suspend_reissues_pushed_back_io",
        claim: "seed, error path 2, already pushed back, with a path",
        summary: "I/O pushed back by a noflush suspend that is interrupted succeeds if a path came back meanwhile",
        tag: Tag::ErrorPath,
        needs: super::HELD,
        conditions: || Matrix::of_maps().signals(Signal::ALL).build(),
        left_out: &[IMPLICIT],
        allow: &[],
        deadline_seconds: 30,
        run: interrupted_suspend_reissues_pushed_back_io,
    },
    Case {
        name: "error_path::io_not_returned_in_time_fails",
        claim: "seed, error path 2, not returned in time",
        summary: "I/O that fails after a noflush suspend was interrupted comes back with EIO",
        tag: Tag::ErrorPath,
        needs: super::HELD,
        conditions: || Matrix::of_maps().signals(&[Signal::Eintr]).build(),
        left_out: &[
            IMPLICIT,
            LeftOut {
                what: "restart",
                reason: "the suspend that was issued again pushes back what fails while it waits: \
                         noflush::io_failing_during_the_wait_is_pushed_back",
            },
            LeftOut {
                what: "queue_if_no_path",
                reason: "with it, the running target may queue what fails, which says nothing about the core's flag",
            },
        ],
        allow: &[],
        deadline_seconds: 30,
        run: io_not_returned_in_time_fails,
    },
    Case {
        name: "error_path::errors_are_eio_and_nothing_internal",
        claim: "seed, error path 2, with -EIO",
        summary: "an error that pushback causes is EIO for the application, by whichever call it does its I/O",
        tag: Tag::ErrorPath,
        needs: super::HELD,
        conditions: || Matrix::of_maps().build(),
        left_out: &[IMPLICIT],
        allow: &[],
        deadline_seconds: 30,
        run: errors_are_eio_and_nothing_internal,
    },
];

/// The hook made the suspend fail.
pub const SUSPEND_FAILS: &str = "noflush suspend fails with ENOMEM";
/// It left the map as it was.
pub const STILL_ACTIVE: &str = "the map is active after a failed suspend";

/// The signal of this run.
fn signal(bench: &Bench) -> Signal {
    bench.condition().signal.unwrap_or(Signal::Eintr)
}

/// X1 (seed, error path 1): a noflush suspend fails after its flag was set and I/O was pushed back (the seed lets
/// `bdget_disk()` fail; today no such call is left, so the kernel's own hook fails it). What was pushed back does not
/// return: the map runs, and the I/O is queued in the target again. The flag is gone, or the target would have pushed it back
/// again instead of queueing it. The next noflush suspend works, and the I/O succeeds over the table that is loaded then.
fn failed_suspend_reissues_pushed_back_io(bench: &mut Bench) -> Outcome {
    let Queued { paths, map, io } = queued_in_the_target(bench)?;
    let observed = Observed::require(map.map().device())?;
    let before = observed.counters()?;

    observed.fail_noflush_suspends(1)?;
    let result = Suspender::start(map.map(), Noflush, Signal::Eintr)?.returns()?;
    ensure(result == Err(Errno::ENOMEM), SUSPEND_FAILS, format_args!("{result:?}"))?;
    let info = map.map().info()?;
    ensure(info.live && !info.suspended, STILL_ACTIVE, format_args!("{info:?}"))?;
    io.is_queued_in_the_target_again()?;
    map.still_queues_without_paths()?;
    // More than the stock evidence, never instead of it: in bio mode the core did take the I/O back before that.
    if map.queue_mode() == QueueMode::Bio {
        let added = observed.counters()?.since(before).added;
        ensure(added >= io.tally().total as u64, PUSHED_BACK, format_args!("the core counted {added}"))?;
    }

    map.suspend(Noflush)?;
    io.is_pushed_back_to_the_core()?;
    map.load(&paths)?;
    map.resume()?;
    io.succeeds()?;
    bench.data_is_what_was_written()
}

/// X2a (seed, error path 2, first half): a noflush suspend has pushed back what the target had queued, and waits for
/// I/O in flight. A signal ends the wait. What was pushed back does not return with an error: it is re-issued, and as there
/// still is no path, it is queued in the target again. If the ioctl is issued again (`SA_RESTART`), the next wait
/// finds it pushed back again.
fn interrupted_suspend_keeps_pushed_back_io(bench: &mut Bench) -> Outcome {
    let signal = signal(bench);
    let Split { map, slow, held, queued, .. } = split_between_path_and_target(bench)?;

    let mut suspend = Suspender::start(map.map(), Noflush, signal)?;
    suspend.waits()?;
    queued.is_pushed_back_while_the_suspend_waits()?;
    suspend.is_interrupted()?;

    match signal {
        Signal::Eintr => {
            queued.is_queued_in_the_target_again()?;
            map.still_queues_without_paths()?;
            slow.let_go()?;
            held.succeeds()?;
        }
        Signal::Restart => {
            queued.is_pushed_back_while_the_suspend_waits()?;
            slow.let_go()?;
            held.succeeds()?;
            suspend.succeeds()?;
            queued.is_pushed_back_to_the_core()?;
            map.resume()?;
            queued.is_queued_in_the_target_again()?;
            map.still_queues_without_paths()?;
        }
    }

    map.reinstate_every_path()?;
    queued.succeeds()?;
    bench.data_is_what_was_written()
}

/// X2a, with a path (seed, error path 2, first half, "are re-issued"): while the suspend waits, a path is
/// reinstated, which the map accepts as it is not suspended yet. Then the signal: what was pushed back is re-issued and
/// succeeds. If the ioctl is issued again, that is so when it is through and the map resumed, at the latest.
fn interrupted_suspend_reissues_pushed_back_io(bench: &mut Bench) -> Outcome {
    let signal = signal(bench);
    let Split { map, slow, held, queued, .. } = split_between_path_and_target(bench)?;

    let mut suspend = Suspender::start(map.map(), Noflush, signal)?;
    suspend.waits()?;
    queued.is_pushed_back_while_the_suspend_waits()?;
    map.reinstate_first_path()?;
    suspend.is_interrupted()?;

    if signal == Signal::Eintr {
        queued.succeeds()?;
        slow.let_go()?;
    } else {
        slow.let_go()?;
        suspend.succeeds()?;
        map.resume()?;
        queued.succeeds()?;
    }
    held.succeeds()?;
    bench.data_is_what_was_written()
}

/// X2b (seed, error path 2, second half): I/O that had not come back to the map when its noflush suspend was
/// interrupted fails afterwards. The flag is cleared, nobody pushes it back: it returns with EIO.
fn io_not_returned_in_time_fails(bench: &mut Bench) -> Outcome {
    let InFlight { slow, map, held, .. } = in_flight(bench, NoPath::Fail)?;

    let mut suspend = Suspender::start(map.map(), Noflush, signal(bench))?;
    suspend.waits()?;
    held.is_in_flight()?;
    suspend.is_interrupted()?;
    held.is_in_flight()?;
    slow.fail_what_is_held()?;

    held.fails_with_eio()?;
    bench.data_is_what_was_written()
}

/// ER (seed, error path 2, "return with EIO"): inside the kernel, pushback is a status with an errno of its own
/// (`BLK_STS_DM_REQUEUE`, today EREMCHG). No application ever sees it: not after an interrupted noflush suspend and not
/// without a path, neither in synchronous calls nor in io_uring. (`compat::flush_suspend_fails_queued_io` says the same of
/// a flush suspend.)
fn errors_are_eio_and_nothing_internal(bench: &mut Bench) -> Outcome {
    let InFlight { slow, map, held, .. } = in_flight(bench, NoPath::Fail)?;
    let called = bench.submit_beside(Engine::Threads, &map, &held)?;
    called.is_in_flight()?;

    let mut suspend = Suspender::start(map.map(), Noflush, Signal::Eintr)?;
    suspend.waits()?;
    suspend.is_interrupted()?;
    slow.fail_what_is_held()?;
    held.fails_with_nothing_but_eio()?;
    called.fails_with_nothing_but_eio()?;

    map.has_no_valid_path()?;
    bench.submit_with(Engine::Threads, &map, 0)?.fails_with_nothing_but_eio()?;
    bench.data_is_what_was_written()
}
