// SPDX-License-Identifier: GPL-2.0-only
//! Ways in which virtme-ng, or the host under it, can let a VM down, each provoked on purpose: all of them say nothing about
//! the kernel, so each must be `Infra`.

use guest::stress::Stress;
use std::fmt::Write as _;

use anyhow::Context as _;
use camino::{Utf8Path, Utf8PathBuf};

use crate::cache::Cache;
use crate::command::Tool;
use crate::run::boot::BootError;
use crate::run::judge::judge;
use crate::run::plan::Planned;
use crate::run::session::Session;
use crate::run::stream::Stream;
use crate::verbs::ci::Stage;
use crate::vm::argv::Spec;
use crate::vm::virtme::{Sabotage, Virtme};

/// One thing that goes wrong.
struct Trouble {
    name: &'static str,
    virtme: Virtme,
    /// A piece of the message.
    message: &'static str,
}

/// Provokes all of them on VMs like `spec`, and prints the table of them; `case` is what runs where a VM comes up all the same.
pub fn run(
    spec: &Spec,
    virtme: &Virtme,
    case: &Planned,
    cache: &Cache,
    folder: &Utf8Path,
) -> anyhow::Result<Stage> {
    let scratch = cache.scratch("troubles-")?;
    let scratch = Utf8Path::from_path(scratch.path()).context("the cache folder's name is not UTF-8")?;
    let stream = Stream::create(&folder.join("front-end.jsonl"), Box::new(|_| {}))?;
    println!("{:<36} {:<12} {:<12}", "virtme-ng", "expected", "outcome");
    let mut stage = Stage::default();
    for (vm, trouble) in (1_u32..).zip(troubles(virtme, scratch)?) {
        // Verbose: what process 1 says is part of the evidence.
        let spec = Spec { virtme: Some(trouble.virtme), verbose: true, ..spec.clone() };
        let dir = folder.join("front-end").join(trouble.name);
        let (outcome, message) = outcome(&spec, &dir, vm, &stream, case);
        let row = format!("{:<36} {:<12} {outcome:<12}", trouble.name, "Infra");
        println!("{row}");
        if outcome == "Infra" && message.contains(trouble.message) {
            stage.counts.passed += 1;
        } else {
            stage.counts.failed += 1;
            let wrong = format!("    WRONG: {message} (expected a message with {:?})", trouble.message);
            println!("{wrong}");
            let _ = writeln!(stage.failures, "{row}\n{wrong}");
        }
    }
    Ok(stage)
}

fn troubles(virtme: &Virtme, scratch: &Utf8Path) -> anyhow::Result<Vec<Trouble>> {
    let program = |path: &str| Virtme { program: path.into(), ..virtme.clone() };
    let sabotage = |what| Virtme { sabotage: Some(what), ..virtme.clone() };
    let staged = |name: &str, spoil: &dyn Fn(&Utf8Path) -> anyhow::Result<()>| -> anyhow::Result<Virtme> {
        let stage: Utf8PathBuf = scratch.join(name);
        Tool::new("cp").args(["-a", virtme.stage.as_str(), stage.as_str()]).run()?;
        spoil(&stage)?;
        Ok(Virtme { stage, ..virtme.clone() })
    };
    let no_tool = staged("no-tool", &|stage| {
        let link = stage.join("bin/dmsetup");
        fs_err::remove_file(&link)?;
        Ok(fs_err::os::unix::fs::symlink("/nonexistent/dmsetup", link)?)
    })?;
    let no_guest = staged("no-guest", &|stage| Ok(fs_err::remove_file(stage.join("guest"))?))?;
    let trouble = |name, virtme, message| Trouble { name, virtme, message };
    Ok(vec![
        trouble("virtme-run fails", program("/bin/false"), "have virtme-ng compose the VM"),
        trouble("virtme-run prints something else", program("/bin/echo"), "composed no VM that can be used"),
        trouble("the agent does not start", no_guest, "did not bring the agent up"),
        trouble("a tool is not on the host", no_tool, "the host has no dmsetup"),
        trouble("the port does not come up", sabotage(Sabotage::NoPort), "no virtio-serial port is called"),
        trouble(
            "the exit status is lost",
            sabotage(Sabotage::NoStatus),
            "the exit status of the agent is lost",
        ),
    ])
}

/// The outcome's name and message: that of the case, if the VM gets as far.
fn outcome(
    spec: &Spec,
    dir: &Utf8Path,
    vm: u32,
    stream: &Stream,
    planned: &Planned,
) -> (&'static str, String) {
    let mut session = match Session::boot(spec, dir, vm, stream) {
        Ok(session) => session,
        Err(BootError::Host(message)) => return ("Infra", message),
        Err(BootError::Kernel(message)) => return ("untestable", message),
        Err(error @ BootError::Interrupted) => return ("none", error.to_string()),
    };
    let Some(mut facts) = session.run_case(planned, Stress::default(), &planned.full_name(), 1) else {
        return ("none", "interrupted".to_owned());
    };
    session.power_off(&mut facts);
    let outcome = judge(&facts);
    (outcome.name(), outcome.message())
}
