// SPDX-License-Identifier: GPL-2.0-only
//! The guest binary: built by cargo, statically linked, for it runs as process 1 where no library is.

use anyhow::Context as _;
use camino::{Utf8Path, Utf8PathBuf};

use super::elf;
use crate::command::{self, Tool};
use crate::progress::Progress;

/// Lines of compiler output that an error shows at most.
const SHOWN_LINES: usize = 100;

/// Builds the guest binary if something changed, and says where it is. Nothing to do costs 0.15 s.
pub fn guest_binary(progress: &Progress) -> anyhow::Result<Utf8PathBuf> {
    let root = workspace()?;
    let target = target()?;
    let folder = root.join("target/guest");
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let tool = Tool::new(cargo)
        .args(["build", "--locked", "--package", "tests", "--bin", "pushback-guest", "--profile", "guest"])
        .args(["--target", &target, "--target-dir", folder.as_str(), "--color", "never"])
        // Before all other ways to give flags, so that a user's own RUSTFLAGS do not take the linkage away.
        .env("CARGO_ENCODED_RUSTFLAGS", "-Ctarget-feature=+crt-static")
        .cwd(&root);
    run(&tool, progress)?;
    let binary = folder.join(&target).join("guest/pushback-guest");
    anyhow::ensure!(
        elf::closure(&binary, &[])?.is_static(),
        "{binary} is not static: it needs a loader or libraries, and the guest's process 1 has none \
         (hint: does this toolchain support crt-static for {target}?)"
    );
    Ok(binary)
}

fn run(tool: &Tool, progress: &Progress) -> anyhow::Result<()> {
    let (mut lines, mut step) = (vec![], None);
    let result = tool.stream(|line| {
        if step.is_none() && line.trim_start().starts_with("Compiling ") {
            step = Some(progress.step("guest binary"));
        }
        lines.push(line.to_owned());
    });
    match result {
        Ok(_) => {
            if let Some(step) = step {
                step.done("built");
            }
            Ok(())
        }
        Err(command::Error::Status { argv, status, .. }) => {
            anyhow::bail!(
                "build the guest binary: `{argv}` ended with {status}\n{}",
                errors(&lines).join("\n")
            )
        }
        Err(error) => Err(error).context("build the guest binary"),
    }
}

/// What the compiler said from its first error on.
fn errors(lines: &[String]) -> &[String] {
    let start = lines.iter().position(|line| line.starts_with("error"));
    let shown = &lines[start.unwrap_or(lines.len().saturating_sub(SHOWN_LINES))..];
    &shown[..shown.len().min(SHOWN_LINES)]
}

/// The folder with the workspace's Cargo.toml: the one that this xtask was built in.
fn workspace() -> anyhow::Result<Utf8PathBuf> {
    let root = Utf8Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Utf8Path::new("/"));
    anyhow::ensure!(
        root.join("tests/Cargo.toml").is_file(),
        "the source of the guest binary is gone: this xtask was built in {root} (hint: run `cargo xtask` in a checkout)"
    );
    Ok(root.to_owned())
}

/// The musl target if the toolchain has it, else the gnu target.
fn target() -> anyhow::Result<String> {
    let sysroot = match std::env::var("CARGO").ok().and_then(|cargo| sysroot_of(Utf8Path::new(&cargo))) {
        Some(sysroot) => sysroot,
        None => Tool::new("rustc").args(["--print", "sysroot"]).read()?.text.into(),
    };
    let arch = std::env::consts::ARCH;
    let installed = |triple: &String| sysroot.join("lib/rustlib").join(triple).join("lib").is_dir();
    let musl = format!("{arch}-unknown-linux-musl");
    Ok(if installed(&musl) { musl } else { format!("{arch}-unknown-linux-gnu") })
}

/// The sysroot of a toolchain whose cargo is `SYSROOT/bin/cargo`; not that of rustup's own `cargo`, which only starts
/// the real one.
fn sysroot_of(cargo: &Utf8Path) -> Option<Utf8PathBuf> {
    let sysroot = cargo.parent()?.parent()?;
    sysroot.join("lib/rustlib").is_dir().then(|| sysroot.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_error_starts_what_is_shown() {
        let lines: Vec<_> = ["   Compiling guest", "warning: x", "error[E0425]: no y", "  --> a.rs:1"]
            .map(str::to_owned)
            .into();
        assert_eq!(errors(&lines), &lines[2..]);
        assert_eq!(errors(&lines[..2]), &lines[..2]);
        assert_eq!(errors(&vec!["error".to_owned(); 500]).len(), SHOWN_LINES);
    }
}
