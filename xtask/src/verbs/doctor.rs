// SPDX-License-Identifier: GPL-2.0-only
//! `cargo xtask doctor`: what this host can do, what is missing and how to get it. The table and all that follows
//! from it go to standard output; the probing and installing is told on standard error.

use crate::cache::Cache;
use crate::exit::Code;
use crate::host::accel::{self, Want};
use crate::host::manager::Manager;
use crate::host::needs::{self, Need};
use crate::host::probe::Places;
use crate::host::table::{self, Row};
use crate::host::{
    Elevation, apt, confirm, cpus, find_program, install, is_interactive, manager_of, memory_mib,
    needs_refresh, virtme,
};
use crate::image;
use crate::kernel::{Base, bases};
use crate::progress::Progress;

/// Free space that a first run takes: source package 0.15 GB, unpacked source 1.8 GB, build 0.3 GB a variant
/// (measured with base 6.12), and the room for unpacking beside what is published.
const DISK_GB: f64 = 5.0;

/// Memory below which a build and a VM side by side get tight, in MiB.
const MEMORY_MIB: u64 = 2048;

/// The verb's options.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// Install what is missing through the host's package manager
    #[arg(long)]
    fix: bool,
    /// Install without asking
    #[arg(long, requires = "fix")]
    yes: bool,
}

/// Runs the verb.
pub fn run(options: &Options) -> anyhow::Result<Code> {
    let progress = Progress::new();
    let places = Places::host();
    let host = Host { manager: manager_of(&places), elevation: Elevation::of_host(&places), places };
    let mut examined = host.examine()?;
    println!("{}", examined.table());
    if let Some(advice) = host.advice(&examined) {
        println!("{advice}\n");
        if options.fix && host.fix(&examined, options.yes, &progress)? {
            examined = host.examine()?;
            println!("{}", examined.table());
            if let Some(advice) = host.advice(&examined) {
                println!("{advice}\n");
            }
        }
    }
    let cache = Cache::open();
    if let Ok(cache) = &cache {
        println!("{}", host.virtme(cache, options.fix, &progress));
        println!("{}", guest_groups(cache));
    }
    println!("{}", host.bases());
    let cache_is_good = resources(&cache, &progress);
    Ok(if examined.is_ready(host.has_archive()) && cache_is_good {
        Code::AllPassed
    } else {
        Code::HostFailed
    })
}

/// This host, as far as installing is concerned.
struct Host {
    places: Places,
    manager: Option<Manager>,
    elevation: Elevation,
}

/// What was found.
struct Examined {
    rows: Vec<Row>,
    /// Whether apt has package lists; true where apt does not matter.
    lists: bool,
}

impl Examined {
    fn table(&self) -> String {
        table::render(&self.rows)
    }

    fn is_ready(&self, has_archive: bool) -> bool {
        self.lists && table::unmet(&self.rows, has_archive).0.is_empty()
    }
}

impl Host {
    fn has_archive(&self) -> bool {
        self.manager.is_none_or(|manager| manager == Manager::Apt)
    }

    fn examine(&self) -> anyhow::Result<Examined> {
        let rows =
            needs::shipped()?.into_iter().map(|need| (need.clone(), self.places.look(&need))).collect();
        let lists = self.manager != Some(Manager::Apt) || apt::has_lists(&self.places.root);
        Ok(Examined { rows, lists })
    }

    /// What to do about what is missing; `None` if nothing is.
    fn advice(&self, examined: &Examined) -> Option<String> {
        let (required, optional) = table::unmet(&examined.rows, self.has_archive());
        let mut lines = vec![];
        if !examined.lists {
            lines.push(
                "apt has no package lists: nothing can be downloaded before `apt-get update`.".to_owned(),
            );
        }
        match self.manager {
            None if required.is_empty() && optional.is_empty() => {}
            None => lines.push(
                "Install what is missing by hand: none of apt-get, dnf, pacman, zypper fits this host."
                    .to_owned(),
            ),
            Some(manager) => {
                if !required.is_empty() || !examined.lists {
                    lines.push(format!("To install what is missing:\n  {}", self.line(manager, &required)));
                }
                if !optional.is_empty() {
                    lines.push(format!("Optional:\n  {}", self.line(manager, &optional)));
                }
            }
        }
        (!lines.is_empty()).then(|| lines.join("\n"))
    }

