// SPDX-License-Identifier: GPL-2.0-only
//! What the actors of a storm share: the map, its paths as they are now, and the interrupted suspends so far.

use std::sync::Mutex;
use std::time::Duration;

use nix::errno::Errno;

use crate::agent::now;
use crate::bench::fault::{repair, strike};
use crate::bench::holdable::HoldablePath;
use crate::bench::multipath::MultipathMap;
use crate::condition::Fault;
use crate::dm::{Direct, Flush, Map, Table};
use crate::failure::Outcome;
use crate::paths::Path;

use super::board::lock;
use super::oracle::Interruption;

/// The paths at one moment.
#[derive(Debug)]
struct Now {
    /// Each with how it was broken; none if it is deleted.
    paths: Vec<(Option<Path>, Option<Fault>)>,
    /// Rises whenever a path breaks or works again.
    changes: u64,
}

/// What the actors share.
#[derive(Debug)]
pub struct World {
    map: MultipathMap,
    /// A path that holds I/O, if this storm has one: it is the first.
    pub slow: Option<HoldablePath>,
    now: Mutex<Now>,
    interruptions: Mutex<Vec<Interruption>>,
}

/// A table over the paths of one moment.
#[derive(Debug)]
pub struct Snapshot {
    /// The table.
    pub table: Table,
    all_work: bool,
    changes: u64,
}

impl World {
    /// A map over its paths, all of which work.
    pub fn new(map: &MultipathMap, slow: Option<HoldablePath>) -> Self {
        let paths = map.paths().iter().map(|path| (Some(path.clone()), None)).collect();
        Self {
            map: map.clone(),
            slow,
            now: Mutex::new(Now { paths, changes: 0 }),
            interruptions: Mutex::default(),
        }
    }

    /// The map.
    pub fn map(&self) -> &Map {
        self.map.map()
    }

    /// Its ioctls, for one actor.
    pub fn direct(&self) -> Outcome<Direct> {
        Direct::of(self.map())
    }

    /// The paths that are there.
    pub fn paths(&self) -> Vec<Path> {
        lock(&self.now).paths.iter().filter_map(|(path, _)| path.clone()).collect()
    }

    /// A table over them.
    pub fn snapshot(&self) -> Snapshot {
        let now = lock(&self.now);
        let paths: Vec<Path> = now.paths.iter().filter_map(|(path, _)| path.clone()).collect();
        let all_work = now.paths.iter().all(|(_, broken)| broken.is_none());
        let table = self.map.table_over(&paths);
        Snapshot { table, all_work, changes: now.changes }
    }

    /// Whether the kernel may refuse the table: a path of it was broken, or was when it was loaded. (An offline disk
    /// can't be opened, a deleted one is not there.)
    pub fn may_refuse(&self, snapshot: &Snapshot) -> bool {
        !snapshot.all_work || lock(&self.now).changes != snapshot.changes
    }

    /// Breaks the paths with these numbers.
    pub fn break_paths(&self, direct: &Direct, which: &[usize], fault: Fault) -> Outcome {
        let paths: Vec<Path> = {
            let mut now = lock(&self.now);
            now.changes += 1;
            let entries = now.paths.iter_mut().enumerate().filter(|(at, _)| which.contains(at));
            let broken = entries.filter_map(|(_, (path, broken))| {
                *broken = Some(fault);
                if fault == Fault::Delete { path.take() } else { path.clone() }
            });
            broken.collect()
        };
        match fault {
            Fault::Message => tell(direct, "fail_path", &paths),
            fault => strike(fault, &paths, Duration::ZERO)?,
        }
        Ok(())
    }

    /// Makes them work again, and tells the map so, as multipathd does. `gone`: what they were before they broke.
    pub fn repair_paths(&self, direct: &Direct, which: &[usize], gone: &[Path], fault: Fault) -> Outcome {
        let repaired = repair(fault, gone)?;
        {
            let mut now = lock(&self.now);
            now.changes += 1;
            for (at, path) in which.iter().zip(&repaired) {
                now.paths[*at] = (Some(path.clone()), None);
            }
        }
        tell(direct, "reinstate_path", &repaired);
        Ok(())
    }

    /// A suspend begins that gets a signal.
    pub fn interruption_begins(&self) {
        lock(&self.interruptions).push(Interruption { began: now(), ended: None });
    }

    /// It has ended.
    pub fn interruption_ended(&self) {
        if let Some(last) = lock(&self.interruptions).last_mut() {
            last.ended = Some(now());
        }
    }

    /// All of them.
    pub fn interruptions(&self) -> Vec<Interruption> {
        lock(&self.interruptions).clone()
    }
}

/// Tells the map about paths. It refuses while it is suspended (EBUSY), and about a path that is not in its table (EINVAL);
/// then the next I/O or the next table makes it true.
fn tell(direct: &Direct, word: &str, paths: &[Path]) {
    for path in paths {
        let _refused: Result<(), Errno> = direct.message(&format!("{word} {}", path.device()));
    }
}

/// What a path that holds I/O is asked by its actor: ioctls of the gate below it.
pub struct Gate<'a> {
    slow: &'a HoldablePath,
    direct: Direct,
}

impl<'a> Gate<'a> {
    /// Of a path.
    pub fn of(slow: &'a HoldablePath) -> Outcome<Self> {
        Ok(Self { slow, direct: Direct::of(slow.gate())? })
    }

    /// From now on, I/O that reaches the path stays in flight.
    pub fn hold(&self) -> Result<(), Errno> {
        self.direct.suspend(Flush::FlushNolockfs)
    }

    /// What is held goes through.
    pub fn let_go(&self) -> Result<(), Errno> {
        self.direct.resume(Flush::FlushNolockfs)
    }

    /// What is held fails; then the path works again.
    pub fn fail(&self) -> Result<(), Errno> {
        self.direct.load(&Table::error(self.slow.gate().length()))?;
        self.let_go()?;
        self.direct.load(&self.slow.open_table())?;
        self.let_go()
    }
}
