// SPDX-License-Identifier: GPL-2.0-only
//! `kernel rebase`: helps to port the series of a base to a newer source. Applies them patch by patch and tells what
//! moved; where a patch no longer applies it leaves a repository in the middle of `git am`, with conflict markers, and
//! says how to go on.

use camino::{Utf8Path, Utf8PathBuf};

use super::apply::{self, Moved};
use super::patch::Patch;
use super::repo::Repo;
use super::{FOLDER, OBSERVE, Series, check};
use crate::command::Error;
use crate::exit::{Code, coded};

/// Gives the same files for the same commits, whoever runs it.
const FORMAT: &[&str] =
    &["format-patch", "--quiet", "--zero-commit", "--no-signature", "--numbered", "--diff-algorithm=myers"];

/// What became of a patch on the new source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fate {
    /// As it is.
    Clean,
    /// At other lines.
    Moved(Vec<Moved>),
    /// Not as it is, but git could merge it: somebody has to look at it.
    Merged(String),
    /// It waits in the repository to be fixed.
    Failed(String),
}

/// A rebase and how far it came.
#[derive(Debug)]
pub struct Rebase {
    /// The repository.
    pub root: Utf8PathBuf,
    /// (stack, patch, what became of it)
    pub fates: Vec<(String, String, Fate)>,
    /// The series that were applied in full: branch before it, its branch, its name.
    pub done: Vec<(String, String, String)>,
    /// Names of the stacks that could not be tried.
    pub waiting: Vec<String>,
}

/// Applies the series of `base` to `new`, in a repository at `root`, which must be absent or empty. `old` is the source
/// that they apply to: with its files in the repository git can merge.
pub fn run(base: &str, old: &Utf8Path, new: &Utf8Path, root: &Utf8Path) -> anyhow::Result<Rebase> {
    let all: Vec<_> =
        ["baseline", "pushback", OBSERVE].iter().filter_map(|name| super::find(base, name)).collect();
    if all.is_empty() {
        return Err(coded(Code::Usage, format!("base {base} has no patches: no kernel-patches/{base}")));
    }
    run_with(&all, old, new, root)
}

pub(super) fn run_with(
    all: &[Series],
    old: &Utf8Path,
    new: &Utf8Path,
    root: &Utf8Path,
) -> anyhow::Result<Rebase> {
    if root.exists() && root.read_dir_utf8()?.next().is_some() {
        return Err(coded(
            Code::Usage,
            format!(
                "{root} is not empty (hint: finish the rebase that it holds, or remove it, or name another: --out DIR)"
            ),
        ));
    }
    let repo = Repo::of_source(root, old)?;
    remember(&repo, all)?;
    repo.branch("new", "stock")?;
    repo.import(new, "the new source")?;
    repo.branch("stock", "new")?;
    let mut rebase = Rebase { root: root.to_owned(), fates: vec![], done: vec![], waiting: vec![] };
    for (name, below, series) in check::STACKS {
        let Some(series) = all.iter().find(|known| known.name == *series) else { continue };
        let (branch, start) = (name.replace(" + ", "-"), below.replace(" + ", "-"));
        let ready = start == "stock" || rebase.done.iter().any(|(_, done, _)| *done == start);
        let stuck = rebase.fates.iter().any(|(_, _, fate)| matches!(fate, Fate::Failed(_)));
        if stuck || !ready {
            rebase.waiting.push((*name).to_owned());
            continue;
        }
        repo.branch(&branch, &start)?;
        if rebase.series(&repo, name, series)? {
            rebase.done.push((start, branch, series.name.clone()));
        }
    }
    Ok(rebase)
}

/// Puts what the patches make of the old source into the repository: the blobs that git merges with.
fn remember(repo: &Repo, all: &[Series]) -> anyhow::Result<()> {
    for (name, below, series) in check::STACKS {
        let Some(series) = all.iter().find(|known| known.name == *series) else { continue };
        let (branch, start) = (name.replace(" + ", "-"), below.replace(" + ", "-"));
        if repo.git(["rev-parse", "--verify", "--quiet", &format!("old-{start}")]).is_err() {
            repo.git(["branch", "--force", &format!("old-{start}"), "stock"])?;
        }
        repo.branch(&format!("old-{branch}"), &format!("old-{start}"))?;
        for patch in &series.patches {
            // One that does not apply to the old source either has nothing to merge with.
            if apply::apply(repo, patch)?.is_err() {
                break;
            }
        }
    }
    Ok(())
}

