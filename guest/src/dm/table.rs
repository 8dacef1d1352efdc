// SPDX-License-Identifier: GPL-2.0-only
//! Tables: what is loaded into a device, and what `dmsetup table` prints, as types.

use std::fmt;

use super::{DevNo, ParseError, Sectors, Words, without_name};
use crate::condition::QueueMode;

/// What a multipath map does with I/O when no path is left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoPath {
    /// The feature `queue_if_no_path`.
    Queue,
    /// I/O fails.
    Fail,
}

/// Whether a path can be used as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Access {
    /// All can, at any time: one priority group.
    #[default]
    Symmetric,
    /// They must be activated before: a priority group for each, and the hardware handler `alua`. A bio-based map takes no
    /// handler from its table, and uses what is attached to the device (`parse_hw_handler`).
    Alua,
}

/// How a multipath map chooses a path for an I/O; all take one argument for each path, after how many I/Os they
/// choose anew (service-time prints a second one, the path's relative throughput).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Selector {
    /// One after the other.
    #[default]
    RoundRobin,
    /// The one with the fewest I/Os in flight, which `dmsetup status` shows.
    QueueLength,
    /// The one that is expected to be the soonest to complete it: what multipathd chooses.
    ServiceTime,
}

impl Selector {
    /// Its name in a table; the module's name is `dm-` and this.
    pub const fn name(self) -> &'static str {
        match self {
            Self::RoundRobin => "round-robin",
            Self::QueueLength => "queue-length",
            Self::ServiceTime => "service-time",
        }
    }
}

/// A multipath target.
///
/// It always names its queue mode. A table without a path and without the word is taken as request based, and
/// when it is loaded into a bio-based device the kernel accepts it and then kicks a requeue list that was
/// never set up: `ODEBUG: assert_init not available ... timer_list` from `queue_if_no_path()` (6.12.117).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Multipath {
    /// What happens to I/O without a path.
    pub no_path: NoPath,
    /// bio or request based.
    pub queue_mode: QueueMode,
    /// Whether paths must be activated.
    pub access: Access,
    /// Who chooses a path.
    pub selector: Selector,
    /// The paths; none is a valid table.
    pub paths: Vec<DevNo>,
}

/// What maps one stretch of a device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// dm-multipath.
    Multipath(Multipath),
    /// dm-linear.
    Linear {
        /// The device below.
        device: DevNo,
        /// Where on it the stretch starts.
        offset: Sectors,
    },
    /// dm-stripe: its chunks lie in turn on each of its legs.
    Striped {
        /// Length of a chunk.
        chunk: Sectors,
        /// The devices below, and where on them each leg starts.
        legs: Vec<(DevNo, Sectors)>,
    },
    /// Every I/O fails. May replace any other target.
    Error,
    /// This project's own target, which does what it is told: kernel-patches/modules/dm-pushback-test.
    PushbackTest {
        /// The device below.
        device: DevNo,
        /// Where on it the stretch starts.
        offset: Sectors,
    },
}

/// One line of a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Segment {
    /// First sector.
    pub start: Sectors,
    /// How many.
    pub length: Sectors,
    /// What maps them.
    pub target: Target,
}

/// A whole table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table(pub Vec<Segment>);

impl Table {
    /// One target over `length` sectors.
    pub fn single(length: Sectors, target: Target) -> Self {
        Self(vec![Segment { start: Sectors::ZERO, length, target }])
    }

    /// `count` stretches of `stretch` sectors that lie in turn on the one device and on the other, and the rest on
    /// the first. Each keeps its place: sector n of this device is sector n of the device below.
    pub fn alternating(devices: [DevNo; 2], stretch: Sectors, count: u64, length: Sectors) -> Self {
        let [first, second] = devices;
        let on = |device, start, length| Segment {
            start,
            length,
            target: Target::Linear { device, offset: start },
        };
        let piece = |index: u64| {
            let device = if index.is_multiple_of(2) { first } else { second };
            on(device, Sectors(index * stretch.0), stretch)
        };
        let rest = Sectors(count * stretch.0);
        let mut segments: Vec<Segment> = (0..count).map(piece).collect();
        if rest < length {
            segments.push(on(first, rest, Sectors(length.0 - rest.0)));
        }
        Self(segments)
    }

