// SPDX-License-Identifier: GPL-2.0-only
//! STATE/index.html: what the last night said, and the runs of all jobs that are kept: a column a job, its last run in full,
//! the others as history, and links to the page of each run and to the evidence of each failure. Links are relative: the
//! state folder may be moved, or be somebody's artifact.

use camino::Utf8PathBuf;

use super::config::Config;
use super::state::Folder;
use super::verdict::Night;
use crate::report::html::{self, Shown};
use crate::report::model::Results;
use crate::report::{recorded, write_file};

/// A run of a job.
struct Run<'a> {
    job: &'a str,
    folder: Utf8PathBuf,
    /// Relative to the state folder.
    page: String,
    results: Results,
}

/// Writes the page.
pub fn write(config: &Config, folder: &Folder, night: &Night, text: &str) -> anyhow::Result<()> {
    let mut runs = Vec::new();
    for job in &config.jobs {
        for run in folder.runs_with_results(&job.name)?.into_iter().rev() {
            // One that a newer xtask wrote, or that a full disk cut short, is no reason to show none.
            let Ok(results) = recorded::results(&run) else { continue };
            let page = folder.relative(&run.join("report.html"));
            runs.push(Run { job: &job.name, folder: run, page, results });
        }
    }
    let shown: Vec<Shown> = runs
        .iter()
        .map(|run| Shown {
            column: run.job.to_owned(),
            when: html::time(run.folder.file_name().unwrap_or_default()),
            results: &run.results,
            events: &[],
            folder: Some(&run.folder),
            href: Some(&run.page),
        })
        .collect();
    let title = format!("dm-pushback: night of {}", html::time(&night.started));
    write_file(&folder.path("index.html"), &html::index(&title, text, &shown))
}
