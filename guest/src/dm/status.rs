// SPDX-License-Identifier: GPL-2.0-only
//! What `dmsetup status` says about a multipath target, as a type.
//!
//! The format is that of `multipath_status()`, `STATUSTYPE_INFO`, in drivers/md/dm-mpath.c.

use super::{DevNo, ParseError, Words, without_name};

/// A path as the target sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PathState {
    /// `A`.
    Active,
    /// `F`.
    Failed,
}

/// A priority group as the target sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GroupState {
    /// `A`: in use.
    Active,
    /// `E`: may be used.
    Enabled,
    /// `D`: bypassed.
    Disabled,
}

/// One path of a multipath target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PathStatus {
    /// Its device.
    pub device: DevNo,
    /// Active or failed.
    pub state: PathState,
    /// How often it failed since the table was loaded.
    pub failures: u32,
    /// What the path selector says about it: queue-length, how many I/Os are in flight.
    pub selector: Vec<String>,
}

/// One priority group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// Its state.
    pub state: GroupState,
    /// Its paths.
    pub paths: Vec<PathStatus>,
}

/// The status line of a multipath target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MultipathStatus {
    /// The target holds I/O until a group is initialised (`MPATHF_QUEUE_IO`); not `queue_if_no_path`.
    pub waits_for_group: bool,
    /// The priority groups.
    pub groups: Vec<Group>,
}

impl MultipathStatus {
    /// Every path of every group.
    pub fn paths(&self) -> impl Iterator<Item = &PathStatus> {
        self.groups.iter().flat_map(|group| &group.paths)
    }

    /// How many paths can take I/O.
    pub fn valid_paths(&self) -> usize {
        self.paths().filter(|path| path.state == PathState::Active).count()
    }

    /// Parses the one line of a multipath device, with or without the device's name in front.
    pub fn parse(line: &str) -> Result<Self, ParseError> {
        let mut words = Words::new(without_name(line.trim_end_matches('\n')));
        words.value::<u64>("the first sector")?;
        words.value::<u64>("the number of sectors")?;
        words.exactly("multipath")?;
        let core = words.counted("the target's own values")?;
        let waits_for_group = match core.first() {
            Some(&"0") => false,
            Some(&"1") => true,
            other => return Err(words.error("0 or 1 for queueing until a group is ready", other.copied())),
        };
        words.counted("the hardware handler's values")?;
        let groups: u32 = words.value("the number of priority groups")?;
        words.value::<u32>("the next priority group")?;
        let groups = (0..groups).map(|_| Group::parse(&mut words)).collect::<Result<_, _>>()?;
        words.end()?;
        Ok(Self { waits_for_group, groups })
    }
}

impl Group {
    fn parse(words: &mut Words<'_>) -> Result<Self, ParseError> {
        let state = match words.word("the group's state")? {
            "A" => GroupState::Active,
            "E" => GroupState::Enabled,
            "D" => GroupState::Disabled,
            other => return Err(words.error("the group's state A, E or D", Some(other))),
        };
        words.counted("the selector's values")?;
        let count: u32 = words.value("the number of paths")?;
        let values: u32 = words.value("the number of a path's values")?;
        let path = |words: &mut Words<'_>| {
            let device = words.value("a path's major:minor")?;
            let state = match words.word("a path's state")? {
                "A" => PathState::Active,
                "F" => PathState::Failed,
                other => return Err(words.error("a path's state A or F", Some(other))),
            };
            let failures = words.value("a path's failures")?;
            let value = |_| words.word("a path's value").map(str::to_owned);
            let selector = (0..values).map(value).collect::<Result<_, _>>()?;
            Ok(PathStatus { device, state, failures, selector })
        };
        Ok(Self { state, paths: (0..count).map(|_| path(words)).collect::<Result<_, _>>()? })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn states(line: &str) -> (bool, usize, Vec<(String, PathState, u32)>) {
        let status = MultipathStatus::parse(line).unwrap();
        let paths = status.paths().map(|p| (p.device.to_string(), p.state, p.failures)).collect();
        (status.waits_for_group, status.valid_paths(), paths)
    }

    /// Lines as `dmsetup status` printed them on 6.12.117.
    #[test]
    fn recorded_lines_are_understood() {
        use PathState::{Active, Failed};
        let (a, b) = ("8:0".to_owned(), "8:16".to_owned());
        let two = |x, y| vec![(a.clone(), x, u32::from(x == Failed)), (b.clone(), y, u32::from(y == Failed))];
        let table = [
            (
                "pb-m0: 0 16384 multipath 2 1 0 0 1 1 E 0 2 0 8:0 A 0 8:16 A 0 ",
                (true, 2, two(Active, Active)),
            ),
            ("0 16384 multipath 2 0 0 0 1 1 A 0 2 0 8:0 A 0 8:16 F 1 \n", (false, 1, two(Active, Failed))),
            (
                "pb-m0: 0 16384 multipath 2 0 0 0 1 1 E 0 2 0 8:0 F 1 8:16 F 1 ",
                (false, 0, two(Failed, Failed)),
            ),
            ("pb-m0: 0 16384 multipath 2 1 0 0 0 0 ", (true, 0, vec![])),
        ];
        for (line, expected) in table {
            assert_eq!(states(line), expected, "{line}");
        }
    }

    /// Two groups; the selector service-time adds two values to each path (`dm-ps-service-time.c`, `st_status`).
    #[test]
    fn values_of_selectors_are_kept() {
        let line = "0 8 multipath 2 0 1 1 alua 2 1 A 0 1 2 8:0 A 0 0 1 D 0 1 2 8:16 F 3 0 1";
        let status = MultipathStatus::parse(line).unwrap();
        assert_eq!(status.groups.len(), 2);
        assert_eq!(status.groups[1].state, GroupState::Disabled);
        assert_eq!(status.valid_paths(), 1);
        assert_eq!(status.groups[1].paths[0].selector, ["0", "1"]);
    }

    #[test]
    fn errors_say_what_was_wanted() {
        let error = |line: &str| MultipathStatus::parse(line).map_err(|e| e.to_string()).unwrap_err();
        insta::assert_snapshot!(error("0 8 linear "), @"expected multipath in `0 8 linear `, found `linear`");
        insta::assert_snapshot!(error("0 8 multipath 2 0 0 0 1 1 A 0 1 0 8:0 X 0"),
            @"expected a path's state A or F in `0 8 multipath 2 0 0 0 1 1 A 0 1 0 8:0 X 0`, found `X`");
    }

    proptest! {
        #[test]
        fn parsing_never_panics(text in "\\PC{0,80}") {
            let _ = MultipathStatus::parse(&text);
        }

        #[test]
        fn numbers_never_exhaust_memory(count in any::<u32>()) {
            let _ = MultipathStatus::parse(&format!("0 8 multipath 2 0 0 0 1 1 A 0 {count} 0 8:0 A 0"));
            let _ = MultipathStatus::parse(&format!("0 8 multipath {count}"));
        }
    }
}
