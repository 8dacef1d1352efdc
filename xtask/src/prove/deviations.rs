// SPDX-License-Identifier: GPL-2.0-only
//! The table of known deviations, as `docs/deviations.md` has it: each with a command that shows it.

use std::fmt::Write as _;

use ::tests::expectations::{Shown, VARIANTS};

use crate::kernel::base_names;
use crate::report::terminal::quoted;

/// The table, in Markdown.
pub fn table(deviations: &[Shown]) -> String {
    let mut out = String::from("| what | since | kernels | shown by |\n| --- | --- | --- | --- |\n");
    for shown in deviations {
        let (reason, since) = (&shown.deviation.reason, &shown.deviation.since);
        let _ = writeln!(
            out,
            "| {} | {} | {} | `{}` |",
            cell(reason),
            cell(since),
            kernels(shown),
            cell(&command(shown))
        );
    }
    out
}

fn cell(text: &str) -> String {
    text.trim().replace('\n', " ").replace('|', "\\|")
}

/// `stock`, `all, 6.1.*`.
fn kernels(shown: &Shown) -> String {
    let all = shown.variants.len() == VARIANTS.len();
    let variants = if all { "all".to_owned() } else { shown.variants.join(", ") };
    if shown.release.is_empty() { variants } else { format!("{variants}, {}*", shown.release) }
}

/// Runs one case that shows it, on a base and a variant where it does.
fn command(shown: &Shown) -> String {
    let names = base_names();
    let base = names.iter().find(|base| shown.release.starts_with(&format!("{base}.")));
    let base = base.map_or(String::new(), |base| format!("--base {base} "));
    let variant = shown.variants.iter().find(|variant| **variant == "stock").or(shown.variants.first());
    let variant = variant.map_or(String::new(), |variant| format!("--variant {variant} "));
    format!("cargo xtask test {base}{variant}{}", quoted(&shown.case))
}

#[cfg(test)]
mod tests {
    use ::tests::expectations::deviations;

    use super::*;

    #[test]
    fn the_documentation_lists_every_deviation() {
        let table = table(&deviations());
        assert!(
            include_str!("../../../docs/deviations.md").contains(&table),
            "docs/deviations.md lacks what `cargo xtask list --deviations` prints:\n{table}"
        );
    }
}
