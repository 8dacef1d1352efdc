// SPDX-License-Identifier: GPL-2.0-only
//! One case in its own process: run the proof, send the verdict, clean up. The verdict goes out before the clean-up,
//! so that a failed assertion is known even when the broken kernel then hangs in the clean-up.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;

use crate::bench::Bench;
use crate::case::Case;
use crate::condition::Condition;
use crate::failure::{Failure, Outcome};
use crate::message::{FromGuest, Verdict};
use crate::stress::Stress;
use crate::{report, wait};

use super::port::Port;
use super::{capture, now, sabotage};

/// Where the last panic was, for the verdict's message.
static PANIC: Mutex<Option<String>> = Mutex::new(None);

/// How the host wants it run.
pub struct Asked {
    /// The point of the matrix.
    pub condition: Condition,
    /// Factor for every deadline.
    pub time_factor: f64,
    /// For cases that have a schedule.
    pub stress: Stress,
}

/// Runs the case and returns the exit status of its process.
pub fn run(port: &Port, token: u64, case: Option<&Case>, asked: &Asked) -> i32 {
    wait::set_time_factor(asked.time_factor);
    if let Ok(port) = port.share() {
        report::set_sink(Box::new(move |what, details| {
            let _ = port.send(&FromGuest::Happened { token, t: now(), what: what.to_owned(), details });
        }));
    }
    if let Ok(port) = port.share() {
        sabotage::set_port(port, token);
    }
    let Some(case) = case else {
        return say(port, token, Verdict::Infra { message: "the guest's catalogue has no such case".into() });
    };
    std::panic::set_hook(Box::new(|info| {
        if let Ok(mut place) = PANIC.lock() {
            *place = Some(info.to_string());
        }
    }));
    let mut bench = Bench::new(asked.condition);
    bench.set_stress(asked.stress);
    report::happened("body started", &[]);
    let result = catch_unwind(AssertUnwindSafe(|| (case.run)(&mut bench)));
    report::happened("body ended", &[]);
    let verdict = verdict(result);
    let explain = !matches!(verdict, Verdict::Pass | Verdict::Skipped { .. });
    let status = say(port, token, verdict);
    if explain {
        capture::kernel_log(port, token);
    }
    // What could not be taken down is in the events, and the agent finds what is left.
    bench.tear_down();
    status
}

fn say(port: &Port, token: u64, verdict: Verdict) -> i32 {
    match port.send(&FromGuest::Verdict { token, t: now(), verdict }) {
        Ok(()) => 0,
        Err(_) => 3,
    }
}

fn verdict(result: Result<Outcome, Box<dyn std::any::Any + Send>>) -> Verdict {
    match result {
        Ok(Ok(())) => Verdict::Pass,
        Ok(Err(Failure::Assertion { assertion, message })) => Verdict::Fail { assertion, message },
        Ok(Err(Failure::Skip(reason))) => Verdict::Skipped { reason },
        Ok(Err(Failure::Guest(message))) => Verdict::Infra { message },
        Err(_) => {
            let place = PANIC.lock().ok().and_then(|mut p| p.take()).unwrap_or_default();
            Verdict::Infra { message: format!("the case's own code panicked: {}", place.replace('\n', " ")) }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_never_a_pass() {
        let result = catch_unwind(|| -> Outcome { panic!("index out of bounds") });
        assert!(matches!(verdict(result), Verdict::Infra { .. }));
    }

    #[test]
    fn each_end_has_its_verdict() {
        assert_eq!(verdict(Ok(Ok(()))), Verdict::Pass);
        let failed = Failure::assertion("data is what was written", "block 3 is zero");
        assert!(matches!(verdict(Ok(Err(failed))), Verdict::Fail { .. }));
        assert!(matches!(verdict(Ok(Err(Failure::Skip("no BLK_DEBUG_FS".into())))), Verdict::Skipped { .. }));
        assert!(matches!(verdict(Ok(Err(Failure::guest("no memory")))), Verdict::Infra { .. }));
    }
}
