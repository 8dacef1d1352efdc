// SPDX-License-Identifier: GPL-2.0-only
//! From the options to a VM that can be booted: which kernel, which image, which accelerator. Shared by every verb that
//! boots something.

use anyhow::Context as _;
use camino::Utf8PathBuf;
use clap::{Args, Parser, ValueEnum};

use crate::cache::Cache;
use crate::event::{HostFacts, KernelFacts};
use crate::exit::{Code, coded};
use crate::host::virtme::Installed;
use crate::host::{self, Needs, Want};
use crate::image::{self, Image};
use crate::kernel::{self, Download, Flavour, Kernel, Source, Variant};
use crate::progress::Progress;
use crate::vm::argv::{self, Spec};
use crate::vm::virtme::Virtme;

use super::stress;

/// The emulator.
const QEMU: &str = "qemu-system-x86_64";

/// What is tested unless somebody asks for something else: the feature.
const DEFAULT_VARIANT: Variant = Variant::Pushback;

/// The help of `--base`.
pub fn base_help() -> String {
    let names = kernel::base_names();
    let all = names.join(", ");
    format!("A kernel source that the project has patches for: {all} [default: {}]", names[0])
}

/// Which kernel on which machine.
#[derive(Debug, Clone, Default, Args)]
pub struct Choice {
    /// A kernel source that the project has patches for
    #[arg(long, value_name = "BASE", help = base_help(), conflicts_with_all = ["tree", "kernel"])]
    pub base: Option<String>,
    /// What is done to the base [default: pushback]
    #[arg(long, value_enum, conflicts_with_all = ["tree", "kernel"])]
    pub variant: Option<Variant>,
    /// Leave out the tracepoints, counters and faults that a base's kernel is observed with
    #[arg(long, conflicts_with_all = ["tree", "kernel"])]
    pub no_observe: bool,
    /// Which checkers the kernel carries [default: lock]
    #[arg(long, value_enum, conflicts_with = "kernel")]
    pub flavour: Option<Flavour>,
    /// Any kernel source: a folder, a tar archive, or one ref of a git repository; tested as it is, never written to
    #[arg(long, value_name = "DIR|TARBALL|URL#REF", conflicts_with = "kernel")]
    pub tree: Option<Utf8PathBuf>,
    /// A kernel that is built already: an image, or a package of the distribution, which is not installed
    #[arg(long, value_name = "BZIMAGE|deb:PACKAGE")]
    pub kernel: Option<Utf8PathBuf>,
    /// The modules of an image: lib/modules/RELEASE, or a folder that holds it
    #[arg(long, value_name = "DIR", requires = "kernel")]
    pub modules: Option<Utf8PathBuf>,
    /// Acceleration; auto boots a probe with KVM and falls back to emulation
    #[arg(long, value_enum, default_value_t = Want::Auto)]
    pub accel: Want,
    /// What makes the VM and its root
    #[arg(long, value_enum, default_value_t = Boot::Image)]
    pub boot: Boot,
}

/// What makes the VM and its root.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum Boot {
    /// An initramfs with the guest binary for process 1 and the host's tools
    #[default]
    Image,
    /// virtme-ng, over the host's file system, read-only
    Virtme,
}

/// Which kernel on which machine, and where the results go: what every verb that runs cases takes.
#[derive(Debug, Clone, Args)]
pub struct Common {
    /// Which kernel on which machine.
    #[command(flatten)]
    pub choice: Choice,
    /// Where run folders go
    #[arg(long, value_name = "DIR", default_value = "runs")]
    pub out: Utf8PathBuf,
    /// Install what is missing without asking
    #[arg(long)]
    pub yes: bool,
}

/// What a verb takes that chooses its kernels itself: how they are built, on which machine they run, and where the results go.
#[derive(Debug, Clone, Default, Args)]
pub struct Setting {
    /// Which checkers the kernels carry [default: lock]
    #[arg(long, value_enum)]
    pub flavour: Option<Flavour>,
    /// Acceleration; auto boots a probe with KVM and falls back to emulation
    #[arg(long, value_enum, default_value_t = Want::Auto)]
    pub accel: Want,
    /// What makes the VM and its root
    #[arg(long, value_enum, default_value_t = Boot::Image)]
    pub boot: Boot,
    /// Where run folders go
    #[arg(long, value_name = "DIR", default_value = "runs")]
    pub out: Utf8PathBuf,
    /// Install what is missing without asking
    #[arg(long)]
    pub yes: bool,
}

