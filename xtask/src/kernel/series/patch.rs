// SPDX-License-Identifier: GPL-2.0-only
//! One patch as `git format-patch` writes it: its subject, which files it touches, and its hunks. Pure; whether it
//! applies is git's decision.

use std::collections::BTreeSet;

/// A patch of a series.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Patch {
    /// Its file: `0001-dm-suspend-add-noflush-pushback.patch`.
    pub name: String,
    /// The whole file.
    pub text: String,
}

/// A hunk: where it is in the file before the patch, and its header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hunk {
    /// Path in the tree.
    pub file: String,
    /// Counted from 1 within the file.
    pub number: usize,
    /// First line in the old file; what git calls a hunk by when it does not apply.
    pub line: u64,
    /// `@@ -905,7 +905,9 @@ static void f(void)`.
    pub header: String,
}

impl Patch {
    /// The subject without `[PATCH 1/4]`, folded lines put together.
    pub fn subject(&self) -> String {
        let mut lines = self.text.lines();
        let Some(first) = lines.find_map(|line| line.strip_prefix("Subject:")) else { return String::new() };
        let folded = lines.take_while(|line| line.starts_with([' ', '\t']));
        let subject = std::iter::once(first).chain(folded).map(str::trim).collect::<Vec<_>>().join(" ");
        match subject.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            Some((_, rest)) => rest.trim_start().to_owned(),
            None => subject,
        }
    }

    /// Every file that it changes, creates, removes or renames.
    pub fn files(&self) -> BTreeSet<String> {
        let mut files = BTreeSet::new();
        for line in self.outside_hunks() {
            if let Some((old, new)) =
                line.strip_prefix("diff --git a/").and_then(|rest| rest.split_once(" b/"))
            {
                files.extend([old.to_owned(), new.to_owned()]);
            }
        }
        files
    }

    /// Every hunk, in order.
    pub fn hunks(&self) -> Vec<Hunk> {
        let mut hunks: Vec<Hunk> = Vec::new();
        let mut file = String::new();
        for line in self.outside_hunks() {
            if let Some((_, new)) = line.strip_prefix("diff --git a/").and_then(|rest| rest.split_once(" b/"))
            {
                new.clone_into(&mut file);
            } else if let Some((line_number, ..)) = range(line) {
                let number = hunks.iter().filter(|hunk| hunk.file == file).count() + 1;
                hunks.push(Hunk { file: file.clone(), number, line: line_number, header: line.to_owned() });
            }
        }
        hunks
    }

    /// All lines but the content of hunks: a removed line of C may look like a header.
    fn outside_hunks(&self) -> impl Iterator<Item = &str> {
        let (mut old, mut new) = (0, 0);
        let mut in_diff = false;
        self.text.lines().filter(move |line| {
            if old > 0 || new > 0 {
                match line.as_bytes().first() {
                    Some(b'-') => old -= 1,
                    Some(b'+') => new -= 1,
                    Some(b'\\') => {}
                    _ => (old, new) = (old - 1, new - 1),
                }
                return false;
            }
            in_diff |= line.starts_with("diff --git ");
            if in_diff && let Some((_, olds, news)) = range(line) {
                (old, new) = (olds, news);
            }
            in_diff
        })
    }
}

/// First old line, number of old lines and of new lines of a hunk's header.
fn range(line: &str) -> Option<(u64, i64, i64)> {
    let (ranges, _) = line.strip_prefix("@@ -")?.split_once(" @@")?;
    let (old, new) = ranges.split_once(" +")?;
    let count = |text: &str| text.split_once(',').map_or(Some(1), |(_, count)| count.parse().ok());
    Some((old.split(',').next()?.parse().ok()?, count(old)?, count(new)?))
}

#[cfg(test)]
pub mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A patch with a trap: a removed line that looks like the header of a file.
    pub const TEXT: &str = "\
From 0000000000000000000000000000000000000000 Mon Sep 17 00:00:00 2001
From: A <a@example.org>
Date: Wed, 25 Nov 2026 11:08:04 +0000
Subject: [PATCH 1/2] dm: a subject that is so long that git folds it into a second
 line

---
 drivers/md/dm.c | 2 +-

diff --git a/drivers/md/dm.c b/drivers/md/dm.c
index 13e3ec6..00c45cf 100644
--- a/drivers/md/dm.c
+++ b/drivers/md/dm.c
@@ -3,3 +3,3 @@ int a(void)
 three
--- a/drivers/md/trap.c
+FOUR
 five
@@ -20 +20,2 @@
-twenty
+TWENTY
+and more
diff --git a/drivers/md/new.h b/drivers/md/new.h
new file mode 100644
index 0000000..1111111
--- /dev/null
+++ b/drivers/md/new.h
@@ -0,0 +1 @@
+hello
-- 
2.47.3
";

    fn patch(text: &str) -> Patch {
        Patch { name: "0001-x.patch".into(), text: text.into() }
    }

    #[test]
    fn subject_files_and_hunks() {
        let patch = patch(TEXT);
        assert_eq!(patch.subject(), "dm: a subject that is so long that git folds it into a second line");
        assert_eq!(patch.files().into_iter().collect::<Vec<_>>(), ["drivers/md/dm.c", "drivers/md/new.h"]);
        let hunks: Vec<_> =
            patch.hunks().into_iter().map(|hunk| (hunk.file, hunk.number, hunk.line)).collect();
        let dm = "drivers/md/dm.c".to_owned();
        assert_eq!(hunks, [(dm.clone(), 1, 3), (dm, 2, 20), ("drivers/md/new.h".to_owned(), 1, 0)]);
    }

    proptest! {
        #[test]
        fn any_text_is_survived(text in "(?s)(@@ -[0-9]{1,3},[0-9]{1,2} \\+[0-9],[0-9] @@\n|[-+ ]?.{0,20}\n|diff --git a/x b/x\n){0,20}") {
            let patch = patch(&text);
            let _ = (patch.subject(), patch.files(), patch.hunks());
        }
    }
}
