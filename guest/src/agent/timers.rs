// SPDX-License-Identifier: GPL-2.0-only
//! Whether every CPU takes its timer's interrupts. One boot among hundreds under QEMU 7.2's TCG, with another VM starting beside it,
//! had a second CPU that took none from the start. Whatever waited for a timer there hung, and half a minute later RCU
//! reported a stall in a case that had nothing to do with it. Such a VM says nothing about the kernel: it is not used.

use std::io;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;

/// How long is waited for.
const SLEEP: Duration = Duration::from_millis(1);
/// An emulated CPU on a busy host may be late by seconds.
const WITHIN: Duration = Duration::from_secs(8);

/// This thread.
const SELF: Pid = Pid::from_raw(0);

/// An error names the first CPU whose timer does not fire. With one CPU there is nobody who could tell.
pub fn check() -> io::Result<()> {
    each_cpu(SLEEP, WITHIN)
}

fn each_cpu(sleep: Duration, within: Duration) -> io::Result<()> {
    let all = sched_getaffinity(SELF)?;
    let cpus: Vec<usize> = (0..CpuSet::count()).filter(|cpu| all.is_set(*cpu).unwrap_or(false)).collect();
    for cpu in &cpus {
        let Some(watcher) = cpus.iter().find(|other| *other != cpu) else { continue };
        // The wait below ends by the watcher's own timer, if the other does not fire.
        run_on(*watcher)?;
        let fires = sleeps_on(*cpu, sleep, within);
        sched_setaffinity(SELF, &all)?;
        if !fires {
            return Err(io::Error::other(format!(
                "the timer of CPU {cpu} does not fire: a sleep of {sleep:?} had not ended after {within:?}"
            )));
        }
    }
    Ok(())
}

fn sleeps_on(cpu: usize, sleep: Duration, within: Duration) -> bool {
    let (tell, told) = mpsc::channel();
    let sleeper = thread::spawn(move || {
        if run_on(cpu).is_ok() {
            thread::sleep(sleep);
        }
        // Nobody listens when it took too long.
        let _ = tell.send(());
    });
    // The agent goes on with one thread; one that never ends would end with it.
    told.recv_timeout(within).is_ok() && sleeper.join().is_ok()
}

fn run_on(cpu: usize) -> io::Result<()> {
    let mut one = CpuSet::new();
    one.set(cpu)?;
    Ok(sched_setaffinity(SELF, &one)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timer_that_does_not_fire_is_told_by_its_cpu() {
        check().unwrap();
        if thread::available_parallelism().is_ok_and(|cpus| cpus.get() > 1) {
            let error = each_cpu(Duration::from_secs(60), Duration::from_millis(1)).unwrap_err();
            assert!(error.to_string().contains("does not fire"), "{error}");
        }
    }
}
