// SPDX-License-Identifier: GPL-2.0-only
//! A history to try `cargo xtask bisect` on: a base's source as its first commit, the patches of the variant `pushback`
//! with its hooks, each as a commit, and on top [`story`]: small changes, of which two are bugs and a few do not build.
//! The same base gives the same commits.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Write as _;
use std::os::unix::net::UnixStream;

use anyhow::Context as _;
use camino::Utf8Path;

use super::patch::Patch;
use super::repo::Repo;
use super::{Series, apply};
use crate::exit::{Code, coded};
use crate::progress::Progress;

/// Commits on top of the patches.
const COMMITS: usize = 44;
/// From the first of these to before the second, dm-multipath does not build.
const UNBUILDABLE: (usize, usize) = (8, 14);
/// From here on, bio-based multipath ends writes instead of pushing them back.
const BREAKS_WRITES: usize = 18;
/// This one changes only documentation, which is a full make.
const DOCUMENTS: usize = 24;
/// This one changes a header that all of the dm core includes.
const TOUCHES_HEADER: usize = 28;
/// From here on, half of the noflush suspends are none.
const BREAKS_HALF: usize = 33;

const MPATH: &str = "drivers/md/dm-mpath.c";
const CORE: &str = "drivers/md/dm.c";
const HEADER: &str = "drivers/md/dm-core.h";
const DOCUMENT: &str = "Documentation/admin-guide/device-mapper/dm-queue-length.rst";

/// What ordinary commits touch, in turn: parts of modules, so that a build of the next one is short.
const ORDINARY: [&str; 4] =
    [MPATH, "drivers/md/dm-table.c", "drivers/md/dm-ioctl.c", "drivers/md/dm-ps-queue-length.c"];

/// What pushes bios back in dm-multipath.
const MAPS: &str = "if (__must_push_back(m))\n\t\t\treturn DM_MAPIO_REQUEUE;";
const ENDS: &str = "if (__must_push_back(m)) {\n\t\t\t\tr = DM_ENDIO_REQUEUE;";

/// A call of what is not there yet.
const HALF_DONE: &str =
    "\nvoid dm_mpath_half_done(void);\nvoid dm_mpath_half_done(void)\n{\n\tdm_mpath_not_there_yet();\n}\n";

/// A commit: its message, and the files that it changes, whole.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Change {
    message: String,
    files: BTreeMap<String, String>,
}

/// A name in the history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mark {
    /// The tag, or the branch.
    pub name: &'static str,
    /// What is there.
    pub what: &'static str,
    /// Which commit on top of the patches; 0 is the last patch.
    number: usize,
}

/// The names in the history.
pub const MARKS: [Mark; 4] = [
    Mark { name: "good", what: "the last patch: everything works", number: 0 },
    Mark {
        name: "breaks-writes",
        what: "bio-based multipath no longer pushes writes back",
        number: BREAKS_WRITES,
    },
    Mark { name: "breaks-half", what: "half of the noflush suspends push nothing back", number: BREAKS_HALF },
    Mark { name: "bad", what: "the newest", number: COMMITS },
];

/// Generates the history in a new bare repository at `out`.
pub fn generate(
    base: &str,
    stack: &[Series],
    source: &Utf8Path,
    out: &Utf8Path,
    progress: &Progress,
) -> anyhow::Result<()> {
    if out.exists() {
        let text = format!("{out} exists (hint: name a folder that does not, it becomes a bare repository)");
        return Err(coded(Code::Usage, text));
    }
    let parent = out.parent().filter(|parent| !parent.as_str().is_empty()).unwrap_or(Utf8Path::new("."));
    fs_err::create_dir_all(parent)?;
    // Beside its place, so that what is interrupted leaves nothing half-written.
    let scratch = tempfile::Builder::new().prefix(".bisect-demo-").tempdir_in(parent)?;
    let scratch = Utf8Path::from_path(scratch.path()).context("a path is not UTF-8")?;
    let scratch = &scratch.canonicalize_utf8()?;
    let repo = Repo { root: scratch.join("history.git") };
    fs_err::create_dir(&repo.root)?;
    repo.git(["init", "--quiet", "--bare", "--template=", "--initial-branch=main"])?;
    let step = progress.step(format!("import the source of {base}"));
    let first = import(&repo, source, base)?;
    step.done("one commit");
    let mut changes = patches(&scratch.join("patches"), base, stack, source)?;
    let last_patch = changes.len();
    let text = |file: &str| -> anyhow::Result<String> {
        let patched = changes.iter().rev().find_map(|change| change.files.get(file).cloned());
        patched.map_or_else(|| Ok(fs_err::read_to_string(source.join(file))?), Ok)
    };
    let more = story(text)?;
    changes.extend(more);
    write(&repo, &first, &changes, last_patch)?;
    Ok(fs_err::rename(&repo.root, out)?)
}

