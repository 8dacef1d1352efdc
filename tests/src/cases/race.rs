// SPDX-License-Identifier: GPL-2.0-only
//! The seed's own race: the core looks at the flag a second time, under the lock, because a noflush suspend may have
//! ended since the target looked. Hit on purpose, with the hooks of the observe series; skipped on kernels without.

use std::time::Duration;

use guest::bench::test_map::{KEPT, TestIo, TestMap};
use guest::condition::Signal;
use guest::dm::Flush::Noflush;
use guest::dm::Suspender;
use guest::dm::test_target::OnMap::{Hold, Remap, RequeueUnderNoflush};
use guest::dm::test_target::Order::{EndIo, Map, Presuspend, PushBack, Release, Reset};
use guest::dm::test_target::{OnEnd, OnPresuspend};
use guest::evidence::observe::Counters;
use guest::io::{IoState, Tally, writes};
use guest::prelude::*;

use crate::matrix::Matrix;

/// How many I/Os: with [`BETWEEN`] they take longer to come back than it takes to look at them and to send a signal.
const COUNT: u32 = 16;
/// Between the two looks at the flag, for each I/O.
const BETWEEN: Duration = Duration::from_millis(100);
/// The same where nothing has to happen meanwhile.
const SLOWLY: Duration = Duration::from_millis(10);
/// Between the end of the wait and the merge.
const BEFORE_MERGE: Duration = Duration::from_millis(500);
/// How often the race is tried: whether an I/O is in the window when the flag is cleared is a matter of time.
const ROUNDS: usize = 4;

/// The race was hit: an I/O for which the target saw the flag set, and the core no more.
const HIT: &str = "an I/O is between the two looks at the flag when it is cleared";
/// Each that the core refused came back with EIO, and no other.
const REFUSED_ARE_EIO: &str = "refused I/O comes back with EIO, all other succeeds";
/// A suspend that ends by itself waits for all.
const NONE_REFUSED: &str = "no pushback is refused while the suspend waits for the I/O";

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
        tag: Tag::Race,
        needs: super::CORE_NEEDS,
        conditions: || Matrix::of_any_transport().build(),
        left_out: &[super::ANY_TRANSPORT],
        allow: &[],
        deadline_seconds: 60,
        run,
    }
}

/// The table of this group.
pub const CASES: &[Case] = &[
    case(
        "race::pushback_meets_the_end_of_a_suspend",
        "seed, pushback_lock: the flag is checked again with the lock held; a suspend that ends by itself",
        "the slowest pushback still is one: the flag is cleared only after all I/O has come back",
        pushback_meets_the_end_of_a_suspend,
    ),
    case(
        "race::pushback_meets_an_interruption",
        "seed, pushback_lock: even if the flag is cleared after the lockless checkings, the bio isn't left in \
         md->pushback but returned with -EIO",
        "a bio that is between the two looks at the flag when a suspend is interrupted fails once, the others succeed",
        pushback_meets_an_interruption,
    ),
    case(
        "race::pushback_meets_the_merge",
        "seed, error path 2: what was pushed back is re-issued, what was not returns with EIO, nothing is left",
        "bios pushed back just before and just after an interruption: the former are re-issued, none is left behind",
        pushback_meets_the_merge,
    ),
];

/// I/O that the target holds, also when it is suspended.
fn held(bench: &mut Bench, map: &TestMap) -> Outcome<TestIo> {
    map.tell(&[Map(Hold), Presuspend(OnPresuspend::Keep)])?;
    let io = bench.submit_each(map, &writes(COUNT))?;
    io.is_held(COUNT.into())?;
    Ok(io)
}

/// How many were refused: they, and no other, came back with EIO.
fn refused_are_eio(tally: &Tally, counted: Counters) -> Outcome<u64> {
    let Counters { added, refused, .. } = counted;
    let failed = (tally.total - tally.ok) as u64;
    ensure(failed == refused, REFUSED_ARE_EIO, format_args!("{tally}; added {added}, refused {refused}"))?;
    Ok(refused)
}

