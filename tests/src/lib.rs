// SPDX-License-Identifier: GPL-2.0-only
//! The catalogue of cases.

pub mod arrange;
pub mod cases;
pub mod expectations;
pub mod matrix;

use std::sync::LazyLock;

use guest::case::Case;

static CATALOGUE: LazyLock<Vec<Case>> = LazyLock::new(|| cases::GROUPS.concat());

/// Every case, in the order in which they run; selftests last.
pub fn catalogue() -> &'static [Case] {
    &CATALOGUE
}

#[cfg(test)]
mod tests;
