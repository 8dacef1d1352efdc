// SPDX-License-Identifier: GPL-2.0-only
//! QEMU's argument vector and the kernel's command line: values in, values out.
//!
//! Measured under TCG on 2 cores (QEMU 7.2, Linux 6.12 with the debug fragment), QEMU start to power-off: `q35` 3.1 s,
//! `pc` 3.4 s; `microvm` without ACPI can't power off. The serial console costs more than the machine type: 16 KB of
//! boot messages take 0.7 s, hence `loglevel=5` (every splat is printed at `warning` or above).

use camino::{Utf8Path, Utf8PathBuf};
use guest::message::{MODE_PARAMETER, PORT_NAME};

use super::virtme::{self, Virtme};
use crate::command::quoted;

/// What of the machine costs boot time and serves nobody here.
pub const MACHINE: &str = "q35,smm=off,hpet=off,vmport=off";

/// Everything that decides how a VM looks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spec {
    /// The emulator.
    pub qemu: String,
    /// `kvm` or `tcg`.
    pub accel: String,
    /// QEMU's CPU model.
    pub cpu_model: String,
    /// Virtual CPUs; at least 2, since bio-based multipath without a path keeps one busy.
    pub cpus: usize,
    /// Guest memory in MiB.
    pub memory_mib: u64,
    /// The kernel.
    pub bzimage: Utf8PathBuf,
    /// The initramfs.
    pub initramfs: Utf8PathBuf,
    /// What process 1 does, see `guest::message::mode`.
    pub mode: &'static str,
    /// Print every kernel message, for a boot that failed and is looked at again.
    pub verbose: bool,
    /// The guest's clock counts the instructions that it executes, one nanosecond each, and jumps to the next timer when
    /// it has nothing to do: what is measured in such a VM does not depend on the host's load. Emulation only, one
    /// virtual CPU.
    pub icount: bool,
    /// virtme-ng makes the VM, with the host's file system for a root; the initramfs is not used then.
    pub virtme: Option<Virtme>,
}

/// File descriptors that QEMU inherits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fds {
    /// Unix socket of the agent's port.
    pub agent: i32,
    /// Unix socket of the QMP monitor.
    pub qmp: i32,
}

/// The kernel's command line.
pub fn kernel_command_line(spec: &Spec) -> String {
    let mut words = vec![
        "console=ttyS0".to_owned(),
        // With -no-reboot a panic then ends QEMU at once instead of hanging.
        "panic=-1".to_owned(),
        "oops=panic".to_owned(),
        // The agent's markers must not be rate-limited (Documentation/admin-guide/kernel-parameters.txt).
        "printk.devkmsg=on".to_owned(),
        // Distribution kernels allow a few keys only, and those for the capture after a time-out are not among them.
        "sysrq_always_enabled".to_owned(),
        // The legacy timer check and the TSC calibration cost 0.1 s each under TCG.
        "no_timer_check".to_owned(),
        "tsc=reliable".to_owned(),
        "random.trust_cpu=on".to_owned(),
        format!("{MODE_PARAMETER}={}", spec.mode),
    ];
    words.push(if spec.verbose { "ignore_loglevel".to_owned() } else { "loglevel=5".to_owned() });
    words.join(" ")
}

/// What runs the guest's instructions.
pub fn accelerator(spec: &Spec) -> Vec<String> {
    let accel = match spec.accel.as_str() {
        // Counting needs all virtual CPUs in one thread.
        "tcg" if spec.icount => "tcg,thread=single",
        "tcg" => "tcg,thread=multi",
        other => other,
    };
    ["-accel", accel, "-cpu", &spec.cpu_model].map(str::to_owned).into()
}

/// What makes the guest's clock count instructions.
pub fn icount(spec: &Spec) -> Vec<String> {
    if spec.icount { ["-icount", "shift=0,sleep=off"].map(str::to_owned).into() } else { vec![] }
}

fn machine(spec: &Spec) -> Vec<String> {
    let mut argv: Vec<String> =
        [&spec.qemu, "-nodefaults", "-no-user-config", "-no-reboot", "-display", "none", "-machine", MACHINE]
            .map(str::to_owned)
            .into();
    argv.extend(accelerator(spec));
    argv.extend(
        [
            "-smp",
            &spec.cpus.to_string(),
            "-m",
            &format!("{}M", spec.memory_mib),
            "-kernel",
            spec.bzimage.as_str(),
            "-initrd",
            spec.initramfs.as_str(),
            "-append",
            &kernel_command_line(spec),
        ]
        .map(str::to_owned),
    );
    argv.extend(icount(spec));
    argv
}

/// The agent's port and QMP on inherited sockets.
pub fn ports(fds: Fds) -> Vec<String> {
    [
        "-device",
        "virtio-serial-pci",
        "-chardev",
        &format!("socket,id=agent,fd={}", fds.agent),
        "-device",
        &format!("virtserialport,chardev=agent,name={PORT_NAME}"),
        "-chardev",
        &format!("socket,id=qmp,fd={}", fds.qmp),
        "-mon",
        "chardev=qmp,mode=control",
    ]
    .map(str::to_owned)
    .into()
}

