// SPDX-License-Identifier: GPL-2.0-only
//! `cargo xtask prove`: does this suite tell a kernel with the feature from one without? Runs the catalogue on baseline,
//! pushback and stock of one base and compares every cell with `tests/expectations/`.

use std::io::{ErrorKind, Write as _};

use anyhow::Context as _;
use camino::Utf8PathBuf;

use crate::cache::Cache;
use crate::event::KernelFacts;
use crate::exit::Code;
use crate::interrupt;
use crate::kernel::{Variant, base_names};
use crate::progress::Progress;
use crate::prove::proof::Cell;
use crate::prove::{Proof, Run, markdown, terminal};
use crate::report::{github, write_file};
use crate::run::folder::RunFolder;
use crate::run::partition::Partition;
use crate::run::plan::{Planned, Scope, Selection};
use crate::run::prepare::{Choice, Prepared, Setting, base_help, jobs, prepare};
use crate::run::schedule;
use crate::verbs::test::{Done, Job};

/// The verb's options.
#[derive(Debug, clap::Args)]
pub struct Options {
    #[command(flatten)]
    selection: Selection,
    #[command(flatten)]
    machine: Machine,
    /// VMs side by side [default: as many as cores and memory allow]
    #[arg(short, long, value_name = "N")]
    jobs: Option<usize>,
    /// How the table is printed; all forms are in the folder of the proof as well
    #[arg(long, value_enum, default_value_t = Format::Terminal)]
    format: Format,
}

/// Which base, on which machine, and where the results go.
#[derive(Debug, Clone, clap::Args)]
pub struct Machine {
    /// A kernel source that the project has patches for
    #[arg(long, value_name = "BASE", help = base_help())]
    pub base: Option<String>,
    /// How, where, and where to.
    #[command(flatten)]
    pub setting: Setting,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    /// A table as wide as the terminal
    Terminal,
    /// For a README or a merge request
    Markdown,
    /// One JSON document, see docs/proof.md
    Json,
}

/// The columns of the table: without the feature, with it, and what is shipped.
const VARIANTS: [Variant; 3] = [Variant::Baseline, Variant::Pushback, Variant::Stock];

/// Width of the table where there is no terminal to ask.
const WIDTH: usize = 160;

/// A proof that was made, whole or not.
pub struct Proven {
    /// What came of it.
    pub proof: Proof,
    /// Its folder; one run folder a variant is inside.
    pub folder: Utf8PathBuf,
    /// Why a run did not come to its end.
    failed: Option<anyhow::Error>,
}

impl Proven {
    /// As text for people.
    pub fn told(&self) -> String {
        let width = console::Term::stdout().size_checked().map_or(WIDTH, |(_, columns)| columns.into());
        terminal::render(&self.proof, &self.folder, width, console::colors_enabled())
    }

    /// What was not as expected, as text for people.
    pub fn differences(&self) -> String {
        terminal::differences(&self.proof, &self.folder, false)
    }

    /// What the verb ends with: what broke a run off, or what the cells say.
    pub fn code(self) -> anyhow::Result<Code> {
        self.failed.map_or_else(|| Ok(self.proof.code(interrupt::requested())), Err)
    }
}

/// Runs the verb.
pub fn run(options: &Options) -> anyhow::Result<Code> {
    let plan = options.selection.select(tests::catalogue(), Scope::Kernel)?;
    let progress = Progress::new();
    let proven = prove(&plan, options.selection.partition, &options.machine, options.jobs, &progress)?;
    let named = |cell: &Cell| github::error(&format!("{} on {}", cell.full_name, cell.variant), &cell.why);
    progress.annotate(proven.proof.mismatches().map(|(cell, _)| named(cell)).take(github::MOST));
    let text = match options.format {
        Format::Terminal => proven.told(),
        Format::Markdown => markdown::render(&proven.proof, &proven.folder),
        Format::Json => serde_json::to_string_pretty(&proven.proof)? + "\n",
    };
    match std::io::stdout().lock().write_all(text.as_bytes()) {
        // `prove | head` is no failure.
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(error).context("write to standard output"),
        _ => proven.code(),
    }
}

/// Makes the proof. All kernels are built before the first one runs: what does not build should not cost a run.
pub fn prove(
    plan: &[Planned],
    partition: Option<Partition>,
    machine: &Machine,
    wanted_jobs: Option<usize>,
    progress: &Progress,
) -> anyhow::Result<Proven> {
    let cache = Cache::open()?;
    let base = machine.base.clone().unwrap_or_else(|| base_names()[0].to_owned());
    let choice =
        |variant| Choice { base: Some(base.clone()), variant: Some(variant), ..machine.setting.choice() };
    let mut ready = Vec::new();
    for variant in VARIANTS {
        let prepared = prepare(&choice(variant), machine.setting.yes, &cache, progress)
            .with_context(|| format!("prepare the variant {}", variant.name()))?;
        ready.push((variant, prepared));
    }
    let folder = RunFolder::create(&machine.setting.out)?;
    let mut runs: Vec<Run> =
        ready.iter().map(|(variant, prepared)| not_yet(*variant, prepared, &choice(*variant))).collect();
    let mut failed = None;
    for ((variant, prepared), run) in ready.iter().zip(&mut runs) {
        if failed.is_some() || interrupt::requested() {
            break;
        }
        progress.line(&format!("== {}: {}", variant.name(), what_it_shows(*variant)));
        let (_, host) = prepared.facts();
        let workers = jobs(wanted_jobs, &prepared.spec, &host)?;
        let job =
            Job { partition, ..Job::new(prepared, schedule::items(plan, 1), workers, run.options.clone()) };
        let done: Done = job.run_in(folder.inside(variant.name())?, progress)?;
        run.take(done.results);
        failed = done.failed;
    }
    let proof = Proof::new(&base, plan, runs, interrupt::requested());
    let write = |name: &str, text: &str| write_file(&folder.path().join(name), text);
    write("prove.json", &(serde_json::to_string_pretty(&proof)? + "\n"))?;
    write("prove.md", &markdown::render(&proof, folder.path()))?;
    write("prove.txt", &terminal::render(&proof, folder.path(), WIDTH, false))?;
    Ok(Proven { proof, folder: folder.path().to_owned(), failed })
}

/// A run before anything is known of it.
fn not_yet(variant: Variant, prepared: &Prepared, choice: &Choice) -> Run {
    let kernel: KernelFacts = prepared.facts().0;
    Run {
        variant: variant.name(),
        kernel,
        folder: variant.name().to_owned(),
        complete: false,
        results: std::collections::BTreeMap::new(),
        seconds: 0.0,
        options: choice.options(),
    }
}

const fn what_it_shows(variant: Variant) -> &'static str {
    match variant {
        Variant::Baseline => "without the feature, so the cases that prove it must fail here",
        Variant::Pushback => "with the feature",
        Variant::Stock => "as it is shipped",
    }
}