    /// One target of the type `pushback-test` over each device, each with an equal part of the length. Each part keeps
    /// its place on the device below.
    pub fn tested(devices: &[DevNo], length: Sectors) -> Self {
        let part = length.0 / (devices.len() as u64).max(1);
        let on = |(start, device): (u64, &DevNo)| {
            let (start, length) = (Sectors(start), Sectors(part));
            Segment { start, length, target: Target::PushbackTest { device: *device, offset: start } }
        };
        Self((0..).step_by(usize::try_from(part).unwrap_or(usize::MAX).max(1)).zip(devices).map(on).collect())
    }

    /// Every sector of a device of `length` fails.
    pub fn error(length: Sectors) -> Self {
        Self::single(length, Target::Error)
    }

    /// The length of the device with this table.
    pub fn length(&self) -> Sectors {
        self.0.last().map_or(Sectors::ZERO, |last| Sectors(last.start.0 + last.length.0))
    }

    /// The devices that the table refers to.
    pub fn devices(&self) -> Vec<DevNo> {
        let of = |segment: &Segment| match &segment.target {
            Target::Multipath(multipath) => multipath.paths.clone(),
            Target::Linear { device, .. } | Target::PushbackTest { device, .. } => vec![*device],
            Target::Striped { legs, .. } => legs.iter().map(|(device, _)| *device).collect(),
            Target::Error => Vec::new(),
        };
        self.0.iter().flat_map(of).collect()
    }

    /// Parses what `dmsetup table DEVICE` prints.
    pub fn parse(text: &str) -> Result<Self, ParseError> {
        text.lines()
            .filter(|line| !line.trim().is_empty())
            .map(Segment::parse)
            .collect::<Result<_, _>>()
            .map(Self)
    }
}

/// Lines separated by newlines, as `dmsetup create` reads them from its standard input.
impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, segment) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{segment}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Segment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} ", self.start, self.length)?;
        match &self.target {
            Target::Multipath(multipath) => write!(f, "multipath {multipath}"),
            Target::Linear { device, offset } => write!(f, "linear {device} {offset}"),
            Target::PushbackTest { device, offset } => write!(f, "pushback-test {device} {offset}"),
            Target::Striped { chunk, legs } => {
                write!(f, "striped {} {chunk}", legs.len())?;
                legs.iter().try_for_each(|(device, offset)| write!(f, " {device} {offset}"))
            }
            Target::Error => f.write_str("error"),
        }
    }
}

impl fmt::Display for Multipath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mode = self.queue_mode;
        match self.no_path {
            NoPath::Queue => write!(f, "3 queue_if_no_path queue_mode {mode}")?,
            NoPath::Fail => write!(f, "2 queue_mode {mode}")?,
        }
        f.write_str(match (self.access, mode) {
            (Access::Alua, QueueMode::Rq) => " 1 alua",
            _ => " 0",
        })?;
        if self.paths.is_empty() {
            return f.write_str(" 0 0");
        }
        let groups = match self.access {
            Access::Symmetric => self.paths.chunks(self.paths.len()),
            Access::Alua => self.paths.chunks(1),
        };
        // The first group is the first to try; the selector has no argument of its own and one for each path.
        write!(f, " {} 1", groups.len())?;
        for group in groups {
            write!(f, " {} 0 {} 1", self.selector.name(), group.len())?;
            group.iter().try_for_each(|path| write!(f, " {path} 1"))?;
        }
        Ok(())
    }
}

impl Segment {
    /// Parses one line of `dmsetup table`, with or without the device's name in front.
    pub fn parse(line: &str) -> Result<Self, ParseError> {
        let mut words = Words::new(without_name(line));
        let start = words.value("the first sector")?;
        let length = words.value("the number of sectors")?;
        let target = match words.word("the target's type")? {
            "multipath" => Target::Multipath(Multipath::parse(&mut words)?),
            "linear" => {
                Target::Linear { device: words.value("major:minor")?, offset: words.value("an offset")? }
            }
            "pushback-test" => Target::PushbackTest {
                device: words.value("major:minor")?,
                offset: words.value("an offset")?,
            },
            "striped" => {
                let count: u32 = words.value("the number of stripes")?;
                let chunk = words.value("the length of a chunk")?;
                let leg =
                    |words: &mut Words<'_>| Ok((words.value("major:minor")?, words.value("an offset")?));
                let legs = (0..count).map(|_| leg(&mut words)).collect::<Result<_, ParseError>>()?;
                Target::Striped { chunk, legs }
            }
            "error" => Target::Error,
            other => {
                let known = "multipath, linear, striped, pushback-test or error";
                return Err(words.error(known, Some(other)));
            }
        };
        words.end()?;
        Ok(Self { start, length, target })
    }
}

