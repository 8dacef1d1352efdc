// SPDX-License-Identifier: GPL-2.0-only
//! The recipe of a kernel on this host: the configuration that is asked for, the compiler, and the programs that a
//! build needs. What changes the result is in [`Recipe::fingerprint`].

use camino::Utf8PathBuf;

use crate::command::Tool;
use crate::exit::{Code, coded};
use crate::kernel::config::Config;
use crate::kernel::flavour::Flavour;
use crate::kernel::sha;

/// Counts up when `make`'s arguments or the way of installing change in a way that changes the result.
const VERSION: &str = "1";

/// Programs without which no kernel is built, with what they are for.
const PROGRAMS: &[(&str, &str)] = &[
    ("make", "runs the build"),
    ("gcc", "compiles"),
    ("ld", "links"),
    ("flex", "kconfig's scanner"),
    ("bison", "kconfig's parser"),
    ("bc", "kernel/time/timeconst.h"),
    ("depmod", "modules.dep"),
];

/// How kernels are built on this host.
#[derive(Debug, Clone)]
pub struct Recipe {
    /// What is asked for.
    pub config: Config,
    /// Which checkers that has.
    pub flavour: Flavour,
    /// First line of `gcc --version` and of `ld --version`.
    pub compiler: String,
    /// Whether ccache was found.
    pub ccache: bool,
}

impl Recipe {
    /// Looks at the host; an error (exit code 128) names everything that is missing.
    pub fn of_this_host(flavour: Flavour) -> anyhow::Result<Self> {
        let missing: Vec<_> = PROGRAMS
            .iter()
            .filter(|(program, _)| which(program).is_none())
            .map(|(program, why)| format!("{program} ({why})"))
            .collect();
        if !missing.is_empty() {
            return Err(coded(
                Code::HostFailed,
                format!(
                    "can't build a kernel here, missing: {} (hint: `cargo xtask doctor --fix` installs it)",
                    missing.join(", ")
                ),
            ));
        }
        // objtool, which the ORC unwinder needs, is linked with libelf.
        Tool::new("gcc").args(["-E", "-x", "c", "-include", "gelf.h", "-o", "/dev/null", "/dev/null"]).read().map_err(|_| {
            coded(
                Code::HostFailed,
                "can't build a kernel here, missing: libelf's headers, gelf.h (hint: `cargo xtask doctor --fix` installs them)",
            )
        })?;
        let compression =
            if which("lz4").is_some() { "CONFIG_KERNEL_LZ4=y\n" } else { "CONFIG_KERNEL_GZIP=y\n" };
        let mut fragments = flavour.fragments();
        fragments.push(("compression", compression));
        let fragments =
            fragments.iter().map(|(name, text)| Config::parse(text, name)).collect::<Result<Vec<_>, _>>()?;
        let first_line = |program: &str| -> anyhow::Result<String> {
            let output = Tool::new(program).arg("--version").read()?;
            Ok(output.text.lines().next().unwrap_or_default().to_owned())
        };
        Ok(Self {
            config: Config::merge(fragments)?,
            flavour,
            compiler: format!("{}; {}", first_line("gcc")?, first_line("ld")?),
            ccache: which("ccache").is_some(),
        })
    }

    /// Changes when a kernel of the same source would come out differently. ccache is not part of it.
    pub fn fingerprint(&self) -> String {
        let config = self.config.render();
        sha::key(&[("recipe", VERSION), ("config", &config), ("compiler", &self.compiler)])
    }
}

/// `PATH` with the folders of system programs, which an ordinary user's `PATH` may lack (depmod on Debian).
pub fn path_with_sbin() -> String {
    format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default())
}

/// Where a program is.
pub fn which(program: &str) -> Option<Utf8PathBuf> {
    path_with_sbin().split(':').map(|dir| Utf8PathBuf::from(dir).join(program)).find(|file| file.is_file())
}
