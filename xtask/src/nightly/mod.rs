// SPDX-License-Identifier: GPL-2.0-only
//! A night: every tree of the configuration with every flavour, compared with what is known of it, and of all that only the
//! new failures are bad news. One job that goes wrong does not stop the others; what was interrupted goes on.
//!
//! The configuration says what there is to do ([`config`]), a job does one of it ([`job`]), what is known is kept
//! ([`state`]), and what came of it is data ([`verdict`]), text ([`text`]), and a page over all runs ([`index`]).

mod bisect;
pub mod config;
mod index;
mod job;
mod state;
mod text;
pub mod verdict;

use std::time::{Duration, Instant, SystemTime};

use camino::Utf8PathBuf;

use crate::cache::Cache;
use crate::exit::{Code, code_of};
use crate::interrupt;
use crate::progress::Progress;
use crate::report::{github, write_file};
use crate::run::folder::stamp;
use config::{Config, Job};
use job::Runner;
use state::{Folder, State};
use verdict::{FORMAT, Night, Report, Status};

/// After this time an interrupted night is history: trees have moved on.
const STALE: Duration = Duration::from_secs(24 * 60 * 60);

/// A night that is over, or interrupted.
pub struct Done {
    /// What came of it.
    pub night: Night,
    /// The same for people.
    pub text: String,
    /// The state folder.
    pub folder: Utf8PathBuf,
}

/// Runs a night, or goes on with the one that was interrupted. An error is one of the state folder or of the user; what goes
/// wrong with a tree is in the report.
pub fn run(config: &Config, jobs: Option<usize>, yes: bool, progress: &Progress) -> anyhow::Result<Done> {
    let deadline = config.budget.and_then(|budget| Instant::now().checked_add(budget));
    let folder = Folder::open(&config.state)?;
    let cache = Cache::open()?;
    let runner = Runner { config, folder: &folder, cache: &cache, jobs, yes, progress, deadline };
    whole(config, &folder, deadline, progress, |job, state| report(&runner, job, state))
}

/// The same, with whoever does one job.
fn whole(
    config: &Config,
    folder: &Folder,
    deadline: Option<Instant>,
    progress: &Progress,
    mut one: impl FnMut(&Job, &mut State) -> Report,
) -> anyhow::Result<Done> {
    let started = Instant::now();
    let mut state = folder.state()?;
    let mut night = begin(config, folder, progress)?;
    let before = night.seconds;
    for job in in_turn(config, &state) {
        if night.jobs.iter().any(|report| report.job == job.name) {
            continue;
        }
        let report = if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
            Report::bare(
                &job.name,
                Status::NoTime,
                "the budget was spent before its turn: it comes first the next night",
            )
        } else {
            progress.line(&format!("== {}", job.name));
            one(job, &mut state)
        };
        progress.line(&format!("== {}", text::line(&report)));
        progress.annotate(report.new_failures().map(|change| {
            let message = change.new.as_ref().map_or("", |seen| &seen.message);
            github::error(&format!("{}: {}", report.job, change.full_name), message)
        }));
        let status = report.status;
        night.jobs.push(report);
        night.seconds = before + started.elapsed().as_secs_f64();
        if status == Status::Interrupted {
            break;
        }
        if status != Status::NoTime {
            state.tried.insert(job.name.clone(), stamp(SystemTime::now()));
        }
        // The night first: should this process end between the two, a failure is told twice, and not never.
        folder.write_night(&night)?;
        folder.write_state(&state)?;
        let last = state.jobs.get(&job.name).map(|memory| memory.run.as_str());
        folder.prune(&job.name, config.keep, last)?;
    }
    night.finished = !night.jobs.iter().any(|report| report.status == Status::Interrupted);
    night.exit_code = night.code() as u8;
    let text = text::render(&night, folder.root(), false);
    if night.finished {
        folder.keep_night(&night, &text)?;
        folder.prune_nights(config.keep)?;
    }
    folder.write_night(&night)?;
    write_file(&folder.path("night.txt"), &text)?;
    index::write(config, folder, &night, &text)?;
    let text = text::render(&night, folder.root(), console::colors_enabled());
    Ok(Done { night, text, folder: folder.root().to_owned() })
}

/// A new night, or the one that was interrupted, if that was not long ago.
fn begin(config: &Config, folder: &Folder, progress: &Progress) -> anyhow::Result<Night> {
    match folder.interrupted()? {
        Some((night, age)) if age < STALE => return Ok(resumed(night, config, progress)),
        Some((night, _)) => {
            progress
                .line(&format!("the night of {} was interrupted long ago: this is a new one", night.started));
            folder.keep_night(&night, &text::render(&night, folder.root(), false))?;
        }
        None => {}
    }
    let junit = folder.path("junit");
    if junit.exists() {
        fs_err::remove_dir_all(junit)?;
    }
    Ok(Night { v: FORMAT, started: stamp(SystemTime::now()), ..Night::default() })
}

/// What was done before the interruption stands, unless it was not done.
fn resumed(mut night: Night, config: &Config, progress: &Progress) -> Night {
    let is_done = |report: &Report| {
        let known = config.jobs.iter().any(|job| job.name == report.job);
        known && !matches!(report.status, Status::NoTime | Status::Failed | Status::Interrupted)
    };
    night.jobs.retain(is_done);
    progress.line(&format!(
        "going on with the night of {}: {} of {} jobs are done",
        night.started,
        night.jobs.len(),
        config.jobs.len()
    ));
    night
}

/// The jobs, those that waited longest first: a budget that is too small for all must not starve the last ones, nor may one
/// that fails every night.
fn in_turn<'a>(config: &'a Config, state: &State) -> Vec<&'a Job> {
    let mut jobs: Vec<&Job> = config.jobs.iter().collect();
    jobs.sort_by_key(|job| state.tried.get(&job.name));
    jobs
}

/// One job, whatever comes of it.
fn report(runner: &Runner<'_>, job: &Job, state: &mut State) -> Report {
    let started = Instant::now();
    let mut report = match runner.run(job, state.jobs.get(&job.name)) {
        Ok((report, memory)) => {
            state.jobs.extend(memory.map(|memory| (job.name.clone(), memory)));
            report
        }
        Err(error) => {
            let status = match code_of(&error) {
                _ if interrupt::requested() => Status::Interrupted,
                Code::Untestable => Status::Untestable,
                _ => Status::Failed,
            };
            Report::bare(&job.name, status, format!("{error:#}"))
        }
    };
    report.seconds = started.elapsed().as_secs_f64();
    report.counts.exit_code = report.code() as u8;
    report
}

#[cfg(test)]
pub mod tests;
