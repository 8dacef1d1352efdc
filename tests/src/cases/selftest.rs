// SPDX-License-Identifier: GPL-2.0-only
//! Cases that test the harness: each provokes one way not to pass. Hidden from the default run;
//! `cargo xtask ci` runs every one of them and the case after it, and compares with [`EXPECTED`].

use std::fs;
use std::io::{ErrorKind, Write as _};
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use guest::agent::sabotage;
use guest::case::Allowed;
use guest::dm::NoPath;
use guest::failure::GuestContext as _;
use guest::modules;
use guest::paths::iscsi::cut::Cut;
use guest::paths::iscsi::group::{Access, PortGroup};
use guest::paths::iscsi::initiator::Pings;
use guest::paths::{iscsi, scsi_debug};
use guest::prelude::*;
use nix::mount::{MsFlags, mount};

/// What the host must make of each: the name of the outcome, and pieces of its message.
pub const EXPECTED: &[(&str, &str, &[&str])] = &[
    ("selftest::fail_an_assertion", "Fail", &["two and two are five: they are four"]),
    ("selftest::set_up_and_clean_up", "Pass", &[]),
    ("selftest::skip", "Skipped", &["on purpose"]),
    ("selftest::panic_the_kernel", "KernelSplat", &["sysrq triggered crash"]),
    ("selftest::warn", "KernelSplat", &["WARNING"]),
    ("selftest::lockdep_report", "KernelSplat", &["possible circular locking dependency"]),
    ("selftest::oops", "KernelSplat", &["NULL pointer dereference"]),
    ("selftest::use_after_free", "KernelSplat", &["KASAN: slab-use-after-free"]),
    ("selftest::data_race", "KernelSplat", &["KCSAN: data-race"]),
    ("selftest::run_out_of_memory", "KernelSplat", &["oom-killer"]),
    ("selftest::hang_in_d_state", "Timeout", &["case clock"]),
    ("selftest::spin_with_interrupts_off", "Timeout", &["clock"]),
    ("selftest::restart_the_machine", "VmLost", &["QEMU"]),
    ("selftest::exit_without_a_verdict", "Infra", &["without a verdict"]),
    ("selftest::allowed_warn", "Pass", &[]),
    ("selftest::panic_in_the_case", "Infra", &["panicked"]),
    ("selftest::half_a_frame", "Infra", &["frame cut short"]),
    ("selftest::verdict_twice", "Infra", &["2 verdicts"]),
    ("selftest::leave_a_suspended_map", "Fail", &["nothing is left behind"]),
    ("selftest::leave_a_scsi_host", "Fail", &["nothing is left behind"]),
    ("selftest::leave_a_process", "Fail", &["nothing is left behind"]),
    (
        "selftest::leave_iscsi_broken",
        "Fail",
        &["without a running disk", "that does not answer", "that was not reset", "iSCSI target iqn."],
    ),
    ("selftest::fill_the_console", "Fail", &["the console is quiet"]),
    ("selftest::write_to_the_host", "Pass", &[]),
];

/// Does bad things on request; kernel-patches/modules/.
const MODULE: &str = "dm-pushback-selftest";

/// A selftest has no matrix.
fn once() -> Vec<Condition> {
    vec![Condition::default()]
}

const fn case(name: &'static str, summary: &'static str, run: fn(&mut Bench) -> Outcome) -> Case {
    Case {
        name,
        claim: "the harness",
        summary,
        tag: Tag::Selftest,
        needs: &[],
        conditions: once,
        left_out: &[],
        allow: &[],
        deadline_seconds: 3,
        run,
    }
}

