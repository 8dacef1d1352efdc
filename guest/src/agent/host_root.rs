// SPDX-License-Identifier: GPL-2.0-only
//! The other front end: process 1 is virtme-ng's, the root is the host's file system, read-only, and the agent is a script
//! that this process 1 started. Makes of that the guest that an image is: what the manifest puts under /etc, /var, /run
//! and /tmp and nothing of the host's there, the manifest's tools first on `PATH`, the kernel's modules, no udevd.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use nix::mount::{MsFlags, mount};
use nix::sys::prctl;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::process;
use crate::message::STAGE;

/// udevd's own names for itself and for those that work for it.
const UDEV: [&str; 4] = ["systemd-udevd", "(udev-worker)", "udevd", "udev-worker"];

/// Where it keeps what it knows.
const UDEV_STATE: &str = "/run/udev";

/// udevd ends when its workers have: milliseconds, unless one hangs.
const ENDS_WITHIN: Duration = Duration::from_secs(5);

/// Folders that begin empty in each VM. The host's /etc would bring the configuration of its daemons, mke2fs.conf for one.
const FRESH: [&str; 3] = ["/etc", "/var", "/tmp"];

/// What of the host's /etc stays: without the linker's cache a library outside of the standard folders is not found.
const LINKER_CACHE: &str = "/etc/ld.so.cache";

/// The links to the tools, in memory: nothing of the stage's 9p mount is cached, and each start of a program looks here.
const TOOLS: &str = "/run/dm-pushback-bin";

/// Where the host's programs are.
const PROGRAMS: &str = "/usr";

/// Whether that is so here: the agent is not process 1.
pub fn is_it() -> bool {
    nix::unistd::getpid() != Pid::from_raw(1)
}

/// `PATH` of the guest: the tools of the manifest, wherever the host has them.
pub fn path() -> String {
    format!("{TOOLS}:/usr/sbin:/usr/bin:/sbin:/bin")
}

/// Makes the guest. The kernel's file systems are mounted.
pub fn settle() -> io::Result<()> {
    // Orphans of a case become the agent's, as they do when it is process 1.
    prctl::set_child_subreaper(true)?;
    stop_udevd()?;
    link_ports()?;
    let linker_cache = fs::read(LINKER_CACHE).ok();
    for place in FRESH {
        mount(Some("tmpfs"), place, Some("tmpfs"), MsFlags::MS_NOSUID | MsFlags::MS_NODEV, None::<&str>)
            .map_err(|errno| io::Error::other(format!("mount tmpfs on {place}: {errno}")))?;
    }
    copy(&Path::new(STAGE).join("root"), Path::new("/"))?;
    add_programs()?;
    fs::create_dir_all(TOOLS)?;
    copy(&Path::new(STAGE).join("bin"), Path::new(TOOLS))?;
    if let Some(bytes) = linker_cache {
        fs::write(LINKER_CACHE, bytes)?;
    }
    let missing = missing_tools()?;
    if !missing.is_empty() {
        return Err(io::Error::other(format!("the host has no {}", missing.join(", no "))));
    }
    // For modprobe as somebody starts it (modprobe(8)), and as the kernel does, which knows no environment.
    // SAFETY: the agent has one thread; nobody reads the environment at the same time.
    unsafe { std::env::set_var("MODPROBE_OPTIONS", format!("-d {STAGE}")) };
    fs::write("/proc/sys/kernel/modprobe", format!("{STAGE}/modprobe"))
}

/// Puts what an image has and the host lacks (multipathd, from a package that is not installed) among the host's programs.
/// An overlay without an upper layer can't be written to (Documentation/filesystems/overlayfs.rst).
fn add_programs() -> io::Result<()> {
    let added = format!("{STAGE}/host{PROGRAMS}");
    if !Path::new(&added).exists() {
        return Ok(());
    }
    let layers = format!("lowerdir={added}:{PROGRAMS}");
    mount(Some("overlay"), PROGRAMS, Some("overlay"), MsFlags::MS_RDONLY, Some(layers.as_str()))
        .map_err(|errno| io::Error::other(format!("mount an overlay on {PROGRAMS}: {errno}")))
}

