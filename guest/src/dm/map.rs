// SPDX-License-Identifier: GPL-2.0-only
//! One device of this suite: create, suspend, load, resume, message, status, remove.
//!
//! Every call returns within a deadline or fails an assertion with its name, and is told as an event.

use std::fs;
use std::path::PathBuf;

use super::direct::Text;
use super::ioctl;
use super::tool::{Answer, Call};
use super::{DevNo, Direct, DmName, Info, MultipathStatus, Sectors, Table};
use crate::assertions::succeeds;
use crate::failure::{Failure, GuestContext, Outcome};
use crate::report::happened;

/// What a suspend does with the I/O that a target holds, and with a mounted file system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flush {
    /// The default: the target must complete or fail its I/O; a mounted file system is frozen.
    Flush,
    /// `--nolockfs`: as the default, without freezing a file system.
    FlushNolockfs,
    /// `--noflush`: the target pushes its I/O back to the core. The kernel freezes nothing then.
    Noflush,
}

impl Flush {
    const fn options(self) -> &'static [&'static str] {
        match self {
            Self::Flush => &[],
            Self::FlushNolockfs => &["--nolockfs"],
            Self::Noflush => &["--noflush"],
        }
    }

    /// The same for the ioctl `DM_DEV_SUSPEND`.
    pub(super) const fn flags(self) -> u32 {
        match self {
            Self::Flush => 0,
            Self::FlushNolockfs => ioctl::SKIP_LOCKFS,
            Self::Noflush => ioctl::NOFLUSH,
        }
    }

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Flush => "flush",
            Self::FlushNolockfs => "flush, nolockfs",
            Self::Noflush => "noflush",
        }
    }
}

/// A device-mapper device of this suite.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Map {
    name: DmName,
    device: DevNo,
    length: Sectors,
}

impl Map {
    /// Creates the device with its first table and takes it into use. Assertions: `create returns`, `create succeeds`.
    pub fn create(name: DmName, table: &Table) -> Outcome<Self> {
        let (direct, first) = (Direct::to(name.clone())?, table.clone());
        let text = table.to_string();
        let device = ioctl::in_time("create", move || direct.create(&first))?.map_err(|(step, errno)| {
            Failure::assertion(succeeds("create"), format_args!("{step} of {name} with `{text}`: {errno:?}"))
        })?;
        happened("map created", &[("map", &name), ("device", &device), ("table", &text)]);
        Ok(Self { name, device, length: table.length() })
    }

    /// A device that somebody else has created.
    pub fn existing(name: DmName) -> Outcome<Self> {
        let device = number_of(&name)?;
        let file = format!("/sys/dev/block/{device}/size");
        let size = fs::read_to_string(&file).guest(format_args!("read {file}"))?;
        let length = size.trim_end().parse().guest("understand the size of a device")?;
        happened("map found", &[("map", &name), ("device", &device)]);
        Ok(Self { name, device, length })
    }

    /// Its name.
    pub fn name(&self) -> &DmName {
        &self.name
    }

    /// Its number.
    pub fn device(&self) -> DevNo {
        self.device
    }

    /// Its length.
    pub fn length(&self) -> Sectors {
        self.length
    }

    /// Its node.
    pub fn node(&self) -> PathBuf {
        PathBuf::from(format!("/dev/mapper/{}", self.name))
    }

    /// Suspends it. Assertions: `suspend returns`, `suspend succeeds`.
    pub fn suspend(&self, flush: Flush) -> Outcome {
        happened("suspend started", &[("map", &self.name), ("form", &flush.name())]);
        let answer = self.call("suspend", flush.options());
        happened("suspend ended", &[("map", &self.name), ("result", &result(&answer))]);
        answer.map(drop)
    }

    /// Suspends it, which may be refused.
    pub fn try_suspend(&self, flush: Flush) -> Outcome<Answer> {
        happened("suspend started", &[("map", &self.name), ("form", &flush.name())]);
        let mut args = vec!["suspend"];
        args.extend(flush.options());
        args.push(self.name.as_str());
        let answer = Call::dmsetup("suspend", &args).answer()?;
        happened("suspend ended", &[("map", &self.name), ("said", &answer.stderr.trim())]);
        Ok(answer)
    }

    /// Loads a table beside the one in use. Assertions: `load returns`, `load succeeds`.
    pub fn load(&self, table: &Table) -> Outcome {
        let text = table.to_string();
        Call { stdin: Some(&text), ..Call::dmsetup("load", &["load", self.name.as_str()]) }.run()?;
        happened("table loaded", &[("map", &self.name), ("table", &text)]);
        Ok(())
    }

