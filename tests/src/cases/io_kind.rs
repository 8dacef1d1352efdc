// SPDX-License-Identifier: GPL-2.0-only
//! I/O of every shape: split, polled for, not willing to wait, in great number, and read while it is written. Which kinds
//! there are, and what "in the right place, exactly once" means for each, is in docs/io.md. Where a kind is one more
//! condition of another case (discard, write-zeroes), it is one there.

use guest::case::LeftOut;
use guest::condition::{IoKind, QueueMode};
use guest::dm::Flush::Noflush;
use guest::dm::NoPath;
use guest::io::{Engine, Spec, reads, writes};
use guest::prelude::*;
use nix::errno::Errno;

use crate::arrange::{Queued, queued_in_the_target};
use crate::cases::requests::SETTINGS_CHANGE;
use crate::matrix::Matrix;

const IMPLICIT: LeftOut = LeftOut {
    what: "implicit",
    reason: "the same pushback; noflush::load_then_noflush_resume_completes is that form",
};

/// How many are thousands: under QEMU's TCG, lockdep kernel, it takes 1 s to push back 20,000 and 4.7 s to complete them.
const THOUSANDS: u32 = 2000;

/// Of cases whose I/O is of a shape that the map sees, and no path.
const THE_MAP: LeftOut = LeftOut {
    what: "iscsi",
    reason: "what the case is about is done by the map; a path gets ordinary requests",
};

/// A case of this group: every queue mode, explicit suspends, the fastest transport.
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
        tag: Tag::Io,
        needs: super::NEEDS,
        conditions: || Matrix::of_fast_maps().build(),
        left_out: &[IMPLICIT, THE_MAP],
        allow: &[],
        deadline_seconds: 30,
        run,
    }
}

/// The table of this group.
pub const CASES: &[Case] = &[
    Case {
        conditions: || Matrix::of_fast_maps().in_mode(QueueMode::Rq).build(),
        left_out: &[
            IMPLICIT,
            THE_MAP,
            LeftOut {
                what: "bio",
                reason: "a bio of any length is one piece to bio-based multipath, whatever the limits (max_io_len() of \
                         a target without max_io_len); core::spanning_io_is_pushed_back splits bios",
            },
        ],
        ..case(
            "noflush::split_io_is_whole",
            "seed, normal path 3, for I/O longer than a request may be",
            "long I/O, which the map's limits split into many requests, is pushed back and whole when it completes",
            split_io_is_whole,
        )
    },
    case(
        "noflush::striped_io_with_one_half_pushed_back_completes",
        "since the seed, 61b6e2e5321d and 8b211aaccb91: a bio of which a part is requeued is whole afterwards",
        "of I/O that is striped over two maps, one side is done and the other pushed back, and all of it is right",
        striped_io_with_one_half_pushed_back_completes,
    ),
    Case {
        conditions: || Matrix::of_fast_maps().in_mode(QueueMode::Bio).build(),
        left_out: &[
            IMPLICIT,
            THE_MAP,
            LeftOut {
                what: "rq",
                reason: "a request-based map takes as many as it has requests: noflush::more_suspends_than_tags",
            },
        ],
        ..case(
            "noflush::thousands_of_ios_are_pushed_back",
            "seed, normal path 1, for thousands of I/Os",
            "thousands of small writes are pushed back, and each one succeeds after the resume",
            thousands_of_ios_are_pushed_back,
        )
    },
    Case {
        conditions: || Matrix::of_fast_maps().in_mode(QueueMode::Bio).build(),
        left_out: &[
            IMPLICIT,
            LeftOut { what: "iscsi", reason: "the initiator over TCP has no poll queues" },
            LeftOut {
                what: "rq",
                reason: "request-based dm can't be polled: dm_table_set_restrictions() takes BLK_FEAT_POLL away (6.12), or \
                         never sets QUEUE_FLAG_POLL (6.1)",
            },
        ],
        ..case(
            "noflush::polled_io_completes",
            "since the seed, b99fdcdc3636: bios of dm that their submitter polls for",
            "I/O for which io_uring polls (IOPOLL) is pushed back, and found complete by the poll after the resume",
            polled_io_completes,
        )
    },
    case(
        "noflush::io_uring_io_waits_for_the_resume",
        "since the seed, a9ce385344f9: io_uring issues with REQ_NOWAIT first, which a suspended map refuses",
        "io_uring I/O that the kernel tries without waiting first is pushed back or waits, and never sees EAGAIN",
        io_uring_io_waits_for_the_resume,
    ),
    case(
        "noflush::nowait_io_is_refused_at_once",
        "since the seed, a9ce385344f9: I/O with REQ_NOWAIT is not queued",
        "a read or write with RWF_NOWAIT returns at once from a map without a path and from a suspended one",
        nowait_io_is_refused_at_once,
    ),
    Case {
        needs: super::CORE_NEEDS,
        conditions: || Matrix::of_any_transport().build(),
        left_out: &[
            IMPLICIT,
            THE_MAP,
            LeftOut { what: "queue mode", reason: "over dm-linear, which unlike multipath takes REQ_NOWAIT" },
        ],
        ..case(
            "core::nowait_io_gets_eagain_while_suspended",
            "since the seed, a9ce385344f9: I/O with REQ_NOWAIT gets EAGAIN from a suspended map",
            "RWF_NOWAIT succeeds on a running map and is EAGAIN on one suspended with noflush, where other I/O waits",
            nowait_io_gets_eagain_while_suspended,
        )
    },
    Case {
        conditions: || Matrix::of_maps().ios(IoKind::CACHED).crossed().build(),
        left_out: &[
            IMPLICIT,
            LeftOut {
                what: "the other half of cached and mapped",
                reason: "both are writes of dirty pages and a flush to a map, so each queue mode and each transport has one \
                         of them",
            },
            LeftOut {
                what: "other kinds",
                reason: "noflush::queued_io_leaves_the_target_without_returning has them",
            },
        ],
        ..case(
            "noflush::page_cache_writes_are_pushed_back",
            "seed, normal path 1, for writes of the page cache",
            "writes that fsync and msync wait for are pushed back and do not return, and are on the disk when they do",
            page_cache_writes_are_pushed_back,
        )
    },
    Case {
        conditions: || {
            let direct = Matrix::of_fast_maps().ios(&[IoKind::Write]);
            direct.and(Matrix::of_fast_maps().ios(IoKind::CACHED).crossed()).build()
        },
        left_out: &[
            IMPLICIT,
            THE_MAP,
            LeftOut {
                what: "bio, mapped, and rq, cached",
                reason: "reads wait for the page cache, which knows neither the queue mode nor who made a page dirty",
            },
            LeftOut { what: "other kinds", reason: "they have no data to be read" },
        ],
        ..case(
            "noflush::reads_race_with_pushed_back_writes",
            "seed, normal path 3, while the same blocks are read",
            "reads of blocks whose writes are pushed back return the old data or the new, and the new is what stays",
            reads_race_with_pushed_back_writes,
        )
    },
];

