// SPDX-License-Identifier: GPL-2.0-only
//! The VM: QEMU's argv, or virtme-ng's, its process, the console's scanner, the monitor.

pub mod argv;
pub mod console;
pub mod qemu;
pub mod qmp;
pub mod virtme;
