// SPDX-License-Identifier: GPL-2.0-only
//! The target `pushback-test` (kernel-patches/modules/dm-pushback-test): its messages, its status and its log, as types.
//! docs/test-target.md describes all of them.

use std::collections::BTreeMap;
use std::fmt;

use super::{ParseError, Sectors, Words, without_name};

macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $text:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum $name { $($(#[$vdoc])* $variant),+ }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(match self { $(Self::$variant => $text),+ })
            }
        }

        impl std::str::FromStr for $name {
            type Err = ();
            fn from_str(text: &str) -> Result<Self, ()> {
                match text { $($text => Ok(Self::$variant),)+ _ => Err(()) }
            }
        }
    };
}

words! {
    /// What `map()` does with a bio.
    OnMap {
        /// Sends it to the device below.
        Remap = "remap",
        /// Keeps it on a list.
        Hold = "hold",
        /// Returns `DM_MAPIO_REQUEUE`.
        Requeue = "requeue",
        /// Returns `DM_MAPIO_REQUEUE` while the flag is seen set, else remaps.
        RequeueUnderNoflush = "requeue-noflush",
        /// Returns `DM_MAPIO_KILL`.
        Kill = "kill",
    }
}

words! {
    /// What `end_io()` does with what comes back from the device below.
    OnEnd {
        /// Passes it on.
        Done = "done",
        /// Returns `DM_ENDIO_REQUEUE`.
        Requeue = "requeue",
        /// Returns `DM_ENDIO_REQUEUE` while the flag is seen set, else passes it on.
        RequeueUnderNoflush = "requeue-noflush",
        /// Makes an error of it.
        Error = "error",
    }
}

words! {
    /// What `presuspend()` does with the bios that are held.
    OnPresuspend {
        /// As dm-multipath: pushes them back under noflush, else fails them. Nothing is held until the resume.
        PushBack = "push-back",
        /// Sends them to the device below.
        Release = "release",
        /// Nothing: the suspend waits for them.
        Keep = "keep",
    }
}

words! {
    /// Whether `presuspend()` gets on.
    Gate {
        /// It does.
        Open = "open",
        /// It will not.
        Closed = "closed",
        /// It is there and waits.
        Waiting = "waiting",
    }
}

/// A message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// What `map()` does, with flushes too.
    Map(OnMap),
    /// What `end_io()` does, with flushes too.
    EndIo(OnEnd),
    /// `map()` accepts so many sectors of a longer bio, after it has moved on over the first `skip` ones.
    Accept {
        /// 0: takes all of it.
        sectors: u32,
        /// They count as accepted, too.
        skip: u32,
    },
    /// What `presuspend()` does.
    Presuspend(OnPresuspend),
    /// `presuspend()` must wait.
    CloseGate,
    /// It need not.
    OpenGate,
    /// Sends held bios to the device below.
    Release,
    /// Ends held bios with EIO.
    Fail,
    /// Ends held bios with `BLK_STS_DM_REQUEUE`: all, or the first so many.
    PushBack(Option<u32>),
    /// Forgets log and counters.
    Clear,
    /// As new: behaves like linear, holds nothing, remembers nothing.
    Reset,
}

impl fmt::Display for Order {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Map(what) => write!(f, "map {what}"),
            Self::EndIo(what) => write!(f, "end-io {what}"),
            Self::Accept { sectors, skip } => write!(f, "accept {sectors} {skip}"),
            Self::Presuspend(what) => write!(f, "presuspend {what}"),
            Self::CloseGate => f.write_str("gate closed"),
            Self::OpenGate => f.write_str("gate open"),
            Self::Release => f.write_str("release"),
            Self::Fail => f.write_str("fail"),
            Self::PushBack(None) => f.write_str("requeue"),
            Self::PushBack(Some(count)) => write!(f, "requeue {count}"),
            Self::Clear => f.write_str("clear"),
            Self::Reset => f.write_str("reset"),
        }
    }
}

/// What `dmsetup status` says of one such target. The counters count bios, which are pieces of the I/Os that were
/// submitted, and since the last [`Order::Clear`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TestStatus {
    /// Whether `presuspend()` waits.
    pub gate: Gate,
    /// On the target's list now.
    pub held: u64,
    /// In the device below now.
    pub below: u64,
    /// Seen by `map()`.
    pub mapped: u64,
    /// Refused by `map()` with `DM_MAPIO_REQUEUE`.
    pub requeued: u64,
    /// Ended by the target with `BLK_STS_DM_REQUEUE`.
    pub pushed_back: u64,
    /// Ended by the target with EIO.
    pub failed: u64,
    /// Come back from the device below.
    pub ended: u64,
    /// Of these, with an error.
    pub errors: u64,
}

impl TestStatus {
    /// Parses the status of a device, one line a target.
    pub fn parse_all(text: &str) -> Result<Vec<Self>, ParseError> {
        text.lines().filter(|line| !line.trim().is_empty()).map(Self::parse).collect()
    }

    fn parse(line: &str) -> Result<Self, ParseError> {
        let mut words = Words::new(without_name(line));
        words.value::<u64>("the first sector")?;
        words.value::<u64>("the number of sectors")?;
        words.exactly("pushback-test")?;
        let fields: BTreeMap<&str, &str> =
            without_name(line).split_ascii_whitespace().filter_map(|word| word.split_once('=')).collect();
        let number = |name: &str| {
            let word = fields.get(name).copied();
            let value = word.and_then(|word| word.parse().ok());
            value.ok_or_else(|| words.error(&format!("a number `{name}=`"), word))
        };
        let gate = fields.get("gate").copied();
        Ok(Self {
            gate: gate.and_then(|word| word.parse().ok()).ok_or_else(|| words.error("`gate=`", gate))?,
            held: number("held")?,
            below: number("below")?,
            mapped: number("mapped")?,
            requeued: number("requeued")?,
            pushed_back: number("pushed-back")?,
            failed: number("failed")?,
            ended: number("ended")?,
            errors: number("errors")?,
        })
    }
}

