// SPDX-License-Identifier: GPL-2.0-only
//! Reports: pure consumers of the stream of events. `model` folds it into results; each of the others renders those
//! as text and does nothing else; only [`write`] and `recorded` touch files.

pub mod counts;
pub mod github;
mod history;
pub mod html;
pub mod json;
pub mod junit;
pub mod ktap;
mod maps;
pub mod model;
pub mod recorded;
pub mod terminal;
#[cfg(test)]
pub mod tests;
mod timeline;

use std::io::{ErrorKind, Write as _};
use std::str::FromStr;

use anyhow::Context as _;
use camino::{Utf8Path, Utf8PathBuf};

use crate::event::Event;
use crate::exit::{Code, coded};
use model::Results;
use recorded::Earlier;

/// A run that is over: what a report is made from.
#[derive(Debug, Clone, Copy)]
pub struct Finished<'a> {
    /// The events folded.
    pub results: &'a Results,
    /// Everything that happened.
    pub events: &'a [Event],
    /// The run folder.
    pub folder: &'a Utf8Path,
}

/// A form of the results.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// KTAP version 1.
    Ktap,
    /// `JUnit` XML.
    Junit,
    /// results.json.
    Json,
    /// One page for a browser.
    Html,
}

/// One `--report FORMAT[=PATH]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// Which form.
    pub format: Format,
    /// Where to; `None` is standard output.
    pub path: Option<Utf8PathBuf>,
}

impl FromStr for Request {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, path) = text.split_once('=').map_or((text, None), |(name, path)| (name, Some(path)));
        let format = match name {
            "ktap" => Format::Ktap,
            "junit" => Format::Junit,
            "json" => Format::Json,
            "html" => Format::Html,
            _ => return Err(format!("`{name}` is none of ktap, junit, json, html")),
        };
        match path {
            Some("") => Err(format!("no path after `{name}=` (hint: `{name}=-` is standard output)")),
            None | Some("-") => Ok(Self { format, path: None }),
            Some(path) => Ok(Self { format, path: Some(path.into()) }),
        }
    }
}

/// Refuses what would come out mixed up: two reports to standard output or to one file. Call it before the run.
pub fn check(requests: &[Request]) -> anyhow::Result<()> {
    for (index, request) in requests.iter().enumerate() {
        if requests[..index].iter().any(|other| other.path == request.path) {
            let place = request.path.as_ref().map_or("standard output", |path| path.as_str());
            return Err(coded(
                Code::Usage,
                format_args!(
                    "two reports to {place} (hint: give one of them another path, --report FORMAT=PATH)"
                ),
            ));
        }
    }
    Ok(())
}

/// The run in one form; `earlier` ones of the same kernel are told by HTML alone.
pub fn render(run: Finished, earlier: &[Earlier], format: Format) -> anyhow::Result<String> {
    match format {
        Format::Ktap => Ok(ktap::render(run.results)),
        Format::Junit => junit::render(run.results).context("render the results as JUnit"),
        Format::Json => json::render(run.results).context("render the results as JSON"),
        Format::Html => Ok(html::one_run(run, earlier)),
    }
}

/// Writes every requested report, those to files first. For HTML, looks for earlier runs beside the run's folder.
pub fn write(run: Finished, requests: &[Request]) -> anyhow::Result<()> {
    let (files, stdout): (Vec<_>, Vec<_>) = requests.iter().partition(|request| request.path.is_some());
    for request in files.into_iter().chain(stdout) {
        let earlier = match request.format {
            Format::Html => recorded::earlier(run.folder, &run.results.kernel),
            _ => vec![],
        };
        put(request.path.as_deref(), &render(run, &earlier, request.format)?)?;
    }
    Ok(())
}

/// Writes a report to its file, or to standard output.
pub fn put(path: Option<&Utf8Path>, text: &str) -> anyhow::Result<()> {
    let Some(path) = path else {
        let mut out = std::io::stdout().lock();
        let done = out.write_all(text.as_bytes()).and_then(|()| out.flush());
        // Whoever reads may have seen enough (`| head`): no failure of the run.
        if !done.as_ref().is_err_and(|error| error.kind() == ErrorKind::BrokenPipe) {
            done.context("write to standard output")?;
        }
        return Ok(());
    };
    write_file(path, text)
}

/// Writes a file by way of a neighbour and rename(2): a reader never sees half of one.
pub fn write_file(path: &Utf8Path, text: &str) -> anyhow::Result<()> {
    let name = path.file_name().with_context(|| format!("write the report {path}: that is no file name"))?;
    let parent = path.parent().filter(|parent| !parent.as_str().is_empty()).unwrap_or(Utf8Path::new("."));
    let beside = parent.join(format!(".{name}.{}", std::process::id()));
    let done = fs_err::create_dir_all(parent)
        .and_then(|()| fs_err::write(&beside, text))
        .and_then(|()| fs_err::rename(&beside, path));
    if done.is_err() {
        let _ = fs_err::remove_file(&beside);
    }
    done.with_context(|| format!("write the report {path}"))
}

/// One line of text that every format can carry: control characters, and what XML 1.0 forbids, become `\u{1b}` and
/// the like, so that nothing is lost and nothing is acted upon by a terminal.
pub fn plain(text: &str) -> String {
    let odd = |c: char| c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}');
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\t' => out.push(' '),
            c if odd(c) => out.extend(c.escape_unicode()),
            c => out.push(c),
        }
    }
    out
}
