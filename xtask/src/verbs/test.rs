// SPDX-License-Identifier: GPL-2.0-only
//! `cargo xtask test`: the main job.

use camino::{Utf8Path, Utf8PathBuf};
use guest::case::full_name;
use guest::condition::Transport;
use guest::stress::Stress;

use crate::cache::Cache;
use crate::event::{Event, Kind, Source};
use crate::exit::{Code, WithCode as _};
use crate::interrupt;
use crate::progress::Progress;
use crate::report::model::{self, Results};
use crate::report::{self, Finished, Format, Request, github, terminal};
use crate::run::folder::{Rerun, RunFolder};
use crate::run::live;
use crate::run::partition::Partition;
use crate::run::plan::{self, Planned, Scope, Selection};
use crate::run::prepare::{Choice, Common, Prepared, jobs, prepare};
use crate::run::schedule::{self, Item, Setup};
use crate::run::stream::{Place, Stream};
use crate::run::stress;
use crate::vm::argv;

/// The verb's options.
#[derive(Debug, clap::Args)]
pub struct Options {
    #[command(flatten)]
    selection: Selection,
    #[command(flatten)]
    common: Common,
    /// VMs side by side [default: as many as cores and memory allow]
    #[arg(short, long, value_name = "N")]
    jobs: Option<usize>,
    /// Also write a report: ktap, junit, json or html, `=PATH` for a file (repeatable; no path or `-`: standard output)
    #[arg(long, value_name = "FORMAT[=PATH]")]
    report: Vec<Request>,
    /// Run everything N times
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    repeat: u32,
    /// A fresh VM for every case, or one VM for as many as stay clean
    #[arg(long, value_enum, default_value_t = Isolate::Run)]
    isolate: Isolate,
    #[command(flatten)]
    stress: stress::Asked,
    /// Count known deviations of stock kernels as failures
    #[arg(long)]
    strict: bool,
    /// Run again what a run folder, or the folder of one failure, holds
    #[arg(long, value_name = "DIR", conflicts_with_all = ["filters", "transport", "queue_mode", "suspend", "partition", "stress", "seed", "base", "variant", "no_observe", "flavour", "tree", "kernel", "modules", "boot"])]
    rerun: Option<Utf8PathBuf>,
}

/// What shares a VM.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Isolate {
    /// Nothing: a VM for every case.
    Case,
    /// The run.
    Run,
}

/// Runs the verb.
pub fn run(options: &Options) -> anyhow::Result<Code> {
    report::check(&options.report)?;
    let rerun = options.rerun.as_deref().map(Rerun::read).transpose().code(Code::Usage)?;
    let (choice, stress) = match &rerun {
        Some(rerun) => Choice::replay(&rerun.options)?,
        None => (options.common.choice.clone(), options.stress),
    };
    let plan = planned(options, rerun.as_ref())?;
    let progress = Progress::new();
    let cache = Cache::open()?;
    let prepared = prepare(&choice, options.common.yes, &cache, &progress)?;
    let (_, host) = prepared.facts();
    let workers = jobs(options.jobs, &prepared.spec, &host)?;
    let job = Job {
        isolate: options.isolate == Isolate::Case,
        strict: options.strict,
        stress: stress.stress(),
        partition: options.selection.partition,
        ..Job::new(&prepared, schedule::items(&plan, options.repeat), workers, choice.options())
    };
    let done = job.run(&options.common.out, &progress)?;
    let to_stdout = options.report.iter().any(|request| request.path.is_none());
    report::write(done.finished(), &options.report)?;
    progress.annotate(github::errors(&done.results));
    let summary = terminal::summary(&done.results, &done.folder, console::colors_enabled() && !to_stdout);
    if to_stdout {
        eprint!("{summary}");
    } else {
        print!("{summary}");
    }
    done.failed.map_or_else(|| Ok(model::exit_code(&done.results)), Err)
}

fn planned(options: &Options, rerun: Option<&Rerun>) -> anyhow::Result<Vec<Planned>> {
    let Some(rerun) = rerun else { return options.selection.select(tests::catalogue(), Scope::Kernel) };
    plan::named(&rerun.cases, "--rerun")
}

/// What runs without filters.
pub fn default_plan() -> anyhow::Result<Vec<Planned>> {
    default_plan_over(&[])
}

/// The same on these transports; on all, if none is named.
pub fn default_plan_over(transports: &[Transport]) -> anyhow::Result<Vec<Planned>> {
    let selection = Selection { transport: transports.to_vec(), ..Selection::default() };
    selection.select(tests::catalogue(), Scope::Kernel)
}

