// SPDX-License-Identifier: GPL-2.0-only
//! What blk-mq adds to pushback in request-based maps: a bounded number of requests, and settings of the queue whose
//! change waits until every request has completed. Bio-based maps have neither.

use guest::case::LeftOut;
use guest::condition::QueueMode;
use guest::dm::Flush::Noflush;
use guest::dm::NoPath;
use guest::io::Engine;
use guest::prelude::*;

use crate::arrange::{Queued, queued_in_the_target};
use crate::matrix::Matrix;

/// A change of the queue's settings ends, at the latest with the I/O.
pub const SETTINGS_CHANGE: &str = "queue settings can be changed";
/// It waits for the pushed-back requests.
pub const SETTINGS_WAIT: &str = "a change of the queue settings waits for pushed-back requests";

/// Fewer than the I/Os that are submitted; the kernel takes no less (`BLKDEV_MIN_RQ`).
const REQUESTS: u32 = 4;

/// The table of this group.
pub const CASES: &[Case] = &[
    Case {
        name: "noflush::queue_settings_change_while_suspended",
        claim: "seed, normal path 3, while the queue's settings change",
        summary: "a change of scheduler and nr_requests while requests are pushed back ends with them, and deadlocks nothing",
        tag: Tag::Normal,
        needs: super::NEEDS,
        conditions: request_based,
        left_out: &[
            LeftOut { what: "bio", reason: "a bio-based map has no scheduler and no requests" },
            LeftOut {
                what: "implicit",
                reason: "the change must come while the map is suspended, and its one ioctl leaves no time for it",
            },
        ],
        allow: &[],
        deadline_seconds: 30,
        run: queue_settings_change_while_suspended,
    },
    Case {
        name: "noflush::more_suspends_than_tags",
        claim: "seed, normal path 2, again and again",
        summary: "I/O that is pushed back and queued more often than a map has requests is not lost, nor is a request",
        tag: Tag::Normal,
        needs: super::NEEDS,
        conditions: request_based,
        left_out: &[
            LeftOut {
                what: "bio",
                reason: "a bio-based map takes any number of bios; noflush::resume_without_recovery_queues_again has one cycle",
            },
            LeftOut {
                what: "implicit",
                reason: "noflush::resume_without_recovery_queues_again shows that both forms end in the same queue",
            },
        ],
        allow: &[],
        deadline_seconds: 30,
        run: more_suspends_than_tags,
    },
];

/// Maps that have requests.
fn request_based() -> Vec<Condition> {
    Matrix::of_maps().in_mode(QueueMode::Rq).build()
}

/// Q1 (seed, normal path 3): while requests are pushed back, somebody changes the scheduler and the number of requests of
/// the map. Each change freezes the queue, which waits for every request; the suspended map completes none. Load and resume
/// must not wait for the change in turn: afterwards the I/O completes, and with it the changes. (7.3 refuses a change as long as
/// another one waits: the `trylock` of `elv_iosched_store()`.)
fn queue_settings_change_while_suspended(bench: &mut Bench) -> Outcome {
    let Queued { paths, map, io } = queued_in_the_target(bench)?;
    map.suspend(Noflush)?;
    io.is_pushed_back_to_the_core()?;

    let mut requests = map.start_setting("nr_requests", "64")?;
    requests.is_blocked(SETTINGS_WAIT)?;
    let scheduler = map.start_setting("scheduler", "none")?;

    map.load(&paths)?;
    map.resume()?;
    io.succeeds()?;
    requests.succeeds(SETTINGS_CHANGE)?;
    scheduler.succeeds_unless_busy(SETTINGS_CHANGE)?;
    bench.data_is_what_was_written()
}

/// T1 (seed, normal path 2): more I/O is submitted than a map has requests, so that some submitters wait for one; then
/// more noflush suspends and resumes follow than that. Nothing returns and nothing is lost on the way; when a path
/// works again all of it completes, and every request is free.
fn more_suspends_than_tags(bench: &mut Bench) -> Outcome {
    let paths = bench.paths(1)?;
    let map = bench.multipath("map", &paths, NoPath::Queue)?;
    // Without a scheduler: mq-deadline gives writes only three quarters of the requests (`dd_limit_depth`).
    map.start_setting("scheduler", "none")?.succeeds(SETTINGS_CHANGE)?;
    map.start_setting("nr_requests", &REQUESTS.to_string())?.succeeds(SETTINGS_CHANGE)?;
    map.fail_every_path(bench.fault())?;
    let io = bench.submit_with(Engine::Threads, &map, 0)?;
    io.is_queued_in_the_target()?;

    for _ in 0..=REQUESTS {
        map.suspend(Noflush)?;
        io.is_pushed_back_to_the_core()?;
        map.resume()?;
        io.is_queued_in_the_target_again()?;
    }

    map.reinstate_every_path()?;
    io.succeeds()?;
    io.leaves_nothing_in_the_map()?;
    bench.data_is_what_was_written()
}
