// SPDX-License-Identifier: GPL-2.0-only
//! Which accelerator the VMs get. /dev/kvm proves nothing: on some nested hosts it opens, firmware runs and Linux
//! prints nothing for ever, or QEMU aborts on `-cpu host`. So KVM is believed when it has booted a kernel, and the
//! verdict is remembered for this boot of the host, this QEMU and this CPU model.

use std::fmt;
use std::io::Write as _;
use std::time::Duration;

use anyhow::Context as _;
use camino::{Utf8Path, Utf8PathBuf};
use serde::{Deserialize, Serialize};

use super::boot::{self, Boot};
use crate::cache::Cache;
use crate::command::Tool;
use crate::exit::{Code, WithCode as _, coded};
use crate::progress::Progress;

/// CPU models tried under KVM. The next one only when QEMU aborts on the one before: a model that is accepted and
/// then boots nothing shows that KVM itself does not work (seen with every model on such a host).
const KVM_MODELS: [&str; 3] = ["host", "max", "qemu64"];

/// CPU model under TCG: everything that QEMU can emulate. Not slower than the small models (6.12: 2.0 to 2.8 s from
/// the start to the root panic with each of them).
const TCG_MODEL: &str = "max";

/// Hard limit of one probe with KVM. The same boot takes 1.6 s emulated on two 2024 server cores, and KVM is many
/// times faster: 10 s leave room for a loaded host.
const KVM_LIMIT: Duration = Duration::from_secs(10);

/// Hard limit of the counter-probe with TCG; measured 1.6 s idle, 3.8 s with four times as many jobs as cores.
const TCG_LIMIT: Duration = Duration::from_secs(40);

/// What the user wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum Want {
    /// KVM if it is proven to boot Linux here, else emulation.
    #[default]
    Auto,
    /// KVM or an error.
    Kvm,
    /// Emulation; nothing is probed.
    Tcg,
}

/// What the VMs get.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Accel {
    /// Hardware virtualization.
    Kvm,
    /// Emulation.
    Tcg,
}

impl fmt::Display for Accel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Kvm => "kvm",
            Self::Tcg => "tcg",
        })
    }
}

/// The accelerator, with all that goes with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Choice {
    /// The accelerator: QEMU's `-accel`.
    pub accel: Accel,
    /// QEMU's `-cpu`.
    pub cpu: String,
    /// Why.
    pub reason: String,
    /// First line of `qemu-system-x86_64 --version`.
    pub qemu_version: String,
}

/// What a verdict holds for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Key {
    boot_id: String,
    qemu: String,
    cpu_model: String,
}

/// A remembered verdict.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Verdict {
    key: Key,
    /// The CPU model with which KVM booted Linux; `None`: it does not.
    kvm_cpu: Option<String>,
    reason: String,
}

/// Chooses the accelerator, says which and why on the progress, and probes if that is not known yet. `kernel`: a
/// bzImage to boot; without one, a kernel of the cache or the host's own.
pub fn choose(
    want: Want,
    kernel: Option<&Utf8Path>,
    cache: &Cache,
    progress: &Progress,
) -> anyhow::Result<Choice> {
    let choice = decide(want, kernel, cache, progress)?;
    progress.line(&format!("accelerator: {} ({})", choice.accel, choice.reason));
    Ok(choice)
}

/// Like [`choose`], without saying it.
pub fn decide(
    want: Want,
    kernel: Option<&Utf8Path>,
    cache: &Cache,
    progress: &Progress,
) -> anyhow::Result<Choice> {
    let qemu_version = qemu_version()?;
    let tcg = |reason: String| Choice {
        accel: Accel::Tcg,
        cpu: TCG_MODEL.to_owned(),
        reason,
        qemu_version: qemu_version.clone(),
    };
    if want == Want::Tcg {
        return Ok(tcg("asked for".to_owned()));
    }
    let proven = match openable(Utf8Path::new("/dev/kvm")) {
        Ok(()) => proven(kernel, &qemu_version, cache, progress)?,
        Err(reason) => Err(reason),
    };
    match proven {
        Ok((cpu, reason)) => Ok(Choice { accel: Accel::Kvm, cpu, reason, qemu_version }),
        Err(reason) if want == Want::Kvm => Err(coded(
            Code::HostFailed,
            format!(
                "--accel kvm can't be had: {reason} (hint: --accel tcg emulates, --accel auto takes what works)"
            ),
        )),
        Err(reason) => Ok(tcg(reason)),
    }
}

