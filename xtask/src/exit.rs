// SPDX-License-Identifier: GPL-2.0-only
//! The exit codes, the same for every verb. They are what `git bisect run` expects: 1 is bad, 125 is "can't be
//! tested", 128 and above abort the bisection.

use std::fmt;
use std::process::ExitCode;

/// What `--help` says about them.
pub const HELP: &str = "Exit codes: 0 all passed · 1 a case failed (assertion, splat, timeout, VM lost) · \
2 wrong usage · 125 this kernel can't be tested (does not build, does not boot, or every case was skipped) · \
128 the host failed (no QEMU, no space, image broken) or the run was interrupted.";

/// The documented exit codes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Code {
    /// All passed.
    AllPassed = 0,
    /// A case failed.
    CaseFailed = 1,
    /// Wrong usage: an unknown base, a filter that matches nothing.
    Usage = 2,
    /// This kernel can't be tested: it does not build or boot, or it lacks what every selected case needs.
    Untestable = 125,
    /// The host failed.
    HostFailed = 128,
}

impl From<Code> for ExitCode {
    fn from(code: Code) -> Self {
        Self::from(code as u8)
    }
}

/// An error with the exit code that it stands for. Errors without one are [`Code::HostFailed`].
pub struct Coded {
    /// The exit code.
    pub code: Code,
    error: anyhow::Error,
}

impl fmt::Display for Coded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.error, f)
    }
}

impl fmt::Debug for Coded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.error, f)
    }
}

impl std::error::Error for Coded {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.error.source()
    }
}

/// Gives an error its exit code.
pub trait WithCode<T> {
    /// The error, if any, ends the program with `code`.
    fn code(self, code: Code) -> anyhow::Result<T>;
}

impl<T, E: Into<anyhow::Error>> WithCode<T> for Result<T, E> {
    fn code(self, code: Code) -> anyhow::Result<T> {
        self.map_err(|error| Coded { code, error: error.into() }.into())
    }
}

/// An error made of a message, with its exit code.
pub fn coded(code: Code, message: impl fmt::Display) -> anyhow::Error {
    Coded { code, error: anyhow::anyhow!("{message}") }.into()
}

/// The exit code of an error: that of the outermost [`Coded`] in its chain.
pub fn code_of(error: &anyhow::Error) -> Code {
    error.downcast_ref::<Coded>().map_or(Code::HostFailed, |coded| coded.code)
}

#[cfg(test)]
mod tests {
    use anyhow::Context as _;

    use super::*;

    #[test]
    fn code_survives_added_context() {
        let error: anyhow::Result<()> = Err(coded(Code::Untestable, "make failed"));
        let error = error.context("build the kernel").unwrap_err();
        assert_eq!(code_of(&error), Code::Untestable);
        assert_eq!(format!("{error:#}"), "build the kernel: make failed");
    }

    #[test]
    fn an_error_without_code_is_the_hosts() {
        assert_eq!(code_of(&anyhow::anyhow!("x")), Code::HostFailed);
    }
}
