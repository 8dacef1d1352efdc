// SPDX-License-Identifier: GPL-2.0-only
//! The other front end: virtme-ng composes a VM whose root is the host's file system, read-only over 9p, and whose process 1
//! is its own; that one starts the agent as its script.
//!
//! `virtme-run` is asked for the command (`--dry-run --show-command`), and QEMU is started from here as for an image. Run
//! by virtme-run, QEMU would be a grandchild: it would outlive us (PDEATHSIG is not inherited), and its own exit status
//! would be lost behind virtme-run's 255. What virtme-ng decides stays its own: devices, root, kernel command line, process 1,
//! how the script is started and how its status comes back.
//!
//! virtme-run is given a socket as standard input. It can't be opened through /proc/self/fd, which is how virtme-run
//! tests for a usable terminal; without one it puts the serial console on QEMU's standard streams from byte 0, and no script
//! ports, which want udevd in the guest. What is left is the port `virtme.ret`, for the exit status.

use std::os::unix::net::UnixStream;

use anyhow::Context as _;
use camino::{Utf8Path, Utf8PathBuf};
use guest::message::{PORT_NAME, STAGE, mode};

use super::argv::{self, Fds, Spec};
use crate::command::{Tool, quoted};

/// virtme-ng's own flags for its root, and a cache: files of the host do not change while the VM runs. Without it every start
/// of a program reads it over 9p anew. The last `rootflags=` counts (`root_data_setup` in `init/do_mounts.c`).
const ROOT_FLAGS: &str = "rootflags=version=9p2000.L,trans=virtio,access=any,msize=524288,cache=loose";

/// Where QEMU's serial console must be: it is read from byte 0, and a BREAK is sent to a character device of this name.
const CONSOLE: &str = "stdio,id=console,signal=off,mux=off";

/// How virtme-ng is started, and what the guest gets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Virtme {
    /// `virtme-run`.
    pub program: Utf8PathBuf,
    /// Where its Python modules are, if Python does not know.
    pub modules: Option<Utf8PathBuf>,
    /// Its version.
    pub version: String,
    /// What is mounted at `guest::message::STAGE`.
    pub stage: Utf8PathBuf,
    /// What is broken on purpose.
    pub sabotage: Option<Sabotage>,
}

/// Ways to break this front end, for the harness's tests of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sabotage {
    /// The agent's port has another name.
    NoPort,
    /// The port for the exit status leads nowhere.
    NoStatus,
}

/// A VM as virtme-ng composed it.
#[derive(Debug, PartialEq, Eq)]
pub struct Composed {
    /// QEMU's argument vector.
    pub argv: Vec<String>,
    /// The file that gets the exit status of the script.
    pub status: Utf8PathBuf,
}

/// Options that are the same for a run and for a person.
fn options(spec: &Spec, virtme: &Virtme) -> Vec<String> {
    let mut options: Vec<String> = [
        "--kimg",
        spec.bzimage.as_str(),
        // The modules are in the stage; virtme-ng would look for them on the host.
        "--mods",
        "none",
        // virtiofsd is not everywhere, and Debian 12's runs as root only.
        "--force-9p",
        // The accelerator is ours to choose, and is never fallen back from; see `extra`.
        "--disable-kvm",
        "--disable-microvm",
        "--memory",
        &format!("{}M", spec.memory_mib),
        "--cpus",
        &spec.cpus.to_string(),
        &format!("--rodir={STAGE}={}", virtme.stage),
    ]
    .map(str::to_owned)
    .into();
    // A word of the command line that the kernel does not know goes into the environment of process 1 (init/main.c).
    let path = format!("PATH={}/early", virtme.stage);
    let words = argv::kernel_command_line(spec);
    for word in [ROOT_FLAGS, &path].into_iter().chain(words.split(' ')) {
        options.extend(["-a".to_owned(), word.to_owned()]);
    }
    options
}

/// QEMU's options after those of virtme-ng, the last of which counts.
fn extra(spec: &Spec) -> Vec<String> {
    let mut extra = ["-nodefaults", "-no-user-config", "-machine", argv::MACHINE].map(str::to_owned).to_vec();
    extra.extend(argv::accelerator(spec));
    extra.extend(argv::icount(spec));
    extra
}

