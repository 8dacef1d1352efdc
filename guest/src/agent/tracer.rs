// SPDX-License-Identifier: GPL-2.0-only
//! Reads the tracepoints of the observe series while a case runs: a trace instance of its own, so that nobody else's
//! tracing is disturbed, on `CLOCK_MONOTONIC`, the clock of every message.
//!
//! The buffer is read twice a second and when the case has ended. It is not polled: `trace_pipe` of all CPUs wakes
//! its reader for every event (`ring_buffer_poll_wait` looks at `buffer_percent` only for a single CPU), and that would
//! change what is looked at. What a case may put into the stream is bounded; what
//! is beyond that, and what the kernel lost, is counted and told.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Read as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use nix::libc::O_NONBLOCK;

use super::now;
use super::port::Port;
use crate::message::{Cut, FromGuest};
use crate::trace::{Line, Record, SYSTEM, What};

const TRACEFS: &str = "/sys/kernel/tracing";

/// How often, in milliseconds, the buffer is read while a case runs and nothing else happens.
pub const READ_EVERY_MS: u16 = 500;

/// Ours alone.
const INSTANCE: &str = "instances/dm-pushback";

/// For each CPU. An event takes some 60 bytes: room for more than a case may send.
const BUFFER_KIB: u32 = 1024;

/// Steps of I/Os that one case may put into the stream, and as many phases and merges.
const LIMIT: usize = 4000;

/// Events in a frame: one takes at most 200 bytes of JSON.
const BATCH: usize = 100;

/// Lines that are quoted when they can't be understood.
const QUOTED: usize = 3;

/// The trace of an observed kernel.
#[derive(Debug)]
pub struct Tracer {
    folder: PathBuf,
    pipe: File,
    running: bool,
    gathered: Gathered,
    /// What the buffer had lost in all when the last case ended.
    lost_before: u64,
}

impl Tracer {
    /// Sets the instance up; `None` if this kernel does not carry the observe series.
    pub fn open() -> io::Result<Option<Self>> {
        let tracefs = Path::new(TRACEFS);
        if !tracefs.join("events").join(SYSTEM).exists() {
            return Ok(None);
        }
        let folder = tracefs.join(INSTANCE);
        fs::create_dir_all(&folder)?;
        write(&folder, "tracing_on", "0")?;
        write(&folder, "trace_clock", "mono")?;
        write(&folder, "buffer_size_kb", &BUFFER_KIB.to_string())?;
        write(&folder, &format!("events/{SYSTEM}/enable"), "1")?;
        let pipe = OpenOptions::new().read(true).custom_flags(O_NONBLOCK).open(folder.join("trace_pipe"))?;
        Ok(Some(Self { folder, pipe, running: false, gathered: Gathered::default(), lost_before: 0 }))
    }

    /// A case begins. [`Self::stop`] has emptied the buffer; to reset it would cost each case a grace period.
    pub fn start(&mut self) -> io::Result<()> {
        self.gathered = Gathered::default();
        write(&self.folder, "tracing_on", "1")?;
        self.running = true;
        Ok(())
    }

    /// Whether a case is traced.
    pub fn is_running(&self) -> bool {
        self.running
    }

    /// Sends what the buffer holds.
    pub fn forward(&mut self, port: &Port, token: u64) -> io::Result<()> {
        let mut buffer = [0; 16 * 1024];
        loop {
            let n = match (&self.pipe).read(&mut buffer) {
                Ok(0) => break,
                Ok(n) => n,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => {
                    self.gathered.cut.unreadable.push(format!("trace_pipe: {error}"));
                    break;
                }
            };
            self.gathered.take(&buffer[..n]);
            while self.gathered.records.len() >= BATCH {
                let records = self.gathered.records.drain(..BATCH).collect();
                port.send(&FromGuest::Traced { token, records })?;
            }
        }
        let records = std::mem::take(&mut self.gathered.records);
        if records.is_empty() { Ok(()) } else { port.send(&FromGuest::Traced { token, records }) }
    }

    /// The case has ended: sends the rest, and what is missing.
    pub fn stop(&mut self, port: &Port, token: u64) -> io::Result<()> {
        write(&self.folder, "tracing_on", "0")?;
        self.running = false;
        self.forward(port, token)?;
        let mut cut = std::mem::take(&mut self.gathered).cut;
        let lost = self.lost()?;
        cut.lost = lost - std::mem::replace(&mut self.lost_before, lost);
        if cut == Cut::default() { Ok(()) } else { port.send(&FromGuest::TraceCut { token, t: now(), cut }) }
    }

    fn lost(&self) -> io::Result<u64> {
        let mut lost = 0;
        for cpu in fs::read_dir(self.folder.join("per_cpu"))? {
            lost += lost_of(&fs::read_to_string(cpu?.path().join("stats"))?);
        }
        Ok(lost)
    }
}

