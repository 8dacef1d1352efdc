// SPDX-License-Identifier: GPL-2.0-only
//! What is kept from night to night.
//!
//! ```text
//! STATE/state.json                  what each job is known to do: see [`State`]
//! STATE/night.json                  the night that is under way, or the last one: see [`Night`]
//! STATE/night.txt                   the same as text, once this call is over
//! STATE/index.html                  the runs of all jobs: see [`super::index`]
//! STATE/nights/STAMP.json, .txt     nights that are over
//! STATE/junit/JOB.xml               of the jobs that were tested in this night
//! STATE/runs/JOB/STAMP/             run folders, each with parts inside: `part-1` …, and the reruns of its failures
//! STATE/runs/JOB/STAMP/unfinished.json   only as long as the run is not
//! STATE/runs/JOB/STAMP/bisect/      what bisecting gave: see [`super::bisect`]
//! ```
//! Files are replaced as a whole, so an interruption leaves the old or the new one.

use std::collections::BTreeMap;
use std::fs::File;
use std::time::Duration;

use anyhow::Context as _;
use camino::{Utf8Path, Utf8PathBuf};
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::bisect::Question;
use super::verdict::{self, Night};
use crate::compare::{Seen, What, classify};
use crate::exit::{Code, coded};
use crate::report::model::Status;
use crate::report::recorded::versioned;
use crate::report::write_file;

/// Version of state.json.
const FORMAT: u32 = 1;

/// The state folder, ours as long as this lives.
#[derive(Debug)]
pub struct Folder {
    dir: Utf8PathBuf,
    #[expect(dead_code, reason = "held, never read: the lock goes with it")]
    lock: Flock<File>,
}

/// state.json.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct State {
    /// [`FORMAT`].
    pub v: u32,
    /// By job.
    pub jobs: BTreeMap<String, Memory>,
    /// When each job had its turn last, whatever came of it; named as run folders are.
    #[serde(default)]
    pub tried: BTreeMap<String, String>,
}

/// What is known of a job.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Memory {
    /// Of what was tested last: kernel, image and selection.
    pub fingerprint: String,
    /// The last run, relative to the state folder.
    pub run: String,
    /// Its commit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit: Option<String>,
    /// By `case[condition]`.
    pub cases: BTreeMap<String, Known>,
    /// What is to be bisected still, for lack of time or because the host failed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub open: Vec<Question>,
}

/// What is known of a case.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Known {
    /// What it did when it last had an outcome.
    pub seen: Seen,
    /// The last commit at which it passed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub good: Option<String>,
}

impl Memory {
    /// What became of a case: a failure that was flaky counts as none.
    pub fn classify(&self, name: &str, seen: &Seen) -> What {
        classify(self.cases.get(name).map(|known| &known.seen), Some(seen))
    }

    /// Takes over a run. What the host kept from an outcome stays as it was known; what was not selected this time
    /// is forgotten.
    pub fn learn(&mut self, seen: &[(String, Seen)], commit: Option<&String>) {
        let mut before = std::mem::take(&mut self.cases);
        for (name, seen) in seen {
            let old = before.remove(name);
            if seen.outcome.is_host_trouble() {
                self.cases.extend(old.map(|old| (name.clone(), old)));
                continue;
            }
            // A skip, or a pass of files that are no commit's, is nothing to bisect from.
            let passed = commit.filter(|_| seen.outcome == Status::Pass).cloned();
            let good = passed.or_else(|| old.and_then(|old| old.good));
            self.cases.insert(name.clone(), Known { seen: seen.clone(), good });
        }
        self.commit = commit.cloned();
    }
}

