// SPDX-License-Identifier: GPL-2.0-only
//! `cargo xtask bisect-demo`: generates a history with known bugs, on which `cargo xtask bisect` is proven. See
//! docs/bisect.md.

use std::fmt::Write as _;

use camino::Utf8PathBuf;

use crate::cache::Cache;
use crate::exit::Code;
use crate::kernel;
use crate::progress::Progress;
use crate::report::put;

/// The verb's options.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// Where the bare repository goes; must not exist
    #[arg(value_name = "DIR")]
    out: Utf8PathBuf,
    /// The base whose source is the first commit
    #[arg(long, value_name = "BASE", default_value = "6.12")]
    base: String,
}

/// Runs the verb.
pub fn run(options: &Options) -> anyhow::Result<Code> {
    let Options { out, base } = options;
    let mut text = String::new();
    for (name, what) in kernel::demo_history(base, out, &Cache::open()?, &Progress::new())? {
        let _ = writeln!(text, "{name:<14} {what}");
    }
    let case = "noflush::queued_io_leaves_the_target_without_returning[scsi_debug,bio,explicit,message";
    let _ = writeln!(
        text,
        "\ncargo xtask bisect --tree {out} --good good --bad bad '{case},write]'\n\
         cargo xtask bisect --tree {out} --good good --bad bad --repeat 8 '{case},read]'"
    );
    put(None, &text)?;
    Ok(Code::AllPassed)
}
