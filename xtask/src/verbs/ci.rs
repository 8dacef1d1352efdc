// SPDX-License-Identifier: GPL-2.0-only
//! `cargo xtask ci`: everything that the project tests about itself. Every stage runs, whatever the one before it
//! gave; the last line counts it all, and nothing but a clean sheet ends with 0.

use std::collections::HashSet;
use std::fmt::Write as _;
use std::ops::AddAssign;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use camino::Utf8PathBuf;
use guest::condition::Transport;
use regex::Regex;
use xshell::{Shell, cmd};

use crate::cache::Cache;
use crate::command::Tool;
use crate::exit::{Code, code_of};
use crate::host::{self, Needs};
use crate::interrupt;
use crate::kernel::{self, Variant};
use crate::progress::Progress;
use crate::report::counts::Counts;
use crate::report::terminal;
use crate::run::plan::Planned;
use crate::run::prepare::{Boot, Choice, Common, Setting, jobs, prepare};
use crate::run::schedule;
use crate::verbs::prove::{self, Machine};
use crate::verbs::{selftest, test};

/// The verb's options.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// Where run folders go
    #[arg(long, value_name = "DIR", default_value = "runs")]
    out: Utf8PathBuf,
    /// Install what is missing without asking
    #[arg(long)]
    yes: bool,
    /// The proof on every base and both transports, and the whole catalogue over virtme-ng, however long it takes. Otherwise 7.3
    /// is left out, 6.1 and iSCSI run on the pushback kernel only, virtme-ng, and iSCSI on 6.1, run one condition of every case;
    /// and if the host is too slow for 45 minutes, so does everything, and what is still too much is left out
    #[arg(long)]
    full: bool,
}

/// The base of the proof.
const NEWER: &str = "6.12";
/// The base that is proven with `--full`.
const OLDER: &str = "6.1";
/// The base that is looked at with `--full` only: it takes another kernel.
const NEWEST: &str = "7.3";
/// How long the whole may take without `--full`, from an empty cache and on two slow cores; installing and compiling, before,
/// has the rest of 45 minutes.
const LIMIT: Duration = Duration::from_secs(42 * 60);
/// A host that has not come to the first case by then is a slow one: one condition of every case has to do.
const SLOW: Duration = Duration::from_secs(18 * 60);
/// What the selftests of one front end take on a slow host.
const SELFTESTS: Duration = Duration::from_secs(4 * 60);
/// What the cases and the selftests on [`OLDER`] take there.
const CASES: Duration = Duration::from_secs(9 * 60);

/// What one stage gave.
#[derive(Debug, Default)]
pub struct Stage {
    /// How many of what.
    pub counts: Counts,
    /// What failed, a few lines each.
    pub failures: String,
}

impl Stage {
    /// A stage that there was no time for.
    fn no_time() -> Self {
        println!("left out: it would not end in time on this host (hint: --full takes the time)");
        Self { counts: Counts { passed: 0, failed: 0, skipped: 1 }, failures: String::new() }
    }

    /// A stage that passes or fails as a whole.
    fn whole(failure: Option<String>) -> Self {
        failure.map_or(Self { counts: Counts::PASS, failures: String::new() }, |failure| Self {
            counts: Counts::FAIL,
            failures: failure + "\n",
        })
    }
}

impl AddAssign for Stage {
    fn add_assign(&mut self, other: Self) {
        self.counts += other.counts;
        self.failures += &other.failures;
    }
}

/// What all stages together gave.
struct Tally {
    counts: Counts,
    worst: Code,
    /// What failed, by stage: told again at the end, for the middle of a long log is what gets lost.
    failures: String,
}

impl Tally {
    /// Runs one stage, and says how long it took; an error is one failure of its own.
    fn stage(&mut self, name: &str, run: impl FnOnce() -> anyhow::Result<Stage>) -> Duration {
        if interrupt::requested() {
            return Duration::ZERO;
        }
        println!("\n== {name}");
        let start = Instant::now();
        let Stage { counts, failures } = run().unwrap_or_else(|error| {
            println!("error: {error:#}");
            self.worst = self.worst.max(code_of(&error));
            Stage::whole(Some(format!("error: {error:#}")))
        });
        if counts.failed > 0 {
            self.worst = self.worst.max(Code::CaseFailed);
            let _ = write!(self.failures, "\n== {name}: {} failed\n{failures}", counts.failed);
        }
        let took = start.elapsed();
        println!("== {name}: {counts} ({:.1} s)", took.as_secs_f64());
        self.counts += counts;
        took
    }
}

