// SPDX-License-Identifier: GPL-2.0-only
//! `cargo xtask ci`: everything that the project tests about itself. Every stage runs, whatever the one before it
//! gave; the last line counts it all, and nothing but a clean sheet ends with 0.

mod stages;
mod tally;

use std::collections::HashSet;
use std::time::Duration;

use camino::Utf8PathBuf;
use guest::condition::Transport;

use crate::cache::Cache;
use crate::exit::Code;
use crate::host::{self, Needs};
use crate::kernel::{self, Against, Variant};
use crate::progress::Progress;
use crate::run::plan::Planned;
use crate::run::prepare::{Boot, Choice, Common};
use crate::verbs::{selftest, test};

pub use tally::Stage;
use tally::Tally;

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
const LIMIT: Duration = Duration::from_secs(40 * 60);
/// A host that has not come to the first case by then is a slow one: one condition of every case has to do.
const SLOW: Duration = Duration::from_secs(18 * 60);
/// What the selftests of one front end take on a slow host.
const SELFTESTS: Duration = Duration::from_secs(4 * 60);
/// What the patches of [`OLDER`] take there, checked without its kernel.
const PATCHES: Duration = Duration::from_secs(6 * 60);
/// What the cases and the selftests on [`OLDER`] take there.
const CASES: Duration = Duration::from_secs(9 * 60);

/// Runs the verb.
pub fn run(options: &Options) -> anyhow::Result<Code> {
    let progress = Progress::new();
    let mut tally = Tally::start();
    // Any base: what is asked for is the package lists.
    let download = kernel::to_download(NEWER, &Cache::open()?)?.map(|download| download.package);
    host::ensure_ready(Needs::Base { download }, options.yes, &progress)?;
    let mut ci = Ci { options, progress: &progress, is_slow: false };
    tally.stage("format", stages::format);
    tally.stage("clippy", stages::clippy);
    tally.stage("unit tests", stages::unit_tests);
    let took =
        tally.stage(&format!("patches of {NEWER}"), || stages::patches(NEWER, Against::Kernel, &progress));
    ci.is_slow = !options.full && tally.elapsed() > SLOW;
    if ci.is_slow {
        println!("\nthis host is slow: one condition of every case has to do (hint: --full takes the time)");
    }
    ci.newer(&mut tally);
    for base in if options.full { &[OLDER, NEWEST][..] } else { &[OLDER] } {
        ci.older(&mut tally, base, took);
    }
    Ok(tally.end())
}

/// What the stages have in common.
struct Ci<'a> {
    options: &'a Options,
    progress: &'a Progress,
    is_slow: bool,
}

impl Ci<'_> {
    fn newer(&self, tally: &mut Tally) {
        let progress = self.progress;
        let image = self.kernel(NEWER, None, Boot::Image);
        // The other front end: the same cases, and the ways in which it may fail.
        let virtme = self.kernel(NEWER, None, Boot::Virtme);
        if self.options.full {
            tally.stage(&format!("proof on {NEWER}"), || stages::proof(&image, &self.plan(&[])?, progress));
        } else {
            tally.stage(&format!("proof on {NEWER}, scsi_debug"), || {
                stages::proof(&image, &self.plan(&[Transport::ScsiDebug])?, progress)
            });
            tally.stage(&format!("catalogue on {NEWER}, pushback, iscsi"), || {
                let pushback = self.kernel(NEWER, Some(Variant::Pushback), Boot::Image);
                stages::catalogue(&pushback, &self.plan(&[Transport::Iscsi])?, progress)
            });
        }
        tally.stage(&format!("catalogue on {NEWER}, pushback, virtme-ng"), || {
            let all = self.plan(&[])?;
            let cases = if self.options.full { all } else { one_of_each(all) };
            stages::catalogue(&virtme, &cases, progress)
        });
        for (name, machine) in [("", &image), (", virtme-ng", &virtme)] {
            let is_time = self.is_time_for(SELFTESTS, tally);
            tally.stage(&format!("selftest on {NEWER}{name}"), || {
                if is_time { selftest::counted(machine, progress) } else { Ok(Stage::no_time()) }
            });
        }
    }

    /// `took`: the patches of [`NEWER`] with its kernel, which takes as long as this one.
    fn older(&self, tally: &mut Tally, base: &str, took: Duration) {
        if !self.is_time_for(PATCHES, tally) {
            tally.stage(&format!("all of {base}"), || Ok(Stage::no_time()));
            return;
        }
        let is_time = self.is_time_for(took + CASES, tally);
        let against = if is_time { Against::Kernel } else { Against::Headers };
        tally.stage(&format!("patches of {base}"), || stages::patches(base, against, self.progress));
        if !is_time {
            tally.stage(&format!("cases on {base}"), || Ok(Stage::no_time()));
            return;
        }
        let image = self.kernel(base, None, Boot::Image);
        if self.options.full {
            tally.stage(&format!("proof on {base}"), || {
                stages::proof(&image, &self.plan(&[])?, self.progress)
            });
        } else {
            tally.stage(&format!("catalogue on {base}, pushback"), || {
                let mut cases = self.plan(&[Transport::ScsiDebug])?;
                cases.extend(one_of_each(self.plan(&[Transport::Iscsi])?));
                stages::catalogue(
                    &self.kernel(base, Some(Variant::Pushback), Boot::Image),
                    &cases,
                    self.progress,
                )
            });
        }
        tally.stage(&format!("selftest on {base}"), || selftest::counted(&image, self.progress));
    }

    fn kernel(&self, base: &str, variant: Option<Variant>, boot: Boot) -> Common {
        let choice = Choice { base: Some(base.to_owned()), variant, boot, ..Choice::default() };
        Common { choice, out: self.options.out.clone(), yes: self.options.yes }
    }

    fn plan(&self, transports: &[Transport]) -> anyhow::Result<Vec<Planned>> {
        let all = test::default_plan_over(transports)?;
        Ok(if self.is_slow { one_of_each(all) } else { all })
    }

    fn is_time_for(&self, needed: Duration, tally: &Tally) -> bool {
        self.options.full || tally.elapsed() + needed < LIMIT
    }
}

/// The first condition of every case in every transport.
fn one_of_each(mut plan: Vec<Planned>) -> Vec<Planned> {
    let mut seen = HashSet::new();
    plan.retain(|planned| seen.insert((planned.case.name, planned.condition.transport)));
    plan
}
