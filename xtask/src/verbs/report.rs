// SPDX-License-Identifier: GPL-2.0-only
//! `cargo xtask report`: the reports of runs that are over, from what their folders hold. Runs nothing.

use camino::Utf8PathBuf;

use crate::exit::{Code, coded};
use crate::report::html::{self, Shown};
use crate::report::recorded::{self, Recorded};
use crate::report::{self, Finished, Format, Request};

/// The verb's options.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// Run folders, or folders with such in them, as a proof's. Several runs make one HTML page: a column a kernel, the last
    /// run of each in full and those before it as its history
    #[arg(required = true, value_name = "DIR")]
    runs: Vec<Utf8PathBuf>,
    /// Which report: ktap, junit, json or html, `=PATH` for a file (repeatable; no path or `-`: standard output)
    #[arg(long, required = true, value_name = "FORMAT[=PATH]")]
    report: Vec<Request>,
}

/// Runs the verb. Ends with 0 whatever the runs gave: that was told when they ran.
pub fn run(options: &Options) -> anyhow::Result<Code> {
    report::check(&options.report)?;
    let mut runs: Vec<Recorded> = vec![];
    for dir in &options.runs {
        // A relative folder would say nothing in a report that is read elsewhere; `latest` would soon be another run.
        let dir = dir.canonicalize_utf8().unwrap_or_else(|_| dir.clone());
        for folder in recorded::folders(&dir)? {
            let run = recorded::read(&folder)?;
            // A history needs no events, and those of many runs would fill the memory.
            let column = html::column(&run.results.kernel);
            let before = runs.iter_mut().filter(|other| html::column(&other.results.kernel) == column);
            before.for_each(|other| other.events = vec![]);
            runs.push(run);
        }
    }
    match runs.as_slice() {
        [run] => {
            let finished = Finished { results: &run.results, events: &run.events, folder: &run.folder };
            report::write(finished, &options.report)?;
        }
        runs => several(runs, &options.report)?,
    }
    Ok(Code::AllPassed)
}

fn several(runs: &[Recorded], requests: &[Request]) -> anyhow::Result<()> {
    if requests.iter().any(|request| request.format != Format::Html) {
        return Err(coded(
            Code::Usage,
            format!("these are {} runs, and only html shows several (hint: name one run folder)", runs.len()),
        ));
    }
    let shown: Vec<Shown> = runs.iter().map(shown).collect();
    let page = html::page("dm-pushback: runs side by side", &shown);
    requests.iter().try_for_each(|request| report::put(request.path.as_deref(), &page))
}

fn shown(run: &Recorded) -> Shown<'_> {
    Shown {
        column: html::column(&run.results.kernel),
        when: html::time(run.folder.file_name().unwrap_or_default()),
        results: &run.results,
        events: &run.events,
        folder: Some(&run.folder),
        href: None,
    }
}
