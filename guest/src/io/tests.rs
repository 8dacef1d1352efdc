// SPDX-License-Identifier: GPL-2.0-only
//! Ledger, batches and both engines on ordinary files. What goes wrong is made on purpose: the file is corrupted
//! behind the ledger's back, and the message must name what happened.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::fs::{File, OpenOptions};
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::libc;

use super::*;
use crate::failure::{Failure, Outcome};

const BLOCKS: u64 = 128;
const SOON: Duration = Duration::from_secs(10);
const ENGINES: [Engine; 2] = [Engine::IoUring, Engine::Threads];

/// A file that plays the disk.
struct Disk {
    _folder: tempfile::TempDir,
    path: PathBuf,
    ledger: Ledger,
}

fn disk() -> Disk {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("disk");
    File::create(&path).unwrap().set_len(BLOCKS * u64::from(BLOCK)).unwrap();
    let mut ledger = Ledger::new(42, BLOCKS);
    ledger.prefill(&path).unwrap();
    Disk { _folder: folder, path, ledger }
}

impl Disk {
    fn run(&mut self, engine: Engine, specs: &[Spec]) -> Batch {
        let batch = self.ledger.submit(engine, &self.path, specs).unwrap();
        batch.wait_all_ok(SOON, "every I/O succeeds").unwrap();
        batch
    }

    fn file(&self) -> File {
        OpenOptions::new().read(true).write(true).open(&self.path).unwrap()
    }

    fn block(&self, block: u64) -> Vec<u8> {
        let mut bytes = vec![0; BLOCK as usize];
        self.file().read_exact_at(&mut bytes, block * u64::from(BLOCK)).unwrap();
        bytes
    }

    /// Changes a block behind the ledger's back.
    fn corrupt(&self, block: u64, offset: u64, bytes: &[u8]) {
        self.file().write_all_at(bytes, block * u64::from(BLOCK) + offset).unwrap();
    }

    fn verdict(&mut self) -> String {
        text(self.ledger.verify(&self.path.clone()))
    }
}

fn text<T: fmt::Debug>(outcome: Outcome<T>) -> String {
    outcome.map_or_else(|failure| failure.to_string(), |value| format!("{value:?}"))
}

#[test]
fn what_is_written_is_read_and_verified() {
    for engine in ENGINES {
        let mut disk = disk();
        disk.run(engine, &writes(32));
        disk.run(engine, &of_kind(IoKind::Fua, 8));
        disk.run(engine, &of_kind(IoKind::Flush, 8));
        disk.run(engine, &[Spec::new(IoKind::Write, 61, 6), Spec::new(IoKind::Flush, 0, 0)]);
        disk.run(engine, &reads(64));
        disk.run(engine, &[Spec::new(IoKind::Read, 0, 128)]);
        disk.ledger.verify(&disk.path).unwrap();
    }
}

#[test]
fn a_block_carries_its_place_and_its_write() {
    let mut disk = disk();
    disk.run(Engine::Threads, &[Spec::new(IoKind::Write, 10, 3)]);
    let batch = disk.run(Engine::IoUring, &[Spec::new(IoKind::Fua, 40, 1)]);
    assert_eq!(batch.results()[0].generation, Some(2));
    let pattern::Content::Whole(stamp) = pattern::identify(&disk.block(12)) else { panic!("not whole") };
    assert_eq!((stamp.block, stamp.generation, stamp.position), (12, 1, 2));
}

/// Each way in which data goes wrong, made on purpose, and the message that it must give.
#[test]
fn wrong_data_is_told_apart() {
    type Damage = fn(&Disk, old: &[u8]);
    let table: [(Damage, &str); 7] = [
        (
            |disk, old| disk.corrupt(12, 0, old),
            "block 12 holds the first content, expected generation 7: lost",
        ),
        (
            |disk, _| disk.corrupt(12, 0, &disk.block(14)),
            "block 12 holds block 14 of generation 8, expected generation 7: doubled or misplaced",
        ),
        (
            |disk, old| disk.corrupt(12, 1536, &old[1536..]),
            "block 12 is torn: sectors 0-2 hold block 12 of generation 7, \
             sectors 3-7 hold block 12 of the first content, expected generation 7",
        ),
        (|disk, _| disk.corrupt(12, 0, &[0; 4096]), "block 12 holds zeroes, expected generation 7"),
        (
            |disk, _| disk.corrupt(12, 0, b"ext4"),
            "block 12 is torn: sector 0 holds bytes nobody wrote ([65, 78, 74, 34]…), \
             sectors 1-7 hold block 12 of generation 7, expected generation 7",
        ),
        (
            |disk, _| disk.corrupt(12, 1000, &[0xff]),
            "block 12 is torn: sector 0 holds block 12 of generation 7, \
             sector 1 holds sector 1 of block 12 of generation 7 with other bytes from byte 488 on, \
             sectors 2-7 hold block 12 of generation 7, expected generation 7",
        ),
        (
            |disk, _| disk.corrupt(12, 512, &disk.block(12)[..512]),
            "block 12 is torn: sector 0 holds block 12 of generation 7, \
             sector 1 holds sector 0 of block 12 of generation 7, \
             sectors 2-7 hold block 12 of generation 7, expected generation 7",
        ),
    ];
    for (damage, message) in table {
        let mut disk = disk();
        let old = disk.block(12);
        disk.run(Engine::Threads, &writes(32));
        disk.ledger.verify(&disk.path).unwrap();
        damage(&disk, &old);
        assert_eq!(disk.verdict(), format!("data is what was written: 1 of 128 blocks are wrong: {message}"));
    }
}

