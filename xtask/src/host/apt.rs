// SPDX-License-Identifier: GPL-2.0-only
//! apt's package lists: whether there are any (a fresh Debian image has none, and `apt-get download` fails there)
//! and which version of a kernel source package they offer. Downloads nothing.

use camino::Utf8Path;

use crate::command::Tool;

/// The source packages of the packaged bases, newest first: (base, package).
pub const BASES: [(&str, &str); 2] = [("6.12", "linux-source-6.12"), ("6.1", "linux-source-6.1")];

/// Whether apt has any package list below this root: files `*_Packages`, possibly compressed (`Acquire::GzipIndexes`).
pub fn has_lists(root: &Utf8Path) -> bool {
    let Ok(entries) = fs_err::read_dir(root.join("var/lib/apt/lists")) else { return false };
    entries.flatten().any(|entry| {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        name.rsplit_once("_Packages").is_some_and(|(_, rest)| rest.is_empty() || rest.starts_with('.'))
    })
}

/// The version of `package` that apt would fetch, if its lists know one.
pub fn candidate(package: &str) -> anyhow::Result<Option<String>> {
    let policy = Tool::new("apt-cache").args(["policy", package]).env("LC_ALL", "C").read()?;
    Ok(candidate_in(&policy.text))
}

/// The candidate in the output of `apt-cache policy`.
fn candidate_in(policy: &str) -> Option<String> {
    let version = policy.lines().find_map(|line| line.trim().strip_prefix("Candidate:"))?.trim();
    (version != "(none)" && !version.is_empty()).then(|| version.to_owned())
}

/// Whether this line of apt's output tells that something could not be fetched.
pub fn is_fetch_failure(line: &str) -> bool {
    ["W: Failed to fetch ", "E: Failed to fetch "].iter().any(|start| line.starts_with(start))
}

/// How far an `apt-get install` is, from its output: each package is unpacked, then set up.
#[derive(Debug, Default)]
pub struct Steps {
    total: u64,
    done: u64,
}

impl Steps {
    /// Takes one line; says (done, total) when it moved.
    pub fn line(&mut self, line: &str) -> Option<(u64, u64)> {
        if let Some((before, _)) = line.split_once(" newly installed,") {
            // "0 upgraded, 93 newly installed, 0 to remove and 2 not upgraded."
            let mut numbers =
                before.split(", ").filter_map(|part| part.split(' ').next()?.parse::<u64>().ok());
            self.total = 2 * numbers.by_ref().take(2).sum::<u64>();
        } else if line.starts_with("Unpacking ") || line.starts_with("Setting up ") {
            self.done += 1;
            return (self.total > 0).then(|| (self.done.min(self.total), self.total));
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn candidates() {
        // Recorded on Debian 12.
        let known =
            "linux-source-6.12:\n  Installed: (none)\n  Candidate: 6.12.117-1~deb12u1\n  Version table:\n";
        assert_eq!(candidate_in(known).as_deref(), Some("6.12.117-1~deb12u1"));
        let none = "linux-source-6.12:\n  Installed: (none)\n  Candidate: (none)\n  Version table:\n";
        assert_eq!(candidate_in(none), None);
        assert_eq!(candidate_in(""), None); // what apt-cache prints about a name it has never heard of
    }

    #[test]
    fn lists_plain_compressed_and_none() {
        for (file, has) in [
            (Some("mirror.example.org_debian_dists_bookworm_main_binary-amd64_Packages"), true),
            (Some("mirror.example.org_debian_dists_bookworm_main_binary-amd64_Packages.lz4"), true),
            (Some("mirror.example.org_debian_dists_bookworm_InRelease"), false),
            (Some("lock"), false),
            (None, false),
        ] {
            let dir = tempfile::tempdir().unwrap();
            let root = Utf8Path::from_path(dir.path()).unwrap();
            assert!(!has_lists(root), "no folder at all");
            fs_err::create_dir_all(root.join("var/lib/apt/lists")).unwrap();
            if let Some(file) = file {
                fs_err::write(root.join("var/lib/apt/lists").join(file), "").unwrap();
            }
            assert_eq!(has_lists(root), has, "{file:?}");
        }
    }

    #[test]
    fn steps_of_an_installation() {
        let mut steps = Steps::default();
        assert_eq!(steps.line("Unpacking early (1) ..."), None);
        let mut steps = Steps::default();
        assert_eq!(steps.line("1 upgraded, 2 newly installed, 0 to remove and 5 not upgraded."), None);
        assert_eq!(steps.line("Get:1 http://mirror.example.org/debian bookworm/main amd64 bc amd64"), None);
        assert_eq!(steps.line("Unpacking bc (1.07.1-3+b1) ..."), Some((1, 6)));
        assert_eq!(steps.line("Setting up bc (1.07.1-3+b1) ..."), Some((2, 6)));
        for _ in 0..9 {
            steps.line("Setting up x");
        }
        assert_eq!(steps.line("Setting up x"), Some((6, 6)));
    }
}