    fn line(&self, manager: Manager, needs: &[&Need]) -> String {
        let packages = needs::packages(needs.iter().copied(), manager);
        let refresh = needs_refresh(manager, &self.places);
        manager.install_line(&packages, refresh, self.elevation.through_sudo())
    }

    /// Installs what is missing; says whether anything was done. An optional package that can't be had is no error.
    fn fix(&self, examined: &Examined, yes: bool, progress: &Progress) -> anyhow::Result<bool> {
        let Some(manager) = self.manager else { return Ok(false) };
        if !yes && is_interactive() && !confirm("Install now?")? {
            return Ok(false);
        }
        let (required, optional) = table::unmet(&examined.rows, self.has_archive());
        let refresh = needs_refresh(manager, &self.places);
        let packages = needs::packages(required, manager);
        if refresh || !packages.is_empty() {
            install(manager, &packages, refresh, self.elevation, progress)?;
        }
        let packages = needs::packages(optional.iter().copied(), manager);
        if !packages.is_empty() && install(manager, &packages, false, self.elevation, progress).is_err() {
            // One that this distribution does not have must not keep the others away.
            for need in optional {
                let packages = needs::packages([need], manager);
                if let Err(error) = install(manager, &packages, false, self.elevation, progress) {
                    progress.line(&format!("{} was not installed: {error:#}", need.name));
                }
            }
        }
        Ok(true)
    }

    /// virtme-ng, of which only `--boot virtme` has need; installed with `fix`.
    fn virtme(&self, cache: &Cache, fix: bool, progress: &Progress) -> String {
        let found = match virtme::find(&self.places, cache.root()) {
            Err(absent) if fix => virtme::install(cache, progress).map_err(|error| {
                progress.line(&format!("virtme-ng was not installed: {error:#}"));
                absent
            }),
            found => found,
        };
        virtme::told(&found)
    }

    /// Which packaged bases can be fetched here.
    fn bases(&self) -> String {
        if self.places.program("apt-cache").is_none() {
            return "packaged bases: none, they come from Debian's archive (--tree and --kernel work)"
                .to_owned();
        }
        let told = |base: &Base| {
            let Base { name, package, suite, .. } = base;
            if let Some(suite) = suite {
                return format!("{name} ({package}, fetched from {suite} with package lists of our own)");
            }
            match apt::candidate(package) {
                Ok(Some(version)) => format!("{name} ({package} {version})"),
                Ok(None) => format!("{name} not available ({package} is in none of apt's lists)"),
                Err(error) => format!("{name} unknown ({error:#})"),
            }
        };
        format!("packaged bases: {}", bases().iter().map(told).collect::<Vec<_>>().join(", "))
    }
}

/// What goes into the guest as a whole or not at all. Never installed by `--fix`: it would start daemons here.
fn guest_groups(cache: &Cache) -> String {
    let told = image::groups(cache);
    told.map_or_else(
        |error| format!("groups of the guest image: unknown ({error:#})"),
        |lines| lines.join("\n"),
    )
}

/// Accelerator, disk, memory and CPUs, one line each. Says whether the cache can be used.
fn resources(cache: &anyhow::Result<Cache>, progress: &Progress) -> bool {
    match cache {
        Ok(cache) => println!("{}", accelerator(cache, progress)),
        Err(_) => println!("accelerator: not probed, the verdict is kept in the cache"),
    }
    let free = cache.as_ref().map_err(|error| format!("{error:#}")).and_then(|cache| {
        let free = cache.free_bytes().map_err(|error| format!("{error:#}"))?;
        Ok(disk(cache.root().as_str(), free))
    });
    match &free {
        Ok(line) => println!("{line}"),
        Err(error) => println!("cache: UNUSABLE: {error}"),
    }
    println!("{}", memory(memory_mib(), cpus()));
    free.is_ok()
}

