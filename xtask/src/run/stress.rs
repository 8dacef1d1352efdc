// SPDX-License-Identifier: GPL-2.0-only
//! What the user asks of stress cases: a seed and a time. The same options for every verb that runs cases.

use guest::case::Tag;
use guest::stress::{DEFAULT_SEED, Stress};

use super::plan::Planned;

/// The options.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::Args)]
pub struct Asked {
    /// Run each stress case for so many seconds, and not only for its few steps in a default run
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u32).range(1..=86_400))]
    pub stress: Option<u32>,
    /// Where the schedules of stress cases come from [default: always the same; with --stress one at random]
    #[arg(long, value_name = "N")]
    pub seed: Option<u64>,
}

impl Asked {
    /// What the cases are asked for. A seed at random is short enough to be typed.
    pub fn stress(self) -> Stress {
        let chosen = || if self.stress.is_some() { fastrand::u32(..).into() } else { DEFAULT_SEED };
        Stress { seed: self.seed.unwrap_or_else(chosen), seconds: self.stress }
    }
}

/// The options that ask for the same again.
pub fn options(stress: Stress) -> Vec<String> {
    let seconds = stress.seconds.map(|seconds| ["--stress".to_owned(), seconds.to_string()]);
    let seed = ["--seed".to_owned(), stress.seed.to_string()];
    seconds.into_iter().flatten().chain(seed).collect()
}

/// What is asked of these cases, in words; nothing, if none of them has a schedule.
pub fn told<'a>(stress: Stress, mut plan: impl Iterator<Item = &'a Planned>) -> Option<String> {
    plan.any(|planned| planned.case.tag == Tag::Stress).then(|| {
        let length = stress.seconds.map_or_else(String::new, |seconds| format!(", {seconds} s each"));
        format!("stress cases: seed {}{length} (again: {})", stress.seed, options(stress).join(" "))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_run_is_always_the_same_and_a_long_one_never() {
        assert_eq!(Asked::default().stress(), Stress { seed: DEFAULT_SEED, seconds: None });
        let long = Asked { stress: Some(60), seed: None };
        let seeds: std::collections::BTreeSet<u64> = (0..8).map(|_| long.stress().seed).collect();
        assert!(seeds.len() > 1, "{seeds:?}");
        assert_eq!(Asked { seed: Some(7), ..long }.stress(), Stress { seed: 7, seconds: Some(60) });
    }

    #[test]
    fn a_rerun_asks_for_the_same() {
        assert_eq!(options(Stress { seed: 7, seconds: Some(60) }), ["--stress", "60", "--seed", "7"]);
        assert_eq!(options(Stress { seed: 7, seconds: None }), ["--seed", "7"]);
    }
}
