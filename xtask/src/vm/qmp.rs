// SPDX-License-Identifier: GPL-2.0-only
//! The few QMP commands that a stuck VM needs: a serial BREAK (SysRq), the registers of its CPUs, quit.
//! See docs/interop/qmp-spec in QEMU's sources.

use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use anyhow::Context as _;
use serde_json::{Value, json};

/// QEMU's main loop answers in milliseconds unless QEMU itself hangs.
const ANSWERS_WITHIN: Duration = Duration::from_secs(5);

/// A monitor connection.
#[derive(Debug)]
pub struct Qmp {
    lines: BufReader<UnixStream>,
    negotiated: bool,
}

impl Qmp {
    /// On our end of the socket pair.
    pub fn new(socket: UnixStream) -> anyhow::Result<Self> {
        socket.set_read_timeout(Some(ANSWERS_WITHIN))?;
        Ok(Self { lines: BufReader::new(socket), negotiated: false })
    }

    /// Sends a BREAK on the serial console: the next byte there is a SysRq key (`CONFIG_MAGIC_SYSRQ_SERIAL`).
    pub fn serial_break(&mut self) -> anyhow::Result<()> {
        self.execute("chardev-send-break", &json!({"id": "console"})).map(drop)
    }

    /// The registers of every virtual CPU: where it spins when nothing else answers.
    pub fn registers(&mut self) -> anyhow::Result<String> {
        let answer = self.execute("human-monitor-command", &json!({"command-line": "info registers -a"}))?;
        Ok(answer.as_str().unwrap_or_default().replace('\r', ""))
    }

    fn execute(&mut self, command: &str, arguments: &Value) -> anyhow::Result<Value> {
        if !self.negotiated {
            self.negotiated = true;
            self.send(&json!({"execute": "qmp_capabilities"}))?;
        }
        self.send(&json!({"execute": command, "arguments": arguments}))
    }

    fn send(&mut self, request: &Value) -> anyhow::Result<Value> {
        let asked = || format!("ask QEMU's monitor for {}", request["execute"]);
        self.lines.get_mut().write_all(format!("{request}\n").as_bytes()).with_context(asked)?;
        loop {
            let mut line = String::new();
            anyhow::ensure!(
                self.lines.read_line(&mut line).with_context(asked)? > 0,
                "QEMU closed its monitor"
            );
            let mut answer: Value = serde_json::from_str(&line).with_context(asked)?;
            if let Some(value) = answer.get_mut("return") {
                return Ok(value.take());
            }
            if let Some(error) = answer.get("error") {
                anyhow::bail!("{}: {}", asked(), error["desc"]);
            }
            // A greeting or an event: not our answer.
        }
    }
}
