// SPDX-License-Identifier: GPL-2.0-only
//! The table of verbs. Each verb is a file in `verbs/`, with its `Options` and a `run`; logic lives in the folders.

use std::process::ExitCode;

use clap::{Parser, Subcommand};

mod bisect;
mod cache;
mod command;
mod compare;
mod event;
mod exit;
mod host;
mod image;
mod interrupt;
mod kernel;
mod nightly;
mod outcome;
mod progress;
mod prove;
mod report;
mod run;
#[cfg(test)]
mod schemas;
mod verbs;
mod vm;
#[cfg(test)]
mod workflows;

use exit::Code;

/// Kernel integration tests for device-mapper's noflush suspend pushback.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", after_help = exit::HELP, disable_help_subcommand = true)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// What this host can do, and what is missing
    Doctor(verbs::doctor::Options),
    /// Cases and conditions, with tags and one-line meaning
    List(verbs::list::Options),
    /// The kernels, without running anything
    Kernel(verbs::kernel::Options),
    /// The main job: build, boot, run the cases, judge
    Test(verbs::test::Options),
    /// The suite's own proof: baseline, pushback and stock against the expected table
    Prove(verbs::prove::Options),
    /// Reports of runs that are over
    Report(verbs::report::Options),
    /// The difference between any two runs
    Compare(verbs::compare::Options),
    /// The runs of several machines as one
    Merge(verbs::merge::Options),
    /// A list of trees, every night: what fails that did not
    Nightly(verbs::nightly::Options),
    /// A shell in the same VM, with the same tools
    Shell(verbs::shell::Options),
    /// Find the commit that broke a case
    Bisect(verbs::bisect::Options),
    /// The verdict on a tree, for `git bisect run`: 0 good, 1 bad, 125 skip, 128 stop
    BisectStep(verbs::bisect_step::Options),
    /// A history with known bugs, to try `bisect` on
    #[command(hide = true)]
    BisectDemo(verbs::bisect_demo::Options),
    /// The speed of all this, as ratios in one run
    Bench(verbs::bench::Options),
    /// Everything that the project tests about itself
    Ci(verbs::ci::Options),
    /// Prove every non-pass outcome by a case that provokes it
    #[command(hide = true)]
    Selftest(verbs::selftest::Options),
}

impl Verb {
    fn run(self) -> anyhow::Result<Code> {
        match self {
            Self::Doctor(options) => verbs::doctor::run(&options),
            Self::List(options) => verbs::list::run(&options),
            Self::Kernel(options) => verbs::kernel::run(&options),
            Self::Test(options) => verbs::test::run(&options),
            Self::Prove(options) => verbs::prove::run(&options),
            Self::Report(options) => verbs::report::run(&options),
            Self::Compare(options) => verbs::compare::run(&options),
            Self::Merge(options) => verbs::merge::run(&options),
            Self::Nightly(options) => verbs::nightly::run(&options),
            Self::Shell(options) => verbs::shell::run(&options),
            Self::Bisect(options) => verbs::bisect::run(&options),
            Self::BisectStep(options) => verbs::bisect_step::run(&options),
            Self::BisectDemo(options) => verbs::bisect_demo::run(&options),
            Self::Bench(options) => verbs::bench::run(&options),
            Self::Ci(options) => verbs::ci::run(&options),
            Self::Selftest(options) => verbs::selftest::run(&options),
        }
    }
}

fn main() -> ExitCode {
    // Rust ends a panic with 101, which `git bisect run` takes for a verdict on the commit.
    std::panic::catch_unwind(work).unwrap_or_else(|_| Code::HostFailed.into())
}

fn work() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return verbs::bisect_step::refuse(&error),
    };
    let filter = tracing_subscriber::EnvFilter::try_from_env("DM_PUSHBACK_LOG").unwrap_or_default();
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).without_time().init();
    match interrupt::install().and_then(|()| cli.verb.run()) {
        Ok(code) => code.into(),
        Err(error) => {
            eprintln!("error: {error:#}");
            progress::Progress::new().annotate([report::github::error("cargo xtask", &format!("{error:#}"))]);
            exit::code_of(&error).into()
        }
    }
}
