// SPDX-License-Identifier: GPL-2.0-only
//! How a case ends when it does not simply return: with a named assertion that failed, with a reason to skip,
//! or because the guest itself could not do its part.

use std::fmt::Display;

/// What a case returns: `Ok(())` is a pass.
pub type Outcome<T = ()> = Result<T, Failure>;

/// Why a case did not pass.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// The kernel did not do what the case claims. `assertion` is a stable, named step that
    /// `tests/expectations/` can refer to; `message` says what was seen instead.
    #[error("{assertion}: {message}")]
    Assertion {
        /// Stable name, lower case with blanks, e.g. `every write fails with EIO`.
        assertion: String,
        /// What was observed.
        message: String,
    },
    /// This kernel or image lacks something that the case needs.
    #[error("skipped: {0}")]
    Skip(String),
    /// The guest could not do its own part (a tool is missing from the image, no memory, a full pipe):
    /// says nothing about the kernel under test.
    #[error("the guest could not do its part: {0}")]
    Guest(String),
}

impl Failure {
    /// The assertion `name` failed with what was seen.
    pub fn assertion(name: impl Into<String>, seen: impl Display) -> Self {
        Self::Assertion { assertion: name.into(), message: seen.to_string() }
    }

    /// The guest could not do its own part.
    pub fn guest(what: impl Display) -> Self {
        Self::Guest(what.to_string())
    }
}

/// Passes when `holds`; otherwise the assertion `name` failed with what was `seen`.
pub fn ensure(holds: bool, name: &str, seen: impl Display) -> Outcome {
    if holds { Ok(()) } else { Err(Failure::assertion(name, seen)) }
}

/// Ends the case as skipped, with the reason.
pub fn skip<T>(reason: impl Into<String>) -> Outcome<T> {
    Err(Failure::Skip(reason.into()))
}

/// Adds what was being done to an error of the guest's own part.
pub trait GuestContext<T> {
    /// `what` reads after "failed to", e.g. `open /dev/sda`.
    fn guest(self, what: impl Display) -> Outcome<T>;
}

impl<T, E: Display> GuestContext<T> for Result<T, E> {
    fn guest(self, what: impl Display) -> Outcome<T> {
        self.map_err(|error| Failure::guest(format_args!("failed to {what}: {error}")))
    }
}
