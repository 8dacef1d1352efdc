// SPDX-License-Identifier: GPL-2.0-only
//! Kernel configuration as values: parse a fragment or a `.config`, merge fragments, compare what was asked for
//! with what came out. Pure; running kconfig is the business of `make`.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{self, Write as _};

const PREFIX: &str = "CONFIG_";

/// Symbols (without `CONFIG_`) and their values as text: `y`, `m`, `n`, a number, a quoted string.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Config {
    values: BTreeMap<String, String>,
}

/// What newer kernels, 7.3 for one, made of symbols that the fragments ask for: another one took its place, or (`None`) the kernel
/// sets it by itself wherever something needs it.
const OVERTAKEN: &[(&str, Option<&str>)] = &[
    // Selected by what needs it, and without a prompt.
    ("CRC_T10DIF", None),
    // x86 is preempted, at the least lazily.
    ("PREEMPT_NONE", Some("PREEMPT_LAZY")),
    // One symbol instead of two.
    ("PROC_SYSCTL", Some("SYSCTL")),
];

/// A line that is neither a comment nor a value.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{origin}:{line}: not a kernel configuration line: {text:?}")]
pub struct ParseError {
    origin: String,
    line: usize,
    text: String,
}

/// Two fragments that ask for different things.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("CONFIG_{symbol} is {first} in one fragment and {second} in another")]
pub struct Conflict {
    symbol: String,
    first: String,
    second: String,
}

/// A symbol that did not come out as asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dropped {
    /// Without `CONFIG_`.
    pub symbol: String,
    /// Asked for.
    pub wanted: String,
    /// What the kernel's own configuration made of it.
    pub got: String,
}

impl fmt::Display for Dropped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CONFIG_{}: wanted {}, got {}", self.symbol, self.wanted, self.got)
    }
}

impl Config {
    /// Parses a fragment or a `.config`; the last value of a symbol counts. `origin` is for the error.
    pub fn parse(text: &str, origin: &str) -> Result<Self, ParseError> {
        let mut values = BTreeMap::new();
        for (index, line) in text.lines().enumerate() {
            let line = line.trim();
            let wrong = || ParseError { origin: origin.to_owned(), line: index + 1, text: line.to_owned() };
            if let Some(symbol) = unset(line) {
                values.insert(symbol.to_owned(), "n".to_owned());
            } else if !line.is_empty() && !line.starts_with('#') {
                let (symbol, value) =
                    line.strip_prefix(PREFIX).and_then(|rest| rest.split_once('=')).ok_or_else(wrong)?;
                if !is_symbol(symbol) || value.is_empty() {
                    return Err(wrong());
                }
                values.insert(symbol.to_owned(), value.to_owned());
            }
        }
        Ok(Self { values })
    }

    /// Puts fragments together; two that disagree are an error.
    pub fn merge(fragments: impl IntoIterator<Item = Self>) -> Result<Self, Conflict> {
        let mut merged = Self::default();
        for fragment in fragments {
            for (symbol, value) in fragment.values {
                match merged.values.get(&symbol) {
                    Some(first) if *first != value => {
                        return Err(Conflict { symbol, first: first.clone(), second: value });
                    }
                    _ => merged.values.insert(symbol, value),
                };
            }
        }
        Ok(merged)
    }

    /// As text for `KCONFIG_ALLCONFIG`, sorted: equal configurations give equal text.
    pub fn render(&self) -> String {
        let mut text = String::new();
        for (symbol, value) in &self.values {
            let _ = match value.as_str() {
                "n" => writeln!(text, "# {PREFIX}{symbol} is not set"),
                _ => writeln!(text, "{PREFIX}{symbol}={value}"),
            };
        }
        text
    }

    /// Whether the symbol is `y` or `m`.
    pub fn enabled(&self, symbol: &str) -> bool {
        matches!(self.values.get(symbol).map(String::as_str), Some("y" | "m"))
    }

    /// The symbols.
    pub fn symbols(&self) -> impl Iterator<Item = &str> {
        self.values.keys().map(String::as_str)
    }

    /// What of this configuration a kernel lacks, except what it has in another way.
    pub fn lacking_in(&self, got: &Self) -> Vec<Dropped> {
        let in_another_way = |dropped: &Dropped| {
            let known = OVERTAKEN.iter().find(|(symbol, _)| *symbol == dropped.symbol);
            known.is_some_and(|(_, successor)| successor.is_none_or(|successor| got.enabled(successor)))
        };
        let mut dropped = self.dropped_in(got);
        dropped.retain(|dropped| !in_another_way(dropped));
        dropped
    }

    /// What of this configuration `got` does not have. A symbol that a `.config` does not mention is `n`.
    pub fn dropped_in(&self, got: &Self) -> Vec<Dropped> {
        let mut dropped = Vec::new();
        for (symbol, wanted) in &self.values {
            let value = got.values.get(symbol).map_or("n", String::as_str);
            if value != wanted {
                dropped.push(Dropped {
                    symbol: symbol.clone(),
                    wanted: wanted.clone(),
                    got: value.to_owned(),
                });
            }
        }
        dropped
    }
}

/// The symbol of a line `# CONFIG_X is not set`.
fn unset(line: &str) -> Option<&str> {
    let symbol = line.strip_prefix("# ")?.strip_prefix(PREFIX)?.strip_suffix(" is not set")?;
    is_symbol(symbol).then_some(symbol)
}