/// Four writes of 256 KiB to a map whose requests may have 16 KiB: 64 requests. Each completes as one write.
fn split_io_is_whole(bench: &mut Bench) -> Outcome {
    let paths = bench.paths(2)?;
    let map = bench.multipath("map", &paths, NoPath::Queue)?;
    map.start_setting("max_sectors_kb", "16")?.succeeds(SETTINGS_CHANGE)?;
    map.fail_every_path(bench.fault())?;
    let specs: Vec<_> = (0..4).map(|index| Spec::new(IoKind::Write, index * 64, 64)).collect();
    let io = bench.submit_specs(Engine::IoUring, &map, &specs)?.split_into(16);
    io.is_queued_in_the_target()?;

    map.suspend(Noflush)?;
    io.is_pushed_back_to_the_core()?;
    map.load(&paths)?;
    map.resume()?;
    io.succeeds()?;
    bench.data_is_what_was_written()
}

/// Eight writes of 128 KiB over a striped map with chunks of 16 KiB: half of each write goes to a map whose path works,
/// and is done; the other half waits in a map without a path, and is pushed back. (In the core of one map, the same is
/// `core::the_half_that_succeeded_is_not_issued_again`.)
fn striped_io_with_one_half_pushed_back_completes(bench: &mut Bench) -> Outcome {
    let paths = bench.paths(2)?;
    let left = bench.multipath("left", &paths[..1], NoPath::Queue)?;
    let right = bench.multipath("right", &paths[1..], NoPath::Queue)?;
    let striped = bench.striped("striped", &left, &right)?;
    right.fail_every_path(bench.fault())?;
    let io = bench.submit_striped(&striped, &right)?;
    io.is_queued_in_the_target()?;

    right.suspend(Noflush)?;
    io.is_pushed_back_to_the_core()?;
    right.load(&paths[1..])?;
    right.resume()?;
    io.succeeds()?;
    bench.striped_data_is_what_was_written(&striped)
}

/// Each on a block of its own, so that each has its own place to be wrong in.
fn thousands_of_ios_are_pushed_back(bench: &mut Bench) -> Outcome {
    bench.use_the_whole_disk();
    let paths = bench.paths(2)?;
    let map = bench.multipath("map", &paths, NoPath::Queue)?;
    map.fail_every_path(bench.fault())?;
    let io = bench.submit_specs(Engine::IoUring, &map, &writes(THOUSANDS))?;
    io.is_queued_in_the_target()?;

    map.suspend(Noflush)?;
    io.is_pushed_back_to_the_core()?;
    map.load(&paths)?;
    map.resume()?;
    io.succeeds()?;
    io.leaves_nothing_in_the_map()?;
    bench.data_is_what_was_written()
}

