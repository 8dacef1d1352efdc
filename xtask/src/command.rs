// SPDX-License-Identifier: GPL-2.0-only
//! The one way to run an external program: argv, working directory, time, exit status and the tail of the output
//! are recorded, and an error names all of them. Built on `duct`; the child dies with us (PDEATHSIG).

use std::collections::VecDeque;
use std::ffi::OsString;
use std::io::{Read as _, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use camino::{Utf8Path, Utf8PathBuf};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::prctl;
use nix::sys::signal::Signal;

use crate::interrupt;

/// Lines of output that an error shows.
const TAIL_LINES: usize = 20;

/// Milliseconds after which we look whether a program that prints nothing is to be stopped.
const GLANCE_MS: u8 = 100;

/// A program that did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It could not be started.
    #[error("failed to start `{argv}` (hint: `cargo xtask doctor` lists what is missing)")]
    Start {
        /// The command line.
        argv: String,
        /// Why.
        source: std::io::Error,
    },
    /// It ended with a status other than 0.
    #[error("`{argv}`{} ended with {status} after {seconds:.1} s{}", in_dir(.cwd.as_ref()), shown(.tail))]
    Status {
        /// The command line.
        argv: String,
        /// Working directory, if not ours.
        cwd: Option<Utf8PathBuf>,
        /// Exit status in words.
        status: String,
        /// Wall time.
        seconds: f64,
        /// Last lines of its output.
        tail: String,
    },
    /// The user interrupted us.
    #[error("interrupted while `{argv}` ran")]
    Interrupted {
        /// The command line.
        argv: String,
    },
}

fn in_dir(cwd: Option<&Utf8PathBuf>) -> String {
    cwd.map(|dir| format!(" in {dir}")).unwrap_or_default()
}

fn shown(tail: &str) -> String {
    if tail.is_empty() { String::new() } else { format!("; its last output:\n{tail}") }
}

/// A command line under construction.
#[derive(Debug, Clone)]
pub struct Tool {
    program: OsString,
    args: Vec<OsString>,
    cwd: Option<Utf8PathBuf>,
    env: Vec<(OsString, OsString)>,
    removed: Vec<OsString>,
    log: Option<Utf8PathBuf>,
    stdin: Option<Arc<UnixStream>>,
}

/// What a program printed.
#[derive(Debug)]
pub struct Output {
    /// Standard output, lossy UTF-8, without the last newline.
    pub text: String,
}

impl Tool {
    /// A command line that starts with `program`.
    pub fn new(program: impl Into<OsString>) -> Self {
        Self {
            program: program.into(),
            args: vec![],
            cwd: None,
            env: vec![],
            removed: vec![],
            log: None,
            stdin: None,
        }
    }

    /// One more argument.
    #[must_use]
    pub fn arg(mut self, arg: impl Into<OsString>) -> Self {
        self.args.push(arg.into());
        self
    }

    /// More arguments.
    #[must_use]
    pub fn args<A: Into<OsString>>(mut self, args: impl IntoIterator<Item = A>) -> Self {
        self.args.extend(args.into_iter().map(Into::into));
        self
    }

    /// Working directory.
    #[must_use]
    pub fn cwd(mut self, dir: impl AsRef<Utf8Path>) -> Self {
        self.cwd = Some(dir.as_ref().to_owned());
        self
    }

    /// An environment variable.
    #[must_use]
    pub fn env(mut self, key: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.env.push((key.into(), value.into()));
        self
    }

    /// An environment variable that it must not inherit.
    #[must_use]
    pub fn env_remove(mut self, key: impl Into<OsString>) -> Self {
        self.removed.push(key.into());
        self
    }

    /// A file that gets the whole output (standard output and standard error), appended.
    #[must_use]
    pub fn log(mut self, file: impl AsRef<Utf8Path>) -> Self {
        self.log = Some(file.as_ref().to_owned());
        self
    }

    /// A socket for standard input, instead of /dev/null.
    #[must_use]
    pub fn stdin(mut self, socket: UnixStream) -> Self {
        self.stdin = Some(Arc::new(socket));
        self
    }

    /// The command line as text.
    pub fn argv(&self) -> String {
        std::iter::once(&self.program)
            .chain(&self.args)
            .map(|a| quoted(&a.to_string_lossy()))
            .collect::<Vec<_>>()
            .join(" ")
    }

