// SPDX-License-Identifier: GPL-2.0-only
//! The bisection against a real git and tiny repositories. What a kernel would say of a commit is in a file of it,
//! `verdict`; nothing is built or booted here.

use std::collections::BTreeMap;

use camino::{Utf8Path, Utf8PathBuf};

use super::drive::{Ask, Bisect, Tester, told};
use super::git::Repository;
use super::state::{End, Question, State};
use super::trial::{Failure, Runs, Trial, Verdict};
use super::{Asked, Opened, Resume, open};
use crate::cache::Cache;
use crate::exit::{Code, code_of, coded};
use crate::kernel::{git_in, pretend_tree};
use crate::progress::Progress;

/// A repository with one line of history, and a cache.
struct Lab {
    _dir: tempfile::TempDir,
    root: Utf8PathBuf,
    repository: Repository,
    cache: Cache,
    /// The ids, oldest first.
    commits: Vec<String>,
}

/// Reads `verdict`: for each case a letter, `p`ass or `f`ail, `h`alf of the time, or `d`eviates as known; or `skip`,
/// or `host`, which fails there.
struct Fake {
    tree: Utf8PathBuf,
    tested: Vec<String>,
    /// After so many tests the host fails.
    breaks_after: Option<usize>,
    coin: u32,
}

const CASES: [&str; 2] = ["a::one", "a::two"];

impl Tester for Fake {
    fn test(&mut self, ask: &Ask<'_>) -> anyhow::Result<Trial> {
        if self.breaks_after == Some(self.tested.len()) {
            return Err(coded(Code::HostFailed, "no space left"));
        }
        let said = fs_err::read_to_string(self.tree.join("verdict"))?;
        self.tested.push(said.clone());
        if said == "skip" {
            return Ok(Trial::skip("does not build".into()));
        }
        if said == "host" {
            return Err(coded(Code::HostFailed, "no agent"));
        }
        let mut runs: BTreeMap<String, Runs> = BTreeMap::new();
        let mut why = String::new();
        for run in 1..=ask.repeat {
            for (case, letter) in CASES.iter().zip(said.chars()) {
                if !ask.cases.iter().any(|asked| asked == case) {
                    continue;
                }
                if letter == 'd' {
                    why = format!("{case}: KnownDeviation: as stock kernels do");
                    continue;
                }
                // The generator of ANSI C's example for rand(): the same throws in every run of this test.
                self.coin = self.coin.wrapping_mul(1_103_515_245).wrapping_add(12_345);
                let fails = letter == 'f' || (letter == 'h' && self.coin >> 16 & 1 == 1);
                let of_case = runs.entry((*case).to_owned()).or_default();
                if fails {
                    of_case.failed.insert(run)
                } else {
                    of_case.passed.insert(run)
                };
            }
        }
        let failure = |case: &String| Failure {
            case: case.clone(),
            outcome: "Fail".into(),
            name: "x".into(),
            evidence: vec![],
            folder: String::new(),
        };
        let mut trial = Trial { verdict: Verdict::Good, runs, ..Trial::skip(why) };
        trial.failures = trial.failing().iter().map(failure).collect();
        if !trial.failures.is_empty() {
            trial.verdict = Verdict::Bad;
        }
        Ok(trial)
    }
}

fn git(dir: &Utf8Path, args: &[&str]) -> String {
    let identity = ["-c", "user.name=x", "-c", "user.email=x@localhost", "-c", "commit.gpgsign=false"];
    // Always the same ids: where git goes after a skip depends on them.
    let date = "2000-01-01T00:00:00Z";
    let tool = git_in(dir).env("GIT_AUTHOR_DATE", date).env("GIT_COMMITTER_DATE", date);
    tool.args(identity).args(args).read().unwrap().text
}

fn commit(dir: &Utf8Path, verdict: &str, n: usize) -> String {
    fs_err::write(dir.join("verdict"), verdict).unwrap();
    fs_err::write(dir.join("n"), n.to_string()).unwrap();
    git(dir, &["add", "--all"]);
    git(dir, &["commit", "--quiet", "--message", &format!("commit {n}")]);
    git(dir, &["rev-parse", "HEAD"])
}

impl Lab {
    fn new(verdicts: &[&str]) -> Self {
        let temp = tempfile::tempdir().unwrap();
        let root = Utf8Path::from_path(temp.path()).unwrap().canonicalize_utf8().unwrap();
        let linux = root.join("linux");
        fs_err::create_dir(&linux).unwrap();
        git(&linux, &["init", "--quiet", "--initial-branch=main"]);
        pretend_tree(&linux);
        let commits = verdicts.iter().enumerate().map(|(n, verdict)| commit(&linux, verdict, n)).collect();
        let repository = Repository::open(&linux).unwrap();
        let cache = Cache::at(&root.join("cache")).unwrap();
        Self { _dir: temp, root, repository, cache, commits }
    }

