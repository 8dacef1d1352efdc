// SPDX-License-Identifier: GPL-2.0-only
//! What the seed says about the core of device-mapper, proved without multipath: over this project's own target, which
//! asks for pushback when it is told to (docs/test-target.md). Its maps are bio based.

use guest::bench::io::COUNT;
use guest::bench::test_map::{PUSHED_BACK_FIRST, TestIo, TestMap, reissued_in_order, reissued_once};
use guest::case::LeftOut;
use guest::condition::SuspendForm::{Explicit, Implicit};
use guest::dm::Flush::{Flush, Noflush};
use guest::dm::test_target::OnMap::{Hold, Remap, Requeue, RequeueUnderNoflush};
use guest::dm::test_target::Order::{self, Accept, CloseGate, EndIo, Map, OpenGate, Presuspend};
use guest::dm::test_target::{OnEnd, OnPresuspend};
use guest::io::{Spec, writes};
use guest::prelude::*;

use crate::matrix::Matrix;

const NO_SUSPEND_FORM: LeftOut =
    LeftOut { what: "suspend form", reason: "what happens during the suspend is the same in both" };

/// The fault point did its work.
const SUSPEND_FAILS: &str = "the noflush suspend fails with ENOMEM";
/// It did not become suspended.
const STAYS_ACTIVE: &str = "the map is active after the failed suspend";

/// A case of this group; both suspend forms unless it says otherwise.
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
        tag: Tag::Core,
        needs: super::CORE_NEEDS,
        conditions: || Matrix::of_any_transport().suspends(SuspendForm::ALL).build(),
        left_out: &[super::ANY_TRANSPORT],
        allow: &[],
        deadline_seconds: 40,
        run,
    }
}

/// The same without the axis of the suspend form.
const fn explicit(case: Case) -> Case {
    Case {
        conditions: || Matrix::of_any_transport().suspends(&[Explicit]).build(),
        left_out: &[super::ANY_TRANSPORT, super::IMPLICIT],
        ..case
    }
}

/// The table of this group.
pub const CASES: &[Case] = &[
    case(
        "core::io_that_map_requeues_is_pushed_back",
        "seed, DM_MAPIO_REQUEUE: map() can request the core to queue the bio",
        "a bio for which map() returns DM_MAPIO_REQUEUE during a noflush suspend is re-issued after it",
        io_that_map_requeues_is_pushed_back,
    ),
    case(
        "core::io_that_end_io_requeues_is_pushed_back",
        "seed, DM_ENDIO_REQUEUE: end_io() can request the same",
        "a bio for which end_io() returns DM_ENDIO_REQUEUE during a noflush suspend is re-issued after it",
        io_that_end_io_requeues_is_pushed_back,
    ),
    case(
        "core::spanning_io_is_pushed_back",
        "seed, normal path 4, second sentence, inside one map",
        "I/O that spans two targets of a map, both halves pushed back, succeeds after the resume",
        spanning_io_is_pushed_back,
    ),
    case(
        "core::spanning_io_fails_with_a_flush_suspend",
        "seed, regression 4, second sentence, inside one map",
        "I/O that spans two targets of a map fails with a suspend without noflush",
        spanning_io_fails_with_a_flush_suspend,
    ),
    explicit(case(
        "core::the_half_that_succeeded_is_not_issued_again",
        "seed, dec_pending: the bio is pushed back once all the split clones have ended",
        "of I/O with one half done and one pushed back only the latter is re-issued, and all succeeds",
        the_half_that_succeeded_is_not_issued_again,
    )),
    explicit(case(
        "core::the_half_that_failed_fails_the_io",
        "seed, dec_pending: pushback supersedes errors, of today's core: within one piece of a split bio",
        "I/O with one half failed and one pushed back fails once, with EIO, after the resume",
        the_half_that_failed_fails_the_io,
    )),
    explicit(case(
        "core::pushback_supersedes_an_error",
        "seed, dec_pending: note that this supersedes any I/O errors",
        "a flush that failed in one target and is pushed back by the other succeeds after the resume",
        pushback_supersedes_an_error,
    )),
    explicit(case(
        "core::pushed_back_io_is_reissued_in_order",
        "seed, pushback list: md->pushback is merged into md->deferred for re-issuing at resume time",
        "pushed-back bios are re-issued in order, before those that came while the map was suspended",
        pushed_back_io_is_reissued_in_order,
    )),
    Case {
        conditions: || Matrix::of_any_transport().build(),
        left_out: &[super::ANY_TRANSPORT, NO_SUSPEND_FORM],
        ..case(
            "core::refused_pushback_is_eio",
            "seed, dec_pending: returns -EIO if the suspend is not a noflush one (any more)",
            "who asks for pushback without a noflush suspend gets EIO and nothing internal",
            refused_pushback_is_eio,
        )
    },
    explicit(case(
        "core::partly_accepted_io_is_whole",
        "seed, pushback list: the original bio is re-issued, so the data is what was submitted",
        "bios of which map() accepted a part each are pushed back, and the data is right afterwards",
        partly_accepted_io_is_whole,
    )),
    explicit(case(
        "core::io_accepted_after_an_advance_is_whole",
        "seed, pushback list: the original bio is re-issued, so the data is what was submitted",
        "pushed-back bios that a target had moved on before it accepted a part are re-issued from their start",
        io_accepted_after_an_advance_is_whole,
    )),
    Case {
        conditions: || Matrix::of_any_transport().build(),
        left_out: &[super::ANY_TRANSPORT, NO_SUSPEND_FORM],
        ..case(
            "core::failed_suspend_reissues_what_was_pushed_back",
            "seed, error path 1",
            "when a noflush suspend fails, the flag is clear and what was pushed back is re-issued",
            failed_suspend_reissues_what_was_pushed_back,
        )
    },
    case(
        "core::the_flag_ends_with_the_suspend",
        "seed, DMF_NOFLUSH_SUSPENDING: it is always cleared before dm_suspend() returns",
        "after a noflush suspend and a resume, pushback is refused with EIO",
        the_flag_ends_with_the_suspend,
    ),
];

