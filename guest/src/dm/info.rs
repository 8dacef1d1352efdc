// SPDX-License-Identifier: GPL-2.0-only
//! `dmsetup info -c --noheadings`: one line a device, as a type.

use super::{DevNo, ParseError};

/// One device, as `dmsetup info -c --noheadings` tells it in its default columns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Info {
    /// Its name; any device's, also one that is not ours.
    pub name: String,
    /// Its number.
    pub device: DevNo,
    /// It has a table in use.
    pub live: bool,
    /// It has a table loaded that is not in use yet.
    pub inactive: bool,
    /// It is suspended.
    pub suspended: bool,
    /// How many have it open, other devices included.
    pub open: u32,
    /// Event counter: multipath raises it when a path fails or returns.
    pub events: u32,
}

impl Info {
    /// Parses one line, e.g. `pb-map:254:0:LIsw:2:1:2:`.
    pub fn parse(line: &str) -> Result<Self, ParseError> {
        let wanted = |wanted: &str, found: &str| ParseError {
            wanted: wanted.to_owned(),
            line: line.to_owned(),
            found: format!("`{found}`"),
        };
        let fields: Vec<&str> = line.trim_end_matches('\n').split(':').collect();
        let [name, major, minor, flags, open, _segments, events, ..] = fields[..] else {
            return Err(wanted("seven fields or more", line));
        };
        let number = |field: &str, name: &str| field.parse::<u32>().map_err(|_| wanted(name, field));
        let flag = |index: usize, set: u8| match flags.as_bytes().get(index) {
            Some(&byte) if byte == set => Ok(true),
            Some(b'-') => Ok(false),
            _ => Err(wanted("the flags L, I, s and w or r", flags)),
        };
        Ok(Self {
            name: name.to_owned(),
            device: DevNo { major: number(major, "the major")?, minor: number(minor, "the minor")? },
            live: flag(0, b'L')?,
            inactive: flag(1, b'I')?,
            suspended: flag(2, b's')?,
            open: number(open, "the open count")?,
            events: number(events, "the event counter")?,
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Lines as `dmsetup info -c --noheadings` (libdevmapper 1.02.185) printed them on 6.12.117.
    #[test]
    fn recorded_lines_are_understood() {
        let flags =
            |line: &str| Info::parse(line).map(|i| (i.live, i.inactive, i.suspended, i.open, i.events));
        assert_eq!(flags("pb-m0:254:0:L--w:1:1:0:"), Ok((true, false, false, 1, 0)));
        assert_eq!(flags("pb-m0:254:0:L-sw:2:1:2:"), Ok((true, false, true, 2, 2)));
        assert_eq!(flags("pb-m1:254:1:LIsw:2:1:2:"), Ok((true, true, true, 2, 2)));
        assert_eq!(flags("pb-x:254:1:---w:0:0:0:"), Ok((false, false, false, 0, 0)));
        let info = Info::parse("pb-m1:254:1:LIsw:2:1:2:").unwrap();
        assert_eq!((info.name.as_str(), info.device.to_string().as_str()), ("pb-m1", "254:1"));
    }

    #[test]
    fn errors_say_what_was_wanted() {
        let error = |line: &str| Info::parse(line).map_err(|e| e.to_string()).unwrap_err();
        insta::assert_snapshot!(error("No devices found"),
            @"expected seven fields or more in `No devices found`, found `No devices found`");
        insta::assert_snapshot!(error("a:254:0:Q--w:0:0:0:"),
            @"expected the flags L, I, s and w or r in `a:254:0:Q--w:0:0:0:`, found `Q--w`");
    }

    proptest! {
        #[test]
        fn parsing_never_panics(text in "[a-z0-9:LIs-]{0,40}|\\PC{0,40}") {
            let _ = Info::parse(&text);
        }
    }
}
