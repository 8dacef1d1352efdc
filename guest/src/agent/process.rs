// SPDX-License-Identifier: GPL-2.0-only
//! Processes of the guest: fork, reap, kill a group, and the list of who is still there.

use std::io;

use nix::errno::Errno;
use nix::sys::signal::{SigSet, Signal, killpg};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{ForkResult, Pid, fork as sys_fork, setpgid};

use crate::message::Exit;

/// Runs `child` in a new process, in a process group of its own, with no signal blocked; it exits with what
/// `child` returns.
pub fn fork(child: impl FnOnce() -> i32) -> io::Result<Pid> {
    // SAFETY: the agent has one thread, so the child may use everything that the parent could.
    match unsafe { sys_fork() }? {
        ForkResult::Parent { child } => Ok(child),
        ForkResult::Child => {
            let _ = setpgid(Pid::from_raw(0), Pid::from_raw(0));
            let _ = SigSet::empty().thread_set_mask();
            std::process::exit(child())
        }
    }
}

/// One ended child, if there is one.
pub fn reap() -> Option<(Pid, Exit)> {
    match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
        Ok(WaitStatus::Exited(pid, status)) => Some((pid, Exit::Exited { status })),
        Ok(WaitStatus::Signaled(pid, signal, _)) => Some((pid, Exit::Signaled { signal: signal as i32 })),
        _ => None,
    }
}

/// Kills what a case left running in its group.
pub fn end_group(leader: Pid) {
    let _: Result<(), Errno> = killpg(leader, Signal::SIGKILL);
}

/// A line of `/proc/<pid>/stat`, as far as it is needed here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Task {
    /// Process id.
    pub pid: i32,
    /// Command name.
    pub comm: String,
    /// State letter: `D` is uninterruptible sleep.
    pub state: char,
    /// Whether it is a kernel thread (`PF_KTHREAD`, `0x0020_0000` in include/linux/sched.h).
    pub kernel: bool,
    /// When it was started, in clock ticks after boot: with the process id it tells two processes apart.
    pub start: u64,
}

const PF_KTHREAD: u64 = 0x0020_0000;

/// Parses `/proc/<pid>/stat` (proc(5)); the command name stands in parentheses and may hold any character.
pub fn parse_stat(line: &str) -> Option<Task> {
    let (pid, rest) = line.split_once(" (")?;
    let (comm, rest) = rest.rsplit_once(") ")?;
    let fields: Vec<_> = rest.split(' ').collect();
    Some(Task {
        pid: pid.parse().ok()?,
        comm: comm.to_owned(),
        state: fields.first()?.chars().next()?,
        kernel: fields.get(6)?.parse::<u64>().ok()? & PF_KTHREAD != 0,
        start: fields.get(19)?.parse().ok()?,
    })
}

/// Every process that `/proc` shows.
pub fn tasks() -> Vec<Task> {
    let Ok(entries) = std::fs::read_dir("/proc") else { return vec![] };
    entries
        .flatten()
        .filter(|e| e.file_name().as_encoded_bytes().iter().all(u8::is_ascii_digit))
        .filter_map(|e| parse_stat(&std::fs::read_to_string(e.path().join("stat")).ok()?))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stat_lines_as_the_kernel_prints_them() {
        let worker = "62 (kworker/u4:2-ev) D 2 0 0 0 -1 69238880 0 0 0 0 0 3 0 0 20 0 1 0 28 0 0";
        assert_eq!(
            parse_stat(worker),
            Some(Task { pid: 62, comm: "kworker/u4:2-ev".into(), state: 'D', kernel: true, start: 28 })
        );
        let odd = "77 (a) b (c) S 1 77 77 0 -1 4194560 97 0 0 0 0 0 0 0 20 0 1 0 300 1 1";
        assert_eq!(
            parse_stat(odd),
            Some(Task { pid: 77, comm: "a) b (c".into(), state: 'S', kernel: false, start: 300 })
        );
        assert_eq!(parse_stat("nonsense"), None);
    }
}