/// A map over one path, and I/O that its target holds.
fn held(bench: &mut Bench) -> Outcome<(TestMap, Vec<Spec>, TestIo)> {
    let paths = bench.paths(1)?;
    let map = bench.test_map("map", &paths)?;
    let specs = writes(COUNT);
    let io = hold(bench, &map, &specs, COUNT.into())?;
    Ok((map, specs, io))
}

/// A map of two targets, and I/O that spans both, each half held by its target.
fn spanning(bench: &mut Bench) -> Outcome<(TestMap, [Spec; 2], TestIo)> {
    let paths = bench.paths(2)?;
    let map = bench.test_map("map", &paths)?;
    let border = map.first_block(1);
    let halves = [Spec::new(IoKind::Write, border - 4, 4), Spec::new(IoKind::Write, border, 4)];
    let io = hold(bench, &map, &[Spec::new(IoKind::Write, border - 4, 8)], 2)?;
    Ok((map, halves, io))
}

fn hold(bench: &mut Bench, map: &TestMap, specs: &[Spec], pieces: u64) -> Outcome<TestIo> {
    map.tell(&[Map(Hold)])?;
    let io = bench.submit_each(map, specs)?;
    io.is_held(pieces)?;
    Ok(io)
}

/// Suspends with noflush, finds all of the I/O in the core, and resumes; or does it in one call, with a new table.
/// From then on the targets behave like linear, and their logs begin with what is re-issued.
fn suspend_and_resume(bench: &Bench, map: &TestMap, io: &TestIo) -> Outcome {
    if bench.condition().suspend == Some(Implicit) {
        map.load_again()?;
        return map.start_resume(Noflush)?.succeeds();
    }
    map.suspend(Noflush)?;
    io.is_pushed_back_to_the_core()?;
    map.tell(&[Order::Reset])?;
    map.resume()
}

/// I/O reaches `map()` while the flag is set and nothing is blocked yet: `presuspend()` of the target waits meanwhile.
fn io_that_map_requeues_is_pushed_back(bench: &mut Bench) -> Outcome {
    let paths = bench.paths(1)?;
    let map = bench.test_map("map", &paths)?;
    map.tell(&[Map(Requeue), CloseGate])?;
    let implicit = bench.condition().suspend == Some(Implicit);
    let change = if implicit {
        map.load_again()?;
        map.start_resume(Noflush)?
    } else {
        map.start_suspend(Noflush)?
    };
    map.waits_at_the_gate()?;

    let specs = writes(COUNT);
    let io = bench.submit_each(&map, &specs)?;
    map.has_requeued(specs.len())?;
    map.tell(&[OpenGate])?;
    change.succeeds()?;

    if !implicit {
        io.is_pushed_back_to_the_core()?;
        map.tell(&[Order::Reset])?;
        map.resume()?;
    }
    io.succeeds()?;
    reissued_once(&map.log(0)?, &specs)?;
    bench.data_is_what_was_written()
}

