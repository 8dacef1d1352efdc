// SPDX-License-Identifier: GPL-2.0-only
//! CPUs and memory that we may use, container limits included: what bounds the number of VMs side by side.

use super::accel::Choice;
use crate::event::HostFacts;

/// CPUs that this process may use: affinity and cgroup quota respected.
pub fn cpus() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

/// Memory in MiB that can be used without swapping: `MemAvailable`, or the cgroup's limit if that is lower.
pub fn memory_mib() -> u64 {
    let meminfo = fs_err::read_to_string("/proc/meminfo").unwrap_or_default();
    // In a container its own cgroup is mounted here; on a host the root cgroup has no such file.
    let limit = fs_err::read_to_string("/sys/fs/cgroup/memory.max").ok();
    available_mib(&meminfo, limit.as_deref())
}

fn available_mib(meminfo: &str, cgroup_limit: Option<&str>) -> u64 {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemAvailable:"));
    let available =
        line.and_then(|v| v.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()).unwrap_or(0) / 1024;
    // "max": no limit.
    let limit =
        cgroup_limit.and_then(|text| text.trim().parse::<u64>().ok()).map(|bytes| bytes / (1024 * 1024));
    limit.map_or(available, |limit| available.min(limit))
}

/// The host as reports tell it.
pub fn facts(choice: &Choice, boot: &str) -> HostFacts {
    HostFacts {
        qemu: choice.qemu_version.clone(),
        accel: choice.accel.to_string(),
        accel_reason: choice.reason.clone(),
        boot: boot.to_owned(),
        cpus: cpus(),
        memory_mib: memory_mib(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_the_lower_of_host_and_container() {
        let meminfo = "MemTotal:       24684544 kB\nMemFree: 1 kB\nMemAvailable:   23059456 kB\n";
        for (limit, mib) in
            [(None, 22519), (Some("max\n"), 22519), (Some("2147483648\n"), 2048), (Some("garbage"), 22519)]
        {
            assert_eq!(available_mib(meminfo, limit), mib, "{limit:?}");
        }
        assert_eq!(available_mib("", None), 0);
    }

    #[test]
    fn this_machine_has_some() {
        assert!(cpus() >= 1 && memory_mib() > 0);
    }
}
