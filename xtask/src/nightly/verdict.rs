// SPDX-License-Identifier: GPL-2.0-only
//! What a night amounts to: one report a job, the counts, the exit code. It is also the format of night.json:
//!
//! ```text
//! {"v":1, "started":"20261125-010000", "finished":true, "seconds":…,
//!  "jobs":[{"job":"mainline.lock", "status":"tested"|"unchanged"|"no_time"|"untestable"|"failed"|"interrupted",
//!           "message"?,
//!           "kernel":{as in results.json}?, "commit"?, "news":["…"]?, "run":"runs/mainline.lock/20261125-010203"?,
//!           "changes":[{as in compare}], "counts":{as in compare}, "trouble":0, "found":[{"case","commit"?,"message"}]?,
//!           "seconds"}],
//!  "exit_code":1}
//! ```

use serde::{Deserialize, Serialize};

use crate::compare::{Change, Summary, What};
use crate::event::KernelFacts;
use crate::exit::Code;

/// Version of the format.
pub const FORMAT: u32 = 1;

/// One night.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Night {
    /// [`FORMAT`].
    pub v: u32,
    /// When it began, as run folders are named.
    pub started: String,
    /// It came to its end; else the next call goes on with it.
    pub finished: bool,
    /// Wall seconds, of all calls together.
    pub seconds: f64,
    /// What is done so far, in the order in which it was done.
    pub jobs: Vec<Report>,
    /// What the verb ends with.
    pub exit_code: u8,
}

/// What became of one job.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// `tree.flavour`.
    pub job: String,
    /// Whether there is anything to say.
    pub status: Status,
    /// Why not, or what should be known beside the changes.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// The kernel that was tested.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kernel: Option<KernelFacts>,
    /// The commit that it was built from, if that says it all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit: Option<String>,
    /// What is new since the last run, a line each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub news: Vec<String>,
    /// The run folder, relative to the state folder.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run: Option<String>,
    /// What is not as it was in the last run.
    #[serde(default)]
    pub changes: Vec<Change>,
    /// How many of what.
    #[serde(default)]
    pub counts: Summary,
    /// Cases that the host kept from an outcome, be it in one of several runs.
    #[serde(default)]
    pub trouble: usize,
    /// What bisecting the new failures gave.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub found: Vec<Found>,
    /// Wall seconds.
    #[serde(default)]
    pub seconds: f64,
}

/// What there is to say of a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// It ran.
    Tested,
    /// Neither kernel nor cases are others than in the last run.
    Unchanged,
    /// The budget was spent before its turn.
    NoTime,
    /// This kernel can't be tested: it does not build or boot.
    Untestable,
    /// The tree could not be had, or the host failed.
    Failed,
    /// The user ended the night; what was known by then is told, and the next call goes on with it.
    Interrupted,
}

impl Status {
    /// In words.
    pub const fn words(self) -> &'static str {
        match self {
            Self::Tested => "tested",
            Self::Unchanged => "nothing new",
            Self::NoTime => "no time left",
            Self::Untestable => "can't be tested",
            Self::Failed => "failed",
            Self::Interrupted => "interrupted",
        }
    }
}

/// What a bisection gave.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Found {
    /// The case, `case[condition]`.
    pub case: String,
    /// The commit that broke it, if it was found.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit: Option<String>,
    /// Its subject, or why there is none.
    pub message: String,
    /// The folder with log and report, relative to the state folder.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub folder: Option<String>,
}

impl Report {
    /// A job of which there is nothing to say but that.
    pub fn bare(job: &str, status: Status, message: impl Into<String>) -> Self {
        Self {
            job: job.to_owned(),
            status,
            message: message.into(),
            kernel: None,
            commit: None,
            news: vec![],
            run: None,
            changes: vec![],
            counts: Summary::default(),
            trouble: 0,
            found: vec![],
            seconds: 0.0,
        }
    }

    /// The new failures.
    pub fn new_failures(&self) -> impl Iterator<Item = &Change> {
        self.changes.iter().filter(|change| change.change == What::NewFailure)
    }

    /// What a night of this job alone would end with: 1 only for new failures; else 128 if the host failed or the user ended
    /// it; else 125 if the kernel could not be tested; else 0, whatever still fails.
    pub fn code(&self) -> Code {
        match self.status {
            _ if self.counts.new_failures > 0 => Code::CaseFailed,
            Status::Failed | Status::Interrupted => Code::HostFailed,
            _ if self.trouble > 0 => Code::HostFailed,
            Status::Untestable => Code::Untestable,
            Status::Tested | Status::Unchanged | Status::NoTime => Code::AllPassed,
        }
    }
}

impl Night {
    /// What the verb ends with, which is what the first of these gives: a job with new failures, the host, a kernel that
    /// can't be tested.
    pub fn code(&self) -> Code {
        let any = |code: Code| self.jobs.iter().any(|job| job.code() == code);
        if any(Code::CaseFailed) {
            Code::CaseFailed
        } else if !self.finished || any(Code::HostFailed) {
            Code::HostFailed
        } else if any(Code::Untestable) {
            Code::Untestable
        } else {
            Code::AllPassed
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_new_failures_end_with_1() {
        let tested = |new_failures, still_failing, trouble| Report {
            counts: Summary { new_failures, still_failing, flaky: 1, ..Summary::default() },
            trouble,
            ..Report::bare("a.lock", Status::Tested, "")
        };
        let bare = |status| Report::bare("b.lock", status, "x");
        let code = |jobs: &[Report], finished| {
            Night { v: FORMAT, finished, jobs: jobs.to_vec(), ..Night::default() }.code() as u8
        };
        assert_eq!(code(&[tested(0, 3, 0)], true), 0, "what still fails is known");
        assert_eq!(code(&[tested(0, 0, 0), bare(Status::Unchanged), bare(Status::NoTime)], true), 0);
        assert_eq!(code(&[tested(1, 0, 0), bare(Status::Failed)], true), 1);
        assert_eq!(code(&[tested(0, 0, 0), bare(Status::Failed), bare(Status::Untestable)], true), 128);
        assert_eq!(code(&[tested(0, 0, 2)], true), 128);
        assert_eq!(code(&[tested(0, 0, 0), bare(Status::Untestable)], true), 125);
        assert_eq!(code(&[tested(0, 0, 0)], false), 128);
        assert_eq!(code(&[tested(2, 0, 0)], false), 1);
        assert_eq!(code(&[bare(Status::Interrupted)], false), 128);
        let confirmed = Report { status: Status::Interrupted, ..tested(1, 0, 0) };
        assert_eq!(code(&[confirmed], false), 1, "1 stays 1");
    }
}