/// virtme-run's arguments for a run.
fn for_run(spec: &Spec, virtme: &Virtme, fds: Fds) -> Vec<String> {
    let mut all = options(spec, virtme);
    let script = format!("exec {STAGE}/guest");
    all.extend(
        ["--show-boot-console", "--script-sh", &script, "--dry-run", "--show-command"].map(str::to_owned),
    );
    all.push("--qemu-opts".to_owned());
    all.extend(extra(spec));
    all.extend(argv::ports(fds));
    all
}

/// virtme-run's arguments for a person at the terminal: its own session on the console, with the guest binary for a
/// shell, which makes the guest and gives the terminal to a real one.
fn for_terminal(spec: &Spec, virtme: &Virtme) -> Vec<String> {
    let spec = Spec { mode: mode::SHELL, verbose: false, ..spec.clone() };
    let mut all = options(&spec, virtme);
    all.extend(["--shell".to_owned(), format!("{STAGE}/guest"), "--qemu-opts".to_owned()]);
    all.extend(extra(&spec));
    all
}

/// Program, environment and arguments as one command line; env(1) sets the environment.
pub fn terminal_command(spec: &Spec, virtme: &Virtme) -> Vec<String> {
    let modules = virtme.modules.iter().map(|dir| format!("PYTHONPATH={dir}"));
    let mut all = vec!["env".to_owned()];
    all.extend(modules.chain([virtme.program.to_string()]).chain(for_terminal(spec, virtme)));
    all
}

/// A script that lets virtme-ng boot the same VM by hand, with a shell instead of the agent.
pub fn script(spec: &Spec, virtme: &Virtme, about: &str) -> String {
    let lines: Vec<_> = terminal_command(spec, virtme).iter().map(|arg| quoted(arg)).collect();
    format!(
        "#!/bin/sh\n# virtme-ng {} boots the same kernel over this host's file system, with a shell: {about}\n# Ctrl-A X ends QEMU.\nexec {}\n",
        virtme.version,
        lines.join(" \\\n    ")
    )
}

/// Has virtme-ng compose a VM; the exit status will be in a file in `dir`.
pub fn compose(spec: &Spec, virtme: &Virtme, fds: Fds, dir: &Utf8Path) -> anyhow::Result<Composed> {
    let (theirs, _ours) = UnixStream::pair().context("make a socket")?;
    let mut tool = Tool::new(virtme.program.as_str())
        .args(for_run(spec, virtme, fds))
        // virtme-run chooses a name in here for the file of the exit status.
        .env("TMPDIR", dir.as_str())
        .stdin(theirs);
    if let Some(modules) = &virtme.modules {
        tool = tool.env("PYTHONPATH", modules.as_str());
    }
    let printed = tool.read().context("have virtme-ng compose the VM")?.text;
    let mut composed = read(&printed, spec, dir).with_context(|| {
        format!("virtme-ng {} composed no VM that can be used: {printed:?}", virtme.version)
    })?;
    if let Some(sabotage) = virtme.sabotage {
        sabotage.apply(&mut composed);
    }
    Ok(composed)
}

/// Reads the command that virtme-run printed, and makes sure of all that the harness relies on.
fn read(printed: &str, spec: &Spec, dir: &Utf8Path) -> anyhow::Result<Composed> {
    let argv = shlex::split(printed.trim()).context("it is no command line")?;
    let after = |option: &'static str| {
        argv.windows(2).filter(move |pair| pair[0] == option).map(|pair| pair[1].as_str())
    };
    anyhow::ensure!(argv.first().is_some_and(|program| program.contains("qemu")), "it does not start QEMU");
    anyhow::ensure!(after("-kernel").eq([spec.bzimage.as_str()]), "it does not boot this kernel");
    anyhow::ensure!(
        after("-chardev").any(|device| device == CONSOLE),
        "it has no console on standard output"
    );
    anyhow::ensure!(
        after("-fsdev").count() > 0
            && after("-fsdev").all(|device| device.split(',').any(|o| o == "readonly=on")),
        "the guest could write to this host's file system"
    );
    let status = |device: &str| device.strip_prefix("file,id=ret,path=").map(Utf8PathBuf::from);
    let mut statuses = after("-chardev").filter_map(status);
    let status =
        statuses.next().filter(|path| path.starts_with(dir)).context("it has no port for the exit status")?;
    Ok(Composed { status, argv: argv.clone() })
}

