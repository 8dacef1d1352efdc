// SPDX-License-Identifier: GPL-2.0-only
//! `bench front-ends`: the same kernel booted by the project's own image and by virtme-ng, in turns, so that the host's load
//! falls on both: from the start (of virtme-run, of QEMU) to the agent, and a fixed set of cases after that.

use guest::stress::Stress;
use std::time::Instant;

use crate::run::judge::judge;
use crate::run::plan::{Scope, Selection};
use crate::run::prepare::{Boot, Choice, prepare};
use crate::run::session::Session;
use crate::run::stream::Stream;

use super::{Bench, Figure, figure};

/// Turns of each.
const TURNS: u32 = 5;

/// Cases of both queue modes that start dmsetup often: what the root file system is read for.
const SET: [&str; 2] =
    ["^compat::io_succeeds_with_paths", "^noflush::queued_io_leaves_the_target_without_returning"];

/// Measures.
pub fn measure(bench: &Bench) -> anyhow::Result<Vec<Figure>> {
    let common = &bench.options.common;
    let prepared = |boot| {
        let choice = Choice { boot, ..common.choice.clone() };
        prepare(&choice, common.yes, bench.cache, bench.progress)
    };
    let specs = [prepared(Boot::Image)?.spec, prepared(Boot::Virtme)?.spec];
    let selection = Selection { filters: SET.map(str::to_owned).into(), ..Selection::default() };
    let plan = selection.select(::tests::catalogue(), Scope::Kernel)?;
    let stream = Stream::create(&bench.folder.path().join("front-ends.jsonl"), Box::new(|_| {}))?;
    let (mut boots, mut cases) = ([vec![], vec![]], [vec![], vec![]]);
    for turn in 0..TURNS {
        for (which, spec) in specs.iter().enumerate() {
            let vm = turn * 2 + u32::try_from(which)? + 1;
            let started = Instant::now();
            let dir = bench.folder.path().join("front-ends").join(format!("vm-{vm}"));
            let mut session = Session::boot(spec, &dir, vm, &stream)?;
            boots[which].push(started.elapsed().as_secs_f64());
            let started = Instant::now();
            for (token, planned) in (1_u64..).zip(&plan) {
                let name = planned.full_name();
                let facts = session.run_case(planned, Stress::default(), &name, token);
                let outcome = facts.as_ref().map(judge);
                anyhow::ensure!(
                    outcome.as_ref().is_some_and(crate::outcome::Outcome::leaves_vm_clean),
                    "the case to be measured did not go well: {name}: {outcome:?}"
                );
            }
            cases[which].push(started.elapsed().as_secs_f64());
            session.kill("measured");
            let [last_boot, last_cases] =
                [&boots, &cases].map(|all| all[which].last().copied().unwrap_or(f64::NAN));
            let name = if which == 0 { "image" } else { "virtme" };
            bench.progress.line(&format!(
                "turn {}: {name}: agent after {last_boot:.2} s, {} cases in {last_cases:.2} s",
                turn + 1,
                plan.len()
            ));
        }
    }
    let ratios = |[image, virtme]: &[Vec<f64>; 2]| {
        virtme.iter().zip(image).map(|(virtme, image)| virtme / image).collect::<Vec<_>>()
    };
    let (boot_ratios, case_ratios) = (ratios(&boots), ratios(&cases));
    let ([boot_image, boot_virtme], [cases_image, cases_virtme]) = (boots, cases);
    let told = |name, unit, samples| figure(name, unit, samples, f64::INFINITY);
    Ok(vec![
        told("image: start to agent ready", "s", boot_image),
        told("virtme: start to agent ready", "s", boot_virtme),
        told("agent ready, virtme / image", "ratio", boot_ratios),
        told("image: the set of cases", "s", cases_image),
        told("virtme: the set of cases", "s", cases_virtme),
        told("the set of cases, virtme / image", "ratio", case_ratios),
    ])
}
