// SPDX-License-Identifier: GPL-2.0-only
//! Runs kbuild out of tree: configure and compare, build with a percentage, install. Knows how to read make's
//! output; knows nothing about where sources come from or where results go.

use anyhow::Context as _;
use camino::{Utf8Path, Utf8PathBuf};

use crate::cache::Cache;
use crate::command::{Error, Tool};
use crate::exit::{Code, coded};
use crate::kernel::config::{Config, Dropped};
use crate::kernel::recipe::{Recipe, path_with_sbin};
use crate::progress::Step;

/// Lines of errors that a message shows.
const SHOWN_ERRORS: usize = 12;

/// Bytes that a build folder needs: 290 MB measured for 6.12, and what the linker needs on top.
pub const BUILD_BYTES: u64 = 600_000_000;

/// What make said when it failed.
#[derive(Debug)]
pub struct Failure {
    what: String,
    log: Utf8PathBuf,
    /// The lines that tell what went wrong, at most [`SHOWN_ERRORS`].
    pub errors: Vec<String>,
    /// The last lines, should there be none of those.
    last: String,
}

impl Failure {
    /// Whether the host is to blame, and not the kernel.
    pub fn is_the_hosts(&self) -> bool {
        self.errors.iter().any(|line| is_the_hosts(line))
    }

    /// As an error with its exit code.
    pub fn into_error(self) -> anyhow::Error {
        let Self { what, log, errors, last } = self;
        if let Some(line) = errors.iter().find(|line| is_the_hosts(line)) {
            let line = line.trim();
            return coded(
                Code::HostFailed,
                format!("the host failed while {what} was built: {line} (log: {log})"),
            );
        }
        if errors.is_empty() {
            return coded(Code::Untestable, format!("{what} does not build (log: {log}): {last}"));
        }
        let shown = indented(errors.iter().map(|line| line.trim_end()));
        coded(Code::Untestable, format!("{what} does not build (log: {log}):{shown}"))
    }
}

/// One source built in one folder.
#[derive(Debug, Clone)]
pub struct Make<'a> {
    /// The source; read only.
    pub source: &'a Utf8Path,
    /// Build folder, log and everything else of this build; inside the cache.
    pub home: Utf8PathBuf,
    /// How.
    pub recipe: &'a Recipe,
    /// Whose kernel it is, for messages: `base 6.12 stock`.
    pub what: String,
    cache: Utf8PathBuf,
}

impl<'a> Make<'a> {
    /// Builds in `home`, which is made if it is not there; the log starts anew.
    pub fn new(
        source: &'a Utf8Path,
        home: Utf8PathBuf,
        recipe: &'a Recipe,
        what: &str,
        cache: &Cache,
    ) -> anyhow::Result<Self> {
        let make = Self { source, home, recipe, what: what.to_owned(), cache: cache.root().to_owned() };
        fs_err::create_dir_all(make.out())?;
        fs_err::write(make.log(), "")?;
        Ok(make)
    }

    /// The same build under another name in messages.
    pub fn called(&self, what: String) -> Self {
        Self { what, ..self.clone() }
    }

    /// The `O=` folder.
    pub fn out(&self) -> Utf8PathBuf {
        self.home.join("out")
    }

    /// The whole output of make.
    pub fn log(&self) -> Utf8PathBuf {
        self.home.join("build.log")
    }

    fn tool(&self) -> Tool {
        let jobs = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let mut tool = Tool::new("make")
            .args([
                "-C",
                self.source.as_str(),
                &format!("O={}", self.out()),
                &format!("-j{jobs}"),
                "ARCH=x86_64",
            ])
            // Empty, or scripts/setlocalversion asks git and appends a "+".
            .arg("LOCALVERSION=")
            // The same source gives the same bytes.
            .args([
                "KBUILD_BUILD_TIMESTAMP=1970-01-01",
                "KBUILD_BUILD_USER=dm-pushback",
                "KBUILD_BUILD_HOST=dm-pushback",
            ])
            .arg("KBUILD_BUILD_VERSION=1")
            .env("PATH", path_with_sbin())
            .env("LC_ALL", "C")
            .env("MAKEFLAGS", "")
            // A script of the source must not leave its byte code in the source.
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .log(self.log());
        if self.recipe.ccache {
            // Paths below the cache are hashed relative to the build folder, so that another build folder at the
            // same depth finds the same objects.
            tool = tool
                .args(["CC=ccache gcc", "HOSTCC=ccache gcc"])
                .env("CCACHE_BASEDIR", self.cache.as_str())
                .env("CCACHE_NOHASHDIR", "1")
                // kbuild writes the list of headers anyway: no run of the preprocessor before a compilation.
                .env("CCACHE_DEPEND", "1");
            if std::env::var_os("CCACHE_DIR").is_none() {
                tool = tool.env("CCACHE_DIR", self.cache.join("ccache").as_str());
            }
        }
        tool
    }

