// SPDX-License-Identifier: GPL-2.0-only
//! The bisection itself: verify --bad, verify --good, then whatever git wants tested, until it knows. Who tests a commit
//! is a parameter: this file decides, and neither builds nor boots. What was found is on disk before git hears of it.

use std::time::Instant;

use camino::{Utf8Path, Utf8PathBuf};

use super::git::{Next, Repository, Worktree};
use super::odds;
use super::state::{End, State, Step, short};
use super::trial::{Trial, Verdict};
use crate::exit::{Code, coded};
use crate::interrupt;
use crate::progress::Progress;

/// What is to be found out about the commit that the worktree shows.
#[derive(Debug, Clone)]
pub struct Ask<'a> {
    /// Full names of the cases.
    pub cases: &'a [String],
    /// How often each is run.
    pub repeat: u32,
    /// One failure is enough: what is left need not run.
    pub first_failure_ends: bool,
    /// Where the run goes.
    pub runs: Utf8PathBuf,
}

/// Tests commits.
pub trait Tester {
    /// Tests the commit that the worktree shows; an error is the host's, and says nothing about the commit.
    fn test(&mut self, ask: &Ask<'_>) -> anyhow::Result<Trial>;
}

/// A bisection at work.
pub struct Bisect<'a> {
    /// The user's repository.
    pub repository: &'a Repository,
    /// Our worktree of it.
    pub worktree: &'a Worktree,
    /// The file of the state.
    pub file: &'a Utf8Path,
    /// After it no more commits are tested.
    pub until: Option<Instant>,
    /// Where progress goes.
    pub progress: &'a Progress,
}