/// The source as a commit, in one pack instead of 90,000 files.
fn import(repo: &Repo, source: &Utf8Path, base: &str) -> anyhow::Result<String> {
    let git_dir = format!("--git-dir={}", repo.root);
    let work_tree = format!("--work-tree={source}");
    // A file above the threshold goes straight into a pack.
    let packed = ["-c", "core.bigFileThreshold=1", "-c", "core.compression=1", "-c", "core.autocrlf=false"];
    let tool = || repo.tool().cwd(source).args(packed).args([&git_dir, &work_tree]);
    tool().args(["add", "--all", "--force", "."]).run()?;
    let tree = tool().arg("write-tree").read()?.text;
    Ok(repo.git(["commit-tree", &tree, "-m", &format!("Linux as packaged for base {base}")])?.text)
}

/// Every patch of the stack as a change.
fn patches(root: &Utf8Path, base: &str, stack: &[Series], source: &Utf8Path) -> anyhow::Result<Vec<Change>> {
    let repo = Repo::of_source(root, source)?;
    let mut changes = Vec::new();
    for series in stack {
        for patch in &series.patches {
            apply::apply(&repo, patch)?.map_err(|refusal| apply::refused(base, series, patch, &refusal))?;
            let mut files = BTreeMap::new();
            for file in patch.files() {
                files.insert(file.clone(), fs_err::read_to_string(repo.root.join(file))?);
            }
            changes.push(Change { message: message(patch), files });
        }
    }
    Ok(changes)
}

/// The message of a patch as a commit has it.
fn message(patch: &Patch) -> String {
    let body = patch.text.split_once("\n\n").map_or("", |(_, rest)| rest);
    let body: Vec<_> = body.lines().take_while(|line| *line != "---").collect();
    format!("{}\n\n{}\n", patch.subject(), body.join("\n").trim_end())
}

/// The commits on top, from what the files are before them.
fn story(text: impl Fn(&str) -> anyhow::Result<String>) -> anyhow::Result<Vec<Change>> {
    let mut now: BTreeMap<&str, String> = BTreeMap::new();
    for file in ORDINARY.into_iter().chain([CORE, HEADER, DOCUMENT]) {
        now.insert(file, text(file)?);
    }
    let mut changes = Vec::new();
    for number in 1..=COMMITS {
        let (file, subject) = match number {
            n if n == UNBUILDABLE.0 => (MPATH, "dm mpath: prepare for what comes next".to_owned()),
            n if n == UNBUILDABLE.1 => (MPATH, "dm mpath: do without what was prepared".to_owned()),
            BREAKS_WRITES => (MPATH, "dm mpath: end writes at once when no path is left".to_owned()),
            BREAKS_HALF => (CORE, "dm: spread noflush suspends".to_owned()),
            DOCUMENTS => (DOCUMENT, "dm: document a detail".to_owned()),
            TOUCHES_HEADER => (HEADER, "dm: note something in the header of the core".to_owned()),
            n => {
                let file = ORDINARY[n % ORDINARY.len()];
                let name = file.rsplit('/').next().unwrap_or(file);
                (file, format!("{}: note {n}", name.trim_end_matches(".c")))
            }
        };
        let before = now.get(file).map_or("", String::as_str);
        let after = match number {
            n if n == UNBUILDABLE.0 => format!("{before}{HALF_DONE}"),
            n if n == UNBUILDABLE.1 => replaced(before, HALF_DONE, "")?,
            BREAKS_WRITES => {
                // Where a bio is mapped and where it ends: either place would make up for the other.
                let text =
                    replaced(before, MAPS, &MAPS.replace("(m))", "(m) && bio_data_dir(bio) == READ)"))?;
                replaced(&text, ENDS, &ENDS.replace("(m))", "(m) && bio_data_dir(clone) == READ)"))?
            }
            BREAKS_HALF => {
                let spread = "if (noflush && (get_random_u32() & 1))\n\t\tset_bit(DMF_NOFLUSH_SUSPENDING";
                let text = replaced(before, "if (noflush)\n\t\tset_bit(DMF_NOFLUSH_SUSPENDING", spread)?;
                replaced(
                    &text,
                    "#include <linux/refcount.h>\n",
                    "#include <linux/refcount.h>\n#include <linux/random.h>\n",
                )?
            }
            DOCUMENTS => format!("{before}\n.. Note {number}.\n"),
            n => format!("{before}\n/* Note {n}. */\n"),
        };
        now.insert(file, after.clone());
        changes.push(Change {
            message: format!("{subject}\n\nSigned-off-by: dm-pushback <dm-pushback@localhost>\n"),
            files: [(file.to_owned(), after)].into(),
        });
    }
    Ok(changes)
}

fn replaced(text: &str, old: &str, new: &str) -> anyhow::Result<String> {
    let count = text.matches(old).count();
    anyhow::ensure!(
        count == 1,
        "the history needs `{old}` once in a file of this base, and it is there {count} times"
    );
    Ok(text.replacen(old, new, 1))
}

