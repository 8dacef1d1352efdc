// SPDX-License-Identifier: GPL-2.0-only
//! Ctrl-C (SIGINT), SIGTERM and SIGHUP: a flag that every long wait looks at, so that VMs are killed, locks are
//! dropped and a partial report is written. A second signal ends the process at once (QEMU dies with its parent).

use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Context as _;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use crate::exit::{Code, coded};

static FLAG: OnceLock<Arc<AtomicBool>> = OnceLock::new();

/// Installs the handlers; called once by `main`.
pub fn install() -> anyhow::Result<()> {
    let flag = FLAG.get_or_init(Arc::default);
    for signal in [SIGINT, SIGTERM, SIGHUP] {
        // Order matters: the second signal finds the flag set and ends the process.
        signal_hook::flag::register_conditional_shutdown(signal, 128, Arc::clone(flag))
            .and_then(|_| signal_hook::flag::register(signal, Arc::clone(flag)))
            .with_context(|| format!("install the handler of signal {signal}"))?;
    }
    Ok(())
}

/// Whether the user asked to stop.
pub fn requested() -> bool {
    FLAG.get().is_some_and(|flag| flag.load(Ordering::Relaxed))
}

/// An error if the user asked to stop.
pub fn check() -> anyhow::Result<()> {
    if requested() { Err(coded(Code::HostFailed, "interrupted")) } else { Ok(()) }
}