impl Setting {
    /// The choice of a kernel in this setting, before the kernel is chosen.
    pub fn choice(&self) -> Choice {
        Choice { flavour: self.flavour, accel: self.accel, boot: self.boot, ..Choice::default() }
    }
}

/// A value as it is written on the command line.
pub fn as_option<T: ValueEnum>(value: &T) -> String {
    value.to_possible_value().map(|possible| possible.get_name().to_owned()).unwrap_or_default()
}

/// For reading a [`Choice`] and a demand for stress back from `rerun.json`.
#[derive(Debug, Parser)]
#[command(no_binary_name = true)]
struct Replay {
    #[command(flatten)]
    choice: Choice,
    #[command(flatten)]
    stress: stress::Asked,
}

impl Choice {
    /// The options that make the same choice again.
    pub fn options(&self) -> Vec<String> {
        // Always said for a base: a rerun must not depend on what the default is then.
        let is_base = self.tree.is_none() && self.kernel.is_none();
        let variant = is_base.then(|| as_option(&self.variant.unwrap_or(DEFAULT_VARIANT)));
        let absolute = |path: &Option<Utf8PathBuf>| path.as_deref().map(kernel::from_anywhere);
        let pairs = [
            ("--base", self.base.clone()),
            ("--variant", variant),
            ("--flavour", self.flavour.map(|flavour| as_option(&flavour))),
            ("--tree", absolute(&self.tree)),
            ("--kernel", absolute(&self.kernel)),
            ("--modules", absolute(&self.modules)),
            ("--boot", (self.boot != Boot::Image).then(|| as_option(&self.boot))),
            ("--accel", (self.accel != Want::Auto).then(|| as_option(&self.accel))),
        ];
        let pairs = pairs.into_iter().filter_map(|(name, value)| Some([name.to_owned(), value?])).flatten();
        pairs.chain(self.no_observe.then(|| "--no-observe".to_owned())).collect()
    }

    /// Reads the options back, and what was asked of stress cases.
    pub fn replay(options: &[String]) -> anyhow::Result<(Self, stress::Asked)> {
        let replay = Replay::try_parse_from(options).context("read the options in rerun.json")?;
        Ok((replay.choice, replay.stress))
    }

    /// Which kernel.
    pub fn source(&self) -> anyhow::Result<Source> {
        let flavour = self.flavour.unwrap_or_default();
        match (&self.tree, &self.kernel) {
            (Some(tree), _) => Source::of_tree(tree, flavour),
            (None, Some(kernel)) => Source::of_kernel(kernel, self.modules.as_deref()),
            (None, None) => {
                let base = self.base.clone().unwrap_or_else(|| kernel::base_names()[0].to_owned());
                let observe = !self.no_observe && kernel::can_be_observed(&base);
                Ok(Source::Base { base, variant: self.variant.unwrap_or(DEFAULT_VARIANT), observe, flavour })
            }
        }
    }
}

/// Everything that is needed to boot.
pub struct Prepared {
    /// The kernel under test.
    pub kernel: Kernel,
    /// The initramfs.
    pub image: Image,
    /// The accelerator.
    pub accelerator: host::Choice,
    /// The VM.
    pub spec: Spec,
}

impl Prepared {
    /// For the reports.
    pub fn facts(&self) -> (KernelFacts, HostFacts) {
        let boot = match &self.spec.virtme {
            None => "image".to_owned(),
            Some(virtme) => format!("virtme-ng {}", virtme.version),
        };
        (self.kernel.facts(), host::facts(&self.accelerator, &boot))
    }
}

fn needs(source: &Source, cache: &Cache) -> anyhow::Result<Needs<'static>> {
    Ok(match source {
        Source::Base { base, .. } => match kernel::to_download(base, cache)? {
            Some(Download { elsewhere: true, .. }) => Needs::BaseElsewhere,
            download => Needs::Base { download: download.map(|download| download.package) },
        },
        Source::Tree { .. } | Source::Archive { .. } | Source::Git { .. } => Needs::Tree,
        Source::Package { .. } => Needs::Package,
        Source::Prebuilt { .. } => Needs::Prebuilt,
    })
}