    /// Writes `.config` and compares it with what was asked for. kconfig leaves an unchanged `.config` alone, so
    /// that make stays incremental. `known` tells which symbols the source defines at all; those it does not are
    /// returned, every other symbol that did not come out as asked for is an error.
    pub fn configure(
        &self,
        known: impl FnOnce() -> anyhow::Result<std::collections::BTreeSet<String>>,
    ) -> anyhow::Result<Vec<String>> {
        let wanted = &self.recipe.config;
        let file = self.home.join("wanted.config");
        fs_err::write(&file, wanted.render())?;
        self.run(&["allnoconfig"], Some(&file), |_| {})?;
        self.run(&["olddefconfig"], None, |_| {})?;
        let path = self.out().join(".config");
        let got = Config::parse(&fs_err::read_to_string(&path)?, path.as_str())?;
        let dropped = wanted.lacking_in(&got);
        if dropped.is_empty() {
            return Ok(vec![]);
        }
        let known = known()?;
        let (dropped, unknown): (Vec<_>, Vec<_>) =
            dropped.into_iter().partition(|d| known.contains(&d.symbol));
        if dropped.is_empty() {
            return Ok(unknown.into_iter().map(|d| d.symbol).collect());
        }
        Err(coded(Code::Untestable, dropped_message(&self.what, &dropped, &path)))
    }

    /// Runs make for `targets` and returns the number of lines it printed. `expected` is that number from an
    /// earlier build: make itself does not know how much there is to do.
    pub fn build(&self, targets: &[&str], expected: u64, step: &mut Step) -> anyhow::Result<u64> {
        let mut lines = 0;
        self.run(targets, None, |line| {
            lines += 1;
            // 99: the rest is for linking and for an estimate that was too low.
            step.set((lines * 100 / expected.max(1)).min(99), 100, current(line));
        })?;
        Ok(lines)
    }

    /// `make` with plain targets and variables.
    pub fn run(
        &self,
        targets: &[&str],
        allconfig: Option<&Utf8Path>,
        each: impl FnMut(&str),
    ) -> anyhow::Result<()> {
        self.attempt(targets, allconfig, each)?.map_err(Failure::into_error)
    }