/// The target sends what it holds to the path when it is suspended, and requests pushback of what comes back. (That the
/// writes did succeed below does not matter: they are written again.)
fn io_that_end_io_requeues_is_pushed_back(bench: &mut Bench) -> Outcome {
    let (map, specs, io) = held(bench)?;
    map.tell(&[Map(Remap), EndIo(OnEnd::Requeue), Presuspend(OnPresuspend::Release)])?;

    suspend_and_resume(bench, &map, &io)?;

    io.succeeds()?;
    reissued_once(&map.log(0)?, &specs)?;
    bench.data_is_what_was_written()
}

/// S1: both halves of the I/O are pushed back, each by its own target.
fn spanning_io_is_pushed_back(bench: &mut Bench) -> Outcome {
    let (map, halves, io) = spanning(bench)?;

    suspend_and_resume(bench, &map, &io)?;

    io.succeeds()?;
    for (target, half) in halves.iter().enumerate() {
        reissued_once(&map.log(target)?, std::slice::from_ref(half))?;
    }
    bench.data_is_what_was_written()
}

/// S1, control: without noflush both targets fail what they hold.
fn spanning_io_fails_with_a_flush_suspend(bench: &mut Bench) -> Outcome {
    let (map, _, io) = spanning(bench)?;

    if bench.condition().suspend == Some(Implicit) {
        map.load_again()?;
        map.start_resume(Flush)?.succeeds()?;
        io.fails_with_eio()?;
    } else {
        map.suspend(Flush)?;
        io.fails_with_eio()?;
        map.tell(&[Order::Reset])?;
        map.resume()?;
    }
    bench.data_is_what_was_written()
}

/// S2: the first half is written before the suspend, the second one pushed back by it.
fn the_half_that_succeeded_is_not_issued_again(bench: &mut Bench) -> Outcome {
    let (map, halves, io) = spanning(bench)?;
    map.tell_one(0, Order::Release)?;
    map.has_ended(1)?;
    io.is_held(1)?;

    suspend_and_resume(bench, &map, &io)?;

    io.succeeds()?;
    reissued_once(&map.log(0)?, &[])?;
    reissued_once(&map.log(1)?, &halves[1..])?;
    bench.data_is_what_was_written()
}

/// Each piece of a split bio has a `dm_io` of its own today, so an error of one is not superseded by the pushback of
/// another (in the seed, one `dm_io` stood for all clones). The bio returns after both.
fn the_half_that_failed_fails_the_io(bench: &mut Bench) -> Outcome {
    let (map, halves, io) = spanning(bench)?;
    map.tell_one(0, Order::Fail)?;
    io.is_held(1)?;

    suspend_and_resume(bench, &map, &io)?;

    io.fails_with_eio()?;
    reissued_once(&map.log(0)?, &[])?;
    reissued_once(&map.log(1)?, &halves[1..])?;
    bench.data_is_what_was_written()
}

/// FL1: a flush is one `dm_io` with a clone for each target, and so as the seed says. First the error comes before
/// the pushback, then after it.
fn pushback_supersedes_an_error(bench: &mut Bench) -> Outcome {
    let paths = bench.paths(2)?;
    let map = bench.test_map("map", &paths)?;
    let flush = [Spec::new(IoKind::Flush, 0, 0)];

    let io = hold(bench, &map, &flush, 2)?;
    map.tell_one(0, Order::Fail)?;
    io.is_held(1)?;
    suspend_and_resume(bench, &map, &io)?;
    io.succeeds()?;

    let io = hold(bench, &map, &flush, 2)?;
    map.tell_one(0, Presuspend(OnPresuspend::Keep))?;
    let suspend = map.start_suspend(Noflush)?;
    io.is_held(1)?;
    map.tell_one(0, Order::Fail)?;
    suspend.succeeds()?;
    io.is_pushed_back_to_the_core()?;
    map.tell(&[Order::Reset])?;
    map.resume()?;
    io.succeeds()?;

    bench.data_is_what_was_written()
}

/// O1: `map()` sees the pushed-back bios in the order in which they had been submitted, and then the bios that were
/// submitted to the suspended map. (Whether the latter wait in the core by the time of the resume or come right after
/// it, their place is the same.)
fn pushed_back_io_is_reissued_in_order(bench: &mut Bench) -> Outcome {
    let (map, mut specs, io) = held(bench)?;

    map.suspend(Noflush)?;
    io.is_pushed_back_to_the_core()?;
    let later: Vec<Spec> = specs[..8].iter().map(|spec| spec.moved(1)).collect();
    let later_io = bench.submit_each(&map, &later)?;
    map.tell(&[Order::Reset])?;
    map.resume()?;

    io.succeeds()?;
    later_io.succeeds()?;
    bench.data_is_what_was_written()?;
    specs.extend(later);
    reissued_once(&map.log(0)?, &specs)?;
    reissued_in_order(&map.log(0)?, &specs)
}

