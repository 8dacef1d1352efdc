// SPDX-License-Identifier: GPL-2.0-only
//! Which end of an I/O is right in a storm. Pure: from what is known of an I/O and of the suspends to a verdict.
//!
//! All maps queue without a path, and all suspends are noflush: so every I/O succeeds, whatever the paths did. There is one
//! exception (seed, error paths): what had not been returned to the core when a noflush suspend was interrupted may fail with
//! EIO. What the data must be is the business of [`crate::io`].

use nix::libc;

use crate::io::{IoResult, IoState};

/// When a suspend began that got a signal, and when it had ended; seconds on `CLOCK_MONOTONIC`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Interruption {
    /// Before the ioctl.
    pub began: f64,
    /// After it; `None` while it goes on.
    pub ended: Option<f64>,
}

/// What is wrong with how an I/O ended, in words; an I/O that has not ended is not judged.
pub fn judge(result: &IoResult, interruptions: &[Interruption]) -> Result<(), String> {
    match result.state {
        IoState::Pending | IoState::Ok => Ok(()),
        IoState::Failed(libc::EIO) if interruptions.iter().any(|one| met(result, one)) => Ok(()),
        IoState::Failed(libc::EIO) if interruptions.is_empty() => {
            Err(format!("{} failed with EIO, and no suspend was interrupted", told(result)))
        }
        IoState::Failed(libc::EIO) => {
            Err(format!("{} failed with EIO, and was under way in no interrupted suspend", told(result)))
        }
        IoState::Failed(_) | IoState::Short(_) => Err(format!("{} ended: {}", told(result), result.state)),
    }
}

/// Whether the I/O was under way at some moment of the suspend. It may come back long after.
fn met(result: &IoResult, one: &Interruption) -> bool {
    let submitted_in_time = one.ended.is_none_or(|ended| result.submitted <= ended);
    submitted_in_time && result.completed.is_none_or(|completed| completed >= one.began)
}

fn told(result: &IoResult) -> String {
    let generation = result.generation.map(|n| format!(" (generation {n})")).unwrap_or_default();
    let end = result.completed.map(|t| format!(" to {t:.6}")).unwrap_or_default();
    format!("{}{generation}, from {:.6}{end} s,", result.spec, result.submitted)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::condition::IoKind;
    use crate::io::Spec;

    fn io(state: IoState, submitted: f64, completed: f64) -> IoResult {
        IoResult {
            spec: Spec::new(IoKind::Write, 8, 1),
            generation: Some(3),
            state,
            order: Some(0),
            submitted,
            completed: Some(completed),
            wrong: None,
        }
    }

    const EIO: IoState = IoState::Failed(libc::EIO);
    const ONE: Interruption = Interruption { began: 2.0, ended: Some(3.0) };

    #[test]
    fn an_error_is_right_only_around_an_interrupted_suspend() {
        let table = [
            ("it succeeded", io(IoState::Ok, 0.0, 1.0), &[][..], true),
            ("nothing was interrupted", io(EIO, 0.0, 1.0), &[], false),
            ("it was under way all the time", io(EIO, 1.0, 4.0), &[ONE], true),
            ("it came back in it", io(EIO, 1.0, 2.5), &[ONE], true),
            ("it came in it", io(EIO, 2.5, 9.0), &[ONE], true),
            (
                "the interruption still goes on",
                io(EIO, 5.0, 6.0),
                &[Interruption { began: 4.0, ended: None }],
                true,
            ),
            ("it came back before", io(EIO, 0.0, 1.9), &[ONE], false),
            ("it came after", io(EIO, 3.1, 3.2), &[ONE], false),
            (
                "another interruption",
                io(EIO, 3.1, 5.0),
                &[ONE, Interruption { began: 4.0, ended: Some(4.5) }],
                true,
            ),
            ("an errno of the kernel's own", io(IoState::Failed(78), 1.0, 4.0), &[ONE], false),
            ("a part of it", io(IoState::Short(512), 1.0, 4.0), &[ONE], false),
        ];
        for (what, result, interruptions, right) in table {
            assert_eq!(judge(&result, interruptions).is_ok(), right, "{what}");
        }
    }

    #[test]
    fn the_io_is_named() {
        let seen = judge(&io(EIO, 0.5, 1.25), &[]).unwrap_err();
        insta::assert_snapshot!(seen, @"write 8+1 (generation 3), from 0.500000 to 1.250000 s, failed with EIO, and no suspend was interrupted");
    }
}
