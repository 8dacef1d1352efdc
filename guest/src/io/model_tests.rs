// SPDX-License-Identifier: GPL-2.0-only
//! The rule of the model: against a table of histories, and against a simulated disk on which each write takes
//! effect at an arbitrary moment between its submission and its completion.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use proptest::prelude::*;

use super::*;

const WRITE: Spec = Spec { kind: IoKind::Write, block: 0, blocks: 1 };
const READ: Spec = Spec { kind: IoKind::Read, block: 0, blocks: 1 };

fn filled() -> Model {
    let mut model = Model::new(3, 2);
    model.filled();
    model
}

/// The generations that a read of block 0 may return if it is submitted now.
fn allowed(model: &mut Model) -> Vec<u32> {
    let from = model.tick();
    let mut allowed: Vec<_> = model.candidates(0, from).map(Block::generation).collect();
    allowed.sort_unstable();
    allowed
}

#[test]
fn histories_and_what_they_allow() {
    let mut model = filled();
    assert_eq!(allowed(&mut model), [0]);

    let one = model.begin(WRITE);
    assert_eq!(allowed(&mut model), [0, 1], "pending: old or new");
    let two = model.begin(WRITE);
    model.end(&one, true);
    assert_eq!(allowed(&mut model), [1, 2], "done: the first content is gone, the other is pending");
    model.end(&two, true);
    assert_eq!(allowed(&mut model), [1, 2], "they overlapped: either order");

    let three = model.begin(WRITE);
    model.end(&three, false);
    assert_eq!(allowed(&mut model), [1, 2, 3], "failed: there or not");
    let four = model.begin(WRITE);
    model.end(&four, true);
    assert_eq!(allowed(&mut model), [4], "a failed write must not come back later");
    assert_eq!((model.pending_reads(), model.pending_writes()), (0, 0));
}

#[test]
fn a_read_may_return_what_was_there_when_it_began() {
    let mut model = filled();
    let read = model.begin(READ);
    let write = model.begin(WRITE);
    model.end(&write, true);
    let allowed: Vec<_> = model.candidates(0, read.submitted).map(Block::generation).collect();
    assert_eq!(allowed, [1, 0]);
}

#[test]
fn what_was_seen_is_adopted() {
    for read_pending in [false, true] {
        let mut model = filled();
        let read = read_pending.then(|| model.begin(READ));
        let write = model.begin(WRITE);
        model.end(&write, false);
        assert_eq!(allowed(&mut model), [0, 1]);
        model.adopt(Block::Data(model.first_content(0)));
        assert_eq!(allowed(&mut model), [0]);
        if let Some(read) = read {
            let for_the_read = model.candidates(0, read.submitted).count();
            assert!(for_the_read >= 2, "the read began before");
        }
    }
}

#[test]
fn a_late_write_is_named() {
    let mut model = filled();
    let (failed, good) = (model.begin(WRITE), 2);
    model.end(&failed, false);
    let later = model.begin(WRITE);
    model.end(&later, true);
    assert_eq!(later.generation, Some(good));
    // The failed write arrives after the good one.
    let mut bytes = vec![0; super::super::BLOCK as usize];
    pattern::fill(Stamp { generation: 1, ..model.first_content(0) }, &mut bytes);
    let from = model.tick();
    assert_eq!(
        model.check(0, from, &bytes).unwrap_err(),
        "block 0 holds generation 1, expected generation 2: an older write came back, or the newer one is lost"
    );
}