impl Multipath {
    fn parse(words: &mut Words<'_>) -> Result<Self, ParseError> {
        let features = words.counted("the features")?;
        let queue_mode = match features.iter().skip_while(|word| **word != "queue_mode").nth(1) {
            // The kernel leaves the word out when it is the default; `mq` is another word for it.
            None | Some(&"mq") => QueueMode::Rq,
            Some(word) => word.parse().map_err(|_| words.error("bio, rq or mq", Some(word)))?,
        };
        let no_path = if features.contains(&"queue_if_no_path") { NoPath::Queue } else { NoPath::Fail };
        let handler = words.counted("the hardware handler")?;
        let groups: u32 = words.value("the number of priority groups")?;
        words.value::<u32>("the next priority group")?;
        let access = if groups > 1 || !handler.is_empty() { Access::Alua } else { Access::Symmetric };
        let (mut paths, mut selector) = (Vec::new(), Selector::default());
        for _ in 0..groups {
            selector = match words.word("the path selector")? {
                "round-robin" => Selector::RoundRobin,
                "queue-length" => Selector::QueueLength,
                "service-time" => Selector::ServiceTime,
                other => return Err(words.error("a known path selector", Some(other))),
            };
            words.counted("the path selector's arguments")?;
            let count: u32 = words.value("the number of paths")?;
            let arguments: u32 = words.value("the number of a path's arguments")?;
            for _ in 0..count {
                paths.push(words.value("a path's major:minor")?);
                for _ in 0..arguments {
                    words.word("a path's argument")?;
                }
            }
        }
        Ok(Self { no_path, queue_mode, access, selector, paths })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const A: DevNo = DevNo { major: 8, minor: 0 };
    const B: DevNo = DevNo { major: 8, minor: 16 };

    fn multipath(no_path: NoPath, queue_mode: QueueMode, paths: &[DevNo]) -> Table {
        let (access, selector) = (Access::Symmetric, Selector::RoundRobin);
        let paths = paths.to_vec();
        let target = Target::Multipath(Multipath { no_path, queue_mode, access, selector, paths });
        Table::single(Sectors(16384), target)
    }

    /// Each of these lines was accepted by 6.12.117.
    #[test]
    fn tables_are_printed_as_the_kernel_takes_them() {
        let table = |table: &Table| table.to_string();
        insta::assert_snapshot!(table(&multipath(NoPath::Queue, QueueMode::Bio, &[A, B])),
            @"0 16384 multipath 3 queue_if_no_path queue_mode bio 0 1 1 round-robin 0 2 1 8:0 1 8:16 1");
        insta::assert_snapshot!(table(&multipath(NoPath::Fail, QueueMode::Rq, &[A])),
            @"0 16384 multipath 2 queue_mode rq 0 1 1 round-robin 0 1 1 8:0 1");
        insta::assert_snapshot!(table(&multipath(NoPath::Queue, QueueMode::Rq, &[])),
            @"0 16384 multipath 3 queue_if_no_path queue_mode rq 0 0 0");
        insta::assert_snapshot!(table(&Table::alternating([A, B], Sectors(16), 3, Sectors(4096))), @r"
        0 16 linear 8:0 0
        16 16 linear 8:16 16
        32 16 linear 8:0 32
        48 4048 linear 8:0 48
        ");
        insta::assert_snapshot!(table(&Table::error(Sectors(8))), @"0 8 error");
    }

    #[test]
    fn each_path_that_must_be_activated_has_its_group() {
        let of = |queue_mode| Multipath {
            no_path: NoPath::Queue,
            queue_mode,
            access: Access::Alua,
            selector: Selector::RoundRobin,
            paths: vec![A, B],
        };
        insta::assert_snapshot!(of(QueueMode::Rq),
            @"3 queue_if_no_path queue_mode rq 1 alua 2 1 round-robin 0 1 1 8:0 1 round-robin 0 1 1 8:16 1");
        insta::assert_snapshot!(of(QueueMode::Bio),
            @"3 queue_if_no_path queue_mode bio 0 2 1 round-robin 0 1 1 8:0 1 round-robin 0 1 1 8:16 1");
        for table in [of(QueueMode::Rq), of(QueueMode::Bio)] {
            let table = Table::single(Sectors(8), Target::Multipath(table));
            assert_eq!(Table::parse(&table.to_string()), Ok(table));
        }
    }

    /// Lines as `dmsetup table` printed them on 6.12.117.
    #[test]
    fn recorded_lines_are_understood() {
        let bio = "pb-m0: 0 16384 multipath 4 queue_if_no_path retain_attached_hw_handler queue_mode bio 0 1 1 round-robin 0 2 1 8:0 1 8:16 1 ";
        assert_eq!(Table::parse(bio), Ok(multipath(NoPath::Queue, QueueMode::Bio, &[A, B])));
        let suspended = "0 16384 multipath 3 retain_attached_hw_handler queue_mode bio 0 1 1 round-robin 0 2 1 8:0 1 8:16 1 ";
        assert_eq!(Table::parse(suspended), Ok(multipath(NoPath::Fail, QueueMode::Bio, &[A, B])));
        let rq = "pb-m1: 0 16384 multipath 1 queue_if_no_path 0 1 1 round-robin 0 2 1 8:0 1 8:16 1 ";
        assert_eq!(Table::parse(rq), Ok(multipath(NoPath::Queue, QueueMode::Rq, &[A, B])));
        let empty = "pb-m0: 0 16384 multipath 1 queue_if_no_path 0 0 0 ";
        assert_eq!(Table::parse(empty), Ok(multipath(NoPath::Queue, QueueMode::Rq, &[])));
        let linear = "pb-l0: 0 8192 linear 254:0 0\npb-l0: 8192 8192 linear 254:1 0\n";
        let parsed = Table::parse(linear).unwrap();
        assert_eq!(parsed.length(), Sectors(16384));
        assert_eq!(parsed.devices(), vec![DevNo { major: 254, minor: 0 }, DevNo { major: 254, minor: 1 }]);
        assert_eq!(Table::parse("0 8 error "), Ok(Table::error(Sectors(8))));
        let test = "0 1024 pushback-test 8:0 0\n1024 1024 pushback-test 8:16 1024\n";
        assert_eq!(Table::parse(test), Ok(Table::tested(&[A, B], Sectors(2048))));
        let striped = Target::Striped { chunk: Sectors(32), legs: vec![(A, Sectors(0)), (B, Sectors(1024))] };
        let striped = Table::single(Sectors(2048), striped);
        assert_eq!(Table::parse("0 2048 striped 2 32 8:0 0 8:16 1024 "), Ok(striped.clone()));
        assert_eq!(Table::parse(&striped.to_string()), Ok(striped));
        assert_eq!(Table::parse("\n"), Ok(Table(Vec::new())), "a device without a table");
    }

    #[test]
    fn errors_say_what_was_wanted() {
        let error = |line: &str| Table::parse(line).map_err(|e| e.to_string()).unwrap_err();
        insta::assert_snapshot!(error("0 8 mirror 8:0 0"),
            @"expected multipath, linear, striped, pushback-test or error in `0 8 mirror 8:0 0`, found `mirror`");
        insta::assert_snapshot!(error("0 8 linear 8:0"),
            @"expected an offset in `0 8 linear 8:0`, found the end of the line");
        insta::assert_snapshot!(error("0 8 multipath 99999999 x"),
            @"expected the features in `0 8 multipath 99999999 x`, found the end of the line");
    }

    proptest! {
        #[test]
        fn parsing_never_panics(text in "\\PC{0,80}") {
            let _ = Table::parse(&text);
        }

        #[test]
        fn what_is_printed_is_parsed(
            queue in any::<bool>(), rq in any::<bool>(), minors in proptest::collection::vec(0u32..1000, 0..9)
        ) {
            let paths: Vec<_> = minors.iter().map(|&minor| DevNo { major: 8, minor }).collect();
            let no_path = if queue { NoPath::Queue } else { NoPath::Fail };
            let mode = if rq { QueueMode::Rq } else { QueueMode::Bio };
            let table = multipath(no_path, mode, &paths);
            prop_assert_eq!(Table::parse(&table.to_string()), Ok(table));
        }
    }
}
