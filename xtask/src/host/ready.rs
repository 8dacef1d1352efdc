// SPDX-License-Identifier: GPL-2.0-only
//! What a verb calls before it starts: are the tools there? If so, it costs a few dozen stat(2) and no process. If
//! not, it installs, offers to, or says the command, as the user allows. The long look is `doctor`'s.

use camino::Utf8PathBuf;

use super::apt;
use super::install::{self, Elevation};
use super::manager::Manager;
use super::needs::{self, Need, Scope};
use super::probe::Places;
use crate::exit::{Code, coded};
use crate::progress::Progress;

/// What a verb is going to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Needs<'a> {
    /// Build a packaged base. `download`: the source package, if it is still to be fetched.
    Base {
        /// `linux-source-6.12`; `None` when the source is in the cache already.
        download: Option<&'a str>,
    },
    /// Build a packaged base whose source is still to be fetched, with package lists of our own.
    BaseElsewhere,
    /// Build a `--tree`.
    Tree,
    /// Fetch and run a kernel that the distribution built.
    Package,
    /// Run a kernel that is built.
    Prebuilt,
}

impl Needs<'_> {
    const fn include(self, scope: Scope) -> bool {
        match scope {
            Scope::Run => true,
            Scope::Build => !matches!(self, Self::Prebuilt | Self::Package),
            Scope::Base => {
                matches!(self, Self::Base { download: Some(_) } | Self::BaseElsewhere | Self::Package)
            }
            Scope::Optional | Scope::Virtme => false,
        }
    }
}

/// What stands between a host and a verb.
#[derive(Debug)]
struct Lack {
    missing: Vec<Need>,
    /// apt's lists are missing, or do not know the source package.
    stale_lists: bool,
}

impl Lack {
    fn of(what: Needs, places: &Places) -> anyhow::Result<Self> {
        let mut missing = needs::shipped()?;
        missing.retain(|need| what.include(need.scope) && places.missing(need).is_some());
        let stale_lists = match what {
            Needs::Base { download: Some(package) } if places.program("apt-cache").is_some() => {
                !apt::has_lists(&places.root) || apt::candidate(package)?.is_none()
            }
            Needs::Package | Needs::BaseElsewhere if places.program("apt-cache").is_some() => {
                !apt::has_lists(&places.root)
            }
            _ => false,
        };
        Ok(Self { missing, stale_lists })
    }

    fn is_empty(&self) -> bool {
        self.missing.is_empty() && !self.stale_lists
    }

    /// In words.
    fn told(&self) -> String {
        let mut parts: Vec<_> = self.missing.iter().map(|need| need.name.clone()).collect();
        if self.stale_lists {
            parts.push("apt's package lists".to_owned());
        }
        parts.join(", ")
    }
}

/// The package manager of this host, if it is one that is known.
pub fn manager(places: &Places) -> Option<Manager> {
    let os_release = ["etc/os-release", "usr/lib/os-release"]
        .iter()
        .find_map(|path| fs_err::read_to_string(places.root.join(path)).ok())
        .unwrap_or_default();
    Manager::detect(&os_release, |program| places.program(program).is_some())
}

/// Whether the manager's lists must be fetched before anything can be installed. apt: always, an old list names
/// versions that the archive has dropped. pacman: only when there are none.
pub fn needs_refresh(manager: Manager, places: &Places) -> bool {
    let sync: Utf8PathBuf = places.root.join("var/lib/pacman/sync");
    match manager {
        Manager::Apt => true,
        Manager::Pacman => !fs_err::read_dir(sync).is_ok_and(|mut entries| entries.next().is_some()),
        Manager::Dnf | Manager::Zypper => false,
    }
}