/// The group.
pub const CASES: &[Case] = &[
    case("selftest::fail_an_assertion", "an assertion that does not hold is a Fail", fail_an_assertion),
    case(
        "selftest::set_up_and_clean_up",
        "nothing but set-up and clean-up, for the benchmark",
        set_up_and_clean_up,
    ),
    case("selftest::skip", "a case may skip itself with a reason", skip_it),
    case("selftest::panic_the_kernel", "a kernel panic is a KernelSplat", panic_the_kernel),
    case("selftest::warn", "a WARN is a KernelSplat though the case passes", warn),
    Case {
        needs: &["PROVE_LOCKING"],
        ..case(
            "selftest::lockdep_report",
            "a lockdep report is a KernelSplat though the case passes",
            lockdep,
        )
    },
    case("selftest::oops", "a NULL dereference in the kernel is a KernelSplat", oops),
    Case {
        needs: &["KASAN"],
        ..case("selftest::use_after_free", "a report of KASAN's is a KernelSplat", use_after_free)
    },
    Case {
        needs: &["KCSAN"],
        ..case("selftest::data_race", "a report of KCSAN's is a KernelSplat", data_race)
    },
    Case {
        // Half a gigabyte, page by page: 5 s under TCG, where a factor of 1.4 is the least that was measured.
        deadline_seconds: 15,
        ..case("selftest::run_out_of_memory", "the OOM killer is a KernelSplat", run_out_of_memory)
    },
    case("selftest::hang_in_d_state", "a task that sleeps uninterruptibly for ever is a Timeout", hang),
    case("selftest::spin_with_interrupts_off", "a CPU that takes no interrupts is a Timeout", spin),
    case("selftest::restart_the_machine", "a machine that restarts by itself is a VmLost", restart),
    case("selftest::exit_without_a_verdict", "no verdict is never a pass", exit_without_a_verdict),
    Case {
        allow: &[Allowed { splat: "dm-pushback-selftest", reason: "proves that a case may allow a splat" }],
        ..case("selftest::allowed_warn", "a splat that the case allows is no failure", warn)
    },
    case("selftest::panic_in_the_case", "a bug in a case says nothing about the kernel", panic_in_the_case),
    case("selftest::half_a_frame", "a message cut short is noticed", half_a_frame),
    case("selftest::verdict_twice", "two verdicts are none", verdict_twice),
    case("selftest::leave_a_suspended_map", "a map left behind turns a pass into a Fail", leave_a_map),
    case("selftest::leave_a_scsi_host", "a SCSI host left behind turns a pass into a Fail", leave_a_host),
    case("selftest::leave_a_process", "a process left behind turns a pass into a Fail", leave_a_process),
    Case {
        needs: Transport::Iscsi.needs(),
        deadline_seconds: 15,
        ..case(
            "selftest::leave_iscsi_broken",
            "a lost session, a cut portal, a changed port group and a foreign target turn a pass into a Fail",
            leave_iscsi_broken,
        )
    },
    case("selftest::fill_the_console", "a flood of kernel messages is a Fail", fill_the_console),
    case(
        "selftest::write_to_the_host",
        "nothing that the guest does reaches the host's files",
        write_to_the_host,
    ),
];

/// Makes the module `dm-pushback-selftest` do something bad.
fn provoke(what: &str) -> Outcome {
    modules::require(MODULE)?.insert(MODULE, "").guest(format!("load {MODULE}"))?;
    fs::write("/sys/module/dm_pushback_selftest/parameters/provoke", what).guest(format!("provoke {what}"))
}

fn fail_an_assertion(_: &mut Bench) -> Outcome {
    ensure(2 + 2 == 5, "two and two are five", "they are four")
}

/// What nearly every case does before and after its own matter.
fn set_up_and_clean_up(bench: &mut Bench) -> Outcome {
    let paths = bench.paths(2)?;
    bench.multipath("map", &paths, NoPath::Queue).map(drop)
}

fn skip_it(_: &mut Bench) -> Outcome {
    skip("on purpose")
}

fn panic_the_kernel(_: &mut Bench) -> Outcome {
    fs::write("/proc/sysrq-trigger", "c").guest("crash the kernel")
}

fn warn(_: &mut Bench) -> Outcome {
    provoke("warn")
}

fn lockdep(_: &mut Bench) -> Outcome {
    provoke("lockdep")
}

fn oops(_: &mut Bench) -> Outcome {
    provoke("oops")
}

fn use_after_free(_: &mut Bench) -> Outcome {
    provoke("use-after-free")
}

fn data_race(_: &mut Bench) -> Outcome {
    provoke("data-race")
}

fn run_out_of_memory(_: &mut Bench) -> Outcome {
    let mut hoard: Vec<Vec<u8>> = vec![];
    loop {
        // Written to, so that every page is really there.
        hoard.push(vec![1; 4 << 20]);
    }
}

/// On a slow host the deadline can be longer than the time after which the kernel itself tells of a task that hangs.
fn hang(_: &mut Bench) -> Outcome {
    set("/proc/sys/kernel/hung_task_timeout_secs", "0")?;
    provoke("hang")
}

/// The same for RCU, which waits 21 s for a CPU.
fn spin(_: &mut Bench) -> Outcome {
    set("/sys/module/rcupdate/parameters/rcu_cpu_stall_suppress", "1")?;
    provoke("spin")
}

