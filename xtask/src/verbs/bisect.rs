// SPDX-License-Identifier: GPL-2.0-only
//! `cargo xtask bisect`: which commit broke a case? See docs/bisect.md.

use anyhow::Context as _;
use camino::{Utf8Path, Utf8PathBuf};
use clap::ValueEnum as _;

use crate::bisect::drive::Bisect;
use crate::bisect::git::{Commit, Repository};
use crate::bisect::kernels::Kernels;
use crate::bisect::odds::MOST_RUNS;
use crate::bisect::report::{self, Culprit};
use crate::bisect::state::{End, Question, State};
use crate::bisect::{self, Asked, Resume};
use crate::cache::Cache;
use crate::exit::{Code, coded};
use crate::kernel::Flavour;
use crate::progress::Progress;
use crate::report::{put, write_file};
use crate::run::plan::{self, Planned, Scope, Selection};
use crate::run::prepare::{Boot, Choice, Setting, as_option};

/// The verb's options.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// A git repository of Linux; its checkout is not touched
    #[arg(long, value_name = "DIR", default_value = ".")]
    tree: Utf8PathBuf,
    /// A revision at which the cases pass
    #[arg(long, value_name = "REV", required_unless_present = "resume")]
    good: Option<String>,
    /// A later revision at which one of them fails
    #[arg(long, value_name = "REV", required_unless_present = "resume")]
    bad: Option<String>,
    /// Go on with the bisection of this tree that was interrupted; so does the same command again
    #[arg(long = "continue", conflicts_with_all = ["Selection", "good", "bad", "repeat", "flavour", "boot", "restart"])]
    resume: bool,
    /// Leave this commit out, at which the host fails every time (repeatable)
    #[arg(long, value_name = "REV", requires = "resume", conflicts_with_all = ["good", "bad"])]
    skip: Vec<String>,
    /// Drop what is known of an earlier bisection of this tree
    #[arg(long)]
    restart: bool,
    /// Leave uncommitted changes of the checkout aside: no commit has them, so none is tested with them
    #[arg(long)]
    allow_dirty: bool,
    #[command(flatten)]
    testing: Testing,
}

/// How a commit is tested, by whoever chooses it.
#[derive(Debug, clap::Args)]
pub struct Testing {
    /// Which cases.
    #[command(flatten)]
    pub selection: Selection,
    /// Run the cases N times a commit: it is good if every case passes every run
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=i64::from(MOST_RUNS)))]
    pub repeat: u32,
    /// How kernels are built, on which machine they run, and where the results go.
    #[command(flatten)]
    pub setting: Setting,
    /// VMs side by side [default: as many as cores and memory allow]
    #[arg(short, long, value_name = "N")]
    pub jobs: Option<usize>,
}

/// Runs the verb.
pub fn run(options: &Options) -> anyhow::Result<Code> {
    let resume = if options.restart { Resume::Restart } else { Resume::IfSame };
    let progress = Progress::new();
    if !options.skip.is_empty() {
        bisect::leave_out(&Repository::open(&options.tree)?, &options.skip, &Cache::open()?, &progress)?;
    }
    let Testing { setting, jobs, .. } = &options.testing;
    let told = bisect(&options.tree, options.asked()?, resume, setting, *jobs, &progress)?;
    put(None, &told.text)?;
    Ok(told.code())
}

/// A bisection that came to its end, and what it tells.
pub struct Told {
    /// Everything that is known.
    pub state: State,
    /// Log, result and mail, as text for people.
    pub text: String,
}

impl Told {
    /// What the verb ends with: the commit is found, or only a range that can't be tested is left.
    pub const fn code(&self) -> Code {
        match self.state.end {
            Some(End::Found(_)) => Code::AllPassed,
            Some(End::OneOf(_)) | None => Code::Untestable,
        }
    }
}

