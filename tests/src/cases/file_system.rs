// SPDX-License-Identifier: GPL-2.0-only
//! Pushback below a mounted file system: what the seed is for. Its note on `lock_fs()` says why a noflush suspend must not
//! freeze: the I/O of the freeze would be pushed back and never return.

use guest::bench::background::Background;
use guest::bench::file_system::{Content, FileSystem};
use guest::bench::multipath::MultipathMap;
use guest::case::LeftOut;
use guest::dm::Flush::{Flush, Noflush};
use guest::dm::NoPath;
use guest::evidence::Mark;
use guest::prelude::*;

use crate::matrix::Matrix;

/// What is needed of the kernel.
const NEEDS: &[&str] = &["BLK_DEV_DM", "DM_MULTIPATH", "BLK_DEV_SD", "BLK_DEV_LOOP", "EXT4_FS"];

/// A writer gets through.
pub const NOT_FROZEN: &str = "a noflush suspend does not freeze the file system";
/// A writer waits.
pub const FROZEN: &str = "a suspend without noflush freezes the file system";
/// A file system with paths takes a write.
pub const WRITES: &str = "the file system takes a write";
/// What was dirty or on its way reaches the disk.
pub const SYNCS: &str = "what waited for a path reaches the disk";

const IMPLICIT: LeftOut =
    LeftOut { what: "implicit", reason: "the file system is written to while the map is suspended" };

/// Of cases with half of their matrix.
const CROSSED: LeftOut = LeftOut {
    what: "the other half",
    reason: "a file system knows neither queue mode nor transport: each is met by each, in one case or another",
};

/// Of cases about what a suspend does with a file system.
const ISCSI: LeftOut = LeftOut { what: "iscsi", reason: "noflush::mounted_file_system_survives has it" };

/// The table of this group.
pub const CASES: &[Case] = &[
    Case {
        name: "noflush::mounted_file_system_survives",
        claim: "seed, no lock_fs() under noflush",
        summary: "a mounted file system outlives the loss of all paths, a noflush suspend and a new table",
        tag: Tag::Normal,
        needs: super::NEEDS,
        conditions: || Matrix::of_maps().file_systems(FileSystemKind::ALL).crossed().build(),
        left_out: &[IMPLICIT, CROSSED],
        allow: &[],
        deadline_seconds: 30,
        run: mounted_file_system_survives,
    },
    Case {
        name: "noflush::preflush_and_fua_writes_are_pushed_back",
        claim: "seed, normal path 3, for a write with PREFLUSH and FUA",
        summary: "a write with PREFLUSH and FUA is pushed back, and what it promised is on the disk when it completes",
        tag: Tag::Normal,
        needs: NEEDS,
        conditions: || Matrix::of_fast_maps().build(),
        left_out: &[
            IMPLICIT,
            LeftOut { what: "iscsi", reason: "the map's path is a loop device, for its cache" },
            LeftOut { what: "xfs", reason: "its fsync is more than that one write" },
        ],
        allow: &[],
        deadline_seconds: 30,
        run: preflush_and_fua_writes_are_pushed_back,
    },
    Case {
        name: "compat::flush_suspend_freezes_the_file_system",
        claim: "seed, no lock_fs() under noflush: the control",
        summary: "a suspend without noflush freezes a mounted file system until the resume",
        tag: Tag::Compat,
        needs: super::NEEDS,
        conditions: || over_scsi_debug(FileSystemKind::ALL),
        left_out: &[IMPLICIT, CROSSED, ISCSI],
        allow: &[],
        deadline_seconds: 30,
        run: flush_suspend_freezes_the_file_system,
    },
    Case {
        name: "noflush::size_changes_under_a_parked_fsync",
        claim: "since the seed, a8d814b5dd7a: the resume took the lock that an fsync held behind queued I/O",
        summary: "a longer table is taken into use while an fsync waits for pushed-back I/O, and both end",
        tag: Tag::FileSystem,
        needs: super::NEEDS,
        conditions: || over_scsi_debug(&[FileSystemKind::Xfs, FileSystemKind::Ext4]),
        left_out: &[IMPLICIT, CROSSED, ISCSI],
        allow: &[],
        deadline_seconds: 30,
        run: size_changes_under_a_parked_fsync,
    },
    Case {
        name: "compat::flush_suspend_of_a_file_system_without_paths_fails",
        claim: "seed, no lock_fs() under noflush: what lock_fs() does without a path",
        summary: "a suspend without noflush of a mounted file system whose paths are all lost fails with EIO, and hangs nowhere",
        tag: Tag::FileSystem,
        needs: super::NEEDS,
        conditions: || over_scsi_debug(FileSystemKind::ALL),
        left_out: &[IMPLICIT, CROSSED, ISCSI],
        allow: &[],
        deadline_seconds: 30,
        run: flush_suspend_of_a_file_system_without_paths_fails,
    },
];

