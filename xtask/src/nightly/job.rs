// SPDX-License-Identifier: GPL-2.0-only
//! One job of a night: get the tree, build, run what is selected, run new failures again, put all of that together, and say
//! what became of each case.
//!
//! A run is made of parts: what an interruption left to do is run by the next call as another part, and the reruns of
//! failures are one more, as repetitions ` #2` and so on. They are put together as `merge` does it for machines.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use anyhow::Context as _;
use camino::Utf8Path;

use super::bisect;
use super::config::{Config, History, Job};
use super::state::{Folder, Memory};
use super::verdict::{Report, Status};
use crate::bisect::git::Repository;
use crate::cache::Cache;
use crate::compare::{Change, Seen, What, counts, seen};
use crate::event::Kind;
use crate::interrupt;
use crate::kernel::{Kernel, git_in};
use crate::progress::Progress;
use crate::report::model::fold;
use crate::report::{self, Finished, Format, Request, recorded};
use crate::run::folder::RunFolder;
use crate::run::merge::{Part, merge};
use crate::run::plan::Planned;
use crate::run::prepare::{Prepared, jobs, prepare};
use crate::run::schedule::{self, Item};
use crate::verbs::{merge as merging, test};

/// So many failures are run again; where more is broken, chance is no explanation.
const MOST: usize = 20;

/// Commits that are told, of those that touch what is tested here.
const TOLD: &str = "5";

/// What is tested here.
const SUBJECT: [&str; 4] = ["drivers/md", "block", "drivers/scsi", "include/linux/device-mapper.h"];

/// What all jobs of a night have in common.
pub struct Runner<'a> {
    /// The configuration.
    pub config: &'a Config,
    /// The state folder.
    pub folder: &'a Folder,
    /// The cache.
    pub cache: &'a Cache,
    /// VMs side by side.
    pub jobs: Option<usize>,
    /// Install what is missing without asking.
    pub yes: bool,
    /// Where progress goes.
    pub progress: &'a Progress,
    /// After it nothing new is begun.
    pub deadline: Option<Instant>,
}

/// A run under way.
struct Run<'a> {
    folder: RunFolder,
    prepared: &'a Prepared,
    options: Vec<String>,
    parts: Vec<Part>,
}