fn accelerator(cache: &Cache, progress: &Progress) -> String {
    if find_program("qemu-system-x86_64").is_none() {
        return "accelerator: none, there is no QEMU".to_owned();
    }
    match accel::decide(Want::Auto, None, cache, progress) {
        Ok(choice) => {
            let kept = accel::kept_in(&choice, cache)
                .map(|file| format!("\n  (kept in {file}; remove it to probe again)"))
                .unwrap_or_default();
            format!("accelerator: {} -cpu {}: {}{kept}", choice.accel, choice.cpu, choice.reason)
        }
        Err(error) => format!("accelerator: unknown: {error:#}"),
    }
}

fn disk(root: &str, free: u64) -> String {
    #[expect(clippy::cast_precision_loss, reason = "shown with one decimal")]
    let gb = free as f64 / 1e9;
    let low =
        if gb < DISK_GB { format!(" LOW: a first run takes up to {DISK_GB} GB") } else { String::new() };
    format!("cache: {root}, {gb:.1} GB free{low}")
}

fn memory(mib: u64, cpus: usize) -> String {
    let low = if mib < MEMORY_MIB { format!(" LOW: {MEMORY_MIB} MiB are wanted") } else { String::new() };
    format!("memory: {mib} MiB available{low}\nCPUs: {cpus}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::probe::Found;

    /// A host that lacks `missing`.
    fn examined(missing: &[&str], lists: bool) -> Examined {
        let look = |need: Need| {
            let found = if missing.contains(&need.name.as_str()) {
                Found::Missing(need.name.clone())
            } else {
                Found::Present
            };
            (need, found)
        };
        Examined { rows: needs::shipped().unwrap().into_iter().map(look).collect(), lists }
    }

    fn host(manager: Option<Manager>, elevation: Elevation) -> Host {
        let places = Places { programs: vec![], headers: vec![], root: "/nonexistent".into() };
        Host { places, manager, elevation }
    }

    #[test]
    fn advice() {
        let debian = host(Some(Manager::Apt), Elevation::Root);
        let fedora = host(Some(Manager::Dnf), Elevation::Sudo);
        let other = host(None, Elevation::Root);
        assert_eq!(debian.advice(&examined(&[], true)), None);
        insta::assert_snapshot!(debian.advice(&examined(&["bc", "ccache"], true)).unwrap(), @r"
        To install what is missing:
          apt-get update && apt-get install -y --no-install-recommends bc
        Optional:
          apt-get update && apt-get install -y --no-install-recommends ccache
        ");
        insta::assert_snapshot!(debian.advice(&examined(&[], false)).unwrap(), @r"
        apt has no package lists: nothing can be downloaded before `apt-get update`.
        To install what is missing:
          apt-get update
        ");
        insta::assert_snapshot!(fedora.advice(&examined(&["bc", "apt-get, dpkg-deb"], true)).unwrap(), @r"
        To install what is missing:
          sudo dnf install -y --setopt=install_weak_deps=False bc
        ");
        insta::assert_snapshot!(other.advice(&examined(&["bc"], true)).unwrap(), @"Install what is missing by hand: none of apt-get, dnf, pacman, zypper fits this host.");
    }

    #[test]
    fn readiness() {
        assert!(examined(&["ccache"], true).is_ready(true));
        assert!(!examined(&["bc"], true).is_ready(true));
        assert!(!examined(&[], false).is_ready(true));
        assert!(examined(&["apt-get, dpkg-deb"], true).is_ready(false));
        assert!(!examined(&["apt-get, dpkg-deb"], true).is_ready(true));
    }

    #[test]
    fn resources_in_words() {
        insta::assert_snapshot!(disk("/c", 74_000_000_000), @"cache: /c, 74.0 GB free");
        insta::assert_snapshot!(disk("/c", 1_000_000_000), @"cache: /c, 1.0 GB free LOW: a first run takes up to 5 GB");
        insta::assert_snapshot!(memory(512, 2), @r"
        memory: 512 MiB available LOW: 2048 MiB are wanted
        CPUs: 2
        ");
    }
}