/// One run: items on VMs, into a run folder.
pub struct Job<'a> {
    /// Kernel, image, VM.
    pub prepared: &'a Prepared,
    /// What to run.
    pub items: Vec<Item>,
    /// VMs side by side.
    pub jobs: usize,
    /// A fresh VM for every case.
    pub isolate: bool,
    /// Known deviations are failures.
    pub strict: bool,
    /// After the first failure nothing more is started.
    pub first_failure_ends: bool,
    /// What is asked of stress cases.
    pub stress: Stress,
    /// Which part of the selection the items are, if they are one of several.
    pub partition: Option<Partition>,
    /// Options that choose the same kernel and machine again.
    pub options: Vec<String>,
}

/// A run that is over.
pub struct Done {
    /// What the reports are made from.
    pub results: Results,
    /// Everything that happened.
    pub events: Vec<Event>,
    /// The run folder.
    pub folder: Utf8PathBuf,
    /// Why the run did not come to its end; what was done until then is in the results.
    pub failed: Option<anyhow::Error>,
}

impl Done {
    /// What reports are made from.
    pub fn finished(&self) -> Finished<'_> {
        Finished { results: &self.results, events: &self.events, folder: &self.folder }
    }
}

impl<'a> Job<'a> {
    /// A run of these items without anything special.
    pub fn new(prepared: &'a Prepared, items: Vec<Item>, jobs: usize, options: Vec<String>) -> Self {
        Self {
            prepared,
            items,
            jobs,
            isolate: false,
            strict: false,
            first_failure_ends: false,
            stress: Stress::default(),
            partition: None,
            options,
        }
    }

    /// Runs it, into a new folder below `out`.
    pub fn run(self, out: &Utf8Path, progress: &Progress) -> anyhow::Result<Done> {
        self.run_in(RunFolder::create(out)?, progress)
    }

    /// Runs it, into this folder.
    pub fn run_in(self, mut folder: RunFolder, progress: &Progress) -> anyhow::Result<Done> {
        let Prepared { kernel, image, spec, .. } = self.prepared;
        let mut names: Vec<String> =
            self.items.iter().map(|i| full_name(i.planned.case.name, &i.planned.condition)).collect();
        names.dedup();
        let options = [self.options, stress::options(self.stress)].concat();
        let rerun = Rerun { v: 1, options: options.clone(), cases: names };
        fs_err::write(folder.path().join("rerun.json"), serde_json::to_vec_pretty(&rerun)?)?;
        folder.write_shared("kernel.json", &serde_json::to_vec_pretty(&kernel.manifest)?)?;
        if let Some(config) = kernel.config() {
            folder.write_shared("kernel.config", &fs_err::read(config)?)?;
        }
        folder.write_shared("image-files.tsv", &fs_err::read(&image.list)?)?;
        folder.write_shared("qemu.sh", argv::script(spec, folder.path().as_str()).as_bytes())?;

        let events = folder.path().join("events.jsonl");
        let stream = Stream::create(&events, live::listener(progress, self.items.len()))?;
        let (kernel_facts, host) = self.prepared.facts();
        let planned = self.items.iter().map(|i| i.shown.clone()).collect();
        let told = stress::told(self.stress, self.items.iter().map(|item| &item.planned));
        if let Some(told) = &told {
            progress.line(told);
        }
        let stress = told.is_some().then_some(self.stress);
        let kind =
            Kind::RunStarted { kernel: kernel_facts, host, stress, partition: self.partition, planned };
        stream.now(Source::Host, &Place::default(), kind);
        let setup = Setup {
            spec: spec.clone(),
            kernel,
            jobs: self.jobs,
            isolate: self.isolate,
            strict: self.strict,
            first_failure_ends: self.first_failure_ends,
            stress: self.stress,
            folder: &folder,
            stream: &stream,
            options: &options,
        };
        let group = progress.group(&format!("{} cases on {}", self.items.len(), kernel.release()));
        let started = std::time::Instant::now();
        let failed = schedule::run(self.items, &setup).err();
        let ended =
            Kind::RunEnded { interrupted: interrupt::requested(), seconds: started.elapsed().as_secs_f64() };
        stream.now(Source::Host, &Place::default(), ended);
        drop(group);
        let events = stream.finish(&events)?;
        let results = model::fold(&events);
        let request = Request { format: Format::Json, path: Some(folder.path().join("results.json")) };
        let done = Done { results, events, folder: folder.path().to_owned(), failed };
        report::write(done.finished(), &[request])?;
        Ok(done)
    }
}
