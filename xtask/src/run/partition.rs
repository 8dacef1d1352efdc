// SPDX-License-Identifier: GPL-2.0-only
//! `--partition M/N`: which of N machines runs a case. By a hash of its full name and of nothing else: neither order nor
//! what else is selected moves a case from one machine to another. Every run of a case (`--repeat`) is on the same one.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// More machines than that would have less than one case each.
const MOST: u32 = 1000;

/// Part `part` of `of`, counted from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Partition {
    part: u32,
    of: u32,
}

impl Partition {
    /// Which part, from 1.
    pub const fn part(self) -> u32 {
        self.part
    }

    /// Of how many.
    pub const fn of(self) -> u32 {
        self.of
    }

    /// Another part of the same whole.
    pub const fn sibling(self, part: u32) -> Self {
        Self { part, of: self.of }
    }

    /// Whether `case[condition]` is in this part.
    pub fn has(self, full_name: &str) -> bool {
        let digest = Sha256::digest(full_name.as_bytes());
        let hash = digest.iter().take(8).fold(0_u64, |hash, byte| hash << 8 | u64::from(*byte));
        hash % u64::from(self.of) == u64::from(self.part - 1)
    }
}

impl FromStr for Partition {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let numbers = text.split_once('/').and_then(|(m, n)| Some((m.parse().ok()?, n.parse().ok()?)));
        match numbers {
            Some((part, of)) if (1..=of).contains(&part) && of <= MOST => Ok(Self { part, of }),
            _ => Err(format!("`{text}` is not M/N with 1 ≤ M ≤ N ≤ {MOST} (hint: 1/2 and 2/2 are all)")),
        }
    }
}

impl TryFrom<String> for Partition {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Partition> for String {
    fn from(partition: Partition) -> Self {
        partition.to_string()
    }
}

impl fmt::Display for Partition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.part, self.of)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn reads_m_of_n_and_nothing_else() {
        let good: Partition = "2/3".parse().unwrap();
        assert_eq!((good.part(), good.of(), good.to_string().as_str()), (2, 3, "2/3"));
        for bad in ["", "1", "0/2", "3/2", "1/0", "-1/2", "1/2/3", "a/b", "1/1001", "1 /2"] {
            let error = bad.parse::<Partition>().unwrap_err();
            assert!(error.starts_with(&format!("`{bad}` is not M/N")), "{error}");
        }
        assert!(serde_json::from_str::<Partition>("\"5/4\"").is_err());
    }

    /// Machines with different builds of the xtask must agree.
    #[test]
    fn the_hash_is_what_it_was() {
        let part = |name: &str| (1..=4).find(|part| Partition { part: *part, of: 4 }.has(name)).unwrap();
        let names = ["compat::io_fails[scsi_debug,bio]", "compat::io_fails[scsi_debug,rq]", "a::b", "a::c"];
        assert_eq!(names.map(part), [4, 4, 4, 2]);
    }

    #[test]
    fn the_catalogue_spreads() {
        let plan = crate::verbs::test::default_plan().unwrap();
        for of in [2, 3, 4, 8] {
            let size = |part| plan.iter().filter(|p| Partition { part, of }.has(&p.full_name())).count();
            let sizes: Vec<_> = (1..=of).map(size).collect();
            assert_eq!(sizes.iter().sum::<usize>(), plan.len());
            let fair = plan.len() / of as usize;
            assert!(sizes.iter().all(|size| (fair / 2..=fair * 2).contains(size)), "{sizes:?}");
        }
    }

    proptest! {
        #[test]
        fn every_name_is_in_exactly_one_part(name in ".{0,40}", of in 1_u32..=MOST) {
            let parts = (1..=of).filter(|part| Partition { part: *part, of }.has(&name)).count();
            prop_assert_eq!(parts, 1);
        }
    }
}
