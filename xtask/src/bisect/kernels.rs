// SPDX-License-Identifier: GPL-2.0-only
//! The test of a commit: build the kernel of a tree, boot it, run cases, judge. As `cargo xtask test --tree` does it, but
//! what comes out is the verdict on a commit.

use std::time::Instant;

use camino::Utf8Path;

use super::drive::{Ask, Tester};
use super::trial::Trial;
use crate::cache::Cache;
use crate::exit::{Code, code_of};
use crate::interrupt;
use crate::progress::Progress;
use crate::run::plan::{self, Planned};
use crate::run::prepare::{Choice, jobs, prepare};
use crate::run::schedule;
use crate::verbs::test::Job;

/// Builds and boots the kernels of one tree.
pub struct Kernels<'a> {
    /// The tree, and which kernel on which machine.
    pub choice: Choice,
    /// VMs side by side.
    pub jobs: Option<usize>,
    /// Install what is missing without asking.
    pub yes: bool,
    /// The cache.
    pub cache: &'a Cache,
    /// Where progress goes.
    pub progress: &'a Progress,
    /// Commits without a kernel's source occur in a history: a merge brings in what was developed elsewhere. Where the
    /// tree is what the user named, it is the name that is wrong.
    pub skip_other_trees: bool,
}

impl Kernels<'_> {
    /// Tests the tree as it is.
    pub fn trial(
        &self,
        plan: &[Planned],
        repeat: u32,
        first_failure_ends: bool,
        runs: &Utf8Path,
    ) -> anyhow::Result<Trial> {
        let started = Instant::now();
        let prepared = match prepare(&self.choice, self.yes, self.cache, self.progress) {
            Ok(prepared) => prepared,
            Err(error) => {
                interrupt::check()?;
                let mut trial = self.untestable(error)?;
                trial.seconds.build = started.elapsed().as_secs_f64();
                return Ok(trial);
            }
        };
        let build = started.elapsed().as_secs_f64();
        let (_, host) = prepared.facts();
        let workers = jobs(self.jobs, &prepared.spec, &host)?;
        let items = schedule::items(plan, repeat);
        let job = Job { first_failure_ends, ..Job::new(&prepared, items, workers, self.choice.options()) };
        let started = Instant::now();
        let done = job.run(runs, self.progress)?;
        // Half of the runs prove half of it.
        interrupt::check()?;
        let cases = started.elapsed().as_secs_f64();
        let mut trial = match done.failed {
            Some(error) => self.untestable(error)?,
            None => Trial::of_results(&done.results, &done.folder)?,
        };
        trial.compiler.clone_from(&prepared.kernel.manifest.compiler);
        (trial.seconds.build, trial.seconds.cases) = (build, cases);
        Ok(trial)
    }

    fn untestable(&self, error: anyhow::Error) -> anyhow::Result<Trial> {
        match code_of(&error) {
            Code::Untestable => Ok(Trial::skip(format!("{error:#}"))),
            Code::Usage if self.skip_other_trees => Ok(Trial::skip(format!("{error:#}"))),
            _ => Err(error),
        }
    }
}

impl Tester for Kernels<'_> {
    fn test(&mut self, ask: &Ask<'_>) -> anyhow::Result<Trial> {
        let plan = plan::named(ask.cases, "the bisection")?;
        self.trial(&plan, ask.repeat, ask.first_failure_ends, &ask.runs)
    }
}
