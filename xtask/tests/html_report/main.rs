// SPDX-License-Identifier: GPL-2.0-only
//! The HTML report in a real browser: made by the built xtask from a recorded run, opened in headless Chromium; and the
//! index that a night makes of two runs. A page beside it (`look.html`) holds them in frames of several kinds (a desktop, a
//! phone, without JavaScript, dark), uses them as a reader would, and writes what it found into its own document, which
//! Chromium prints. Command line flags are all that this takes; a driver for the browser's protocol would be a hundred crates.
//!
//! Without a browser these tests are reported as ignored. `cargo xtask doctor --fix` installs one.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Output};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use libtest_mimic::{Arguments, Failed, Trial};

/// The names under which distributions ship it.
const BROWSERS: [&str; 5] =
    ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome"];
/// What look.html looks at; each must be found good.
const LOOKS: [&str; 10] = [
    "the page opens and asks for nothing else",
    "what a kernel says stays text",
    "filters of outcomes",
    "filters of conditions",
    "the filter of names",
    "every link leads somewhere",
    "a link opens what it leads to",
    "a phone shows it without scrolling sideways",
    "light and dark can be read",
    "the index of two runs leads to both",
];
/// The same without JavaScript.
const WITHOUT_SCRIPTS: &str = "it works without JavaScript";
/// What the browser itself says.
const CONSOLE: &str = "the browser has nothing to complain about";
/// A start takes 2 s; the rest is for a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);

/// What a hostile kernel would say.
const HOSTILE: &str = r#"</pre></title></svg><script>document.title="owned"</script><img src="http://dm-pushback.invalid/" onerror="document.title='owned'">"#;

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let browser = BROWSERS.iter().find_map(|name| on_path(name));
    let absent = browser.is_none();
    let seen = Arc::new(LazyLock::new(move || match &browser {
        Some(browser) => look(browser),
        None => Err("there is no browser on this host (hint: cargo xtask doctor --fix)".to_owned()),
    }));
    let trials = LOOKS.into_iter().chain([WITHOUT_SCRIPTS, CONSOLE]).map(|name| {
        let seen = Arc::clone(&seen);
        let trial = Trial::test(name, move || match &**seen {
            Ok(lines) => verdict(lines, name),
            Err(error) => Err(Failed::from(error)),
        });
        let trial = trial.with_ignored_flag(absent);
        // libtest-mimic has no place for a reason but this one.
        if absent { trial.with_kind("no Chromium on this host") } else { trial }
    });
    libtest_mimic::run(&arguments, trials.collect()).exit_code()
}

fn on_path(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|dir| dir.join(name)).find(|file| file.is_file())
}

/// `ok NAME` or `bad NAME: why`; a look that left no line did not come so far.
fn verdict(lines: &[String], name: &str) -> Result<(), Failed> {
    let line = lines.iter().find(|line| line.split_once(' ').is_some_and(|(_, rest)| rest.starts_with(name)));
    match line {
        Some(line) if line.starts_with("ok ") => Ok(()),
        Some(line) => Err(Failed::from(line)),
        None => Err(Failed::from(format!("nothing was seen of it, only:\n{}", lines.join("\n")))),
    }
}

/// Makes the report and lets the browser look at it.
fn look(browser: &Path) -> Result<Vec<String>, String> {
    let dir = tempfile::tempdir().map_err(|error| error.to_string())?;
    let file = |name: &str| dir.path().join(name);
    let say = |error: std::io::Error| error.to_string();
    let here = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/html_report");
    for run in ["baseline", "pushback"] {
        let name = format!("proof/{run}/events.jsonl");
        std::fs::create_dir_all(file("proof").join(run)).map_err(say)?;
        let events = std::fs::read_to_string(here.join(&name)).map_err(say)?;
        std::fs::write(file(&name), hostile(&events)).map_err(say)?;
    }
    report(&file("proof"), &[format!("html={}", file("report.html").display())])?;
    night(dir.path())?;
    std::fs::copy(here.join("look.html"), file("look.html")).map_err(say)?;

    let output = run(
        browser,
        &dir.path().join("profile"),
        &[OsStr::new("--dump-dom"), file("look.html").as_os_str()],
    )?;
    let document = String::from_utf8_lossy(&output.stdout);
    let found = document.split_once("<pre id=\"found\">").and_then(|(_, rest)| rest.split_once("</pre>"));
    let (found, _) = found.ok_or_else(|| {
        format!(
            "the browser printed no result: {}\n{}",
            output.status,
            String::from_utf8_lossy(&output.stderr)
        )
    })?;
    let mut lines: Vec<String> = found.lines().map(str::to_owned).collect();
    lines.push(complaints(&String::from_utf8_lossy(&output.stderr)));
    Ok(lines)
}