/// A polled bio is given up by the target at once, but leaves its map only when its submitter polls (`dm_poll_bio()` has
/// the last reference), so the suspend needs that. From then on nobody can poll for it any more (`bio_clear_polled()` in
/// `dm_handle_requeue()`), and the poll must still find it complete after the resume.
fn polled_io_completes(bench: &mut Bench) -> Outcome {
    let paths = bench.paths(2)?;
    let map = bench.multipath("map", &paths, NoPath::Queue)?;
    map.require_polling()?;
    bench.submit_with(Engine::IoUringPolled, &map, 0)?.succeeds()?;
    map.fail_every_path(bench.fault())?;
    let io = bench.submit_with(Engine::IoUringPolled, &map, 0)?;
    io.is_queued_in_the_target()?;

    map.suspend(Noflush)?;
    io.is_pushed_back_to_the_core()?;
    map.load(&paths)?;
    map.resume()?;
    io.succeeds()?;
    bench.data_is_what_was_written()
}

/// What the map had before the suspend is pushed back, what comes while it is suspended waits too: the submitter's call
/// returns, and no EAGAIN gets through to it.
fn io_uring_io_waits_for_the_resume(bench: &mut Bench) -> Outcome {
    let paths = bench.paths(2)?;
    let map = bench.multipath("map", &paths, NoPath::Queue)?;
    map.fail_every_path(bench.fault())?;
    let io = bench.submit_with(Engine::IoUringInline, &map, 0)?;
    io.is_queued_in_the_target()?;

    map.suspend(Noflush)?;
    io.is_pushed_back_to_the_core()?;
    let later = bench.submit_beside(Engine::IoUringInline, &map, &io)?;
    map.load(&paths)?;
    map.resume()?;
    io.succeeds()?;
    later.succeeds()?;
    bench.data_is_what_was_written()
}

/// dm-multipath does not take such I/O at all (no `DM_TARGET_NOWAIT`, so `submit_bio_noacct()` says EOPNOTSUPP); a kernel
/// that takes it must say EAGAIN.
fn nowait_io_is_refused_at_once(bench: &mut Bench) -> Outcome {
    let refused = [Errno::EAGAIN as i32, Errno::EOPNOTSUPP as i32];
    let Queued { paths, map, io } = queued_in_the_target(bench)?;
    bench.submit_beside(Engine::ThreadsNowait, &map, &io)?.is_refused_with(&refused)?;

    map.suspend(Noflush)?;
    io.is_pushed_back_to_the_core()?;
    bench.submit_beside(Engine::ThreadsNowait, &map, &io)?.is_refused_with(&refused)?;
    map.load(&paths)?;
    map.resume()?;
    io.succeeds()?;
    bench.data_is_what_was_written()
}

/// io_uring issues every request with `REQ_NOWAIT` first where the device takes that, as here: it must hide the EAGAIN.
fn nowait_io_gets_eagain_while_suspended(bench: &mut Bench) -> Outcome {
    let paths = bench.paths(1)?;
    let map = bench.linear("map", &paths[0])?;
    let both: Vec<Spec> = writes(8).into_iter().chain(reads(8).iter().map(|read| read.moved(64))).collect();
    bench.submit_unwatched(Engine::ThreadsNowait, &map, &both)?.succeeds()?;

    map.suspend(Noflush)?;
    bench.submit_unwatched(Engine::ThreadsNowait, &map, &both)?.is_refused_with(&[Errno::EAGAIN as i32])?;
    let waits = bench.submit_unwatched(Engine::IoUringInline, &map, &both)?;
    map.resume(Noflush)?;

    waits.succeeds()?;
    bench.submit_unwatched(Engine::ThreadsNowait, &map, &both)?.succeeds()?;
    bench.data_is_what_was_written()
}

/// The writes are on their way to the disk when `fdatasync` or `msync` waits for them, and no earlier.
fn page_cache_writes_are_pushed_back(bench: &mut Bench) -> Outcome {
    let Queued { paths, map, io } = queued_in_the_target(bench)?;
    let suspended = map.suspend(Noflush);
    // First: without pushback the freeze now and then reports the writes that failed, and the suspend fails with it.
    io.is_pushed_back_to_the_core()?;
    suspended?;
    map.load(&paths)?;
    map.resume()?;
    io.succeeds()?;
    bench.data_is_what_was_written()
}

/// The reads come while the writes are with the core, so that both go to the paths when the map is resumed. A direct read
/// of a block that is dirty or on its way in the page cache waits for that (`kiocb_write_and_wait()`).
fn reads_race_with_pushed_back_writes(bench: &mut Bench) -> Outcome {
    let Queued { paths, map, io } = queued_in_the_target(bench)?;
    map.suspend(Noflush)?;
    io.is_pushed_back_to_the_core()?;

    let racing = bench.submit_unwatched(Engine::Threads, map.map(), &reads(guest::bench::io::COUNT))?;
    map.load(&paths)?;
    map.resume()?;
    io.succeeds()?;
    racing.succeeds()?;
    bench.data_is_what_was_written()
}
