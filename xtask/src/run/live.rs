// SPDX-License-Identifier: GPL-2.0-only
//! What is seen while a run goes on: a bar on a terminal, one plain line an outcome elsewhere. A consumer of the
//! stream like any report.

use crate::event::{Event, Kind};
use crate::progress::{Progress, Step};
use crate::report::model::CaseResult;
use crate::report::terminal::status_line;

/// The listener for a stream of `total` cases.
pub fn listener(progress: &Progress, total: usize) -> Box<dyn FnMut(&Event) + Send> {
    let progress = progress.clone();
    let mut step: Option<Step> = progress.is_live().then(|| progress.step("cases"));
    let mut done = 0;
    Box::new(move |event| match &event.kind {
        Kind::CaseStarted { .. } => {
            if let Some(step) = &mut step {
                step.set(done, total as u64, event.case.as_deref().unwrap_or_default());
            }
        }
        Kind::CaseOutcome { name, condition, outcome, seconds, artifacts } => {
            done += 1;
            let full = event.case.as_deref();
            let case = CaseResult::new(full, name, *condition, outcome, *seconds, artifacts.as_deref());
            progress.line(&status_line(&case, progress.is_live()));
        }
        Kind::VmReady { seconds, release, time_factor, missing_modules, .. } => {
            let vm = event.vm.unwrap_or_default();
            progress.line(&format!(
                "VM {vm}: Linux {release} ready after {seconds:.1} s, deadlines × {time_factor:.1}"
            ));
            for (module, why) in missing_modules {
                progress.line(&format!("VM {vm}: no module {module}: {why}"));
            }
        }
        Kind::VmEnded { reason } if !reason.contains("as planned") => {
            progress.line(&format!("VM {}: {reason}", event.vm.unwrap_or_default()));
        }
        Kind::RunEnded { .. } => step = None,
        _ => {}
    })
}