#[test]
fn a_write_that_went_elsewhere_is_lost_here_and_doubled_there() {
    let mut disk = disk();
    let (old, before) = (disk.block(20), disk.block(21));
    disk.run(Engine::IoUring, &[Spec::new(IoKind::Write, 20, 1)]);
    let new = disk.block(20);
    disk.corrupt(20, 0, &old);
    disk.corrupt(21, 0, &new);
    insta::assert_snapshot!(disk.verdict(), @"data is what was written: 2 of 128 blocks are wrong: block 20 holds the first content, expected generation 1: lost; block 21 holds block 20 of generation 1, expected the first content: doubled or misplaced");
    disk.corrupt(20, 0, &new);
    disk.corrupt(21, 0, &before);
    disk.ledger.verify(&disk.path).unwrap();
}

#[test]
fn what_an_earlier_case_left_is_not_taken_for_data() {
    let mut disk = disk();
    let left = disk.block(5);
    disk.ledger.prefill(&disk.path).unwrap();
    disk.ledger.verify(&disk.path).unwrap();
    disk.corrupt(5, 0, &left);
    assert!(disk.verdict().contains("of another disk or an earlier case"), "{}", disk.verdict());
}

#[test]
fn many_wrong_blocks_are_counted() {
    let mut disk = disk();
    disk.corrupt(100, 0, &vec![0; 10 * BLOCK as usize]);
    let verdict = disk.verdict();
    assert!(verdict.contains("10 of 128 blocks are wrong: block 100 holds zeroes"), "{verdict}");
    assert!(verdict.ends_with("; and 4 more"), "{verdict}");
}

#[test]
fn a_read_that_returns_something_else_fails_the_case() {
    for engine in ENGINES {
        let mut disk = disk();
        disk.corrupt(6, 0, &disk.block(7));
        let batch = disk.ledger.submit(engine, &disk.path, &reads(8)).unwrap();
        let seen = "reads return what was written: read 6+1 returned: block 6 holds block 7 of the first content, \
                    expected the first content: doubled or misplaced";
        assert_eq!(text(batch.wait(SOON, "every read succeeds", |_| false)), seen);
        assert_eq!(text(batch.finish()), seen);
        assert_eq!(disk.verdict(), seen);
    }
}

#[test]
fn an_errno_is_kept_and_a_failed_write_may_be_there_or_not() {
    for engine in ENGINES {
        let mut disk = disk();
        let read_only = Arc::new(device::open(&disk.path, false).unwrap());
        let batch = disk.ledger.submit_to(engine, read_only, &writes(4)).unwrap();
        let tally = batch.wait_all_completed(SOON, "every write completes").unwrap();
        assert_eq!(tally.to_string(), "4 I/Os: 4 EBADF");
        assert!(tally.all_failed_with(libc::EBADF) && !tally.all_ok());
        assert_eq!(
            text(batch.wait_all_ok(SOON, "every write succeeds")),
            "every write succeeds: it ended otherwise: 4 I/Os: 4 EBADF"
        );
        // Block 2 holds what the failed write carried: as right as the old content; from then on the only one.
        let old = disk.block(2);
        let mut new = old.clone();
        pattern::fill(pattern::Stamp { generation: 2, ..stamp_of(&old) }, &mut new);
        disk.corrupt(2, 0, &new);
        disk.ledger.verify(&disk.path).unwrap();
        disk.corrupt(2, 0, &old);
        assert!(disk.verdict().contains("block 2 holds the first content, expected generation 2: lost"));
    }
}

fn stamp_of(block: &[u8]) -> pattern::Stamp {
    match pattern::identify(block) {
        pattern::Content::Whole(stamp) => stamp,
        mixed @ pattern::Content::Mixed(_) => panic!("{mixed:?}"),
    }
}

#[test]
fn a_short_read_is_neither_ok_nor_an_errno() {
    for engine in ENGINES {
        let mut disk = disk();
        disk.file().set_len(6 * u64::from(BLOCK)).unwrap();
        let batch = disk.ledger.submit(engine, &disk.path, &[Spec::new(IoKind::Read, 4, 4)]).unwrap();
        let tally = batch.wait_all_completed(SOON, "it completes").unwrap();
        assert_eq!(tally.to_string(), "1 I/Os: 1 short");
        assert_eq!(batch.results()[0].state, IoState::Short(2 * u64::from(BLOCK)));
        assert!(disk.verdict().ends_with("has 6 blocks, its ledger 128"), "{}", disk.verdict());
    }
}

