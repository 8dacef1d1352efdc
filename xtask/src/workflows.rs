// SPDX-License-Identifier: GPL-2.0-only
//! The CI files of this repository against the command line: every `cargo xtask …` in them must be one that this xtask
//! takes, every configuration file that they name one that it reads, every report that they upload one that they wrote, and
//! what they cache is kept when cases fail. Tests only: the files are for other people's machines.

use std::collections::BTreeSet;

use camino::{Utf8Path, Utf8PathBuf};
use clap::Parser as _;
use regex::Regex;
use yaml_rust2::yaml::Hash;
use yaml_rust2::{Yaml, YamlLoader};

use crate::Cli;

const FILES: [&str; 3] =
    [".github/workflows/pull-request.yml", ".github/workflows/nightly.yml", ".gitlab-ci.yml"];

/// Where a shell command may stand.
const SCRIPTS: [&str; 4] = ["run", "script", "before_script", "after_script"];

fn root() -> Utf8PathBuf {
    Utf8PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn parsed(file: &str) -> Yaml {
    let text = fs_err::read_to_string(root().join(file)).unwrap();
    let mut documents = YamlLoader::load_from_str(&text).unwrap_or_else(|error| panic!("{file}: {error}"));
    assert_eq!(documents.len(), 1, "{file}");
    documents.remove(0)
}

/// The command lines of one job, one for each value of its matrix.
fn commands(job: &Yaml) -> Vec<String> {
    let mut lines = Vec::new();
    scripts(job, &mut lines);
    let mut commands: Vec<String> = lines.iter().filter_map(|line| xtask_in(line)).collect();
    let mut axes: Vec<(String, Vec<String>)> = axes(&job["strategy"]["matrix"]);
    axes.extend(job["parallel"]["matrix"].as_vec().into_iter().flatten().flat_map(self::axes));
    if let Some(nodes) = job["parallel"].as_i64() {
        axes.push(("CI_NODE_INDEX".into(), (1..=nodes).map(|n| n.to_string()).collect()));
        axes.push(("CI_NODE_TOTAL".into(), vec![nodes.to_string()]));
    }
    for (name, values) in axes {
        let variable = Regex::new(&format!(r"\$\{{\{{ matrix\.{name} \}}\}}|\${name}\b")).unwrap();
        let each = |command: String| -> Vec<String> {
            let with = |value: &String| variable.replace_all(&command, value.as_str()).into_owned();
            let all: BTreeSet<String> = values.iter().map(with).collect();
            all.into_iter().collect()
        };
        commands = commands.into_iter().flat_map(each).collect();
    }
    commands
}

fn axes(matrix: &Yaml) -> Vec<(String, Vec<String>)> {
    let text =
        |value: &Yaml| value.as_i64().map_or_else(|| value.as_str().unwrap().to_owned(), |n| n.to_string());
    let none = Hash::new();
    let axes = matrix.as_hash().unwrap_or(&none).iter();
    axes.map(|(name, values)| (text(name), values.as_vec().unwrap().iter().map(text).collect())).collect()
}

/// Every line of every script below this node.
fn scripts(node: &Yaml, lines: &mut Vec<String>) {
    match node {
        Yaml::Hash(entries) => {
            for (key, value) in entries {
                if key.as_str().is_some_and(|key| SCRIPTS.contains(&key)) {
                    texts(value, lines);
                }
                scripts(value, lines);
            }
        }
        Yaml::Array(items) => items.iter().for_each(|item| scripts(item, lines)),
        _ => {}
    }
}

fn texts(node: &Yaml, lines: &mut Vec<String>) {
    match node {
        Yaml::String(text) => lines.extend(text.lines().map(str::to_owned)),
        Yaml::Array(items) => items.iter().for_each(|item| texts(item, lines)),
        _ => {}
    }
}

/// From `cargo xtask` to the end of the command: alone on its line, or inside of `$(…)`.
fn xtask_in(line: &str) -> Option<String> {
    let (before, command) = line.split_once("cargo xtask")?;
    let command = if before.ends_with("$(") { command.split(')').next()? } else { command };
    Some(format!("cargo xtask{command}"))
}

fn words(command: &str) -> Vec<String> {
    shlex::split(command).unwrap_or_else(|| panic!("no shell reads {command}"))
}

/// What clap says of it.
fn refused(command: &str) -> Option<String> {
    let words = words(command);
    // `cargo xtask` is the program's name to clap.
    Cli::try_parse_from(words.iter().skip(1)).err().map(|error| format!("{command}\n{error}"))
}

/// Its jobs: in GitHub's form they are below `jobs`, in GitLab's they are all that has a script.
fn jobs(file: &str) -> Vec<Yaml> {
    let workflow = parsed(file);
    let jobs = if workflow["jobs"].is_badvalue() { &workflow } else { &workflow["jobs"] };
    jobs.as_hash().unwrap().values().filter(|job| job.as_hash().is_some()).cloned().collect()
}

#[test]
fn every_command_is_one_that_this_xtask_takes() {
    for file in FILES {
        let commands: Vec<String> = jobs(file).iter().flat_map(commands).collect();
        assert!(commands.len() > 3, "{file}: {commands:?}");
        let refused: Vec<String> = commands.iter().filter_map(|command| refused(command)).collect();
        assert_eq!(refused, [""; 0], "{file}");
        assert!(!commands.iter().any(|command| command.contains('$')), "{file}: {commands:?}");
    }
}

#[test]
fn a_command_that_drifted_is_seen() {
    for (line, wrong) in [
        ("cargo xtask test --partition 1/4", false),
        ("cargo xtask test --partition 5/4", true),
        ("cargo xtask test --partitions 1/4", true),
        ("cargo xtask tests", true),
        ("echo \"key=$(cargo xtask kernel key --base 6.12)\" >> \"$OUT\"", false),
        ("echo \"key=$(cargo xtask kernel keys)\" >> \"$OUT\"", true),
        ("cargo xtask test --report xml=junit.xml", true),
    ] {
        assert_eq!(refused(&xtask_in(line).unwrap()).is_some(), wrong, "{line}");
    }
    let job = "{strategy: {matrix: {part: [1, 2], base: ['6.1']}}, steps: [{run: \"ls\\ncargo xtask a ${{ matrix.part }}/2 ${{ matrix.base }}\"}]}";
    let job = YamlLoader::load_from_str(job).unwrap().remove(0);
    assert_eq!(commands(&job), ["cargo xtask a 1/2 6.1", "cargo xtask a 2/2 6.1"]);
}

#[test]
fn the_parts_of_a_matrix_are_the_whole() {
    for file in FILES {
        for job in jobs(file) {
            let mut parts: Vec<(String, String)> = Vec::new();
            for command in commands(&job) {
                let words = words(&command);
                let value = words.iter().skip_while(|word| *word != "--partition").nth(1);
                if let Some((part, of)) = value.and_then(|value| value.split_once('/')) {
                    parts.push((part.to_owned(), of.to_owned()));
                }
            }
            for (_, of) in &parts {
                let there: BTreeSet<_> = parts.iter().map(|(part, _)| part.parse::<u32>().unwrap()).collect();
                assert_eq!(there, (1..=of.parse().unwrap()).collect(), "{file}");
            }
        }
    }
}

/// The values of `--report FORMAT=PATH` are what is uploaded.
#[test]
fn every_report_is_uploaded() {
    for file in FILES {
        for job in jobs(file) {
            let mut uploaded = Vec::new();
            uploads(&job, &mut uploaded);
            for command in commands(&job) {
                let words = words(&command);
                let report = |pair: &[String]| {
                    let path = pair[1].split_once('=').map(|(_, path)| path.to_owned());
                    path.filter(|_| pair[0] == "--report")
                };
                for path in words.windows(2).filter_map(report) {
                    let kept = uploaded.iter().any(|pattern| matches(pattern, &path));
                    assert!(kept, "{file}: {command}: nobody uploads {path}; uploaded: {uploaded:?}");
                }
            }
        }
    }
}

fn uploads(node: &Yaml, found: &mut Vec<String>) {
    match node {
        Yaml::Hash(entries) => {
            for (key, value) in entries {
                if key.as_str().is_some_and(|key| ["path", "paths", "junit"].contains(&key)) {
                    texts(value, found);
                }
                uploads(value, found);
            }
        }
        Yaml::Array(items) => items.iter().for_each(|item| uploads(item, found)),
        _ => {}
    }
}

/// A pattern with `*`, as both runners understand it.
fn matches(pattern: &str, path: &str) -> bool {
    Regex::new(&format!("^{}$", regex::escape(pattern).replace(r"\*", "[^/]*"))).unwrap().is_match(path)
}

#[test]
fn configuration_files_that_are_named_are_there() {
    for file in FILES {
        for command in jobs(file).iter().flat_map(commands) {
            let words = words(&command);
            if let Some(config) = words.iter().skip_while(|word| *word != "--config").nth(1) {
                crate::nightly::config::read(&root().join(Utf8Path::new(config))).unwrap();
            }
        }
    }
}

/// What a failing run has built and seen, the next one needs. GitHub's `actions/cache` saves nothing then: it is for what a
/// lock file determines.
#[test]
fn what_is_cached_is_kept_when_cases_fail() {
    let text = |node: &Yaml| node.as_str().unwrap_or_default().to_owned();
    let mut kept = 0;
    for job in FILES.iter().filter(|file| file.starts_with(".github")).flat_map(|file| jobs(file)) {
        let steps = job["steps"].as_vec().unwrap();
        let using = |action: &str| -> Vec<(String, &Yaml)> {
            let uses = |step: &&Yaml| step["uses"].as_str().is_some_and(|uses| uses.starts_with(action));
            steps.iter().filter(uses).map(|step| (text(&step["with"]["path"]), step)).collect()
        };
        for (path, _) in using("actions/cache@") {
            assert!(path.contains("target") && !path.contains("kernels"), "{path}");
        }
        let saved = using("actions/cache/save@");
        for (path, restored) in using("actions/cache/restore@") {
            let save = saved.iter().find(|(saved, _)| *saved == path).map(|(_, step)| step);
            let save = save.unwrap_or_else(|| panic!("nobody saves {path}"));
            assert_eq!(save["with"]["key"], restored["with"]["key"]);
            assert!(text(&save["if"]).starts_with("always()"), "{save:?}");
            kept += 1;
        }
        // A job that runs out of time has none left to save anything.
        let limits: Vec<i64> = steps.iter().filter_map(|step| step["timeout-minutes"].as_i64()).collect();
        assert_eq!(limits.len(), saved.len());
        assert!(
            limits.iter().all(|limit| limit + 15 < job["timeout-minutes"].as_i64().unwrap()),
            "{limits:?}"
        );
    }
    assert_eq!(kept, 3);
    let gitlab = parsed(".gitlab-ci.yml");
    assert_eq!(gitlab[".kernel-cache"]["when"].as_str(), Some("always"));
    let caches = gitlab["nightly"]["cache"].as_vec().unwrap();
    let state = caches.iter().find(|cache| cache["key"].as_str() == Some("nightly")).unwrap();
    assert_eq!(state["when"].as_str(), Some("always"));
}

/// Histories of kernels are gigabytes, and every clone has them.
#[test]
fn clones_are_no_artifacts_and_reports_are_those_of_the_night() {
    let state = crate::nightly::config::read(&root().join(".github/nightly.toml")).unwrap().state;
    let state = state.strip_prefix(root().canonicalize_utf8().unwrap()).unwrap().to_owned();
    let gitlab = &parsed(".gitlab-ci.yml")["nightly"]["artifacts"];
    assert_eq!(gitlab["exclude"][0].as_str(), Some(state.join("git/**/*").as_str()));
    assert_eq!(gitlab["reports"]["junit"].as_str(), Some(state.join("junit/*.xml").as_str()));
    let mut uploaded = Vec::new();
    for job in jobs(".github/workflows/nightly.yml") {
        uploads(&job, &mut uploaded);
    }
    assert!(uploaded.contains(&state.to_string()), "{uploaded:?}");
    assert!(uploaded.contains(&format!("!{state}/git")), "{uploaded:?}");
}
