// SPDX-License-Identifier: GPL-2.0-only
//! The guest binary: process 1 of the VM. It hands the catalogue to the agent.

fn main() {
    guest::agent::main(tests::catalogue())
}