    fn linux(&self) -> Utf8PathBuf {
        self.root.join("linux")
    }

    fn asked(&self, repeat: u32) -> Asked {
        Asked {
            good: self.commits[0].clone(),
            bad: "main".into(),
            cases: CASES.map(str::to_owned).to_vec(),
            repeat,
            flavour: "lock".into(),
            boot: "image".into(),
            allow_dirty: false,
        }
    }

    fn open(&self, question: Option<Question>, resume: Resume<'_>) -> anyhow::Result<Opened> {
        open(&self.repository, question, resume, &self.root.join("runs"), &self.cache, &Progress::silent())
    }

    /// Runs a bisection, new or not, until its end or until `breaks_after` tests of this call.
    fn bisect(
        &self,
        asked: Option<&Asked>,
        breaks_after: Option<usize>,
    ) -> anyhow::Result<(State, Vec<String>)> {
        self.bisect_as(Resume::IfSame, asked, breaks_after)
    }

    fn bisect_as(
        &self,
        resume: Resume<'_>,
        asked: Option<&Asked>,
        breaks_after: Option<usize>,
    ) -> anyhow::Result<(State, Vec<String>)> {
        let question = asked.map(|asked| asked.question(&self.repository)).transpose()?;
        let mut opened = self.open(question, resume)?;
        let worktree = opened.worktree(&self.repository)?;
        let mut fake = Fake { tree: worktree.root.clone(), tested: vec![], breaks_after, coin: 0 };
        let progress = Progress::silent();
        let bisect = Bisect {
            repository: &self.repository,
            worktree: &worktree,
            file: &opened.file,
            until: opened.until,
            progress: &progress,
        };
        bisect.run(&mut opened.state, &mut fake)?;
        assert_eq!(State::read(&opened.file)?.as_ref(), Some(&opened.state));
        Ok((opened.state, fake.tested))
    }

    fn number(&self, commit: &str) -> usize {
        self.commits.iter().position(|known| known == commit).unwrap()
    }

    /// The numbers of the commits that are left.
    fn range(&self, state: &State) -> Vec<usize> {
        let Some(End::OneOf(range)) = &state.end else { panic!("{:?}", state.end) };
        let mut range: Vec<_> = range.iter().map(|commit| self.number(commit)).collect();
        range.sort_unstable();
        range
    }

    fn error(&self, asked: &Asked) -> String {
        let error = self.bisect(Some(asked), None).unwrap_err();
        assert_eq!(code_of(&error), Code::Usage, "{error:#}");
        format!("{error:#}")
    }
}

/// 3 good, 4 that do not build, 5 good, the rest bad.
fn history() -> Vec<&'static str> {
    let mut all = vec!["pp"; 3];
    all.extend(["skip"; 4]);
    all.extend(["pp"; 5]);
    all.extend(["fp"; 14]);
    all
}

#[test]
fn finds_the_commit_and_leaves_the_users_checkout_alone() {
    let lab = Lab::new(&history());
    fs_err::write(lab.linux().join("untracked"), "mine").unwrap();
    let before =
        (git(&lab.linux(), &["status", "--porcelain", "--branch"]), git(&lab.linux(), &["for-each-ref"]));
    let (state, tested) = lab.bisect(Some(&lab.asked(1)), None).unwrap();
    assert_eq!(state.end, Some(End::Found(lab.commits[12].clone())));
    assert_eq!(state.telling(), ["a::one"]);
    assert!(tested.len() <= 2 + 7, "{tested:?}");
    assert!(state.log.contains("# first bad commit: ["), "{}", state.log);
    let after =
        (git(&lab.linux(), &["status", "--porcelain", "--branch"]), git(&lab.linux(), &["for-each-ref"]));
    assert_eq!(before, after);
}

