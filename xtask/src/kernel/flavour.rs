// SPDX-License-Identifier: GPL-2.0-only
//! Flavours: which checkers a kernel carries. Each is a fragment, `kernel-patches/config/flavour-NAME.config`, on top
//! of those that every kernel gets.

use crate::kernel::embedded::{self, Text};

/// Which checkers a kernel carries.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Flavour {
    /// None that costs time: for measuring
    Plain,
    /// Lock order, sleeping in atomic context, the life of objects
    #[default]
    Lock,
    /// The same with KASAN: use after free, out of bounds
    Kasan,
    /// KCSAN: data races
    Kcsan,
}

impl Flavour {
    /// Its name, as on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::Lock => "lock",
            Self::Kasan => "kasan",
            Self::Kcsan => "kcsan",
        }
    }

    /// All fragments of a kernel of this flavour, with their names.
    pub fn fragments(self) -> Vec<Text> {
        let own = format!("flavour-{}.config", self.name());
        let wanted = |name: &str| name == own || (name.ends_with(".config") && !name.starts_with("flavour-"));
        embedded::files("config", wanted).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use clap::ValueEnum as _;

    use super::*;
    use crate::kernel::config::Config;

    #[test]
    fn the_shipped_fragments_agree_and_ask_for_what_the_harness_needs() {
        for flavour in Flavour::value_variants() {
            let fragments = flavour.fragments();
            let names: Vec<_> = fragments.iter().map(|(name, _)| *name).collect();
            let own = format!("flavour-{}.config", flavour.name());
            assert_eq!(names, ["debug.config", "feature.config", own.as_str()]);
            let parsed = fragments.iter().map(|(name, text)| Config::parse(text, name).unwrap());
            let merged = Config::merge(parsed).unwrap();
            for symbol in
                ["BLK_DEBUG_FS", "DEBUG_FS", "MAGIC_SYSRQ_SERIAL", "IO_URING", "SYSVIPC", "DETECT_HUNG_TASK"]
            {
                assert!(merged.enabled(symbol), "{symbol} in {own}");
            }
            let checkers = ["PROVE_LOCKING", "KASAN", "KCSAN"].map(|symbol| merged.enabled(symbol));
            let expected = match flavour {
                Flavour::Plain => [false, false, false],
                Flavour::Lock => [true, false, false],
                Flavour::Kasan => [true, true, false],
                Flavour::Kcsan => [false, false, true],
            };
            assert_eq!(checkers, expected, "{own}");
            assert_eq!(
                merged.enabled("KCSAN_EARLY_ENABLE"),
                *flavour == Flavour::Kcsan,
                "built in is not switched on"
            );
            let rendered = merged.render();
            for module in ["BLK_DEV_DM", "DM_MULTIPATH", "SCSI_DEBUG"] {
                assert!(rendered.contains(&format!("CONFIG_{module}=m\n")), "{module} must be a module");
            }
            assert!(rendered.contains("# CONFIG_SLUB_TINY is not set\n"));
        }
    }
}
