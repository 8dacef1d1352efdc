// SPDX-License-Identifier: GPL-2.0-only
//! The ledger of a disk: gives it a first content, submits I/O to it, and verifies all of it afterwards.

use std::fs::File;
use std::path::Path;
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::Duration;

use super::batch::{Batch, Job, READS_ARE_RIGHT, Shared, lock};
use super::buffer::Buffer;
use super::mapping::Mapping;
use super::model::{Model, Ticket};
use super::pattern::{Stamp, fill};
use super::{BLOCK, Engine, IoKind, Spec, device, threads, uring};
use crate::failure::{Failure, GuestContext, Outcome};
use crate::report::happened;
use crate::wait::scaled;

/// The assertion that fails when the disk does not hold what the ledger says.
pub const DATA_IS_RIGHT: &str = "data is what was written";

/// Time to write or read the whole disk.
const WHOLE_DISK: Duration = Duration::from_secs(20);

/// How many wrong blocks a message describes; the rest is counted.
const DESCRIBED: usize = 6;

/// What every block of a disk should hold.
#[derive(Debug)]
pub struct Ledger {
    model: Arc<Mutex<Model>>,
    /// The device as memory, for [`IoKind::Mapped`].
    mapping: Option<Arc<Mapping>>,
}

impl Ledger {
    /// A disk of `blocks` blocks and unknown content; `seed` is best different in each run of each case.
    pub fn new(seed: u64, blocks: u64) -> Self {
        Self { model: Arc::new(Mutex::new(Model::new(seed, blocks))), mapping: None }
    }

    /// Its size in blocks.
    pub fn blocks(&self) -> u64 {
        lock(&self.model).blocks()
    }

    /// Writes an identified first content to every block, with a seed that no earlier content of this ledger had.
    /// `path` is any way to the disk that works, best one below the maps under test.
    pub fn prefill(&mut self, path: &Path) -> Outcome {
        let (first, blocks) = {
            let mut model = lock(&self.model);
            if model.pending_writes() + model.pending_reads() > 0 {
                return Err(Failure::guest("the disk can't get a first content while I/O is pending"));
            }
            model.reseed();
            (model.first_content(0), model.blocks())
        };
        self.whole_disk(path, true, move |file, _| {
            device::write_all(file, blocks, |block, bytes| fill(Stamp { block, ..first }, bytes))
        })?
        .guest(format_args!("write the first content to {}", path.display()))?;
        lock(&self.model).filled();
        happened("disk filled", &[("path", &path.display()), ("blocks", &blocks)]);
        Ok(())
    }

    /// Maps the device at `path` into memory and reads all of it, while that can be done. Stores of [`IoKind::Mapped`] go
    /// there, whatever path they are submitted with.
    pub fn map_into_memory(&mut self, path: &Path) -> Outcome {
        let mapping =
            Mapping::of(path, self.blocks()).guest(format_args!("map {} into memory", path.display()))?;
        self.mapping = Some(Arc::new(mapping));
        Ok(())
    }

    /// Submits the I/Os to the device at `path` and returns as soon as the kernel has them.
    pub fn submit(&mut self, engine: Engine, path: &Path, specs: &[Spec]) -> Outcome<Batch> {
        self.check(specs)?;
        if let Some(spec) = specs.iter().find(|spec| !engine.carries(spec.kind)) {
            return Err(Failure::guest(format_args!("{engine} has no {}", spec.kind)));
        }
        let writes = specs.iter().any(|spec| spec.kind != IoKind::Read);
        let cached = specs.iter().filter(|spec| spec.kind.is_cached()).count();
        let file = match cached {
            0 => device::open(path, writes),
            _ if cached == specs.len() => device::open_cached(path),
            _ => {
                return Err(Failure::guest(
                    "a batch is direct I/O, or all of it goes through the page cache",
                ));
            }
        };
        let file = file.guest(format_args!("open {}", path.display()))?;
        // Told before it is true: afterwards, completions could stand before it in the stream.
        happened("io submitted", &[("engine", &engine), ("path", &path.display()), ("io", &kinds(specs))]);
        self.submit_to(engine, Arc::new(file), specs)
    }

    /// Submits to an open file.
    pub(super) fn submit_to(&mut self, engine: Engine, file: Arc<File>, specs: &[Spec]) -> Outcome<Batch> {
        let tickets: Vec<_> = {
            let mut model = lock(&self.model);
            specs.iter().map(|spec| model.begin(*spec)).collect()
        };
        let started = self.jobs(&tickets).and_then(|jobs| {
            let shared = Arc::new(Shared::new(Arc::clone(&self.model), tickets.clone()));
            let threads = match engine {
                Engine::IoUring | Engine::IoUringInline | Engine::IoUringPolled => {
                    uring::start(engine, &file, jobs, &shared)
                }
                Engine::Threads | Engine::ThreadsNowait => {
                    threads::start(engine, &file, self.mapping.as_ref(), jobs, &shared)
                }
            };
            Ok((threads?, shared))
        });
        match started {
            Ok((threads, shared)) => Ok(Batch::new(shared, engine, threads, file)),
            Err(failure) => {
                if matches!(failure, Failure::Skip(_)) {
                    let mut model = lock(&self.model);
                    for ticket in &tickets {
                        model.forget(ticket);
                    }
                }
                Err(failure)
            }
        }
    }