fn is_symbol(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

/// The symbols that a Kconfig file defines (`config X`, `menuconfig X`).
pub fn defined_in(kconfig: &str, symbols: &mut BTreeSet<String>) {
    for line in kconfig.lines() {
        let mut words = line.split_whitespace();
        if let (Some("config" | "menuconfig"), Some(symbol), None) =
            (words.next(), words.next(), words.next())
            && is_symbol(symbol)
        {
            symbols.insert(symbol.to_owned());
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn config(text: &str) -> Config {
        Config::parse(text, "test").unwrap()
    }

    #[test]
    fn parses_what_kconfig_writes() {
        let parsed = config(
            "#\n# Automatically generated file; DO NOT EDIT.\n#\nCONFIG_CC_VERSION_TEXT=\"gcc (Debian) = 12\"\n\
             CONFIG_64BIT=y\n# CONFIG_IA32_EMULATION is not set\nCONFIG_SCSI_DEBUG=m\nCONFIG_NR_CPUS=8\n\
             CONFIG_PHYSICAL_START=0x1000000\n# CONFIG things are not set in stone\n",
        );
        insta::assert_snapshot!(parsed.render(), @r#"
        CONFIG_64BIT=y
        CONFIG_CC_VERSION_TEXT="gcc (Debian) = 12"
        # CONFIG_IA32_EMULATION is not set
        CONFIG_NR_CPUS=8
        CONFIG_PHYSICAL_START=0x1000000
        CONFIG_SCSI_DEBUG=m
        "#);
    }

    #[test]
    fn what_is_no_line_is_named() {
        for text in ["BLK_DEV_DM=m", "CONFIG_=y", "CONFIG_A", "CONFIG_A=", "CONFIG_A B=y", "<<<<<<< HEAD"] {
            let error = Config::parse(&format!("CONFIG_X=y\n{text}\n"), "feature.config").unwrap_err();
            assert_eq!(
                error.to_string(),
                format!("feature.config:2: not a kernel configuration line: {text:?}")
            );
        }
    }

    #[test]
    fn compares_every_symbol() {
        let table = [
            // (asked for, came out, dropped)
            ("CONFIG_A=y", "CONFIG_A=y", ""),
            ("CONFIG_A=m", "CONFIG_A=y", "CONFIG_A: wanted m, got y"),
            ("CONFIG_A=y", "", "CONFIG_A: wanted y, got n"),
            ("CONFIG_A=y", "# CONFIG_A is not set", "CONFIG_A: wanted y, got n"),
            ("CONFIG_A=n", "", ""),
            ("CONFIG_A=n", "CONFIG_A=y", "CONFIG_A: wanted n, got y"),
            ("# CONFIG_A is not set", "CONFIG_A=m", "CONFIG_A: wanted n, got m"),
            ("CONFIG_A=8", "CONFIG_A=64", "CONFIG_A: wanted 8, got 64"),
            ("CONFIG_A=\"x\"", "CONFIG_A=\"x\"", ""),
        ];
        for (wanted, got, expected) in table {
            let dropped: Vec<_> =
                config(wanted).dropped_in(&config(got)).iter().map(ToString::to_string).collect();
            assert_eq!(dropped.join("\n"), expected, "{wanted} against {got}");
        }
    }

    #[test]
    fn what_newer_kernels_have_in_another_way_is_not_lacking() {
        let wanted = config("CONFIG_CRC_T10DIF=y\nCONFIG_PREEMPT_NONE=y\nCONFIG_DM_DELAY=m");
        let lacking =
            |got: &str| wanted.lacking_in(&config(got)).into_iter().map(|d| d.symbol).collect::<Vec<_>>();
        assert_eq!(lacking("CONFIG_PREEMPT_LAZY=y\nCONFIG_DM_DELAY=m"), Vec::<String>::new());
        assert_eq!(lacking("CONFIG_CRC_T10DIF=m"), ["DM_DELAY", "PREEMPT_NONE"]);
    }

    #[test]
    fn fragments_that_disagree_are_refused() {
        let merged = Config::merge([config("CONFIG_A=y"), config("CONFIG_B=m\nCONFIG_A=y")]).unwrap();
        assert_eq!(merged.render(), "CONFIG_A=y\nCONFIG_B=m\n");
        let error = Config::merge([config("CONFIG_A=y"), config("CONFIG_A=m")]).unwrap_err();
        assert_eq!(error.to_string(), "CONFIG_A is y in one fragment and m in another");
    }

    #[test]
    fn finds_definitions_in_kconfig() {
        let mut symbols = BTreeSet::new();
        defined_in(
            "menuconfig MD\n\tbool \"Multiple devices\"\nif MD\nconfig BLK_DEV_DM_BUILTIN\n\tbool\n\
             \tconfig INDENTED\n\thelp\n\t  config files are here\nsource \"config X\"\n",
            &mut symbols,
        );
        assert_eq!(symbols.into_iter().collect::<Vec<_>>(), ["BLK_DEV_DM_BUILTIN", "INDENTED", "MD"]);
    }

    proptest! {
        #[test]
        fn any_text_parses_or_fails_cleanly(text in "(?s).{0,200}") {
            let _ = Config::parse(&text, "any");
        }

        #[test]
        fn rendered_is_parsed_again(values in proptest::collection::btree_map("[A-Z0-9_]{1,12}", "y|m|n|[0-9]{1,4}|\"[a-z =#]{0,8}\"", 0..20)) {
            let config = Config { values };
            prop_assert_eq!(&Config::parse(&config.render(), "again").unwrap(), &config);
            prop_assert!(config.dropped_in(&config).is_empty());
        }

        #[test]
        fn a_changed_symbol_is_always_found(symbol in "[A-Z]{1,8}", wanted in "y|m|n|[0-9]{1,3}", got in "y|m|n|[0-9]{1,3}") {
            let make = |value: &str| Config { values: BTreeMap::from([(symbol.clone(), value.to_owned())]) };
            prop_assert_eq!(make(&wanted).dropped_in(&make(&got)).len(), usize::from(wanted != got));
        }
    }
}