impl Runner<'_> {
    /// Does the job. Returns what is known from now on, if that is more than before.
    pub fn run(&self, job: &Job, memory: Option<&Memory>) -> anyhow::Result<(Report, Option<Memory>)> {
        let prepared = prepare(&job.choice, self.yes, self.cache, self.progress)?;
        let (kernel, _) = prepared.facts();
        let commit = commit(job, &prepared.kernel);
        let mut report = Report {
            news: news(job, memory.and_then(|memory| memory.commit.as_deref()), commit.as_deref()),
            kernel: Some(kernel),
            commit: commit.clone(),
            ..Report::bare(&job.name, Status::Tested, "")
        };
        let fingerprint = fingerprint(&prepared, &job.plan);
        let unfinished = self.folder.unfinished(&job.name, &fingerprint)?;
        if let Some(memory) = memory.filter(|memory| memory.fingerprint == fingerprint)
            && unfinished.is_none()
        {
            report.changes = still_failing(memory);
            report.counts = counts(report.changes.iter().map(|change| change.change));
            (report.status, report.run) = (Status::Unchanged, Some(memory.run.clone()));
            let mut memory = memory.clone();
            return self.explain(job, &mut report, &mut memory).map(|()| (report, Some(memory)));
        }
        let folder = match unfinished {
            Some(folder) => RunFolder::at(folder),
            None => RunFolder::unlinked(&self.folder.path("runs").join(&job.name))?,
        };
        let marker = folder.path().join("unfinished.json");
        fs_err::write(&marker, &fingerprint)?;
        let (place, run) = (folder.path().to_owned(), folder.clone());
        report.run = Some(self.folder.relative(&place));
        let known = memory.cloned().unwrap_or_default();
        let done = self.all_parts(job, folder, &prepared, &known);
        if done.is_err() && !interrupt::requested() {
            // Nobody goes on with what can't be had.
            fs_err::remove_file(&marker)?;
        }
        let parts = done.with_context(|| format!("run in {place}"))?;
        let merged = merge(&parts)?;
        let results = merging::write(&parts, &merged, &place)?;
        let finished = Finished { results: &results, events: &merged.events, folder: &place };
        let file = |format, name| Request { format, path: Some(place.join(name)) };
        let tonight = self.folder.path(format!("junit/{}.xml", job.name));
        let files = [
            file(Format::Junit, "junit.xml"),
            Request { format: Format::Junit, path: Some(tonight) },
            file(Format::Html, "report.html"),
        ];
        report::write(finished, &files)?;
        run.link()?;

        let seen = seen(&results.cases);
        let all = changes(&seen, memory);
        report.counts = counts(all.iter().map(|change| change.change));
        report.trouble = seen.iter().filter(|(_, seen)| seen.troubled > 0).count();
        report.changes = all.into_iter().filter(|change| change.change != What::Same).collect();
        let mut memory = known;
        memory.learn(&seen, commit.as_ref());
        memory.fingerprint = if report.trouble == 0 { fingerprint } else { String::new() };
        memory.run = self.folder.relative(&place);
        if let Err(error) = self.explain(job, &mut report, &mut memory) {
            // The failures are believed by now, whoever goes on with the run.
            report.status = if interrupt::requested() { Status::Interrupted } else { Status::Failed };
            report.message = format!("{error:#}");
            return Ok((report, None));
        }
        fs_err::remove_file(&marker)?;
        Ok((report, Some(memory)))
    }

    /// Which commits broke what fails, as far as time goes.
    fn explain(&self, job: &Job, report: &mut Report, memory: &mut Memory) -> anyhow::Result<()> {
        let questions = bisect::questions(job, report, memory);
        memory.open = bisect::answer(self, job, report, questions)?;
        Ok(())
    }

    /// What is planned, and then the new failures again.
    fn all_parts(
        &self,
        job: &Job,
        folder: RunFolder,
        prepared: &Prepared,
        known: &Memory,
    ) -> anyhow::Result<Vec<Part>> {
        let parts = parts_in(folder.path())?;
        let mut run = Run { folder, prepared, options: job.choice.options(), parts };
        run.rest(schedule::items(&job.plan, 1), false, self)?;
        let first = fold(&merge(&run.parts)?.events);
        let once = first.cases.iter().filter(|case| case.outcome.is_failure()).cloned().collect::<Vec<_>>();
        let doubtful: BTreeSet<String> = seen(&once)
            .into_iter()
            .filter(|(name, seen)| known.classify(name, seen) == What::NewFailure)
            .map(|(name, _)| name)
            .take(MOST)
            .collect();
        let doubted = |planned: &&Planned| doubtful.contains(&planned.full_name());
        let again: Vec<Planned> = job.plan.iter().filter(doubted).copied().collect();
        if !again.is_empty() && self.config.confirm > 0 {
            self.progress.line(&format!(
                "{} new failures: each again, {} times, in a VM of its own",
                again.len(),
                self.config.confirm
            ));
        }
        let repetitions = schedule::items(&again, self.config.confirm + 1).split_off(again.len());
        run.rest(repetitions, true, self)?;
        Ok(run.parts)
    }
}

impl Run<'_> {
    /// Runs what has no outcome yet, as one more part.
    fn rest(&mut self, mut items: Vec<Item>, isolate: bool, runner: &Runner<'_>) -> anyhow::Result<()> {
        let done = outcomes(&self.parts);
        items.retain(|item| !done.contains(item.shown.as_str()));
        if items.is_empty() {
            return Ok(());
        }
        let place = format!("part-{}", self.parts.len() + 1);
        let (_, host) = self.prepared.facts();
        let workers = jobs(runner.jobs, &self.prepared.spec, &host)?;
        let job =
            test::Job { isolate, ..test::Job::new(self.prepared, items, workers, self.options.clone()) };
        let done = job.run_in(self.folder.inside(&place)?, runner.progress)?;
        interrupt::check()?;
        if let Some(error) = done.failed {
            return Err(error);
        }
        self.parts.push(Part { place, folder: done.folder, events: done.events });
        Ok(())
    }
}