/// ER: whole bios and split ones; without a suspend and during one that is not noflush; in `map()`, in `end_io()`, and by
/// a target that ends the bio itself.
fn refused_pushback_is_eio(bench: &mut Bench) -> Outcome {
    let paths = bench.paths(2)?;
    let map = bench.test_map("map", &paths)?;
    let mut specs = writes(8);
    specs.push(Spec::new(IoKind::Write, map.first_block(1) - 4, 8));
    let pieces = 10;

    map.tell(&[Map(Requeue)])?;
    bench.submit_each(&map, &specs)?.fails_with_eio()?;

    map.tell(&[Map(Remap), EndIo(OnEnd::Requeue)])?;
    bench.submit_each(&map, &specs)?.fails_with_eio()?;

    let io = hold(bench, &map, &specs, pieces)?;
    map.tell(&[Order::PushBack(None)])?;
    io.fails_with_eio()?;

    let io = hold(bench, &map, &specs, pieces)?;
    map.tell(&[Presuspend(OnPresuspend::Release)])?;
    map.suspend(Flush)?;
    io.fails_with_eio()?;
    map.tell(&[Order::Reset])?;
    map.resume()?;

    bench.data_is_what_was_written()
}

/// `map()` accepts a part of a bio and gets the rest in the next one: four pieces, all pushed back.
fn partly_accepted_io_is_whole(bench: &mut Bench) -> Outcome {
    accepted_in_pieces(bench, Accept { sectors: 16, skip: 0 })
}

/// The same, and the target has moved on over the first half of each piece before it accepts the second: both halves are
/// part of the piece. (`dm_accept_partial_bio()` of 6.1 forgets the first one: the I/O succeeds, and the data is wrong.)
fn io_accepted_after_an_advance_is_whole(bench: &mut Bench) -> Outcome {
    accepted_in_pieces(bench, Accept { sectors: 8, skip: 8 })
}

fn accepted_in_pieces(bench: &mut Bench, accept: Order) -> Outcome {
    let paths = bench.paths(1)?;
    let map = bench.test_map("map", &paths)?;
    map.tell(&[accept])?;
    let io = hold(bench, &map, &[Spec::new(IoKind::Write, 0, 8)], 4)?;

    suspend_and_resume(bench, &map, &io)?;

    io.succeeds()?;
    bench.data_is_what_was_written()?;
    let pieces: Vec<Spec> = (0..4).map(|piece| Spec::new(IoKind::Write, 2 * piece, 2)).collect();
    reissued_once(&map.log(0)?, &pieces)
}

/// X1 (seed, error path 1): the observed kernel's fault point stands for the seed's failing `bdget_disk()`.
fn failed_suspend_reissues_what_was_pushed_back(bench: &mut Bench) -> Outcome {
    let (map, specs, io) = held(bench)?;
    let hooks = map.hooks()?;
    map.tell(&[Map(RequeueUnderNoflush)])?;

    hooks.fail_noflush_suspends(1)?;
    let suspend = map.map().try_suspend(Noflush)?;
    ensure(suspend.stderr.contains("Cannot allocate memory"), SUSPEND_FAILS, &suspend.stderr)?;
    let added = hooks.counters()?.added;
    ensure(added >= COUNT.into(), PUSHED_BACK_FIRST, format_args!("pushback_added is {added}"))?;
    io.succeeds()?;
    let info = map.map().info()?;
    ensure(!info.suspended, STAYS_ACTIVE, format_args!("{info:?}"))?;

    map.tell(&[Map(Requeue)])?;
    bench.submit_each(&map, &specs)?.fails_with_eio()?;

    let io = hold(bench, &map, &specs, COUNT.into())?;
    suspend_and_resume(bench, &map, &io)?;
    io.succeeds()?;
    bench.data_is_what_was_written()
}

/// W1: pushback works during the suspend and is refused after it.
fn the_flag_ends_with_the_suspend(bench: &mut Bench) -> Outcome {
    let (map, specs, io) = held(bench)?;
    suspend_and_resume(bench, &map, &io)?;
    io.succeeds()?;

    map.tell(&[Map(Requeue)])?;
    bench.submit_each(&map, &specs)?.fails_with_eio()?;
    map.tell(&[Map(Remap), EndIo(OnEnd::Requeue)])?;
    bench.submit_each(&map, &specs)?.fails_with_eio()?;
    bench.data_is_what_was_written()
}
