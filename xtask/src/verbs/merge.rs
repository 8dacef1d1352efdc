// SPDX-License-Identifier: GPL-2.0-only
//! `cargo xtask merge`: the runs of several machines become one run folder, one report and one exit code.

use anyhow::Context as _;
use camino::{Utf8Path, Utf8PathBuf};
use walkdir::WalkDir;

use crate::event::Event;
use crate::exit::{Code, WithCode as _};
use crate::progress::Progress;
use crate::report::model::{self, Results};
use crate::report::{self, Finished, Format, Request, github, recorded, terminal};
use crate::run::folder::{Rerun, RunFolder};
use crate::run::merge::{Merged, Part, merge};

/// What belongs to a whole run and is the same in all of its parts.
const SHARED: [&str; 4] = ["kernel.json", "kernel.config", "image-files.tsv", "qemu.sh"];

/// The verb's options.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// Run folders, or folders with such in them, e.g. of all parts M/N
    #[arg(required = true, value_name = "RUN")]
    runs: Vec<Utf8PathBuf>,
    /// Also write a report: see `test --help`
    #[arg(long, value_name = "FORMAT[=PATH]")]
    report: Vec<Request>,
    /// Where the merged run folder goes
    #[arg(long, value_name = "DIR", default_value = "runs")]
    out: Utf8PathBuf,
}

/// Runs the verb.
pub fn run(options: &Options) -> anyhow::Result<Code> {
    report::check(&options.report)?;
    let mut parts: Vec<Part> = Vec::new();
    for dir in &options.runs {
        for folder in recorded::folders(dir)?.into_iter().flat_map(originals) {
            let run = recorded::read(&folder)?;
            let place = format!("part-{}", parts.len() + 1);
            parts.push(Part { place, folder: run.folder, events: run.events });
        }
    }
    let merged = merge(&parts).code(Code::Usage)?;
    let folder = RunFolder::unlinked(&options.out)?;
    let written = copy_parts(&parts, folder.path()).and_then(|()| write(&parts, &merged, folder.path()));
    if written.is_err() {
        // Half of a merged run looks like a whole one.
        let _ = fs_err::remove_dir_all(folder.path());
    }
    let results = written?;
    folder.link()?;
    for note in &merged.notes {
        eprintln!("note: {note}");
    }
    let finished = Finished { results: &results, events: &merged.events, folder: folder.path() };
    report::write(finished, &options.report)?;
    Progress::new().annotate(github::errors(&results));
    let to_stdout = options.report.iter().any(|request| request.path.is_none());
    let summary = terminal::summary(&results, folder.path(), console::colors_enabled() && !to_stdout);
    if to_stdout {
        eprint!("{summary}");
    } else {
        print!("{summary}");
    }
    Ok(model::exit_code(&results))
}

/// A run that was merged stands for those it was made of: they know which parts M/N they are, and it does not.
fn originals(run: Utf8PathBuf) -> Vec<Utf8PathBuf> {
    let parts = RunFolder::parts(&run);
    if parts.is_empty() { vec![run] } else { parts.into_iter().flat_map(originals).collect() }
}

/// Each run folder whole, so that the merged one can be handed on. `merged` is canonical, and may be inside of one of them.
fn copy_parts(parts: &[Part], merged: &Utf8Path) -> anyhow::Result<()> {
    for part in parts {
        let (from, to) = (part.folder.canonicalize_utf8()?, merged.join(&part.place));
        for entry in WalkDir::new(&from).into_iter().filter_entry(|entry| entry.path() != merged) {
            let entry = entry.with_context(|| format!("copy the run folder {from}"))?;
            let place = to.as_std_path().join(entry.path().strip_prefix(&from)?);
            if entry.file_type().is_dir() {
                fs_err::create_dir_all(place)?;
            } else if entry.file_type().is_file() {
                fs_err::copy(entry.path(), place)?;
            }
        }
    }
    Ok(())
}