    /// Takes a loaded table into use, if there is one, and lets I/O through. A device that is not suspended is
    /// suspended on the way, as `flush` says. Assertions: `resume returns`, `resume succeeds`.
    pub fn resume(&self, flush: Flush) -> Outcome {
        happened("resume started", &[("map", &self.name), ("form", &flush.name())]);
        let answer = self.call("resume", flush.options());
        happened("resumed", &[("map", &self.name), ("result", &result(&answer))]);
        answer.map(drop)
    }

    /// Sends several messages to the target at sector 0. Assertions: `message returns`, `message succeeds`.
    pub fn messages(&self, messages: &[String]) -> Outcome {
        let messages: Vec<_> = messages.iter().map(|message| (Sectors::ZERO, message.clone())).collect();
        self.messages_at(&messages)
    }

    /// Sends several messages, each to the target at a sector.
    pub fn messages_at(&self, messages: &[(Sectors, String)]) -> Outcome {
        let (direct, ours) = (Direct::of(self)?, messages.to_vec());
        let refused = ioctl::in_time("message", move || {
            let send = |(sector, text): &(Sectors, String)| direct.message_at(*sector, text).err();
            ours.into_iter().find_map(|message| Some((send(&message)?, message)))
        })?;
        if let Some((errno, (sector, text))) = refused {
            let seen = format_args!("DM_TARGET_MSG of {}, `{text}` at {sector}: {errno:?}", self.name);
            return Err(Failure::assertion(succeeds("message"), seen));
        }
        let texts: Vec<_> =
            messages.iter().map(|(sector, message)| format!("{message} (at {sector})")).collect();
        happened("messages sent", &[("map", &self.name), ("messages", &texts.join(", "))]);
        Ok(())
    }

    /// Asks the target at `sector` something by a message.
    pub fn ask_at(&self, sector: Sectors, message: &str) -> Outcome<String> {
        let sector = sector.to_string();
        Call::dmsetup("message", &["message", self.name.as_str(), &sector, message]).run()
    }

    /// What `dmsetup status` prints, for a parser that knows the targets. Assertions: `status returns`, `status succeeds`.
    pub fn status(&self) -> Outcome<String> {
        self.text(Text::Status)
    }

    fn text(&self, text: Text) -> Outcome<String> {
        let (direct, what) = (Direct::of(self)?, text.verb());
        ioctl::in_time(what, move || direct.text(text))?.map_err(|errno| {
            Failure::assertion(succeeds(what), format_args!("DM_TABLE_STATUS of {}: {errno:?}", self.name))
        })
    }

    /// Sends a message that may be refused.
    pub fn try_message(&self, message: &str) -> Outcome<Answer> {
        Call::dmsetup("message", &["message", self.name.as_str(), "0", message]).answer()
    }

    /// What its multipath target says about its paths.
    pub fn multipath_status(&self) -> Outcome<MultipathStatus> {
        let text = self.status()?;
        MultipathStatus::parse(&text).guest("understand dmsetup status")
    }

    /// The table in use, as the kernel prints it.
    pub fn table(&self) -> Outcome<Table> {
        let text = self.text(Text::Table)?;
        Table::parse(&text).guest("understand dmsetup table")
    }

    /// The line of `dmsetup info -c`.
    pub fn info(&self) -> Outcome<Info> {
        let text = self.call("info", &["-c", "--noheadings"])?;
        Info::parse(&text).guest("understand dmsetup info")
    }

    fn call(&self, verb: &str, options: &[&str]) -> Outcome<String> {
        let mut args = vec![verb];
        args.extend(options);
        args.push(self.name.as_str());
        Call::dmsetup(verb, &args).run()
    }
}

/// The names of all device-mapper devices there are, ours or not. Reads sysfs only.
pub fn all_names() -> Vec<String> {
    devices().map(|(_, name)| name).collect()
}

fn result(answer: &Outcome<String>) -> String {
    match answer {
        Ok(_) => "ok".to_owned(),
        Err(failure) => failure.to_string(),
    }
}

/// The kernel name (`dm-0`) and the name of each device.
fn devices() -> impl Iterator<Item = (String, String)> {
    fs::read_dir("/sys/block").into_iter().flatten().filter_map(|entry| {
        let entry = entry.ok()?;
        let kernel = entry.file_name().into_string().ok().filter(|name| name.starts_with("dm-"))?;
        let name = fs::read_to_string(entry.path().join("dm/name")).ok()?;
        Some((kernel, name.trim_end().to_owned()))
    })
}

/// The number of a device that somebody else has created, from sysfs.
fn number_of(name: &DmName) -> Outcome<DevNo> {
    let kernel = devices().find(|(_, other)| other == name.as_str()).map(|(kernel, _)| kernel);
    let Some(kernel) = kernel else {
        return Err(Failure::assertion("create makes a device", format_args!("/sys/block has no {name}")));
    };
    let text = fs::read_to_string(format!("/sys/block/{kernel}/dev")).guest("read a device number")?;
    text.trim_end().parse().guest("understand a device number")
}
