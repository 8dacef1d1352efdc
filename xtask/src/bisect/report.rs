// SPDX-License-Identifier: GPL-2.0-only
//! What a bisection tells: its log with wall time per step, its result for the user, and a mail for the developers as the
//! kernel's Documentation/admin-guide/reporting-regressions.rst asks for it. Pure.

use std::fmt::Write as _;

use super::git::Commit;
use super::odds;
use super::state::{End, Question, State, Step, short};
use super::trial::{Failure, Trial, Verdict};
use crate::run::plan::Planned;

/// Lists that hear of every regression here: the subsystem's and the one for regressions.
const LISTS: [&str; 2] = ["dm-devel@lists.linux.dev", "regressions@lists.linux.dev"];

/// Subjects are cut to this in the log.
const SUBJECT: usize = 50;

/// The log: a line a commit, in the order in which they were tested.
pub fn log(state: &State) -> String {
    let mut rows = vec![
        ["step", "left", "commit", "verdict", "runs", "checkout", "build", "cases", "total", "subject"]
            .map(str::to_owned),
    ];
    let question = &state.question;
    let ends = [("--bad", &question.bad, &state.bad), ("--good", &question.good, &state.good)];
    for (option, rev, trial) in ends {
        if let Some(trial) = trial {
            // A night asks with full ids, and that is in the row already.
            let name = if rev.name == rev.commit { "" } else { &rev.name };
            rows.push(row(option, "", &rev.commit, trial, name));
        }
    }
    for (number, Step { commit, subject, left, trial }) in (1..).zip(&state.steps) {
        rows.push(row(&format!("{number}"), &left.to_string(), commit, trial, subject));
    }
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<_> = (0..rows[0].len()).map(width).collect();
    // Numbers to the right.
    let right = [false, true, false, false, false, true, true, true, true, false];
    let cell = |column: usize, text: &String| {
        let width = widths[column];
        if right[column] { format!("{text:>width$}") } else { format!("{text:width$}") }
    };
    let line = |row: &[String; 10]| {
        let cells: Vec<_> = row.iter().enumerate().map(|(column, text)| cell(column, text)).collect();
        format!("{}\n", cells.join("  ").trim_end())
    };
    let mut text: String = rows.iter().map(line).collect();
    let seconds: f64 = trials(state).map(|trial| trial.seconds.total()).sum();
    let _ = writeln!(text, "{} commits in {:.0} s", rows.len() - 1, seconds);
    text
}

fn trials(state: &State) -> impl Iterator<Item = &Trial> {
    state.bad.iter().chain(&state.good).chain(state.steps.iter().map(|step| &step.trial))
}

fn row(step: &str, left: &str, commit: &str, trial: &Trial, subject: &str) -> [String; 10] {
    let mut subject: String = subject.chars().take(SUBJECT + 1).collect();
    if subject.chars().count() > SUBJECT {
        subject.pop();
        subject.push('…');
    }
    let seconds = |seconds: f64| format!("{seconds:.1} s");
    [
        step.to_owned(),
        left.to_owned(),
        short(commit).to_owned(),
        trial.verdict.word().to_owned(),
        runs(trial),
        seconds(trial.seconds.checkout),
        seconds(trial.seconds.build),
        seconds(trial.seconds.cases),
        seconds(trial.seconds.total()),
        subject,
    ]
}

/// `3 of 8 failed`, `8 clean`.
fn runs(trial: &Trial) -> String {
    let all: Vec<_> = trial.runs.keys().cloned().collect();
    match trial.verdict {
        Verdict::Skip if trial.folder.is_empty() => "none".to_owned(),
        Verdict::Skip => "undecided".to_owned(),
        Verdict::Good => format!("{} clean", trial.runs()),
        Verdict::Bad => format!("{} of {} failed", trial.runs_with_failure(&all), trial.runs()),
    }
}

/// What is known of the commit that was found.
pub struct Culprit<'a> {
    /// The commit.
    pub commit: &'a Commit,
    /// Its test.
    pub trial: &'a Trial,
}