/// One file system in each queue mode: the first of `kinds` on a bio-based map.
fn over_scsi_debug(kinds: &[FileSystemKind]) -> Vec<Condition> {
    Matrix::of_fast_maps().file_systems(kinds).crossed().build()
}

fn write_and_sync(files: &FileSystem, content: &Content) -> Outcome {
    files.start_write(content)?.succeeds(WRITES)?;
    files.start_fsync(content)?.succeeds(SYNCS)
}

/// A file of this content is dirty, all paths have failed, and an `fsync` waits for I/O that the target holds. Nothing else
/// does: a block of metadata that is on its way to the disk keeps the next writer waiting who needs it
/// (`jbd2_journal_get_write_access()`), frozen or not. Seen on a machine so slow that what `mke2fs` and the first commit had
/// left was old enough for the kernel's writeback.
fn parked_fsync(
    bench: &Bench,
    map: &MultipathMap,
    files: &FileSystem,
) -> Outcome<(Content, Background, Mark)> {
    files.start_sync()?.succeeds(SYNCS)?;
    map.fail_every_path(bench.fault())?;
    let dirty = Content::of("dirty", 2);
    files.start_write(&dirty)?.succeeds(WRITES)?;
    let fsync = files.start_fsync(&dirty)?;
    let mark = map.queues_something()?;
    Ok((dirty, fsync, mark))
}

/// L1 (seed, "don't issue `lock_fs()` in `dm_suspend()` if the `DM_NOFLUSH_FLAG` is specified"): a file system is mounted on a
/// map, a file is dirty, all paths fail, and the file system waits for its I/O. A noflush suspend pushes that I/O back and does
/// not freeze: a writer still gets through to the page cache. With a new table everything reaches the disk, and
/// whoever mounts it through a path finds it there.
fn mounted_file_system_survives(bench: &mut Bench) -> Outcome {
    let paths = bench.paths(2)?;
    let map = bench.multipath_of_the_whole_disk("map", &paths, NoPath::Queue)?;
    let files = bench.file_system(&map)?;
    // Both files exist from the start, so that no later write has to read anything.
    for name in ["dirty", "late"] {
        write_and_sync(&files, &Content::of(name, 1))?;
    }
    let (dirty, fsync, mark) = parked_fsync(bench, &map, &files)?;

    map.suspend(Noflush)?;
    map.has_pushed_back_everything(mark)?;
    let late = Content::of("late", 3);
    files.start_write(&late)?.succeeds(NOT_FROZEN)?;

    map.load(&paths)?;
    map.resume()?;
    fsync.succeeds(SYNCS)?;
    files.unmount()?;
    let past = bench.file_system_past_the_map(&paths[0])?;
    past.has(&dirty)?;
    past.has(&late)?;
    past.unmount()
}

/// The stall of 2.6.20: an `fsync` of the file system holds locks and waits for I/O that is pushed back, and the resume, which
/// lets that I/O go, must not wait for those locks when it gives the device its new size (`__set_size()`,
/// `set_capacity()`).
fn size_changes_under_a_parked_fsync(bench: &mut Bench) -> Outcome {
    let paths = bench.paths(2)?;
    let map = bench.multipath_of_most_of_the_disk("map", &paths, NoPath::Queue)?;
    let files = bench.file_system(&map)?;
    write_and_sync(&files, &Content::of("dirty", 1))?;
    let (dirty, fsync, mark) = parked_fsync(bench, &map, &files)?;

    map.suspend(Noflush)?;
    map.has_pushed_back_everything(mark)?;
    map.load_of_the_whole_disk(&paths)?;
    map.resume()?;
    map.has_the_size_of(&paths[0])?;
    fsync.succeeds(SYNCS)?;

    files.unmount()?;
    let past = bench.file_system_past_the_map(&paths[0])?;
    past.has(&dirty)?;
    past.unmount()
}

