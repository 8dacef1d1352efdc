// SPDX-License-Identifier: GPL-2.0-only
//! Progress on standard error: live bars on a terminal; one plain line an event off a terminal, with `NO_COLOR`
//! or with `CI`. Standard output is never touched here.

use std::fmt::Display;
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use crate::report::github;

/// Where progress goes.
#[derive(Debug, Clone)]
pub struct Progress {
    bars: Option<MultiProgress>,
    quiet: bool,
    /// GitHub's runner reads along: it folds groups, and shows errors where people look.
    on_github: bool,
}

/// Lines that belong together, folded by GitHub's runner, until it is dropped. Nothing elsewhere.
#[derive(Debug)]
pub struct Group<'a> {
    progress: &'a Progress,
}

/// One piece of work that is under way.
#[derive(Debug)]
pub struct Step {
    progress: Progress,
    bar: Option<ProgressBar>,
    name: String,
    start: Instant,
    last_told: u64,
}

impl Progress {
    /// Live bars on a terminal, plain lines elsewhere.
    pub fn new() -> Self {
        let env = |name: &str| std::env::var_os(name).is_some_and(|v| !v.is_empty());
        let live = console::user_attended_stderr() && !env("NO_COLOR") && !env("CI");
        // indicatif hides itself on a dumb terminal, and would swallow the lines too.
        let bars = live.then(MultiProgress::new).filter(|bars| !bars.is_hidden());
        Self { bars, quiet: false, on_github: std::env::var("GITHUB_ACTIONS").is_ok_and(|is| is == "true") }
    }

    /// Says nothing at all.
    #[cfg(test)]
    pub fn silent() -> Self {
        Self { bars: None, quiet: true, on_github: false }
    }

    /// Whether bars are shown.
    pub fn is_live(&self) -> bool {
        self.bars.is_some()
    }

    /// One line.
    pub fn line(&self, text: &str) {
        match &self.bars {
            Some(bars) => {
                let _ = bars.println(text);
            }
            None if self.quiet => {}
            None => eprintln!("{text}"),
        }
    }

    /// Opens a group of lines.
    pub fn group(&self, title: &str) -> Group<'_> {
        if self.on_github {
            self.line(&github::group(title));
        }
        Group { progress: self }
    }

    /// Shows errors, [`github::error`], where people look; everywhere else they are in the summary already.
    pub fn annotate(&self, errors: impl IntoIterator<Item = String>) {
        if self.on_github {
            errors.into_iter().for_each(|error| self.line(&error));
        }
    }

    /// Starts a piece of work.
    pub fn step(&self, name: impl Into<String>) -> Step {
        let name = name.into();
        let bar = self.bars.as_ref().map(|bars| {
            let bar = bars.add(ProgressBar::new(100));
            let style = ProgressStyle::with_template("{spinner} {prefix:40!} {wide_bar} {percent:>3}% {msg}");
            bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
            bar.set_prefix(name.clone());
            bar.enable_steady_tick(Duration::from_millis(200));
            bar
        });
        if bar.is_none() {
            self.line(&format!("{name} ..."));
        }
        Step { progress: self.clone(), bar, name, start: Instant::now(), last_told: 0 }
    }
}

impl Drop for Group<'_> {
    fn drop(&mut self) {
        if self.progress.on_github {
            self.progress.line(github::END_GROUP);
        }
    }
}

impl Default for Progress {
    fn default() -> Self {
        Self::new()
    }
}

impl Step {
    /// `done` of `total`; off a terminal one line every ten per cent.
    pub fn set(&mut self, done: u64, total: u64, message: impl Display) {
        let percent = (done * 100).checked_div(total).unwrap_or(0).min(100);
        if let Some(bar) = &self.bar {
            bar.set_position(percent);
            bar.set_message(message.to_string());
        } else if percent / 10 > self.last_told {
            self.last_told = percent / 10;
            self.progress.line(&format!("{}: {percent}%", self.name));
        }
    }

    /// The work is done; says how long it took.
    pub fn done(self, message: impl Display) {
        let seconds = self.start.elapsed().as_secs_f64();
        self.progress.line(&format!("{}: {message} ({seconds:.1} s)", self.name));
    }
}

impl Drop for Step {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
