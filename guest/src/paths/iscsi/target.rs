// SPDX-License-Identifier: GPL-2.0-only
//! The target: LIO, the kernel's own, made through configfs. One disk in a file, exported by [`PORTALS`] portals, each
//! with a target portal group and a loopback address of its own: a path of its own, that can be taken away alone.
//!
//! Documentation/target/ of the kernel tells little; the attributes are those of `target_core_configfs.c` and
//! `iscsi_target_configfs.c` in drivers/target.

use std::fmt;
use std::fs;
use std::io;
use std::net::Ipv4Addr;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use super::address;
use super::group::PortGroup;
use crate::failure::{GuestContext as _, Outcome};
use crate::modules;
use crate::paths::DISK_MIB;
use crate::report::happened;

/// The modules: the iSCSI fabric, and disks in files.
pub const MODULES: [&str; 2] = ["target_core_file", "iscsi_target_mod"];

/// The target's name. `.test` is nobody's domain (RFC 2606).
pub const IQN: &str = "iqn.2026-11.test.dm-pushback:disk";

/// How many portals, and so how many paths there can be. The most that a case asks for.
pub const PORTALS: u8 = 4;

/// Where the disk's bytes are: in a tmpfs, whose `fallocate` can punch holes, which UNMAP needs.
const FILE: &str = "/run/dm-pushback-disk";

pub(super) const CORE: &str = "/sys/kernel/config/target/core/fileio_0/disk";
const FABRIC: &str = "/sys/kernel/config/target/iscsi";

/// How the kernel writes `fileio` devices: through the page cache of the tmpfs. The disk then has a write cache.
/// Without it each write would be synchronous, and the disk would report none.
const BUFFERED: &str = "fd_buffered_io=1";

/// One portal, by its number from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Portal(u8);

impl Portal {
    /// All of them.
    pub fn all() -> impl Iterator<Item = Self> {
        (1..=PORTALS).map(Self)
    }

    /// The portal whose group has this tag.
    pub fn of_tag(tag: u8) -> Option<Self> {
        Self::all().find(|portal| portal.0 == tag)
    }

    /// Its address, of a network that is reserved for documentation (RFC 5737).
    pub fn address(self) -> Ipv4Addr {
        Ipv4Addr::new(192, 0, 2, self.0)
    }

    /// What the address is called as an alias of the loopback device.
    fn alias(self) -> String {
        format!("lo:{}", self.0)
    }

    /// Tag of its target portal group, and number of its target port group.
    pub(super) fn tag(self) -> u8 {
        self.0
    }

    /// The disk as it is seen here.
    pub(super) fn lun(self) -> PathBuf {
        self.group().join("lun/lun_0")
    }

    fn group(self) -> PathBuf {
        PathBuf::from(format!("{FABRIC}/{IQN}/tpgt_{}", self.0))
    }

    /// Lets initiators log in.
    pub fn enable(self) -> Outcome {
        write(&self.group().join("enable"), "1").guest(format_args!("enable portal {self}"))
    }

    /// Refuses log-ins and cuts the session that is there (`iscsit_tpg_disable_portal_group`).
    pub fn disable(self) -> Outcome {
        write(&self.group().join("enable"), "0").guest(format_args!("disable portal {self}"))
    }

    /// Whether it does not answer: disabled, or without an address.
    pub fn is_cut(self) -> bool {
        let enabled = fs::read_to_string(self.group().join("enable"));
        enabled.is_ok_and(|value| value.trim() != "1") || !address::exists(&self.alias())
    }

    /// Takes its address away.
    pub fn remove_address(self) -> Outcome {
        address::remove(&self.alias()).guest(format_args!("remove the address of portal {self}"))
    }

    /// Gives it its address.
    pub fn add_address(self) -> Outcome {
        address::add(&self.alias(), self.address()).guest(format_args!("add the address of portal {self}"))
    }

    fn make(self) -> io::Result<()> {
        address::add(&self.alias(), self.address())?;
        let group = self.group();
        fs::create_dir_all(&group)?;
        // Demo mode: whoever comes may log in and write, without a name and without a password.
        for (attribute, value) in
            [("authentication", "0"), ("generate_node_acls", "1"), ("demo_mode_write_protect", "0")]
        {
            write(&group.join("attrib").join(attribute), value)?;
        }
        // How long a lost session is kept; iscsid.conf says why so long.
        write(&group.join("param/DefaultTime2Retain"), "3600")?;
        fs::create_dir(self.lun())?;
        symlink(CORE, self.lun().join("disk"))?;
        PortGroup::make(self)?;
        fs::create_dir(group.join(format!("np/{}:3260", self.address())))?;
        write(&group.join("enable"), "1")
    }
}

impl fmt::Display for Portal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:3260", self.address())
    }
}

/// Makes the target, if that was not done yet in this VM.
pub fn make() -> Outcome {
    if exists() {
        return Ok(());
    }
    for module in MODULES {
        modules::require(module)?.insert(module, "").guest(format_args!("load {module}"))?;
    }
    address::bring_up_loopback().guest("bring up the loopback device")?;
    make_disk().guest("make the disk of the iSCSI target")?;
    Portal::all().try_for_each(Portal::make).guest("make the iSCSI target")?;
    happened("iscsi target made", &[("target", &IQN), ("portals", &PORTALS)]);
    Ok(())
}

/// Whether it is there.
pub fn exists() -> bool {
    Path::new(FABRIC).join(IQN).exists()
}

fn make_disk() -> io::Result<()> {
    let bytes = u64::from(DISK_MIB) << 20;
    fs::File::create(FILE)?.set_len(bytes)?;
    fs::create_dir_all(CORE)?;
    let core = Path::new(CORE);
    write(&core.join("control"), &format!("fd_dev_name={FILE},fd_dev_size={bytes},{BUFFERED}"))?;
    write(&core.join("wwn/vpd_unit_serial"), "dm-pushback")?;
    write(&core.join("enable"), "1")?;
    // UNMAP, and WRITE SAME with UNMAP: discard and write-zeroes.
    for attribute in ["emulate_tpu", "emulate_tpws"] {
        write(&core.join("attrib").join(attribute), "1")?;
    }
    Ok(())
}

/// Targets that are none of ours.
pub fn others() -> Vec<String> {
    let names = fs::read_dir(FABRIC).into_iter().flatten().flatten();
    let names = names.filter(|entry| entry.path().is_dir());
    let names = names.filter_map(|entry| entry.file_name().into_string().ok());
    let names = names.filter(|name| name.starts_with("iqn.") && name != IQN);
    names.map(|name| format!("iSCSI target {name}")).collect()
}

/// Writes an attribute; the error names it.
pub(super) fn write(file: &Path, value: &str) -> io::Result<()> {
    fs::write(file, value)
        .map_err(|error| io::Error::new(error.kind(), format!("{value} to {}: {error}", file.display())))
}