/// The suspend waits; what the target holds goes to the path and asks for pushback when it comes back, slowly. However
/// late the last one is, the suspend can't have cleared the flag: it waits for it.
fn pushback_meets_the_end_of_a_suspend(bench: &mut Bench) -> Outcome {
    let paths = bench.paths(1)?;
    let map = bench.test_map("map", &paths)?;
    let hooks = map.hooks()?;
    let io = held(bench, &map)?;
    hooks.delay_pushback(SLOWLY)?;

    let mut suspend = Suspender::start(map.map(), Noflush, Signal::Eintr)?;
    suspend.waits()?;
    map.tell(&[EndIo(OnEnd::RequeueUnderNoflush)])?;
    map.tell(&[Release])?;
    suspend.succeeds()?;
    hooks.delay_pushback(Duration::ZERO)?;

    let refused = hooks.counters()?.refused;
    ensure(refused == 0, NONE_REFUSED, format_args!("pushback_refused is {refused}"))?;
    io.is_pushed_back_to_the_core()?;
    map.tell(&[Reset])?;
    map.resume()?;
    io.succeeds()?;
    bench.data_is_what_was_written()
}

/// The same, and the suspend is interrupted as soon as the core has the first I/O back. `end_io()` of the target asks
/// for pushback as long as it sees the flag; the one that is in the core's hands when the flag is cleared must fail.
fn pushback_meets_an_interruption(bench: &mut Bench) -> Outcome {
    let paths = bench.paths(1)?;
    let map = bench.test_map("map", &paths)?;
    let hooks = map.hooks()?;
    let mut rounds = 0;
    loop {
        let before = hooks.counters()?;
        let io = held(bench, &map)?;
        hooks.delay_pushback(BETWEEN)?;
        let mut suspend = Suspender::start(map.map(), Noflush, Signal::Eintr)?;
        suspend.waits()?;

        map.tell(&[Map(Remap), EndIo(OnEnd::RequeueUnderNoflush)])?;
        let release = map.start_telling(Release)?;
        io.starts_to_be_pushed_back()?;
        suspend.is_interrupted()?;
        release.succeeds()?;

        let tally = io.comes_back_with_success_or_eio()?;
        hooks.delay_pushback(Duration::ZERO)?;
        let refused = refused_are_eio(&tally, hooks.counters()?.since(before))?;
        bench.data_is_what_was_written()?;
        map.tell(&[Reset])?;
        rounds += 1;
        if refused > 0 {
            return Ok(());
        }
        ensure(rounds < ROUNDS, HIT, format_args!("not in {rounds} rounds; the last: {tally}"))?;
    }
}

/// Half of the I/O is pushed back, then the suspend is interrupted and takes its time before it clears the flag; meanwhile
/// the other half is pushed back, slowly, so that some of it comes before that and some after. Re-issued I/O goes to the path.
fn pushback_meets_the_merge(bench: &mut Bench) -> Outcome {
    let paths = bench.paths(1)?;
    let map = bench.test_map("map", &paths)?;
    let hooks = map.hooks()?;
    let io = held(bench, &map)?;
    map.tell(&[Map(RequeueUnderNoflush)])?;
    hooks.delay_merge(BEFORE_MERGE)?;

    let mut suspend = Suspender::start(map.map(), Noflush, Signal::Eintr)?;
    suspend.waits()?;
    map.tell(&[PushBack(Some(COUNT / 2))])?;
    hooks.delay_pushback(BETWEEN)?;
    suspend.interrupt()?;
    suspend.stops_waiting()?;
    let rest = map.start_telling(PushBack(None))?;
    suspend.was_interrupted()?;
    rest.succeeds()?;
    hooks.delay_pushback(Duration::ZERO)?;
    hooks.delay_merge(Duration::ZERO)?;

    let tally = io.comes_back_with_success_or_eio()?;
    refused_are_eio(&tally, hooks.counters()?)?;
    let first = &io.results()[..(COUNT / 2) as usize];
    ensure(first.iter().all(|result| result.state == IoState::Ok), KEPT, &tally)?;
    bench.data_is_what_was_written()
}
