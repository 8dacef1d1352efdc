// SPDX-License-Identifier: GPL-2.0-only
//! Short RCU grace periods while the bench sets up and cleans up, and the kernel's own while a case runs.
//!
//! Removing a SCSI host or a map waits for a dozen grace periods, some by `synchronize_rcu()`, some by `call_rcu()`
//! (`percpu_ref_kill()` of a block queue). The former can be expedited, for the latter the kernel can look for quiescent
//! states at once instead of after three ticks (Documentation/admin-guide/kernel-parameters.txt, `rcutree.`). A case's
//! own steps must not run that way: it would hide races that normal grace periods show.

use std::fs;

/// What is switched, and to what.
const SWITCHES: [(&str, &str); 2] =
    [("/sys/kernel/rcu_expedited", "1"), ("/sys/module/rcutree/parameters/jiffies_till_first_fqs", "0")];

/// Runs `mechanics` with short grace periods. A kernel without the switches runs them as it always does.
pub fn expedited<T>(mechanics: impl FnOnce() -> T) -> T {
    let before = SWITCHES.map(|(file, _)| fs::read_to_string(file).ok());
    for (file, fast) in SWITCHES {
        let _ = fs::write(file, fast);
    }
    let result = mechanics();
    for ((file, _), before) in SWITCHES.iter().zip(before) {
        let _ = before.map(|before| fs::write(file, before.trim()));
    }
    result
}
