// SPDX-License-Identifier: GPL-2.0-only
//! One QEMU process: started with its console and the agent's port connected, read by two threads that feed one
//! channel, killed when dropped.

use std::fs::File;
use std::io::{Read, Write as _};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt as _;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use camino::{Utf8Path, Utf8PathBuf};
use guest::message::{FromGuest, ToGuest};
use guest::wire::{self, Decoder};
use nix::fcntl::{FcntlArg, FdFlag, fcntl};

use super::argv::{self, Fds, Spec};
use super::console::{Found, Kind, Scanner};
use super::qmp::Qmp;
use super::virtme::{self, Composed};
use crate::command::die_with_parent;

/// What a VM sends.
#[derive(Debug)]
pub enum Signal {
    /// From the console.
    Console(Found),
    /// The first line of a splat (kind, line) whose report is still coming in.
    SplatStarted(Kind, String),
    /// From the agent or a case.
    Agent(FromGuest),
    /// The agent's port carried something that is no message.
    Broken(wire::Error),
    /// QEMU closed the console: it has ended.
    ConsoleEnded,
}

/// A running QEMU.
#[derive(Debug)]
pub struct Qemu {
    child: Child,
    console_input: Option<ChildStdin>,
    agent: UnixStream,
    qmp: Qmp,
    signals: Receiver<(Instant, Signal)>,
    /// When it was started.
    pub started: Instant,
    /// Its argument vector.
    pub argv: Vec<String>,
    stderr: Utf8PathBuf,
    /// Where the agent's exit status comes to, with virtme-ng.
    status: Option<Utf8PathBuf>,
}

impl Qemu {
    /// Starts it; console bytes are kept in `dir/console.log`, what QEMU itself says in `dir/qemu.stderr`.
    pub fn start(spec: &Spec, dir: &Utf8Path) -> anyhow::Result<Self> {
        fs_err::create_dir_all(dir)?;
        let (agent, agent_theirs) = UnixStream::pair().context("make the agent's socket")?;
        let (qmp, qmp_theirs) = UnixStream::pair().context("make the monitor's socket")?;
        let fds = Fds { agent: agent_theirs.as_raw_fd(), qmp: qmp_theirs.as_raw_fd() };
        let (argv, status) = match &spec.virtme {
            None => (argv::for_run(spec, fds), None),
            Some(virtme) => {
                let Composed { argv, status } = virtme::compose(spec, virtme, fds, dir)?;
                (argv, Some(status))
            }
        };
        let stderr = dir.join("qemu.stderr");
        let mut command = Command::new(&argv[0]);
        command
            .args(&argv[1..])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(fs_err::File::create(&stderr)?.into_parts().0)
            // A Ctrl-C at the terminal is ours to handle; QEMU is told, or killed, by us.
            .process_group(0);
        die_with_parent(&mut command);
        inherit(&mut command, vec![agent_theirs.into(), qmp_theirs.into()]);
        let started = Instant::now();
        let mut child = command.spawn().with_context(|| {
            format!("start {} (hint: `cargo xtask doctor` lists what is missing)", argv[0])
        })?;
        drop(command); // closes our copies of QEMU's ends
        let (sender, signals) = channel();
        let console = child.stdout.take().context("take QEMU's standard output")?;
        let log = fs_err::File::create(dir.join("console.log"))?.into_parts().0;
        let to = sender.clone();
        thread::Builder::new().name("console".into()).spawn(move || read_console(console, log, &to))?;
        let port = agent.try_clone()?;
        thread::Builder::new().name("agent".into()).spawn(move || read_agent(port, &sender))?;
        let console_input = child.stdin.take();
        Ok(Self { child, console_input, agent, qmp: Qmp::new(qmp)?, signals, started, argv, stderr, status })
    }

    /// The next signal, or `None` after `limit`.
    pub fn next(&self, limit: Duration) -> Option<(Instant, Signal)> {
        self.signals.recv_timeout(limit).ok()
    }

    /// Sends a request to the agent.
    pub fn send(&mut self, request: &ToGuest) -> anyhow::Result<()> {
        let frame = wire::encode(request)?;
        self.agent.write_all(&frame).context("write to the agent's port")
    }

    /// SysRq by serial BREAK: works when user space is dead, as long as one CPU takes interrupts.
    pub fn sysrq(&mut self, key: u8) -> anyhow::Result<()> {
        self.qmp.serial_break()?;
        self.console_input.as_mut().context("the console takes no input")?.write_all(&[key])?;
        Ok(())
    }

    /// The registers of its CPUs.
    pub fn registers(&mut self) -> anyhow::Result<String> {
        self.qmp.registers()
    }

    /// Waits for its end.
    pub fn wait(&mut self, limit: Duration) -> Option<ExitStatus> {
        let start = Instant::now();
        loop {
            match self.child.try_wait() {
                Ok(Some(status)) => return Some(status),
                Ok(None) if start.elapsed() < limit => thread::sleep(Duration::from_millis(2)),
                _ => return None,
            }
        }
    }

    /// What is wrong with the agent's exit status, where process 1 tells it; to be asked when the VM has ended.
    pub fn wrong_status(&self) -> Option<String> {
        self.status.as_deref().and_then(virtme::wrong_status)
    }

    /// What QEMU itself said on standard error.
    pub fn complaints(&self) -> String {
        fs_err::read_to_string(&self.stderr).unwrap_or_default().trim().to_owned()
    }
}

impl Drop for Qemu {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Lets the child, and only this child, keep the descriptors under their numbers; ours close when `command` drops.
fn inherit(command: &mut Command, fds: Vec<OwnedFd>) {
    // SAFETY: fcntl(2) is async-signal-safe; the descriptors are owned by the closure and open.
    unsafe {
        command.pre_exec(move || {
            for fd in &fds {
                fcntl(fd, FcntlArg::F_SETFD(FdFlag::empty()))?;
            }
            Ok(())
        });
    }
}

fn read_console(mut console: impl Read, mut log: File, to: &Sender<(Instant, Signal)>) {
    let mut scanner = Scanner::new();
    let mut buffer = [0; 16 * 1024];
    loop {
        let n = match console.read(&mut buffer) {
            Ok(0) | Err(_) => break,
            Ok(n) => n,
        };
        let _ = log.write_all(&buffer[..n]);
        for found in scanner.push(&buffer[..n]) {
            if to.send((Instant::now(), Signal::Console(found))).is_err() {
                return;
            }
        }
        if let Some(splat) = scanner.pending() {
            let started = Signal::SplatStarted(splat.kind, splat.first_line.clone());
            let _ = to.send((Instant::now(), started));
        }
    }
    for found in scanner.finish() {
        let _ = to.send((Instant::now(), Signal::Console(found)));
    }
    let _ = to.send((Instant::now(), Signal::ConsoleEnded));
}

fn read_agent(mut port: UnixStream, to: &Sender<(Instant, Signal)>) {
    let mut decoder = Decoder::new();
    let mut buffer = [0; 16 * 1024];
    let tell = |signal| to.send((Instant::now(), signal)).is_ok();
    while let Ok(n @ 1..) = port.read(&mut buffer) {
        decoder.push(&buffer[..n]);
        while let Some(message) = decoder.message() {
            if !tell(message.map_or_else(Signal::Broken, Signal::Agent)) {
                return;
            }
        }
    }
    if let Err(error) = decoder.finish() {
        tell(Signal::Broken(error));
    }
}
