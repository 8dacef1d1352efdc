// SPDX-License-Identifier: GPL-2.0-only
//! The `Bench` that a case gets: one disk with any number of paths, maps on top, I/O, and the clean-up.
//!
//! It hides mechanics and never semantics: what is suspended, loaded, resumed, failed or submitted is a call in
//! the case. A case's steps are checked by [`multipath::MultipathMap`] (the map's side) and [`io::Io`] (where the
//! I/O is); the names of the assertions are constants there.

pub mod background;
pub mod daemon;
pub mod fault;
pub mod file_system;
pub mod holdable;
pub mod io;
pub mod multipath;
pub mod striped;
mod teardown;
pub mod test_map;

use std::path::PathBuf;
use std::rc::Rc;

use nix::time::{ClockId, clock_gettime};

use crate::condition::{Condition, Fault, FileSystemKind, IoKind, QueueMode, Transport};
use crate::daemon::Multipathd;
use crate::dm::{Access, DmName, Map, Multipath, NoPath, Sectors, Selector, Table, Target};
use crate::evidence::blk_debugfs_missing;
use crate::failure::{Failure, GuestContext, Outcome, skip};
use crate::io::{BLOCK, Batch, Engine, Ledger, Spec, of_kind};
use crate::modules;
use crate::paths::loop_device::LoopDevice;
use crate::paths::{self, Path, handler};
use crate::rcu;
use crate::stress::Stress;
use io::{Io, Watched};
use multipath::MultipathMap;
use test_map::TestMap;

/// What a case works with. Made by the agent for one run of one case; taken down by it afterwards.
#[derive(Debug)]
pub struct Bench {
    condition: Condition,
    stress: Stress,
    ledger: Option<Ledger>,
    /// All of the disk is given identified data, and not only its first part.
    uses_whole_disk: bool,
    paths: Vec<Path>,
    /// In the order in which they were made: a map comes after what it stands on.
    maps: Vec<Map>,
    /// Those of them that have to be told to let go.
    test_maps: Vec<TestMap>,
    /// What [`holdable::HoldablePath`]s are made of: below all maps.
    gates: Vec<Map>,
    loops: Vec<LoopDevice>,
    /// Where file systems are, or were, mounted.
    mounts: Vec<PathBuf>,
    batches: Vec<Rc<Batch>>,
    /// Of the multipath maps.
    access: Access,
    /// The one that made the map, if it was not the case itself.
    daemon: Option<Multipathd>,
    taken_down: bool,
}

impl Bench {
    /// A bench for one run of a case.
    pub fn new(condition: Condition) -> Self {
        Self {
            condition,
            stress: Stress::default(),
            ledger: None,
            uses_whole_disk: false,
            paths: Vec::new(),
            maps: Vec::new(),
            test_maps: Vec::new(),
            gates: Vec::new(),
            loops: Vec::new(),
            mounts: Vec::new(),
            batches: Vec::new(),
            access: Access::Symmetric,
            daemon: None,
            taken_down: false,
        }
    }

    /// Says what is asked of a case that has a schedule.
    pub fn set_stress(&mut self, stress: Stress) {
        self.stress = stress;
    }

    /// What is asked of a case that has a schedule.
    pub fn stress(&self) -> Stress {
        self.stress
    }

    /// The point of the matrix.
    pub fn condition(&self) -> Condition {
        self.condition
    }

    /// The queue mode of this run's multipath maps.
    pub fn queue_mode(&self) -> QueueMode {
        self.condition.queue_mode.unwrap_or(QueueMode::Bio)
    }

    /// How paths are made in this run: by `scsi_debug`, unless the condition says otherwise.
    pub fn transport(&self) -> Transport {
        self.condition.transport.unwrap_or(Transport::ScsiDebug)
    }

    /// How paths fail in this run: by message, unless the condition says otherwise.
    pub fn fault(&self) -> Fault {
        self.condition.fault.unwrap_or(Fault::Message)
    }