#[test]
fn zeroes_are_a_content_of_their_own() {
    let zeroes = vec![0; super::super::BLOCK as usize];
    let mut model = filled();
    let from = model.tick();
    assert_eq!(
        model.check(0, from, &zeroes).unwrap_err(),
        "block 0 holds zeroes, expected the first content"
    );

    let discard = model.begin(Spec { kind: IoKind::Discard, ..WRITE });
    model.end(&discard, true);
    let mut first = vec![0; super::super::BLOCK as usize];
    pattern::fill(model.first_content(0), &mut first);
    let from = model.tick();
    assert_eq!(
        model.check(0, from, &first).unwrap_err(),
        "block 0 holds the first content, expected the zeroes of generation 1: lost"
    );
    let seen = model.check(0, from, &zeroes).unwrap();
    assert_eq!(seen, Block::Zeroes { block: 0, generation: 1 });
    model.adopt(seen);
    assert_eq!(allowed(&mut model), [1]);

    let write = model.begin(WRITE);
    model.end(&write, true);
    let from = model.tick();
    assert_eq!(model.check(0, from, &zeroes).unwrap_err(), "block 0 holds zeroes, expected generation 2");
}

#[test]
fn an_io_that_was_not_submitted_leaves_no_trace() {
    let mut model = filled();
    let write = model.begin(Spec { blocks: 2, ..WRITE });
    let read = model.begin(READ);
    model.forget(&write);
    model.forget(&read);
    assert_eq!(allowed(&mut model), [0]);
    assert_eq!((model.pending_reads(), model.pending_writes()), (0, 0));
}

/// One step of a simulated history of block 0.
#[derive(Debug, Clone, Copy)]
enum Step {
    Submit,
    /// The n-th pending write takes effect on the disk.
    Apply(usize),
    /// The n-th pending write succeeds (after its effect), or fails with or without one.
    Succeed(usize),
    Fail(usize),
    /// A read begins; the n-th pending one looks at the disk and ends.
    Begin,
    Read(usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        Just(Step::Submit),
        (0..4_usize).prop_map(Step::Apply),
        (0..4_usize).prop_map(Step::Succeed),
        (0..4_usize).prop_map(Step::Fail),
        Just(Step::Begin),
        (0..4_usize).prop_map(Step::Read),
    ];
    prop::collection::vec(step, 0..60)
}

fn take<T>(list: &mut Vec<T>, at: usize) -> Option<T> {
    (!list.is_empty()).then(|| list.remove(at % list.len()))
}

proptest! {
    /// Whatever a correct disk does, the model accepts; and with nothing pending, and every write a success, one
    /// after the other, it accepts nothing but the last one.
    #[test]
    fn a_correct_disk_is_never_blamed(steps in steps()) {
        let mut model = filled();
        let (mut writes, mut reads, mut on_disk) = (Vec::new(), Vec::new(), 0);
        for step in steps {
            match step {
                Step::Submit => writes.push(model.begin(WRITE)),
                Step::Apply(at) if !writes.is_empty() => {
                    let write: &Ticket = &writes[at % writes.len()];
                    on_disk = write.generation.unwrap();
                }
                Step::Succeed(at) => {
                    if let Some(write) = take(&mut writes, at) {
                        // It takes effect at the latest now.
                        on_disk = write.generation.unwrap();
                        model.end(&write, true);
                    }
                }
                Step::Fail(at) => {
                    if let Some(write) = take(&mut writes, at) {
                        model.end(&write, false);
                    }
                }
                Step::Begin => reads.push(model.begin(READ)),
                Step::Read(at) => {
                    if let Some(read) = take(&mut reads, at) {
                        let mut seen = model.candidates(0, read.submitted);
                        prop_assert!(seen.any(|content| content.generation() == on_disk), "{on_disk} {model:?}");
                        drop(seen);
                        model.end(&read, true);
                    }
                }
                Step::Apply(_) => {}
            }
        }
        prop_assert!(allowed(&mut model).contains(&on_disk));
    }

    #[test]
    fn after_writes_one_by_one_only_the_last_is_right(count in 1_u32..20) {
        let mut model = filled();
        for _ in 0..count {
            let write = model.begin(WRITE);
            model.end(&write, true);
        }
        prop_assert_eq!(allowed(&mut model), [count]);
    }
}