/// Runs the verb.
pub fn run(options: &Options) -> anyhow::Result<Code> {
    let started = Instant::now();
    let progress = Progress::new();
    // Any base: what is asked for is the package lists.
    let download = kernel::to_download(NEWER, &Cache::open()?)?.map(|download| download.package);
    host::ensure_ready(Needs::Base { download }, options.yes, &progress)?;
    let mut tally = Tally { counts: Counts::default(), worst: Code::AllPassed, failures: String::new() };
    tally.stage("format", || check(|sh| cmd!(sh, "cargo fmt --all --check").run()));
    tally.stage("clippy", || {
        check(|sh| cmd!(sh, "cargo clippy --locked --workspace --all-targets -- -D warnings").run())
    });
    tally.stage("unit tests", unit_tests);
    let kernel = |base: &str, variant, boot| {
        let choice = Choice { base: Some(base.to_owned()), variant, boot, ..Choice::default() };
        Common { choice, out: options.out.clone(), yes: options.yes }
    };
    let any = |base| kernel(base, None, Boot::Image);
    let pushback = |base| kernel(base, Some(Variant::Pushback), Boot::Image);
    // The other front end: the same cases, and the ways in which it may fail.
    let virtme = kernel(NEWER, None, Boot::Virtme);
    let took = tally.stage(&format!("patches of {NEWER}"), || patches(NEWER, &progress));
    let is_time_for = |needed| options.full || started.elapsed() + needed < LIMIT;
    let is_slow = !options.full && started.elapsed() > SLOW;
    if is_slow {
        println!("\nthis host is slow: one condition of every case has to do (hint: --full takes the time)");
    }
    let plan = |transports: &[Transport]| {
        let all = test::default_plan_over(transports)?;
        anyhow::Ok(if is_slow { one_of_each(all) } else { all })
    };
    if options.full {
        tally.stage(&format!("proof on {NEWER}"), || proof(&any(NEWER), &plan(&[])?, &progress));
    } else {
        tally.stage(&format!("proof on {NEWER}, scsi_debug"), || {
            proof(&any(NEWER), &plan(&[Transport::ScsiDebug])?, &progress)
        });
        tally.stage(&format!("catalogue on {NEWER}, pushback, iscsi"), || {
            catalogue(&pushback(NEWER), &plan(&[Transport::Iscsi])?, &progress)
        });
    }
    tally.stage(&format!("catalogue on {NEWER}, pushback, virtme-ng"), || {
        let all = plan(&[])?;
        catalogue(&virtme, &if options.full { all } else { one_of_each(all) }, &progress)
    });
    for (name, machine) in [("", &any(NEWER)), (", virtme-ng", &virtme)] {
        tally.stage(&format!("selftest on {NEWER}{name}"), || {
            if is_time_for(SELFTESTS) { selftest::counted(machine, &progress) } else { Ok(Stage::no_time()) }
        });
    }
    for base in if options.full { &[OLDER, NEWEST][..] } else { &[OLDER] } {
        // With its kernel to be built it takes as long as the newer one did.
        if !is_time_for(took) {
            tally.stage(&format!("all of {base}"), || Ok(Stage::no_time()));
            continue;
        }
        tally.stage(&format!("patches of {base}"), || patches(base, &progress));
        if options.full {
            tally.stage(&format!("proof on {base}"), || proof(&any(base), &plan(&[])?, &progress));
        } else if is_time_for(CASES) {
            tally.stage(&format!("catalogue on {base}, pushback"), || {
                let mut cases = plan(&[Transport::ScsiDebug])?;
                cases.extend(one_of_each(plan(&[Transport::Iscsi])?));
                catalogue(&pushback(base), &cases, &progress)
            });
        } else {
            tally.stage(&format!("cases on {base}"), || Ok(Stage::no_time()));
            continue;
        }
        tally.stage(&format!("selftest on {base}"), || selftest::counted(&any(base), &progress));
    }
    let Tally { counts, worst, failures } = tally;
    let code = if interrupt::requested() { Code::HostFailed } else { worst };
    println!("{failures}\n{counts}");
    Ok(code)
}

/// The series of a base: they apply and build patch by patch, without warnings, and are in style.
fn patches(base: &str, progress: &Progress) -> anyhow::Result<Stage> {
    let report = kernel::check(base, &Cache::open()?, progress)?;
    print!("{}", report.render());
    let (passed, failed) = report.counts();
    Ok(Stage { counts: Counts { passed, failed, skipped: 0 }, failures: report.failures() })
}

/// A command of cargo's that passes or fails as a whole.
fn check(run: impl FnOnce(&Shell) -> xshell::Result<()>) -> anyhow::Result<Stage> {
    Ok(Stage::whole(run(&Shell::new()?).err().map(|error| error.to_string())))
}

fn unit_tests() -> anyhow::Result<Stage> {
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

/// A cell that is as expected has passed, whatever it did; one that is not applicable is skipped.
fn proof(common: &Common, plan: &[Planned], progress: &Progress) -> anyhow::Result<Stage> {
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

/// The first condition of every case in every transport.
fn one_of_each(mut plan: Vec<Planned>) -> Vec<Planned> {
    let mut seen = HashSet::new();
    plan.retain(|planned| seen.insert((planned.case.name, planned.condition.transport)));
    plan
}

fn catalogue(common: &Common, plan: &[Planned], progress: &Progress) -> anyhow::Result<Stage> {
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
