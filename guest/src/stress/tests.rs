// SPDX-License-Identifier: GPL-2.0-only
//! A seed is a schedule: always the same, whatever else is asked for.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::schedule::*;
use super::*;
use crate::condition::{Fault, IoKind, QueueMode, SuspendForm, Transport};

fn profile() -> Profile {
    Profile {
        forms: SuspendForm::ALL,
        between: 0..20_000,
        suspended: 0..1_000,
        interrupted: 3,
        always_reload: false,
        faults: Fault::of(Transport::ScsiDebug).to_vec(),
        down: 1_000..2_000,
        up: 0..500,
        held: 3,
        settings: true,
    }
}

fn schedule(seed: u64, case: &str) -> Schedule {
    Schedule::new(seed, case, &profile(), QueueMode::Bio, 2)
}

/// All that a schedule says, `steps` of each actor.
fn all(schedule: &Schedule, steps: usize) -> Vec<String> {
    fn json<T: Serialize>(step: T) -> String {
        serde_json::to_string(&step).unwrap()
    }
    let lanes = (0..LANES).flat_map(|lane| schedule.batches(lane).take(steps)).map(json);
    let others = [
        schedule.reloads().take(steps).map(json).collect::<Vec<_>>(),
        schedule.breaks().take(steps).map(json).collect(),
        schedule.settings().take(steps).map(json).collect(),
    ];
    others.concat().into_iter().chain(lanes).collect()
}

/// If this changes, every seed that somebody wrote down stands for another storm: say so in the commit.
#[test]
fn the_schedule_of_a_seed_is_stable() {
    let profile = Profile { faults: vec![Fault::Message, Fault::Offline, Fault::Delete], ..profile() };
    let schedule = Schedule::new(1, "stress::a_case[bio]", &profile, QueueMode::Bio, 2);
    insta::assert_snapshot!(all(&schedule, 1).join("\n"), @r#"
    {"pause":4963,"step":{"do":"implicit"}}
    {"pause":47,"step":{"do":"all","fault":"message","down":1968}}
    {"pause":135,"step":{"name":"nr_requests","value":"40"}}
    {"pause":2059,"step":{"ios":[["write",9,3],["write",42,3],["write",35,1],["flush",0,0],["read",58,3]],"threads":false}}
    {"pause":992,"step":{"ios":[["write",80,1],["read",99,3]],"threads":false}}
    {"pause":2875,"step":{"ios":[["write",130,1],["write",171,3]],"threads":false}}
    {"pause":3348,"step":{"ios":[["write",248,2],["write",216,2],["write",234,3],["write",240,1],["write",194,2]],"threads":false}}
    "#);
}

#[test]
fn a_queue_mode_without_fua_has_none() {
    let schedule = Schedule::new(1, "stress::a_case[rq]", &profile(), QueueMode::Rq, 2);
    let kinds: BTreeSet<IoKind> =
        schedule.batches(0).take(200).flat_map(|timed| timed.step.ios).map(|(kind, ..)| kind).collect();
    assert_eq!(kinds, BTreeSet::from([IoKind::Write, IoKind::Read, IoKind::Flush]));
}

#[test]
fn everything_that_may_happen_does() {
    let schedule = schedule(7, "stress::a_case[bio]");
    let reloads: Vec<_> = schedule.reloads().take(200).map(|timed| timed.step).collect();
    for wanted in
        ["explicit", "implicit", "interrupted", "eintr", "restart", "\"load\":true", "\"load\":false"]
    {
        assert!(reloads.iter().any(|step| serde_json::to_string(step).unwrap().contains(wanted)), "{wanted}");
    }
    let breaks: String =
        schedule.breaks().take(300).map(|timed| serde_json::to_string(&timed.step).unwrap()).collect();
    for fault in Fault::of(Transport::ScsiDebug) {
        assert!(breaks.contains(&format!("\"fault\":\"{fault}\"")), "{fault}");
    }
    let settings: BTreeSet<_> = schedule.settings().take(50).map(|timed| timed.step.name).collect();
    assert_eq!(settings.len(), 3, "{settings:?}");
}

proptest! {
    #[test]
    fn the_same_seed_gives_the_same_schedule(seed in any::<u64>(), case in "[a-z:]{1,20}", steps in 0..20_usize) {
        prop_assert_eq!(all(&schedule(seed, &case), steps), all(&schedule(seed, &case), steps));
    }

    #[test]
    fn a_longer_storm_begins_like_a_shorter_one(seed in any::<u64>(), short in 0..20_usize, more in 0..20_usize) {
        let schedule = schedule(seed, "stress::a_case");
        let steps = |n| schedule.reloads().take(n).collect::<Vec<_>>();
        prop_assert_eq!(&steps(short + more)[..short], &steps(short)[..]);
    }

    #[test]
    fn another_seed_or_case_gives_another_schedule(seed in any::<u64>(), other in any::<u64>()) {
        prop_assume!(seed != other);
        prop_assert_ne!(all(&schedule(seed, "a"), 8), all(&schedule(other, "a"), 8));
        prop_assert_ne!(all(&schedule(seed, "a"), 8), all(&schedule(seed, "b"), 8));
    }

    #[test]
    fn a_step_survives_its_text(seed in any::<u64>()) {
        for timed in schedule(seed, "a").reloads().take(8) {
            let text = serde_json::to_string(&timed).unwrap();
            prop_assert_eq!(serde_json::from_str::<Timed<Reload>>(&text).unwrap(), timed);
        }
    }

    #[test]
    fn pauses_and_values_are_inside_their_bounds(seed in any::<u64>()) {
        let schedule = schedule(seed, "a");
        prop_assert!(schedule.reloads().take(50).all(|timed| profile().between.contains(&timed.pause)));
        for timed in schedule.breaks().take(50) {
            prop_assert!(profile().up.contains(&timed.pause));
            let (path, down) = match timed.step {
                Break::One { path, fault, down } => {
                    prop_assert!(!fault.strikes_every_path());
                    (path, down)
                }
                Break::All { down, .. } | Break::Hold { down, .. } => (0, down),
            };
            prop_assert!(path < 2 && profile().down.contains(&down));
        }
    }

    /// The oracle is exact because of it: no write of a lane races with another I/O on its block.
    #[test]
    fn no_two_ios_under_way_share_a_block(seed in any::<u64>()) {
        let schedule = schedule(seed, "a");
        for batches in (0..20).map(|n| (0..LANES).map(move |lane| (lane, n))) {
            let mut blocks = BTreeSet::new();
            for (lane, n) in batches {
                let batch = schedule.batches(lane).nth(n).unwrap().step;
                prop_assert!(!batch.ios.is_empty());
                for spec in batch.specs().iter().filter(|spec| spec.kind != IoKind::Flush) {
                    let lane = lane as u64 * LANE..(lane as u64 + 1) * LANE;
                    for block in spec.block..spec.block + u64::from(spec.blocks) {
                        prop_assert!(lane.contains(&block) && blocks.insert(block), "{spec} twice");
                    }
                }
            }
        }
    }
}