/// The whole argument vector for a run: the serial console on standard output from byte 0, the agent's port and QMP on
/// inherited sockets. No file, no TCP port, nothing to clean up.
pub fn for_run(spec: &Spec, fds: Fds) -> Vec<String> {
    let mut argv = machine(spec);
    argv.extend(["-chardev", "stdio,id=console,signal=off", "-serial", "chardev:console"].map(str::to_owned));
    argv.extend(ports(fds));
    argv
}

/// The command line for a person at the terminal: console on standard input and output, Ctrl-A X ends QEMU.
pub fn for_terminal(spec: &Spec) -> Vec<String> {
    if let Some(virtme) = &spec.virtme {
        return virtme::terminal_command(spec, virtme);
    }
    let mut argv = machine(spec);
    argv.extend(["-serial", "mon:stdio"].map(str::to_owned));
    argv
}

/// A script that boots the same VM by hand, with a shell instead of the agent.
pub fn script(spec: &Spec, about: &str) -> String {
    if let Some(virtme) = &spec.virtme {
        return virtme::script(spec, virtme, about);
    }
    let spec = Spec { mode: guest::message::mode::SHELL, ..spec.clone() };
    let lines: Vec<_> = for_terminal(&spec).iter().map(|arg| quoted(arg)).collect();
    format!(
        "#!/bin/sh\n# Boots the same kernel and image with a shell: {about}\n# Ctrl-A X ends QEMU.\nexec {}\n",
        lines.join(" \\\n    ")
    )
}

/// Memory for one VM: the image is unpacked into it, so it grows with the image. KASAN takes an eighth of all memory
/// for itself, puts red zones around every object and keeps what was freed in quarantine.
pub fn memory_mib(initramfs: &Utf8Path, kasan: bool) -> u64 {
    let image = std::fs::metadata(initramfs).map_or(0, |m| m.len()) / (1 << 20);
    if kasan { 2048 + 3 * image } else { 512 + 3 * image }
}

#[cfg(test)]
pub mod tests {
    use guest::message::mode;

    use super::*;

    pub fn spec() -> Spec {
        Spec {
            qemu: "qemu-system-x86_64".into(),
            accel: "tcg".into(),
            cpu_model: "max".into(),
            cpus: 2,
            memory_mib: 512,
            bzimage: "/cache/kernels/k/bzImage".into(),
            initramfs: "/cache/images/i/initramfs.cpio".into(),
            mode: mode::AGENT,
            verbose: false,
            icount: false,
            virtme: None,
        }
    }

    #[test]
    fn a_run_under_tcg() {
        insta::assert_snapshot!(for_run(&spec(), Fds { agent: 7, qmp: 9 }).join(" "), @"qemu-system-x86_64 -nodefaults -no-user-config -no-reboot -display none -machine q35,smm=off,hpet=off,vmport=off -accel tcg,thread=multi -cpu max -smp 2 -m 512M -kernel /cache/kernels/k/bzImage -initrd /cache/images/i/initramfs.cpio -append console=ttyS0 panic=-1 oops=panic printk.devkmsg=on sysrq_always_enabled no_timer_check tsc=reliable random.trust_cpu=on dm_pushback.mode=agent loglevel=5 -chardev stdio,id=console,signal=off -serial chardev:console -device virtio-serial-pci -chardev socket,id=agent,fd=7 -device virtserialport,chardev=agent,name=org.dm-pushback.agent -chardev socket,id=qmp,fd=9 -mon chardev=qmp,mode=control");
    }

    #[test]
    fn kvm_has_no_tcg_options() {
        let argv = for_run(
            &Spec { accel: "kvm".into(), cpu_model: "host".into(), ..spec() },
            Fds { agent: 7, qmp: 9 },
        );
        let after = |option: &str| argv[argv.iter().position(|a| a == option).unwrap() + 1].clone();
        assert_eq!((after("-accel"), after("-cpu")), ("kvm".into(), "host".into()));
    }

    #[test]
    fn a_vm_that_counts_instructions() {
        let argv = for_run(&Spec { cpus: 1, icount: true, ..spec() }, Fds { agent: 7, qmp: 9 }).join(" ");
        assert!(argv.contains("-accel tcg,thread=single -cpu max -smp 1 "), "{argv}");
        assert!(argv.contains(" -icount shift=0,sleep=off "), "{argv}");
    }

    #[test]
    fn the_script_gives_a_shell() {
        insta::assert_snapshot!(script(&spec(), "compat::x[bio]"), @r"
        #!/bin/sh
        # Boots the same kernel and image with a shell: compat::x[bio]
        # Ctrl-A X ends QEMU.
        exec qemu-system-x86_64 \
            -nodefaults \
            -no-user-config \
            -no-reboot \
            -display \
            none \
            -machine \
            q35,smm=off,hpet=off,vmport=off \
            -accel \
            tcg,thread=multi \
            -cpu \
            max \
            -smp \
            2 \
            -m \
            512M \
            -kernel \
            /cache/kernels/k/bzImage \
            -initrd \
            /cache/images/i/initramfs.cpio \
            -append \
            'console=ttyS0 panic=-1 oops=panic printk.devkmsg=on sysrq_always_enabled no_timer_check tsc=reliable random.trust_cpu=on dm_pushback.mode=shell loglevel=5' \
            -serial \
            mon:stdio
        ");
    }
}
