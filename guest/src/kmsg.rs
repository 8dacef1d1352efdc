// SPDX-License-Identifier: GPL-2.0-only
//! Lines written to /dev/kmsg: they reach the serial console in order with the kernel's own lines, so that the host
//! can tell which console text belongs to which case, and that the console is complete up to a case's end.

use std::fs::OpenOptions;
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;

use nix::libc::O_NONBLOCK;

/// Every line of ours starts with this; the host's scanner never takes such a line for a splat.
pub const PREFIX: &str = "dm-pushback: ";

/// Writes one line at level `warning`, the lowest that reaches the console (`loglevel=5`). A single `write(2)` is one printk record (`devkmsg_write`).
pub fn line(text: &str) -> io::Result<()> {
    let record = format!("<4>{PREFIX}{}\n", text.replace('\n', " "));
    OpenOptions::new().write(true).open("/dev/kmsg")?.write_all(record.as_bytes())
}

/// Every record that the ring buffer holds, as `[seconds] text`; see Documentation/ABI/testing/dev-kmsg.
pub fn records() -> Vec<String> {
    let Ok(mut kmsg) = OpenOptions::new().read(true).custom_flags(O_NONBLOCK).open("/dev/kmsg") else {
        return vec![];
    };
    let mut records = vec![];
    let mut buffer = [0; 8192]; // longer than any record (CONSOLE_EXT_LOG_MAX)
    loop {
        match kmsg.read(&mut buffer) {
            Ok(n @ 1..) => records.extend(record(&String::from_utf8_lossy(&buffer[..n]))),
            // Overwritten while we read: go on with the oldest that is left.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {}
            _ => return records,
        }
    }
}

/// `6,339,5140900,-;text` and continuation lines that start with a blank.
fn record(raw: &str) -> Option<String> {
    let (head, rest) = raw.split_once(';')?;
    let micros: u64 = head.split(',').nth(2)?.parse().ok()?;
    let text = rest.lines().next()?;
    Some(format!("[{:5}.{:06}] {text}", micros / 1_000_000, micros % 1_000_000))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_as_the_kernel_documents_them() {
        let raw =
            "6,339,5140900,-;NET: Registered protocol family 10\n SUBSYSTEM=acpi\n DEVICE=+acpi:PNP0103:00\n";
        assert_eq!(record(raw).as_deref(), Some("[    5.140900] NET: Registered protocol family 10"));
        assert_eq!(record("nonsense"), None);
    }
}
