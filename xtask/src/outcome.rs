// SPDX-License-Identifier: GPL-2.0-only
//! The outcome of a case: what the host believes after it has put together the case's own verdict, the end of its
//! process, the post-conditions, the console and the VM.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::exit::Code;

/// What became of one case under one condition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum Outcome {
    /// Proven: explicit verdict, clean console, clean guest.
    Pass,
    /// An assertion failed, or something was left behind.
    Fail {
        /// Stable name of the assertion, or `post-condition`.
        assertion: String,
        /// What was seen.
        message: String,
    },
    /// The kernel printed a splat, whatever the case says.
    KernelSplat {
        /// Its kind, e.g. `warning`.
        splat: String,
        /// Its first line.
        message: String,
    },
    /// A clock ran out.
    Timeout {
        /// Which one, and what was waited for.
        message: String,
    },
    /// The VM ended, or stopped talking, without being asked to.
    VmLost {
        /// How.
        message: String,
    },
    /// A stock kernel is known to do otherwise; the reason is in `tests/expectations/`.
    KnownDeviation {
        /// The assertion that failed.
        assertion: String,
        /// Why that is known.
        reason: String,
    },
    /// Not applicable.
    Skipped {
        /// Why.
        reason: String,
    },
    /// Host, image or agent failed: says nothing about the kernel.
    Infra {
        /// What.
        message: String,
    },
}

impl Outcome {
    /// Short stable name.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Pass => "Pass",
            Self::Fail { .. } => "Fail",
            Self::KernelSplat { .. } => "KernelSplat",
            Self::Timeout { .. } => "Timeout",
            Self::VmLost { .. } => "VmLost",
            Self::KnownDeviation { .. } => "KnownDeviation",
            Self::Skipped { .. } => "Skipped",
            Self::Infra { .. } => "Infra",
        }
    }

    /// The explanation in one line; empty for a pass.
    pub fn message(&self) -> String {
        match self {
            Self::Pass => String::new(),
            Self::Fail { assertion, message } => format!("{assertion}: {message}"),
            Self::KernelSplat { splat, message } => format!("{splat}: {message}"),
            Self::KnownDeviation { assertion, reason } => format!("{assertion}: {reason}"),
            Self::Timeout { message } | Self::VmLost { message } | Self::Infra { message } => message.clone(),
            Self::Skipped { reason } => reason.clone(),
        }
    }

    /// The exit code that this outcome asks for. `Skipped` and `KnownDeviation` are neither pass nor failure.
    pub const fn code(&self) -> Code {
        match self {
            Self::Pass | Self::Skipped { .. } | Self::KnownDeviation { .. } => Code::AllPassed,
            Self::Fail { .. } | Self::KernelSplat { .. } | Self::Timeout { .. } | Self::VmLost { .. } => {
                Code::CaseFailed
            }
            Self::Infra { .. } => Code::HostFailed,
        }
    }

    /// Whether the VM may go on to the next case: only after an end that proves the guest clean.
    pub const fn leaves_vm_clean(&self) -> bool {
        matches!(self, Self::Pass | Self::Skipped { .. } | Self::KnownDeviation { .. })
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())?;
        let message = self.message();
        if message.is_empty() { Ok(()) } else { write!(f, ": {message}") }
    }
}
