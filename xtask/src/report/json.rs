// SPDX-License-Identifier: GPL-2.0-only
//! results.json: the model as it is, see [`super::model`].

use super::model::Results;

/// The document, indented, with a newline at its end.
pub fn render(results: &Results) -> anyhow::Result<String> {
    Ok(serde_json::to_string_pretty(results)? + "\n")
}
