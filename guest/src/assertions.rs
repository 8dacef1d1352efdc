// SPDX-License-Identifier: GPL-2.0-only
//! The assertions that `tests/expectations/` may name. An expectation is compared with the text that a case reports, so
//! a name that no code uses would never come true: the catalogue's test refuses every name that is not in here.
//!
//! A new assertion is a constant beside the step that makes it, and a line in [`ALL`].

use crate::bench::{daemon, file_system, io, multipath, test_map};
use crate::dm::interrupted;
use crate::io::{DATA_IS_RIGHT, ENDS_ONCE, READS_ARE_RIGHT};
use crate::stress::{load, removal, storm};

/// The assertions of the toolkit's steps.
pub const ALL: &[&str] = &[
    io::QUEUED,
    io::WAITS_FOR_ACTIVATION,
    io::PUSHED_BACK,
    io::QUEUED_AGAIN,
    io::SUCCEEDS,
    io::FAILS,
    io::QUEUED_FAILS,
    io::COMES_BACK,
    io::NOT_LOST,
    io::IN_FLIGHT,
    io::EIO_ONLY,
    io::NOTHING_LEFT,
    io::REFUSED,
    multipath::NO_VALID_PATH,
    multipath::WAITS_FOR_GROUP,
    multipath::STILL_QUEUES,
    multipath::IDLE_SELECTOR,
    multipath::NEW_SIZE,
    test_map::HELD,
    test_map::REQUEUED,
    test_map::REISSUED_ONCE,
    test_map::REISSUED_IN_ORDER,
    test_map::PUSHED_BACK_FIRST,
    test_map::NONE_RETURNS,
    test_map::KEPT,
    interrupted::WAITS,
    interrupted::HANDLED,
    interrupted::WAKES,
    interrupted::INTERRUPTED,
    interrupted::RESTARTED,
    daemon::MADE,
    daemon::RECOVERED,
    daemon::IMPLICIT,
    daemon::SEQUENCE,
    crate::daemon::OBEYS,
    file_system::UNMOUNTS,
    file_system::CONTENT,
    file_system::MODE,
    file_system::CLEAN,
    load::ENDS,
    storm::ENDS,
    removal::GOES,
    DATA_IS_RIGHT,
    READS_ARE_RIGHT,
    ENDS_ONCE,
];

/// What is asked of device-mapper, and what a storm does beside that; each makes two assertions, [`returns`] and [`succeeds`].
const CALLS: &[&str] = &[
    "create", "suspend", "load", "resume", "message", "status", "table", "info", "remove", "setting",
    "fault", "repair",
];

/// The assertion that a call comes back within its deadline: `suspend returns`.
pub fn returns(call: &str) -> String {
    format!("{call} returns")
}

/// The assertion that a call is not refused: `suspend succeeds`.
pub fn succeeds(call: &str) -> String {
    format!("{call} succeeds")
}

/// Whether a case can fail at an assertion of this name.
pub fn is_known(name: &str) -> bool {
    ALL.contains(&name) || CALLS.iter().any(|call| name == returns(call) || name == succeeds(call))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        for name in [io::PUSHED_BACK, "suspend returns", "suspend succeeds", "load succeeds"] {
            assert!(is_known(name), "{name}");
        }
        for name in ["", "suspend", "suspend fails", "reboot succeeds", "I/O is pushed back to the cure"] {
            assert!(!is_known(name), "{name}");
        }
    }

    #[test]
    fn no_name_stands_twice() {
        for (index, name) in ALL.iter().enumerate() {
            assert!(!ALL[..index].contains(name), "{name}");
        }
    }
}
