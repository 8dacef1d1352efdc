// SPDX-License-Identifier: GPL-2.0-only
//! The initiator: open-iscsi's own `iscsid` and `iscsiadm`, as an administrator uses them. What they have done is read
//! from sysfs.

use std::fs;
use std::io;
use std::os::unix::process::CommandExt as _;
use std::path::{Path as File, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use nix::mount::{MsFlags, mount};

use super::target::{IQN, Portal};
use crate::dm::tool::{Call, clean};
use crate::failure::{GuestContext as _, Outcome, skip};
use crate::modules;
use crate::paths::{Hctl, Path, read};
use crate::report::happened;
use crate::wait::wait_for;

/// The modules: the transport over TCP.
pub const MODULE: &str = "iscsi_tcp";

/// The daemon, and what it is asked with.
const TOOLS: [&str; 2] = ["iscsid", "iscsiadm"];

/// The configuration, as files of the repository; written where open-iscsi looks for it, so that the guest does not
/// depend on the file system that it was booted from.
const CONFIGURATION: [(&str, &str); 2] = [
    ("iscsid.conf", include_str!("../../../../images/iscsi/iscsid.conf")),
    ("initiatorname.iscsi", include_str!("../../../../images/iscsi/initiatorname.iscsi")),
];

/// Where it looks. The records of targets are kept there too (Debian), or below the second folder (Fedora, Arch).
const FOLDERS: [&str; 2] = ["/etc/iscsi", "/var/lib/iscsi"];

/// Locks of `iscsiadm`: it makes the last folder only.
const LOCKS: &str = "/run/lock";

/// The process id of the daemon, and what it said.
const PID: &str = "/run/dm-pushback-iscsid.pid";
const LOG: &str = "/run/dm-pushback-iscsid.log";

/// How long the daemon may take to listen, a session to come or to go, before scaling.
const PATIENCE: Duration = Duration::from_secs(10);

/// Where the daemon listens, as /proc/net/unix shows an abstract address.
const SOCKET: &str = "@ISCSIADM_ABSTRACT_NAMESPACE";

/// Whether a session finds out by itself that its target does not answer, and how soon.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pings {
    /// As iscsid.conf has it.
    Never,
    /// After a second of silence a ping is sent, after another one without an answer the session is lost: the shortest that
    /// can be configured (`iscsi_check_transport_timeouts`).
    Often,
}

impl Pings {
    const fn seconds(self) -> &'static str {
        match self {
            Self::Never => "0",
            Self::Often => "1",
        }
    }

    /// Puts it into the records of the portals, for the next log-in.
    fn record(self) -> Outcome {
        const INTERVAL: &str = "node.conn[0].timeo.noop_out_interval";
        const TIMEOUT: &str = "node.conn[0].timeo.noop_out_timeout";
        let to = self.seconds();
        let args =
            ["-m", "node", "-T", IQN, "-o", "update", "-n", INTERVAL, "-v", to, "-n", TIMEOUT, "-v", to];
        iscsiadm("update", &args).run().map(drop)
    }
}

/// A session of our target: one path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    /// `session3`.
    pub name: String,
    /// Number of its SCSI host.
    pub host: u32,
    /// Where it is logged in.
    pub portal: Portal,
}

impl Session {
    /// Where its disk is.
    pub fn address(&self) -> Hctl {
        Hctl { host: self.host, channel: 0, target: 0, lun: 0 }
    }

    /// `LOGGED_IN`, `FAILED` (lost, its I/O is held), `FREE` (its I/O fails); `None` when it is gone.
    pub fn state(&self) -> Option<String> {
        read(&format!("{}/state", self.folder())).ok()
    }

    /// Whether the initiator says so.
    pub fn is_logged_in(&self) -> bool {
        self.state().as_deref() == Some("LOGGED_IN")
    }

    pub(super) fn folder(&self) -> String {
        format!("/sys/class/iscsi_session/{}", self.name)
    }

    /// Whether it asks its target for a sign of life.
    pub fn pings(&self) -> Pings {
        let number = self.name.trim_start_matches("session");
        let interval = read(&format!("/sys/class/iscsi_connection/connection{number}:0/recv_tmo"));
        if interval.is_ok_and(|seconds| seconds != "0") { Pings::Often } else { Pings::Never }
    }

    /// The path over it, if it can be used.
    pub fn path(&self) -> Option<Path> {
        if self.is_logged_in() { Path::usable_at(self.address()) } else { None }
    }
}

/// Every session of our target, in the order of their portals.
pub fn sessions() -> Vec<Session> {
    let names = fs::read_dir("/sys/class/iscsi_session").into_iter().flatten().flatten();
    let names = names.filter_map(|entry| entry.file_name().into_string().ok());
    let mut found: Vec<_> = names.filter_map(session).collect();
    found.sort_by_key(|session| session.portal);
    found
}

fn session(name: String) -> Option<Session> {
    let folder = PathBuf::from("/sys/class/iscsi_session").join(&name);
    let attribute = |name: &str| fs::read_to_string(folder.join(name)).ok();
    let portal = Portal::of_tag(attribute("tpgt")?.trim().parse().ok()?)?;
    if attribute("targetname")?.trim() != IQN {
        return None;
    }
    // /sys/devices/platform/host2/session1/iscsi_session/session1
    let place = fs::canonicalize(&folder).ok()?;
    let host = place.iter().find_map(|part| part.to_str()?.strip_prefix("host")?.parse().ok())?;
    Some(Session { name, host, portal })
}

