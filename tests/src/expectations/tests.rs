// SPDX-License-Identifier: GPL-2.0-only
//! The data fits the catalogue; and whatever does not is found.

use guest::bench::Bench;
use guest::case::{Case, Tag};
use guest::condition::{Condition, IoKind, QueueMode, SuspendForm, Transport};
use guest::failure::Outcome;

use super::check::problems;
use super::format::File;
use super::*;
use crate::catalogue;
use crate::matrix::Matrix;

#[test]
fn the_data_fits_the_catalogue() {
    let file = FILE.as_ref().unwrap_or_else(|error| panic!("{error}"));
    let problems = problems(file, catalogue());
    assert!(problems.is_empty(), "tests/expectations:\n  {}", problems.join("\n  "));
}

#[expect(clippy::unnecessary_wraps, reason = "the type of every case")]
fn nothing(_: &mut Bench) -> Outcome {
    Ok(())
}

const fn case(name: &'static str, tag: Tag, conditions: fn() -> Vec<Condition>) -> Case {
    let (claim, summary, deadline_seconds) = ("seed, normal path 1", "It works.", 30);
    let (needs, left_out, allow): (&[_], &[_], &[_]) = (&[], &[], &[]);
    Case { name, claim, summary, tag, needs, conditions, left_out, allow, deadline_seconds, run: nothing }
}

/// Two conditions: bio and rq.
static CASES: &[Case] = &[
    case("a::b", Tag::Normal, || Matrix::of_maps_over(&[Transport::ScsiDebug]).build()),
    case("selftest::x", Tag::Selftest, || vec![Condition::default()]),
    case("measurement::x", Tag::Measurement, || vec![Condition::default()]),
];

const GOOD: &str = "[case.'a::b']\nstock = 'pass'\nbaseline = 'pass'\npushback = 'pass'\n";
const DEVIATION: &str = "[deviation.d]\nsince = 'ever'\nreason = 'so'\n";

#[test]
fn whatever_is_missing_or_about_nothing_is_named() {
    let stock = |rows: &str| GOOD.replace("stock = 'pass'", &format!("stock = {rows}"));
    let baseline = |rows: &str| GOOD.replace("baseline = 'pass'", &format!("baseline = {rows}"));
    let fails = "fails = 'I/O fails with EIO'";
    let table: Vec<(String, &str)> = vec![
        (String::new(), "a::b: nothing is expected of it, on no variant"),
        (GOOD.replace("baseline = 'pass'", ""), "a::b: nothing is expected on baseline"),
        (
            baseline(&format!("{{ queue_mode = 'bio', {fails} }}")),
            "a::b[scsi_debug,rq]: nothing is expected on baseline",
        ),
        (
            baseline("[{ queue_mode = 'bio', pass = true }, { release = '6.1.', pass = true }]"),
            "a::b[scsi_debug,rq]: nothing is expected on baseline",
        ),
        (format!("{GOOD}[case.'a::c']\n"), "a::c: there is no such case"),
        (format!("{GOOD}[case.'selftest::x']\n"), "selftest::x: what a selftest must give stands beside it"),
        (format!("{GOOD}[case.'measurement::x']\n"), "measurement::x: a measurement proves nothing"),
        (
            baseline("[{ suspend = 'explicit', skip = 'x' }, 'pass']"),
            "a::b on baseline: row 1 is about no condition of the case",
        ),
        (
            baseline("['pass', { queue_mode = 'rq', skip = 'x' }]"),
            "a::b on baseline: rows above row 2 are about all of its conditions",
        ),
        (
            baseline("{ fails = 'nonesuch' }"),
            "a::b on baseline: no assertion `nonesuch` (hint: guest::assertions::ALL lists them)",
        ),
        (
            stock(&format!("{{ {fails} }}")),
            "a::b on stock: fails at `I/O fails with EIO`, but names no deviation",
        ),
        (stock(&format!("{{ {fails}, deviation = 'e' }}")), "a::b on stock: there is no deviation `e`"),
        (
            format!("{GOOD}splats = [{{ deviation = 'd' }}]\n{DEVIATION}"),
            "a::b on stock, baseline, pushback: `d` is a splat in one place and a failure in the other",
        ),
        (baseline("{ skip = '' }"), "a::b on baseline: skip without a reason"),
        (format!("{GOOD}{DEVIATION}"), "deviation `d`: no case shows it"),
    ];
    for (text, problem) in table {
        let file: File = toml::from_str(&text).unwrap_or_else(|error| panic!("{text}: {error}"));
        assert_eq!(problems(&file, CASES), [problem], "{text}");
    }
    assert_eq!(problems(&toml::from_str(GOOD).unwrap(), CASES), Vec::<String>::new());
}

