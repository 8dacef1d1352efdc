// SPDX-License-Identifier: GPL-2.0-only
//! How busy the guest's processors are.

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use crate::failure::{Failure, GuestContext as _, Outcome};

/// A tick of `/proc/stat`: `USER_HZ` is 100 on every architecture that this runs on.
const TICK: Duration = Duration::from_millis(10);

/// How many processors were busy on average over `span`, which must be long for 10 ms to be short.
pub fn busy_over(span: Duration) -> Outcome<f64> {
    let (begin, before) = (Instant::now(), busy_ticks()?);
    // The span is what is measured: no event is waited for.
    thread::sleep(span);
    let (ticks, elapsed) = (busy_ticks()?.saturating_sub(before), begin.elapsed());
    Ok(TICK.as_secs_f64() * f64::from(ticks) / elapsed.as_secs_f64())
}

fn busy_ticks() -> Outcome<u32> {
    let text = fs::read_to_string("/proc/stat").guest("read /proc/stat")?;
    parse(&text)
        .ok_or_else(|| Failure::guest(format_args!("/proc/stat begins with {:?}", text.lines().next())))
}

/// All of the first line but `idle` and `iowait`, see `proc_stat(5)`; the guest's own guests are in `user` already.
fn parse(text: &str) -> Option<u32> {
    let words = text.lines().next()?.strip_prefix("cpu ")?.split_ascii_whitespace();
    let ticks: Vec<u32> = words.take(8).map(|word| word.parse().ok()).collect::<Option<_>>()?;
    let idle = ticks.get(3)? + ticks.get(4)?;
    Some(ticks.iter().sum::<u32>() - idle)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn idle_is_not_busy() {
        assert_eq!(parse("cpu  10 1 20 4000 300 5 6 7 100 0\ncpu0 1 2 3\n"), Some(49));
        assert_eq!(parse("intr 1 2 3\n"), None);
        assert_eq!(parse("cpu  10 1\n"), None);
    }
}
