// SPDX-License-Identifier: GPL-2.0-only
//! Series on a small tree of their own: real git, no kernel.

use camino::{Utf8Path, Utf8PathBuf};

use super::patch::Patch;
use super::rebase::{self, Fate};
use super::repo::Repo;
use super::{FOLDER, Series, apply};
use crate::exit::{Code, code_of};

/// A file of numbered lines, some of them exchanged.
fn text(changes: &[(usize, &str)]) -> String {
    (1..=60)
        .map(|n| match changes.iter().find(|(line, _)| *line == n) {
            Some((_, text)) => format!("{text}\n"),
            None => format!("line {n}\n"),
        })
        .collect()
}

/// A source with that file.
fn source(root: &Utf8Path, name: &str, text: &str) -> Utf8PathBuf {
    let source = root.join(name);
    fs_err::create_dir_all(source.join(FOLDER)).unwrap();
    fs_err::write(source.join(FOLDER).join("dm.c"), text).unwrap();
    source
}

/// A series that changes the file to each of `texts` in turn, from the last of `before`.
fn series(root: &Utf8Path, name: &str, before: &[&str], texts: &[&str]) -> Series {
    let dir = root.join(format!("make-{name}"));
    let repo = Repo::of_source(&dir, &source(root, &format!("from-{name}"), before.last().unwrap())).unwrap();
    for (n, text) in texts.iter().enumerate() {
        fs_err::write(dir.join(FOLDER).join("dm.c"), text).unwrap();
        repo.git(["commit", "--all", "--quiet", "--message", &format!("dm: {name} {}", n + 1)]).unwrap();
    }
    repo.git(["format-patch", "--quiet", "-o", "out", &format!("HEAD~{}", texts.len())]).unwrap();
    let mut names: Vec<_> =
        dir.join("out").read_dir_utf8().unwrap().map(|entry| entry.unwrap().file_name().to_owned()).collect();
    names.sort();
    let patch = |name: String| {
        let text = fs_err::read_to_string(dir.join("out").join(&name)).unwrap();
        Patch { name, text }
    };
    Series { name: name.into(), patches: names.into_iter().map(patch).collect() }
}

struct Place {
    _dir: tempfile::TempDir,
    root: Utf8PathBuf,
}

fn place() -> Place {
    let dir = tempfile::tempdir().unwrap();
    let root = Utf8PathBuf::try_from(dir.path().to_owned()).unwrap();
    Place { _dir: dir, root }
}

/// Two patches: one at line 10, one at line 40.
fn two_patches(root: &Utf8Path) -> Series {
    let (a, b) = (text(&[(10, "ten")]), text(&[(10, "ten"), (40, "forty")]));
    series(root, "baseline", &[&text(&[])], &[&a, &b])
}

#[test]
fn the_same_patches_give_the_same_commits_and_moved_hunks_are_told() {
    let Place { root, _dir } = place();
    let baseline = two_patches(&root);
    let moved = format!("one\nmore\n{}", text(&[]));
    let source = source(&root, "new", &moved);
    let heads = ["first", "second"].map(|name| {
        let repo = Repo::of_source(&root.join(name), &source).unwrap();
        let moved = apply::apply(&repo, &baseline.patches[0]).unwrap().unwrap();
        assert_eq!((moved[0].hunk, moved[0].by), (1, 2));
        apply::apply(&repo, &baseline.patches[1]).unwrap().unwrap();
        repo.git(["rev-parse", "HEAD"]).unwrap().text
    });
    assert_eq!(heads[0], heads[1]);
}

