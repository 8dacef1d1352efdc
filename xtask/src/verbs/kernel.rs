// SPDX-License-Identifier: GPL-2.0-only
//! `cargo xtask kernel`: the kernels, without running anything.

use std::fmt::Write as _;
use std::io::Write as _;
use std::time::Duration;

use camino::Utf8PathBuf;
use clap::{Args, Subcommand, ValueEnum};

use crate::cache::Cache;
use crate::exit::{Code, coded};
use crate::kernel::{self, Against, Entry, Flavour, Source, Variant};
use crate::progress::Progress;

/// The verb's options.
#[derive(Debug, Args)]
pub struct Options {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Build a kernel, or find that it is built; prints its folder
    Build(Build),
    /// Print the key that a base's kernel has in the store, without building it: what a cache of CI goes by
    Key(Build),
    /// Look for the newest source of a base and download it
    Fetch {
        /// A base, e.g. 6.12
        #[arg(long, default_value = "6.12")]
        base: String,
    },
    /// Check the patches of a base: each applies and builds without warnings in every variant, and is in style
    Check {
        /// A base, e.g. 6.12
        #[arg(long, default_value = "6.12")]
        base: String,
        /// Do not build the base's kernel first, only what its headers need: a symbol that nothing exports is not noticed then
        #[arg(long)]
        quick: bool,
    },
    /// Port the patches of a base to another source: tells what moved, and leaves what does not apply ready to fix
    Rebase(Rebase),
    /// What is in the store
    List {
        /// For people or for programs
        #[arg(long, value_enum, default_value = "human")]
        format: Format,
    },
    /// Remove the kernels that were not used for the longest time; never one in use
    Prune {
        /// How many to keep
        #[arg(long, default_value_t = 4)]
        keep: usize,
        /// Remove all, with the build folders, the unpacked sources and the downloads
        #[arg(long, conflicts_with = "keep")]
        all: bool,
    },
}

#[derive(Debug, Args)]
struct Build {
    /// A base, e.g. 6.12
    #[arg(long, default_value = "6.12", conflicts_with_all = ["tree", "kernel"])]
    base: String,
    /// What is done to the base
    #[arg(long, value_enum, default_value = "stock", conflicts_with_all = ["tree", "kernel"])]
    variant: Variant,
    /// Put the tracepoints, counters and faults on top, with which `test` observes
    #[arg(long, conflicts_with_all = ["tree", "kernel"])]
    observe: bool,
    /// Which checkers the kernel carries
    #[arg(long, value_enum, default_value_t, conflicts_with = "kernel")]
    flavour: Flavour,
    /// A kernel source: a folder, a tar archive, or one ref of a git repository; never written to
    #[arg(long, value_name = "DIR|TARBALL|URL#REF", conflicts_with = "kernel")]
    tree: Option<Utf8PathBuf>,
    /// A kernel that is built already: an image, only checked, or a package of the distribution, fetched and unpacked
    #[arg(long, value_name = "BZIMAGE|deb:PACKAGE")]
    kernel: Option<Utf8PathBuf>,
    /// The modules of an image: lib/modules/RELEASE, or a root that contains one
    #[arg(long, value_name = "DIR", requires = "kernel")]
    modules: Option<Utf8PathBuf>,
}

#[derive(Debug, Args)]
struct Rebase {
    /// A base, e.g. 6.12
    #[arg(long, default_value = "6.12")]
    base: String,
    /// The source to port to: an unpacked archive or a checkout [default: the base's own, see `kernel fetch`]
    #[arg(long, value_name = "DIR")]
    to: Option<Utf8PathBuf>,
    /// Where the repository goes; must be empty [default: in the cache]
    #[arg(long, value_name = "DIR")]
    out: Option<Utf8PathBuf>,
    /// If every patch applies, write them back into ./kernel-patches
    #[arg(long)]
    write: bool,
}

impl Rebase {
    fn run(&self, cache: &Cache, progress: &Progress) -> anyhow::Result<(String, Code)> {
        let place = Utf8PathBuf::from("kernel-patches").join(&self.base);
        if self.write && !place.is_dir() {
            return Err(coded(
                Code::Usage,
                format!("--write: there is no {place} here (hint: start it in a checkout)"),
            ));
        }
        let done = kernel::rebase(&self.base, self.to.as_deref(), self.out.as_deref(), cache, progress)?;
        let mut text = done.render(&self.base);
        if self.write && done.is_complete() {
            done.write(&place.canonicalize_utf8()?)?;
            let _ = writeln!(text, "written to {place}");
        }
        Ok((text, if done.is_complete() { Code::AllPassed } else { Code::CaseFailed }))
    }
}