/// The events with hostile text wherever a kernel or a guest has a say.
fn hostile(events: &str) -> String {
    let quoted = serde_json::Value::from(HOSTILE).to_string();
    let quoted = quoted.trim_matches('"');
    let places = ["\"message\":\"", "\"seen\":\"", "\"release\":\"", "\"title\":\"", "dm-pushback: begin "];
    places
        .into_iter()
        .fold(events.to_owned(), |text, place| text.replace(place, &format!("{place}{quoted} ")))
}

fn report(runs: &Path, reports: &[String]) -> Result<(), String> {
    let reports = reports.iter().flat_map(|report| ["--report", report.as_str()]);
    succeeds(xtask().arg("report").arg(runs).args(reports))
}

/// The state folder of a night without time for anything, over two runs of earlier ones.
fn night(dir: &Path) -> Result<(), String> {
    let say = |error: std::io::Error| error.to_string();
    for (stamp, of) in [("20261124-010203", "pushback"), ("20261125-010203", "baseline")] {
        let run = dir.join("state/runs/a.lock").join(stamp);
        std::fs::create_dir_all(&run).map_err(say)?;
        std::fs::copy(dir.join("proof").join(of).join("events.jsonl"), run.join("events.jsonl"))
            .map_err(say)?;
        let to = |what: &str, name: &str| format!("{what}={}", run.join(name).display());
        report(&run, &[to("json", "results.json"), to("html", "report.html")])?;
    }
    let config = dir.join("nightly.toml");
    let text = "state = \"state\"\nbudget = \"1ns\"\n[[tree]]\nname = \"a\"\nbase = \"6.12\"\n";
    std::fs::write(&config, text).map_err(say)?;
    succeeds(xtask().env("DM_PUSHBACK_CACHE", dir.join("cache")).args(["nightly", "--config"]).arg(config))
}

fn xtask() -> Command {
    Command::new(env!("CARGO_BIN_EXE_xtask"))
}

fn succeeds(command: &mut Command) -> Result<(), String> {
    let output = command.output().map_err(|error| error.to_string())?;
    let told = String::from_utf8_lossy(&output.stderr);
    if output.status.success() {
        Ok(())
    } else {
        Err(format!("{command:?} ended with {}: {told}", output.status))
    }
}

/// The lines that pages leave in the browser's log: errors, warnings, refused requests. What the browser says of the
/// machine it runs on (no D-Bus, no GPU) is none of ours, and that scripts are off in one frame is what was asked for.
fn complaints(log: &str) -> String {
    let lines: Vec<&str> = log
        .lines()
        .filter(|line| line.contains("CONSOLE") && !line.contains("'allow-scripts' permission is not set"))
        .collect();
    if lines.is_empty() { format!("ok {CONSOLE}") } else { format!("bad {CONSOLE}: {}", lines.join(" | ")) }
}

/// Runs the browser until it has printed its document.
fn run(browser: &Path, profile: &Path, arguments: &[&OsStr]) -> Result<Output, String> {
    let mut command = Command::new(browser);
    command
        // The page is ours; as root, and in most containers, the sandbox does not start.
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"])
        // Nothing may leave this machine, be it the page's request or the browser's own.
        .args(["--disable-background-networking", "--disable-component-update", "--disable-sync"])
        .args(["--host-resolver-rules=MAP * ~NOTFOUND", "--disable-extensions"])
        // Frames of local files may look into each other.
        .args(["--allow-file-access-from-files", "--enable-logging=stderr", "--log-level=0"])
        // The document is printed when this much of the page's own time is over, however fast the machine is.
        .args(["--window-size=1280,900", "--virtual-time-budget=20000"])
        .arg(format!("--user-data-dir={}", profile.display()))
        .args(arguments);
    let start = Instant::now();
    let (log, out) = (profile.with_extension("log"), profile.with_extension("out"));
    let create = |path: &Path| std::fs::File::create(path).map_err(|error| error.to_string());
    let mut child = command
        .stdout(create(&out)?)
        .stderr(create(&log)?)
        .spawn()
        .map_err(|error| format!("start {}: {error}", browser.display()))?;
    let status = loop {
        match child.try_wait().map_err(|error| error.to_string())? {
            Some(status) => break status,
            None if start.elapsed() > PATIENCE => {
                let _ = child.kill();
                let _ = child.wait();
                let log = std::fs::read_to_string(&log).unwrap_or_default();
                return Err(format!("{} was not done after {PATIENCE:?}:\n{log}", browser.display()));
            }
            None => std::thread::sleep(Duration::from_millis(50)),
        }
    };
    let read = |path: &Path| std::fs::read(path).map_err(|error| error.to_string());
    Ok(Output { status, stdout: read(&out)?, stderr: read(&log)? })
}
