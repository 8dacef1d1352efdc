// SPDX-License-Identifier: GPL-2.0-only
//! Runs the package manager: as root directly, else through sudo. The only place that changes the host, and it
//! does so only when the user asked for it.

use anyhow::Context as _;

use super::apt;
use super::manager::Manager;
use super::probe::Places;
use crate::command::Tool;
use crate::exit::{Code, WithCode as _, coded};
use crate::progress::Progress;

/// How we become root.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Elevation {
    /// We are.
    Root,
    /// Through sudo, which may ask for a password.
    Sudo,
    /// Through sudo, which must not ask: nobody is there.
    SudoQuiet,
    /// Not at all.
    Impossible,
}

impl Elevation {
    /// What this host and this session allow.
    pub fn of_host(places: &Places) -> Self {
        let sudo = places.program("sudo").is_some();
        Self::decide(nix::unistd::geteuid().is_root(), sudo, is_interactive())
    }

    const fn decide(root: bool, sudo: bool, interactive: bool) -> Self {
        match (root, sudo, interactive) {
            (true, ..) => Self::Root,
            (false, true, true) => Self::Sudo,
            (false, true, false) => Self::SudoQuiet,
            (false, false, _) => Self::Impossible,
        }
    }

    /// Whether a command line for the user starts with sudo.
    pub const fn through_sudo(self) -> bool {
        matches!(self, Self::Sudo | Self::SudoQuiet)
    }

    /// What to tell the user to do with a command line.
    pub fn advice(self, line: &str) -> String {
        if self == Self::Impossible { format!("as root, run `{line}`") } else { format!("run `{line}`") }
    }

    /// The argument vector that runs `command` as root with `env`; sudo clears the environment, env(1) sets it.
    fn argv(self, env: &[&str], command: &[String]) -> Vec<String> {
        let prefix: &[&str] = match self {
            Self::Root | Self::Impossible => &["env"],
            Self::Sudo => &["sudo", "env"],
            Self::SudoQuiet => &["sudo", "-n", "env"],
        };
        prefix.iter().chain(env).map(|&w| w.to_owned()).chain(command.iter().cloned()).collect()
    }
}

/// Whether somebody is there to be asked.
pub fn is_interactive() -> bool {
    use std::io::IsTerminal as _;
    std::io::stdin().is_terminal() && std::io::stderr().is_terminal()
}

/// Asks a yes/no question on the terminal; Enter means yes, the end of input means no.
pub fn confirm(question: &str) -> anyhow::Result<bool> {
    eprint!("{question} [Y/n] ");
    let mut answer = String::new();
    let read = std::io::stdin().read_line(&mut answer).context("read the answer from the terminal")?;
    Ok(read > 0 && is_yes(&answer))
}

fn is_yes(answer: &str) -> bool {
    matches!(answer.trim().to_ascii_lowercase().as_str(), "" | "y" | "yes")
}

/// Installs packages; `refresh` the package lists first where that is a step of its own.
pub fn install(
    manager: Manager,
    packages: &[String],
    refresh: bool,
    elevation: Elevation,
    progress: &Progress,
) -> anyhow::Result<()> {
    let by_hand = manager.install_line(packages, refresh, elevation.through_sudo());
    if elevation == Elevation::Impossible {
        let hint = elevation.advice(&by_hand);
        let message = format!("installing needs root, and there is no sudo (hint: {hint})");
        return Err(coded(Code::HostFailed, message));
    }
    let env = ["LC_ALL=C", "DEBIAN_FRONTEND=noninteractive"];
    for command in manager.install(packages, refresh) {
        let argv = elevation.argv(&env, &command);
        let mut step = progress.step(title(&command, packages.len()));
        let mut steps = apt::Steps::default();
        let mut refused = None;
        Tool::new(&argv[0])
            .args(&argv[1..])
            .stream(|line| {
                tracing::debug!("{line}");
                if refused.is_none() && apt::is_fetch_failure(line) {
                    refused = Some(line.to_owned());
                }
                if let Some((done, total)) = steps.line(line) {
                    step.set(done, total, line);
                }
            })
            .with_context(|| {
                format!("install what is missing (hint: the command to run by hand is `{by_hand}`)")
            })
            .code(Code::HostFailed)?;
        // Offline, `apt-get update` warns, leaves no list and ends with 0.
        if let (Some(line), Manager::Apt, false) = (refused, manager, apt::has_lists("/".into())) {
            let hint = "(hint: is the network up, and are the sources in /etc/apt right?)";
            return Err(coded(
                Code::HostFailed,
                format!("apt-get update fetched no package list: {line} {hint}"),
            ));
        }
        step.done("done");
    }
    Ok(())
}

fn title(command: &[String], packages: usize) -> String {
    if command.last().is_some_and(|word| word == "update") {
        format!("{} update", command[0])
    } else {
        format!("{}: install {packages} packages", command[0])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn how_to_become_root() {
        for (root, sudo, interactive, elevation) in [
            (true, false, false, Elevation::Root),
            (true, true, true, Elevation::Root),
            (false, true, true, Elevation::Sudo),
            (false, true, false, Elevation::SudoQuiet),
            (false, false, true, Elevation::Impossible),
        ] {
            assert_eq!(Elevation::decide(root, sudo, interactive), elevation);
        }
    }

    #[test]
    fn sudo_keeps_the_environment_that_apt_needs() {
        let argv = |e: Elevation| e.argv(&["LC_ALL=C"], &["apt-get".into(), "update".into()]).join(" ");
        assert_eq!(argv(Elevation::Root), "env LC_ALL=C apt-get update");
        assert_eq!(argv(Elevation::Sudo), "sudo env LC_ALL=C apt-get update");
        assert_eq!(argv(Elevation::SudoQuiet), "sudo -n env LC_ALL=C apt-get update");
    }

    #[test]
    fn without_root_and_sudo_the_command_is_told() {
        let packages = ["bc".to_owned()];
        let error =
            install(Manager::Dnf, &packages, false, Elevation::Impossible, &Progress::silent()).unwrap_err();
        insta::assert_snapshot!(error, @"installing needs root, and there is no sudo (hint: as root, run `dnf install -y --setopt=install_weak_deps=False bc`)");
    }

    #[test]
    fn answers() {
        for (answer, yes) in [("\n", true), ("y\n", true), ("YES\n", true), ("n\n", false), ("what\n", false)]
        {
            assert_eq!(is_yes(answer), yes, "{answer:?}");
        }
    }
}
