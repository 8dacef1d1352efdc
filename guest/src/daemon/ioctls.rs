// SPDX-License-Identifier: GPL-2.0-only
//! What a program asked of device-mapper, by its own account: at the highest verbosity libdevmapper writes a line before
//! each ioctl (`_do_dm_ioctl` in libdm-iface.c), with the flags that it sets:
//!
//! ```text
//! libdevmapper: ioctl/libdm-iface.c(1928): dm resume pb-mpatha  [ noopencount noflush skiplockfs ]   [16384] (*1)
//! libdevmapper: ioctl/libdm-iface.c(1928): dm message pb-mpatha  [ noopencount flush ]  fail_path 8:0 [16384] (*1)
//! ```
//!
//! multipathd writes such a line in three pieces (`dm_write_log` in libmultipath/devmapper.c), and what another of its threads
//! writes can come between them. Whole is only the piece that starts with `dm`.

use std::fmt;

/// One ioctl.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ioctl {
    /// libdevmapper's word: `create`, `reload`, `suspend`, `resume`, `message`, `remove` and so on.
    pub verb: String,
    /// `DM_NOFLUSH_FLAG`.
    pub noflush: bool,
    /// `DM_SKIP_LOCKFS_FLAG`.
    pub skip_lockfs: bool,
    /// The text of a message.
    pub message: String,
}

impl Ioctl {
    /// Whether it changes the map; the others look.
    pub fn changes(&self) -> bool {
        matches!(self.verb.as_str(), "create" | "reload" | "suspend" | "resume" | "message" | "remove")
    }

    /// What stands at the start of `text`, after the `dm `.
    fn parse(text: &str, map: &str) -> Option<Self> {
        let (verb, rest) = text.lines().next()?.split_once(' ')?;
        let (names, rest) = rest.split_once(" [ ")?;
        if names.split_ascii_whitespace().next() != Some(map) {
            return None;
        }
        let (flags, rest) = rest.split_once(']')?;
        let has = |flag: &str| flags.split_ascii_whitespace().any(|word| word == flag);
        let message = rest.split_once(" [").map_or("", |(message, _)| message).trim();
        // In a message without that size at its end nothing is lost.
        Some(Self {
            verb: verb.to_owned(),
            noflush: has("noflush"),
            skip_lockfs: has("skiplockfs"),
            message: message.to_owned(),
        })
    }
}

/// `resume (noflush, skip_lockfs)`, `message fail_path 8:0`.
impl fmt::Display for Ioctl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.verb)?;
        match (self.noflush, self.skip_lockfs) {
            (true, true) => f.write_str(" (noflush, skip_lockfs)")?,
            (true, false) => f.write_str(" (noflush)")?,
            (false, true) => f.write_str(" (skip_lockfs)")?,
            (false, false) => {}
        }
        if self.message.is_empty() { Ok(()) } else { write!(f, " {}", self.message) }
    }
}

/// Those of a log that are about `map` and change it, in order.
pub fn of_map(log: &str, map: &str) -> Vec<Ioctl> {
    log.split("dm ").skip(1).filter_map(|text| Ioctl::parse(text, map)).filter(Ioctl::changes).collect()
}

/// In words, for an event or a failed assertion.
pub fn told(ioctls: &[Ioctl]) -> String {
    ioctls.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// As multipathd 0.9.4 wrote it, shortened.
    const LOG: &str = "\
pb-mpatha: load table [0 16384 multipath 1 queue_if_no_path 0 2 1 service-time 0 1 1 8:0 1 service-time 0 1 1 8:16 1]
libdevmapper: ioctl/libdm-iface.c(1928): dm reload pb-mpatha  [ noopencount flush ]   [16384] (*1)
libdevmapper: ioctl/libdm-iface.c(1928): dm resume pb-mpatha  [ noopencount noflush skiplockfs ]   [16384] (*1)
libdevmapper: ioctl/libdm-iface.c(1928): dm status pb-mpatha  [ noopencount noflush ]   [16384] (*1)
libdevmapper: ioctl/libdm-iface.c(1928): dm message pb-mpatha  [ noopencount flush ]  fail_path 8:0 [16384] (*1)
libdevmapper: ioctl/libdm-iface.c(1928): dm remove pb-mpathb  [ noopencount flush skiplockfs ]   [16384] (*1)
libdevmapper: ioctl/libdm-iface.c(1928): dm suspend pb-mpatha  [ noopencount noflush skiplockfs ]   [16384] (*1)
";

    #[test]
    fn what_changes_a_map_is_told_in_order() {
        insta::assert_snapshot!(told(&of_map(LOG, "pb-mpatha")),
            @"reload, resume (noflush, skip_lockfs), message fail_path 8:0, suspend (noflush, skip_lockfs)");
        insta::assert_snapshot!(told(&of_map(LOG, "pb-mpathb")), @"remove (skip_lockfs)");
    }

    /// Two threads at once.
    #[test]
    fn a_line_may_be_torn() {
        const TORN: &str = "\
libdevmapper: ioctl/libdm-iface.c(1928): sdc: tur state = down
dm suspend pb-mpatha  [ noopencount noflush skiplockfs ]   [16384] (*1)
libdevmapper: ioctl/libdm-iface.c(1928): libdevmapper: ioctl/libdm-iface.c(1928): dm status pb-mpatha  [ noopencount noflush ]   [16384] (*1)dm message pb-mpatha  [ noopencount flush ]  fail_path 8:0 [16384] (*1)dm resume pb-mpatha  [ noopencount noflush skiplockfs ]   [16384] (*1)

";
        insta::assert_snapshot!(told(&of_map(TORN, "pb-mpatha")),
            @"suspend (noflush, skip_lockfs), message fail_path 8:0, resume (noflush, skip_lockfs)");
    }

    proptest! {
        #[test]
        fn any_log_is_read(text in "(libdm-iface.c\\(1\\): dm [a-z]* pb-m \\[ [a-z \\]\\[]*\n|\\PC{0,40}\n){0,8}") {
            let _ = of_map(&text, "pb-m");
        }
    }
}