fn write(folder: &Path, name: &str, text: &str) -> io::Result<()> {
    let file = folder.join(name);
    fs::write(&file, text)
        .map_err(|error| io::Error::new(error.kind(), format!("write {text} to {}: {error}", file.display())))
}

/// What `per_cpu/cpuN/stats` counts since the instance was made: overwritten, and not written at all
/// (Documentation/trace/ftrace.rst).
fn lost_of(stats: &str) -> u64 {
    let of = |name: &str| {
        let value = stats.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
        value.and_then(|value| value.trim().parse::<u64>().ok()).unwrap_or(0)
    };
    of("overrun") + of("commit overrun") + of("dropped events")
}

/// Bytes of a trace turned into events, up to the limit of a case. Bytes may be cut anywhere.
#[derive(Debug, Default)]
struct Gathered {
    rest: Vec<u8>,
    records: Vec<Record>,
    ios: usize,
    others: usize,
    cut: Cut,
}

impl Gathered {
    fn take(&mut self, bytes: &[u8]) {
        self.rest.extend_from_slice(bytes);
        let Some(end) = self.rest.iter().rposition(|byte| *byte == b'\n') else { return };
        let lines: Vec<u8> = self.rest.drain(..=end).collect();
        for line in String::from_utf8_lossy(&lines).lines() {
            self.line(line);
        }
    }

    fn line(&mut self, line: &str) {
        let record = match Line::parse(line) {
            Ok(Line::Event(record)) => record,
            // The buffers' own count is asked for at the end.
            Ok(Line::Lost) => return,
            Err(error) => {
                if self.cut.unreadable.len() < QUOTED {
                    self.cut.unreadable.push(error.to_string());
                }
                return;
            }
        };
        let count = if matches!(record.what, What::Io(_)) { &mut self.ios } else { &mut self.others };
        *count += 1;
        if *count <= LIMIT {
            self.records.push(record);
        } else {
            self.cut.left_out += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::wire;

    /// As 6.12 prints them.
    const STATS: &str = "entries: 0\noverrun: 7\ncommit overrun: 1\nbytes: 0\noldest event ts:     0.000000\n\
                         now ts:    12.345678\ndropped events: 2\nread events: 12\n";

    fn line(sector: usize) -> String {
        format!(
            "x: y-1       [000] .....    12.345678: dm_io_queued: dev=253:0 kind=bio op=W sector={sector} sectors=8 error=0\n"
        )
    }

    #[test]
    fn what_the_kernel_lost_is_counted() {
        assert_eq!(lost_of(STATS), 10);
    }

    #[test]
    fn what_is_too_much_is_counted_by_kind() {
        let mut gathered = Gathered::default();
        for n in 0..LIMIT + 3 {
            gathered.take(line(n).as_bytes());
        }
        gathered
            .take(b"x-1 [000] ..... 12.400000: dm_suspend_phase: dev=253:0 phase=done noflush=1 error=0 deferred=0\n");
        assert_eq!((gathered.records.len(), gathered.cut.left_out), (LIMIT + 1, 3));
    }

    #[test]
    fn a_line_that_is_none_is_quoted_and_not_dropped() {
        let mut gathered = Gathered::default();
        gathered.take(b"what is this\nCPU:0 [LOST 5 EVENTS]\n");
        assert_eq!(gathered.cut.unreadable.len(), 1);
        assert!(gathered.cut.unreadable[0].contains("what is this"));
    }

    #[test]
    fn a_full_batch_fits_a_frame() {
        let longest = "x-1 [000] ..... 9999999999.999999: dm_io_completed: dev=4294967295:4294967295 kind=bio \
                       op=FWFSMFWFSM sector=18446744073709551615 sectors=18446744073709551615 error=-2147483648\n";
        let mut gathered = Gathered::default();
        for _ in 0..BATCH {
            gathered.take(longest.as_bytes());
        }
        assert_eq!(gathered.records.len(), BATCH);
        wire::encode(&FromGuest::Traced { token: u64::MAX, records: gathered.records }).unwrap();
    }

    proptest! {
        #[test]
        fn any_split_gives_the_same_events(cuts in prop::collection::vec(1usize..200, 1..50)) {
            let text: String = (0..20).map(line).collect();
            let mut gathered = Gathered::default();
            let mut rest = text.as_bytes();
            for cut in cuts.into_iter().cycle() {
                if rest.is_empty() { break; }
                let (now, later) = rest.split_at(cut.min(rest.len()));
                gathered.take(now);
                rest = later;
            }
            let mut whole = Gathered::default();
            whole.take(text.as_bytes());
            prop_assert_eq!(gathered.records, whole.records);
        }
    }
}