impl Folder {
    /// Opens it, or makes a new one. One at a time.
    pub fn open(dir: &Utf8Path) -> anyhow::Result<Self> {
        fs_err::create_dir_all(dir).context("make the state folder")?;
        let dir = dir.canonicalize_utf8()?;
        let lock = dir.join("lock");
        let file =
            File::options().create(true).append(true).open(&lock).with_context(|| format!("open {lock}"))?;
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => Ok(Self { dir, lock }),
            Err((_, Errno::EWOULDBLOCK)) => Err(coded(
                Code::HostFailed,
                format_args!(
                    "another `nightly` is at work in {dir} (hint: its progress is in night.json there)"
                ),
            )),
            Err((_, errno)) => Err(errno).with_context(|| format!("lock {lock}")),
        }
    }

    /// The folder itself.
    pub fn root(&self) -> &Utf8Path {
        &self.dir
    }

    /// A path in it.
    pub fn path(&self, relative: impl AsRef<Utf8Path>) -> Utf8PathBuf {
        self.dir.join(relative.as_ref())
    }

    /// The path of one of its folders, as it is kept.
    pub fn relative(&self, path: &Utf8Path) -> String {
        path.strip_prefix(&self.dir).unwrap_or(path).to_string()
    }

    /// What is known; nothing in a new folder.
    pub fn state(&self) -> anyhow::Result<State> {
        Ok(self.read("state.json", FORMAT)?.unwrap_or(State { v: FORMAT, ..State::default() }))
    }

    /// The night that was interrupted, if one was, and how long ago it was last heard of.
    pub fn interrupted(&self) -> anyhow::Result<Option<(Night, Duration)>> {
        let night: Option<Night> = self.read("night.json", verdict::FORMAT)?;
        let Some(night) = night.filter(|night| !night.finished) else { return Ok(None) };
        let written = fs_err::metadata(self.path("night.json"))?.modified()?;
        Ok(Some((night, written.elapsed().unwrap_or_default())))
    }

    fn read<T: DeserializeOwned>(&self, name: &str, version: u32) -> anyhow::Result<Option<T>> {
        let path = self.path(name);
        match std::fs::read_to_string(&path) {
            Ok(text) => versioned(&text, version)
                .map(Some)
                .map_err(|error| coded(Code::Usage, format_args!("{path} can't be used: {error:#}"))),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).with_context(|| format!("read {path}")),
        }
    }

    /// Writes what is known.
    pub fn write_state(&self, state: &State) -> anyhow::Result<()> {
        self.write("state.json", state)
    }

    /// Writes the night that is under way.
    pub fn write_night(&self, night: &Night) -> anyhow::Result<()> {
        self.write("night.json", night)
    }

    /// Keeps a night that is over, with its text, beside the others.
    pub fn keep_night(&self, night: &Night, text: &str) -> anyhow::Result<()> {
        self.write(&format!("nights/{}.json", night.started), night)?;
        write_file(&self.path(format!("nights/{}.txt", night.started)), text)
    }

    fn write<T: Serialize>(&self, name: &str, value: &T) -> anyhow::Result<()> {
        write_file(&self.path(name), &(serde_json::to_string_pretty(value)? + "\n"))
    }

    /// The run of a job that was interrupted and was of the same fingerprint. Others of it are removed: nobody will go on
    /// with them.
    pub fn unfinished(&self, job: &str, fingerprint: &str) -> anyhow::Result<Option<Utf8PathBuf>> {
        let mut found = None;
        for run in self.runs(job)? {
            let marker = run.join("unfinished.json");
            let Ok(text) = std::fs::read_to_string(&marker) else { continue };
            if text == fingerprint && found.is_none() {
                found = Some(run);
            } else {
                fs_err::remove_dir_all(&run)?;
            }
        }
        Ok(found)
    }

    /// Removes all but the newest `keep` runs of a job, and of the runs that came to nothing as many. What is known of the job
    /// tells of `last`, which stays.
    pub fn prune(&self, job: &str, keep: usize, last: Option<&str>) -> anyhow::Result<()> {
        let last = last.map(|last| self.path(last));
        let (runs, nothing): (Vec<_>, Vec<_>) = self.runs(job)?.into_iter().partition(|run| has_results(run));
        let old = runs.into_iter().skip(keep).chain(nothing.into_iter().skip(keep));
        for run in old.filter(|run| Some(run) != last.as_ref()) {
            fs_err::remove_dir_all(run)?;
        }
        Ok(())
    }

    /// The runs of a job that came to their end, the newest first.
    pub fn runs_with_results(&self, job: &str) -> anyhow::Result<Vec<Utf8PathBuf>> {
        let mut runs = self.runs(job)?;
        runs.retain(|run| has_results(run));
        Ok(runs)
    }

    /// Removes all but the newest `keep` nights.
    pub fn prune_nights(&self, keep: usize) -> anyhow::Result<()> {
        let mut files = entries(&self.path("nights"))?;
        files.sort();
        // A night is two files.
        let old = files.len().saturating_sub(2 * keep);
        files.into_iter().take(old).try_for_each(|file| Ok(fs_err::remove_file(file)?))
    }

    /// The run folders of a job, the newest first.
    fn runs(&self, job: &str) -> anyhow::Result<Vec<Utf8PathBuf>> {
        let mut runs = entries(&self.path("runs").join(job))?;
        // `latest` is a link to one of them.
        runs.retain(|run| run.symlink_metadata().is_ok_and(|data| data.is_dir()));
        runs.sort();
        runs.reverse();
        Ok(runs)
    }
}

