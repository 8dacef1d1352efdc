// SPDX-License-Identifier: GPL-2.0-only
//! Applies patches with `git am`, and tells in our words what git says: which hunk moved, which one does not match.

use camino::Utf8PathBuf;

use super::patch::{Hunk, Patch};
use super::repo::Repo;
use super::{Applied, Series};
use crate::command::Error;
use crate::exit::{Code, coded};

/// A hunk that matches at another place than the patch says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Moved {
    /// Path in the tree.
    pub file: String,
    /// Counted from 1 within the file.
    pub hunk: usize,
    /// Lines down; negative: up.
    pub by: i64,
}

/// Why a patch does not apply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// What does not match: the hunk, or a file that is or is not there.
    pub reason: String,
}

/// Whether a patch applies to the working tree as it is, and which of its hunks move. Never with fuzz: git wants
/// every line of context as it is in the patch.
pub fn try_patch(repo: &Repo, patch: &Patch) -> anyhow::Result<Result<Vec<Moved>, Refusal>> {
    let file = written(repo, patch)?;
    // On standard error: what git says about each hunk.
    let mut lines = Vec::new();
    let tool = repo.tool().args(["apply", "--check", "--verbose", file.as_str()]);
    match tool.stream(|line| lines.push(line.to_owned())) {
        Ok(_) => Ok(Ok(moves(&lines))),
        Err(Error::Status { .. }) => Ok(Err(refusal(&lines, patch))),
        Err(error) => Err(error.into()),
    }
}

/// Applies a patch as a commit, or says why it does not apply; then nothing has changed.
pub fn apply(repo: &Repo, patch: &Patch) -> anyhow::Result<Result<Vec<Moved>, Refusal>> {
    let moved = match try_patch(repo, patch)? {
        Ok(moved) => moved,
        Err(refusal) => return Ok(Err(refusal)),
    };
    let file = written(repo, patch)?;
    match repo.git(["am", "--quiet", "--no-3way", file.as_str()]) {
        Ok(_) => Ok(Ok(moved)),
        // Not the diff, then: a header that git can't read.
        Err(error @ Error::Status { .. }) => {
            let _ = repo.git(["am", "--abort"]);
            Ok(Err(Refusal { reason: error.to_string() }))
        }
        Err(error) => Err(error.into()),
    }
}

/// Applies a whole stack; the error names base, patch, file and hunk.
pub fn apply_stack(repo: &Repo, base: &str, stack: &[Series]) -> anyhow::Result<()> {
    for series in stack {
        for patch in &series.patches {
            apply(repo, patch)?.map_err(|refusal| refused(base, series, patch, &refusal))?;
        }
    }
    Ok(())
}

/// The error for a patch that does not apply.
pub fn refused(base: &str, series: &Series, patch: &Patch, refusal: &Refusal) -> anyhow::Error {
    let Applied { name, subject } = series.named(patch);
    let reason = &refusal.reason;
    coded(
        Code::Untestable,
        format!(
            "patch {base}/{name} (\"{subject}\") does not apply: {reason} (hint: `cargo xtask kernel rebase --base {base}` helps to port the series)"
        ),
    )
}

/// The patch as a file that git can read, outside of the working tree.
pub fn written(repo: &Repo, patch: &Patch) -> anyhow::Result<Utf8PathBuf> {
    let folder = repo.root.join(".git/patches");
    fs_err::create_dir_all(&folder)?;
    let file = folder.join(&patch.name);
    fs_err::write(&file, &patch.text)?;
    Ok(file)
}

/// From the lines of `git apply --verbose`.
fn moves(lines: &[String]) -> Vec<Moved> {
    let mut file = String::new();
    let mut moved = Vec::new();
    for line in lines {
        if let Some(name) = line.strip_prefix("Checking patch ").and_then(|rest| rest.strip_suffix("...")) {
            // A rename is told as "old => new".
            name.rsplit(" => ").next().unwrap_or(name).clone_into(&mut file);
        }
        // Hunk #2 succeeded at 910 (offset 5 lines).
        let parsed = || {
            let (number, rest) = line.strip_prefix("Hunk #")?.split_once(" succeeded at ")?;
            let (_, offset) = rest.split_once("(offset ")?;
            Some((number.parse().ok()?, offset.split(' ').next()?.parse().ok()?))
        };
        if let Some((hunk, by)) = parsed() {
            moved.push(Moved { file: file.clone(), hunk, by });
        }
    }
    moved
}

/// From the lines of a `git apply` that failed.
fn refusal(lines: &[String], patch: &Patch) -> Refusal {
    let hunk = lines.iter().find_map(|line| {
        let (file, number) = line.strip_prefix("error: patch failed: ")?.rsplit_once(':')?;
        let number: u64 = number.parse().ok()?;
        let hunk = patch.hunks().into_iter().find(|hunk| hunk.file == file && hunk.line == number);
        Some(match hunk {
            Some(Hunk { number, header, .. }) => {
                format!("hunk {number} of {file} does not match ({header})")
            }
            None => format!("{file} does not match at line {number}"),
        })
    });
    let other = || lines.iter().find_map(|line| line.strip_prefix("error: ").map(str::to_owned));
    let reason =
        hunk.or_else(other).or_else(|| lines.last().cloned()).unwrap_or_else(|| "git says nothing".into());
    Refusal { reason }
}

#[cfg(test)]
mod tests {
    use super::super::patch::tests::TEXT;
    use super::*;

    fn lines(text: &str) -> Vec<String> {
        text.lines().map(str::to_owned).collect()
    }

    #[test]
    fn reads_what_git_says_about_hunks() {
        // Recorded from git 2.47.
        let said = lines(
            "Checking patch drivers/md/dm.c...\nHunk #1 succeeded at 5 (offset 2 lines).\nHunk #3 succeeded at 1 (offset -1 lines).\n\
             Checking patch drivers/md/a.c => drivers/md/b.c...\nHunk #1 succeeded at 7 (offset 1 line).\n",
        );
        let moved: Vec<_> = moves(&said).into_iter().map(|m| (m.file, m.hunk, m.by)).collect();
        let dm = || "drivers/md/dm.c".to_owned();
        assert_eq!(moved, [(dm(), 1, 2), (dm(), 3, -1), ("drivers/md/b.c".to_owned(), 1, 1)]);
    }

    #[test]
    fn names_the_hunk_that_does_not_match() {
        let patch = Patch { name: "0001-x.patch".into(), text: TEXT.into() };
        let table = [
            (
                "Checking patch drivers/md/dm.c...\nerror: while searching for:\ntwenty\n\nerror: patch failed: drivers/md/dm.c:20\nerror: drivers/md/dm.c: patch does not apply",
                "hunk 2 of drivers/md/dm.c does not match (@@ -20 +20,2 @@)",
            ),
            ("error: patch failed: drivers/md/dm.c:99", "drivers/md/dm.c does not match at line 99"),
            (
                "error: drivers/md/new.h: already exists in working directory",
                "drivers/md/new.h: already exists in working directory",
            ),
            ("", "git says nothing"),
        ];
        for (said, reason) in table {
            assert_eq!(refusal(&lines(said), &patch).reason, reason);
        }
    }
}
