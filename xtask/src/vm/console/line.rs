// SPDX-License-Identifier: GPL-2.0-only
//! From bytes in any chunking to lines of text, and from a line to the printk records in it. Knows nothing of
//! splats.
//!
//! A line of a serial console is not a printk record: firmware writes escapes, a user process writes to the same
//! port without a newline, and a CPU that panics prints into the middle of what another CPU was printing. A record
//! starts at the start of the line, after a carriage return, or at a time stamp of printk anywhere in the line.

use std::borrow::Cow;
use std::sync::LazyLock;

use regex::bytes::Regex;

/// Longest line that is kept in one piece. A printk record is at most 2048 bytes of text with its prefix
/// (`PRINTK_MESSAGE_MAX`, kernel/printk/internal.h).
pub const MAX_LINE: usize = 8192;

/// Where an overlong line may be cut earlier than [`MAX_LINE`], so that the time stamp that starts a record is
/// not cut in two: as far back as this.
const CUT_BACK: usize = 128;

/// Time stamp, with the loglevel of `console_msg_format=syslog` before it and the caller id
/// (`CONFIG_PRINTK_CALLER`) after it: `<4>[    1.234567][  T12] `.
static STAMP: LazyLock<Regex> = LazyLock::new(|| {
    constant(r"(?:<[0-9]{1,3}>)?\[ *[0-9]{1,8}\.[0-9]{6}\](?:\[ *[TC][0-9]+[^\]\n]{0,40}\])? ?")
});

/// ANSI escapes: CSI sequences, OSC strings, and the two-byte ones (`ESC c` is what `SeaBIOS` starts with).
static ESCAPE: LazyLock<Regex> = LazyLock::new(|| {
    constant(r"\x1b(?:\[[0-9;?]*[ -/]*[@-~]|\][^\x07\x1b]{0,200}(?:\x07|\x1b\\)|[()][0-9A-B]|[0-9A-Za-z=>])")
});

/// Compiles a pattern that is part of this program.
pub fn constant(pattern: &str) -> Regex {
    #[expect(clippy::expect_used, reason = "the patterns are constants; the unit tests compile every one")]
    regex::bytes::RegexBuilder::new(pattern).unicode(false).build().expect("a constant pattern compiles")
}

/// Collects bytes until a line is complete.
#[derive(Debug, Default)]
pub struct Assembler {
    partial: Vec<u8>,
}

impl Assembler {
    /// Takes bytes; `each` gets every completed line without its line end.
    pub fn push(&mut self, bytes: &[u8], mut each: impl FnMut(&[u8])) {
        for piece in bytes.split_inclusive(|&b| b == b'\n') {
            let ended = piece.ends_with(b"\n");
            let mut text = piece.strip_suffix(b"\n").unwrap_or(piece);
            while self.partial.len() + text.len() > MAX_LINE {
                let (fits, rest) = text.split_at(MAX_LINE - self.partial.len());
                self.partial.extend_from_slice(fits);
                text = rest;
                let cut = overlong_cut(&self.partial);
                each(&self.partial[..cut]);
                self.partial.drain(..cut);
            }
            self.partial.extend_from_slice(text);
            if ended {
                each(&self.partial);
                self.partial.clear();
            }
        }
    }

    /// What is left without a newline at the end of the input.
    pub fn finish(&mut self) -> Option<Vec<u8>> {
        (!self.partial.is_empty()).then(|| std::mem::take(&mut self.partial))
    }
}

/// Where to cut a line that has become too long: before the last `[` near its end, else at its end.
fn overlong_cut(line: &[u8]) -> usize {
    let from = line.len().saturating_sub(CUT_BACK);
    line[from..].iter().rposition(|&b| b == b'[').map_or(line.len(), |at| from + at).max(1)
}

/// Without ANSI escapes; most lines have none.
fn without_escapes(line: &[u8]) -> Cow<'_, [u8]> {
    if line.contains(&0x1b) { ESCAPE.replace_all(line, &b""[..]) } else { Cow::Borrowed(line) }
}

/// The line as text: escapes and control characters removed, invalid UTF-8 replaced.
pub fn text(line: &[u8]) -> String {
    let line = without_escapes(line);
    let clean: Vec<u8> = line.iter().copied().filter(|&b| b >= b' ' || b == b'\t').collect();
    String::from_utf8_lossy(&clean).into_owned()
}

/// The printk records in a line, each without time stamp and caller id, as clean text.
pub fn records(line: &[u8]) -> Vec<String> {
    let line = without_escapes(line);
    let mut found = Vec::new();
    for piece in line.split(|&b| b == b'\r') {
        let mut start = 0;
        for stamp in STAMP.find_iter(piece) {
            found.push(&piece[start..stamp.start()]);
            start = stamp.end();
        }
        found.push(&piece[start..]);
    }
    found.into_iter().map(text).filter(|record| !record.trim().is_empty()).collect()
}
