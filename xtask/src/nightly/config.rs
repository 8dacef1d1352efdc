// SPDX-License-Identifier: GPL-2.0-only
//! The configuration of `nightly`: TOML, raw as it is written, then checked. docs/nightly.example.toml is its documentation.
//!
//! A tree's source becomes the options of `cargo xtask test` that name the same, so that what that takes is what this takes.

use std::collections::BTreeSet;
use std::time::Duration;

use camino::{Utf8Path, Utf8PathBuf};
use clap::ValueEnum;
use guest::condition::Transport;
use regex::Regex;
use serde::Deserialize;

use crate::exit::{Code, coded};
use crate::kernel::{Flavour, Variant, base_names};
use crate::run::plan::{Planned, Scope, Selection};
use crate::run::prepare::Choice;

/// Runs that are kept of each job.
const KEEP: usize = 14;
/// How often a failure is run again.
const CONFIRM: u32 = 3;
/// More reruns would take more than a night.
const MOST_CONFIRM: u32 = 1000;
/// How many steps of one letter make a word another one; beyond that it is not what was meant.
const NEAR: usize = 3;

/// The configuration, checked.
#[derive(Debug, Clone)]
pub struct Config {
    /// The state folder.
    pub state: Utf8PathBuf,
    /// Runs that are kept of each job.
    pub keep: usize,
    /// After this time nothing new is begun; without one, everything is.
    pub budget: Option<Duration>,
    /// How often a failure is run again before it is believed.
    pub confirm: u32,
    /// What is tested, in the order of the file.
    pub jobs: Vec<Job>,
}

/// One tree with one flavour.
#[derive(Debug, Clone)]
pub struct Job {
    /// `mainline.lock`: names its folder, and stays the same from night to night.
    pub name: String,
    /// Kernel and machine.
    pub choice: Choice,
    /// Which cases.
    pub plan: Vec<Planned>,
    /// Where the history is, for `what is new` and for bisecting: a repository, and nothing for other sources.
    pub history: Option<History>,
    /// New failures are bisected.
    pub bisect: bool,
}

/// Where a tree's history is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum History {
    /// A checkout or a repository on this host.
    Here(Utf8PathBuf),
    /// A repository elsewhere.
    Remote(String),
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    state: Utf8PathBuf,
    keep: Option<usize>,
    budget: Option<String>,
    confirm: Option<u32>,
    flavours: Option<Vec<String>>,
    transports: Option<Vec<String>>,
    filters: Option<Vec<String>>,
    bisect: Option<bool>,
    #[serde(rename = "tree", default)]
    trees: Vec<RawTree>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawTree {
    name: String,
    git: Option<String>,
    #[serde(rename = "ref")]
    reference: Option<String>,
    path: Option<Utf8PathBuf>,
    base: Option<String>,
    variant: Option<String>,
    package: Option<String>,
    flavours: Option<Vec<String>>,
    transports: Option<Vec<String>>,
    filters: Option<Vec<String>>,
    bisect: Option<bool>,
}

/// Reads the file; an error says where it is wrong.
pub fn read(path: &Utf8Path) -> anyhow::Result<Config> {
    let text = fs_err::read_to_string(path).map_err(|error| {
        coded(Code::Usage, format_args!("{error} (hint: docs/nightly.example.toml is one to start from)"))
    })?;
    // Relative paths are the file's, not those of whoever calls: cron has a folder of its own.
    let home = path.canonicalize_utf8()?.parent().map(ToOwned::to_owned).unwrap_or_default();
    parse(&text, &home).map_err(|error| coded(Code::Usage, format_args!("{path}: {error}")))
}

fn parse(text: &str, home: &Utf8Path) -> Result<Config, String> {
    let raw: Raw = toml::from_str(text).map_err(|error| explained(&error, text))?;
    let budget = raw.budget.as_deref().map(humantime::parse_duration).transpose();
    let budget = budget.map_err(|error| format!("budget: {error} (hint: \"6h\", \"90m\")"))?;
    if budget.is_some_and(|budget| budget.is_zero()) {
        return Err("budget is 0: nothing would run (hint: without it, everything does)".to_owned());
    }
    let confirm = raw.confirm.unwrap_or(CONFIRM);
    if confirm > MOST_CONFIRM {
        return Err(format!("confirm is {confirm}: it is at most {MOST_CONFIRM}"));
    }
    let positive = |name: &str, value: usize| if value > 0 { Ok(value) } else { Err(format!("{name} is 0")) };
    let keep = positive("keep", raw.keep.unwrap_or(KEEP))?;
    let mut jobs = Vec::new();
    let mut names = BTreeSet::new();
    for tree in &raw.trees {
        let of_tree = |error: String| format!("tree {}: {error}", tree.name);
        if !names.insert(&tree.name) {
            return Err(of_tree("there are two of that name".to_owned()));
        }
        jobs.extend(self::jobs(tree, &raw, home).map_err(of_tree)?);
    }
    if jobs.is_empty() {
        return Err("it names no tree (hint: a section [[tree]] with a name and a source)".to_owned());
    }
    Ok(Config { state: home.join(raw.state), keep, budget, confirm, jobs })
}

