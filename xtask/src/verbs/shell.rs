// SPDX-License-Identifier: GPL-2.0-only
//! `cargo xtask shell`: a shell in the same VM, with the same tools.

use std::os::unix::process::CommandExt as _;
use std::process::Command;

use anyhow::Context as _;
use guest::message::mode;

use crate::cache::Cache;
use crate::exit::Code;
use crate::progress::Progress;
use crate::run::prepare::{Choice, prepare};
use crate::vm::argv::{Spec, for_terminal};

/// The verb's options.
#[derive(Debug, clap::Args)]
pub struct Options {
    #[command(flatten)]
    choice: Choice,
    /// Install what is missing without asking
    #[arg(long)]
    yes: bool,
}

/// Becomes QEMU: the terminal is the VM's serial console.
pub fn run(options: &Options) -> anyhow::Result<Code> {
    let progress = Progress::new();
    let prepared = prepare(&options.choice, options.yes, &Cache::open()?, &progress)?;
    let argv = for_terminal(&Spec { mode: mode::SHELL, verbose: false, ..prepared.spec });
    progress.line("the shell comes in a few seconds; Ctrl-D powers the VM off, Ctrl-A X ends QEMU");
    Err(Command::new(&argv[0]).args(&argv[1..]).exec()).with_context(|| format!("start {}", argv[0]))
}
