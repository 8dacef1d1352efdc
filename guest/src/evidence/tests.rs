// SPDX-License-Identifier: GPL-2.0-only
//! Table tests with what 6.12.117 showed.

use super::mq::{has_flag, tags_taken};
use super::{Mark, Mq, Op, Request, Snapshot, Whereabouts, whereabouts};

const NOWHERE: Whereabouts = Whereabouts { in_target: 0, in_core: 0, in_paths: 0, on_the_way: 0 };

/// One write to a bio-based map without a path: queued, noflush suspend, resume over fresh paths.
#[test]
fn a_bio_is_followed() {
    let mark = Mark { inflight: 1, returned: 0 };
    let snapshot = |suspended, inflight, below| Snapshot { suspended, inflight, below, mq: None };
    let table = [
        ("queued", snapshot(false, 1, 0), 0, Whereabouts { in_target: 1, ..NOWHERE }),
        ("in a path", snapshot(false, 1, 1), 0, Whereabouts { in_paths: 1, ..NOWHERE }),
        ("pushed back", snapshot(true, 0, 0), 0, Whereabouts { in_core: 1, ..NOWHERE }),
        ("failed by the suspend", snapshot(true, 0, 0), 1, NOWHERE),
        ("issued again and done", snapshot(false, 0, 0), 1, NOWHERE),
    ];
    for (what, now, returned, expected) in table {
        assert_eq!(whereabouts(&now, mark, returned), expected, "{what}");
    }
    // Submitted while suspended: deferred, but never in the target. Not the evidence that is wanted.
    assert_eq!(whereabouts(&snapshot(true, 0, 0), Mark::default(), 0), NOWHERE);
}

const WRITE: &str = "00000000943414c3 {.op=WRITE, .cmd_flags=SYNC|IDLE, .rq_flags=STARTED|SCHED_TAGS|USE_SCHED|IO_STAT, .state=idle, .tag=-1, .internal_tag=79}\n";
const READ: &str = "00000000752ff06a {.op=READ, .cmd_flags=SYNC, .rq_flags=STARTED|SCHED_TAGS|USE_SCHED|IO_STAT, .state=idle, .tag=-1, .internal_tag=0}\n";

#[test]
fn a_request_is_followed() {
    let one = || Request::parse_all(WRITE);
    let mq = |quiesced, requeued, waiting, held| Mq { quiesced, held, requeued, waiting };
    let snapshot = |suspended, below, mq| Snapshot { suspended, below, mq: Some(mq), ..Snapshot::default() };
    let table = [
        (
            "refused by the target",
            snapshot(false, 0, mq(false, one(), vec![], 1)),
            Whereabouts { in_target: 1, ..NOWHERE },
        ),
        (
            "about to be offered again",
            snapshot(false, 0, mq(false, vec![], one(), 1)),
            Whereabouts { on_the_way: 1, ..NOWHERE },
        ),
        (
            "just suspended",
            snapshot(true, 0, mq(true, one(), vec![], 1)),
            Whereabouts { on_the_way: 1, ..NOWHERE },
        ),
        ("pushed back", snapshot(true, 0, mq(true, vec![], one(), 1)), Whereabouts { in_core: 1, ..NOWHERE }),
        (
            "in a path",
            snapshot(false, 1, mq(false, vec![], vec![], 1)),
            Whereabouts { in_paths: 1, ..NOWHERE },
        ),
        ("gone", snapshot(false, 0, mq(false, vec![], vec![], 0)), NOWHERE),
    ];
    for (what, now, expected) in table {
        assert_eq!(whereabouts(&now, Mark::default(), 0), expected, "{what}");
    }
}

/// Eight flushes: one flush request on the list, eight tags.
#[test]
fn one_flush_request_stands_for_all() {
    let flush = vec![Request { op: Op::Flush, idle: true }];
    let mut mq = Mq { quiesced: false, held: 8, requeued: flush, waiting: vec![] };
    let now = |mq: &Mq, suspended| Snapshot { suspended, mq: Some(mq.clone()), ..Snapshot::default() };
    assert_eq!(whereabouts(&now(&mq, false), Mark::default(), 0).in_target, 8);
    mq.waiting = std::mem::take(&mut mq.requeued);
    mq.quiesced = true;
    assert_eq!(whereabouts(&now(&mq, true), Mark::default(), 0).in_core, 8);
}

#[test]
fn recorded_files_are_understood() {
    let both = format!("{READ}{WRITE}");
    assert_eq!(Request::parse_all(&both), vec![Request { op: Op::Other, idle: true }; 2]);
    let started = WRITE.replace("idle", "in_flight").replace("WRITE", "FLUSH");
    assert_eq!(Request::parse_all(&started), vec![Request { op: Op::Flush, idle: false }]);
    assert_eq!(Request::parse_all("\n{.op=\n{}\n}{"), vec![]);
    assert!(has_flag("SAME_COMP|INIT_DONE|REGISTERED|QUIESCED|SQ_SCHED\n", "QUIESCED"));
    assert!(!has_flag("SAME_COMP|INIT_DONE|REGISTERED|SQ_SCHED\n", "QUIESCED"));
    let tags =
        "nr_tags=256\nnr_reserved_tags=0\nactive_queues=0\n\nbitmap_tags:\ndepth=256\nbusy=2\ncleared=0\n";
    assert_eq!(tags_taken(tags), Some(2));
    assert_eq!(tags_taken(""), None);
}

#[test]
fn whereabouts_are_told_in_words() {
    assert_eq!(NOWHERE.to_string(), "nowhere in the map");
    let some = Whereabouts { in_core: 30, in_paths: 2, ..NOWHERE };
    assert_eq!(some.to_string(), "30 in the core, 2 in the paths");
}

proptest::proptest! {
    #[test]
    fn parsing_never_panics(text in "[.{}=,|a-z \n]{0,60}|\\PC{0,60}") {
        let _ = Request::parse_all(&text);
        let _ = tags_taken(&text);
    }
}
