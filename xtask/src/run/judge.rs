// SPDX-License-Identifier: GPL-2.0-only
//! From what was seen of a case to its outcome: a pure function, so that every way to not pass stands in one table.
//! A pass is what is left when nothing speaks against it, never what is assumed.

use guest::message::{Exit, Verdict};

use crate::outcome::Outcome;

/// Everything that was seen of one run of one case, frozen when the case ended or a clock ran out.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Facts {
    /// Verdicts that the case sent; exactly one is right.
    pub verdicts: Vec<Verdict>,
    /// How its process ended, and what it left behind.
    pub ended: Option<(Exit, Vec<String>)>,
    /// The first splat on the console since the case began: kind and first line.
    pub splat: Option<(String, String)>,
    /// Another splat came after the first.
    pub more_splats: bool,
    /// The case allowed a splat that happened: no failure, but the VM is no longer what it was.
    pub allowed_splat: bool,
    /// The agent's end marker was seen on the console: every earlier line was, too.
    pub console_complete: bool,
    /// printk dropped messages: the console proves nothing.
    pub console_lost: u64,
    /// More console output than a case may cause, in KiB.
    pub console_flood_kib: Option<u64>,
    /// What was wrong on the agent's port.
    pub channel: Option<String>,
    /// What was wrong with the agent's exit status, where somebody else is process 1 and has to tell it.
    pub status: Option<String>,
    /// How the VM ended without being asked to.
    pub vm_gone: Option<String>,
    /// Which clock ran out, and what was waited for.
    pub expired: Option<String>,
}

impl Facts {
    /// Nothing was left behind and the console is complete: what the case says of itself is all there is to say.
    pub fn is_clean(&self) -> bool {
        let left_nothing = self.ended.as_ref().is_some_and(|(_, violations)| violations.is_empty());
        left_nothing && self.console_complete && self.console_lost == 0
    }

    /// What is left when the one splat that there was, and the taint that a WARN leaves, do not count; `None` if there
    /// was none, or more than one.
    pub fn but_for_one_splat(&self) -> Option<Self> {
        if self.splat.is_none() || self.more_splats {
            return None;
        }
        let only_taint = |what: &String| what.starts_with("the kernel's taint");
        let mut rest = Self { splat: None, ..self.clone() };
        if let Some((_, violations)) = &mut rest.ended {
            violations.retain(|what| !only_taint(what));
        }
        Some(rest)
    }

    /// The kernel printed a splat, allowed or not: lockdep may be off now, and `WARN_ONCE` stays silent.
    pub fn had_splat(&self) -> bool {
        self.splat.is_some() || self.allowed_splat
    }
}

/// The outcome. The order is that of cause before effect: a splat explains a lost VM, a lost VM explains a missing
/// verdict.
pub fn judge(facts: &Facts) -> Outcome {
    let Facts { verdicts, ended, splat, .. } = facts;
    if let Some((kind, line)) = splat {
        return Outcome::KernelSplat { splat: kind.clone(), message: line.clone() };
    }
    if let Some(message) = &facts.channel {
        return Outcome::Infra { message: format!("the agent's channel broke: {message}") };
    }
    if verdicts.len() > 1 {
        let message = format!("the case gave {} verdicts, one is right", verdicts.len());
        return Outcome::Infra { message };
    }
    let verdict = verdicts.first();
    let left = ended.as_ref().map(|(_, violations)| violations.join("; ")).unwrap_or_default();
    if let Some(Verdict::Fail { assertion, message }) = verdict {
        let also = if left.is_empty() { String::new() } else { format!(" (left behind: {left})") };
        return Outcome::Fail { assertion: assertion.clone(), message: format!("{message}{also}") };
    }
    if let Some(message) = &facts.vm_gone {
        return Outcome::VmLost { message: message.clone() };
    }
    if let Some(kib) = facts.console_flood_kib {
        let message = format!("more than {kib} KiB of kernel messages");
        return Outcome::Fail { assertion: "the console is quiet".into(), message };
    }
    if let Some(message) = &facts.expired {
        return Outcome::Timeout { message: message.clone() };
    }
    let Some((exit, _)) = ended else {
        return Outcome::Infra { message: "the case ended without the agent's report of it".into() };
    };
    let Some(verdict) = verdict else {
        return Outcome::Infra {
            message: format!("the case's process {} without a verdict", in_words(*exit)),
        };
    };
    if let Verdict::Infra { message } = verdict {
        return Outcome::Infra { message: message.clone() };
    }
    if *exit != (Exit::Exited { status: 0 }) {
        return Outcome::Infra {
            message: format!("the case's process {} after its verdict", in_words(*exit)),
        };
    }
    if !left.is_empty() {
        return Outcome::Fail { assertion: "nothing is left behind".into(), message: left };
    }
    if facts.console_lost > 0 {
        let message = format!("printk dropped {} messages: the console proves nothing", facts.console_lost);
        return Outcome::Infra { message };
    }
    if !facts.console_complete {
        return Outcome::Infra { message: "the console is not complete: the end marker is missing".into() };
    }
    if let Some(message) = &facts.status {
        return Outcome::Infra { message: message.clone() };
    }
    match verdict {
        Verdict::Pass => Outcome::Pass,
        Verdict::Skipped { reason } => Outcome::Skipped { reason: reason.clone() },
        Verdict::Fail { assertion, message } => {
            Outcome::Fail { assertion: assertion.clone(), message: message.clone() }
        }
        Verdict::Infra { message } => Outcome::Infra { message: message.clone() },
    }
}