/// Starts the daemon, if it does not run yet, and learns of the target's portals.
pub fn start() -> Outcome {
    if daemon().is_some() {
        return Ok(());
    }
    require_tools()?;
    modules::require(MODULE)?.insert(MODULE, "").guest(format_args!("load {MODULE}"))?;
    write_configuration().guest("write the configuration of iscsid")?;
    let log = fs::File::create(LOG).guest("make a log for iscsid")?;
    let errors = log.try_clone().guest("make a log for iscsid")?;
    // A group of its own: it outlives the case that started it.
    let child = clean(TOOLS[0])
        .arg("-f")
        .stdin(Stdio::null())
        .stdout(log)
        .stderr(errors)
        .process_group(0)
        .spawn()
        .guest("start iscsid")?;
    fs::write(PID, child.id().to_string()).guest("note the process id of iscsid")?;
    wait_for(PATIENCE, "iscsid listens", || {
        let sockets = fs::read_to_string("/proc/net/unix").guest("read /proc/net/unix")?;
        if sockets.contains(SOCKET) { Ok(Ok(())) } else { Ok(Err(said())) }
    })?;
    happened("iscsid started", &[("pid", &child.id())]);
    let first = Portal::all().next().map(|portal| portal.to_string()).unwrap_or_default();
    iscsiadm("discovery", &["-m", "discovery", "-t", "sendtargets", "-p", &first]).run().map(drop)
}

/// The daemon's process, if it runs.
pub fn daemon() -> Option<i32> {
    let pid = fs::read_to_string(PID).ok()?;
    let comm = fs::read_to_string(format!("/proc/{pid}/comm")).ok()?;
    if comm.trim() == TOOLS[0] { pid.parse().ok() } else { None }
}

/// Logs in at each of the portals, all at once, and waits for their disks.
pub fn log_in(portals: &[Portal], pings: Pings) -> Outcome<Vec<Path>> {
    happened("log-in started", &[("portals", &portals.len())]);
    if pings != Pings::Never {
        pings.record()?;
    }
    let logged_in = each("log-in", "--login", portals);
    if pings != Pings::Never {
        Pings::Never.record()?;
    }
    logged_in?;
    let found = wait_for(PATIENCE, "the sessions are logged in", || {
        let all = sessions();
        let mine: Vec<_> = all.iter().filter(|session| portals.contains(&session.portal)).cloned().collect();
        let ready = mine.len() == portals.len() && mine.iter().all(Session::is_logged_in);
        Ok(if ready { Ok(mine) } else { Err(format!("{all:?}; {}", said())) })
    })?;
    found.iter().map(|session| Path::at(session.address())).collect()
}

/// Ends sessions, all at once, and waits until they are gone.
pub fn log_out(sessions: &[Session]) -> Outcome {
    let portals: Vec<_> = sessions.iter().map(|session| session.portal).collect();
    each("log-out", "--logout", &portals)?;
    wait_for(PATIENCE, "the sessions are gone", || {
        let left: Vec<_> = sessions.iter().filter(|session| session.state().is_some()).collect();
        let hosts = sessions.iter().filter(|session| File::new(&host_folder(session.host)).exists());
        Ok(if left.is_empty() && hosts.count() == 0 { Ok(()) } else { Err(format!("{left:?}")) })
    })?;
    happened("logged out", &[("sessions", &sessions.len())]);
    Ok(())
}

fn host_folder(host: u32) -> String {
    format!("/sys/class/scsi_host/host{host}")
}

fn each(what: &str, verb: &str, portals: &[Portal]) -> Outcome {
    let portals: Vec<String> = portals.iter().map(ToString::to_string).collect();
    let args: Vec<_> = portals.iter().map(|portal| ["-m", "node", "-T", IQN, "-p", portal, verb]).collect();
    Call::run_together(&args.iter().map(|args| iscsiadm(what, args)).collect::<Vec<_>>())
}

fn iscsiadm<'a>(what: &'a str, args: &'a [&'a str]) -> Call<'a> {
    Call { program: TOOLS[1], what, args, stdin: None }
}

/// What the daemon said last.
fn said() -> String {
    let log = fs::read_to_string(LOG).unwrap_or_default();
    let last: Vec<_> = log.lines().rev().take(3).collect();
    format!("iscsid said: {}", last.into_iter().rev().collect::<Vec<_>>().join(" | "))
}

fn require_tools() -> Outcome {
    let path = std::env::var_os("PATH").unwrap_or_default();
    for tool in TOOLS {
        if !std::env::split_paths(&path).any(|dir| dir.join(tool).exists()) {
            return skip(format!(
                "no {tool} in the guest (hint: `cargo xtask doctor` tells which package has it)"
            ));
        }
    }
    Ok(())
}

fn write_configuration() -> io::Result<()> {
    fs::create_dir_all(LOCKS)?;
    for folder in FOLDERS {
        if File::new(folder).exists() {
            // Empty and writable, whatever the guest was booted from.
            mount(Some("tmpfs"), folder, Some("tmpfs"), MsFlags::empty(), None::<&str>)?;
        }
    }
    for (name, text) in CONFIGURATION {
        fs::write(File::new(FOLDERS[0]).join(name), text)?;
    }
    Ok(())
}