/// The result for the user.
pub fn result(state: &State, culprit: Option<&Culprit<'_>>, range: &[Commit]) -> String {
    let mut out = String::new();
    if let Some(Culprit { commit, trial }) = culprit {
        let _ = writeln!(out, "{} is the first bad commit: {}\n", commit.id, commit.subject);
        for failure in &trial.failures {
            let _ = writeln!(out, "{}\n  {}", failure.case, failure.in_short());
            for line in &failure.evidence {
                let _ = writeln!(out, "    {line}");
            }
            let _ = writeln!(out, "    everything about it: {}", failure.folder);
        }
        others(&mut out, state, trial);
    } else {
        let _ = writeln!(
            out,
            "The first bad commit is one of {}; all but the bad end of them could not be tested:\n",
            range.len()
        );
        for commit in range {
            let why = state.trial(&commit.id).map_or_else(String::new, |trial| super::drive::told(&trial));
            let _ = writeln!(out, "  {} {}\n      {why}", short(&commit.id), commit.subject);
        }
    }
    let unlike = unlike(state);
    if !unlike.is_empty() {
        let _ = writeln!(out, "\nThese failed in another way than --bad, and may have another bug:");
        for (step, failure) in unlike {
            let _ = writeln!(out, "  {} {}: {}", short(&step.commit), failure.case, failure.in_short());
        }
    }
    if let Some(odds) = state.odds() {
        let _ = write!(out, "\n{}", odds::confidence(odds, state.question.repeat, state.good_steps()));
    }
    out
}

/// Cases that tell, and that were not seen to fail at the found commit.
fn others(out: &mut String, state: &State, trial: &Trial) {
    let (failed, passed) = (trial.failing(), trial.passing(state.question.repeat));
    let others = state.telling().into_iter().filter(|case| !failed.contains(case));
    let (passed, open): (Vec<_>, Vec<_>) = others.partition(|case| passed.contains(case));
    for (cases, words) in [
        (passed, "but pass here: another commit broke them, bisect them by themselves"),
        (
            open,
            "and were not run to the end here, where the first failure ends the test; bisect them by themselves",
        ),
    ] {
        if !cases.is_empty() {
            let _ = writeln!(out, "\nThese fail at --bad as well, {words}:\n  {}", cases.join("\n  "));
        }
    }
}

/// Bad steps whose first failure does not look like the one of the same case at --bad.
fn unlike(state: &State) -> Vec<(&Step, &Failure)> {
    let at_bad =
        |case: &str| state.bad.iter().flat_map(|bad| &bad.failures).find(|failure| failure.case == case);
    let differs = |failure: &&Failure| at_bad(&failure.case).is_some_and(|bad| !bad.looks_like(failure));
    state.steps.iter().filter_map(|step| Some((step, step.trial.failures.iter().find(differs)?))).collect()
}

/// What `#regzbot introduced:` takes: the commit, or the range that is left.
fn introduced(state: &State) -> String {
    match &state.end {
        Some(End::Found(commit)) => short(commit).to_owned(),
        _ => format!("{}..{}", short(state.last_good()), short(state.first_bad())),
    }
}

/// The mail. `failed` is the failure that it is about, `planned` its case.
pub fn regression(
    state: &State,
    culprit: Option<&Culprit<'_>>,
    failed: &Failure,
    planned: Option<&Planned>,
) -> String {
    let mut out = String::new();
    let Question { good, bad, repeat, .. } = &state.question;
    head(&mut out, state, culprit, failed);
    if let Some(Culprit { commit, .. }) = culprit {
        let _ = writeln!(out, "since commit {} (\"{}\")", short(&commit.id), commit.subject);
    } else {
        let _ = writeln!(out, "somewhere in {}", introduced(state));
    }
    let _ = writeln!(out, "the test {} of device-mapper's noflush suspend fails.\n", failed.case);
    if let Some(Planned { case, .. }) = planned {
        let _ = writeln!(out, "What should happen: {}.", case.summary.trim_end_matches('.'));
    }
    let _ = writeln!(out, "What happens:       {}", failed.in_short());
    for line in &failed.evidence {
        let _ = writeln!(out, "    {line}");
    }
    let _ = writeln!(out, "\n#regzbot introduced: {}", introduced(state));
    let _ = writeln!(out, "\nWorks:  {good}{}", release(state.good.as_ref()));
    let _ = writeln!(out, "Broken: {bad}{}", release(state.bad.as_ref()));
    if let Some(Trial { compiler, machine, .. }) = &state.bad {
        let _ = writeln!(
            out,
            "Built with {compiler}; run on {machine}. Its configuration is attached: kernel.config."
        );
    }
    let _ =
        write!(out, "\nFound by git bisect, {repeat} run{} a commit.\n", if *repeat == 1 { "" } else { "s" });
    if let Some(odds) = state.odds() {
        out += &odds::confidence(odds, *repeat, state.good_steps());
    }
    let _ = write!(out, "\n{}", state.log);
    let at = culprit.map_or_else(|| short(state.first_bad()), |culprit| short(&culprit.commit.id));
    let _ = writeln!(
        out,
        "\nTo see it again, in a checkout of dm-pushback, with LINUX a checkout of {at}:\n\n    cargo xtask test --tree LINUX --flavour {} --repeat {repeat} '{}'",
        state.question.flavour, failed.case
    );
    out
}