/// `Ok((cpu, reason))` if KVM boots Linux, `Err(reason)` if it does not or if that can't be told.
fn proven(
    kernel: Option<&Utf8Path>,
    qemu_version: &str,
    cache: &Cache,
    progress: &Progress,
) -> anyhow::Result<Result<(String, String), String>> {
    let key = Key { boot_id: boot_id(), qemu: qemu_version.to_owned(), cpu_model: cpu_model() };
    let place = verdict_file(cache);
    if let Some(verdict) = remembered(&place, &key) {
        return Ok(verdict.result());
    }
    let kernel = kernel.map(Utf8Path::to_owned).or_else(|| some_kernel(cache));
    let Some(kernel) = kernel else {
        return Ok(Err("KVM is not probed yet: there is no kernel to boot".to_owned()));
    };
    let _lock = cache.lock("accelerator", progress)?;
    if let Some(verdict) = remembered(&place, &key) {
        return Ok(verdict.result()); // another run has just found out
    }
    let step = progress.step("probing KVM with a real boot");
    let probed = probe(key, |accel, cpu, limit| boot::boot(accel, cpu, &kernel, limit))?;
    step.done(match &probed {
        Ok(verdict) if verdict.kvm_cpu.is_some() => "works",
        Ok(_) => "does not work",
        Err(_) => "undecided",
    });
    match probed {
        Ok(verdict) => {
            remember(&place, &verdict, cache)?;
            Ok(verdict.result())
        }
        Err(why) => Ok(Err(format!("KVM is unproven: {kernel} boots neither with it nor emulated: {why}"))),
    }
}

impl Verdict {
    fn result(self) -> Result<(String, String), String> {
        match self.kvm_cpu {
            Some(cpu) => Ok((cpu, self.reason)),
            None => Err(self.reason),
        }
    }
}

/// Boots with KVM, one CPU model after the other while QEMU aborts. When none boots, the same kernel is booted with
/// TCG: if it does not boot there either, the kernel is to blame and there is no verdict, only what was seen.
fn probe(
    key: Key,
    mut boot: impl FnMut(&str, &str, Duration) -> anyhow::Result<Boot>,
) -> anyhow::Result<Result<Verdict, String>> {
    let mut failures = vec![];
    for cpu in KVM_MODELS {
        let end = boot("kvm", cpu, KVM_LIMIT)?;
        match &end {
            Boot::Booted { seconds } => {
                failures.insert(0, format!("KVM booted Linux in {seconds:.1} s with -cpu {cpu}"));
                return Ok(Ok(Verdict { key, kvm_cpu: Some(cpu.to_owned()), reason: failures.join("; ") }));
            }
            Boot::Aborted { .. } => failures.push(failure(cpu, &end)),
            Boot::Stuck { .. } | Boot::Panicked { .. } => {
                failures.push(failure(cpu, &end));
                break;
            }
        }
    }
    match boot("tcg", TCG_MODEL, TCG_LIMIT)? {
        Boot::Booted { .. } => {
            let reason = format!("/dev/kvm opens, but KVM does not boot Linux here: {}", failures.join("; "));
            Ok(Ok(Verdict { key, kvm_cpu: None, reason }))
        }
        end => {
            failures.push(format!("emulated, {}", failure(TCG_MODEL, &end)));
            Ok(Err(failures.join("; ")))
        }
    }
}