#[test]
fn goes_on_where_it_was_interrupted() {
    let whole = Lab::new(&history());
    let (expected, tests) = whole.bisect(Some(&whole.asked(1)), None).unwrap();
    for breaks_after in [1, 2, 4, tests.len() - 1] {
        let lab = Lab::new(&history());
        let error = lab.bisect(Some(&lab.asked(1)), Some(breaks_after)).unwrap_err();
        assert_eq!(code_of(&error), Code::HostFailed, "the host's failure is no verdict");
        // As a checkout that was killed leaves it.
        let tree = lab.open(None, Resume::IfSame).unwrap().tree;
        let lock = git(&tree, &["rev-parse", "--path-format=absolute", "--git-path", "index.lock"]);
        fs_err::write(lock, "").unwrap();
        fs_err::write(tree.join("verdict"), "ff").unwrap();
        // The same command, or --continue.
        let asked = lab.asked(1);
        let (state, rest) = lab.bisect((breaks_after % 2 == 0).then_some(&asked), None).unwrap();
        assert_eq!(rest.len(), tests.len() - breaks_after, "no commit is tested twice");
        let numbers = |lab: &Lab, state: &State| -> Vec<usize> {
            state.steps.iter().map(|step| lab.number(&step.commit)).collect()
        };
        assert_eq!(numbers(&lab, &state), numbers(&whole, &expected));
        assert_eq!(state.end, Some(End::Found(lab.commits[12].clone())));
    }
}

#[test]
fn a_finished_bisection_is_told_again_and_tests_nothing() {
    let lab = Lab::new(&["pp", "pp", "fp", "fp"]);
    let (state, _) = lab.bisect(Some(&lab.asked(1)), None).unwrap();
    let (again, tested) = lab.bisect(Some(&lab.asked(1)), None).unwrap();
    assert_eq!((again, tested.len()), (state, 0));
    // Another question starts anew.
    let (_, tested) = lab.bisect(Some(&lab.asked(2)), None).unwrap();
    assert!(tested.len() > 2);
}

#[test]
fn what_can_not_be_tested_is_a_range() {
    let lab = Lab::new(&["pp", "pp", "skip", "skip", "fp", "fp"]);
    let (state, _) = lab.bisect(Some(&lab.asked(1)), None).unwrap();
    assert_eq!(lab.range(&state), [2, 3, 4]);
}

#[test]
fn a_commit_at_which_the_host_fails_every_time_can_be_left_out() {
    let lab = Lab::new(&["pp", "pp", "host", "fp", "fp"]);
    for asked in [Some(lab.asked(1)), None] {
        let error = lab.bisect(asked.as_ref(), None).unwrap_err();
        assert_eq!(code_of(&error), Code::HostFailed);
    }
    let leave_out =
        |rev: &str| super::leave_out(&lab.repository, &[rev.to_owned()], &lab.cache, &Progress::silent());
    for (rev, part) in [
        ("main", "--skip main does not lie between --good"),
        (lab.commits[0].as_str(), "does not lie between --good"),
        ("v7.99", "has no such commit"),
    ] {
        let error = leave_out(rev).unwrap_err();
        assert_eq!(code_of(&error), Code::Usage);
        assert!(error.to_string().contains(part), "{error}");
    }
    // Twice: the same command again.
    for _ in 0..2 {
        leave_out(&lab.commits[2]).unwrap();
    }
    let (state, _) = lab.bisect(None, None).unwrap();
    assert_eq!(lab.range(&state), [2, 3]);
    let step = state.steps.iter().find(|step| step.commit == lab.commits[2]).unwrap();
    assert_eq!((told(&step.trial).as_str(), step.left), ("skip: left out by --skip", 4));
    assert!(leave_out(&lab.commits[1]).unwrap_err().to_string().contains("there is no unfinished bisection"));
}

#[test]
fn a_commit_that_only_deviates_as_known_is_neither_good_nor_bad() {
    let lab = Lab::new(&["pp", "pp", "dp", "fp"]);
    let (state, _) = lab.bisect(Some(&lab.asked(1)), None).unwrap();
    assert_eq!(lab.range(&state), [2, 3]);
    let step = state.steps.iter().find(|step| step.commit == lab.commits[2]).unwrap();
    assert_eq!(told(&step.trial), "skip: a::one: KnownDeviation: as stock kernels do");
    for (verdicts, part) in [
        (["pp", "dp"], "is not bad: 0 of 2 cases failed in one run; a::one: KnownDeviation: as stock"),
        (
            ["dp", "fp"],
            "is not good: what fails at --bad does not pass there either (a::one: KnownDeviation: as stock",
        ),
    ] {
        let lab = Lab::new(&verdicts);
        let error = lab.error(&lab.asked(1));
        assert!(error.contains(part), "{error}");
    }
}

