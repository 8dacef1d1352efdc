// SPDX-License-Identifier: GPL-2.0-only
//! The seed's list for the error paths of noflush pushback: the suspend is interrupted by a signal, or fails, while
//! I/O has been pushed back already and other I/O is still in flight.

use guest::case::LeftOut;
use guest::condition::Signal;
use guest::dm::Flush::Noflush;
use guest::dm::Suspender;
use guest::prelude::*;

use crate::arrange::{Split, split_between_path_and_target};
use crate::matrix::Matrix;

const IMPLICIT: LeftOut = LeftOut {
    what: "implicit",
    reason: "an implicit suspend is the same function (dm_suspend), and what interrupts it interrupts the resume too",
};

/// The table of this group.
pub const CASES: &[Case] = &[Case {
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
}];

/// The signal of this run.
fn signal(bench: &Bench) -> Signal {
    bench.condition().signal.unwrap_or(Signal::Eintr)
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