    /// As [`Make::run`], for who makes something of a failure; the outer error is that make did not run to its end.
    pub fn attempt(
        &self,
        targets: &[&str],
        allconfig: Option<&Utf8Path>,
        mut each: impl FnMut(&str),
    ) -> anyhow::Result<Result<(), Failure>> {
        let mut tool = self.tool().args(targets);
        if let Some(file) = allconfig {
            tool = tool.env("KCONFIG_ALLCONFIG", file.as_str());
        }
        let mut errors = Vec::new();
        let result = tool.stream(|line| {
            if is_error(line) && errors.len() < SHOWN_ERRORS {
                // The kernel's Makefile takes LC_ALL away, and gcc quotes as the user's LANG has it.
                errors.push(line.replace(['\u{2018}', '\u{2019}'], "'"));
            }
            each(line);
        });
        match result {
            Ok(_) => Ok(Ok(())),
            Err(error @ Error::Status { .. }) => {
                let (what, log) = (self.what.clone(), self.log());
                Ok(Err(Failure { what, log, errors, last: error.to_string() }))
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Whether the kernel was built to its end, so that it is known what it and its modules export.
    pub fn knows_exports(&self) -> bool {
        self.out().join("Module.symvers").exists()
    }

    /// `uname -r` of what was built.
    pub fn release(&self) -> anyhow::Result<String> {
        let file = self.out().join("include/config/kernel.release");
        Ok(fs_err::read_to_string(file)?.trim().to_owned())
    }

    /// Puts kernel image, map, config and modules into `place`, laid out as a store entry.
    pub fn install(&self, place: &Utf8Path) -> anyhow::Result<()> {
        for (from, to) in
            [("arch/x86/boot/bzImage", "bzImage"), ("System.map", "System.map"), (".config", "config")]
        {
            fs_err::copy(self.out().join(from), place.join(to))?;
        }
        let path = format!("INSTALL_MOD_PATH={place}");
        // depmod runs once, by us, after our own modules have joined the others.
        self.run(&[&path, "DEPMOD=true", "modules_install"], None, |_| {})?;
        let modules = place.join("lib/modules").join(self.release()?);
        for link in ["build", "source"] {
            let link = modules.join(link);
            if link.is_symlink() {
                fs_err::remove_file(link)?;
            }
        }
        Ok(())
    }
}

/// Writes `modules.dep` and its companions for the only release below `root/lib/modules`.
pub fn depmod(root: &Utf8Path, release: &str) -> anyhow::Result<()> {
    Tool::new("depmod")
        .args(["-b", root.as_str(), "-F", root.join("System.map").as_str(), release])
        .env("PATH", path_with_sbin())
        .read()
        .context("index the modules")?;
    Ok(())
}

/// What make is at, from a line like `  CC [M]  drivers/md/dm.o`.
fn current(line: &str) -> &str {
    let shows = line.starts_with("  ") && line.trim_start().starts_with(|c: char| c.is_ascii_uppercase());
    if shows { line.split_whitespace().last().unwrap_or_default() } else { "" }
}

/// Whether a line of make's output tells what went wrong.
fn is_error(line: &str) -> bool {
    let lower = line.to_ascii_lowercase();
    ["error:", "error ", "undefined reference", "undefined!", "*** "].iter().any(|sign| lower.contains(sign))
        && !line.starts_with("  ")
        || is_the_hosts(line)
}

/// Whether a line blames the host and not the kernel.
fn is_the_hosts(line: &str) -> bool {
    [
        "No space left on device",
        "Cannot allocate memory",
        "Killed signal terminated program",
        "virtual memory exhausted",
        "Read-only file system",
    ]
    .iter()
    .any(|sign| line.contains(sign))
}

/// One line each, below a heading.
fn indented(lines: impl IntoIterator<Item = impl std::fmt::Display>) -> String {
    use std::fmt::Write as _;
    lines.into_iter().fold(String::new(), |mut text, line| {
        let _ = write!(text, "\n  {line}");
        text
    })
}

fn dropped_message(what: &str, dropped: &[Dropped], config: &Utf8Path) -> String {
    let list = indented(dropped);
    format!(
        "the configuration of {what} is not the one that was asked for:{list}\n(hint: asked for in kernel-patches/config; {config} shows what became of it)"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recognizes_what_went_wrong() {
        let table = [
            ("drivers/md/dm.c:12:3: error: expected ';' before 'return'", true),
            ("make[4]: *** [scripts/Makefile.build:229: drivers/md/dm.o] Error 1", true),
            ("ERROR: modpost: \"dm_foo\" [drivers/md/dm-mod.ko] undefined!", true),
            ("ld: kernel/fork.o: in function `x': fork.c: undefined reference to `y'", true),
            ("cc1: fatal error: can't write: No space left on device", true),
            ("  CC      lib/errname.o", false),
            ("  CC      drivers/base/error.o", false),
            ("drivers/md/dm.c:12:3: warning: unused variable 'error' [-Wunused-variable]", false),
        ];
        for (line, expected) in table {
            assert_eq!(is_error(line), expected, "{line}");
        }
        assert!(is_the_hosts("/tmp/x.s: fatal error: write: No space left on device"));
        assert!(!is_the_hosts("drivers/md/dm.c:1:1: error: x"));
    }

    #[test]
    fn shows_what_make_is_at() {
        assert_eq!(current("  CC [M]  drivers/md/dm.o"), "drivers/md/dm.o");
        assert_eq!(current("make[1]: Entering directory '/x'"), "");
        assert_eq!(current("      |   ^~~~"), "");
    }

    #[test]
    fn a_dropped_symbol_is_named_with_wanted_and_got() {
        let dropped = [Dropped { symbol: "DM_MULTIPATH".into(), wanted: "m".into(), got: "n".into() }];
        insta::assert_snapshot!(dropped_message("base 6.12 stock", &dropped, Utf8Path::new("/c/.config")), @r"
        the configuration of base 6.12 stock is not the one that was asked for:
          CONFIG_DM_MULTIPATH: wanted m, got n
        (hint: asked for in kernel-patches/config; /c/.config shows what became of it)
        ");
    }
}