    /// What is submitted in this run: writes, unless the condition says otherwise.
    pub fn io_kind(&self) -> IoKind {
        self.condition.io.unwrap_or(IoKind::Write)
    }

    /// Gives identified data to all of the disk, in a case with much I/O; called before [`Self::paths`].
    pub fn use_the_whole_disk(&mut self) {
        self.uses_whole_disk = true;
    }

    /// What is mounted in this run: an ext4, unless the condition says otherwise.
    pub fn file_system_kind(&self) -> FileSystemKind {
        self.condition.file_system.unwrap_or(FileSystemKind::Ext4)
    }

    /// `count` paths to the one disk that this case did not have yet: those that the VM kept, then new ones.
    /// The first call gives the disk its first content.
    pub fn paths(&mut self, count: u32) -> Outcome<Vec<Path>> {
        let mine: Vec<u32> = self.paths.iter().map(|path| path.address().host).collect();
        let transport = self.transport();
        let mut new = paths::kept(transport, self.fault());
        new.retain(|path| !mine.contains(&path.address().host));
        new.truncate(count as usize);
        let more = count - u32::try_from(new.len()).unwrap_or(count);
        if more > 0 {
            new.extend(rcu::expedited(|| paths::add(transport, self.fault(), more))?);
        }
        self.paths.extend(new.iter().cloned());
        if let (None, Some(first)) = (&self.ledger, new.first()) {
            let mut ledger = Ledger::new(seed(), self.used(first).0 * 512 / u64::from(BLOCK));
            ledger.prefill(&first.node())?;
            self.ledger = Some(ledger);
        }
        Ok(new)
    }

    /// From now on, maps over these paths have a priority group for each, and initialise it before it is used.
    pub fn use_alua(&mut self, paths: &[Path]) -> Outcome {
        handler::attach(paths)?;
        self.access = Access::Alua;
        Ok(())
    }

    /// A multipath map over `paths`, in the run's queue mode. If that is what the run submits, the map is mapped into
    /// memory while its paths work.
    pub fn multipath(&mut self, name: &str, paths: &[Path], no_path: NoPath) -> Outcome<MultipathMap> {
        self.multipath_by(Selector::RoundRobin, name, paths, no_path)
    }

    /// The same with a chosen path selector.
    pub fn multipath_by(
        &mut self,
        selector: Selector,
        name: &str,
        paths: &[Path],
        no_path: NoPath,
    ) -> Outcome<MultipathMap> {
        let length = self.disk_length()?;
        let map = self.multipath_of(selector, name, length, paths, no_path)?;
        map.require(self.io_kind())?;
        if self.io_kind() == IoKind::Mapped {
            self.ledger()?.map_into_memory(&map.map().node())?;
        }
        Ok(map)
    }

    /// The same over the whole disk and not only its part that holds the identified data.
    pub fn multipath_of_the_whole_disk(
        &mut self,
        name: &str,
        paths: &[Path],
        no_path: NoPath,
    ) -> Outcome<MultipathMap> {
        let length = self.first_path()?.length();
        self.multipath_of(Selector::RoundRobin, name, length, paths, no_path)
    }

    /// The same, which leaves the last MiB of the disk out.
    pub fn multipath_of_most_of_the_disk(
        &mut self,
        name: &str,
        paths: &[Path],
        no_path: NoPath,
    ) -> Outcome<MultipathMap> {
        let length = Sectors(self.first_path()?.length().0.saturating_sub(USED.0));
        self.multipath_of(Selector::RoundRobin, name, length, paths, no_path)
    }

    fn multipath_of(
        &mut self,
        selector: Selector,
        name: &str,
        length: Sectors,
        paths: &[Path],
        no_path: NoPath,
    ) -> Outcome<MultipathMap> {
        for module in ["dm-multipath", &format!("dm-{}", selector.name())] {
            modules::require(module)?;
        }
        let kind = Multipath {
            no_path,
            queue_mode: self.queue_mode(),
            access: self.access,
            selector,
            paths: Vec::new(),
        };
        let table = multipath::table(length, &kind, paths);
        let map = self.create(name, &table)?;
        if self.queue_mode() == QueueMode::Rq
            && let Some(reason) = blk_debugfs_missing(map.device())
        {
            return skip(reason);
        }
        Ok(MultipathMap::new(map, kind, paths))
    }

