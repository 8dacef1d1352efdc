// SPDX-License-Identifier: GPL-2.0-only
//! Tells cargo about what `kernel/embedded.rs` compiles in: a changed, new or removed patch makes a new xtask.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=../kernel-patches");
}