/// One job for each flavour of a tree.
fn jobs(tree: &RawTree, all: &Raw, home: &Utf8Path) -> Result<Vec<Job>, String> {
    let is_name = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    if tree.name.is_empty() || tree.name.starts_with('.') || !tree.name.chars().all(is_name) {
        return Err(
            "its name must be one of letters, digits, `.`, `_` and `-`: it is a folder's too".to_owned()
        );
    }
    let (options, history) = source(tree, home)?;
    let flavours = tree.flavours.as_ref().or(all.flavours.as_ref());
    let flavours = match (flavours, &tree.package) {
        (Some(_), Some(_)) if tree.flavours.is_some() => {
            return Err("a package is built already: it takes no flavours".to_owned());
        }
        (_, Some(_)) => vec![None],
        (Some(names), None) => values::<Flavour>("flavours", names)?.into_iter().map(Some).collect(),
        (None, None) => vec![Some(Flavour::default())],
    };
    let names = tree.transports.as_ref().or(all.transports.as_ref()).map_or(&[][..], Vec::as_slice);
    let transport = names.iter().map(|name| name.parse::<Transport>());
    let selection = Selection {
        filters: tree.filters.as_ref().or(all.filters.as_ref()).cloned().unwrap_or_default(),
        transport: transport.collect::<Result<_, _>>().map_err(|error| format!("transports: {error}"))?,
        ..Selection::default()
    };
    let plan = selection.select(::tests::catalogue(), Scope::Kernel).map_err(|error| error.to_string())?;
    let job = |flavour: Option<Flavour>| -> Result<Job, String> {
        let flavour_option = flavour.map(|flavour| ["--flavour".to_owned(), flavour.name().to_owned()]);
        let options: Vec<String> =
            options.iter().cloned().chain(flavour_option.into_iter().flatten()).collect();
        let (choice, _) = Choice::replay(&options).map_err(|error| format!("{error:#}"))?;
        Ok(Job {
            name: format!("{}.{}", tree.name, flavour.map_or("as-is", Flavour::name)),
            choice,
            plan: plan.clone(),
            history: history.clone(),
            bisect: tree.bisect.or(all.bisect).unwrap_or(true),
        })
    };
    flavours.into_iter().map(job).collect()
}

/// The options that name the source, and where its history is.
fn source(tree: &RawTree, home: &Utf8Path) -> Result<(Vec<String>, Option<History>), String> {
    let given: Vec<&str> = [
        tree.git.as_ref().map(|_| "git"),
        tree.path.as_ref().map(|_| "path"),
        tree.base.as_ref().map(|_| "base"),
        tree.package.as_ref().map(|_| "package"),
    ]
    .into_iter()
    .flatten()
    .collect();
    let goes_with = |key: &str, given: bool, with: &str, there: bool| {
        if given && !there { Err(format!("`{key}` goes with `{with}`")) } else { Ok(()) }
    };
    goes_with("ref", tree.reference.is_some(), "git", tree.git.is_some())?;
    goes_with("variant", tree.variant.is_some(), "base", tree.base.is_some())?;
    let pair = |name: &str, value: String| vec![name.to_owned(), value];
    match (given.as_slice(), tree) {
        (["git"], RawTree { git: Some(url), reference, .. }) => {
            let Some(reference) = reference else {
                return Err("`git` goes with `ref` (hint: ref = \"master\")".to_owned());
            };
            let here = home.join(url);
            let (url, history) = if here.exists() {
                (here.to_string(), History::Here(here))
            } else {
                (url.clone(), History::Remote(url.clone()))
            };
            Ok((pair("--tree", format!("{url}#{reference}")), Some(history)))
        }
        (["path"], RawTree { path: Some(path), .. }) => {
            let place = home.join(path);
            let history = place.join(".git").exists().then(|| History::Here(place.clone()));
            Ok((pair("--tree", place.into_string()), history))
        }
        (["base"], RawTree { base: Some(base), variant, .. }) => {
            if !base_names().contains(&base.as_str()) {
                return Err(unknown("base", base, &base_names()));
            }
            let variant =
                variant.as_ref().map(|name| values::<Variant>("variant", std::slice::from_ref(name)));
            let variant = variant.transpose()?.and_then(|all| all.first().copied()).unwrap_or(Variant::Stock);
            Ok(([pair("--base", base.clone()), pair("--variant", variant.name().to_owned())].concat(), None))
        }
        (["package"], RawTree { package: Some(package), .. }) => {
            Ok((pair("--kernel", format!("deb:{package}")), None))
        }
        ([], _) => Err("it has no source (hint: one of git, path, base, package)".to_owned()),
        (several, _) => Err(format!("it has {} sources: {}", several.len(), several.join(", "))),
    }
}

