// SPDX-License-Identifier: GPL-2.0-only
//! The one stream of events of a run: written to events.jsonl as it happens, kept for the reports, and shown to a
//! listener (the live progress).

use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use anyhow::Context as _;
use camino::Utf8Path;

use crate::event::{Event, FORMAT, Kind, Source};

/// Sees every event as it happens.
type Listener = Box<dyn FnMut(&Event) + Send>;

/// A handle on the stream; clones share it.
#[derive(Clone)]
pub struct Stream {
    start: Instant,
    inner: Arc<Mutex<Inner>>,
}

struct Inner {
    file: BufWriter<File>,
    events: Vec<Event>,
    listener: Listener,
    failed: Option<std::io::Error>,
}

/// Where an event belongs.
#[derive(Debug, Clone, Default)]
pub struct Place {
    /// The VM, if any.
    pub vm: Option<u32>,
    /// The case's full name, if any.
    pub case: Option<String>,
}

impl Stream {
    /// A new stream into `path`.
    pub fn create(path: &Utf8Path, listener: Listener) -> anyhow::Result<Self> {
        let file = BufWriter::new(fs_err::File::create(path)?.into_parts().0);
        let inner = Inner { file, events: vec![], listener, failed: None };
        Ok(Self { start: Instant::now(), inner: Arc::new(Mutex::new(inner)) })
    }

    /// Seconds of `at` on the run's clock.
    pub fn seconds(&self, at: Instant) -> f64 {
        at.saturating_duration_since(self.start).as_secs_f64()
    }

    /// Something happened now.
    pub fn now(&self, src: Source, place: &Place, kind: Kind) {
        self.at(self.seconds(Instant::now()), src, place, kind);
    }

    /// Something happened at `t` seconds on the run's clock.
    pub fn at(&self, t: f64, src: Source, place: &Place, kind: Kind) {
        // Microseconds are all that the clocks are worth, and keep the lines short.
        let t = (t * 1e6).round() / 1e6;
        let event = Event { v: FORMAT, t, src, vm: place.vm, case: place.case.clone(), kind };
        let mut inner = self.lock();
        let written = serde_json::to_writer(&mut inner.file, &event).map_err(std::io::Error::from);
        // The beginning too: a run that is killed before its first outcome is still known to be one.
        let flush = matches!(
            event.kind,
            Kind::RunStarted { .. } | Kind::CaseOutcome { .. } | Kind::VmEnded { .. } | Kind::RunEnded { .. }
        );
        let written = written.and_then(|()| inner.file.write_all(b"\n"));
        let written = written.and_then(|()| if flush { inner.file.flush() } else { Ok(()) });
        if let Err(error) = written {
            inner.failed.get_or_insert(error);
        }
        (inner.listener)(&event);
        inner.events.push(event);
    }

    /// Everything so far; an error if some of it could not be written.
    pub fn finish(&self, path: &Utf8Path) -> anyhow::Result<Vec<Event>> {
        let mut inner = self.lock();
        let flushed = inner.file.flush();
        let failed = inner.failed.take().map_or(flushed, Err);
        failed.with_context(|| format!("write {path}"))?;
        Ok(inner.events.clone())
    }

    /// The events of one place, for the folder of a failure, in the order of their times: the kernel's tracepoints
    /// come in bundles and late.
    pub fn of(&self, place: &Place) -> Vec<Event> {
        let inner = self.lock();
        let here = |e: &&Event| e.vm == place.vm && (e.case.is_none() || e.case == place.case);
        let mut events: Vec<Event> = inner.events.iter().filter(here).cloned().collect();
        events.sort_by(|a, b| a.t.total_cmp(&b.t));
        events
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Events are pushed whole; a panic of another thread leaves nothing half done.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{HostFacts, KernelFacts};
    use crate::report::recorded;

    #[test]
    fn a_run_that_has_begun_is_on_disk() {
        let dir = tempfile::tempdir().unwrap();
        let dir = Utf8Path::from_path(dir.path()).unwrap();
        let stream = Stream::create(&dir.join("events.jsonl"), Box::new(|_| {})).unwrap();
        let planned = vec!["a::b".to_owned()];
        let (kernel, host) = (KernelFacts::default(), HostFacts::default());
        let started = Kind::RunStarted { kernel, host, stress: None, partition: None, planned };
        stream.now(Source::Host, &Place::default(), started);
        assert_eq!(recorded::read(dir).unwrap().results.cases.len(), 1);
    }
}