/// Bisects the repository `tree`: what is asked, or the bisection that is there. The setting's flavour and boot are those of
/// the question.
pub fn bisect(
    tree: &Utf8Path,
    asked: Option<Asked>,
    resume: Resume<'_>,
    setting: &Setting,
    jobs: Option<usize>,
    progress: &Progress,
) -> anyhow::Result<Told> {
    let repository = Repository::open(tree)?;
    let question = asked.map(|asked| asked.question(&repository)).transpose()?;
    let cache = Cache::open()?;
    let out = bisect::runs_outside(tree, &setting.out, &cache, progress)?;
    let mut opened = bisect::open(&repository, question, resume, &out, &cache, progress)?;
    let worktree = opened.worktree(&repository)?;
    let mut kernels = Kernels {
        choice: choice(&opened.state.question, &worktree.root, setting)?,
        jobs,
        yes: setting.yes,
        cache: &cache,
        progress,
        skip_other_trees: true,
    };
    let (file, until) = (&opened.file, opened.until);
    let at_work = Bisect { repository: &repository, worktree: &worktree, file, until, progress };
    let done = at_work.run(&mut opened.state, &mut kernels);
    if done.is_err() && opened.file.exists() && !matches!(resume, Resume::Apart { .. }) {
        progress.line(&format!("what is known is kept: the same command goes on, and so does `cargo xtask bisect --tree {tree} --continue`"));
    }
    done?;
    tell(opened.state, &repository, &worktree.root)
}

impl Options {
    /// The question, unless it is that of the bisection that is there.
    fn asked(&self) -> anyhow::Result<Option<Asked>> {
        let (Some(good), Some(bad)) = (&self.good, &self.bad) else { return Ok(None) };
        let Testing { selection, repeat, setting, .. } = &self.testing;
        let plan = selection.select(tests::catalogue(), Scope::Kernel)?;
        Ok(Some(Asked {
            good: good.clone(),
            bad: bad.clone(),
            cases: plan.iter().map(Planned::full_name).collect(),
            repeat: *repeat,
            flavour: as_option(&setting.flavour.unwrap_or_default()),
            boot: as_option(&setting.boot),
            allow_dirty: self.allow_dirty,
        }))
    }
}

/// Which kernels: those of the question, on this machine.
fn choice(question: &Question, tree: &Utf8Path, setting: &Setting) -> anyhow::Result<Choice> {
    let unknown = |what: &str, value: &str| {
        coded(
            Code::Usage,
            format!(
                "the bisection to continue has the {what} `{value}`, which this xtask does not know (hint: --restart)"
            ),
        )
    };
    let flavour =
        Flavour::from_str(&question.flavour, false).map_err(|_| unknown("flavour", &question.flavour))?;
    let boot = Boot::from_str(&question.boot, false).map_err(|_| unknown("boot", &question.boot))?;
    Ok(Choice { tree: Some(tree.to_owned()), flavour: Some(flavour), boot, ..setting.choice() })
}

/// Makes the texts, and writes them and everything that belongs to them beside the runs.
fn tell(state: State, repository: &Repository, tree: &Utf8Path) -> anyhow::Result<Told> {
    let (found, range) = match &state.end {
        Some(End::Found(id)) => (Some(repository.commit(id)?), vec![]),
        Some(End::OneOf(ids)) => {
            let commits = ids.iter().map(|id| repository.commit(id));
            (None, commits.collect::<anyhow::Result<Vec<Commit>>>()?)
        }
        None => (None, vec![]),
    };
    let trial = found.as_ref().and_then(|commit| state.trial(&commit.id));
    let culprit = found.as_ref().zip(trial.as_ref()).map(|(commit, trial)| Culprit { commit, trial });
    let at_bad = state.trial(&state.question.bad.commit);
    let failed = trial.iter().chain(&at_bad).find_map(|trial| trial.failures.first());
    let failed = failed.context("find the failure that the bisection is about")?;
    let plan = plan::named(std::slice::from_ref(&failed.case), "the report").ok();
    let planned = plan.as_ref().and_then(|plan| plan.first());

    let (log, result) = (report::log(&state), report::result(&state, culprit.as_ref(), &range));
    let mail = report::regression(&state, culprit.as_ref(), failed, planned);
    let runs = Utf8Path::new(&state.runs);
    let write = |name: &str, text: &str| write_file(&runs.join(name), text);
    write("bisect.log", &state.log)?;
    write("bisect.txt", &format!("{log}\n{result}"))?;
    write("report.txt", &mail)?;
    state.write(&runs.join("bisect.json"))?;
    let config = Utf8Path::new(&failed.folder).join("kernel.config");
    if config.exists() {
        fs_err::copy(config, runs.join("kernel.config"))?;
    }
    let text = format!(
        "{log}\n{result}\n-- report.txt --\n{mail}\n\
         everything is in {runs}: bisect.txt, report.txt (the mail) and its kernel.config, bisect.log (git's), bisect.json\n\
         the worktree {tree} is kept, to be quicker next time (hint: `git worktree remove --force` removes it)\n"
    );
    Ok(Told { state, text })
}