/// `8 held, 0 below; mapped 8, requeued 0, …`: for people.
impl fmt::Display for TestStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { gate, held, below, mapped, requeued, pushed_back, failed, ended, errors } = self;
        write!(
            f,
            "{held} held, {below} below (mapped {mapped}, requeued {requeued}, pushed back {pushed_back}, \
             failed {failed}, ended {ended}, {errors} of them with an error; gate {gate})"
        )
    }
}

/// One line of the target's log: what `map()` saw and did. A bio that was requeued again and again, because the core
/// offered it again at once, is one line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mapped {
    /// What it did.
    pub action: OnMap,
    /// First sector, of the device-mapper device.
    pub sector: Sectors,
    /// How many.
    pub sectors: u64,
    /// How often.
    pub times: u64,
}

impl Mapped {
    /// Parses the answer to the message `log`, oldest line first.
    pub fn parse_all(text: &str) -> Result<Vec<Self>, ParseError> {
        text.lines().filter(|line| !line.trim().is_empty()).map(Self::parse).collect()
    }

    fn parse(line: &str) -> Result<Self, ParseError> {
        let mut words = Words::new(line);
        words.value::<u64>("a number")?;
        let word = words.word("what map() did")?;
        let action = word.parse().map_err(|()| words.error("what map() did", Some(word)))?;
        words.word("the operation")?;
        let place = words.word("sector+count")?;
        let numbers = place
            .split_once('+')
            .and_then(|(sector, count)| Some((Sectors(sector.parse().ok()?), count.parse().ok()?)));
        let (sector, sectors) = numbers.ok_or_else(|| words.error("sector+count", Some(place)))?;
        let times = words.value("how often")?;
        words.end()?;
        Ok(Self { action, sector, sectors, times })
    }
}

/// `requeue 64+8`, `requeue 64+8 (12 times)`.
impl fmt::Display for Mapped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}+{}", self.action, self.sector, self.sectors)?;
        if self.times > 1 { write!(f, " ({} times)", self.times) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Held, partly accepted, and pushed back: as `dmsetup status` printed it on 6.12.117.
    #[test]
    fn recorded_status_is_understood() {
        let line = |gate: &str, rest: &str| {
            format!(
                "pb-t: 0 1024 pushback-test map=hold,hold end-io=done,done accept=8,8 presuspend=push-back \
                 undo=restore gate={gate} {rest} failed=0 ended=0 errors=0 last-errno=0\n"
            )
        };
        let held = line(
            "open",
            "draining=0 held=2 below=0 mapped=2 remapped=0 kept=2 requeued=0 killed=0 pushed-back=0",
        );
        let back = line(
            "waiting",
            "draining=1 held=0 below=0 mapped=2 remapped=0 kept=2 requeued=0 killed=0 pushed-back=2",
        );
        let status = TestStatus::parse_all(&format!("{held}{back}")).unwrap();
        let seen: Vec<_> = status.iter().map(|s| (s.gate, s.held, s.mapped, s.pushed_back)).collect();
        assert_eq!(seen, [(Gate::Open, 2, 2, 0), (Gate::Waiting, 0, 2, 2)]);
    }

    /// As `dmsetup message pb-t 0 log` printed it on 6.12.117; the third line is of the module's own format.
    #[test]
    fn recorded_log_is_understood() {
        let log = Mapped::parse_all("0 hold W 0+16 1\n1 hold W 16+16 1\n2 requeue F 0+0 12\n\n").unwrap();
        let texts: Vec<_> = log.iter().map(ToString::to_string).collect();
        assert_eq!(texts, ["hold 0+16", "hold 16+16", "requeue 0+0 (12 times)"]);
    }

    #[test]
    fn errors_say_what_was_wanted() {
        let status = |line: &str| TestStatus::parse_all(line).map_err(|e| e.to_string()).unwrap_err();
        insta::assert_snapshot!(status("0 8 linear"), @"expected pushback-test in `0 8 linear`, found `linear`");
        insta::assert_snapshot!(status("0 8 pushback-test gate=open held=x"),
            @"expected a number `held=` in `0 8 pushback-test gate=open held=x`, found `x`");
        let log = |line: &str| Mapped::parse_all(line).map_err(|e| e.to_string()).unwrap_err();
        insta::assert_snapshot!(log("0 held W 0+16 1"), @"expected what map() did in `0 held W 0+16 1`, found `held`");
        insta::assert_snapshot!(log("0 hold W 16 1"), @"expected sector+count in `0 hold W 16 1`, found `16`");
    }

    /// The words that the kernel's side knows (control.c).
    #[test]
    fn orders_are_printed_as_the_target_takes_them() {
        let orders = [
            Order::Map(OnMap::RequeueUnderNoflush),
            Order::EndIo(OnEnd::Error),
            Order::Accept { sectors: 8, skip: 16 },
            Order::Presuspend(OnPresuspend::PushBack),
            Order::CloseGate,
            Order::PushBack(Some(3)),
        ];
        let texts: Vec<_> = orders.iter().map(ToString::to_string).collect();
        let wanted = [
            "map requeue-noflush",
            "end-io error",
            "accept 8 16",
            "presuspend push-back",
            "gate closed",
            "requeue 3",
        ];
        assert_eq!(texts, wanted);
    }

    proptest! {
        #[test]
        fn parsing_never_panics(text in "\\PC{0,80}") {
            let _ = TestStatus::parse_all(&text);
            let _ = Mapped::parse_all(&text);
        }
    }
}
