// SPDX-License-Identifier: GPL-2.0-only
//! The paths of each map. Which there are, the tables say; whether dm-multipath uses them, its own lines on the console
//! (`fail_path` and `reinstate_path` in drivers/md/dm-mpath.c); what was done to them, the case.

use std::collections::BTreeMap;

use super::{Maps, Moment};

/// What dm-multipath thinks of a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PathState {
    /// It takes I/O.
    Usable,
    /// It has failed.
    Failed,
    /// It is in no table of the map.
    Gone,
}

/// One path of one map.
#[derive(Debug, PartialEq)]
pub struct PathLane {
    /// The map.
    pub map: String,
    /// `8:16`.
    pub dev: String,
    /// `sdb`, if the case told it.
    pub name: Option<String>,
    /// From when on it was in which state.
    pub states: Vec<(f64, PathState)>,
    /// What was done to it.
    pub faults: Vec<Moment>,
}

/// Gathers the lanes.
#[derive(Debug, Default)]
pub struct Paths {
    lanes: Vec<PathLane>,
    /// By number, as the case tells them.
    names: BTreeMap<String, String>,
    /// Tables that wait for a resume, by map.
    loaded: BTreeMap<String, Vec<String>>,
    /// What was done before the path was in a table.
    early: Vec<(String, Moment)>,
}

impl Paths {
    /// The case tells something.
    pub fn happened(&mut self, t: f64, what: &str, details: &BTreeMap<String, String>) {
        let detail = |name: &str| details.get(name).map(String::as_str);
        for text in ["path", "paths", "found"].into_iter().filter_map(detail) {
            for (name, dev) in named(text) {
                self.names.insert(dev.to_owned(), name.to_owned());
            }
        }
        match (what, detail("map")) {
            ("map created", Some(map)) => {
                self.loaded.insert(map.to_owned(), paths_of(detail("table").unwrap_or_default()));
                self.resumed(t, map);
            }
            ("table loaded", Some(map)) => {
                self.loaded.insert(map.to_owned(), paths_of(detail("table").unwrap_or_default()));
            }
            // On a kernel without tracepoints this is the first that is heard of it.
            ("resumed", Some(map)) if detail("result") == Some("ok") => self.resumed(t, map),
            ("maps removed", _) => {
                let maps: Vec<_> = detail("maps").unwrap_or_default().split(' ').collect();
                let gone = self.lanes.iter_mut().filter(|lane| maps.contains(&lane.map.as_str()));
                gone.for_each(|lane| lane.turn(t, PathState::Gone));
            }
            _ => {}
        }
        if let Some((_, dev)) = detail("path").and_then(|text| named(text).next()) {
            let how = ["fault", "state"].into_iter().find_map(detail);
            let text = how.map_or_else(|| what.to_owned(), |how| format!("{what}: {how}"));
            self.early.push((dev.to_owned(), Moment { t, text, bad: false }));
        }
    }

    /// A table that was loaded is in use now.
    pub fn resumed(&mut self, t: f64, map: &str) {
        let Some(paths) = self.loaded.remove(map) else { return };
        for lane in self.lanes.iter_mut().filter(|lane| lane.map == map && !paths.contains(&lane.dev)) {
            lane.turn(t, PathState::Gone);
        }
        for dev in paths {
            self.turn(t, map, &dev, PathState::Usable);
        }
    }

    /// A line of the console.
    pub fn said(&mut self, t: f64, line: &str, maps: &Maps) {
        let Some((_, text)) = line.split_once("device-mapper: multipath: ") else { return };
        let Some((map, text)) = text.split_once(": ") else { return };
        let (state, dev) = match (text.strip_prefix("Failing path "), text.strip_prefix("Reinstating path "))
        {
            (Some(dev), _) => (PathState::Failed, dev),
            (_, Some(dev)) => (PathState::Usable, dev),
            _ => return,
        };
        let dev = dev.trim_end().trim_end_matches('.');
        if is_number(dev) {
            let map = maps.name(map).unwrap_or_else(|| map.to_owned());
            self.turn(t, &map, dev, state);
        }
    }

    fn turn(&mut self, t: f64, map: &str, dev: &str, state: PathState) {
        let at = self.lanes.iter().position(|lane| lane.map == map && lane.dev == dev).unwrap_or_else(|| {
            let (map, dev) = (map.to_owned(), dev.to_owned());
            self.lanes.push(PathLane { map, dev, name: None, states: vec![], faults: vec![] });
            self.lanes.len() - 1
        });
        self.lanes[at].turn(t, state);
    }

    /// The lanes, in the order in which the paths came.
    pub fn lanes(self) -> Vec<PathLane> {
        let Self { mut lanes, names, early, .. } = self;
        for lane in &mut lanes {
            lane.name = names.get(&lane.dev).cloned();
            let faults = early.iter().filter(|(dev, _)| *dev == lane.dev);
            lane.faults.extend(faults.map(|(_, moment)| moment.clone()));
        }
        lanes
    }
}

impl PathLane {
    fn turn(&mut self, t: f64, state: PathState) {
        if self.states.last().is_none_or(|(_, last)| *last != state) {
            self.states.push((t, state));
        }
    }
}

/// The paths in the lines of a table that are multipath's.
fn paths_of(table: &str) -> Vec<String> {
    let lines = table.lines().filter(|line| line.split_whitespace().nth(2) == Some("multipath"));
    lines.flat_map(str::split_whitespace).filter(|word| is_number(word)).map(str::to_owned).collect()
}

/// `8:16`.
fn is_number(word: &str) -> bool {
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    word.split_once(':').is_some_and(|(major, minor)| digits(major) && digits(minor))
}

/// The names and numbers in `sda (8:0, 0:0:0:0), sdb (8:16, 1:0:0:0)`.
fn named(text: &str) -> impl Iterator<Item = (&str, &str)> {
    text.split("), ").filter_map(|path| {
        let (name, rest) = path.split_once(" (")?;
        let dev = rest.split([',', ')']).next()?;
        is_number(dev).then_some((name, dev))
    })
}