impl Build {
    fn source(&self) -> anyhow::Result<Source> {
        match (&self.tree, &self.kernel) {
            (Some(tree), _) => Source::of_tree(tree, self.flavour),
            (None, Some(kernel)) => Source::of_kernel(kernel, self.modules.as_deref()),
            (None, None) => Ok(Source::Base {
                base: self.base.clone(),
                variant: self.variant,
                observe: self.observe,
                flavour: self.flavour,
            }),
        }
    }
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Format {
    Human,
    Json,
}

/// Runs the verb.
pub fn run(options: &Options) -> anyhow::Result<Code> {
    let cache = Cache::open()?;
    let progress = Progress::new();
    let mut out = std::io::stdout().lock();
    match &options.action {
        Action::Build(build) => {
            let kernel = kernel::obtain(&build.source()?, &cache, &progress)?;
            progress.line(&format!(
                "kernel {} ({}): {}",
                kernel.release(),
                kernel.manifest.source,
                kernel.facts().treatment()
            ));
            writeln!(out, "{}", kernel.dir)?;
        }
        Action::Key(build) => writeln!(out, "{}", kernel::key(&build.source()?, &cache, &progress)?)?,
        Action::Fetch { base } => writeln!(out, "{}", kernel::fetch(base, &cache, &progress)?)?,
        Action::Check { base, quick } => {
            let against = if *quick { Against::Headers } else { Against::Kernel };
            let report = kernel::check(base, against, &cache, &progress)?;
            write!(out, "{}", report.render())?;
            if report.counts().1 > 0 {
                return Ok(Code::CaseFailed);
            }
        }
        Action::Rebase(rebase) => {
            let (text, code) = rebase.run(&cache, &progress)?;
            write!(out, "{text}")?;
            return Ok(code);
        }
        Action::List { format: Format::Human } => write!(out, "{}", table(&kernel::list(&cache)?))?,
        Action::List { format: Format::Json } => {
            writeln!(out, "{}", serde_json::to_string_pretty(&kernel::list(&cache)?)?)?;
        }
        Action::Prune { keep, all } => {
            let (gone, busy) = kernel::prune(&cache, if *all { 0 } else { *keep }, *all, &progress)?;
            for entry in gone {
                writeln!(
                    out,
                    "removed {} ({} {}, {})",
                    entry.id,
                    entry.source,
                    entry.variant,
                    megabytes(entry.size)
                )?;
            }
            for entry in busy {
                writeln!(out, "kept {} ({} {}): in use", entry.id, entry.source, entry.variant)?;
            }
        }
    }
    Ok(Code::AllPassed)
}

fn megabytes(bytes: u64) -> String {
    format!("{}.{} MB", bytes / 1_000_000, bytes / 100_000 % 10)
}

/// The list for people.
fn table(entries: &[Entry]) -> String {
    if entries.is_empty() {
        return "no kernels in the store (hint: `cargo xtask kernel build`)\n".to_owned();
    }
    let mut rows =
        vec![["id", "source", "variant", "hooks", "flavour", "release", "size", "age"].map(String::from)];
    rows.extend(entries.iter().map(|entry| {
        let size = megabytes(entry.size);
        [
            entry.id.clone(),
            entry.source.clone(),
            entry.variant.clone(),
            if entry.observe { "observed" } else { "" }.to_owned(),
            entry.flavour.clone(),
            entry.release.clone(),
            size,
            age(entry.age),
        ]
    }));
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<_> = (0..8).map(width).collect();
    let line = |row: &[String; 8]| {
        let cells: Vec<_> =
            row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}", width = *width)).collect();
        format!("{}\n", cells.join("  ").trim_end())
    };
    rows.iter().map(line).collect()
}

/// The two largest units.
fn age(seconds: u64) -> String {
    let unit = if seconds >= 86_400 {
        3600
    } else if seconds >= 3600 {
        60
    } else {
        1
    };
    humantime::format_duration(Duration::from_secs(seconds - seconds % unit)).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_for_people() {
        let entry = |id: &str, source: &str, variant: &str, size, age| Entry {
            id: id.into(),
            source: source.into(),
            variant: variant.into(),
            observe: variant == "stock",
            flavour: "lock".into(),
            release: "6.12.117".into(),
            size,
            age,
            unused: 0,
        };
        let entries = [
            entry("0123456789abcdef", "base 6.12", "stock", 21_300_000, 3725),
            entry("fedcba9876543210", "tree /home/me/linux", "as is", 19_000_000, 200_000),
        ];
        insta::assert_snapshot!(table(&entries), @r"
        id                source               variant  hooks     flavour  release   size     age
        0123456789abcdef  base 6.12            stock    observed  lock     6.12.117  21.3 MB  1h 2m
        fedcba9876543210  tree /home/me/linux  as is              lock     6.12.117  19.0 MB  2days 7h
        ");
        insta::assert_snapshot!(table(&[]), @"no kernels in the store (hint: `cargo xtask kernel build`)");
    }
}