#[test]
fn a_bug_that_shows_in_half_of_the_runs_is_found() {
    let mut verdicts = vec!["pp"; 9];
    verdicts.extend(["hp"; 9]);
    let lab = Lab::new(&verdicts);
    let (state, _) = lab.bisect(Some(&lab.asked(5)), None).unwrap();
    assert_eq!(state.end, Some(End::Found(lab.commits[9].clone())));
    let odds = state.odds().unwrap();
    assert!(odds.of == 5 && (1..5).contains(&odds.shown), "{odds:?}");
}

#[test]
fn only_cases_that_fail_at_bad_and_pass_at_good_tell() {
    // The second fails everywhere; the first is what is looked for.
    let lab = Lab::new(&["pf", "pf", "pf", "ff", "ff"]);
    let (state, _) = lab.bisect(Some(&lab.asked(1)), None).unwrap();
    assert_eq!(state.telling(), ["a::one"]);
    assert_eq!(state.end, Some(End::Found(lab.commits[3].clone())));
    let hopeless = Lab::new(&["pf", "pf", "pf"]);
    let error = hopeless.error(&hopeless.asked(1));
    assert!(
        error.contains("is not good: what fails at --bad does not pass there either (a::two: Fail: x)"),
        "{error}"
    );
}

#[test]
fn ends_that_are_not_what_they_are_said_to_be() {
    let lab = Lab::new(&["pp", "pp", "pp"]);
    let error = lab.error(&lab.asked(1));
    assert!(error.contains("is not bad: 0 of 2 cases failed in one run"), "{error}");
    let swapped = Asked { good: "main".into(), bad: lab.commits[0].clone(), ..lab.asked(1) };
    assert!(lab.error(&swapped).contains("are they swapped?"));
    let same = Asked { good: "main".into(), ..lab.asked(1) };
    assert!(lab.error(&same).contains("are the same commit"));
    let unknown = Asked { bad: "v7.99".into(), ..lab.asked(1) };
    assert!(lab.error(&unknown).starts_with("--bad v7.99: "), "{}", lab.error(&unknown));
    // Nothing of all that is left behind to be continued.
    assert!(lab.open(None, Resume::IfSame).unwrap_err().to_string().contains("no bisection"));
    for end in [["skip", "pp", "fp"], ["pp", "pp", "skip"]] {
        let lab = Lab::new(&end);
        let error = lab.bisect(Some(&lab.asked(1)), None).unwrap_err();
        assert_eq!(code_of(&error), Code::Untestable);
        assert!(format!("{error:#}").contains("can't be tested: does not build"), "{error:#}");
    }
}

#[test]
fn a_fix_on_the_way_to_good_is_told_from_a_regression() {
    let lab = Lab::new(&["fp", "fp", "fp"]);
    git(&lab.linux(), &["checkout", "--quiet", "-b", "fixed", &lab.commits[1]]);
    let fixed = commit(&lab.linux(), "pp", 9);
    let asked = Asked { good: fixed, ..lab.asked(1) };
    let error = lab.error(&asked);
    assert!(error.contains("leads to --good") && error.contains("has a fix"), "{error}");
}

#[test]
fn trees_that_can_not_be_bisected() {
    let lab = Lab::new(&["pp", "fp"]);
    let usage = |result: anyhow::Result<Repository>| {
        let error = result.unwrap_err();
        assert_eq!(code_of(&error), Code::Usage);
        error.to_string()
    };
    let plain = lab.root.join("plain");
    fs_err::create_dir(&plain).unwrap();
    assert!(usage(Repository::open(&plain)).contains("a bisection needs git's history"));
    assert!(usage(Repository::open(&lab.root.join("none"))).contains("No such file"));
    fs_err::write(lab.linux().join("Kconfig"), "changed").unwrap();
    let error = lab.error(&lab.asked(1));
    assert!(error.contains("uncommitted changes, to Kconfig at least"), "{error}");
    let allowed = Asked { allow_dirty: true, ..lab.asked(1) };
    assert!(lab.bisect(Some(&allowed), None).is_ok());
    git(&lab.linux(), &["rm", "--quiet", "--force", "drivers/md/dm.c"]);
    commit(&lab.linux(), "fp", 7);
    let error = lab.error(&lab.asked(1));
    assert!(error.contains("is not a Linux source tree there: it has no drivers/md/dm.c"), "{error}");
}

#[test]
fn one_bisection_a_repository_at_a_time() {
    let lab = Lab::new(&history());
    lab.bisect(Some(&lab.asked(1)), Some(3)).unwrap_err();
    let error = lab.error(&lab.asked(2));
    assert!(error.contains("--continue goes on with it, --restart drops it"), "{error}");
    let question = lab.asked(2).question(&lab.repository).unwrap();
    assert_eq!(lab.open(Some(question), Resume::Restart).unwrap().state.steps.len(), 0);
}

