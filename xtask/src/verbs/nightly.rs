// SPDX-License-Identifier: GPL-2.0-only
//! `cargo xtask nightly`: a list of trees, compared with the last run.

use camino::Utf8PathBuf;

use crate::exit::Code;
use crate::host;
use crate::nightly::{self, config};
use crate::progress::Progress;
use crate::run::prepare::check_jobs;

/// The verb's options.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Exit codes: 0 no new failures · 1 a case fails that did not, in every rerun of it · 2 wrong usage · \
125 no new failures, but a kernel can't be tested · 128 no new failures, but a tree could not be had, the host failed, or the \
night was interrupted: the same command goes on with it."
)]
pub struct Options {
    /// What to test; docs/nightly.example.toml is a commented one
    #[arg(long, value_name = "FILE")]
    config: Utf8PathBuf,
    /// VMs side by side [default: as many as cores and memory allow]
    #[arg(short, long, value_name = "N")]
    jobs: Option<usize>,
    /// Install what is missing without asking
    #[arg(long)]
    yes: bool,
}

/// Runs the verb.
pub fn run(options: &Options) -> anyhow::Result<Code> {
    let config = config::read(&options.config)?;
    check_jobs(options.jobs, host::cpus())?;
    let done = nightly::run(&config, options.jobs, options.yes, &Progress::new())?;
    print!("{}", done.text);
    println!("everything is in {}", done.folder);
    Ok(done.night.code())
}

#[cfg(test)]
mod tests {
    use camino::Utf8Path;

    use super::*;
    use crate::exit::code_of;

    #[test]
    fn a_number_of_vms_that_can_not_be_is_refused_before_anything_is_done() {
        let dir = tempfile::tempdir().unwrap();
        let config = Utf8Path::from_path(dir.path()).unwrap().join("nightly.toml");
        fs_err::write(&config, "state = \"state\"\n[[tree]]\nname = \"a\"\nbase = \"6.12\"\n").unwrap();
        for jobs in [0, host::cpus() + 1] {
            let error = run(&Options { config: config.clone(), jobs: Some(jobs), yes: true }).unwrap_err();
            assert_eq!(code_of(&error), Code::Usage);
            assert!(error.to_string().starts_with("-j"), "{error}");
        }
        assert!(!dir.path().join("state").exists());
    }
}