impl Bisect<'_> {
    /// Goes on from `state` to the end. After an error the state on disk is that of the last commit that was tested; what
    /// can lead nowhere leaves none.
    pub fn run(&self, state: &mut State, tester: &mut dyn Tester) -> anyhow::Result<()> {
        if state.end.is_some() {
            return Ok(());
        }
        self.verify_bad(state, tester)?;
        self.verify_good(state, tester)?;
        if let Some(odds) = state.odds() {
            self.progress.line(&odds::outlook(odds, state.question.repeat));
        }
        let telling = state.telling();
        self.replay(state)?;
        let end = loop {
            interrupt::check()?;
            match self.worktree.next()? {
                Next::Found(commit) => break End::Found(commit),
                Next::OneOf(commits) => break End::OneOf(commits),
                Next::Test(commit) => {
                    let step = self.step(state, commit, &telling, tester)?;
                    let (commit, verdict) = (step.commit.clone(), step.trial.verdict);
                    if verdict == Verdict::Bad
                        && self.repository.contains(&state.question.good.commit, &commit)?
                    {
                        return Err(self.hopeless(Code::Usage, fixed(state, &commit)));
                    }
                    state.steps.push(step);
                    state.write(self.file)?;
                    self.worktree.say(verdict.word(), &commit)?;
                }
            }
        };
        state.end = Some(end);
        // Whoever replays it wants the files as well.
        state.log = self.worktree.log()?.replace("'--no-checkout' ", "") + "\n";
        state.write(self.file)?;
        self.worktree.reset()
    }

    /// The error for a question that has no answer: there is nothing to go on with.
    fn hopeless(&self, code: Code, message: String) -> anyhow::Error {
        let _ = fs_err::remove_file(self.file);
        coded(code, message)
    }

    /// All cases at --bad, every run to its end: which ones fail, and how often.
    fn verify_bad(&self, state: &mut State, tester: &mut dyn Tester) -> anyhow::Result<()> {
        if state.bad.is_some() {
            return Ok(());
        }
        let between = self.repository.between(&state.question.good.commit, &state.question.bad.commit)?;
        self.progress.line(&format!("{between} commits lead to --bad and not to --good"));
        let (bad, cases, repeat) = (&state.question.bad, &state.question.cases, state.question.repeat);
        self.progress.line(&format!("== --bad {bad}: which cases fail?"));
        let trial = self.test(state, &bad.commit, cases, false, tester)?;
        match trial.verdict {
            Verdict::Bad => {}
            Verdict::Skip => {
                let message = format!("--bad {bad} can't be tested: {}", trial.why);
                return Err(self.hopeless(Code::Untestable, message));
            }
            Verdict::Good => {
                let runs = if repeat == 1 { "one run".to_owned() } else { format!("{repeat} runs each") };
                // What deviates as known, for one.
                let also = if trial.why.is_empty() { String::new() } else { format!("; {}", trial.why) };
                let more = match repeat.saturating_mul(4).clamp(10, odds::MOST_RUNS) {
                    more if more > repeat => {
                        format!(" if the failure does not show every time, --repeat {more} tries more often")
                    }
                    _ => String::new(),
                };
                return Err(self.hopeless(
                    Code::Usage,
                    format!(
                        "--bad {bad} is not bad: {} of {} cases failed in {runs}{also} (hint: are --good and --bad swapped?{more})",
                        trial.failing().len(),
                        cases.len(),
                    ),
                ));
            }
        }
        state.bad = Some(trial);
        state.write(self.file)
    }

    /// Those that fail at --bad, at --good: the ones that pass there tell good from bad.
    fn verify_good(&self, state: &mut State, tester: &mut dyn Tester) -> anyhow::Result<()> {
        let (None, Some(bad)) = (&state.good, &state.bad) else { return Ok(()) };
        let (failing, rev) = (bad.failing(), state.question.good.clone());
        let plural = if failing.len() == 1 { "the case that fails" } else { "the cases that fail" };
        self.progress.line(&format!("== --good {rev}: do {plural} at --bad pass ({})?", failing.len()));
        let trial = self.test(state, &rev.commit, &failing, false, tester)?;
        if trial.verdict == Verdict::Skip {
            let message = format!("--good {rev} can't be tested: {}", trial.why);
            return Err(self.hopeless(Code::Untestable, message));
        }
        let seen = trial.failures.first().map(|failure| format!("{}: {}", failure.case, failure.in_short()));
        let seen = seen.unwrap_or_else(|| trial.why.clone());
        state.good = Some(trial);
        if state.telling().is_empty() {
            return Err(self.hopeless(
                Code::Usage,
                format!("--good {rev} is not good: what fails at --bad does not pass there either ({seen}) (hint: name an older --good)"),
            ));
        }
        state.write(self.file)
    }

    /// Tells git all that is known; the same verdicts lead it to the same commit.
    fn replay(&self, state: &State) -> anyhow::Result<()> {
        self.worktree.start(&state.question.good.commit, &state.question.bad.commit)?;
        for step in &state.steps {
            self.worktree.say(step.trial.verdict.word(), &step.commit)?;
        }
        Ok(())
    }

    fn step(
        &self,
        state: &State,
        commit: String,
        telling: &[String],
        tester: &mut dyn Tester,
    ) -> anyhow::Result<Step> {
        let subject = self.repository.commit(&commit)?.subject;
        let (left, more) = self.worktree.left()?;
        let number = state.steps.len() + 1;
        self.progress.line(&format!(
            "== step {number}, {left} left, about {more} more after it: {} {subject}",
            short(&commit)
        ));
        let trial = self.test(state, &commit, telling, true, tester)?;
        let trial = trial.of_step(telling, state.question.repeat);
        self.progress.line(&format!("== step {number}: {} ({:.0} s)", told(&trial), trial.seconds.total()));
        Ok(Step { commit, subject, left, trial })
    }

    fn test(
        &self,
        state: &State,
        commit: &str,
        cases: &[String],
        first_failure_ends: bool,
        tester: &mut dyn Tester,
    ) -> anyhow::Result<Trial> {
        let started = Instant::now();
        if self.until.is_some_and(|until| started >= until) {
            let steps = state.steps.len();
            return Err(coded(Code::HostFailed, format!("the time was up after {steps} steps")));
        }
        self.worktree.checkout(commit)?;
        let checkout = started.elapsed().as_secs_f64();
        let runs = Utf8Path::new(&state.runs).join(short(commit));
        let ask = Ask { cases, repeat: state.question.repeat, first_failure_ends, runs };
        let mut trial = tester.test(&ask)?;
        trial.seconds.checkout = checkout;
        Ok(trial)
    }
}

/// A verdict with its reason, in one line.
pub fn told(trial: &Trial) -> String {
    match (trial.verdict, trial.failures.first()) {
        (Verdict::Bad, Some(failure)) => format!("bad: {}: {}", failure.case, failure.in_short()),
        // The first line says what does not build, the second why.
        (Verdict::Skip, _) => {
            format!("skip: {}", trial.why.lines().take(2).map(str::trim).collect::<Vec<_>>().join(" "))
        }
        (verdict, _) => verdict.word().to_owned(),
    }
}

/// What leads to --good fails already: git can't search for a bug that was fixed.
fn fixed(state: &State, commit: &str) -> String {
    let (good, bad) = (&state.question.good, &state.question.bad);
    format!(
        "{} leads to --good {good} and fails already: --good has a fix that --bad {bad} lacks, which is not a regression (hint: name a --good that leads to --bad)",
        short(commit)
    )
}