    fn expression(&self) -> duct::Expression {
        let mut cmd = duct::cmd(&self.program, &self.args);
        for key in &self.removed {
            cmd = cmd.env_remove(key);
        }
        for (key, value) in &self.env {
            cmd = cmd.env(key, value);
        }
        if let Some(dir) = &self.cwd {
            cmd = cmd.dir(dir);
        }
        let stdin = self.stdin.clone();
        cmd.stdin_null().unchecked().before_spawn(move |command| {
            if let Some(socket) = &stdin {
                command.stdin(OwnedFd::from(socket.try_clone()?));
            }
            die_with_parent(command);
            Ok(())
        })
    }

    fn start_error(&self, source: std::io::Error) -> Error {
        Error::Start { argv: self.argv(), source }
    }

    fn status_error(&self, status: std::process::ExitStatus, took: Duration, tail: String) -> Error {
        Error::Status {
            argv: self.argv(),
            cwd: self.cwd.clone(),
            status: status.to_string(),
            seconds: took.as_secs_f64(),
            tail,
        }
    }

    /// Runs it and returns standard output; standard error is shown in the error only.
    /// Stops it when the user interrupts us meanwhile: what is to be cleaned up afterwards still runs.
    pub fn read(&self) -> Result<Output, Error> {
        let before = interrupt::requested();
        let start = Instant::now();
        let mut out = Vec::new();
        let stop = || !before && interrupt::requested();
        let ended =
            self.watch(&self.expression().stderr_capture(), stop, |bytes| out.extend_from_slice(bytes))?;
        let text = String::from_utf8_lossy(&out).trim_end_matches('\n').to_owned();
        if ended.status.success() {
            return Ok(Output { text });
        }
        let all = format!("{text}\n{}", String::from_utf8_lossy(&ended.stderr));
        Err(self.status_error(ended.status, start.elapsed(), last_lines(&all)))
    }

    /// Runs it; each line of its output (standard output and error together) goes to `line`.
    /// Stops it when the user interrupts us.
    pub fn stream(&self, mut line: impl FnMut(&str)) -> Result<Duration, Error> {
        let start = Instant::now();
        let mut log = match &self.log {
            Some(path) => {
                let opened = fs_err::OpenOptions::new().create(true).append(true).open(path);
                Some(opened.map_err(|source| self.start_error(source))?)
            }
            None => None,
        };
        let mut tail = VecDeque::with_capacity(TAIL_LINES);
        let mut take = |raw: &[u8]| {
            let text = String::from_utf8_lossy(raw);
            let text = text.trim_end_matches('\n');
            if let Some(log) = &mut log {
                let _ = writeln!(log, "{text}");
            }
            if tail.len() == TAIL_LINES {
                tail.pop_front();
            }
            tail.push_back(text.to_owned());
            line(text);
        };
        // A line whose end has not come yet.
        let mut open = Vec::new();
        let ended = self.watch(&self.expression().stderr_to_stdout(), interrupt::requested, |bytes| {
            open.extend_from_slice(bytes);
            let whole = open.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
            open[..whole].split_inclusive(|byte| *byte == b'\n').for_each(&mut take);
            open.drain(..whole);
        })?;
        if !open.is_empty() {
            take(&open);
        }
        if ended.status.success() {
            return Ok(start.elapsed());
        }
        Err(self.status_error(ended.status, start.elapsed(), Vec::from(tail).join("\n")))
    }

    /// Runs it to its end, or until `stop`; standard output goes to `print` as it comes.
    fn watch(
        &self,
        expression: &duct::Expression,
        stop: impl Fn() -> bool,
        mut print: impl FnMut(&[u8]),
    ) -> Result<std::process::Output, Error> {
        let start_error = |source| self.start_error(source);
        let interrupted = || Error::Interrupted { argv: self.argv() };
        tracing::debug!(argv = self.argv(), cwd = ?self.cwd, "run");
        let (mut pipe, theirs) = std::io::pipe().map_err(start_error)?;
        let child = expression.stdout_file(theirs).start().map_err(start_error)?;
        let mut buffer = vec![0; 1 << 16];
        loop {
            if stop() {
                // The children got the terminal's SIGINT too; this is for SIGTERM and for programs that ignore it.
                let _ = child.kill();
                return Err(interrupted());
            }
            // A program that prints nothing is to be stopped, too.
            match poll(&mut [PollFd::new(pipe.as_fd(), PollFlags::POLLIN)], PollTimeout::from(GLANCE_MS)) {
                Ok(0) | Err(Errno::EINTR) => continue,
                Ok(_) => {}
                Err(errno) => return Err(start_error(errno.into())),
            }
            match pipe.read(&mut buffer).map_err(start_error)? {
                0 => break,
                n => print(&buffer[..n]),
            }
        }
        let ended = child.into_output().map_err(start_error)?;
        // Of the terminal's SIGINT it dies without a word, perhaps before we have heard of that.
        let by_signal = ended.status.signal() == Some(Signal::SIGINT as i32);
        if by_signal || (stop() && !ended.status.success()) {
            return Err(interrupted());
        }
        Ok(ended)
    }

