// SPDX-License-Identifier: GPL-2.0-only
//! What helps to explain a case that did not end: SysRq-w and SysRq-t (on the console), device-mapper's state and the
//! stacks of blocked tasks (over the port). Runs in a process of its own, since anything in here may hang too.

use std::fmt::Write as _;
use std::fs;
use std::io;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use super::port::Port;
use super::process;
use crate::kmsg;
use crate::message::FromGuest;
use crate::wire::MAX_PAYLOAD;

/// `dmsetup` on a wedged device can block for ever; then its part is missing from the capture.
const COMMAND_LIMIT: Duration = Duration::from_secs(2);

/// Longest text in one frame; JSON at most doubles it (`\n`, `"`), control characters apart.
const PIECE: usize = MAX_PAYLOAD / 3;

/// Collects and sends everything; returns the exit status of its process.
pub fn collect(port: &Port, token: u64) -> i32 {
    let send = |title: &str, text: &str| send(port, token, title, text);
    for args in [&["info"][..], &["table"], &["status"], &["table", "--inactive"]] {
        send(&format!("dmsetup {}", args.join(" ")), &output("dmsetup", args));
    }
    send("blocked tasks", &blocked_tasks());
    send("block devices", &block_devices());
    for key in ["w", "t"] {
        let _ = fs::write("/proc/sysrq-trigger", key);
    }
    0
}

/// The kernel's log since the case began, every level of it: the console shows only warnings and above.
pub fn kernel_log(port: &Port, token: u64) {
    let begin = format!("begin {token} ");
    let records = kmsg::records();
    let from = records.iter().rposition(|record| record.contains(&begin)).unwrap_or(0);
    send(port, token, "kernel log", &records[from..].join("\n"));
}

fn send(port: &Port, token: u64, title: &str, text: &str) {
    for piece in pieces(text) {
        let _ = port.send(&FromGuest::Captured { token, title: title.to_owned(), text: piece });
    }
}

fn pieces(text: &str) -> Vec<String> {
    let clean: Vec<char> = text.chars().filter(|c| !c.is_control() || matches!(c, '\n' | '\t')).collect();
    clean.chunks(PIECE / 4).map(|chunk| chunk.iter().collect()).collect()
}

fn output(program: &str, args: &[&str]) -> String {
    run(program, args).unwrap_or_else(|error| format!("failed to run {program}: {error}"))
}

fn run(program: &str, args: &[&str]) -> io::Result<String> {
    let mut child = Command::new(program)
        .args(args)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()?;
    let start = Instant::now();
    while child.try_wait()?.is_none() {
        if start.elapsed() > COMMAND_LIMIT {
            let _ = child.kill();
            return Ok(format!("no answer within {} s", COMMAND_LIMIT.as_secs()));
        }
        thread::sleep(Duration::from_millis(5));
    }
    Ok(String::from_utf8_lossy(&child.wait_with_output()?.stdout).into_owned())
}

fn blocked_tasks() -> String {
    let mut text = String::new();
    for task in process::tasks().iter().filter(|task| task.state == 'D') {
        let folder = Path::new("/proc").join(task.pid.to_string());
        let stack = fs::read_to_string(folder.join("stack")).unwrap_or_default();
        let _ = writeln!(text, "{} ({}):\n{stack}", task.pid, task.comm);
    }
    text
}

fn block_devices() -> String {
    let mut text = String::new();
    let Ok(devices) = fs::read_dir("/sys/block") else { return text };
    for device in devices.flatten() {
        let name = device.file_name().to_string_lossy().into_owned();
        for file in ["inflight", "stat", "dm/name", "dm/suspended", "device/state"] {
            if let Ok(value) = fs::read_to_string(device.path().join(file)) {
                let _ = writeln!(text, "{name}/{file}: {}", value.trim());
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire;

    #[test]
    fn every_piece_fits_a_frame() {
        for text in ["\"\n".repeat(100_000), "é\u{1}".repeat(50_000)] {
            for piece in pieces(&text) {
                wire::encode(&FromGuest::Captured { token: u64::MAX, title: "x".repeat(100), text: piece })
                    .unwrap();
            }
        }
    }
}