    /// A linear map whose stretches of [`io::STRETCH`] blocks lie in turn on `left` and on `right`, so that I/O
    /// can span both: today's kernels refuse a table with two multipath targets. Each stretch has the same place
    /// on the disk as in this map, so all of it still is one disk.
    pub fn spanning(&mut self, name: &str, left: &MultipathMap, right: &MultipathMap) -> Outcome<Map> {
        let stretch = Sectors(io::STRETCH * u64::from(BLOCK) / 512);
        let table = Table::alternating(
            [left.map().device(), right.map().device()],
            stretch,
            2 * u64::from(io::SPANNING),
            self.disk_length()?,
        );
        self.create(name, &table)
    }

    /// A linear map over all of a path that is used.
    pub fn linear(&mut self, name: &str, path: &Path) -> Outcome<Map> {
        let target = Target::Linear { device: path.device(), offset: Sectors::ZERO };
        self.create(name, &Table::single(self.disk_length()?, target))
    }

    /// Submits [`io::COUNT`] I/Os of the run's kind to a multipath map.
    pub fn submit(&mut self, map: &MultipathMap) -> Outcome<Io> {
        self.submit_with(Engine::of(self.io_kind()), map, 0)
    }

    /// Submits one write of [`io::LARGE`] blocks.
    pub fn submit_large(&mut self, map: &MultipathMap) -> Outcome<Io> {
        let spec = Spec::new(IoKind::Write, 0, io::LARGE);
        self.submit_to(Engine::IoUring, map.map(), &[spec], vec![Watched::of(map)])
    }

    /// Submits the first of them alone, and the others when it has told the map that no path is left: the transport
    /// error that scsi_debug has for a command, the command of another CPU can take away from it, so that one succeeds
    /// (`sdeb_inject_pending`).
    pub fn submit_one_by_one(&mut self, map: &MultipathMap) -> Outcome<Io> {
        let specs = of_kind(self.io_kind(), io::count(self.io_kind()));
        let (first, others) = specs.split_at(1);
        let first = self.submit_to(Engine::IoUring, map.map(), first, vec![Watched::of(map)])?;
        map.has_no_valid_path()?;
        let others = self.submit_to(Engine::IoUring, map.map(), others, vec![Watched::of(map)])?;
        Ok(first.and(others))
    }

    /// Submits them with a chosen engine, `from` blocks into the disk.
    pub fn submit_with(&mut self, engine: Engine, map: &MultipathMap, from: u64) -> Outcome<Io> {
        let specs: Vec<Spec> = of_kind(self.io_kind(), io::count(self.io_kind()))
            .into_iter()
            .map(|spec| spec.moved(from))
            .collect();
        let watched = vec![Watched::of(map)];
        self.submit_to(engine, map.map(), &specs, watched)
    }

    /// Submits these I/Os to a multipath map.
    pub fn submit_specs(&mut self, engine: Engine, map: &MultipathMap, specs: &[Spec]) -> Outcome<Io> {
        self.submit_to(engine, map.map(), specs, vec![Watched::of(map)])
    }

    /// Submits these I/Os to any map. Only their end is seen.
    pub fn submit_unwatched(&mut self, engine: Engine, map: &Map, specs: &[Spec]) -> Outcome<Io> {
        self.submit_to(engine, map, specs, Vec::new())
    }