/// virtme-ng starts the host's udevd. Its rules open every dm device that changes: blkid reads from one that queues and
/// sleeps uninterruptibly, and a device that is open can't be removed. The image has no udevd either.
fn stop_udevd() -> io::Result<()> {
    let start = Instant::now();
    loop {
        let left: Vec<_> = process::tasks()
            .into_iter()
            .filter(|task| !task.kernel && task.state != 'Z' && UDEV.contains(&task.comm.as_str()))
            .collect();
        if left.is_empty() {
            // Its socket and its database: whoever looks for an udevd shall find none.
            return fs::remove_dir_all(UDEV_STATE).or_else(|error| match error.kind() {
                io::ErrorKind::NotFound => Ok(()),
                _ => Err(error),
            });
        }
        let signal = if start.elapsed() < ENDS_WITHIN { Signal::SIGTERM } else { Signal::SIGKILL };
        if start.elapsed() > 2 * ENDS_WITHIN {
            return Err(io::Error::other(format!("udevd does not end: {left:?}")));
        }
        for task in left {
            // Gone already is fine.
            let _ = kill(Pid::from_raw(task.pid), signal);
        }
        thread::sleep(Duration::from_millis(10));
    }
}

/// The links that udevd makes: process 1 looks for /dev/virtio-ports/virtme.ret to tell the host how the agent ended.
fn link_ports() -> io::Result<()> {
    let links = Path::new("/dev/virtio-ports");
    fs::create_dir_all(links)?;
    for port in fs::read_dir("/sys/class/virtio-ports")? {
        let port = port?;
        let name = fs::read_to_string(port.path().join("name")).unwrap_or_default();
        if name.trim().is_empty() {
            continue; // a console, not a port
        }
        match symlink(Path::new("..").join(port.file_name()), links.join(name.trim())) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

/// Copies folders, files and links with their permissions; what is there is replaced, folders are kept.
fn copy(from: &Path, to: &Path) -> io::Result<()> {
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let (kind, place) = (entry.file_type()?, to.join(entry.file_name()));
        let named =
            |error: io::Error| io::Error::new(error.kind(), format!("make {}: {error}", place.display()));
        if kind.is_dir() {
            let made = !place.exists();
            fs::create_dir_all(&place).map_err(named)?;
            if made {
                fs::set_permissions(&place, entry.metadata()?.permissions()).map_err(named)?;
            }
            copy(&entry.path(), &place)?;
        } else if kind.is_symlink() {
            symlink(fs::read_link(entry.path())?, &place).map_err(named)?;
        } else {
            // Written anew instead of fs::copy: copy_file_range(2) from 9p to tmpfs is refused by some kernels.
            fs::write(&place, fs::read(entry.path())?).map_err(named)?;
            let mode = fs::Permissions::from_mode(entry.metadata()?.permissions().mode());
            fs::set_permissions(&place, mode).map_err(named)?;
        }
    }
    Ok(())
}

/// Tools of the manifest whose link leads nowhere: removed from the host since the stage was made.
fn missing_tools() -> io::Result<Vec<String>> {
    let links = fs::read_dir(TOOLS)?;
    let paths: Vec<PathBuf> = links.map(|link| Ok(link?.path())).collect::<io::Result<_>>()?;
    Ok(dangling(&paths))
}

fn dangling(paths: &[PathBuf]) -> Vec<String> {
    let gone = paths.iter().filter(|path| !path.exists());
    let mut names: Vec<_> =
        gone.filter_map(|path| path.file_name().map(OsStr::to_string_lossy)).map(Into::into).collect();
    names.sort();
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tree_is_copied_with_its_modes_and_links() {
        let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let secret = from.path().join("etc/secret");
        fs::create_dir_all(secret.parent().unwrap()).unwrap();
        fs::write(&secret, "x").unwrap();
        fs::set_permissions(&secret, fs::Permissions::from_mode(0o600)).unwrap();
        symlink("secret", from.path().join("etc/link")).unwrap();
        fs::create_dir_all(to.path().join("etc")).unwrap();
        copy(from.path(), to.path()).unwrap();
        let copied = to.path().join("etc/secret");
        assert_eq!(fs::read_to_string(&copied).unwrap(), "x");
        assert_eq!(fs::metadata(&copied).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_link(to.path().join("etc/link")).unwrap(), Path::new("secret"));
    }

    #[test]
    fn a_tool_that_the_host_lost_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let (good, bad) = (dir.path().join("good"), dir.path().join("dmsetup"));
        symlink("/proc/self/exe", &good).unwrap();
        symlink("/nonexistent", &bad).unwrap();
        assert_eq!(dangling(&[good, bad]), ["dmsetup"]);
    }
}