fn set(file: &str, value: &str) -> Outcome {
    fs::write(file, value).guest(format!("write {value} to {file}"))
}

fn restart(_: &mut Bench) -> Outcome {
    fs::write("/proc/sysrq-trigger", "b").guest("restart")
}

fn exit_without_a_verdict(_: &mut Bench) -> Outcome {
    std::process::exit(0)
}

fn panic_in_the_case(_: &mut Bench) -> Outcome {
    panic!("on purpose")
}

fn half_a_frame(_: &mut Bench) -> Outcome {
    sabotage::half_a_frame()
}

fn verdict_twice(_: &mut Bench) -> Outcome {
    sabotage::an_extra_verdict()
}

fn dmsetup(args: &[&str]) -> Outcome {
    let status = Command::new("dmsetup").args(args).status().guest("run dmsetup")?;
    ensure(status.success(), "dmsetup makes what is to be left behind", status)
}

fn leave_a_map(_: &mut Bench) -> Outcome {
    // Not a name that the bench's own clean-up would take for its own.
    dmsetup(&["create", "left-behind", "--table", "0 8 zero"])?;
    dmsetup(&["suspend", "left-behind"])
}

fn leave_a_host(_: &mut Bench) -> Outcome {
    scsi_debug::load()?;
    // One more than a VM keeps, even if it has none yet.
    let hosts = scsi_debug::KEPT + 1;
    fs::write("/sys/bus/pseudo/drivers/scsi_debug/add_host", hosts.to_string()).guest("add scsi_debug hosts")
}

/// Past the bench, whose clean-up would mend it all.
fn leave_iscsi_broken(_: &mut Bench) -> Outcome {
    let paths = iscsi::add(2, Pings::Never)?;
    PortGroup::of(&paths[1])?.set(Access::Standby)?;
    Cut::Portal.strike(&paths[..1])?;
    fs::create_dir_all("/sys/kernel/config/target/iscsi/iqn.2026-01.left:behind").guest("make a target")
}

fn leave_a_process(_: &mut Bench) -> Outcome {
    // A group of its own, so that the agent's kill of the case's process group does not reach it.
    Command::new("busybox")
        .args(["sleep", "1000"])
        .process_group(0)
        .spawn()
        .guest("start a process")
        .map(drop)
}

fn fill_the_console(_: &mut Bench) -> Outcome {
    let mut kmsg = fs::OpenOptions::new().write(true).open("/dev/kmsg").guest("open /dev/kmsg")?;
    let line = format!("<4>{}", "flood ".repeat(100));
    loop {
        kmsg.write_all(line.as_bytes()).guest("write to /dev/kmsg")?;
    }
}

/// Why an image skips the case about the host's files.
pub const NOTHING_OF_THE_HOST: &str = "nothing of the host is mounted";

/// Whatever is mounted of the host (`--boot virtme`) refuses to be written, though the guest asks for a mount that can be:
/// the refusal is QEMU's (`readonly=on`), not the mount's.
fn write_to_the_host(_: &mut Bench) -> Outcome {
    let mounts = fs::read_to_string("/proc/self/mounts").guest("read the mounts")?;
    let of_host = |line: &&str| matches!(line.split(' ').nth(2), Some("9p" | "virtiofs"));
    let places: Vec<_> = mounts.lines().filter(of_host).filter_map(|line| line.split(' ').nth(1)).collect();
    if places.is_empty() {
        return skip(NOTHING_OF_THE_HOST);
    }
    for place in places {
        let remount =
            |flags| mount(None::<&str>, place, None::<&str>, MsFlags::MS_REMOUNT | flags, None::<&str>);
        remount(MsFlags::empty()).guest(format!("remount {place} to be written"))?;
        let file = format!("{place}/dm-pushback-was-here");
        let written = fs::write(&file, "");
        let denied = written.as_ref().is_err_and(|error| error.kind() == ErrorKind::ReadOnlyFilesystem);
        remount(MsFlags::MS_RDONLY).guest(format!("remount {place} as it was"))?;
        ensure(denied, "the host's files can't be written", format!("{file}: {written:?}"))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_selftest_has_its_expected_outcome() {
        let expected: Vec<_> = EXPECTED.iter().map(|(name, ..)| *name).collect();
        let cases: Vec<_> = CASES.iter().map(|c| c.name).collect();
        assert_eq!(expected, cases);
    }
}