/// The names that have an outcome.
fn outcomes(parts: &[Part]) -> BTreeSet<String> {
    let events = parts.iter().flat_map(|part| &part.events);
    let done = events.filter(|event| matches!(event.kind, Kind::CaseOutcome { .. }));
    done.filter_map(|event| event.case.clone()).collect()
}

/// The parts that an interrupted run left. One without the beginning of a run is none; it goes, and so does what came after,
/// for parts are counted.
fn parts_in(folder: &Utf8Path) -> anyhow::Result<Vec<Part>> {
    let mut dirs = RunFolder::parts(folder).into_iter();
    let mut parts = Vec::new();
    for dir in dirs.by_ref() {
        let place = dir.file_name().unwrap_or_default().to_owned();
        match recorded::read(&dir) {
            Ok(run) if !run.events.is_empty() => {
                parts.push(Part { place, folder: run.folder, events: run.events });
            }
            _ => {
                fs_err::remove_dir_all(dir)?;
                break;
            }
        }
    }
    dirs.try_for_each(fs_err::remove_dir_all)?;
    Ok(parts)
}

/// What makes a run another one: the kernel, what is in the image (tools, and the cases themselves), and what is selected.
fn fingerprint(prepared: &Prepared, plan: &[Planned]) -> String {
    let names: Vec<String> = plan.iter().map(Planned::full_name).collect();
    format!(
        "{{\"kernel\":\"{}\",\"image\":\"{}\",\"cases\":{names:?}}}\n",
        prepared.kernel.manifest.id, prepared.image.id
    )
}

/// Every case of the run, beside what was known of it. In the first run of a job nothing is added.
fn changes(seen: &[(String, Seen)], memory: Option<&Memory>) -> Vec<Change> {
    let nothing = BTreeMap::new();
    let known = memory.map_or(&nothing, |memory| &memory.cases);
    let of = |(name, new): &(String, Seen)| {
        let old = known.get(name).map(|known| known.seen.clone());
        let change = match crate::compare::classify(old.as_ref(), Some(new)) {
            What::Added if memory.is_none() => What::Same,
            change => change,
        };
        Change { full_name: name.clone(), change, old, new: Some(new.clone()) }
    };
    let gone = |(name, _): &(&String, _)| !seen.iter().any(|(there, _)| there == *name);
    let removed = known.iter().filter(gone).map(|(name, known)| Change {
        full_name: name.clone(),
        change: What::Removed,
        old: Some(known.seen.clone()),
        new: None,
    });
    seen.iter().map(of).chain(removed).collect()
}

/// Of a job with nothing new: what failed, and so still does.
fn still_failing(memory: &Memory) -> Vec<Change> {
    let failing = memory.cases.iter().filter(|(_, known)| known.seen.always_fails());
    let change = |seen: &Seen, name: &String| Change {
        full_name: name.clone(),
        change: What::StillFailing,
        old: Some(seen.clone()),
        new: Some(seen.clone()),
    };
    failing.map(|(name, known)| change(&known.seen, name)).collect()
}

/// The commit that the kernel is of; none if the files are not that commit's, or if there is no git.
fn commit(job: &Job, kernel: &Kernel) -> Option<String> {
    if let Some(commit) = kernel.manifest.origin.strip_prefix("commit ") {
        return Some(commit.to_owned());
    }
    let (Some(History::Here(dir)), Some(_)) = (&job.history, &job.choice.tree) else { return None };
    commit_of(dir).inspect_err(|error| tracing::debug!(%error, "git")).ok().flatten()
}

/// The commit of a checkout without changes.
fn commit_of(dir: &Utf8Path) -> anyhow::Result<Option<String>> {
    let repository = Repository::open(dir)?;
    let clean = repository.uncommitted()?.is_empty();
    Ok(Some(repository.resolve("path", "HEAD")?).filter(|_| clean))
}

/// What is new since the last run, as far as there is a history on this host.
fn news(job: &Job, old: Option<&str>, new: Option<&str>) -> Vec<String> {
    let (Some(old), Some(new)) = (old, new) else { return vec![] };
    if old == new {
        return vec![];
    }
    let mut news = vec![format!("{} → {}", short(old), short(new))];
    if let Some(History::Here(dir)) = &job.history {
        let commits = commits(dir, old, new).inspect_err(|error| tracing::debug!(%error, "git"));
        news.extend(commits.unwrap_or_default());
    }
    news
}