/// Makes sure that the tools for `what` are there. Installs with `yes`, offers to on a terminal, else says how.
pub fn ensure_ready(what: Needs, yes: bool, progress: &Progress) -> anyhow::Result<()> {
    let places = Places::host();
    let lack = Lack::of(what, &places)?;
    if lack.is_empty() {
        return Ok(());
    }
    let told = lack.told();
    let fail = |hint: String| Err(coded(Code::HostFailed, format!("this host lacks {told} (hint: {hint})")));
    let Some(manager) = manager(&places) else {
        return fail(
            "its package manager is not known; install them by hand, `cargo xtask doctor` says what for"
                .into(),
        );
    };
    if manager != Manager::Apt
        && (lack.stale_lists || lack.missing.iter().any(|need| need.scope == Scope::Base))
    {
        return fail("packaged bases come from Debian's archive; test a kernel source with --tree, or a built kernel with --kernel".into());
    }
    let packages = needs::packages(&lack.missing, manager);
    let refresh = needs_refresh(manager, &places);
    let elevation = Elevation::of_host(&places);
    let line = manager.install_line(&packages, refresh, elevation.through_sudo());
    if !yes {
        if !install::is_interactive() {
            return fail(format!("{}, or allow it with --yes", elevation.advice(&line)));
        }
        eprintln!("This host lacks {told}. What installs it:\n  {line}");
        if !install::confirm("Run it now?")? {
            return fail(elevation.advice(&line));
        }
    }
    progress.line(&format!("this host lacks {told}; running: {line}"));
    install::install(manager, &packages, refresh, elevation, progress)?;
    let lack = Lack::of(what, &places)?;
    if lack.is_empty() {
        return Ok(());
    }
    Err(coded(Code::HostFailed, still_lacking(what, &lack)))
}

/// What to say when everything was installed and something is missing all the same.
fn still_lacking(what: Needs, lack: &Lack) -> String {
    match what {
        Needs::Base { download: Some(package) } if lack.missing.is_empty() => format!(
            "no package {package} in this host's apt sources, after `apt-get update` (hint: is the archive reachable, \
             and does this release have it? Debian 12 has 6.12 and 6.1, and any Debian can fetch 7.3; elsewhere use --tree)"
        ),
        _ => format!(
            "after the installation this host still lacks {} (hint: `cargo xtask doctor` shows where it looks)",
            lack.told()
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DOWNLOAD: Needs = Needs::Base { download: Some("linux-source-6.12") };

    #[test]
    fn what_is_asked_for_depends_on_the_job() {
        for (what, run, build, base) in [
            (DOWNLOAD, true, true, true),
            (Needs::Base { download: None }, true, true, false),
            (Needs::BaseElsewhere, true, true, true),
            (Needs::Tree, true, true, false),
            (Needs::Package, true, false, true),
            (Needs::Prebuilt, true, false, false),
        ] {
            assert_eq!(what.include(Scope::Run), run, "{what:?}");
            assert_eq!(what.include(Scope::Build), build, "{what:?}");
            assert_eq!(what.include(Scope::Base), base, "{what:?}");
            assert!(!what.include(Scope::Optional));
        }
    }

    #[test]
    fn an_empty_host_lacks_everything_and_says_what() {
        let dir = tempfile::tempdir().unwrap();
        let root = Utf8PathBuf::try_from(dir.path().to_owned()).unwrap();
        let places = Places { programs: vec![], headers: vec![], root };
        let lack = Lack::of(Needs::Prebuilt, &places).unwrap();
        insta::assert_snapshot!(lack.told(), @"qemu-system-x86_64, dmsetup, e2fsprogs, busybox, kmod, static C library");
        let lack = Lack::of(DOWNLOAD, &places).unwrap();
        insta::assert_snapshot!(needs::packages(&lack.missing, Manager::Apt).join(" "), @"apt bc bison busybox-static diffutils dmsetup dpkg e2fsprogs findutils flex gcc git gzip kmod libc6-dev libelf-dev make mawk perl qemu-system-x86 sed tar xz-utils");
        assert_eq!(manager(&places), None);
    }

    #[test]
    fn a_fresh_arch_has_no_lists() {
        let dir = tempfile::tempdir().unwrap();
        let root = Utf8PathBuf::try_from(dir.path().to_owned()).unwrap();
        let places = Places { programs: vec![], headers: vec![], root: root.clone() };
        assert!(needs_refresh(Manager::Pacman, &places));
        fs_err::create_dir_all(root.join("var/lib/pacman/sync")).unwrap();
        assert!(needs_refresh(Manager::Pacman, &places));
        fs_err::write(root.join("var/lib/pacman/sync/core.db"), "").unwrap();
        assert!(!needs_refresh(Manager::Pacman, &places));
    }
}
