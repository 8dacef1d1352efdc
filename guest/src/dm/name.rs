// SPDX-License-Identifier: GPL-2.0-only
//! The small values of device-mapper, checked where they are made: device name, device number, sectors.

use std::fmt;
use std::str::FromStr;

/// Every device of this suite carries it, so that clean-up removes only its own.
pub const PREFIX: &str = "pb-";

/// `DM_NAME_LEN` of `include/uapi/linux/dm-ioctl.h` counts the terminating zero.
const MAX_NAME: usize = 127;

/// The name of one of this suite's devices: starts with [`PREFIX`], no character that udev or `dmsetup` mangle.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DmName(String);

impl DmName {
    /// The device that a case calls `short`, e.g. `left` for `pb-left`.
    pub fn of(short: &str) -> Result<Self, String> {
        format!("{PREFIX}{short}").parse()
    }

    /// As `dmsetup` takes it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for DmName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let Some(short) = text.strip_prefix(PREFIX) else {
            return Err(format!("the device name `{text}` does not start with `{PREFIX}`"));
        };
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-' | '+');
        if short.is_empty() || text.len() > MAX_NAME || !short.chars().all(plain) {
            return Err(format!(
                "the device name `{text}` is not {PREFIX} and 1 to {} of A-Z a-z 0-9 _ . - +",
                MAX_NAME - PREFIX.len()
            ));
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for DmName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// `major:minor`. Tables name devices this way: a deleted disk's name may be given to another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DevNo {
    /// Major number.
    pub major: u32,
    /// Minor number.
    pub minor: u32,
}

impl FromStr for DevNo {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number = |part: &str| part.parse::<u32>().ok();
        text.split_once(':')
            .and_then(|(major, minor)| Some(Self { major: number(major)?, minor: number(minor)? }))
            .ok_or_else(|| format!("`{text}` is not major:minor"))
    }
}

impl fmt::Display for DevNo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.major, self.minor)
    }
}

/// A length or an offset in sectors of 512 bytes, the unit of every table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Sectors(pub u64);

impl Sectors {
    /// The start of a device.
    pub const ZERO: Self = Self(0);

    /// In bytes; `None` where it does not fit.
    pub fn bytes(self) -> Option<u64> {
        self.0.checked_mul(512)
    }
}

impl FromStr for Sectors {
    type Err = std::num::ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().map(Self)
    }
}

impl fmt::Display for Sectors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_checked() {
        for good in ["map", "a.b_c+d-e", "0"] {
            assert_eq!(DmName::of(good).map(|n| n.to_string()), Ok(format!("pb-{good}")));
        }
        for bad in ["", "a b", "a/b", "\u{e4}", "a\n", "x".repeat(125).as_str()] {
            assert!(DmName::of(bad).is_err(), "{bad:?}");
        }
        assert!("root".parse::<DmName>().is_err(), "a foreign device is never ours");
        assert!(DmName::of(&"x".repeat(124)).is_ok());
    }

    #[test]
    fn device_numbers_are_checked() {
        assert_eq!("8:16".parse(), Ok(DevNo { major: 8, minor: 16 }));
        for bad in ["", "8", "8:", ":1", "8:1:2", "8:-1", "sda"] {
            assert!(bad.parse::<DevNo>().is_err(), "{bad:?}");
        }
    }
}
