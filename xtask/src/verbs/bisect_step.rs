// SPDX-License-Identifier: GPL-2.0-only
//! `cargo xtask bisect-step`: the verdict on the tree as it stands, for who drives `git bisect run` himself. It knows
//! one thing that `test` does not: for git every status from 1 to 127 but 125 means bad, so that wrong usage, which is 2
//! elsewhere, must end the bisection.

use std::fmt::Write as _;
use std::process::ExitCode;

use camino::Utf8PathBuf;

use crate::bisect::drive::told;
use crate::bisect::kernels::Kernels;
use crate::bisect::runs_outside;
use crate::cache::Cache;
use crate::exit::{Code, WithCode as _, code_of};
use crate::progress::Progress;
use crate::report::put;
use crate::run::plan::{Planned, Scope};
use crate::run::prepare::Choice;
use crate::verbs::bisect::Testing;

/// The verb's name on the command line.
const NAME: &str = "bisect-step";

/// The verb's options.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// The kernel source to test, as it is
    #[arg(long, value_name = "DIR", default_value = ".")]
    tree: Utf8PathBuf,
    #[command(flatten)]
    testing: Testing,
}

/// Runs the verb.
pub fn run(options: &Options) -> anyhow::Result<Code> {
    step(options).or_else(|error| match code_of(&error) {
        Code::Usage => Err(error).code(Code::HostFailed),
        _ => Err(error),
    })
}

fn step(options: &Options) -> anyhow::Result<Code> {
    let Testing { selection, repeat, setting, jobs } = &options.testing;
    let plan = selection.select(tests::catalogue(), Scope::Kernel)?;
    let (cache, progress) = (Cache::open()?, Progress::new());
    let kernels = Kernels {
        choice: Choice { tree: Some(options.tree.clone()), ..setting.choice() },
        jobs: *jobs,
        yes: setting.yes,
        cache: &cache,
        progress: &progress,
        skip_other_trees: false,
    };
    let out = runs_outside(&options.tree, &setting.out, &cache, &progress)?;
    let cases: Vec<String> = plan.iter().map(Planned::full_name).collect();
    let trial = kernels.trial(&plan, *repeat, true, &out)?.of_step(&cases, *repeat);
    let mut text = format!("{} ({:.0} s)\n", told(&trial), trial.seconds.total());
    for line in trial.failures.iter().flat_map(|failure| &failure.evidence) {
        let _ = writeln!(text, "  {line}");
    }
    put(None, &text)?;
    Ok(trial.verdict.code())
}

/// How a command line that makes no sense ends: as clap has it, but for this verb.
pub fn refuse(error: &clap::Error) -> ExitCode {
    let _ = error.print();
    let code = if error.use_stderr() { Code::Usage } else { Code::AllPassed };
    let is_step = std::env::args().nth(1).is_some_and(|verb| verb == NAME);
    if is_step && code == Code::Usage { Code::HostFailed.into() } else { code.into() }
}
