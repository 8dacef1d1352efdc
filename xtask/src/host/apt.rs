// SPDX-License-Identifier: GPL-2.0-only
//! apt's package lists: whether there are any (a fresh Debian image has none, and `apt-get download` fails there)
//! and which version of a kernel source package they offer; and lists of our own, for what only another suite of the
//! archive has.

use anyhow::Context as _;
use camino::{Utf8Path, Utf8PathBuf};

use crate::cache::Cache;
use crate::command::Tool;
use crate::exit::{Code, coded};
use crate::progress::Progress;

/// Where distributions keep the keys of Debian's archive.
const KEYRINGS: [&str; 2] =
    ["/usr/share/keyrings/debian-archive-keyring.pgp", "/usr/share/keyrings/debian-archive-keyring.gpg"];

/// apt with a set of package lists.
#[derive(Debug, Clone, Default)]
pub struct Apt {
    options: Vec<String>,
}

impl Apt {
    /// As the host is configured.
    pub fn host() -> Self {
        Self::default()
    }

    /// With the lists of another suite of the archive that the host uses, fetched anew into the cache. The host's own
    /// lists and sources are not touched, and no root is needed.
    pub fn of_suite(suite: &str, cache: &Cache, progress: &Progress) -> anyhow::Result<Self> {
        let _lock = cache.lock(&format!("apt-{suite}"), progress)?;
        let home = cache.path("apt").join(suite);
        for folder in ["lists/partial", "archives/partial"] {
            fs_err::create_dir_all(home.join(folder))?;
        }
        let keyring = KEYRINGS.into_iter().find(|path| Utf8Path::new(path).exists());
        let (Some(archive), Some(keyring)) = (archive()?, keyring) else {
            return Err(coded(
                Code::HostFailed,
                format!(
                    "{suite} is a suite of Debian's archive, which this host's apt does not use (hint: test another source with --tree)"
                ),
            ));
        };
        let sources = home.join("sources.list");
        fs_err::write(&sources, format!("deb [signed-by={keyring}] {archive} {suite} main\n"))?;
        let apt = Self { options: options(&home, &sources) };
        let Err(error) = apt.tool("apt-get").args(["-q", "update"]).read() else { return Ok(apt) };
        fs_err::remove_dir_all(home)?;
        if error.to_string().contains("does not have a Release file") {
            return Err(coded(Code::Usage, format!("{archive} has no suite {suite}")));
        }
        Err(error).with_context(|| format!("fetch the package lists of {suite} (hint: no network?)"))
    }

    /// A command line of one of apt's programs.
    pub fn tool(&self, program: &str) -> Tool {
        Tool::new(program).args(&self.options).env("LC_ALL", "C")
    }
}

/// Options that keep apt inside `home`.
fn options(home: &Utf8Path, sources: &Utf8Path) -> Vec<String> {
    let places = [
        ("Dir::Etc::sourcelist", sources.to_owned()),
        ("Dir::Etc::sourceparts", Utf8PathBuf::from("/dev/null")),
        ("Dir::State::lists", home.join("lists")),
        ("Dir::Cache", home.to_owned()),
    ];
    let option = |(name, value): (&str, Utf8PathBuf)| ["-o".to_owned(), format!("{name}={value}")];
    // Root's apt downloads as another user, who may not enter a cache in root's home.
    let sandbox = ["-o".to_owned(), "APT::Sandbox::User=root".to_owned()];
    places.into_iter().flat_map(option).chain(sandbox).collect()
}

/// The URI of Debian's archive that the host uses: its mirror, if it has one.
fn archive() -> anyhow::Result<Option<String>> {
    let targets = Tool::new("apt-get")
        .args([
            "indextargets",
            "--format",
            "$(REPO_URI)",
            "Created-By: Packages",
            "Origin: Debian",
            "Label: Debian",
        ])
        .env("LC_ALL", "C")
        .read()?;
    Ok(targets.text.lines().next().filter(|line| !line.is_empty()).map(str::to_owned))
}

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
    fn lists_of_our_own_stay_where_they_are_told() {
        let told = options("/cache/apt/s".into(), "/cache/apt/s/sources.list".into()).join(" ");
        insta::assert_snapshot!(told, @"-o Dir::Etc::sourcelist=/cache/apt/s/sources.list -o Dir::Etc::sourceparts=/dev/null -o Dir::State::lists=/cache/apt/s/lists -o Dir::Cache=/cache/apt/s -o APT::Sandbox::User=root");
    }

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
