// SPDX-License-Identifier: GPL-2.0-only
//! `kernel check`: whether the series of a base are fit to be read and bisected. Each applies in every stack that it
//! belongs to, patch by patch; after every patch the modules build, without a warning that the base does not have and
//! without any in a file that the series touches (W=1); and the tree's own checkpatch has nothing to say.

use std::collections::BTreeSet;
use std::time::Instant;

use anyhow::Context as _;
use camino::{Utf8Path, Utf8PathBuf};
use regex::Regex;

use super::patch::Patch;
use super::repo::Repo;
use super::{FOLDER, OBSERVE, Series, apply, variant};
use crate::command::{Error, Tool};
use crate::exit::{Code, coded};
use crate::kernel::make::Make;
use crate::progress::Progress;

/// (name of the stack, the one below it, the series on top)
pub const STACKS: &[(&str, &str, &str)] = &[
    ("stock + observe", "stock", OBSERVE),
    ("baseline", "stock", "baseline"),
    ("baseline + observe", "baseline", OBSERVE),
    ("pushback", "baseline", "pushback"),
    ("pushback + observe", "pushback", OBSERVE),
];

/// What was found about one patch.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// On which stack, or by which tool.
    pub stack: String,
    /// `observe/0001-dm-trace-….patch`.
    pub patch: String,
    /// Everything that is wrong.
    pub problems: Vec<String>,
    /// How long that took.
    pub seconds: f64,
}

/// What was found about a base.
#[derive(Debug, Default)]
pub struct Report {
    /// In the order of checking.
    pub rows: Vec<Row>,
    /// Name of each series, and its diffstat.
    pub stats: Vec<(String, String)>,
}

/// A check at work.
struct Check<'a> {
    base: &'a str,
    make: &'a Make<'a>,
    repo: Repo,
    progress: &'a Progress,
    /// Warnings of the base as it is.
    known: BTreeSet<String>,
    report: Report,
}

/// Checks all series of a base against the build of `make`, in a repository at `root`.
pub fn run(base: &str, make: &Make<'_>, root: &Utf8Path, progress: &Progress) -> anyhow::Result<Report> {
    let all: Vec<_> =
        ["baseline", "pushback", OBSERVE].iter().filter_map(|name| super::find(base, name)).collect();
    if all.is_empty() {
        return Err(coded(Code::Usage, format!("base {base} has no patches: no kernel-patches/{base}")));
    }
    for series in &all {
        series.check()?;
    }
    if root.exists() {
        fs_err::remove_dir_all(root)?;
    }
    let repo = Repo::of_source(&root.join("tree"), make.source)?;
    let mut check = Check { base, make, repo, progress, known: BTreeSet::new(), report: Report::default() };
    check.style(&all, root)?;
    progress.line(&format!("{base}: building {FOLDER} as it is"));
    check.known = check.build()?.map_err(|errors| {
        coded(Code::Untestable, format!("{FOLDER} of base {base} does not build: {}", errors.join("\n  ")))
    })?;
    for (name, below, series) in STACKS {
        let Some(series) = all.iter().find(|known| known.name == *series) else { continue };
        let fit = |branch: &str| branch == "stock" || check.report.is_fit(branch);
        if !fit(below) {
            let problems = vec![format!("not checked: the stack {below} is not fit")];
            check.push(Row {
                stack: (*name).into(),
                patch: format!("{}/", series.name),
                problems,
                seconds: 0.0,
            });
            continue;
        }
        check.stack(name, below, series)?;
    }
    Ok(check.report)
}