/// Hands everything to `git fast-import`.
fn write(repo: &Repo, first: &str, changes: &[Change], last_patch: usize) -> anyhow::Result<()> {
    let of = |number: usize| if number == 0 { first.to_owned() } else { format!(":{number}") };
    let mut stream = String::new();
    for (number, Change { message, files }) in (1..).zip(changes) {
        let from = of(number - 1);
        // An hour each: the order can be told by the dates as well.
        let time = 946_684_800 + 3600 * number;
        let _ = write!(
            stream,
            "commit refs/heads/main\nmark :{number}\ncommitter dm-pushback <dm-pushback@localhost> {time} +0000\ndata {}\n{message}from {from}\n",
            message.len()
        );
        for (file, text) in files {
            let _ = write!(stream, "M 100644 inline {file}\ndata {}\n{text}\n", text.len());
        }
    }
    for mark in MARKS {
        let _ = write!(stream, "reset refs/tags/{}\nfrom {}\n\n", mark.name, of(last_patch + mark.number));
    }
    stream.push_str("done\n");
    let (ours, theirs) = UnixStream::pair()?;
    let import = repo.tool().args(["fast-import", "--quiet", "--done"]).stdin(theirs);
    std::thread::scope(|scope| {
        // If git gives up it is git that says why.
        scope.spawn(move || (&ours).write_all(stream.as_bytes()));
        import.read()
    })?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The lines that the story needs to find.
    fn text(file: &str) -> String {
        let core =
            "#include <linux/refcount.h>\n\tif (noflush)\n\t\tset_bit(DMF_NOFLUSH_SUSPENDING, &md->flags);";
        let lines = match file {
            MPATH => [MAPS, ENDS].as_slice(),
            CORE => &[core],
            _ => &[],
        };
        format!("/* {file} */\n{}\n", lines.join("\n"))
    }

    #[test]
    fn the_story_has_two_bugs_and_a_hole() {
        let changes = story(|file| Ok(text(file))).unwrap();
        assert_eq!(changes.len(), COMMITS);
        let at = |number: usize, file: &str| {
            changes[..number]
                .iter()
                .rev()
                .find_map(|change| change.files.get(file).cloned())
                .unwrap_or_else(|| text(file))
        };
        for number in 1..=COMMITS {
            let (half_done, writes, half) = (
                at(number, MPATH).contains("not_there_yet"),
                at(number, MPATH).contains("== READ"),
                at(number, CORE).contains("get_random_u32"),
            );
            assert_eq!(half_done, (UNBUILDABLE.0..UNBUILDABLE.1).contains(&number), "{number}");
            assert_eq!(writes, number >= BREAKS_WRITES, "{number}");
            assert_eq!(half, number >= BREAKS_HALF, "{number}");
        }
        assert!(changes.windows(2).all(|pair| pair[0].message != pair[1].message));
    }

    #[test]
    fn the_history_is_what_was_told_and_always_the_same() {
        let generated = || {
            let dir = tempfile::tempdir().unwrap();
            let root = Utf8Path::from_path(dir.path()).unwrap();
            let source = root.join("source");
            for file in ORDINARY.into_iter().chain([CORE, HEADER, DOCUMENT]) {
                fs_err::create_dir_all(source.join(file).parent().unwrap()).unwrap();
                fs_err::write(source.join(file), text(file)).unwrap();
            }
            // As in Debian's packages: nothing is to be left out for it.
            fs_err::write(source.join(".gitignore"), "/*\n").unwrap();
            let out = root.join("out.git");
            generate("6.12", &[], &source, &out, &Progress::silent()).unwrap();
            let repo = Repo { root: out.clone() };
            let git = |args: &[&str]| repo.git(args.iter().copied()).unwrap().text;
            let count: usize = git(&["rev-list", "--count", "main"]).parse().unwrap();
            assert_eq!(count, COMMITS + 1);
            assert!(git(&["show", "main:.gitignore"]).contains("/*"));
            let changed = git(&["diff", "--name-only", "breaks-writes~", "breaks-writes"]);
            assert_eq!(changed, MPATH);
            assert!(git(&["show", "breaks-half"]).contains("+\tif (noflush && (get_random_u32() & 1))"));
            let again = generate("6.12", &[], &source, &out, &Progress::silent()).unwrap_err();
            assert!(again.to_string().contains("exists"), "{again}");
            assert_eq!(root.read_dir_utf8().unwrap().count(), 2, "nothing but source and history");
            git(&["rev-parse", "main"])
        };
        assert_eq!(generated(), generated());
    }

    #[test]
    fn a_base_that_lacks_what_the_story_changes_is_named() {
        let error = story(|_| Ok(String::new())).unwrap_err().to_string();
        assert!(error.contains("__must_push_back") && error.contains("0 times"), "{error}");
    }

    #[test]
    fn a_patch_becomes_a_message() {
        let patch = Patch { name: "0001-x.patch".into(), text: super::super::patch::tests::TEXT.into() };
        assert!(
            message(&patch)
                .starts_with("dm: a subject that is so long that git folds it into a second line\n\n")
        );
        assert!(!message(&patch).contains("diff --git"));
    }
}
