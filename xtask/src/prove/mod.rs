// SPDX-License-Identifier: GPL-2.0-only
//! The suite's own proof: what was seen on baseline, pushback and stock, cell by cell against `tests/expectations/`. Pure
//! functions from the results of three runs to a [`proof::Proof`] and from that to text; running is done elsewhere.

pub mod compare;
pub mod deviations;
pub mod markdown;
pub mod proof;
pub mod rows;
pub mod terminal;
#[cfg(test)]
mod tests;

pub use proof::{Proof, Run};