/// One failed boot in words.
fn failure(cpu: &str, end: &Boot) -> String {
    match end {
        Boot::Booted { seconds } => format!("-cpu {cpu} booted in {seconds:.1} s"),
        Boot::Aborted { message } => format!("with -cpu {cpu} QEMU ended ({message})"),
        Boot::Stuck { seconds, last_line } if last_line.is_empty() => {
            format!("with -cpu {cpu} Linux printed nothing in {seconds:.0} s")
        }
        Boot::Stuck { seconds, last_line } => {
            format!(
                "with -cpu {cpu} Linux was not up after {seconds:.0} s, its last line was \"{last_line}\""
            )
        }
        Boot::Panicked { message } => format!("with -cpu {cpu} Linux panicked ({message})"),
    }
}

/// Where the verdict is remembered.
fn verdict_file(cache: &Cache) -> Utf8PathBuf {
    cache.path("accelerator.json")
}

/// The file that this choice is remembered in, if it rests on a probe; removing it makes the next run probe again.
pub fn kept_in(choice: &Choice, cache: &Cache) -> Option<Utf8PathBuf> {
    let place = verdict_file(cache);
    let verdict: Verdict = serde_json::from_slice(&fs_err::read(&place).ok()?).ok()?;
    (verdict.reason == choice.reason).then_some(place)
}

/// The verdict in the file, if it is one and holds for this key. A corrupt file is no verdict.
fn remembered(place: &Utf8Path, key: &Key) -> Option<Verdict> {
    let verdict: Verdict = serde_json::from_slice(&fs_err::read(place).ok()?).ok()?;
    (verdict.key == *key).then_some(verdict)
}

fn remember(place: &Utf8Path, verdict: &Verdict, cache: &Cache) -> anyhow::Result<()> {
    let write = || -> anyhow::Result<()> {
        let mut file = tempfile::NamedTempFile::new_in(cache.path("tmp"))?;
        serde_json::to_writer_pretty(&mut file, verdict)?;
        file.write_all(b"\n")?;
        file.persist(place)?;
        Ok(())
    };
    write().with_context(|| format!("write {place}")).code(Code::HostFailed)
}

/// First line of QEMU's `--version`.
pub fn qemu_version() -> anyhow::Result<String> {
    let output = Tool::new("qemu-system-x86_64").arg("--version").read().code(Code::HostFailed)?;
    Ok(output.text.lines().next().unwrap_or_default().trim().to_owned())
}

/// Whether the device can be opened; if not, why and what to do.
fn openable(device: &Utf8Path) -> Result<(), String> {
    match std::fs::File::options().read(true).write(true).open(device) {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Err(format!(
            "there is no {device}: no virtualization here, or its module (kvm_intel, kvm_amd) is not loaded"
        )),
        Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => {
            Err(format!("no permission to open {device}: is this user in the group kvm?"))
        }
        Err(error) => Err(format!("{device} does not open: {error}")),
    }
}

/// A kernel to boot when none is given: the newest of the cache, else the host's own if it can be read.
fn some_kernel(cache: &Cache) -> Option<Utf8PathBuf> {
    let entries = fs_err::read_dir(cache.path("kernels")).ok();
    let built = entries.into_iter().flatten().flatten().filter_map(|entry| {
        let image = Utf8PathBuf::try_from(entry.path().join("bzImage")).ok()?;
        Some((image.metadata().ok()?.modified().ok()?, image))
    });
    built.max().map(|(_, image)| image).or_else(|| {
        let release = nix::sys::utsname::uname().ok()?;
        let image = Utf8PathBuf::from(format!("/boot/vmlinuz-{}", release.release().to_str()?));
        std::fs::File::open(&image).ok().map(|_| image)
    })
}

/// Changes with every boot of the host.
fn boot_id() -> String {
    fs_err::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default().trim().to_owned()
}

fn cpu_model() -> String {
    model_in(&fs_err::read_to_string("/proc/cpuinfo").unwrap_or_default())
}

fn model_in(cpuinfo: &str) -> String {
    let line = cpuinfo.lines().find(|line| line.starts_with("model name"));
    line.and_then(|line| line.split_once(':')).map(|(_, v)| v.trim().to_owned()).unwrap_or_default()
}

#[cfg(test)]
#[path = "accel_tests.rs"]
mod tests;
