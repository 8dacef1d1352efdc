// SPDX-License-Identifier: GPL-2.0-only
//! What the agent does before it serves: mount the kernel's file systems, load the modules, choose the mode. In an
//! image it is process 1; where virtme-ng's is, [`host_root`] makes the same guest of what that one left.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use nix::mount::{MsFlags, mount};
use nix::sys::reboot::{RebootMode, reboot};

use super::{host_root, timers};
use crate::message::{MODE_PARAMETER, mode};
use crate::modules::Modules;

/// The guest, ready to serve.
#[derive(Debug)]
pub struct Ready {
    /// Value of [`MODE_PARAMETER`].
    pub mode: String,
    /// `uname -r`.
    pub release: String,
    /// Modules that are missing from the image or did not load, with the reason.
    pub missing_modules: BTreeMap<String, String>,
}

/// Of an image.
const PATH: &str = "/usr/sbin:/usr/bin:/sbin:/bin";

const NODEV: MsFlags = MsFlags::MS_NOSUID.union(MsFlags::MS_NODEV).union(MsFlags::MS_NOEXEC);

/// Where, what, whether the guest must have it (`DEBUG_FS` is missing on some distribution kernels).
const MOUNTS: &[(&str, &str, bool)] = &[
    ("/sys", "sysfs", true),
    ("/run", "tmpfs", true),
    ("/tmp", "tmpfs", true),
    ("/sys/kernel/debug", "debugfs", false),
    ("/sys/kernel/config", "configfs", false),
    ("/sys/kernel/tracing", "tracefs", false),
];

/// Brings the guest up.
pub fn prepare() -> io::Result<Ready> {
    fs::create_dir_all("/proc")?;
    mount_one("/proc", "proc", NODEV)?;
    let mode =
        parameter(&fs::read_to_string("/proc/cmdline")?, MODE_PARAMETER).unwrap_or(mode::AGENT).to_owned();
    if mode == mode::POWEROFF {
        power_off(0);
    }
    fs::create_dir_all("/dev")?;
    mount_one("/dev", "devtmpfs", MsFlags::MS_NOSUID)?;
    let on_host = host_root::is_it();
    for (place, kind, required) in MOUNTS {
        let mounted = fs::create_dir_all(place).and_then(|()| mount_one(place, kind, NODEV));
        if *required {
            mounted?;
        }
    }
    if on_host {
        host_root::settle()?;
    }
    // A start of dmsetup is mostly page faults on its libraries, which are in the page cache: map them by the megabyte
    // instead of by 64 KiB (do_fault_around in mm/memory.c). Without DEBUG_FS it stays as it is.
    let _ = fs::write("/sys/kernel/debug/fault_around_bytes", "1048576");
    // Every start of a program at the same addresses: an emulator finds the code that it has translated by its virtual
    // address, and translates all of a program anew at each start if that changes. A start of dmsetup takes a third.
    let _ = fs::write("/proc/sys/kernel/randomize_va_space", "0");
    // SAFETY: the agent has one thread; nobody reads the environment at the same time.
    unsafe {
        std::env::set_var("PATH", if on_host { host_root::path() } else { PATH.to_owned() });
        // Without udevd, dmsetup must make the nodes itself and not wait for a cookie (dmsetup(8)).
        std::env::set_var("DM_DISABLE_UDEV", "1");
        std::env::set_var("HOME", "/");
    }
    timers::check()?;
    let missing_modules = load_modules();
    // configfs may be one of them.
    for (place, kind, _) in MOUNTS.iter().filter(|(.., required)| !required) {
        let _ = mount_one(place, kind, NODEV);
    }
    Ok(Ready {
        mode,
        release: fs::read_to_string("/proc/sys/kernel/osrelease")?.trim().to_owned(),
        missing_modules,
    })
}

