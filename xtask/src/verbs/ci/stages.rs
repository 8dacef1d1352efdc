// SPDX-License-Identifier: GPL-2.0-only
//! What the stages do, each by what it is also called for.

use std::fmt::Write as _;

use anyhow::Context as _;
use regex::Regex;
use xshell::{Shell, cmd};

use super::tally::Stage;
use crate::cache::Cache;
use crate::command::Tool;
use crate::kernel::{self, Against};
use crate::progress::Progress;
use crate::report::counts::Counts;
use crate::report::terminal;
use crate::run::plan::Planned;
use crate::run::prepare::{Common, Setting, jobs, prepare};
use crate::run::schedule;
use crate::verbs::prove::{self, Machine};
use crate::verbs::test;

pub(super) fn format() -> anyhow::Result<Stage> {
    whole(|sh| cmd!(sh, "cargo fmt --all --check").run())
}

pub(super) fn clippy() -> anyhow::Result<Stage> {
    whole(|sh| cmd!(sh, "cargo clippy --locked --workspace --all-targets -- -D warnings").run())
}

/// A command that passes or fails as a whole.
fn whole(run: impl FnOnce(&Shell) -> xshell::Result<()>) -> anyhow::Result<Stage> {
    Ok(Stage::whole(run(&Shell::new()?).err().map(|error| error.to_string())))
}

pub(super) fn unit_tests() -> anyhow::Result<Stage> {
    let Stage { mut counts, mut failures } = Stage::default();
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let line = Regex::new(r"^test result: \w+\. (\d+) passed; (\d+) failed; (\d+) ignored")?;
    let result = Tool::new(cargo).args(["test", "--locked", "--workspace"]).stream(|text| {
        println!("{text}");
        if let Some(found) = line.captures(text) {
            let number = |n: usize| found[n].parse().unwrap_or(0);
            counts += Counts { passed: number(1), failed: number(2), skipped: number(3) };
        } else if text.starts_with("test ") && text.ends_with(" ... FAILED") {
            let _ = writeln!(failures, "{text}");
        }
    });
    if let Err(error) = result {
        // A crate that does not compile has no result line, and must count all the same.
        let _ = writeln!(failures, "{error}");
        counts.failed = counts.failed.max(1);
    }
    Ok(Stage { counts, failures })
}

/// The series of a base: they apply and build patch by patch, without warnings, and are in style.
pub(super) fn patches(base: &str, against: Against, progress: &Progress) -> anyhow::Result<Stage> {
    let report = kernel::check(base, against, &Cache::open()?, progress)?;
    print!("{}", report.render());
    let (passed, failed) = report.counts();
    Ok(Stage { counts: Counts { passed, failed, skipped: 0 }, failures: report.failures() })
}

/// A cell that is as expected has passed, whatever it did; one that is not applicable is skipped.
pub(super) fn proof(common: &Common, plan: &[Planned], progress: &Progress) -> anyhow::Result<Stage> {
    let setting = Setting {
        flavour: common.choice.flavour,
        accel: common.choice.accel,
        boot: common.choice.boot,
        out: common.out.clone(),
        yes: common.yes,
    };
    let machine = Machine { base: common.choice.base.clone(), setting };
    let proven = prove::prove(plan, None, &machine, None, progress).context("make the proof")?;
    print!("{}", proven.told());
    let stage = Stage { counts: proven.proof.counts(), failures: proven.differences() };
    proven.code().map(|_| stage)
}

pub(super) fn catalogue(common: &Common, plan: &[Planned], progress: &Progress) -> anyhow::Result<Stage> {
    let prepared = prepare(&common.choice, common.yes, &Cache::open()?, progress)?;
    let (_, host) = prepared.facts();
    let workers = jobs(None, &prepared.spec, &host)?;
    let job = test::Job::new(&prepared, schedule::items(plan, 1), workers, common.choice.options());
    let done = job.run(&common.out, progress).context("run the catalogue")?;
    print!("{}", terminal::summary(&done.results, &done.folder, false));
    let counts = Counts::from(&done.results.summary);
    let failures = terminal::troubles(&done.results, &done.folder, false);
    done.failed.map_or(Ok(Stage { counts, failures }), Err)
}
