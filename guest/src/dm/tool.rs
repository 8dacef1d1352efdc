// SPDX-License-Identifier: GPL-2.0-only
//! Runs `dmsetup`, or another tool, with a deadline. A call that does not return is a failed assertion, never a hang.
//!
//! `dmsetup` and not the ioctls: it is what the seed was tested with and what people will type to reproduce. Where that does
//! not matter, see [`super::direct`]. There is no udev in the guest, so `DM_DISABLE_UDEV` makes libdevmapper create the nodes itself.

use std::fmt::Write as _;
use std::io::{self, Read, Write as _};
use std::os::fd::AsFd;
use std::process::{Child, ChildStderr, ChildStdout, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::assertions::{returns, succeeds};
use crate::failure::{Failure, GuestContext, Outcome};
use crate::wait::{scaled, wait_for};

/// How long any call may take, before scaling. A suspend has to wait for I/O in flight; with scsi_debug's
/// immediate completions everything else is some tens of milliseconds under TCG.
pub const DEADLINE: Duration = Duration::from_secs(5);

/// The tool of most calls.
pub const DMSETUP: &str = "dmsetup";

/// One call of a tool.
#[derive(Debug, Clone, Copy)]
pub struct Call<'a> {
    /// The program, as in the guest's `PATH`.
    pub program: &'a str,
    /// What is being done, a noun for the names of its assertions: `suspend` makes `suspend returns` and
    /// `suspend succeeds`.
    pub what: &'a str,
    /// Its arguments.
    pub args: &'a [&'a str],
    /// Its standard input: a table.
    pub stdin: Option<&'a str>,
}

/// What it said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// It ended well.
    pub succeeded: bool,
    /// Its standard output.
    pub stdout: String,
    /// Its standard error, with the end status if that was not 0.
    pub stderr: String,
}

impl<'a> Call<'a> {
    /// A call of `dmsetup` without standard input.
    pub const fn dmsetup(what: &'a str, args: &'a [&'a str]) -> Self {
        Self { program: DMSETUP, what, args, stdin: None }
    }

    /// Runs it; a refusal fails the assertion `WHAT succeeds`, with the words of the tool.
    pub fn run(&self) -> Outcome<String> {
        self.judge(self.answer()?)
    }

    /// Runs several at the same time and waits for all: a call costs some 40 ms under TCG on a debug kernel, and the
    /// guest has two CPUs. Tells the first failure.
    pub fn run_together(calls: &[Self]) -> Outcome {
        let started: Vec<_> = calls.iter().map(|call| (call, call.start())).collect();
        let ended: Vec<_> =
            started.into_iter().map(|(call, running)| call.judge(running?.finish(call)?)).collect();
        ended.into_iter().collect::<Outcome<Vec<_>>>().map(drop)
    }

    /// Runs it, whether it is refused or not; only a call that does not return is a failure here.
    pub fn answer(&self) -> Outcome<Answer> {
        self.start()?.finish(self)
    }

    fn judge(&self, answer: Answer) -> Outcome<String> {
        if answer.succeeded {
            return Ok(answer.stdout);
        }
        // dmsetup adds a second line, "Command failed.".
        let said = answer.stderr.lines().map(str::trim).collect::<Vec<_>>().join(" ");
        Err(Failure::assertion(succeeds(self.what), format_args!("`{self}` said: {said}")))
    }

    fn start(&self) -> Outcome<Running> {
        let begun = Instant::now();
        let mut child = self.spawn(if self.stdin.is_some() { Stdio::piped() } else { Stdio::null() })?;
        let streams = Streams::of(&mut child)?;
        // A table is far smaller than the pipe (64 KiB), so this does not wait for the reader. A reader that is gone
        // already says why on its standard error.
        if let (Some(text), Some(mut pipe)) = (self.stdin, child.stdin.take())
            && let Err(error) = pipe.write_all(text.as_bytes())
            && error.kind() != io::ErrorKind::BrokenPipe
        {
            return Err(Failure::guest(format_args!("failed to hand a table to `{self}`: {error}")));
        }
        Ok(Running { child, streams, begun })
    }

    fn spawn(&self, stdin: Stdio) -> Outcome<Child> {
        clean(self.program)
            .args(self.args)
            .env("DM_DISABLE_UDEV", "1")
            .stdin(stdin)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .guest(format_args!("start {}", self.program))
    }
}

/// A program that gets nothing of the agent's environment but the `PATH` on which it is found: what the caller adds.
///
/// Found here and not by `Command`: with a path and an environment that is not ours, it uses `posix_spawn`, and does not copy
/// the page tables of the case's process.
pub(crate) fn clean(program: &str) -> Command {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).map(|folder| folder.join(program)).find(|file| file.is_file());
    let mut command = Command::new(found.unwrap_or_else(|| program.into()));
    command.env_clear().env("PATH", path);
    command
}

/// A call that was started.
#[derive(Debug)]
struct Running {
    child: Child,
    streams: Streams,
    begun: Instant,
}

