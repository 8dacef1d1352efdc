// SPDX-License-Identifier: GPL-2.0-only
//! Cases that measure, for `cargo xtask bench kernel`. Hidden from the default run, and never traced. The map is
//! multipath over one fast device ([`guest::measure::device`]).

use std::time::{Duration, Instant};

use guest::bench::io::{PUSHED_BACK, QUEUED};
use guest::dm::Map;
use guest::evidence;
use guest::failure::GuestContext as _;
use guest::io::{Buffer, open_direct};
use guest::measure::aio::Aio;
use guest::measure::device::Fast;
use guest::measure::memory::unreclaimable_slab;
use guest::measure::suspend::{resume, suspend_noflush};
use guest::measure::{COST, SCALE, detail};
use guest::prelude::*;
use guest::report::happened;
use guest::wait::wait_for;
use std::os::unix::fs::FileExt as _;

/// How many I/Os are parked at once, and how often that is measured.
const SCALES: &[(u32, u32)] = &[(1, 7), (10, 7), (100, 7), (1_000, 5), (10_000, 3), (100_000, 3)];

/// I/Os before the first figure counts, and in each round; with one I/O at a time.
const WARM_UP: u32 = 2_000;
const ROUND: u32 = 5_000;
const ROUNDS: u32 = 5;

/// One sector: the less data is copied, the more of what is measured is the map.
const SECTOR: usize = 512;

/// The group.
pub const CASES: &[Case] = &[
    Case {
        name: "measurement::first_paths_over_iscsi",
        claim: "the benchmark",
        summary: "two paths over iSCSI, and what a case leaves of them; run alone in a VM, the target and the initiator too",
        tag: Tag::Measurement,
        needs: &[],
        conditions: || vec![Condition { transport: Some(Transport::Iscsi), ..Condition::default() }],
        left_out: &[guest::case::LeftOut {
            what: "scsi_debug",
            reason: "selftest::set_up_and_clean_up has it",
        }],
        allow: &[],
        deadline_seconds: 30,
        run: |bench| bench.paths(2).map(drop),
    },
    Case {
        name: "measurement::pushback_at_scale",
        claim: "the benchmark",
        summary: "time and memory of 1 to 100,000 bios pushed back and re-issued",
        tag: Tag::Measurement,
        needs: &["BLK_DEV_RAM"],
        conditions: || vec![Condition { queue_mode: Some(QueueMode::Bio), ..Condition::default() }],
        left_out: &[guest::case::LeftOut {
            what: "rq",
            reason: "a request-based map holds no more I/O than it has tags",
        }],
        allow: &[],
        deadline_seconds: 240,
        run: pushback_at_scale,
    },
    Case {
        name: "measurement::io_without_suspend",
        claim: "the benchmark",
        summary: "what one I/O costs in a map that is never suspended",
        tag: Tag::Measurement,
        needs: &["BLK_DEV_RAM", "BLK_DEV_NULL_BLK"],
        conditions: || {
            let of = |mode: &QueueMode| Condition { queue_mode: Some(*mode), ..Condition::default() };
            QueueMode::ALL.iter().map(of).collect()
        },
        left_out: &[],
        allow: &[],
        deadline_seconds: 240,
        run: io_without_suspend,
    },
];

fn pushback_at_scale(bench: &mut Bench) -> Outcome {
    let disk = Fast::below(bench.queue_mode())?;
    let map = disk.multipath(bench)?;
    let file = open_direct(&map.node(), true).guest("open the map")?;
    let most = SCALES.iter().map(|(count, _)| *count).max().unwrap_or(0);
    let mut io = Aio::new(file, 1024, most)?;
    // What the first I/Os allocate for good does not count.
    round(&map, &disk, &mut io, 1_000)?;
    for &(count, rounds) in SCALES {
        for _ in 0..rounds {
            let figures = round(&map, &disk, &mut io, count as usize)?;
            let details: Vec<(&str, &dyn std::fmt::Display)> =
                figures.iter().map(|(name, value)| (*name, value as &dyn std::fmt::Display)).collect();
            happened(SCALE, &details);
        }
    }
    Ok(())
}

/// Parks `count` writes in the target of a map without a path, pushes them back, and completes them over a table
/// whose path works.
fn round(map: &Map, disk: &Fast, io: &mut Aio, count: usize) -> Outcome<[(&'static str, i64); 7]> {
    map.messages(&[format!("fail_path {}", disk.device)])?;
    let empty = unreclaimable_slab()?;

    let (submitted, submit) = timed(|| io.submit(count));
    submitted?;
    in_flight(map, QUEUED, count)?;
    let parked = unreclaimable_slab()? - empty;

    let push_back = suspend_noflush(map)?;
    in_flight(map, PUSHED_BACK, 0)?;
    ensure(io.completed()? == 0, PUSHED_BACK, "some of it has returned")?;
    let pushed_back = unreclaimable_slab()? - empty;

    map.load(&disk.table())?;
    let (completed, complete) = timed(|| resume(map).and_then(|_| io.wait_for_all()));
    completed?;
    let after = unreclaimable_slab()? - empty;

    Ok([
        (detail::COUNT, i64::try_from(count).unwrap_or(i64::MAX)),
        (detail::SUBMIT, nanoseconds(submit)),
        (detail::PUSH_BACK, nanoseconds(push_back)),
        (detail::COMPLETE, nanoseconds(complete)),
        (detail::PARKED, parked),
        (detail::PUSHED_BACK, pushed_back),
        (detail::AFTER, after),
    ])
}

fn in_flight(map: &Map, name: &str, count: usize) -> Outcome {
    wait_for(Duration::from_secs(30), name, || {
        let seen = evidence::read(map.device(), QueueMode::Bio).inflight;
        Ok(if seen == count as u64 { Ok(()) } else { Err(format!("{seen} of {count} are in flight")) })
    })
}

fn io_without_suspend(bench: &mut Bench) -> Outcome {
    let map = Fast::below(bench.queue_mode())?.multipath(bench)?;
    let file = open_direct(&map.node(), true).guest("open the map")?;
    let buffer = Buffer::zeroed(1).ok_or_else(|| Failure::guest("no memory for a block"))?;
    let write = |count: u32| {
        let mut all = 0..count;
        all.try_for_each(|_| file.write_all_at(&buffer.bytes()[..SECTOR], 0)).guest("write to the map")
    };
    write(WARM_UP)?;
    for _ in 0..ROUNDS {
        let (written, time) = timed(|| write(ROUND));
        written?;
        happened(COST, &[(detail::COUNT, &ROUND), (detail::NANOSECONDS, &nanoseconds(time))]);
    }
    Ok(())
}

fn timed<T>(work: impl FnOnce() -> T) -> (T, Duration) {
    let start = Instant::now();
    let result = work();
    (result, start.elapsed())
}

fn nanoseconds(time: Duration) -> i64 {
    i64::try_from(time.as_nanos()).unwrap_or(i64::MAX)
}
