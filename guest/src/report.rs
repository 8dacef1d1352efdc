// SPDX-License-Identifier: GPL-2.0-only
//! What a case tells while it runs: one call for one event, with details by name. In a unit test, or wherever no
//! agent listens, the calls do nothing.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

/// Gets every event; set once by the agent in the case's process.
type Sink = Box<dyn FnMut(&str, BTreeMap<String, String>) + Send>;

static SINK: Mutex<Option<Sink>> = Mutex::new(None);

/// Nothing is told but by [`told`].
static QUIET: AtomicBool = AtomicBool::new(false);

/// Sends all later events to `sink`.
pub fn set_sink(sink: Sink) {
    *lock() = Some(sink);
}

/// While it lives, nothing is told but by [`told`]: a storm has more events than anybody reads.
#[derive(Debug)]
pub struct Quiet(());

/// See [`Quiet`].
pub fn quietly() -> Quiet {
    QUIET.store(true, Ordering::Relaxed);
    Quiet(())
}

impl Drop for Quiet {
    fn drop(&mut self) {
        QUIET.store(false, Ordering::Relaxed);
    }
}

/// Something happened, e.g. `happened("path failed", &[("path", &"8:16")])`.
pub fn happened(what: &str, details: &[(&str, &dyn Display)]) {
    if !QUIET.load(Ordering::Relaxed) {
        told(what, details);
    }
}

/// The same, also while everything else is quiet.
pub fn told(what: &str, details: &[(&str, &dyn Display)]) {
    if let Some(sink) = lock().as_mut() {
        sink(what, details.iter().map(|(name, value)| ((*name).to_owned(), value.to_string())).collect());
    }
}

fn lock() -> std::sync::MutexGuard<'static, Option<Sink>> {
    // A panic elsewhere while the lock was held leaves nothing half done: the sink is replaced as a whole.
    SINK.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}
