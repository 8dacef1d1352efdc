// SPDX-License-Identifier: GPL-2.0-only
//! Exit codes that only the built xtask can show.

use std::fs::File;
use std::process::Command;

#[test]
fn a_panic_is_the_hosts_failure_and_no_verdict_on_a_commit() {
    // The error can't be told there, and who prints it panics.
    let full = File::options().write(true).open("/dev/full").unwrap();
    let mut xtask = Command::new(env!("CARGO_BIN_EXE_xtask"));
    let status = xtask.args(["bisect-step", "no such case"]).stderr(full).status().unwrap();
    assert_eq!(status.code(), Some(128), "{status}");
}