impl Sabotage {
    fn apply(self, composed: &mut Composed) {
        let (from, to) = match self {
            Self::NoPort => (format!("name={PORT_NAME}"), "name=nobody".to_owned()),
            Self::NoStatus => (format!("path={}", composed.status), "path=/dev/null".to_owned()),
        };
        for arg in &mut composed.argv {
            *arg = arg.replace(&from, &to);
        }
    }
}

/// What is wrong with the exit status that the script left, if something is.
pub fn wrong_status(file: &Utf8Path) -> Option<String> {
    match fs_err::read_to_string(file).map(|text| text.trim().to_owned()) {
        Ok(text) if text == "0" => None,
        Ok(text) if text.is_empty() => {
            Some("virtme-ng's process 1 told no exit status of the agent".to_owned())
        }
        Ok(text) => Some(format!("the agent ended with status {text}, says virtme-ng's process 1")),
        Err(error) => Some(format!("the exit status of the agent is lost: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use super::super::argv::tests::spec;
    use super::*;

    fn virtme() -> Virtme {
        Virtme {
            program: "/cache/virtme-ng/1.42/bin/virtme-run".into(),
            modules: Some("/cache/virtme-ng/1.42".into()),
            version: "1.42".into(),
            stage: "/cache/images/i/virtme-1".into(),
            sabotage: None,
        }
    }

    const FDS: Fds = Fds { agent: 7, qmp: 9 };

    /// As virtme-run 1.42 printed it for the arguments of the first test, with less of the kernel's command line.
    const PRINTED: &str = "/usr/bin/qemu-system-x86_64 -m 512M -fsdev local,id=virtfs3,path=/,security_model=none,readonly=on,multidevs=remap -device virtio-9p-pci,fsdev=virtfs3,mount_tag=/dev/root -fsdev local,id=virtfs7,path=/cache/images/i/virtme-1,security_model=none,readonly=on,multidevs=remap -device virtio-9p-pci,fsdev=virtfs7,mount_tag=virtme.initmount0 -device i6300esb,id=watchdog0 -machine q35 -cpu max -parallel none -net none -smp 2 -vga none -display none -chardev stdio,id=console,signal=off,mux=off -serial chardev:console -chardev file,id=ret,path=/runs/vm-1/virtme_retq7rfmn63 -device virtio-serial-pci -device virtserialport,name=virtme.ret,chardev=ret -no-reboot -kernel /cache/kernels/k/bzImage -append 'console=ttyS0 virtme.exec=`ZXhlYyAvcnVuL2RtLXB1c2hiYWNrL2d1ZXN0` ro quiet' -nodefaults -device virtio-serial-pci -chardev socket,id=agent,fd=7 -device virtserialport,chardev=agent,name=org.dm-pushback.agent\n";

    fn read_it(printed: &str) -> Result<Composed, String> {
        read(printed, &spec(), "/runs/vm-1".into()).map_err(|error| format!("{error:#}"))
    }

    #[test]
    fn what_virtme_run_is_asked_for() {
        insta::assert_snapshot!(for_run(&spec(), &virtme(), FDS).join(" "), @"--kimg /cache/kernels/k/bzImage --mods none --force-9p --disable-kvm --disable-microvm --memory 512M --cpus 2 --rodir=/run/dm-pushback=/cache/images/i/virtme-1 -a rootflags=version=9p2000.L,trans=virtio,access=any,msize=524288,cache=loose -a PATH=/cache/images/i/virtme-1/early -a console=ttyS0 -a panic=-1 -a oops=panic -a printk.devkmsg=on -a sysrq_always_enabled -a no_timer_check -a tsc=reliable -a random.trust_cpu=on -a dm_pushback.mode=agent -a loglevel=5 --show-boot-console --script-sh exec /run/dm-pushback/guest --dry-run --show-command --qemu-opts -nodefaults -no-user-config -machine q35,smm=off,hpet=off,vmport=off -accel tcg,thread=multi -cpu max -device virtio-serial-pci -chardev socket,id=agent,fd=7 -device virtserialport,chardev=agent,name=org.dm-pushback.agent -chardev socket,id=qmp,fd=9 -mon chardev=qmp,mode=control");
        let kvm = Spec { accel: "kvm".into(), cpu_model: "host".into(), ..spec() };
        insta::assert_snapshot!(extra(&kvm).join(" "), @"-nodefaults -no-user-config -machine q35,smm=off,hpet=off,vmport=off -accel kvm -cpu host");
    }

    #[test]
    fn by_hand_it_is_virtme_ng_that_boots() {
        insta::assert_snapshot!(script(&spec(), &virtme(), "compat::x[bio]").replace(" \\\n    ", " "), @r"
        #!/bin/sh
        # virtme-ng 1.42 boots the same kernel over this host's file system, with a shell: compat::x[bio]
        # Ctrl-A X ends QEMU.
        exec env PYTHONPATH=/cache/virtme-ng/1.42 /cache/virtme-ng/1.42/bin/virtme-run --kimg /cache/kernels/k/bzImage --mods none --force-9p --disable-kvm --disable-microvm --memory 512M --cpus 2 --rodir=/run/dm-pushback=/cache/images/i/virtme-1 -a rootflags=version=9p2000.L,trans=virtio,access=any,msize=524288,cache=loose -a PATH=/cache/images/i/virtme-1/early -a console=ttyS0 -a panic=-1 -a oops=panic -a printk.devkmsg=on -a sysrq_always_enabled -a no_timer_check -a tsc=reliable -a random.trust_cpu=on -a dm_pushback.mode=shell -a loglevel=5 --shell /run/dm-pushback/guest --qemu-opts -nodefaults -no-user-config -machine q35,smm=off,hpet=off,vmport=off -accel tcg,thread=multi -cpu max
        ");
    }

    #[test]
    fn a_command_is_read() {
        let composed = read_it(PRINTED).unwrap();
        assert_eq!(composed.status, "/runs/vm-1/virtme_retq7rfmn63");
        assert_eq!(composed.argv[0], "/usr/bin/qemu-system-x86_64");
        assert!(composed.argv.iter().any(|arg| arg.ends_with("` ro quiet")), "{:?}", composed.argv);
    }

    #[test]
    fn a_command_that_lacks_something_is_refused() {
        for (from, to, why) in [
            (PRINTED, "", "it does not start QEMU"),
            (PRINTED, "it's", "it is no command line"),
            ("/k/bzImage", "/other/bzImage", "it does not boot this kernel"),
            (",mux=off", ",mux=on", "it has no console on standard output"),
            (
                "readonly=on,multidevs=remap -device virtio-9p-pci,fsdev=virtfs7",
                "multidevs=remap",
                "the guest could write to this host's file system",
            ),
            ("path=/runs/vm-1", "path=/tmp", "it has no port for the exit status"),
        ] {
            assert_eq!(read_it(&PRINTED.replace(from, to)).unwrap_err(), why, "{to}");
        }
    }

    #[test]
    fn sabotage_breaks_one_thing_each() {
        let broken = |sabotage: Sabotage| {
            let mut composed = read_it(PRINTED).unwrap();
            sabotage.apply(&mut composed);
            let before = read_it(PRINTED).unwrap().argv;
            composed
                .argv
                .iter()
                .zip(before)
                .filter(|(now, before)| *now != before)
                .map(|(now, _)| now.clone())
                .collect::<Vec<_>>()
        };
        assert_eq!(broken(Sabotage::NoPort), ["virtserialport,chardev=agent,name=nobody"]);
        assert_eq!(broken(Sabotage::NoStatus), ["file,id=ret,path=/dev/null"]);
    }

    #[test]
    fn only_a_told_zero_is_a_good_status() {
        let dir = tempfile::tempdir().unwrap();
        let file = Utf8PathBuf::try_from(dir.path().join("ret")).unwrap();
        assert!(wrong_status(&file).unwrap().starts_with("the exit status of the agent is lost"));
        for (text, wrong) in [
            ("0\n", None),
            ("", Some("virtme-ng's process 1 told no exit status of the agent")),
            ("1", Some("the agent ended with status 1, says virtme-ng's process 1")),
        ] {
            fs_err::write(&file, text).unwrap();
            assert_eq!(wrong_status(&file).as_deref(), wrong, "{text:?}");
        }
    }
}