impl Check<'_> {
    fn push(&mut self, row: Row) {
        let verdict = if row.problems.is_empty() { "ok" } else { "NOT OK" };
        self.progress.line(&format!("{verdict:<6} {:>5.1} s  {:<18}  {}", row.seconds, row.stack, row.patch));
        self.report.rows.push(row);
    }

    /// Applies and builds a series, patch by patch.
    fn stack(&mut self, name: &str, below: &str, series: &Series) -> anyhow::Result<()> {
        let (branch, parent) = (name.replace(" + ", "-"), below.replace(" + ", "-"));
        self.repo.branch(&branch, &parent)?;
        let touched: BTreeSet<_> = series.patches.iter().flat_map(Patch::files).collect();
        for patch in &series.patches {
            let started = Instant::now();
            let patch_name = series.named(patch).name;
            let applied = apply::apply(&self.repo, patch)?;
            let (mut problems, stop) = match applied {
                Ok(moved) => {
                    let moved = moved.iter().filter(|_| series.name != OBSERVE);
                    let line = |m: &apply::Moved| format!("hunk {} of {} is off by {}", m.hunk, m.file, m.by);
                    (moved.map(line).collect(), false)
                }
                Err(refusal) => (vec![apply::refused(self.base, series, patch, &refusal).to_string()], true),
            };
            if !stop {
                problems.extend(match self.build()? {
                    Ok(warnings) => self.objections(&warnings, &touched),
                    Err(errors) => errors,
                });
            }
            let seconds = started.elapsed().as_secs_f64();
            self.push(Row { stack: name.into(), patch: patch_name, problems, seconds });
            if stop {
                return Ok(());
            }
        }
        // The numbers are those of the first stack that has the series.
        if !self.report.stats.iter().any(|(known, _)| *known == series.name) {
            let range = format!("{parent}..{branch}");
            let stat = self.repo.git(["diff", "--stat=100", "--summary", &range])?.text;
            self.report.stats.push((series.name.clone(), stat));
        }
        Ok(())
    }

    /// Builds the modules; the warnings, or what went wrong.
    fn build(&self) -> anyhow::Result<Result<BTreeSet<String>, Vec<String>>> {
        let mut warnings = BTreeSet::new();
        let pattern = warning_pattern()?;
        // Without the base's kernel nobody knows what it exports: modpost warns of every symbol that the modules use of it.
        let variables: &[_] =
            if self.make.knows_exports() { &["W=1"] } else { &["W=1", "KBUILD_MODPOST_WARN=1"] };
        let built = variant::build(&self.repo, self.make, variables, |line| {
            warnings.extend(warning(&pattern, line));
        })?;
        Ok(match built {
            Ok(()) => Ok(warnings),
            Err(failure) if failure.is_the_hosts() => return Err(failure.into_error()),
            Err(failure) if failure.errors.is_empty() => Err(vec![failure.into_error().to_string()]),
            Err(failure) => Err(failure.errors),
        })
    }

    /// Warnings that the base does not have, and all in files that the series touches.
    fn objections(&self, warnings: &BTreeSet<String>, touched: &BTreeSet<String>) -> Vec<String> {
        let is_touched = |line: &str| line.split(':').next().is_some_and(|file| touched.contains(file));
        let known: BTreeSet<_> = self.known.iter().map(|line| without_place(line)).collect();
        let bad = |line: &&String| is_touched(line) || !known.contains(&without_place(line));
        warnings.iter().filter(bad).cloned().collect()
    }

    /// What checkpatch says about every patch.
    fn style(&mut self, all: &[Series], root: &Utf8Path) -> anyhow::Result<()> {
        for series in all {
            for patch in &series.patches {
                let started = Instant::now();
                let file = apply::written(&self.repo, patch)?;
                let problems = checkpatch(self.make.source, &file, root)?;
                let (stack, patch) = ("checkpatch".to_owned(), series.named(patch).name);
                self.push(Row { stack, patch, problems, seconds: started.elapsed().as_secs_f64() });
            }
        }
        Ok(())
    }
}

/// Runs the tree's own checkpatch in `cwd`, where it may leave a file of its own.
fn checkpatch(source: &Utf8Path, patch: &Utf8PathBuf, cwd: &Utf8Path) -> anyhow::Result<Vec<String>> {
    let mut lines = Vec::new();
    let result = Tool::new("perl")
        .arg(source.join("scripts/checkpatch.pl").as_str())
        .arg(format!("--root={source}"))
        // MAINTAINERS has F: drivers/md/, which covers a new file there.
        .args(["--strict", "--no-summary", "--terse", "--ignore", "FILE_PATH_CHANGES"])
        .arg(patch.as_str())
        .cwd(cwd)
        .env_remove("GIT_DIR")
        .env("LC_ALL", "C")
        .stream(|line| lines.push(line.to_owned()));
    match result {
        Ok(_) => Ok(vec![]),
        Err(Error::Status { .. }) if !lines.is_empty() => {
            let name = patch.file_name().unwrap_or_default();
            let short = |line: &String| match line.split_once(name) {
                Some((_, rest)) => format!("line {}", rest.trim_start_matches(':')),
                None => line.clone(),
            };
            Ok(lines.iter().map(short).collect())
        }
        Err(error) => Err(error).context("run checkpatch"),
    }
}

/// `drivers/md/dm.c:905:1: warning: …`, whatever stands before the folder.
fn warning_pattern() -> anyhow::Result<Regex> {
    Ok(Regex::new(&format!(r"(?:^|/)({FOLDER}[^:\s]+:\d+(?::\d+)?: warning: .*)$"))?)
}

/// The warning of a line of make's output, without the folder that it is in.
fn warning(pattern: &Regex, line: &str) -> Option<String> {
    if line.starts_with("WARNING: modpost:") {
        let is_of_exports = line.ends_with(" undefined!") || line.contains("unresolved symbol");
        return (!is_of_exports).then(|| line.to_owned());
    }
    pattern.captures(line).map(|found| found[1].to_owned())
}

