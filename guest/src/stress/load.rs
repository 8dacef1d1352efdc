// SPDX-License-Identifier: GPL-2.0-only
//! The I/O of a storm: lanes, each with blocks of its own and one batch under way. So the order of all writes to a block is
//! known, and what must be on the disk is never a matter of timing.

use std::rc::Rc;
use std::time::{Duration, Instant};

use crate::bench::Bench;
use crate::bench::io::COMES_BACK;
use crate::dm::Map;
use crate::failure::{Failure, Outcome};
use crate::io::{Batch, Engine, IoState};

use super::oracle::{Interruption, judge};
use super::schedule::{LANES, Schedule, Submit, Timed};

/// Every I/O ends as the seed allows.
pub const ENDS: &str = "I/O fails only where a suspend was interrupted";

/// One lane.
struct Lane {
    batches: Box<dyn Iterator<Item = Timed<Submit>>>,
    next: Option<(Instant, Submit)>,
    under_way: Option<Rc<Batch>>,
}

/// How the I/O of a storm went so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Ended {
    /// Succeeded.
    pub ok: usize,
    /// Failed where it may.
    pub eio: usize,
}

/// The I/O of a storm.
pub struct Load {
    map: Map,
    lanes: Vec<Lane>,
    /// What has ended.
    pub ended: Ended,
}

impl Load {
    /// Nothing is submitted yet.
    pub fn new(map: &Map, schedule: &Schedule) -> Self {
        let lane = |n| Lane { batches: Box::new(schedule.batches(n)), next: None, under_way: None };
        Self { map: map.clone(), lanes: (0..LANES).map(lane).collect(), ended: Ended::default() }
    }

    /// Looks at what has come back and submits what is due; without `more`, nothing new. `true`: nothing is under way.
    pub fn goes_on(
        &mut self,
        bench: &mut Bench,
        interruptions: &[Interruption],
        more: bool,
    ) -> Outcome<bool> {
        let mut idle = true;
        for lane in &mut self.lanes {
            if lane.under_way.as_ref().is_some_and(|batch| batch.tally().all_completed())
                && let Some(batch) = lane.under_way.take()
            {
                take(&batch, interruptions, &mut self.ended)?;
            }
            if lane.under_way.is_none() && more {
                lane.submit_if_due(bench, &self.map)?;
            }
            idle &= lane.under_way.is_none();
        }
        Ok(idle)
    }

    /// What is under way, in words.
    pub fn under_way(&self) -> String {
        let tallies = self.lanes.iter().filter_map(|lane| lane.under_way.as_ref()).map(|b| b.tally());
        let texts: Vec<String> = tallies.map(|tally| tally.to_string()).collect();
        if texts.is_empty() { "nothing".to_owned() } else { texts.join("; ") }
    }
}

impl Lane {
    fn submit_if_due(&mut self, bench: &mut Bench, map: &Map) -> Outcome {
        let (due, submit) = match self.next.take() {
            Some(next) => next,
            None => match self.batches.next() {
                Some(timed) => (Instant::now() + timed.pause(), timed.step),
                None => return Ok(()),
            },
        };
        if Instant::now() < due {
            self.next = Some((due, submit));
            return Ok(());
        }
        let engine = if submit.threads { Engine::Threads } else { Engine::IoUring };
        self.under_way = Some(bench.submit_in_a_storm(engine, map, &submit.specs())?);
        Ok(())
    }
}

/// A batch that has ended: each I/O as the oracle allows, each read with the right data.
fn take(batch: &Batch, interruptions: &[Interruption], ended: &mut Ended) -> Outcome {
    batch.wait_all_completed(Duration::ZERO, COMES_BACK)?;
    for result in batch.results() {
        judge(&result, interruptions).map_err(|seen| Failure::assertion(ENDS, seen))?;
        match result.state {
            IoState::Ok => ended.ok += 1,
            _ => ended.eio += 1,
        }
    }
    Ok(())
}