fn head(out: &mut String, state: &State, culprit: Option<&Culprit<'_>>, failed: &Failure) {
    let mut cc: Vec<&str> = vec![];
    if let Some(Culprit { commit, .. }) = culprit {
        let _ = writeln!(out, "To: {}", commit.author);
        cc.extend(commit.signed_off.iter().map(String::as_str).filter(|who| *who != commit.author));
    } else {
        let _ = writeln!(out, "To: (scripts/get_maintainer.pl -f drivers/md/dm-mpath.c)");
    }
    cc.extend(LISTS);
    let releases =
        [&state.good, &state.bad].map(|trial| trial.as_ref().map_or("", |trial| trial.release.as_str()));
    if same_stable_series(releases) {
        cc.push("stable@vger.kernel.org");
    }
    let _ = writeln!(out, "Cc: {}", cc.join(",\n    "));
    let name = failed.case.split('[').next().unwrap_or_default();
    let _ = writeln!(out, "Subject: [REGRESSION] dm: {name}: {}\n\nHi,\n", failed.in_short());
}

/// Whether two releases are of one stable series, as 6.12.3 and 6.12.7.
fn same_stable_series(releases: [&str; 2]) -> bool {
    let series = |release: &str| {
        let plain = release.split('-').next().unwrap_or_default();
        let (series, sublevel) = plain.rsplit_once('.')?;
        (series.contains('.') && sublevel != "0").then(|| series.to_owned())
    };
    let [good, bad] = releases.map(series);
    good.is_some() && good == bad
}

fn release(trial: Option<&Trial>) -> String {
    trial.map_or_else(String::new, |trial| format!(", Linux {}", trial.release))
}

#[cfg(test)]
mod tests {
    use camino::Utf8Path;

    use super::super::state::tests::question;
    use super::super::trial::{Runs, Seconds};
    use super::*;

    const CASE: &str = "noflush::x[bio]";

    fn failure() -> Failure {
        Failure {
            case: CASE.into(),
            outcome: "Fail".into(),
            name: "I/O is pushed back to the core".into(),
            evidence: vec![
                "I/O is pushed back to the core: 32 ended with EIO".into(),
                "+0.412  suspend of pb-map".into(),
            ],
            folder: "/runs/1/cccc/failures/x".into(),
        }
    }

    fn trial(failed: &[u32], passed: &[u32], seconds: f64) -> Trial {
        let runs =
            Runs { failed: failed.iter().copied().collect(), passed: passed.iter().copied().collect() };
        Trial {
            verdict: if failed.is_empty() { Verdict::Good } else { Verdict::Bad },
            runs: [(CASE.to_owned(), runs)].into(),
            failures: if failed.is_empty() { vec![] } else { vec![failure()] },
            release: "6.12.7".into(),
            compiler: "gcc 12; ld 2.40".into(),
            machine: "QEMU 7.2, tcg".into(),
            seconds: Seconds { checkout: 1.0, build: seconds, cases: 12.5 },
            ..Trial::skip(String::new())
        }
    }

    fn step(digit: char, subject: &str, left: u64, trial: Trial) -> Step {
        Step { commit: digit.to_string().repeat(40), subject: subject.into(), left, trial }
    }

    fn state() -> State {
        let mut state = State::new(question(), Utf8Path::new("/runs/1"));
        state.bad = Some(trial(&[1, 3], &[2], 400.0));
        state.good = Some(trial(&[], &[1, 2, 3], 30.0));
        state.steps = vec![
            step('d', "dm: say less", 7, trial(&[], &[1, 2, 3], 14.0)),
            step(
                'e',
                "dm: a subject that is much longer than what the log has room for",
                4,
                Trial { why: "does not build: x".into(), ..Trial::skip(String::new()) },
            ),
            step('c', "dm: break it", 2, trial(&[2], &[1], 9.0)),
        ];
        state.end = Some(End::Found("c".repeat(40)));
        state.log = "git bisect start\n# first bad commit: [c] dm: break it\n".into();
        state
    }

    fn commit() -> Commit {
        Commit {
            id: "c".repeat(40),
            subject: "dm: break it".into(),
            author: "Jane <jane@example.org>".into(),
            signed_off: vec!["Jane <jane@example.org>".into(), "Mike <mike@example.org>".into()],
        }
    }