/// The same warning is the same after lines were added before it.
fn without_place(line: &str) -> String {
    let file = line.split(':').next().unwrap_or_default();
    let text = line.split_once("warning: ").map_or(line, |(_, text)| text);
    format!("{file}: {text}")
}

impl Report {
    /// Whether nothing is wrong with a stack.
    fn is_fit(&self, stack: &str) -> bool {
        self.rows.iter().filter(|row| row.stack == stack).all(|row| row.problems.is_empty())
    }

    /// Number of rows without and with problems.
    pub fn counts(&self) -> (usize, usize) {
        let bad = self.rows.iter().filter(|row| !row.problems.is_empty()).count();
        (self.rows.len() - bad, bad)
    }

    /// The table of patches with their problems, and the diffstats.
    pub fn render(&self) -> String {
        use std::fmt::Write as _;
        let mut text = self.table(self.rows.iter());
        for (series, stat) in &self.stats {
            let _ = writeln!(text, "\n{series}\n{stat}");
        }
        text
    }

    /// The rows of patches with problems.
    pub fn failures(&self) -> String {
        self.table(self.rows.iter().filter(|row| !row.problems.is_empty()))
    }

    fn table<'a>(&self, rows: impl Iterator<Item = &'a Row>) -> String {
        use std::fmt::Write as _;
        let width = self.rows.iter().map(|row| row.patch.len()).max().unwrap_or(0);
        let mut text = String::new();
        for row in rows {
            let verdict = if row.problems.is_empty() { "ok" } else { "NOT OK" };
            let (stack, patch, seconds) = (&row.stack, &row.patch, row.seconds);
            let _ = writeln!(text, "{stack:<18}  {patch:<width$}  {seconds:>5.1} s  {verdict}");
            for problem in &row.problems {
                let _ = writeln!(text, "    {problem}");
            }
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_warnings_of_gcc_kernel_doc_and_modpost() {
        // Recorded from make W=1 of 6.12 with gcc 12, with and without ccache.
        let table = [
            (
                "/c/builds/1/check/tree/drivers/md/dm.c:905:12: warning: unused variable 'x' [-Wunused-variable]",
                Some("drivers/md/dm.c:905:12: warning: unused variable 'x' [-Wunused-variable]"),
            ),
            (
                "../check/tree/drivers/md/dm.c:12: warning: Function parameter or struct member 'md' not described in 'f'",
                Some(
                    "drivers/md/dm.c:12: warning: Function parameter or struct member 'md' not described in 'f'",
                ),
            ),
            (
                "WARNING: modpost: missing MODULE_DESCRIPTION() in x.o",
                Some("WARNING: modpost: missing MODULE_DESCRIPTION() in x.o"),
            ),
            ("WARNING: modpost: \"blk_mq_init_tags\" [/c/check/tree/drivers/md/dm-mod.ko] undefined!", None),
            (
                "WARNING: modpost: suppressed 1022 unresolved symbol warnings because there were too many)",
                None,
            ),
            ("./include/linux/x.h:1:1: warning: x", None),
            ("  CC [M]  /c/check/tree/drivers/md/dm.o", None),
        ];
        let pattern = warning_pattern().unwrap();
        for (line, expected) in table {
            assert_eq!(warning(&pattern, line).as_deref(), expected, "{line}");
        }
        assert_eq!(
            without_place("drivers/md/dm.c:905:12: warning: unused variable 'x'"),
            without_place("drivers/md/dm.c:910:12: warning: unused variable 'x'")
        );
    }

    #[test]
    fn a_report_shows_problems_below_their_patch() {
        let row = |stack: &str, patch: &str, problems: &[&str]| Row {
            stack: stack.into(),
            patch: patch.into(),
            problems: problems.iter().map(ToString::to_string).collect(),
            seconds: 3.25,
        };
        let rows = vec![
            row("checkpatch", "baseline/0001-a.patch", &[]),
            row(
                "baseline",
                "baseline/0001-a.patch",
                &["drivers/md/dm.c:905:12: warning: unused variable 'x'"],
            ),
        ];
        let stats = vec![("baseline".to_owned(), " drivers/md/dm.c | 2 +-".to_owned())];
        let report = Report { rows, stats };
        assert_eq!(report.counts(), (1, 1));
        assert!(report.is_fit("checkpatch") && !report.is_fit("baseline"));
        insta::assert_snapshot!(report.render(), @r"
        checkpatch          baseline/0001-a.patch    3.2 s  ok
        baseline            baseline/0001-a.patch    3.2 s  NOT OK
            drivers/md/dm.c:905:12: warning: unused variable 'x'

        baseline
         drivers/md/dm.c | 2 +-
        ");
    }
}
