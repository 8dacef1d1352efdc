// SPDX-License-Identifier: GPL-2.0-only
//! A map that the real multipathd made of the case's paths, and keeps.

use super::Bench;
use super::io::STEP;
use super::multipath::MultipathMap;
use crate::daemon::Multipathd;
use crate::daemon::ioctls::{Ioctl, told};
use crate::dm::{Access, Map, Multipath, NoPath, Selector};
use crate::failure::{Failure, GuestContext as _, Outcome, ensure};
use crate::modules;
use crate::paths::Path;
use crate::rcu;
use crate::report::happened;
use crate::wait::wait_for;

/// The daemon found all paths and told the kernel.
pub const MADE: &str = "multipathd makes a map of the paths";
/// It found out that paths work, or that there are new ones.
pub const RECOVERED: &str = "the map has valid paths again";
/// It took the table of a map without a suspend of its own.
pub const IMPLICIT: &str = "multipathd reloads with load and noflush resume";
/// What it asked of the kernel in a case about one of its commands.
pub const SEQUENCE: &str = "multipathd asks for what it is known to ask for";

impl Bench {
    /// Starts multipathd, which makes a map of `paths` that queues without a path, and waits until it has all of them.
    pub fn multipathd(&mut self, paths: &[Path]) -> Outcome<MultipathMap> {
        for module in ["dm-multipath", "dm-service-time"] {
            modules::require(module)?;
        }
        let mut daemon = rcu::expedited(|| Multipathd::start(self.queue_mode(), paths))?;
        let name = daemon.map();
        self.daemon = Some(daemon);
        let map = Map::existing(name?.parse().guest("understand the name of multipathd's map")?)?;
        self.maps.push(map.clone());
        let kind = Multipath {
            no_path: NoPath::Queue,
            queue_mode: self.queue_mode(),
            access: Access::Symmetric,
            selector: Selector::ServiceTime,
            paths: Vec::new(),
        };
        let map = MultipathMap::new(map, kind, paths);
        map.has_valid_paths(paths.len(), MADE)?;
        Ok(map)
    }

    /// The daemon that [`Self::multipathd`] started.
    pub fn daemon(&self) -> Outcome<&Multipathd> {
        self.daemon.as_ref().ok_or_else(|| Failure::guest("the case did not start multipathd"))
    }

    /// What the daemon asked of the kernel about `map` so far.
    pub fn asked(&self, map: &MultipathMap) -> Outcome<Vec<Ioctl>> {
        self.daemon()?.ioctls(map.map().name().as_str())
    }

    /// Since it had asked for `before`, the daemon took at least one table into use, and each by a load and one resume
    /// with noflush: the implicit form. Assertion: [`IMPLICIT`].
    pub fn reloaded_by_noflush_resume(&self, map: &MultipathMap, before: &[Ioctl]) -> Outcome {
        let since = self.asked(map)?.split_off(before.len());
        happened("multipathd asked", &[("map", &map.map().name()), ("ioctls", &told(&since))]);
        let tables: Vec<_> = since.iter().filter(|ioctl| ioctl.verb != "message").collect();
        let is_pair = |pair: &[&Ioctl]| matches!(pair, [load, resume] if load.verb == "reload" && resume.verb == "resume" && resume.noflush);
        ensure(!tables.is_empty() && tables.chunks(2).all(is_pair), IMPLICIT, told(&since))
    }

    /// Since it had asked for `before`, the daemon asked for `expected`, other messages aside. Assertion: [`SEQUENCE`].
    pub fn asked_for(&self, map: &MultipathMap, before: &[Ioctl], expected: &[&str]) -> Outcome {
        let since = self.asked(map)?.split_off(before.len());
        happened("multipathd asked", &[("map", &map.map().name()), ("ioctls", &told(&since))]);
        let all: Vec<String> = since.iter().map(ToString::to_string).collect();
        let told =
            all.iter().filter(|ioctl| !ioctl.starts_with("message") || expected.contains(&ioctl.as_str()));
        ensure(told.eq(expected), SEQUENCE, format_args!("{all:?} instead of {expected:?}"))
    }

    /// The daemons end. Whoever of them waits for I/O is waited for in [`Self::clean_up_daemon`].
    pub(super) fn stop_daemon(&mut self) -> Outcome {
        let Some(daemon) = &mut self.daemon else { return Ok(()) };
        let map = self.maps.last().map_or_else(String::new, |map| map.name().to_string());
        let before = daemon.ioctls(&map)?.len();
        let stopped = daemon.stop();
        daemon.let_udevd_go();
        let last = daemon.ioctls(&map)?.split_off(before);
        happened("multipathd ended", &[("map", &map), ("ioctls", &told(&last))]);
        stopped
    }

    /// What the daemons left goes, after the I/O and before the maps.
    pub(super) fn clean_up_daemon(&mut self) -> Outcome {
        self.daemon.as_mut().map_or(Ok(()), Multipathd::clean_up)
    }
}

impl MultipathMap {
    /// Waits until `dmsetup status` calls at least `count` paths valid.
    pub fn has_valid_paths(&self, count: usize, name: &str) -> Outcome {
        wait_for(STEP, name, || {
            let status = self.map().multipath_status()?;
            Ok(if status.valid_paths() >= count { Ok(()) } else { Err(format!("{status:?}")) })
        })
    }

    /// Waits until the map's table has as many paths as that.
    pub fn has_paths(&self, count: usize, name: &str) -> Outcome {
        wait_for(STEP, name, || {
            let found = self.map().multipath_status()?.paths().count();
            Ok(if found == count { Ok(()) } else { Err(format!("{found} paths")) })
        })
    }
}