/// Two reads from an empty pipe: they stay pending for as long as nobody writes, and either may be served first.
fn parked(disk: &mut Disk) -> (Batch, File) {
    let (reader, writer): (OwnedFd, OwnedFd) = nix::unistd::pipe().unwrap();
    let batch = disk
        .ledger
        .submit_to(Engine::IoUring, Arc::new(reader.into()), &[Spec::new(IoKind::Read, 0, 1); 2])
        .unwrap();
    (batch, writer.into())
}

#[test]
fn pending_io_is_counted_and_waited_for() {
    let mut disk = disk();
    let (batch, pipe) = parked(&mut disk);
    assert!(batch.tally().all_pending() && !batch.tally().all_completed());
    let late = text(batch.wait(Duration::from_millis(30), "one read completes", |tally| tally.ok == 1));
    assert!(late.starts_with("one read completes: not within 0.0 s: 2 I/Os: 2 pending"), "{late}");

    io::Write::write_all(&mut &pipe, &disk.block(0)).unwrap();
    let tally = batch.wait(SOON, "one read completes", |tally| tally.ok == 1).unwrap();
    assert_eq!(tally.to_string(), "2 I/Os: 1 pending, 1 ok");
    let [first] = batch.completion_order()[..] else { panic!("one has completed") };
    let results = batch.results();
    assert!(results[first].completed.unwrap() >= results[first].submitted);
    assert_eq!((results[1 - first].completed, results[1 - first].state), (None, IoState::Pending));
    drop(pipe);
    assert_eq!(batch.wait_all_completed(SOON, "both end").unwrap().to_string(), "2 I/Os: 1 ok, 1 short");
}

#[test]
fn a_batch_with_pending_io_is_dropped_without_blocking() {
    let mut disk = disk();
    let start = Instant::now();
    let (batch, pipe) = parked(&mut disk);
    assert_eq!(text(batch.finish().map(|tally| tally.to_string())), "\"2 I/Os: 2 pending\"");
    let (batch, other) = parked(&mut disk);
    drop(batch);
    assert!(start.elapsed() < SOON);
    // What comes late still finds its buffer, and is checked.
    let wrong = disk.block(1);
    io::Write::write_all(&mut &pipe, &wrong).unwrap();
    crate::wait::wait_for(SOON, "the late read is checked", || {
        Ok(if disk.ledger.verify(&disk.path).is_err() { Ok(()) } else { Err("not yet".to_owned()) })
    })
    .unwrap();
    assert!(disk.verdict().contains("read 0+1 returned: block 0 holds block 1"), "{}", disk.verdict());
    drop(other);
}

#[test]
fn nothing_holds_the_device_open_after_the_wait() {
    for engine in ENGINES {
        let mut disk = disk();
        for _ in 0..20 {
            let _kept = disk.run(engine, &[Spec::new(IoKind::Flush, 0, 0), Spec::new(IoKind::Write, 1, 1)]);
            let open = std::fs::read_dir("/proc/self/fd").unwrap().flatten();
            let held =
                open.filter(|entry| std::fs::read_link(entry.path()).is_ok_and(|path| path == disk.path));
            assert_eq!(held.count(), 0);
        }
    }
}

#[test]
fn what_the_ledger_can_not_account_for_is_refused() {
    let mut disk = disk();
    let mut submit = |specs: &[Spec]| text(disk.ledger.submit(Engine::Threads, &disk.path, specs));
    let refused = [
        submit(&[]),
        submit(&[Spec::new(IoKind::Write, 127, 2)]),
        submit(&[Spec::new(IoKind::Read, u64::MAX, 1)]),
        submit(&[Spec::new(IoKind::Read, 0, 0)]),
        text(Ledger::new(1, 8).submit(Engine::Threads, &disk.path, &writes(1))),
        text(Ledger::new(1, 8).verify(&disk.path)),
        text(Ledger::new(1, 200).prefill(&disk.path).map_err(|failure| match failure {
            Failure::Guest(message) => Failure::guest(message.split_once(" has ").unwrap().1),
            other => other,
        })),
    ];
    insta::assert_snapshot!(refused.join("\n"), @r"
    the guest could not do its part: a batch needs at least one I/O
    the guest could not do its part: write 127+2 is not inside a disk of 128 blocks
    the guest could not do its part: read 18446744073709551615+1 is not inside a disk of 128 blocks
    the guest could not do its part: read 0+0 is not inside a disk of 128 blocks
    the guest could not do its part: the disk has no first content yet (hint: call `prefill` first)
    the guest could not do its part: the disk has no first content yet (hint: call `prefill` first)
    the guest could not do its part: 128 blocks, its ledger 200
    ");
}

#[test]
fn the_default_layout_leaves_a_gap_after_each_io() {
    let specs = of_kind(IoKind::Fua, 3);
    assert_eq!(specs.iter().map(ToString::to_string).collect::<Vec<_>>(), ["fua 0+1", "fua 2+1", "fua 4+1"]);
    assert_eq!(writes(1)[0].moved(7).to_string(), "write 7+1");
    assert_eq!(of_kind(IoKind::Flush, 2)[1].to_string(), "flush");
}