/// The reason for the seed's rule, from the other side: a flush suspend gives up what the target holds, and then freezes the
/// file system, which can't write its journal. It must say so and leave the map active; what is parked comes back. The
/// file system has given up by then, so it is only unmounted, when its paths work again.
fn flush_suspend_of_a_file_system_without_paths_fails(bench: &mut Bench) -> Outcome {
    let paths = bench.paths(2)?;
    let map = bench.multipath_of_the_whole_disk("map", &paths, NoPath::Queue)?;
    let files = bench.file_system(&map)?;
    write_and_sync(&files, &Content::of("dirty", 1))?;
    let (_, fsync, _) = parked_fsync(bench, &map, &files)?;

    let answer = map.map().try_suspend(Flush)?;
    ensure(!answer.succeeded && answer.stderr.contains("Input/output error"), SUSPEND_FAILS, &answer.stderr)?;
    let info = map.map().info()?;
    ensure(!info.suspended, STAYS_ACTIVE, format_args!("{info:?}"))?;
    fsync.fails_with_eio(FSYNC_FAILS)?;
    map.reinstate_every_path()?;
    files.unmount()
}

/// The freeze did not work.
pub const SUSPEND_FAILS: &str = "a flush suspend that can't freeze the file system fails with EIO";
/// It did not become suspended.
pub const STAYS_ACTIVE: &str = "the map is active after the failed suspend";
/// What was parked was given up.
pub const FSYNC_FAILS: &str = "an fsync whose I/O was given up fails with EIO";

/// The control of L1: a suspend without noflush freezes the file system. A writer waits until the resume.
fn flush_suspend_freezes_the_file_system(bench: &mut Bench) -> Outcome {
    let paths = bench.paths(1)?;
    let map = bench.multipath_of_the_whole_disk("map", &paths, NoPath::Queue)?;
    let files = bench.file_system(&map)?;
    // It exists before, so that the later write has to read nothing: it would wait for that too, frozen or not.
    let first = Content::of("late", 1);
    write_and_sync(&files, &first)?;
    let content = Content::of("late", 2);

    map.suspend(Flush)?;
    let mut write = files.start_write(&content)?;
    write.is_blocked(FROZEN)?;
    map.resume()?;
    write.succeeds(WRITES)?;

    files.unmount()?;
    let past = bench.file_system_past_the_map(&paths[0])?;
    past.has(&content)?;
    past.unmount()
}

/// FL2 (seed, normal path 3): the journal's write with `REQ_PREFLUSH` and `REQ_FUA`, to a path with a cache and without FUA,
/// so that the kernel's flush machinery has its part in it: a flush, the data, a flush. Without a path it is queued, a
/// noflush suspend pushes it back, with a new table it completes. `fsync` has returned then, so a power loss in this moment
/// must not undo what it promised.
fn preflush_and_fua_writes_are_pushed_back(bench: &mut Bench) -> Outcome {
    let paths = bench.paths(1)?;
    // For its loop device only: that has a cache and no FUA, which scsi_debug has.
    let path = bench.holdable("gate", &paths[0])?.path().clone();
    let map = bench.multipath_of_the_whole_disk("map", std::slice::from_ref(&path), NoPath::Queue)?;
    let files = bench.file_system_with_fast_commits(&map)?;
    let content = Content::of("file", 1);
    write_and_sync(&files, &content)?;
    let before = files.fast_commits(&map)?;

    map.fail_every_path(bench.fault())?;
    files.set_mode(&content, 0o600)?;
    let fsync = files.start_fsync(&content)?;
    let mark = map.queues_something()?;
    map.suspend(Noflush)?;
    map.has_pushed_back_everything(mark)?;
    map.load(&[path])?;
    map.resume()?;
    fsync.succeeds(SYNCS)?;

    let fast = files.fast_commits(&map)? - before;
    ensure(fast == 1, FAST_COMMIT, format_args!("{fast} fast commits"))?;
    let after = bench.file_system_after_power_loss(&paths[0])?;
    after.has_mode(&content, 0o600)?;
    after.has(&content)?;
    after.unmount()?;
    files.unmount()
}

/// It was the one write that the case is about.
pub const FAST_COMMIT: &str = "fsync is one write with PREFLUSH and FUA";
