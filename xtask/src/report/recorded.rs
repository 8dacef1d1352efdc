// SPDX-License-Identifier: GPL-2.0-only
//! Runs that are over and on disk: a run folder read back, and the runs that were made before one.

use camino::{Utf8Path, Utf8PathBuf};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::model::{self, Results};
use crate::event::{Event, FORMAT, KernelFacts, Kind};
use crate::exit::{Code, coded};

/// The file that makes a folder a run folder.
const EVENTS: &str = "events.jsonl";
/// Earlier runs that are shown at most …
const MOST: usize = 10;
/// … of the newest so many folders that are looked at.
const LOOKED_AT: usize = 60;

/// A run that was read back.
#[derive(Debug)]
pub struct Recorded {
    /// Its folder.
    pub folder: Utf8PathBuf,
    /// Everything that happened, as far as it was written.
    pub events: Vec<Event>,
    /// The events folded.
    pub results: Results,
}

/// Results of a run that was made before another.
#[derive(Debug)]
pub struct Earlier {
    /// The name of its folder.
    pub name: String,
    /// What it gave.
    pub results: Results,
}

/// The run folders that `dir` stands for: itself, or those inside of it, as a proof has them, by name.
pub fn folders(dir: &Utf8Path) -> anyhow::Result<Vec<Utf8PathBuf>> {
    if dir.join(EVENTS).is_file() {
        return Ok(vec![dir.to_owned()]);
    }
    let usage = |what: String| coded(Code::Usage, what);
    let entries =
        dir.read_dir_utf8().map_err(|error| usage(format!("read the run folder {dir}: {error}")))?;
    let mut inside: Vec<Utf8PathBuf> =
        entries.filter_map(Result::ok).map(|entry| entry.path().to_owned()).collect();
    // Not `latest`: that run is there under its own name.
    inside.retain(|path| !path.is_symlink() && path.join(EVENTS).is_file());
    inside.sort();
    if inside.is_empty() {
        return Err(usage(format!(
            "{dir} is no run folder: neither it nor a folder in it holds an {EVENTS}"
        )));
    }
    Ok(inside)
}

/// Reads a run folder.
pub fn read(dir: &Utf8Path) -> anyhow::Result<Recorded> {
    let path = dir.join(EVENTS);
    let events = parse(&fs_err::read(&path)?);
    let events = events.map_err(|error| coded(Code::Usage, format!("{path}:{error}")))?;
    // The folder of a failure has events too, but not its outcome: that was not known when they were written.
    if events.first().is_some_and(|first| !matches!(first.kind, Kind::RunStarted { .. })) {
        return Err(coded(
            Code::Usage,
            format!("{path} does not begin with a run (hint: name the run's folder)"),
        ));
    }
    Ok(Recorded { folder: dir.to_owned(), results: model::fold(&events), events })
}

/// The results of a run: its folder or its results.json is named. Of a run that was cut short there are only its events.
pub fn results(named: &Utf8Path) -> anyhow::Result<Results> {
    let path = if named.is_file() { named.to_owned() } else { named.join("results.json") };
    if !path.exists() && named.join(EVENTS).is_file() {
        return Ok(read(named)?.results);
    }
    let usage = |why: String| {
        coded(Code::Usage, format!("{named} is no run: {why} (hint: runs/latest is the last one)"))
    };
    let text = fs_err::read_to_string(&path).map_err(|error| usage(error.to_string()))?;
    versioned(&text, FORMAT).map_err(|error| usage(format!("{path}: {error}")))
}

/// A JSON document with a field `v`: a version that this xtask does not know is told as such, and not as an odd field.
pub fn versioned<T: DeserializeOwned>(text: &str, known: u32) -> anyhow::Result<T> {
    let Version { v } = serde_json::from_str(text)?;
    anyhow::ensure!(
        v == known,
        "it is of version {v} of its format, and this xtask knows version {known} (hint: a newer xtask wrote it)"
    );
    Ok(serde_json::from_str(text)?)
}

