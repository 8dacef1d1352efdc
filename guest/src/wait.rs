// SPDX-License-Identifier: GPL-2.0-only
//! Waiting: always for a named condition, always with a deadline. Nothing in this crate sleeps for an event.

use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::failure::{Failure, Outcome};

/// The machine's speed factor in thousandths; deadlines are multiplied by it. Set once per case by the agent.
static TIME_FACTOR: AtomicU64 = AtomicU64::new(1000);

/// Sets the factor for all later deadlines; at least 1.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to 1..=1000")]
pub fn set_time_factor(factor: f64) {
    TIME_FACTOR.store((factor.clamp(1.0, 1000.0) * 1000.0) as u64, Ordering::Relaxed);
}

/// A nominal duration on this machine.
pub fn scaled(nominal: Duration) -> Duration {
    nominal.mul_f64(Duration::from_millis(TIME_FACTOR.load(Ordering::Relaxed)).as_secs_f64())
}

/// How often a condition is looked at. Sysfs offers no notification for most of what is waited for.
const POLL: Duration = Duration::from_millis(1);

/// Waits until `probe` answers `Ok(value)`; `Err(seen)` is what it saw instead and is told when the deadline
/// (scaled by the machine's factor) expires. `name` becomes the failed assertion.
pub fn wait_for<T>(
    deadline: Duration,
    name: &str,
    mut probe: impl FnMut() -> Outcome<Result<T, String>>,
) -> Outcome<T> {
    let limit = scaled(deadline);
    let start = Instant::now();
    loop {
        match probe()? {
            Ok(value) => return Ok(value),
            Err(seen) if start.elapsed() >= limit => {
                let waited = start.elapsed().as_secs_f64();
                return Err(Failure::assertion(name, format_args!("not within {waited:.1} s: {seen}")));
            }
            Err(_) => thread::sleep(POLL),
        }
    }
}