/// Names of one of the xtask's own enumerations.
fn values<T: ValueEnum>(key: &str, names: &[String]) -> Result<Vec<T>, String> {
    let known: Vec<_> = T::value_variants().iter().filter_map(ValueEnum::to_possible_value).collect();
    let known: Vec<&str> = known.iter().map(clap::builder::PossibleValue::get_name).collect();
    let value = |name: &String| T::from_str(name, false).map_err(|_| unknown(key, name, &known));
    if names.is_empty() { Err(format!("{key} is empty")) } else { names.iter().map(value).collect() }
}

fn unknown(what: &str, name: &str, known: &[&str]) -> String {
    let near = nearest(name, known).map_or(String::new(), |near| format!(" (did you mean `{near}`?)"));
    format!("{what}: `{name}` is none of {}{near}", known.join(", "))
}

/// The known name that is the fewest changes of a letter away, if it is near.
fn nearest<'a>(name: &str, known: &[&'a str]) -> Option<&'a str> {
    let far = |known: &str| strsim::damerau_levenshtein(&name.to_lowercase(), known);
    let best = known.iter().min_by_key(|known| far(known))?;
    // A part of the name, such as `url` for nothing known at all, is not enough.
    (far(best) <= NEAR.min(name.len() / 2) || name.to_lowercase().starts_with(best)).then_some(best)
}