    /// Runs it for its effect.
    pub fn run(&self) -> Result<Duration, Error> {
        self.stream(|_| {})
    }
}

/// Makes the child get SIGKILL when the thread that spawns it ends.
pub fn die_with_parent(command: &mut std::process::Command) {
    use std::os::unix::process::CommandExt as _;
    // SAFETY: prctl(2) is async-signal-safe and touches no memory of ours.
    unsafe {
        command.pre_exec(|| prctl::set_pdeathsig(Signal::SIGKILL).map_err(Into::into));
    }
}

fn last_lines(text: &str) -> String {
    let lines: Vec<_> = text.lines().filter(|l| !l.trim().is_empty()).collect();
    lines[lines.len().saturating_sub(TAIL_LINES)..].join("\n")
}

/// One argument as a shell would need it.
pub fn quoted(arg: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=:,+@%".contains(c);
    if !arg.is_empty() && arg.chars().all(plain) {
        arg.to_owned()
    } else {
        format!("'{}'", arg.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[test]
    fn an_error_names_command_status_and_output() {
        let error =
            Tool::new("sh").args(["-c", "echo no such symbol; exit 3"]).run().unwrap_err().to_string();
        assert!(error.contains("sh -c 'echo no such symbol; exit 3'"), "{error}");
        assert!(error.contains("exit status: 3"), "{error}");
        assert!(error.ends_with("no such symbol"), "{error}");
    }

    #[test]
    fn a_missing_program_is_named_with_a_hint() {
        let error = Tool::new("no-such-program-here").read().unwrap_err().to_string();
        assert!(error.contains("no-such-program-here") && error.contains("doctor"), "{error}");
    }

    #[test]
    fn lines_are_whole_however_they_come() {
        let mut lines = vec![];
        let script = "printf 'one\\ntw'; sleep 0.05; printf 'o\\n\\nlast'; echo err >&2";
        Tool::new("sh").args(["-c", script]).stream(|line| lines.push(line.to_owned())).unwrap();
        assert_eq!(lines, ["one", "two", "", "lasterr"]);
    }

    #[test]
    fn what_the_user_interrupts_has_not_failed() {
        let interrupted = |tool: Tool, after: Duration| {
            let (start, calls) = (Instant::now(), Cell::new(0));
            // Not at once: it has to run.
            let stop = || calls.replace(calls.get() + 1) > 0 && start.elapsed() >= after;
            let ended = tool.watch(&tool.expression(), stop, |_| {});
            assert!(matches!(ended, Err(Error::Interrupted { .. })), "{ended:?}");
            start.elapsed()
        };
        // Prints nothing, and would take a minute.
        let took = interrupted(Tool::new("sleep").arg("60"), Duration::from_millis(50));
        assert!(took < Duration::from_secs(30), "{took:?}");
        // Ended by itself, as the terminal's SIGINT may have told it to.
        interrupted(Tool::new("false"), Duration::ZERO);
        // Told so before we have heard of it. Where SIGINT is ignored, as in the background of a script, nobody dies of it.
        let error = Tool::new("sh").args(["-c", "kill -INT $$; exit 3"]).read().unwrap_err();
        assert!(!error.to_string().contains("SIGINT"), "{error}");
    }

    #[test]
    fn quoting_round_trips_through_a_shell() {
        for arg in ["", "a b", "it's", "$HOME", "plain-1.2"] {
            let script = format!("printf %s {}", quoted(arg));
            assert_eq!(Tool::new("sh").args(["-c", &script]).read().unwrap().text, arg);
        }
    }
}
