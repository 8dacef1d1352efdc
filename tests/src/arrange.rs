// SPDX-License-Identifier: GPL-2.0-only
//! What many cases start with.

use std::time::Duration;

use guest::bench::fault::{repair, strike};
use guest::bench::holdable::HoldablePath;
use guest::bench::io::Io;
use guest::bench::multipath::MultipathMap;
use guest::dm::NoPath;
use guest::io::Engine;
use guest::paths::Path;
use guest::prelude::*;
use guest::wait::scaled;

/// I/O that waits in the target of a map without a valid path.
pub struct Queued {
    /// The paths, all of them failed.
    pub paths: Vec<Path>,
    /// The map, with queue_if_no_path.
    pub map: MultipathMap,
    /// The I/O.
    pub io: Io,
}

/// Two paths, a map over them with queue_if_no_path, both paths failed in the run's way, then I/O of the run's kind:
/// it is seen waiting in the target before this returns. One path, if it takes seconds until its I/O fails: the I/O would go
/// from one to the other and wait twice.
pub fn queued_in_the_target(bench: &mut Bench) -> Outcome<Queued> {
    let paths = bench.paths(if bench.fault().takes_long() { 1 } else { 2 })?;
    let map = bench.multipath("map", &paths, NoPath::Queue)?;
    map.fail_every_path(bench.fault())?;
    let io = match bench.fault() {
        Fault::TransportError => bench.submit_one_by_one(&map)?,
        _ => bench.submit(&map)?,
    };
    map.has_no_valid_path()?;
    io.is_queued_in_the_target()?;
    Ok(Queued { paths, map, io })
}

/// I/O that spans two multipath maps and waits in both.
pub struct Spanning {
    /// One path for each map, both failed.
    pub paths: Vec<Path>,
    /// The map below the first half of each I/O.
    pub left: MultipathMap,
    /// The map below the second half.
    pub right: MultipathMap,
    /// The I/O, submitted to a linear map over both.
    pub io: Io,
}

/// Two maps of one path each, a linear map over both (today's kernels refuse a table with two multipath targets), both
/// paths failed, then writes that span both: each half is seen waiting in its target before this returns.
pub fn spanning_in_the_targets(bench: &mut Bench) -> Outcome<Spanning> {
    let paths = bench.paths(2)?;
    let left = bench.multipath("left", &paths[..1], NoPath::Queue)?;
    let right = bench.multipath("right", &paths[1..], NoPath::Queue)?;
    let spanning = bench.spanning("spanning", &left, &right)?;
    left.fail_every_path(bench.fault())?;
    right.fail_every_path(bench.fault())?;
    let io = bench.submit_spanning(&spanning, &left, &right)?;
    io.is_queued_in_the_target()?;
    Ok(Spanning { paths, left, right, io })
}

/// I/O in flight in the only path of a map that has not failed.
pub struct InFlight {
    /// The path.
    pub slow: HoldablePath,
    /// Another path, which has failed.
    pub failed: Path,
    /// The map.
    pub map: MultipathMap,
    /// The I/O.
    pub held: Io,
}

/// A map over a path that holds I/O and one that has failed, then I/O, which is seen in flight before this returns.
pub fn in_flight(bench: &mut Bench, no_path: NoPath) -> Outcome<InFlight> {
    let paths = bench.paths(2)?;
    let slow = bench.holdable("gate", &paths[0])?;
    let failed = paths[1].clone();
    let map = bench.multipath("map", &[failed.clone(), slow.path().clone()], no_path)?;
    slow.hold()?;
    map.fail_first_path(Fault::Message)?;
    let held = bench.submit(&map)?;
    held.is_in_flight()?;
    Ok(InFlight { slow, failed, map, held })
}

/// I/O in flight that fails by the run's fault.
pub struct Doomed {
    /// The map.
    pub map: MultipathMap,
    /// The I/O.
    pub held: Io,
    /// Another path, which has failed by message only.
    spare: Path,
    place: Place,
}

/// Where doomed I/O is.
enum Place {
    /// In a path that holds it, above a device that will fail it; or the path itself will.
    Path(HoldablePath),
    /// In a SCSI device whose answer the map is not going to like.
    Device(Path),
}

/// How long SCSI commands stay in a device before they fail, before scaling: longer than what a case does before it is
/// seen waiting for them, 40 to 120 ms on a busy machine.
const STAY: Duration = Duration::from_millis(200);

/// As [`in_flight`], for I/O that the run's fault makes fail. What scsi_debug injects is decided when a command comes, and a
/// session that is lost keeps its I/O for a while: then the commands are in the SCSI device. Other faults strike later, below
/// a path that holds the I/O. Without a fault it is the path that fails it.
pub fn doomed_in_flight(bench: &mut Bench, no_path: NoPath) -> Outcome<Doomed> {
    match bench.condition().fault {
        Some(fault) if fault.holds_io() => {
            let paths = bench.paths(2)?;
            let map = bench.multipath("map", &paths, no_path)?;
            map.fail_first_path(Fault::Message)?;
            strike(fault, &paths[1..], scaled(STAY))?;
            let held = bench.submit(&map)?;
            held.is_in_flight()?;
            Ok(Doomed { map, held, spare: paths[0].clone(), place: Place::Device(paths[1].clone()) })
        }
        _ => {
            let InFlight { slow, failed, map, held } = in_flight(bench, no_path)?;
            Ok(Doomed { map, held, spare: failed, place: Place::Path(slow) })
        }
    }
}

impl Doomed {
    /// The fault strikes, and the I/O fails.
    pub fn fails(&self, bench: &Bench) -> Outcome {
        match (&self.place, bench.condition().fault) {
            (Place::Path(slow), None) => slow.fail_what_is_held(),
            (Place::Path(slow), Some(fault)) => {
                strike(fault, std::slice::from_ref(slow.below()), Duration::ZERO)?;
                slow.let_go()
            }
            // The SCSI layer is about to find out.
            (Place::Device(_), _) => Ok(()),
        }
    }

    /// The fault goes; what a new table can be made of.
    pub fn recovers(&self, bench: &Bench) -> Outcome<Vec<Path>> {
        let mut paths = vec![self.spare.clone()];
        if let (Place::Path(_), None) = (&self.place, bench.condition().fault) {
            return Ok(paths);
        }
        let struck = match &self.place {
            Place::Path(slow) => slow.below(),
            Place::Device(path) => path,
        };
        paths.extend(repair(bench.fault(), std::slice::from_ref(struck))?);
        Ok(paths)
    }
}

/// I/O of one map in two places: in flight in a path, and queued in the target.
pub struct Split {
    /// The path that holds I/O. The map takes it for failed, and so gives it nothing more.
    pub slow: HoldablePath,
    /// The other path, which has failed.
    pub failed: Path,
    /// The map, with queue_if_no_path.
    pub map: MultipathMap,
    /// The I/O that the path holds.
    pub held: Io,
    /// The I/O that the target has queued.
    pub queued: Io,
}

/// As [`in_flight`], then that path fails too, then more I/O: it is seen queued in the target before this returns.
pub fn split_between_path_and_target(bench: &mut Bench) -> Outcome<Split> {
    let InFlight { slow, failed, map, held } = in_flight(bench, NoPath::Queue)?;
    map.fail_every_path(Fault::Message)?;
    let queued = bench.submit_beside(Engine::IoUring, &map, &held)?;
    queued.is_queued_in_the_target()?;
    Ok(Split { slow, failed, map, held, queued })
}