    #[test]
    fn a_line_a_commit_with_its_time() {
        insta::assert_snapshot!(log(&state()));
    }

    #[test]
    fn an_end_that_is_named_by_its_id_is_named_once() {
        let mut state = state();
        let bad = &mut state.question.bad;
        bad.name = bad.commit.clone();
        let id = bad.commit.clone();
        let log = log(&state);
        assert!(log.contains(&id[..12]) && !log.contains(&id), "{log}");
    }

    #[test]
    fn the_result_names_commit_case_and_evidence() {
        let (state, commit) = (state(), commit());
        let culprit = Culprit { commit: &commit, trial: &state.steps[2].trial };
        insta::assert_snapshot!(result(&state, Some(&culprit), &[]));
    }

    #[test]
    fn a_range_is_told_with_why_it_could_not_be_tested() {
        let mut state = state();
        state.end = Some(End::OneOf(vec!["e".repeat(40), "c".repeat(40)]));
        let range = [Commit { id: "e".repeat(40), subject: "dm: half of it".into(), ..commit() }, commit()];
        insta::assert_snapshot!(result(&state, None, &range));
        let mail = regression(&state, None, &state.steps[2].trial.failures[0], None);
        assert!(mail.contains("#regzbot introduced: dddddddddddd..cccccccccccc\n"), "{mail}");
    }

    #[test]
    fn another_way_to_fail_and_another_bug_are_told() {
        let mut state = state();
        state.steps[2].trial.failures[0].name = "data is what was written".into();
        let more = Runs { passed: [1, 2, 3].into(), failed: [].into() };
        let bad_too = Runs { passed: [].into(), failed: [1, 2, 3].into() };
        let part = Runs { passed: [1].into(), failed: [].into() };
        for (trial, runs) in [(state.bad.as_mut().unwrap(), &bad_too), (state.good.as_mut().unwrap(), &more)]
        {
            for case in ["noflush::y[rq]", "noflush::z[rq]", "noflush::z[bio]"] {
                trial.runs.insert(case.into(), runs.clone());
            }
        }
        state.steps[2].trial.runs.insert("noflush::y[rq]".into(), more);
        state.steps[2].trial.runs.insert("noflush::z[rq]".into(), part);
        let commit = commit();
        let text = result(&state, Some(&Culprit { commit: &commit, trial: &state.steps[2].trial }), &[]);
        assert!(text.contains("failed in another way than --bad, and may have another bug:\n  cccccccccccc noflush::x[bio]: Fail: data is what was written"), "{text}");
        assert!(
            text.contains(
                "but pass here: another commit broke them, bisect them by themselves:\n  noflush::y[rq]\n"
            ),
            "{text}"
        );
        assert!(
            text.contains("ends the test; bisect them by themselves:\n  noflush::z[bio]\n  noflush::z[rq]\n"),
            "{text}"
        );
    }

    #[test]
    fn where_bad_itself_is_the_culprit_what_fails_at_good_too_is_not_held_against_it() {
        let mut state = state();
        state.steps.truncate(1);
        for trial in [state.bad.as_mut().unwrap(), state.good.as_mut().unwrap()] {
            // Before the case that tells, by name.
            let always = Failure { case: "noflush::a[bio]".into(), ..failure() };
            trial.runs.insert(always.case.clone(), Runs { failed: [1, 2, 3].into(), ..Runs::default() });
            trial.failures.insert(0, always);
        }
        let (bad, commit) = (state.trial(&state.question.bad.commit).unwrap(), commit());
        let text = result(&state, Some(&Culprit { commit: &commit, trial: &bad }), &[]);
        assert!(text.contains(CASE) && !text.contains("noflush::a"), "{text}");
        assert_eq!(bad.failures, [failure()]);
    }

    #[test]
    fn the_mail_is_what_the_kernels_document_asks_for() {
        let (state, commit) = (state(), commit());
        let culprit = Culprit { commit: &commit, trial: &state.steps[2].trial };
        insta::assert_snapshot!(regression(&state, Some(&culprit), &culprit.trial.failures[0], None));
    }

    #[test]
    fn tells_a_stable_series() {
        assert!(same_stable_series(["6.12.3", "6.12.7-rc1"]));
        assert!(!same_stable_series(["6.12.3", "6.13.1"]));
        assert!(!same_stable_series(["6.12.0", "6.12.0"]), "mainline, by its release");
        assert!(!same_stable_series(["", ""]));
    }
}