/// The field that every document and every event has.
#[derive(Deserialize)]
struct Version {
    v: u32,
}

/// Reads the lines. A last line without its end was being written when the run was cut short: it is left out. The error
/// begins with the number of the line.
fn parse(text: &[u8]) -> Result<Vec<Event>, String> {
    let mut events: Vec<Event> = vec![];
    for (number, line) in (1..).zip(text.split_inclusive(|byte| *byte == b'\n')) {
        let event = serde_json::from_slice(line);
        match (event, serde_json::from_slice(line)) {
            (_, Ok(Version { v })) if v != FORMAT => {
                return Err(format!("{number}: an event of format {v}; this xtask knows format {FORMAT}"));
            }
            (Ok(event), _) => events.push(event),
            (Err(_), _) if !line.ends_with(b"\n") => {}
            (Err(error), _) => return Err(format!("{number}: that is no event: {error}")),
        }
    }
    Ok(events)
}

/// The newest runs of the same kernel that stand beside `folder` and are older, oldest first. For a history only: what
/// can't be read is left out.
pub fn earlier(folder: &Utf8Path, kernel: &KernelFacts) -> Vec<Earlier> {
    let (Some(parent), Some(name)) = (folder.parent(), folder.file_name()) else { return vec![] };
    let Ok(entries) = parent.read_dir_utf8() else { return vec![] };
    let mut names: Vec<String> = entries
        .filter_map(Result::ok)
        .map(|entry| entry.file_name().to_owned())
        // Names are times. `latest` is no other run, and comes after them.
        .filter(|other| other.as_str() < name)
        .collect();
    names.sort_unstable_by(|a, b| b.cmp(a));
    let same = |other: &KernelFacts| {
        let of = |kernel: &KernelFacts| {
            (kernel.lineage().to_owned(), kernel.variant.clone(), kernel.flavour.clone(), kernel.observe)
        };
        of(other) == of(kernel)
    };
    let read = |name: String| {
        let text = fs_err::read(parent.join(&name).join("results.json")).ok()?;
        let results: Results = serde_json::from_slice(&text).ok()?;
        same(&results.kernel).then_some(Earlier { name, results })
    };
    let mut found: Vec<Earlier> = names.into_iter().take(LOOKED_AT).filter_map(read).take(MOST).collect();
    found.reverse();
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exit::code_of;
    use crate::report::tests::every_outcome;

    fn lines(events: &[Event]) -> String {
        events.iter().map(|event| serde_json::to_string(event).unwrap() + "\n").collect()
    }

    /// A folder with these files.
    fn folder(files: &[(&str, &str)]) -> (tempfile::TempDir, Utf8PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = Utf8PathBuf::try_from(dir.path().to_owned()).unwrap();
        for (name, text) in files {
            let file = path.join(name);
            fs_err::create_dir_all(file.parent().unwrap()).unwrap();
            fs_err::write(file, text).unwrap();
        }
        (dir, path)
    }

    /// `every_outcome`, as a run writes it.
    fn run() -> Vec<Event> {
        let mut events = every_outcome();
        events.sort_by_key(|event| !matches!(event.kind, Kind::RunStarted { .. }));
        events
    }

    #[test]
    fn a_run_and_the_runs_of_a_proof() {
        let (_dir, path) = folder(&[("events.jsonl", &lines(&run()))]);
        assert_eq!(folders(&path).unwrap(), std::slice::from_ref(&path));
        let read = read(&path).unwrap();
        assert_eq!((read.events, read.results), (run(), model::fold(&run())));
        let (_dir, path) = folder(&[("b/events.jsonl", ""), ("a/events.jsonl", ""), ("c/other", "")]);
        std::os::unix::fs::symlink("b", path.join("latest")).unwrap();
        assert_eq!(folders(&path).unwrap(), [path.join("a"), path.join("b")]);
    }

    #[test]
    fn a_run_that_was_cut_short_is_read_as_far_as_it_was_written() {
        let whole = lines(&every_outcome());
        let events = parse(whole.as_bytes()).unwrap().len();
        let last = whole.trim_end().rfind('\n').unwrap() + 1;
        for end in last..whole.len() - 1 {
            let read = parse(&whole.as_bytes()[..end]).unwrap().len();
            assert_eq!(read, events - 1, "cut at {end} of {}", whole.len());
        }
        assert!(parse(b"").unwrap().is_empty());
    }

    #[test]
    fn what_is_no_run_is_named() {
        let error = |files: &[(&str, &str)]| {
            let (_dir, path) = folder(files);
            let error = folders(&path).and_then(|found| read(&found[0])).unwrap_err();
            assert_eq!(code_of(&error), Code::Usage);
            format!("{error:#}").replace(path.as_str(), "DIR")
        };
        insta::assert_snapshot!(error(&[("a/b", "")]), @"DIR is no run folder: neither it nor a folder in it holds an events.jsonl");
        insta::assert_snapshot!(error(&[("events.jsonl", "{\"v\":1}\n")]), @"DIR/events.jsonl:1: that is no event: missing field `t` at line 1 column 7");
        insta::assert_snapshot!(error(&[("events.jsonl", "\n")]), @"DIR/events.jsonl:1: that is no event: EOF while parsing a value at line 2 column 0");
        insta::assert_snapshot!(error(&[("events.jsonl", &lines(&run()[1..]))]), @"DIR/events.jsonl does not begin with a run (hint: name the run's folder)");
        let newer = lines(&run()).replacen("{\"v\":1", "{\"v\":2", 1);
        insta::assert_snapshot!(error(&[("events.jsonl", &newer)]), @"DIR/events.jsonl:1: an event of format 2; this xtask knows format 1");
        let absent = folders(Utf8Path::new("/nonexistent")).unwrap_err();
        insta::assert_snapshot!(format!("{absent:#}"), @"read the run folder /nonexistent: No such file or directory (os error 2)");
    }

    #[test]
    fn results_of_a_run_and_of_what_is_none() {
        let (_dir, path) = folder(&[("events.jsonl", &lines(&run()))]);
        assert_eq!(results(&path).unwrap(), model::fold(&run()), "a run that was cut short");
        for (text, part) in
            [(r#"{"v":2}"#, "results.json: it is of version 2 of its format"), ("{", "is no run: ")]
        {
            let (_dir, path) = folder(&[("results.json", text)]);
            let error = results(&path).unwrap_err();
            assert_eq!(code_of(&error), Code::Usage);
            assert!(error.to_string().contains(part), "{error}");
        }
        assert!(results(Utf8Path::new("/nonexistent")).unwrap_err().to_string().contains("is no run: "));
    }

    #[test]
    fn earlier_runs_are_those_of_the_same_kernel() {
        let at = |commit: &str, variant: &str| KernelFacts {
            source: format!("git /srv/linux#next ({commit})"),
            variant: variant.into(),
            ..KernelFacts::default()
        };
        let results = |variant: &str| {
            let kernel = at("0123456789ab", variant);
            serde_json::to_string(&Results { kernel, ..Results::default() }).unwrap()
        };
        let (_dir, path) = folder(&[
            ("20260101-000000/results.json", &results("stock")),
            ("20260102-000000/results.json", &results("pushback")),
            ("20260103-000000/results.json", "{"),
            ("20260104-000000/results.json", &results("stock")),
            ("20260105-000000/results.json", &results("stock")),
            ("20260106-000000/results.json", &results("stock")),
            ("latest/results.json", &results("stock")),
        ]);
        // The branch has moved on.
        let kernel = at("ba9876543210", "stock");
        let names =
            |run: &str| earlier(&path.join(run), &kernel).into_iter().map(|run| run.name).collect::<Vec<_>>();
        assert_eq!(names("20260105-000000"), ["20260101-000000", "20260104-000000"]);
        assert!(names("20260101-000000").is_empty());
        assert!(earlier(Utf8Path::new("/nonexistent/x"), &kernel).is_empty());
    }
}