/// How many commits lead to `new` and not to `old`, and the last of those that touch what is tested.
fn commits(dir: &Utf8Path, old: &str, new: &str) -> anyhow::Result<Vec<String>> {
    let between = Repository::open(dir)?.between(old, new)?;
    let range = format!("{old}..{new}");
    let log = ["log", "--no-merges", "--format=%h %s", "-n", TOLD, &range, "--"];
    let log = git_in(dir).args(log).args(SUBJECT).read()?.text;
    let log = log.lines().map(|line| format!("  {line}"));
    Ok([format!("{between} commits")].into_iter().chain(log).collect())
}

/// A commit's id as the kernel's documentation asks for it.
pub fn short(commit: &str) -> &str {
    commit.get(..12).unwrap_or(commit)
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use super::*;
    use crate::event::{Event, FORMAT, HostFacts, KernelFacts, Source};

    #[test]
    fn a_part_without_its_beginning_is_none_and_neither_are_those_after_it() {
        let (kernel, host) = (KernelFacts::default(), HostFacts::default());
        let kind =
            Kind::RunStarted { kernel, host, stress: None, partition: None, planned: vec!["a::b".into()] };
        let event = Event { v: FORMAT, t: 0.0, src: Source::Host, vm: None, case: None, kind };
        let line = serde_json::to_string(&event).unwrap() + "\n";
        // Killed before anything, in the middle of the first line, after it; without a stream.
        for (second, left) in [(Some(""), 1), (Some(&line[..20]), 1), (Some(line.as_str()), 3), (None, 1)] {
            let dir = tempfile::tempdir().unwrap();
            let dir = Utf8Path::from_path(dir.path()).unwrap();
            for (part, events) in
                [("part-1", Some(line.as_str())), ("part-2", second), ("part-3", Some(line.as_str()))]
            {
                fs_err::create_dir(dir.join(part)).unwrap();
                if let Some(events) = events {
                    fs_err::write(dir.join(part).join("events.jsonl"), events).unwrap();
                }
            }
            let parts = parts_in(dir).unwrap();
            assert_eq!((parts.len(), RunFolder::parts(dir).len()), (left, left), "{second:?}");
            assert!(dir.join("part-3").exists() == (left == 3));
            merge(&parts).unwrap();
        }
    }

    #[test]
    fn the_commit_of_a_checkout_is_told_without_writing_to_it() {
        let dir = tempfile::tempdir().unwrap();
        let dir = Utf8Path::from_path(dir.path()).unwrap();
        let git = |args: &[&str]| {
            let identity =
                ["-c", "user.name=x", "-c", "user.email=x@localhost", "-c", "commit.gpgsign=false"];
            git_in(dir).args(identity).args(args.iter().copied()).read().unwrap().text
        };
        git(&["init", "--quiet"]);
        fs_err::write(dir.join("Makefile"), "1").unwrap();
        git(&["add", "Makefile"]);
        git(&["commit", "--quiet", "--message", "dm: one"]);
        let first = git(&["rev-parse", "HEAD"]);
        // What `git status` would write into its index.
        let file = fs_err::OpenOptions::new().write(true).open(dir.join("Makefile")).unwrap();
        file.file().set_modified(SystemTime::now() - Duration::from_secs(60)).unwrap();
        let index = fs_err::read(dir.join(".git/index")).unwrap();
        assert_eq!(commit_of(dir).unwrap(), Some(first.clone()));
        assert_eq!(fs_err::read(dir.join(".git/index")).unwrap(), index);
        fs_err::write(dir.join("Makefile"), "2").unwrap();
        assert_eq!(commit_of(dir).unwrap(), None);
        fs_err::create_dir_all(dir.join("drivers/md")).unwrap();
        fs_err::write(dir.join("drivers/md/dm.c"), "").unwrap();
        git(&["add", "--all"]);
        git(&["commit", "--quiet", "--message", "dm: two"]);
        let told = commits(dir, &first, "HEAD").unwrap();
        assert_eq!((told.len(), told[0].as_str(), told[1].ends_with(" dm: two")), (2, "1 commits", true));
    }
}