/// Writes what a run folder has: the stream, the results, how to run it again, and what the parts share. The parts are in
/// it already, each at its place.
pub fn write(parts: &[Part], merged: &Merged, folder: &Utf8Path) -> anyhow::Result<Results> {
    let results = model::fold(&merged.events);
    let lines: Vec<String> = merged.events.iter().map(line).collect::<Result<_, _>>()?;
    fs_err::write(folder.join("events.jsonl"), lines.concat())?;
    let reruns: Vec<Rerun> =
        parts.iter().filter_map(|part| Rerun::read(&folder.join(&part.place)).ok()).collect();
    if let Some(first) = reruns.first() {
        let mut cases: Vec<String> = Vec::new();
        for case in reruns.iter().flat_map(|rerun| &rerun.cases) {
            if !cases.contains(case) {
                cases.push(case.clone());
            }
        }
        let rerun = Rerun { cases, ..first.clone() };
        fs_err::write(folder.join("rerun.json"), serde_json::to_vec_pretty(&rerun)?)?;
    }
    for name in SHARED {
        let from = parts.iter().map(|part| folder.join(&part.place).join(name)).find(|path| path.is_file());
        if let Some(from) = from {
            fs_err::copy(from, folder.join(name))?;
        }
    }
    let finished = Finished { results: &results, events: &merged.events, folder };
    report::write(finished, &[Request { format: Format::Json, path: Some(folder.join("results.json")) }])?;
    Ok(results)
}

fn line(event: &Event) -> serde_json::Result<String> {
    serde_json::to_string(event).map(|text| text + "\n")
}

#[cfg(test)]
mod tests {
    use guest::condition::Condition;

    use super::*;
    use crate::event::{FORMAT, HostFacts, KernelFacts, Kind, Source};
    use crate::exit::code_of;
    use crate::outcome::Outcome;

    /// A run of one case that passes, as one of several parts.
    fn part(dir: &Utf8Path, partition: &str) -> Utf8PathBuf {
        let case = format!("m::case_{}", &partition[..1]);
        let (kernel, host) = (KernelFacts::default(), HostFacts::default());
        let (partition, planned) = (Some(partition.parse().unwrap()), vec![case.clone()]);
        let kinds = [
            Kind::RunStarted { kernel, host, stress: None, partition, planned },
            Kind::CaseOutcome {
                name: case.clone(),
                condition: Condition::default(),
                outcome: Outcome::Pass,
                seconds: 0.5,
                artifacts: None,
            },
            Kind::RunEnded { interrupted: false, seconds: 1.0 },
        ];
        let event =
            |kind| Event { v: FORMAT, t: 0.0, src: Source::Host, vm: None, case: Some(case.clone()), kind };
        let folder = dir.join(&case);
        fs_err::create_dir_all(&folder).unwrap();
        let lines: String = kinds.map(|kind| line(&event(kind)).unwrap()).concat();
        fs_err::write(folder.join("events.jsonl"), lines).unwrap();
        folder
    }

    /// The exit code of a merge, and the folder that it made.
    fn merged(runs: &[&Utf8Path], out: &Utf8Path) -> (u8, Utf8PathBuf) {
        let runs = runs.iter().map(|run| (*run).to_owned()).collect();
        let code = run(&Options { runs, report: vec![], out: out.to_owned() }).unwrap();
        (code as u8, out.join("latest").canonicalize_utf8().unwrap())
    }

    #[test]
    fn a_merged_run_stands_for_its_parts() {
        let dir = tempfile::tempdir().unwrap();
        let dir = Utf8Path::from_path(dir.path()).unwrap();
        let out = dir.join("out");
        let [a, b, c] = ["1/3", "2/3", "3/3"].map(|partition| part(dir, partition));
        let (code, two) = merged(&[&a, &b], &out);
        assert_eq!(code, 128);
        assert_eq!(merged(&[&two], &out).0, 128, "the third part is still missing");
        let (code, all) = merged(&[&two, &c], &out);
        assert_eq!(code, 0);
        assert_eq!(RunFolder::parts(&all).len(), 3);
        assert_eq!(merged(&[&all], &out).0, 0);
    }

    #[test]
    fn a_merge_into_one_of_its_runs_has_an_end() {
        let dir = tempfile::tempdir().unwrap();
        let dir = Utf8Path::from_path(dir.path()).unwrap();
        let whole = part(dir, "1/1");
        let (code, merged) = merged(&[&whole], &whole.join("runs"));
        assert_eq!(code, 0);
        assert!(merged.join("part-1/events.jsonl").is_file());
        assert_eq!(RunFolder::parts(&merged.join("part-1/runs")).len(), 0);
    }

    #[test]
    fn a_merge_that_is_refused_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let dir = Utf8Path::from_path(dir.path()).unwrap();
        fs_err::create_dir_all(dir.join("a")).unwrap();
        fs_err::write(dir.join("a/events.jsonl"), "").unwrap();
        let options = |runs: Vec<Utf8PathBuf>| Options { runs, report: vec![], out: dir.join("out") };
        for runs in [vec![dir.join("a")], vec![dir.join("a"), dir.join("none")]] {
            let error = run(&options(runs)).unwrap_err();
            assert_eq!(code_of(&error), Code::Usage, "{error:#}");
            assert!(!dir.join("out").exists());
        }
    }
}