/// `line 12: unknown key `flavor` (did you mean `flavours`? …)`. The list of what is known is the parser's own.
fn explained(error: &toml::de::Error, text: &str) -> String {
    let line = error.span().map_or(String::new(), |span| {
        format!("line {}: ", text.get(..span.start).unwrap_or_default().matches('\n').count() + 1)
    });
    let unknown = Regex::new(r"^unknown field `([^`]*)`, expected (.*)$").map(|unknown| {
        let found = unknown.captures(error.message())?;
        let names = Regex::new("`([^`]*)`").ok()?;
        let known: Vec<&str> = names
            .captures_iter(found.get(2)?.as_str())
            .filter_map(|name| Some(name.get(1)?.as_str()))
            .collect();
        let name = found.get(1)?.as_str();
        let near = nearest(name, &known).map_or(String::new(), |near| format!("did you mean `{near}`? "));
        Some(format!("unknown key `{name}` ({near}known are {})", known.join(", ")))
    });
    let what = unknown.ok().flatten().unwrap_or_else(|| error.message().replace('\n', " "));
    format!("{line}{what}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Result<Config, String> {
        parse(text, Utf8Path::new("/srv"))
    }

    fn error(text: &str) -> String {
        parsed(text).unwrap_err()
    }

    #[test]
    fn the_shipped_example_is_read_and_has_every_key() {
        let path = Utf8PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../docs/nightly.example.toml");
        let config = read(&path).unwrap();
        assert!(config.jobs.len() > 4 && config.budget.is_some());
        let text = fs_err::read_to_string(&path).unwrap();
        // What serde knows: its own error lists it.
        for (section, odd) in
            [("", "odd = 1\nstate = \"x\""), ("[[tree]]", "state = \"x\"\n[[tree]]\nname = \"x\"\nodd = 1")]
        {
            let told = error(odd);
            let known = told.split_once("known are ").unwrap().1.trim_end_matches(')').to_owned();
            for key in known.split(", ").filter(|key| *key != "tree") {
                let documented = Regex::new(&format!("(?m)^#? ?{key} = ")).unwrap();
                assert!(documented.is_match(&text), "{section} {key} is not in {path}");
            }
        }
    }

    #[test]
    fn a_tree_with_two_flavours_is_two_jobs() {
        let config = parsed(
            "state = \"night\"\nbudget = \"90m\"\ntransports = [\"scsi_debug\"]\n\
             [[tree]]\nname = \"next\"\ngit = \"https://example.org/next.git\"\nref = \"master\"\nflavours = [\"lock\", \"kasan\"]\n\
             [[tree]]\nname = \"deb\"\nbase = \"6.1\"\nbisect = false\n\
             [[tree]]\nname = \"mine\"\npath = \"linux\"\nfilters = [\"core::\"]\n",
        )
        .unwrap();
        assert_eq!(config.state, "/srv/night");
        assert_eq!(config.budget, Some(Duration::from_secs(5400)));
        let told = |job: &Job| format!("{}: {} {}", job.name, job.choice.options().join(" "), job.bisect);
        let jobs: Vec<_> = config.jobs.iter().map(told).collect();
        assert_eq!(
            jobs,
            [
                "next.lock: --flavour lock --tree https://example.org/next.git#master true",
                "next.kasan: --flavour kasan --tree https://example.org/next.git#master true",
                "deb.lock: --base 6.1 --variant stock --flavour lock false",
                "mine.lock: --flavour lock --tree /srv/linux true",
            ]
        );
        let only = |job: &Job, what: &str| job.plan.iter().all(|planned| planned.full_name().contains(what));
        assert!(only(&config.jobs[3], "core::"));
        assert_eq!(config.jobs[0].history, Some(History::Remote("https://example.org/next.git".into())));
        assert_eq!(config.jobs[3].history, None);
    }

    #[test]
    fn what_is_wrong_is_named_with_its_place() {
        let tree = "state = \"x\"\n[[tree]]\nname = \"a\"\n";
        let all = [
            error("state = \"x\"\nflavor = [\"lock\"]\n"),
            error(&format!("{tree}branch = \"x\"\n")),
            error(&format!("{tree}Git = \"x\"\n")),
            error(&format!("{tree}base = \"6.13\"\n")),
            error(&format!("{tree}base = \"6.12\"\nflavours = [\"lockdep\"]\n")),
            error(&format!("{tree}base = \"6.12\"\nflavours = [\"kasn\"]\n")),
            error(&format!("{tree}base = \"6.12\"\ntransports = [\"fc\"]\n")),
            error(&format!("{tree}base = \"6.12\"\nfilters = [\"nonesuch\"]\n")),
            error(&format!("{tree}base = \"6.12\"\ngit = \"x\"\nref = \"y\"\n")),
            error(&format!("{tree}base = \"6.12\"\nref = \"y\"\n")),
            error(&format!("{tree}git = \"https://example.org/x.git\"\n")),
            error(tree),
            error("state = \"x\"\n"),
            error("state = \"x\"\nbudget = \"soon\"\n"),
            error("state = \"x\"\nbudget = \"0s\"\n"),
            error("state = \"x\"\nconfirm = 1001\n"),
            error("state = \"x\"\nkeep = 0\n"),
            error("keep = 0\n"),
            error("state = \n"),
            error(&format!("{tree}base = \"6.12\"\n[[tree]]\nname = \"a\"\nbase = \"6.1\"\n")),
            error("state = \"x\"\n[[tree]]\nname = \"a/b\"\nbase = \"6.1\"\n"),
            error(&format!("{tree}package = \"x\"\nflavours = [\"lock\"]\n")),
        ];
        insta::assert_snapshot!(all.join("\n"), @r#"
        line 2: unknown key `flavor` (did you mean `flavours`? known are state, keep, budget, confirm, flavours, transports, filters, bisect, tree)
        line 4: unknown key `branch` (known are name, git, ref, path, base, variant, package, flavours, transports, filters, bisect)
        line 4: unknown key `Git` (did you mean `git`? known are name, git, ref, path, base, variant, package, flavours, transports, filters, bisect)
        tree a: base: `6.13` is none of 6.12, 6.1, 7.3 (did you mean `6.12`?)
        tree a: flavours: `lockdep` is none of plain, lock, kasan, kcsan (did you mean `lock`?)
        tree a: flavours: `kasn` is none of plain, lock, kasan, kcsan (did you mean `kasan`?)
        tree a: transports: `fc` is none of scsi_debug, iscsi
        tree a: the filter `nonesuch` matches no case (hint: `cargo xtask list` shows all)
        tree a: it has 2 sources: git, base
        tree a: `ref` goes with `git`
        tree a: `git` goes with `ref` (hint: ref = "master")
        tree a: it has no source (hint: one of git, path, base, package)
        it names no tree (hint: a section [[tree]] with a name and a source)
        budget: expected number at 0 (hint: "6h", "90m")
        budget is 0: nothing would run (hint: without it, everything does)
        confirm is 1001: it is at most 1000
        keep is 0
        line 1: missing field `state`
        line 1: string values must be quoted, expected literal string
        tree a: there are two of that name
        tree a/b: its name must be one of letters, digits, `.`, `_` and `-`: it is a folder's too
        tree a: a package is built already: it takes no flavours
        "#);
    }
}