#[test]
fn what_is_kept_apart_is_in_nobodys_way() {
    let whole = Lab::new(&history());
    let tests = whole.bisect(Some(&whole.asked(1)), None).unwrap().1.len();
    let lab = Lab::new(&history());
    let night = Resume::Apart { name: "night", until: None };
    lab.bisect(Some(&lab.asked(1)), Some(3)).unwrap_err();
    // The user's is not finished, and neither are these; the last of them goes on.
    for repeat in [2, 3, 2] {
        let error = lab.bisect_as(night, Some(&lab.asked(repeat)), Some(4)).unwrap_err();
        assert_eq!(format!("{error:#}"), "no space left");
    }
    let (state, rest) = lab.bisect_as(night, Some(&lab.asked(2)), None).unwrap();
    assert_eq!((state.end, rest.len()), (Some(End::Found(lab.commits[12].clone())), tests - 4));
    let (state, rest) = lab.bisect(None, None).unwrap();
    assert_eq!((state.question.repeat, rest.len()), (1, tests - 3));
    // Who asks the same by hand is told what the night knows.
    assert_eq!(lab.bisect(Some(&lab.asked(2)), None).unwrap().1.len(), 0);
    // A state that can't be read is dropped: nobody could say --restart.
    let file = lab.open(None, night).unwrap().file;
    fs_err::write(file, "{").unwrap();
    assert_eq!(lab.bisect_as(night, Some(&lab.asked(2)), None).unwrap().1.len(), tests);
}

#[test]
fn when_the_time_is_up_it_stops_between_two_commits_and_goes_on_later() {
    let lab = Lab::new(&history());
    let apart = |until| Resume::Apart { name: "night", until };
    lab.bisect_as(apart(None), Some(&lab.asked(1)), Some(4)).unwrap_err();
    let until = Some(std::time::Instant::now());
    let error = lab.bisect_as(apart(until), Some(&lab.asked(1)), None).unwrap_err();
    assert_eq!(
        (code_of(&error), format!("{error:#}").as_str()),
        (Code::HostFailed, "the time was up after 2 steps")
    );
    assert_eq!(lab.open(None, apart(None)).unwrap().state.steps.len(), 2);
}

#[test]
fn runs_never_go_into_the_users_tree() {
    let lab = Lab::new(&["pp"]);
    let place =
        |out: &Utf8Path| super::runs_outside(&lab.linux(), out, &lab.cache, &Progress::silent()).unwrap();
    assert_eq!(place(&lab.linux().join("runs")), lab.cache.path("runs"));
    assert_eq!(place(&lab.root.join("runs")), lab.root.join("runs"));
}

#[test]
fn a_worktree_that_is_gone_is_made_again_and_those_of_the_user_stay_known() {
    let lab = Lab::new(&["pp", "fp"]);
    let users = lab.root.join("users");
    git(&lab.linux(), &["worktree", "add", "--quiet", "--detach", users.as_str()]);
    fs_err::remove_dir_all(&users).unwrap();
    let opened = lab.open(Some(lab.asked(1).question(&lab.repository).unwrap()), Resume::IfSame).unwrap();
    for _ in 0..2 {
        let ours = opened.worktree(&lab.repository).unwrap();
        ours.checkout(&lab.commits[1]).unwrap();
        // As a run leaves it that is killed while git makes it.
        let ours_in_git = git(&ours.root, &["rev-parse", "--path-format=absolute", "--git-dir"]);
        fs_err::write(Utf8Path::new(&ours_in_git).join("locked"), "initializing").unwrap();
        fs_err::remove_dir_all(&ours.root).unwrap();
    }
    let known = git(&lab.linux(), &["worktree", "list"]);
    assert!(known.contains(users.as_str()), "{known}");
}

#[test]
fn a_bare_repository_will_do() {
    let lab = Lab::new(&["pp", "pp", "fp"]);
    let bare = lab.root.join("bare.git");
    git(&lab.root, &["clone", "--quiet", "--bare", "linux", bare.as_str()]);
    let repository = Repository::open(&bare).unwrap();
    let question = lab.asked(1).question(&repository).unwrap();
    let opened = open(
        &repository,
        Some(question),
        Resume::IfSame,
        &lab.root.join("runs"),
        &lab.cache,
        &Progress::silent(),
    );
    let worktree = opened.unwrap().worktree(&repository).unwrap();
    worktree.checkout(&lab.commits[2]).unwrap();
    assert_eq!(fs_err::read_to_string(worktree.root.join("verdict")).unwrap(), "fp");
}
