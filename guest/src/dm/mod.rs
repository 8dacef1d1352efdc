// SPDX-License-Identifier: GPL-2.0-only
//! device-mapper: names, tables and status lines as types, and the real `dmsetup` behind a deadline.
//!
//! Tables are built from [`table`] types and never glued together in a case. What `dmsetup` prints is parsed
//! by pure functions ([`table`], [`status`], [`info`]). [`map::Map`] is what a case holds: one device.
//! Not here: where I/O is ([`crate::evidence`]) and how paths are made or fail ([`crate::paths`]).

pub mod direct;
pub mod info;
pub mod interrupted;
pub mod ioctl;
pub mod map;
pub mod name;
pub mod remove;
pub mod status;
pub mod table;
pub mod test_target;
pub mod tool;

pub use direct::Direct;
pub use info::Info;
pub use interrupted::Suspender;
pub use map::{Flush, Map};
pub use name::{DevNo, DmName, Sectors};
pub use status::{MultipathStatus, PathState};
pub use table::{Access, Multipath, NoPath, Segment, Selector, Table, Target};

/// A line of `dmsetup` that could not be understood: says which word was wanted and what stood there.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected {wanted} in `{line}`, found {found}")]
pub struct ParseError {
    /// What should have stood there.
    pub wanted: String,
    /// The whole line.
    pub line: String,
    /// What stood there.
    pub found: String,
}

/// The words of a line, taken one by one; remembers the line for the error.
pub(crate) struct Words<'a> {
    line: &'a str,
    rest: std::str::SplitAsciiWhitespace<'a>,
}

impl<'a> Words<'a> {
    pub(crate) fn new(line: &'a str) -> Self {
        Self { line, rest: line.split_ascii_whitespace() }
    }

    pub(crate) fn error(&self, wanted: &str, found: Option<&str>) -> ParseError {
        let found = found.map_or_else(|| "the end of the line".to_owned(), |word| format!("`{word}`"));
        ParseError { wanted: wanted.to_owned(), line: self.line.to_owned(), found }
    }

    /// The next word, whatever it is.
    pub(crate) fn word(&mut self, wanted: &str) -> Result<&'a str, ParseError> {
        self.rest.next().ok_or_else(|| self.error(wanted, None))
    }

    /// The next word as a `T`.
    pub(crate) fn value<T: std::str::FromStr>(&mut self, wanted: &str) -> Result<T, ParseError> {
        let word = self.word(wanted)?;
        word.parse().map_err(|_| self.error(wanted, Some(word)))
    }

    /// The next word is exactly `wanted`.
    pub(crate) fn exactly(&mut self, wanted: &str) -> Result<(), ParseError> {
        let word = self.word(wanted)?;
        if word == wanted { Ok(()) } else { Err(self.error(wanted, Some(word))) }
    }

    /// A count, then that many words: how device-mapper writes every list of arguments.
    pub(crate) fn counted(&mut self, wanted: &str) -> Result<Vec<&'a str>, ParseError> {
        let count: u32 = self.value(wanted)?;
        (0..count).map(|_| self.word(wanted)).collect()
    }

    /// Nothing may follow.
    pub(crate) fn end(mut self) -> Result<(), ParseError> {
        match self.rest.next() {
            None => Ok(()),
            Some(word) => Err(self.error("the end of the line", Some(word))),
        }
    }
}

/// Splits `name: rest`, which `dmsetup` prints when it lists several devices; the name may be absent.
pub(crate) fn without_name(line: &str) -> &str {
    match line.split_once(": ") {
        Some((name, rest)) if !name.contains(' ') => rest,
        _ => line,
    }
}
