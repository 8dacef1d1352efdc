// SPDX-License-Identifier: GPL-2.0-only
//! The names of a case's maps: the case tells them when it makes a map, the kernel's tracepoints know numbers only.

use std::collections::BTreeMap;

/// By `MAJOR:MINOR`; `None` where a case used one number for maps of several names.
#[derive(Debug, Default)]
pub struct Maps(BTreeMap<String, Option<String>>);

impl Maps {
    /// Looks at an event of the case; takes what `map created` says, or `map found` of a map that multipathd made.
    pub fn learn(&mut self, what: &str, details: &BTreeMap<String, String>) {
        if !matches!(what, "map created" | "map found") {
            return;
        }
        let (Some(name), Some(device)) = (details.get("map"), details.get("device")) else { return };
        let known = self.0.entry(device.clone()).or_insert_with(|| Some(name.clone()));
        if known.as_ref() != Some(name) {
            *known = None; // a wrong name would be worse than a number
        }
    }

    /// The name of a map, if it is known for certain.
    pub fn name(&self, dev: &str) -> Option<String> {
        self.0.get(dev).cloned().flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_that_was_used_twice_has_no_name() {
        let mut maps = Maps::default();
        let mut created = |map: &str, device: &str| {
            maps.learn("map created", &[("map".into(), map.into()), ("device".into(), device.into())].into());
        };
        created("pb-left", "253:0");
        created("pb-right", "253:1");
        created("pb-other", "253:1");
        created("pb-left", "253:0");
        assert_eq!(maps.name("253:0").as_deref(), Some("pb-left"));
        assert_eq!((maps.name("253:1"), maps.name("253:2")), (None, None));
    }
}