impl Rebase {
    /// Applies one series to the branch that is checked out; whether it came to its end.
    fn series(&mut self, repo: &Repo, stack: &str, series: &Series) -> anyhow::Result<bool> {
        for (index, patch) in series.patches.iter().enumerate() {
            let fate = match apply::apply(repo, patch)? {
                Ok(moved) if moved.is_empty() => Fate::Clean,
                Ok(moved) => Fate::Moved(moved),
                Err(refusal) if merge(repo, std::slice::from_ref(patch))? => Fate::Merged(refusal.reason),
                Err(refusal) => {
                    // There is none when git could not read the patch.
                    let _ = repo.git(["am", "--abort"]);
                    // With all that follow, so that `git am --continue` goes on to them.
                    merge(repo, &series.patches[index..])?;
                    leave_rejects(repo)?;
                    Fate::Failed(refusal.reason)
                }
            };
            let failed = matches!(fate, Fate::Failed(_));
            self.fates.push((stack.to_owned(), series.named(patch).name, fate));
            if failed {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Whether every series is ported.
    pub fn is_complete(&self) -> bool {
        self.waiting.is_empty() && !self.fates.iter().any(|(_, _, fate)| matches!(fate, Fate::Failed(_)))
    }

    /// Writes the series back as patches below `place`, in the place of those that are there.
    pub fn write(&self, place: &Utf8Path) -> anyhow::Result<()> {
        let repo = Repo { root: self.root.clone() };
        let mut written = Vec::new();
        for (start, branch, series) in &self.done {
            if written.contains(&series) {
                continue;
            }
            written.push(series);
            let folder = place.join(series);
            for entry in folder.read_dir_utf8()? {
                let entry = entry?;
                if entry.path().extension() == Some("patch") {
                    fs_err::remove_file(entry.path())?;
                }
            }
            let range = format!("{start}..{branch}");
            repo.git(FORMAT.iter().copied().chain(["-o", folder.as_str(), range.as_str()]))?;
        }
        Ok(())
    }

    /// What became of every patch, and what to do next.
    pub fn render(&self, base: &str) -> String {
        use std::fmt::Write as _;
        let mut text = String::new();
        let width = self.fates.iter().map(|(_, patch, _)| patch.len()).max().unwrap_or(0);
        for (stack, patch, fate) in &self.fates {
            let _ = writeln!(text, "{stack:<18}  {patch:<width$}  {}", in_words(fate));
            if let Fate::Moved(moved) = fate {
                for Moved { file, hunk, by } in moved {
                    let _ = writeln!(text, "    hunk {hunk} of {file}: {by:+} lines");
                }
            }
        }
        for stack in &self.waiting {
            let _ = writeln!(text, "{stack:<18}  not tried");
        }
        let _ = write!(text, "\n{}", self.advice(base));
        text
    }

    fn advice(&self, base: &str) -> String {
        let root = &self.root;
        let write = |start: &str, branch: &str, series: &str| {
            format!(
                "  git -C {root} {} -o $PWD/kernel-patches/{base}/{series} {start}..{branch}\n",
                FORMAT.join(" ")
            )
        };
        if self.is_complete() {
            return format!("every patch applies; the repository is {root}\n");
        }
        let failed = self.fates.iter().find(|(_, _, fate)| matches!(fate, Fate::Failed(_)));
        let stack = failed.map_or("", |(stack, ..)| stack.as_str());
        let find = check::STACKS.iter().find(|(name, ..)| *name == stack);
        let (start, series) = find.map_or(("", ""), |(_, below, series)| (*below, *series));
        let (branch, start) = (stack.replace(" + ", "-"), start.replace(" + ", "-"));
        format!(
            "{root} stands in the middle of `git am`; to go on:\n  cd {root}\n  git diff                # what conflicts; *.rej where git could not merge\n  git add {FOLDER} && git am --continue\nand when the series is applied, from the checkout of this project:\n  rm kernel-patches/{base}/{series}/*.patch\n{}then again: cargo xtask kernel rebase --base {base}, until every patch applies\n",
            write(&start, &branch, series)
        )
    }
}

fn in_words(fate: &Fate) -> String {
    match fate {
        Fate::Clean => "applies".to_owned(),
        Fate::Moved(moved) => format!("applies, {} hunks moved", moved.len()),
        Fate::Merged(why) => format!("merged by git, look at it: {why}"),
        Fate::Failed(why) => format!("FAILED: {why}"),
    }
}

/// `git am` with a merge; whether all went in. If not, the repository stands at the first that did not.
fn merge(repo: &Repo, patches: &[Patch]) -> anyhow::Result<bool> {
    let files = patches.iter().map(|patch| apply::written(repo, patch)).collect::<Result<Vec<_>, _>>()?;
    let args = ["am", "--quiet", "--3way"].into_iter().chain(files.iter().map(|file| file.as_str()));
    match repo.git(args) {
        Ok(_) => Ok(true),
        Err(Error::Status { .. }) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Where git had nothing to merge with, the hunks that match are applied and the others lie beside their file.
fn leave_rejects(repo: &Repo) -> anyhow::Result<()> {
    let conflicts = repo.git(["diff", "--name-only", "--diff-filter=U"])?.text;
    if conflicts.is_empty() {
        match repo.git(["apply", "--reject", ".git/rebase-apply/patch"]) {
            Ok(_) | Err(Error::Status { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}