fn in_words(exit: Exit) -> String {
    match exit {
        Exit::Exited { status } => format!("exited with status {status}"),
        Exit::Signaled { signal } => format!("was ended by signal {signal}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn good() -> Facts {
        Facts {
            verdicts: vec![Verdict::Pass],
            ended: Some((Exit::Exited { status: 0 }, vec![])),
            console_complete: true,
            ..Facts::default()
        }
    }

    fn fail() -> Verdict {
        Verdict::Fail { assertion: "every write fails with EIO".into(), message: "3 of 32 came back".into() }
    }

    #[test]
    fn only_a_case_against_which_nothing_speaks_passes() {
        assert_eq!(judge(&good()), Outcome::Pass);
    }

    #[test]
    fn silence_is_never_a_pass() {
        assert_eq!(judge(&Facts::default()).name(), "Infra");
    }

    #[test]
    fn whatever_is_missing_or_wrong_is_another_outcome() {
        let some = |text: &str| Some(text.to_owned());
        let exited = |status| Some((Exit::Exited { status }, vec![]));
        let table: Vec<(&str, Facts)> = vec![
            ("Infra", Facts { verdicts: vec![], ..good() }),
            ("Infra", Facts { verdicts: vec![Verdict::Pass, Verdict::Pass], ..good() }),
            ("Infra", Facts { verdicts: vec![fail(), Verdict::Pass], ..good() }),
            ("Infra", Facts { verdicts: vec![Verdict::Infra { message: "x".into() }], ..good() }),
            ("Infra", Facts { ended: None, ..good() }),
            ("Infra", Facts { ended: exited(3), ..good() }),
            ("Infra", Facts { ended: Some((Exit::Signaled { signal: 11 }, vec![])), ..good() }),
            ("Infra", Facts { console_complete: false, ..good() }),
            ("Infra", Facts { console_lost: 7, ..good() }),
            ("Infra", Facts { channel: some("frame cut short"), ..good() }),
            ("Infra", Facts { status: some("the exit status of the agent is lost"), ..good() }),
            ("Fail", Facts { status: some("lost as well"), verdicts: vec![fail()], ..good() }),
            ("Fail", Facts { ended: Some((Exit::Exited { status: 0 }, vec!["dm-0".into()])), ..good() }),
            ("Fail", Facts { console_flood_kib: Some(1024), ..good() }),
            ("Fail", Facts { verdicts: vec![fail()], ..good() }),
            ("Timeout", Facts { expired: some("no verdict within 10 s"), ..good() }),
            ("VmLost", Facts { vm_gone: some("QEMU exited"), ..good() }),
            ("KernelSplat", Facts { splat: Some(("warning".into(), "WARNING: ...".into())), ..good() }),
            ("Skipped", Facts { verdicts: vec![Verdict::Skipped { reason: "no X".into() }], ..good() }),
        ];
        for (name, facts) in table {
            assert_eq!(judge(&facts).name(), name, "{facts:#?}");
        }
    }

    #[test]
    fn the_cause_is_told_before_the_effect() {
        let facts = Facts {
            splat: Some(("panic".into(), "Kernel panic - not syncing".into())),
            vm_gone: Some("QEMU exited".into()),
            verdicts: vec![],
            ..Facts::default()
        };
        assert_eq!(judge(&facts).name(), "KernelSplat");
        let facts =
            Facts { verdicts: vec![fail()], expired: Some("the clean-up".into()), ..Facts::default() };
        assert_eq!(judge(&facts).name(), "Fail", "a failed assertion stays one when the clean-up then hangs");
        let facts = Facts { expired: Some("the clean-up".into()), ended: None, ..good() };
        assert_eq!(judge(&facts).name(), "Timeout", "a verdict does not save a case whose clean-up hangs");
    }

    #[test]
    fn without_its_one_splat_a_case_is_judged_as_usual() {
        let splat = Some(("warning".into(), "WARNING: ...".into()));
        let tainted =
            Some((Exit::Exited { status: 0 }, vec!["the kernel's taint went from 0 to 512".into()]));
        let one = Facts { splat, ended: tainted, ..good() };
        let rest = |facts: &Facts| facts.but_for_one_splat().map(|rest| judge(&rest).name());
        assert_eq!(rest(&one), Some("Pass"));
        assert_eq!(rest(&Facts { verdicts: vec![fail()], ..one.clone() }), Some("Fail"));
        assert_eq!(rest(&Facts { console_lost: 1, ..one.clone() }), Some("Infra"));
        assert_eq!(rest(&Facts { more_splats: true, ..one }), None);
        assert_eq!(rest(&good()), None);
    }

    #[test]
    fn a_skip_that_leaves_things_behind_is_a_failure() {
        let verdicts = vec![Verdict::Skipped { reason: "no X".into() }];
        let ended = Some((Exit::Exited { status: 0 }, vec!["SCSI host host0".into()]));
        assert_eq!(judge(&Facts { verdicts, ended, ..good() }).name(), "Fail");
    }
}
