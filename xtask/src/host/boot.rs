// SPDX-License-Identifier: GPL-2.0-only
//! Boots a kernel without initrd, on its own, for nothing but the proof that this accelerator and CPU model run
//! Linux: the kernel's own lines on the serial port up to its last act, the panic over the missing root. QEMU runs
//! under a hard limit and is killed on every way out. Not for booting a guest that does anything.

use std::io::{Read as _, Seek as _};
use std::os::fd::AsFd as _;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use camino::Utf8Path;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::command::die_with_parent;
use crate::interrupt;

/// What came of it.
#[derive(Debug, Clone, PartialEq)]
pub enum Boot {
    /// The kernel ran up to the point where it wants a root file system.
    Booted {
        /// Wall time from the start of QEMU.
        seconds: f64,
    },
    /// QEMU ended by itself before that.
    Aborted {
        /// The last line that it said.
        message: String,
    },
    /// The limit passed.
    Stuck {
        /// The limit.
        seconds: f64,
        /// The kernel's last line; empty if it printed nothing at all.
        last_line: String,
    },
    /// The kernel panicked over something else.
    Panicked {
        /// The panic's line.
        message: String,
    },
}

/// Lines by which a kernel shows that it is up: the panic over the missing root, or (with a built-in initramfs)
/// the start of init. `mount_root_generic()` in `init/do_mounts.c`, `run_init_process()` in `init/main.c`.
const UP: [&str; 4] = [
    "VFS: Unable to mount root fs",
    "VFS: Cannot open root device",
    " as init process",
    "No working init found",
];

/// QEMU, killed and reaped when dropped.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// QEMU's arguments. Two CPUs: bringing up the second one is what fails first on odd nested hosts.
pub fn argv(accel: &str, cpu: &str, kernel: &Utf8Path) -> Vec<String> {
    [
        "-machine",
        "q35",
        "-accel",
        accel,
        "-cpu",
        cpu,
        "-smp",
        "2",
        "-m",
        "256",
        "-nodefaults",
        "-no-user-config",
        "-display",
        "none",
        "-no-reboot",
        "-chardev",
        "stdio,id=console,signal=off",
        "-serial",
        "chardev:console",
        "-kernel",
        kernel.as_str(),
        "-append",
        "console=ttyS0 earlyprintk=ttyS0 panic=-1",
    ]
    .map(str::to_owned)
    .to_vec()
}

/// Boots `kernel` and watches it for at most `limit`.
pub fn boot(accel: &str, cpu: &str, kernel: &Utf8Path, limit: Duration) -> anyhow::Result<Boot> {
    let argv = argv(accel, cpu, kernel);
    tracing::debug!(?argv, "probe");
    let mut said = tempfile::tempfile().context("make a file for QEMU's standard error")?;
    let mut command = Command::new("qemu-system-x86_64");
    command.args(&argv).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(said.try_clone()?);
    die_with_parent(&mut command);
    let start = Instant::now();
    let child = command
        .spawn()
        .context("start qemu-system-x86_64 (hint: `cargo xtask doctor` lists what is missing)")?;
    let mut qemu = Killed(child);
    let serial = qemu.0.stdout.take().context("QEMU's standard output")?;
    match watch(serial, start, limit)? {
        Ok(end) => Ok(end),
        Err(console) => {
            let mut text = Vec::new();
            said.rewind().and_then(|()| said.read_to_end(&mut text)).context("read QEMU's standard error")?;
            Ok(Boot::Aborted { message: complaint(&text, &console) })
        }
    }
}

/// Reads the serial line until it tells how the boot ended; `Err` with all of it when it was closed before that.
fn watch(mut serial: ChildStdout, start: Instant, limit: Duration) -> anyhow::Result<Result<Boot, Vec<u8>>> {
    let mut console = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        interrupt::check()?;
        let left = limit.saturating_sub(start.elapsed());
        if left.is_zero() {
            return Ok(Ok(Boot::Stuck { seconds: limit.as_secs_f64(), last_line: last_line(&console) }));
        }
        // At most 100 ms at a time, to notice Ctrl-C.
        let timeout =
            PollTimeout::try_from(left.min(Duration::from_millis(100))).unwrap_or(PollTimeout::ZERO);
        match poll(&mut [PollFd::new(serial.as_fd(), PollFlags::POLLIN)], timeout) {
            Ok(0) | Err(Errno::EINTR) => continue,
            Ok(_) => {}
            Err(errno) => return Err(errno).context("poll the serial console"),
        }
        let n = serial.read(&mut buffer).context("read the serial console")?;
        if n == 0 {
            return Ok(Err(console));
        }
        console.extend_from_slice(&buffer[..n]);
        if let Some(end) = judged(&console, start.elapsed()) {
            return Ok(Ok(end));
        }
    }
}