    /// The jobs with their memory; blocks to write carry their identity.
    fn jobs(&self, tickets: &[Ticket]) -> Outcome<Vec<Job>> {
        let seed = lock(&self.model).first_content(0).seed;
        let job = |(index, ticket): (usize, &Ticket)| {
            let spec = ticket.spec;
            if !spec.kind.has_data() {
                return Ok(Job { index, spec, buffer: None });
            }
            let mut buffer = Buffer::zeroed(spec.blocks.into())
                .ok_or_else(|| Failure::guest(format_args!("no memory for {spec}")))?;
            if let Some(generation) = ticket.generation {
                for (position, bytes) in (0..).zip(buffer.bytes_mut().chunks_exact_mut(BLOCK as usize)) {
                    let block = spec.block + u64::from(position);
                    fill(Stamp { seed, block, generation, position }, bytes);
                }
            }
            Ok(Job { index, spec, buffer: Some(buffer) })
        };
        tickets.iter().enumerate().map(job).collect()
    }

    /// Refuses what the ledger could not account for.
    fn check(&self, specs: &[Spec]) -> Outcome {
        let model = lock(&self.model);
        if !model.is_filled() {
            return Err(Failure::guest("the disk has no first content yet (hint: call `prefill` first)"));
        }
        let fits = |spec: &Spec| {
            spec.kind == IoKind::Flush
                || (spec.blocks > 0
                    && spec.block.checked_add(spec.blocks.into()).is_some_and(|end| end <= model.blocks()))
        };
        match specs.iter().find(|spec| !fits(spec)) {
            _ if specs.is_empty() => Err(Failure::guest("a batch needs at least one I/O")),
            Some(spec) => {
                Err(Failure::guest(format_args!("{spec} is not inside a disk of {} blocks", model.blocks())))
            }
            None => Ok(()),
        }
    }

    /// Reads the whole disk through the device at `path` and checks every block: the assertion [`DATA_IS_RIGHT`].
    /// No write may be pending. Where more than one content was right (a write failed), the one that was seen is
    /// the only right one from now on. A read that returned wrong data earlier fails it as [`READS_ARE_RIGHT`].
    pub fn verify(&mut self, path: &Path) -> Outcome {
        let blocks = {
            let model = lock(&self.model);
            if !model.is_filled() {
                return Err(Failure::guest("the disk has no first content yet (hint: call `prefill` first)"));
            }
            if model.pending_writes() > 0 {
                let pending = model.pending_writes();
                return Err(Failure::guest(format_args!(
                    "{pending} writes are pending: the data can't be judged yet"
                )));
            }
            if let Some(seen) = model.wrong_reads().first() {
                return Err(Failure::assertion(READS_ARE_RIGHT, seen));
            }
            model.blocks()
        };
        match self.whole_disk(path, false, move |file, model| check_all(file, blocks, model))? {
            Err(error) => {
                Err(Failure::assertion(DATA_IS_RIGHT, format_args!("reading {}: {error}", path.display())))
            }
            Ok(wrong) if wrong.is_empty() => {
                happened("data verified", &[("path", &path.display()), ("blocks", &blocks)]);
                Ok(())
            }
            Ok(wrong) => Err(Failure::assertion(DATA_IS_RIGHT, summary(&wrong, blocks))),
        }
    }

    /// Runs `transfer` in a thread of its own, so that a device that does not answer costs a deadline and not the
    /// case.
    fn whole_disk<T: Send + 'static>(
        &self,
        path: &Path,
        write: bool,
        transfer: impl FnOnce(&File, &Mutex<Model>) -> Result<T, String> + Send + 'static,
    ) -> Outcome<Result<T, String>> {
        let file = device::open(path, write).guest(format_args!("open {}", path.display()))?;
        let (found, wanted) =
            (device::blocks(&file).guest(format_args!("size {}", path.display()))?, self.blocks());
        if found < wanted {
            let path = path.display();
            return Err(Failure::guest(format_args!("{path} has {found} blocks, its ledger {wanted}")));
        }
        let (answer, done) = mpsc::sync_channel(1);
        let model = Arc::clone(&self.model);
        let run = move || {
            let result = transfer(&file, &model);
            // Closed before the answer: the case may remove the device next.
            drop(file);
            let _nobody_waits = answer.send(result);
        };
        thread::Builder::new().name("io-disk".to_owned()).spawn(run).guest("start a thread")?;
        let limit = scaled(WHOLE_DISK);
        let late = |_| Err(format!("no answer within {:.0} s", limit.as_secs_f64()));
        Ok(done.recv_timeout(limit).unwrap_or_else(late))
    }
}

/// Checks every block against the model; what is wrong, in words.
fn check_all(file: &File, blocks: u64, model: &Mutex<Model>) -> Result<Vec<String>, String> {
    let from = lock(model).tick();
    let mut wrong = Vec::new();
    device::read_all(file, blocks, |first, chunk| {
        let mut model = lock(model);
        for (block, bytes) in (first..).zip(chunk.chunks_exact(BLOCK as usize)) {
            match model.check(block, from, bytes) {
                Ok(content) => model.adopt(content),
                Err(seen) => wrong.push(seen),
            }
        }
    })?;
    Ok(wrong)
}

/// The first wrong blocks, and how many there are.
fn summary(wrong: &[String], blocks: u64) -> String {
    let described = wrong.iter().take(DESCRIBED).cloned().collect::<Vec<_>>().join("; ");
    let more = wrong.len().saturating_sub(DESCRIBED);
    let more = if more > 0 { format!("; and {more} more") } else { String::new() };
    format!("{} of {blocks} blocks are wrong: {described}{more}", wrong.len())
}

/// `32 write`, `8 write, 1 flush`.
fn kinds(specs: &[Spec]) -> String {
    let count = |kind: &IoKind| specs.iter().filter(|spec| spec.kind == *kind).count();
    let parts = IoKind::ALL.iter().map(|kind| (count(kind), kind)).filter(|(count, _)| *count > 0);
    parts.map(|(count, kind)| format!("{count} {kind}")).collect::<Vec<_>>().join(", ")
}