/// Whether a run came to its end: an unfinished one has none yet, and one that could not go on never gets any.
fn has_results(run: &Utf8Path) -> bool {
    run.join("results.json").is_file()
}

fn entries(dir: &Utf8Path) -> anyhow::Result<Vec<Utf8PathBuf>> {
    match dir.read_dir_utf8() {
        Ok(entries) => entries.map(|entry| Ok(entry?.into_path())).collect(),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(vec![]),
        Err(error) => Err(error).with_context(|| format!("list {dir}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exit::code_of;

    fn seen(outcome: Status, runs: u32, failed: u32) -> Seen {
        let (assertion, splat, artifacts) = (None, None, None);
        let (message, troubled) = (String::new(), u32::from(outcome.is_host_trouble()));
        Seen { outcome, assertion, splat, message, seconds: 0.5, runs, failed, troubled, artifacts }
    }

    fn folder() -> (tempfile::TempDir, Folder) {
        let dir = tempfile::tempdir().unwrap();
        let folder = Folder::open(&Utf8Path::from_path(dir.path()).unwrap().join("state")).unwrap();
        (dir, folder)
    }

    #[test]
    fn what_was_written_is_read_and_a_newer_format_is_refused() {
        let (_dir, folder) = folder();
        assert_eq!(folder.state().unwrap(), State { v: 1, ..State::default() });
        let mut memory = Memory { fingerprint: "f".into(), ..Memory::default() };
        memory.learn(&[("a::b".into(), seen(Status::Pass, 1, 0))], Some(&"c0ffee".into()));
        let (case, good, bad) = ("a::b".into(), "1".into(), "2".into());
        memory.open.push(Question { case, others: 1, good, bad });
        let tried = [("a.lock".into(), "20260101-000000".into())].into();
        let state = State { v: 1, jobs: [("a.lock".into(), memory)].into(), tried };
        folder.write_state(&state).unwrap();
        assert_eq!(folder.state().unwrap(), state);
        // Of a newer xtask, within the version.
        let text = fs_err::read_to_string(folder.path("state.json")).unwrap();
        fs_err::write(folder.path("state.json"), text.replace("\"cases\":", "\"later\": 1, \"cases\":"))
            .unwrap();
        assert_eq!(folder.state().unwrap(), state);
        fs_err::write(folder.path("state.json"), r#"{"v":2,"jobs":[]}"#).unwrap();
        let error = folder.state().unwrap_err();
        assert_eq!(code_of(&error), Code::Usage);
        assert!(
            error.to_string().contains(
                "state.json can't be used: it is of version 2 of its format, and this xtask knows version 1"
            ),
            "{error}"
        );
    }

    #[test]
    fn one_at_a_time() {
        let (_dir, folder) = folder();
        let error = Folder::open(&folder.dir).unwrap_err();
        assert_eq!(code_of(&error), Code::HostFailed);
        assert!(error.to_string().starts_with("another `nightly` is at work in "), "{error}");
    }

    #[test]
    fn a_case_is_remembered_over_nights_without_an_outcome() {
        let mut memory = Memory::default();
        let mut night = |commit: &str, outcome, runs, failed| {
            let seen = seen(outcome, runs, failed);
            let what = memory.classify("a::b", &seen);
            memory.learn(&[("a::b".into(), seen)], Some(&commit.into()));
            (what, memory.cases.get("a::b").and_then(|known| known.good.clone()))
        };
        let good = |commit: &str| Some(commit.to_owned());
        assert_eq!(night("1", Status::Pass, 1, 0), (What::Added, good("1")));
        assert_eq!(night("2", Status::Pass, 1, 0), (What::Same, good("2")));
        assert_eq!(night("3", Status::Fail, 4, 1), (What::Flaky, good("2")));
        assert_eq!(night("4", Status::Fail, 4, 4), (What::NewFailure, good("2")));
        assert_eq!(night("5", Status::NotRun, 1, 0), (What::Changed, good("2")));
        assert_eq!(night("6", Status::Fail, 1, 1), (What::StillFailing, good("2")));
        assert_eq!(night("7", Status::Pass, 1, 0), (What::Fixed, good("7")));
        assert_eq!(night("8", Status::Infra, 1, 0).1, good("7"));
        assert_eq!(night("9", Status::Timeout, 4, 4), (What::NewFailure, good("7")));
        assert_eq!(night("10", Status::Pass, 1, 0).1, good("10"));
        assert_eq!(night("11", Status::Skipped, 1, 0), (What::Changed, good("10")), "a skip is no pass");
        assert_eq!(night("12", Status::KnownDeviation, 1, 0).1, good("10"));
        memory.learn(&[("a::b".into(), seen(Status::Pass, 1, 0))], None);
        assert_eq!(memory.cases["a::b"].good, good("10"), "of files that are no commit's");
        memory.learn(&[], None);
        assert!(memory.cases.is_empty(), "what is not selected any more is forgotten");
    }

    #[test]
    fn n_runs_are_kept_and_what_nobody_will_finish_goes() {
        let (_dir, folder) = folder();
        let names = ["20260101-000000", "20260102-000000", "20260102-000000-2", "20260103-000000"];
        let make = |name: &str, file: &str, text: &str| {
            let run = folder.path("runs/a.lock").join(name);
            fs_err::create_dir_all(run.join("part-1")).unwrap();
            fs_err::write(run.join(file), text).unwrap();
        };
        make(names[0], "unfinished.json", "other");
        make(names[1], "results.json", "{}");
        make(names[2], "unfinished.json", "same");
        make(names[3], "results.json", "{}");
        std::os::unix::fs::symlink(names[3], folder.path("runs/a.lock/latest")).unwrap();
        assert_eq!(
            folder.unfinished("a.lock", "same").unwrap(),
            Some(folder.path("runs/a.lock").join(names[2]))
        );
        assert_eq!(folder.runs("a.lock").unwrap().len(), 3);
        // Runs that came to nothing: they are no reason for a real one to go.
        let nothing = ["20260104-000000", "20260105-000000", "20260106-000000"];
        for name in nothing {
            make(name, "rerun.json", "{}");
        }
        let names_of = |runs: Vec<Utf8PathBuf>| -> Vec<String> {
            runs.iter().map(|run| run.file_name().unwrap().to_owned()).collect()
        };
        folder.prune("a.lock", 2, Some(&format!("runs/a.lock/{}", names[1]))).unwrap();
        let left = names_of(folder.runs("a.lock").unwrap());
        assert_eq!(left, [nothing[2], nothing[1], names[3], names[1]]);
        folder.prune("a.lock", 1, Some(&format!("runs/a.lock/{}", names[1]))).unwrap();
        assert_eq!(names_of(folder.runs_with_results("a.lock").unwrap()), [names[3], names[1]]);
        folder.prune("a.lock", 1, None).unwrap();
        assert_eq!(names_of(folder.runs_with_results("a.lock").unwrap()), [names[3]]);
        assert_eq!(folder.unfinished("none", "same").unwrap(), None);
    }

    #[test]
    fn nights_are_kept_and_one_that_was_interrupted_is_known() {
        let (_dir, folder) = folder();
        for n in 1..4 {
            let night = Night { v: 1, started: format!("n{n}"), finished: n != 3, ..Night::default() };
            folder.keep_night(&night, "text").unwrap();
            folder.write_night(&night).unwrap();
            let (interrupted, age) = folder.interrupted().unwrap().unzip();
            assert_eq!(interrupted.is_some(), n == 3);
            assert!(age.is_none_or(|age| age < Duration::from_secs(600)));
        }
        folder.prune_nights(2).unwrap();
        assert_eq!(entries(&folder.path("nights")).unwrap().len(), 4);
        assert!(folder.path("nights/n3.txt").exists());
    }
}