/// The verdict of what the serial line has shown up to now; `None` while the kernel is on its way.
fn judged(console: &[u8], elapsed: Duration) -> Option<Boot> {
    let text = String::from_utf8_lossy(console);
    // The firmware may print too: what counts is said by Linux, which tells its version first.
    let (_, linux) = text.split_once("Linux version ")?;
    if UP.iter().any(|line| linux.contains(line)) {
        return Some(Boot::Booted { seconds: elapsed.as_secs_f64() });
    }
    // A whole line only: its end may be the very text that is looked for.
    let (_, panic) = linux.split_once("Kernel panic - not syncing: ")?;
    let (message, _) = panic.split_once('\n')?;
    Some(Boot::Panicked { message: message.trim().to_owned() })
}

fn last_line(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    text.lines().map(str::trim).rfind(|line| !line.is_empty()).unwrap_or_default().to_owned()
}

/// QEMU's reason for ending: an error rather than a warning, and of several the first, which caused the others.
fn complaint(said: &[u8], console: &[u8]) -> String {
    let text = String::from_utf8_lossy(said);
    let lines = || text.lines().map(|line| line.trim().trim_start_matches("qemu-system-x86_64: "));
    let error = lines().find(|line| !line.is_empty() && !line.starts_with("warning:"));
    match error {
        Some(line) => line.trim_start_matches("error: ").to_owned(),
        None if console.is_empty() => "it ended without a word".to_owned(),
        None => format!("it ended after the kernel's line \"{}\"", last_line(console)),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const BOOT: &str = "SeaBIOS\r\n[    0.000000] Linux version 6.12.117 (gcc)\r\n[    1.13] VFS: Unable to mount root fs on unknown-block(0,0)\r\n";

    #[test]
    fn milestones() {
        let judge = |text: &str| judged(text.as_bytes(), Duration::from_secs(1));
        assert_eq!(judge(BOOT), Some(Boot::Booted { seconds: 1.0 }));
        assert_eq!(judge("SeaBIOS: VFS: Unable to mount root fs"), None);
        assert_eq!(judge("Linux version 6.12\n[ 0.1] Kernel panic - not syncing: VF"), None);
        let panic =
            "Linux version 6.12\n[ 0.1] Kernel panic - not syncing: IO-APIC + timer doesn't work!\r\n";
        let message = "IO-APIC + timer doesn't work!".to_owned();
        assert_eq!(judge(panic), Some(Boot::Panicked { message }));
        let ready_made = "Linux version 6.12\n[ 0.9] Run /init as init process\n";
        assert!(matches!(judge(ready_made), Some(Boot::Booted { .. })));
    }

    #[test]
    fn complaints_of_qemu() {
        // Recorded: QEMU 7.2 with -cpu host on a nested host.
        let abort = "qemu-system-x86_64: error: failed to set MSR 0x10a to 0x69\nqemu-system-x86_64: ../../target/i386/kvm/kvm.c:3183: kvm_buf_set_msrs: Assertion `ret == cpu->kvm_msr_buf->nmsrs' failed.\n";
        assert_eq!(complaint(abort.as_bytes(), b""), "failed to set MSR 0x10a to 0x69");
        let warned = "qemu-system-x86_64: warning: host doesn't support requested feature: CPUID.01H:ECX.pni [bit 0]\n";
        assert_eq!(complaint(warned.as_bytes(), b""), "it ended without a word");
        assert_eq!(
            complaint(b"", b"[ 0.1] x86: booting\n"),
            "it ended after the kernel's line \"[ 0.1] x86: booting\""
        );
    }

    #[test]
    fn arguments() {
        insta::assert_snapshot!(argv("kvm", "host", Utf8Path::new("/k/bzImage")).join(" "), @"-machine q35 -accel kvm -cpu host -smp 2 -m 256 -nodefaults -no-user-config -display none -no-reboot -chardev stdio,id=console,signal=off -serial chardev:console -kernel /k/bzImage -append console=ttyS0 earlyprintk=ttyS0 panic=-1");
    }

    proptest! {
        #[test]
        fn any_split_gives_the_same_verdict(at in 0..BOOT.len()) {
            // What is judged is always the whole of what came so far: no prefix may give another verdict.
            if let Some(early) = judged(&BOOT.as_bytes()[..at], Duration::ZERO) {
                prop_assert_eq!(Some(early), judged(BOOT.as_bytes(), Duration::ZERO));
            }
        }

        #[test]
        fn garbage_is_no_boot(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            prop_assert_eq!(judged(&bytes, Duration::ZERO), None);
        }
    }
}