#[test]
fn unknown_words_are_refused_by_name() {
    let table = [
        ("stock = { queue = 'rq', pass = true }", "unknown axis `queue`"),
        ("stock = { queue_mode = 'mq', pass = true }", "unknown variant `mq`"),
        ("stock = { queue_mode = 'rq' }", "one of pass = true, fails, skip"),
        ("stock = { fails = 'a', skip = 'b' }", "one of pass = true, fails, skip"),
        ("stock = 'passes'", "neither \"pass\" nor a table"),
        ("stock = { skip = 3 }", "not a text"),
        ("pushed_back = 'pass'", "unknown field `pushed_back`"),
    ];
    for (text, word) in table {
        let error = toml::from_str::<File>(&format!("[case.'a::b']\n{text}")).unwrap_err().to_string();
        assert!(error.contains(word), "{error}");
        assert!(error.contains("line 2"), "{error}");
    }
    for text in ["[cases]", "[deviation.x]\nsince = 'a'\nreason = 'b'\nwhy = 'c'"] {
        assert!(toml::from_str::<File>(text).is_err(), "{text}");
    }
}

#[test]
fn only_the_described_failure_is_a_deviation() {
    let case = "compat::flush_suspend_fails_queued_io";
    let rq = Condition { queue_mode: Some(QueueMode::Rq), ..Condition::default() };
    let explicit = Condition { suspend: Some(SuspendForm::Explicit), ..rq };
    let bio = Condition { queue_mode: Some(QueueMode::Bio), ..explicit };
    let fails = guest::bench::io::QUEUED_FAILS;
    let table = [
        ("the known one", case, explicit, "stock", fails, true),
        ("in a kernel that was given", case, explicit, "as is", fails, true),
        ("where the patch should hold", case, explicit, "pushback", fails, false),
        ("in bio mode", case, bio, "stock", fails, false),
        ("elsewhere in the case", case, explicit, "stock", "data is what was written", false),
        ("in another case", "compat::io_fails_without_paths", explicit, "stock", fails, false),
        ("in no case", "compat::nonesuch", explicit, "stock", fails, false),
    ];
    for (what, case, condition, variant, assertion, known) in table {
        let kernel = Kernel { variant, release: "6.12.117" };
        let found = known_deviation(case, condition, kernel, Seen::Assertion(assertion));
        assert_eq!(found.is_some(), known, "{what}");
    }
}

#[test]
fn a_known_splat_is_one_only_on_its_releases() {
    let case = "noflush::queued_io_leaves_the_target_without_returning";
    let condition =
        Condition { queue_mode: Some(QueueMode::Rq), io: Some(IoKind::Fua), ..Condition::default() };
    let line = "WARNING: CPU: 1 PID: 886 at block/mq-deadline.c:669 dd_exit_sched+0xf1/0x110: statistics";
    let known = |release, line| {
        known_deviation(case, condition, Kernel { variant: "pushback", release }, Seen::Splat(line)).is_some()
    };
    assert!(known("6.1.192", line));
    assert!(!known("6.12.117", line));
    assert!(!known("6.1.192", "WARNING: possible recursive locking detected"));
}

#[test]
fn the_first_row_that_covers_a_condition_wins() {
    let text = format!(
        "[case.'a::b']\nstock = 'pass'\npushback = {{ skip = 'why' }}\nbaseline = [\n  \
         {{ queue_mode = 'rq', release = '6.1.', pass = true }},\n  \
         {{ queue_mode = 'rq', fails = 'I/O comes back' }},\n  'pass',\n]\n{DEVIATION}"
    );
    let file: &'static File = Box::leak(Box::new(toml::from_str(&text).unwrap()));
    let is = |queue_mode, variant, release| {
        let condition = Condition { queue_mode: Some(queue_mode), ..Condition::default() };
        file.expected("a::b", condition, Kernel { variant, release }).unwrap()
    };
    assert_eq!(is(QueueMode::Rq, "baseline", "6.1.192"), Expected::Pass);
    assert_eq!(is(QueueMode::Rq, "baseline", "6.12.9"), Expected::Fails { assertion: "I/O comes back" });
    assert_eq!(is(QueueMode::Bio, "baseline", "6.12.9"), Expected::Pass);
    assert_eq!(is(QueueMode::Bio, "pushback", "6.1.1"), Expected::NotApplicable { reason: "why" });
}

#[test]
fn every_file_is_read_and_none_says_the_same_again() {
    let folder = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/expectations")).unwrap();
    let mut there: Vec<String> = folder.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    there.retain(|name| name != "README.md");
    there.sort_unstable();
    let mut read: Vec<_> = FILES.iter().map(|(name, _)| *name).collect();
    read.sort_unstable();
    assert_eq!(read, there);
    let twice = [("a.toml", "[case.'a::b']\nstock = 'pass'"), ("b.toml", "[case.'a::b']\nstock = 'pass'")];
    assert_eq!(File::read(&twice).unwrap_err(), "b.toml: a::b is in another file, too");
    assert!(File::read(&[("c.toml", "[case")]).unwrap_err().starts_with("c.toml: "));
}

#[test]
fn a_fix_is_part_of_the_reason() {
    let text = "[deviation.d]\nsince = 'x'\nreason = 'It hangs.'\nfixed = '7f597c2cdb9d'";
    let file = File::read(&[("d.toml", text)]).unwrap();
    assert_eq!(file.deviation["d"].reason, "It hangs. Fixed by 7f597c2cdb9d.");
}

#[test]
fn every_deviation_can_be_shown() {
    let shown = deviations();
    assert_eq!(shown.len(), FILE.as_ref().unwrap().deviation.len());
    for shown in shown {
        assert!(!shown.variants.is_empty(), "{shown:?}");
    }
}
