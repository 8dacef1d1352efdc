// SPDX-License-Identifier: GPL-2.0-only
//! `cargo xtask compare`: the difference between any two runs.

use std::io::{ErrorKind, Write as _};

use anyhow::Context as _;
use camino::Utf8PathBuf;

use crate::compare::{compare, render};
use crate::exit::Code;
use crate::report::recorded;

/// The verb's options.
#[derive(Debug, clap::Args)]
#[command(after_help = "Exit codes: 0 nothing got worse · 1 a case fails that did not · 2 wrong usage · \
128 nothing fails anew, but the later run tells less: it broke off, or the host failed.")]
pub struct Options {
    /// The earlier run: its folder or its results.json
    #[arg(value_name = "OLD")]
    old: Utf8PathBuf,
    /// The later run
    #[arg(value_name = "NEW")]
    new: Utf8PathBuf,
    /// For people or for programs
    #[arg(long, value_enum, default_value_t = Format::Human)]
    format: Format,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    /// Text
    Human,
    /// One JSON document, see docs/formats.md
    Json,
}

/// Runs the verb.
pub fn run(options: &Options) -> anyhow::Result<Code> {
    let (old, new) = (recorded::results(&options.old)?, recorded::results(&options.new)?);
    let comparison = compare((&options.old, &old), (&options.new, &new));
    let text = match options.format {
        Format::Human => render(&comparison, console::colors_enabled()),
        Format::Json => serde_json::to_string_pretty(&comparison)? + "\n",
    };
    match std::io::stdout().lock().write_all(text.as_bytes()) {
        // `compare | head` is no failure.
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(error).context("write to standard output"),
        _ => Ok(comparison.code()),
    }
}