impl Running {
    fn finish(mut self, call: &Call<'_>) -> Outcome<Answer> {
        let deadline = self.begun + scaled(DEADLINE);
        if !self.streams.read_until(deadline).guest(format_args!("read from `{call}`"))? {
            return Err(self.late(call));
        }
        // Both streams are closed: it is exiting. That takes no time, but a deadline costs nothing.
        let status = wait_for(DEADLINE, &returns(call.what), || {
            let ended = self.child.try_wait().guest(format_args!("wait for `{call}`"))?;
            Ok(ended.ok_or_else(|| format!("`{call}` closed its output and does not end")))
        })?;
        Ok(self.streams.into_answer(status))
    }

    /// It did not return: says where it hangs, ends it, and waits a moment for its end so that the clean-up
    /// does not meet it in the kernel.
    fn late(mut self, call: &Call<'_>) -> Failure {
        let (place, waited) = (whereabouts(self.child.id()), self.begun.elapsed().as_secs_f64());
        // Killed or not: the assertion failed already. A suspend is interruptible and ends by this.
        let _killed = self.child.kill();
        let ended = wait_for(Duration::from_secs(1), "a killed tool ends", || {
            Ok(self.child.try_wait().ok().flatten().ok_or_else(String::new))
        });
        let afterwards = if ended.is_ok() { "killed" } else { "it cannot be killed either" };
        Failure::assertion(
            returns(call.what),
            format_args!("`{call}` did not return within {waited:.1} s: {place}; {afterwards}"),
        )
    }
}

/// As it would be typed.
impl std::fmt::Display for Call<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.program)?;
        for arg in self.args {
            if arg.contains(' ') { write!(f, " '{arg}'")? } else { write!(f, " {arg}")? }
        }
        Ok(())
    }
}

/// State and place in the kernel of a process.
pub(crate) fn whereabouts(pid: impl std::fmt::Display) -> String {
    let read = |name: &str| std::fs::read_to_string(format!("/proc/{pid}/{name}")).unwrap_or_default();
    let status = read("status");
    let state = status.lines().find_map(|line| line.strip_prefix("State:")).unwrap_or("unknown").trim();
    let mut text = format!("state {state}");
    let wchan = read("wchan");
    if !wchan.is_empty() && wchan != "0" {
        let _ = write!(text, " in {wchan}");
    }
    text
}

#[derive(Debug)]
struct Streams {
    out: Option<ChildStdout>,
    err: Option<ChildStderr>,
    stdout: Vec<u8>,
    stderr: Vec<u8>,
}

impl Streams {
    fn of(child: &mut Child) -> Outcome<Self> {
        let missing = || Failure::guest("a tool was started without pipes");
        let out = child.stdout.take().ok_or_else(missing)?;
        let err = child.stderr.take().ok_or_else(missing)?;
        Ok(Self { out: Some(out), err: Some(err), stdout: Vec::new(), stderr: Vec::new() })
    }

    /// Reads until both are closed (`true`) or the deadline is over (`false`).
    fn read_until(&mut self, deadline: Instant) -> io::Result<bool> {
        while self.out.is_some() || self.err.is_some() {
            let left = deadline.saturating_duration_since(Instant::now());
            // Rounded up, so that the last millisecond is not a busy loop.
            let left = PollTimeout::try_from(left + Duration::from_millis(1)).unwrap_or(PollTimeout::MAX);
            let mut fds: Vec<PollFd<'_>> = Vec::with_capacity(2);
            let readable = PollFlags::POLLIN;
            fds.extend(self.out.as_ref().map(|stream| PollFd::new(stream.as_fd(), readable)));
            fds.extend(self.err.as_ref().map(|stream| PollFd::new(stream.as_fd(), readable)));
            match poll(&mut fds, left) {
                Ok(0) => return Ok(false),
                Ok(_) | Err(nix::errno::Errno::EINTR) => {}
                Err(error) => return Err(error.into()),
            }
            let ready: Vec<bool> = fds.iter().map(|fd| fd.any().unwrap_or(false)).collect();
            let mut ready = ready.into_iter();
            if self.out.is_some() && ready.next() == Some(true) {
                take(&mut self.out, &mut self.stdout)?;
            }
            if self.err.is_some() && ready.next() == Some(true) {
                take(&mut self.err, &mut self.stderr)?;
            }
        }
        Ok(true)
    }

    fn into_answer(self, status: ExitStatus) -> Answer {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let mut stderr = text(&self.stderr);
        if !status.success() {
            let _ = write!(stderr, "({status})");
        }
        Answer { succeeded: status.success(), stdout: text(&self.stdout), stderr }
    }
}

/// One read of a stream that is ready; `None` from now on when it is closed.
fn take<R: Read>(stream: &mut Option<R>, into: &mut Vec<u8>) -> io::Result<()> {
    let mut buffer = [0; 4096];
    let count = match stream {
        Some(open) => open.read(&mut buffer)?,
        None => 0,
    };
    into.extend_from_slice(&buffer[..count]);
    if count == 0 {
        *stream = None;
    }
    Ok(())
}