#[test]
fn a_patch_that_does_not_apply_is_named_with_its_hunk_and_changes_nothing() {
    let Place { root, _dir } = place();
    let baseline = two_patches(&root);
    // The second patch's context differs in one line: patch(1) would apply it with fuzz.
    let source = source(&root, "new", &text(&[(37, "changed")]));
    let repo = Repo::of_source(&root.join("repo"), &source).unwrap();
    let error = apply::apply_stack(&repo, "6.12", &[baseline]).unwrap_err();
    assert_eq!(code_of(&error), Code::Untestable);
    insta::assert_snapshot!(error, @r#"patch 6.12/baseline/0002-dm-baseline-2.patch ("dm: baseline 2") does not apply: hunk 1 of drivers/md/dm.c does not match (@@ -37,7 +37,7 @@ line 36) (hint: `cargo xtask kernel rebase --base 6.12` helps to port the series)"#);
    assert_eq!(repo.git(["rev-list", "--count", "HEAD"]).unwrap().text, "2", "the first patch alone is in");
    assert!(!root.join("repo/.git/rebase-apply").exists());
    assert_eq!(repo.git(["status", "--porcelain"]).unwrap().text, "");
}

#[test]
fn a_patch_with_a_header_that_git_cannot_read_is_refused() {
    let Place { root, _dir } = place();
    let mut patch = two_patches(&root).patches.remove(0);
    patch.text = patch.text[patch.text.find("diff --git").unwrap()..].to_owned();
    let repo = Repo::of_source(&root.join("repo"), &source(&root, "new", &text(&[]))).unwrap();
    let refusal = apply::apply(&repo, &patch).unwrap().unwrap_err();
    assert!(refusal.reason.contains("git"), "{}", refusal.reason);
    assert_eq!(repo.git(["status", "--porcelain"]).unwrap().text, "");
}

#[test]
fn a_rebase_tells_what_moved_merges_and_leaves_conflicts_to_be_fixed() {
    let Place { root, _dir } = place();
    let all = [two_patches(&root)];
    let old = source(&root, "old", &text(&[]));
    let run = |name: &str, new: &str| {
        let new = source(&root, &format!("new-{name}"), new);
        rebase::run_with(&all, &old, &new, &root.join(name)).unwrap()
    };
    let fates = |rebase: &rebase::Rebase| -> Vec<Fate> {
        rebase.fates.iter().map(|(_, _, fate)| fate.clone()).collect()
    };

    assert_eq!(fates(&run("same", &text(&[]))), [Fate::Clean, Fate::Clean]);

    let moved = run("moved", &format!("one more\n{}", text(&[])));
    assert!(moved.is_complete() && fates(&moved).iter().all(|fate| matches!(fate, Fate::Moved(_))));

    let merged = run("merged", &text(&[(37, "changed")]));
    assert!(matches!(&fates(&merged)[..], [Fate::Clean, Fate::Merged(_)]), "{:?}", merged.fates);

    let mut failed = run("failed", &text(&[(10, "dix")]));
    assert!(matches!(&fates(&failed)[..], [Fate::Failed(_)]) && !failed.is_complete());
    let repo = Repo { root: failed.root.clone() };
    let file = failed.root.join(FOLDER).join("dm.c");
    assert!(fs_err::read_to_string(&file).unwrap().contains("<<<<<<< "));
    assert!(failed.render("6.12").contains("git add drivers/md/ && git am --continue"));
    // As the advice says.
    fs_err::write(&file, text(&[(10, "ten")])).unwrap();
    repo.git(["add", FOLDER]).unwrap();
    repo.git(["am", "--continue"]).unwrap();
    assert_eq!(fs_err::read_to_string(&file).unwrap(), text(&[(10, "ten"), (40, "forty")]));

    // What is written back applies to the new source as it is.
    failed.done = vec![("stock".into(), "baseline".into(), "baseline".into())];
    let written = root.join("patches");
    fs_err::create_dir_all(written.join("baseline")).unwrap();
    fs_err::write(written.join("baseline/0009-gone.patch"), "").unwrap();
    failed.write(&written).unwrap();
    let mut names: Vec<_> =
        written.join("baseline").read_dir_utf8().unwrap().map(|e| e.unwrap().path().to_owned()).collect();
    names.sort();
    let patches = names.iter().map(|path| Patch {
        name: path.file_name().unwrap().into(),
        text: fs_err::read_to_string(path).unwrap(),
    });
    let again = [Series { name: "baseline".into(), patches: patches.collect() }];
    let clean =
        rebase::run_with(&again, &root.join("new-failed"), &root.join("new-failed"), &root.join("clean"))
            .unwrap();
    assert_eq!(fates(&clean), [Fate::Clean, Fate::Clean]);
}

#[test]
fn a_rebase_does_not_start_in_a_folder_with_something_in_it() {
    let Place { root, _dir } = place();
    let all = [two_patches(&root)];
    let old = source(&root, "old", &text(&[]));
    let error = rebase::run_with(&all, &old, &old, &root).unwrap_err();
    assert_eq!(code_of(&error), Code::Usage);
}