    /// Submits [`io::SPANNING`] writes to a map made by [`Self::spanning`], each with one block on `left` and one
    /// on `right`.
    pub fn submit_spanning(&mut self, map: &Map, left: &MultipathMap, right: &MultipathMap) -> Outcome<Io> {
        let period = 2 * io::STRETCH;
        let spans = |index: u32| Spec::new(IoKind::Write, u64::from(index) * period + io::STRETCH - 1, 2);
        let specs: Vec<Spec> = (0..io::SPANNING).map(spans).collect();
        self.submit_to(Engine::IoUring, map, &specs, vec![Watched::of(left), Watched::of(right)])
    }

    /// Submits them while `other`, which went to the same map before, is held in a path; on other blocks.
    pub fn submit_beside(&mut self, engine: Engine, map: &MultipathMap, other: &Io) -> Outcome<Io> {
        self.submit_with(engine, map, u64::from(io::COUNT) * 2).map(|io| io.beside(other))
    }

    fn submit_to(&mut self, engine: Engine, map: &Map, specs: &[Spec], watched: Vec<Watched>) -> Outcome<Io> {
        let batch = Rc::new(self.ledger()?.submit(engine, &map.node(), specs)?);
        self.batches.push(Rc::clone(&batch));
        Ok(Io::new(batch, specs, watched))
    }

    /// Submits I/O of a storm, which judges it itself. What has ended is forgotten.
    pub(crate) fn submit_in_a_storm(
        &mut self,
        engine: Engine,
        map: &Map,
        specs: &[Spec],
    ) -> Outcome<Rc<Batch>> {
        self.batches.retain(|batch| !batch.tally().all_completed());
        let batch = Rc::new(self.ledger()?.submit(engine, &map.node(), specs)?);
        self.batches.push(Rc::clone(&batch));
        Ok(batch)
    }

    /// Reads the whole disk through a path, past every map, and compares it with what was written.
    pub fn data_is_what_was_written(&mut self) -> Outcome {
        let refused = |path: &&Path| path.is_refused_io();
        let (last, first): (Vec<_>, Vec<_>) = self.paths.iter().partition(refused);
        let node = match first.into_iter().chain(last).find_map(Path::usable) {
            Some(path) => path.node(),
            None => self.paths(1)?.first().map(Path::node).unwrap_or_default(),
        };
        self.ledger()?.verify(&node)
    }

    /// A map with any table; it is taken down with the rest.
    pub(crate) fn create(&mut self, name: &str, table: &Table) -> Outcome<Map> {
        let map = make(name, table)?;
        // One that had the same name is gone.
        self.maps.retain(|other| other.name() != map.name());
        self.maps.push(map.clone());
        Ok(map)
    }

    fn ledger(&mut self) -> Outcome<&mut Ledger> {
        self.ledger.as_mut().ok_or_else(|| Failure::guest("the case asked for I/O before it asked for paths"))
    }

    fn disk_length(&self) -> Outcome<Sectors> {
        self.first_path().map(|path| self.used(path))
    }

    fn used(&self, disk: &Path) -> Sectors {
        if self.uses_whole_disk { disk.length() } else { disk.length().min(USED) }
    }

    fn first_path(&self) -> Outcome<&Path> {
        self.paths.first().ok_or_else(|| Failure::guest("the case asked for a map before paths"))
    }
}

/// Makes a device; the caller puts it where the clean-up finds it.
fn make(name: &str, table: &Table) -> Outcome<Map> {
    let name = DmName::of(name).guest("name a map")?;
    rcu::expedited(|| Map::create(name, table))
}

/// How much of a disk is given identified data, and so verified, in each case: 256 blocks. A whole disk is large
/// enough for a file system with a journal.
const USED: Sectors = Sectors(2048);

impl Drop for Bench {
    fn drop(&mut self) {
        self.tear_down();
    }
}

/// Different in each run of each case: what an earlier one left on the disk is told apart.
fn seed() -> u64 {
    let now =
        clock_gettime(ClockId::CLOCK_MONOTONIC).map_or(std::time::Duration::ZERO, std::time::Duration::from);
    u64::try_from(now.as_nanos()).unwrap_or(u64::MAX)
}
