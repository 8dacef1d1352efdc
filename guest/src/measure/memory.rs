// SPDX-License-Identifier: GPL-2.0-only
//! How much memory the kernel's slabs take that it can't give back: bios, their clones, the submitter's bookkeeping.

use std::fs;
use std::io;

use crate::failure::{GuestContext as _, Outcome};

/// `SUnreclaim` of /proc/meminfo in bytes. Each CPU counts up to some hundred pages by itself before it adds them to
/// the sum; `vm.stat_refresh` makes all of them add now (Documentation/admin-guide/sysctl/vm.rst).
pub fn unreclaimable_slab() -> Outcome<i64> {
    fs::write("/proc/sys/vm/stat_refresh", "1").guest("fold the counters of all CPUs")?;
    let text = fs::read_to_string("/proc/meminfo").guest("read /proc/meminfo")?;
    bytes_of(&text, "SUnreclaim").ok_or_else(|| io::Error::other("no such line")).guest("find SUnreclaim")
}

fn bytes_of(meminfo: &str, name: &str) -> Option<i64> {
    let of = |line: &str| {
        let value = line.strip_prefix(name)?.strip_prefix(':')?.trim().strip_suffix(" kB")?;
        value.parse::<i64>().ok()?.checked_mul(1024)
    };
    meminfo.lines().find_map(of)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_as_the_kernel_prints_them() {
        let text = "MemTotal:        2014208 kB\nSReclaimable:       5124 kB\nSUnreclaim:        11376 kB\n";
        assert_eq!(bytes_of(text, "SUnreclaim"), Some(11376 * 1024));
        assert_eq!(bytes_of(text, "S"), None);
        assert_eq!(bytes_of("SUnreclaim: many kB", "SUnreclaim"), None);
    }
}