/// Builds or finds kernel and image, and chooses the accelerator.
pub fn prepare(choice: &Choice, yes: bool, cache: &Cache, progress: &Progress) -> anyhow::Result<Prepared> {
    let source = choice.source()?;
    let _group = progress.group("kernel and image");
    host::ensure_ready(needs(&source, cache)?, yes, progress)?;
    let installed = match choice.boot {
        Boot::Image => None,
        Boot::Virtme => Some(host::virtme::obtain(cache, yes, progress)?),
    };
    let kernel = kernel::obtain(&source, cache, progress)?;
    let modules = kernel.modules();
    let parts = image::Parts {
        release: kernel.release(),
        modules: &modules,
        builtin_ok: true,
        missing: kernel.missing_modules(),
    };
    let image = image::obtain(&parts, cache, progress)?;
    let virtme = match installed {
        None => None,
        Some(Installed { program, modules }) => Some(Virtme {
            program,
            modules,
            version: host::virtme::VERSION.to_owned(),
            stage: image::host_root::obtain(&parts, &image, cache, progress)?,
            sabotage: None,
        }),
    };
    let accelerator = host::choose(choice.accel, Some(&kernel.bzimage()), cache, progress)?;
    let spec = Spec {
        qemu: QEMU.into(),
        accel: accelerator.accel.to_string(),
        cpu_model: accelerator.cpu.clone(),
        cpus: 2,
        memory_mib: argv::memory_mib(&image.path, kernel.has_symbol("KASAN") == Some(true)),
        bzimage: kernel.bzimage(),
        initramfs: image.path.clone(),
        mode: guest::message::mode::AGENT,
        verbose: false,
        icount: false,
        virtme,
    };
    Ok(Prepared { kernel, image, accelerator, spec })
}

/// Refuses a number of VMs that this host can't have whatever they take: before anything is built for them.
pub fn check_jobs(wanted: Option<usize>, cpus: usize) -> anyhow::Result<()> {
    match wanted {
        Some(0) => Err(coded(Code::Usage, "-j takes a number from 1")),
        // Two virtual CPUs share a core then; more would only measure the host's scheduler.
        Some(jobs) if jobs > cpus => {
            Err(coded(Code::Usage, format!("-j {jobs}: this host has {cpus} CPUs for that many VMs")))
        }
        _ => Ok(()),
    }
}

/// VMs side by side: each has 2 virtual CPUs, and takes its memory twice (guest pages and QEMU's page cache).
pub fn jobs(wanted: Option<usize>, spec: &Spec, host: &HostFacts) -> anyhow::Result<usize> {
    check_jobs(wanted, host.cpus)?;
    let by_cpu = host.cpus / spec.cpus;
    let by_memory = usize::try_from(host.memory_mib / (2 * spec.memory_mib)).unwrap_or(usize::MAX);
    match wanted {
        Some(jobs) if jobs > by_memory.max(1) => Err(coded(
            Code::Usage,
            format!(
                "-j {jobs} needs {} MiB of memory, {} are available",
                2 * spec.memory_mib * jobs as u64,
                host.memory_mib
            ),
        )),
        Some(jobs) => Ok(jobs),
        None => Ok(by_cpu.min(by_memory).max(1)),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn help_names_every_base() {
        let help = Replay::command().render_help().to_string();
        // As wide as the terminal.
        let words = help.split_whitespace().collect::<Vec<_>>().join(" ");
        let names = kernel::base_names().join(", ");
        assert!(words.contains(&format!("has patches for: {names} [default: 6.12]")), "{help}");
    }

    #[test]
    fn a_choice_survives_rerun_json() {
        let choice = Choice {
            base: Some("6.1".into()),
            variant: Some(Variant::Stock),
            flavour: Some(Flavour::Kasan),
            no_observe: true,
            accel: Want::Tcg,
            boot: Boot::Virtme,
            ..Choice::default()
        };
        let options = choice.options();
        assert_eq!(
            options,
            [
                "--base",
                "6.1",
                "--variant",
                "stock",
                "--flavour",
                "kasan",
                "--boot",
                "virtme",
                "--accel",
                "tcg",
                "--no-observe"
            ]
        );
        assert_eq!(Choice::replay(&options).unwrap().0.options(), options);
        assert_eq!(Choice::default().options(), ["--variant", "pushback"]);
        let tree = Choice { tree: Some("/no/such/tree".into()), ..Choice::default() };
        assert_eq!(tree.options(), ["--tree", "/no/such/tree"]);
        let url = Choice { tree: Some("https://me:secret@h/x.git#next".into()), ..Choice::default() };
        assert_eq!(
            url.options(),
            ["--tree", "https://h/x.git#next"],
            "this goes into files that are handed on"
        );
        assert!(
            matches!(url.source(), Ok(Source::Git { url, .. }) if url == "https://me:secret@h/x.git"),
            "and this is what git is given"
        );
    }
}