/// Mounts it unless something is mounted there.
fn mount_one(place: &str, kind: &str, flags: MsFlags) -> io::Result<()> {
    // Before /proc is there, nothing is.
    if fs::read_to_string("/proc/self/mountinfo").is_ok_and(|mounts| is_mounted(&mounts, place)) {
        return Ok(());
    }
    mount(Some(kind), place, Some(kind), flags, None::<&str>)
        .map_err(|errno| io::Error::other(format!("mount {kind} on {place}: {errno}")))
}

/// Whether /proc/self/mountinfo (proc(5)) has something mounted on `place`.
fn is_mounted(mountinfo: &str, place: &str) -> bool {
    mountinfo.lines().any(|line| line.split(' ').nth(4) == Some(place))
}

/// The value of `name=value` on the kernel's command line.
fn parameter<'a>(cmdline: &'a str, name: &str) -> Option<&'a str> {
    cmdline.split_whitespace().find_map(|word| word.strip_prefix(name)?.strip_prefix('='))
}

/// Loads what the image says; what is missing is told to the host, which skips the cases that need it.
fn load_modules() -> BTreeMap<String, String> {
    let modules = match Modules::read() {
        Ok(modules) => modules,
        Err(error) => return BTreeMap::from([("(list of modules)".to_owned(), error.to_string())]),
    };
    let failed = |name: &String| Some((name.clone(), modules.insert(name, "").err()?.to_string()));
    let failed: Vec<_> = modules.load.iter().filter_map(failed).collect();
    modules.missing.into_iter().chain(failed).collect()
}

/// Ends the VM by a restart, which ends QEMU, as it runs with `-no-reboot`: without ACPI a power-off is a halt
/// (`kernel_can_power_off()` in kernel/reboot.c), and QEMU stays.
/// Where process 1 is somebody else, the agent ends with `status`, and that one tells the host and powers off.
pub fn power_off(status: i32) -> ! {
    if host_root::is_it() {
        std::process::exit(status)
    }
    let _ = reboot(RebootMode::RB_AUTOBOOT);
    // Process 1 must not return: that would be a kernel panic, which is what is left now.
    std::process::exit(1)
}

/// An interactive shell on the console, with job control; powers off when it ends.
pub fn shell() -> ! {
    let open = || fs::File::options().read(true).write(true).open("/dev/ttyS0");
    let run = || -> io::Result<()> {
        if !host_root::is_it() {
            Command::new("busybox").args(["--install", "-s", "/usr/bin"]).status()?;
        }
        println!("\nbusybox shell in the test VM; dmsetup and modprobe are there; Ctrl-D powers off\n");
        let mut shell = Command::new("sh");
        shell.arg("-i").stdin(open()?).stdout(open()?).stderr(open()?);
        // SAFETY: setsid(2) and ioctl(2) are async-signal-safe; file descriptor 0 is the console, which is taken from the
        // session that virtme-ng gave it to.
        unsafe {
            shell.pre_exec(|| {
                nix::unistd::setsid()?;
                nix::ioctl_write_int_bad!(make_controlling, nix::libc::TIOCSCTTY);
                make_controlling(0, 1)?;
                Ok(())
            });
        }
        shell.status().map(drop)
    };
    if let Err(error) = run() {
        eprintln!("no shell: {error}");
    }
    power_off(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_mounted_stays() {
        let mountinfo = "26 21 0:24 / /run rw,relatime shared:5 - tmpfs run rw,mode=755\n\
                         27 26 0:25 / /run/dm-pushback ro - 9p virtme.initmount0 ro\n";
        assert!(is_mounted(mountinfo, "/run"));
        assert!(!is_mounted(mountinfo, "/tmp"));
        assert!(!is_mounted(mountinfo, "/"));
    }

    #[test]
    fn a_parameter_is_a_whole_word() {
        let cmdline = "console=ttyS0 xdm_pushback.mode=no dm_pushback.mode=shell quiet\n";
        assert_eq!(parameter(cmdline, MODE_PARAMETER), Some("shell"));
        assert_eq!(parameter("quiet", MODE_PARAMETER), None);
        assert_eq!(parameter("dm_pushback.modex=1", MODE_PARAMETER), None);
    }
}
