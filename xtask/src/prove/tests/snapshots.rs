// SPDX-License-Identifier: GPL-2.0-only
//! The proof in each form.

use camino::Utf8Path;
use guest::condition::QueueMode;

use super::*;

#[test]
fn as_a_table_where_all_is_as_expected() {
    let text = terminal::render(&proof(|_, _| Ok(None), false), Utf8Path::new("runs/x"), 160, false);
    insta::assert_snapshot!(text, @r#"
    base 6.12: baseline 6.12.117, pushback 6.12.117, stock 6.12.117

    claim                case                               conditions                 baseline                           pushback  stock
    -------------------  ---------------------------------  -------------------------  ---------------------------------  --------  --------------------------------
    seed, regression 4   compat::flush_suspend_fails_       bio (2 of 4)               pass                               pass      pass
                         queued_io
                                                            rq (2 of 4)                pass                               pass      deviates: queued I/O fails with
                                                                                                                                    EIO
    seed, normal path 1  noflush::queued_io_leaves_the_     all 8                      fails: I/O is pushed back to the   pass      pass
                         target_without_returning                                      core
    seed, normal path 2  noflush::resume_without_recovery_  explicit,message (2 of 4)  fails: I/O is pushed back to the   pass      pass
                         queues_again                                                  core
                                                            implicit,offline (2 of 4)  fails: I/O is queued in the        pass      pass
                                                                                       target again

    known deviations:
      compat::flush_suspend_fails_queued_io on stock
          requests survive (shortened)

    48 cells as expected, 0 not in 61.5 s
    everything is in runs/x
    "#);
}

#[test]
fn as_a_table_in_a_narrow_terminal() {
    let text = terminal::render(&with_mismatches(), Utf8Path::new("runs/x"), 90, false);
    insta::assert_snapshot!(text, @r#"
    base 6.12: baseline 6.12.117, pushback 6.12.117, stock 6.12.117

    claim           case            conditions     baseline       pushback       stock
    --------------  --------------  -------------  -------------  -------------  -------------
    seed,           compat::flush_  bio (2 of 4)   pass           pass           pass
    regression 4    suspend_fails_
                    queued_io
                                    rq (2 of 4)    pass           pass           deviates:
                                                                                 queued I/O
                                                                                 fails with
                                                                                 EIO
    seed, normal    noflush::       rq,read (1 of  ✗ pass         pass           pass
    path 1          queued_io_      8)
                    leaves_the_
                    target_
                    without_
                    returning
                                    others (7 of   fails: I/O is  pass           pass
                                    8)             pushed back
                                                   to the core
    seed, normal    noflush::       bio,explicit,  ✗ fails:       ✗ KernelSplat  pass
    path 2          resume_         message (1 of  suspend
                    without_        4)             succeeds
                    recovery_
                    queues_again
                                    rq,explicit,   fails: I/O is  pass           pass
                                    message (1 of  pushed back
                                    4)             to the core
                                    implicit,      fails: I/O is  pass           pass
                                    offline (2 of  queued in the
                                    4)             target again

    known deviations:
      compat::flush_suspend_fails_queued_io on stock
          requests survive (shortened)

    ✗ noflush::queued_io_leaves_the_target_without_returning[scsi_debug,rq,explicit,message,read] on baseline
        it should fail at `I/O is pushed back to the core`, and passed
        run:   runs/x/baseline
        again: cargo xtask test --base 6.12 --variant baseline 'noflush::queued_io_leaves_the_target_without_returning[scsi_debug,rq,explicit,message,read]'

    ✗ noflush::resume_without_recovery_queues_again[scsi_debug,bio,explicit,message] on baseline
        it should fail at `I/O is pushed back to the core`, and failed: suspend succeeds: \u{1b}[31mEIO
        run:   runs/x/baseline
        again: cargo xtask test --rerun 'runs/x/baseline/failures/x y'

    ✗ noflush::resume_without_recovery_queues_again[scsi_debug,bio,explicit,message] on pushback
        it should pass, and ended as KernelSplat: lockdep: WARNING: x
        run:   runs/x/pushback
        again: cargo xtask test --rerun 'runs/x/pushback/failures/x y'

    45 cells as expected, 3 not in 61.5 s
    everything is in runs/x
    "#);
    let first_lines = text.lines().take(20);
    assert!(first_lines.into_iter().all(|line| line.chars().count() <= 90));
    assert!(terminal::render(&with_mismatches(), Utf8Path::new("x"), 90, true).contains("\u{1b}[31m"));
}

#[test]
fn as_a_table_of_an_interrupted_proof() {
    let outcome =
        |on: &str, full: &str| if on == "baseline" && !full.contains("without") { Ok(None) } else { Err(()) };
    let text = terminal::render(&proof(outcome, true), Utf8Path::new("runs/x"), 160, false);
    insta::assert_snapshot!(text, @r#"
    base 6.12: baseline 6.12.117, pushback 6.12.117, stock 6.12.117

    claim                case                                                    conditions  baseline  pushback  stock
    -------------------  ------------------------------------------------------  ----------  --------  --------  -------
    seed, regression 4   compat::flush_suspend_fails_queued_io                   all 4       pass      not run   not run
    seed, normal path 1  noflush::queued_io_leaves_the_target_without_returning  all 8       not run   not run   not run
    seed, normal path 2  noflush::resume_without_recovery_queues_again           all 4       not run   not run   not run

    the run on baseline did not come to its end

    the run on pushback did not come to its end

    the run on stock did not come to its end

    4 cells as expected, 0 not, 44 not run in 61.5 s
    everything is in runs/x
    "#);
}

#[test]
fn as_markdown() {
    insta::assert_snapshot!(markdown::render(&with_mismatches(), Utf8Path::new("runs/x")), @r#"
    | claim | case | conditions | baseline 6.12.117 | pushback 6.12.117 | stock 6.12.117 |
    | --- | --- | --- | --- | --- | --- |
    | seed, regression 4 | `compat::flush_suspend_fails_queued_io` | bio (2 of 4) | pass | pass | pass |
    |  |  | rq (2 of 4) | pass | pass | deviates: queued I/O fails with EIO |
    | seed, normal path 1 | `noflush::queued_io_leaves_the_target_without_returning` | rq,read (1 of 8) | **✗ pass** | pass | pass |
    |  |  | others (7 of 8) | fails: I/O is pushed back to the core | pass | pass |
    | seed, normal path 2 | `noflush::resume_without_recovery_queues_again` | bio,explicit,message (1 of 4) | **✗ fails: suspend succeeds** | **✗ KernelSplat** | pass |
    |  |  | rq,explicit,message (1 of 4) | fails: I/O is pushed back to the core | pass | pass |
    |  |  | implicit,offline (2 of 4) | fails: I/O is queued in the target again | pass | pass |

    Known deviations:

    - `compat::flush_suspend_fails_queued_io` on stock: requests survive (shortened)

    Not as expected:

    - `noflush::queued_io_leaves_the_target_without_returning[scsi_debug,rq,explicit,message,read]` on baseline: it should fail at `I/O is pushed back to the core`, and passed. Again: `cargo xtask test --base 6.12 --variant baseline 'noflush::queued_io_leaves_the_target_without_returning[scsi_debug,rq,explicit,message,read]'`
    - `noflush::resume_without_recovery_queues_again[scsi_debug,bio,explicit,message]` on baseline: it should fail at `I/O is pushed back to the core`, and failed: suspend succeeds: \u{1b}[31mEIO. Again: `cargo xtask test --rerun 'runs/x/baseline/failures/x y'`
    - `noflush::resume_without_recovery_queues_again[scsi_debug,bio,explicit,message]` on pushback: it should pass, and ended as KernelSplat: lockdep: WARNING: x. Again: `cargo xtask test --rerun 'runs/x/pushback/failures/x y'`

    45 cells as expected, 3 not in 61.5 s.
    "#);
}

#[test]
#[expect(clippy::too_many_lines, reason = "the format as a whole")]
fn as_json() {
    let mut proof = with_mismatches();
    let interesting = |cell: &proof::Cell| {
        cell.conditions.queue_mode == Some(QueueMode::Bio) && cell.full_name.contains("explicit,message]")
            || cell.expected != Some(Expected::Pass) && cell.variant == "stock"
    };
    proof.cells.retain(interesting);
    proof.cells.truncate(4);
    insta::assert_snapshot!(serde_json::to_string_pretty(&proof).unwrap(), @r#"
    {
      "v": 1,
      "base": "6.12",
      "runs": [
        {
          "variant": "baseline",
          "kernel": {
            "source": "",
            "variant": "baseline",
            "observe": false,
            "flavour": "",
            "release": "6.12.117",
            "id": ""
          },
          "folder": "baseline",
          "complete": true
        },
        {
          "variant": "pushback",
          "kernel": {
            "source": "",
            "variant": "pushback",
            "observe": false,
            "flavour": "",
            "release": "6.12.117",
            "id": ""
          },
          "folder": "pushback",
          "complete": true
        },
        {
          "variant": "stock",
          "kernel": {
            "source": "",
            "variant": "stock",
            "observe": false,
            "flavour": "",
            "release": "6.12.117",
            "id": ""
          },
          "folder": "stock",
          "complete": true
        }
      ],
      "cells": [
        {
          "claim": "seed, regression 4",
          "case": "compat::flush_suspend_fails_queued_io",
          "conditions": {
            "transport": "scsi_debug",
            "queue_mode": "rq",
            "suspend": "explicit"
          },
          "full_name": "compat::flush_suspend_fails_queued_io[scsi_debug,rq,explicit]",
          "variant": "stock",
          "expected": {
            "then": "deviates",
            "assertion": "queued I/O fails with EIO",
            "deviation": {
              "since": "9f518b27cf68 \"dm: simplify request based suspend\"",
              "reason": "In request-based multipath, queued I/O survives a suspend without noflush: the suspend waits for started requests only, and the queued ones lie unstarted in blk-mq until the resume. The case has verified that what survived was intact and completed.",
              "sometimes": true
            }
          },
          "outcome": "KnownDeviation",
          "assertion": "queued I/O fails with EIO",
          "message": "queued I/O fails with EIO: requests survive (shortened)",
          "verdict": "as_expected"
        },
        {
          "claim": "seed, regression 4",
          "case": "compat::flush_suspend_fails_queued_io",
          "conditions": {
            "transport": "scsi_debug",
            "queue_mode": "rq",
            "suspend": "implicit"
          },
          "full_name": "compat::flush_suspend_fails_queued_io[scsi_debug,rq,implicit]",
          "variant": "stock",
          "expected": {
            "then": "deviates",
            "assertion": "queued I/O fails with EIO",
            "deviation": {
              "since": "9f518b27cf68 \"dm: simplify request based suspend\"",
              "reason": "In request-based multipath, queued I/O survives a suspend without noflush: the suspend waits for started requests only, and the queued ones lie unstarted in blk-mq until the resume. The case has verified that what survived was intact and completed.",
              "sometimes": true
            }
          },
          "outcome": "KnownDeviation",
          "assertion": "queued I/O fails with EIO",
          "message": "queued I/O fails with EIO: requests survive (shortened)",
          "verdict": "as_expected"
        },
        {
          "claim": "seed, normal path 2",
          "case": "noflush::resume_without_recovery_queues_again",
          "conditions": {
            "transport": "scsi_debug",
            "queue_mode": "bio",
            "suspend": "explicit",
            "fault": "message"
          },
          "full_name": "noflush::resume_without_recovery_queues_again[scsi_debug,bio,explicit,message]",
          "variant": "baseline",
          "expected": {
            "then": "fails",
            "assertion": "I/O is pushed back to the core"
          },
          "outcome": "Fail",
          "assertion": "suspend succeeds",
          "message": "suspend succeeds: \u001b[31mEIO",
          "artifacts": "failures/x y",
          "verdict": "mismatch"
        },
        {
          "claim": "seed, normal path 2",
          "case": "noflush::resume_without_recovery_queues_again",
          "conditions": {
            "transport": "scsi_debug",
            "queue_mode": "bio",
            "suspend": "explicit",
            "fault": "message"
          },
          "full_name": "noflush::resume_without_recovery_queues_again[scsi_debug,bio,explicit,message]",
          "variant": "pushback",
          "expected": {
            "then": "pass"
          },
          "outcome": "KernelSplat",
          "message": "lockdep: WARNING: x",
          "artifacts": "failures/x y",
          "verdict": "mismatch"
        }
      ],
      "summary": {
        "as_expected": 45,
        "not_applicable": 0,
        "mismatched": 3,
        "not_run": 0,
        "seconds": 61.5,
        "exit_code": 1
      }
    }
    "#);
}
