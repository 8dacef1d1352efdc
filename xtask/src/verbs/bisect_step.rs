// SPDX-License-Identifier: GPL-2.0-only
//! `cargo xtask bisect-step`: the verdict on the tree as it stands, for who drives `git bisect run` himself. It knows
//! one thing that `test` does not: for git every status from 1 to 127 but 125 means bad, so that wrong usage, which is 2
//! elsewhere, must end the bisection.

use std::fmt::Write as _;
use std::process::ExitCode;

use camino::Utf8PathBuf;

use crate::bisect::drive::told;
use crate::bisect::kernels::Kernels;
use crate::bisect::odds::MOST_RUNS;
use crate::bisect::runs_outside;
use crate::cache::Cache;
use crate::exit::{Code, WithCode as _, code_of};
use crate::progress::Progress;
use crate::report::put;
use crate::run::plan::{Planned, Scope, Selection};
use crate::run::prepare::{Choice, Setting};

/// The verb's name on the command line.
const NAME: &str = "bisect-step";

/// The verb's options.
#[derive(Debug, clap::Args)]
pub struct Options {
    #[command(flatten)]
    selection: Selection,
    /// The kernel source to test, as it is
    #[arg(long, value_name = "DIR", default_value = ".")]
    tree: Utf8PathBuf,
    /// Run the cases N times: good if none fails in any run; ends with the first failure
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=i64::from(MOST_RUNS)))]
    repeat: u32,
    #[command(flatten)]
    setting: Setting,
    /// VMs side by side [default: as many as cores and memory allow]
    #[arg(short, long, value_name = "N")]
    jobs: Option<usize>,
}

/// Runs the verb.
pub fn run(options: &Options) -> anyhow::Result<Code> {
    step(options).or_else(|error| match code_of(&error) {
        Code::Usage => Err(error).code(Code::HostFailed),
        _ => Err(error),
    })
}

fn step(options: &Options) -> anyhow::Result<Code> {
    let plan = options.selection.select(tests::catalogue(), Scope::Kernel)?;
    let (cache, progress) = (Cache::open()?, Progress::new());
    let kernels = Kernels {
        choice: Choice { tree: Some(options.tree.clone()), ..options.setting.choice() },
        jobs: options.jobs,
        yes: options.setting.yes,
        cache: &cache,
        progress: &progress,
        skip_other_trees: false,
    };
    let out = runs_outside(&options.tree, &options.setting.out, &cache, &progress)?;
    let cases: Vec<String> = plan.iter().map(Planned::full_name).collect();
    let trial = kernels.trial(&plan, options.repeat, true, &out)?.of_step(&cases, options.repeat);
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
