// SPDX-License-Identifier: GPL-2.0-only
//! A condition: one point of a case's matrix (transport × queue mode × suspend form × fault × kind of I/O ×
//! file system × signal).
//!
//! The names printed here are stable: they stand in filters, reports and file names.

use std::fmt;

use serde::{Deserialize, Serialize};

macro_rules! axis {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $text:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(rename_all = "snake_case")]
        pub enum $name { $($(#[$vdoc])* $variant),+ }

        impl $name {
            /// Every value, in the order in which cases run.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The stable name, as written in filters and reports.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $text),+ }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.name())
            }
        }

        impl std::str::FromStr for $name {
            type Err = String;
            fn from_str(text: &str) -> Result<Self, String> {
                Self::ALL.iter().copied().find(|v| v.name() == text).ok_or_else(|| {
                    let known: Vec<_> = Self::ALL.iter().map(|v| v.name()).collect();
                    format!("`{text}` is none of {}", known.join(", "))
                })
            }
        }
    };
}

axis! {
    /// How the paths below the multipath map are made.
    Transport {
        /// scsi_debug hosts that share one store: one disk seen over several paths.
        ScsiDebug = "scsi_debug",
        /// The kernel's iSCSI target and the real initiator in one guest: one disk, one session a path.
        Iscsi = "iscsi",
    }
}

impl Transport {
    /// Kernel symbols without which there are no such paths.
    pub const fn needs(self) -> &'static [&'static str] {
        match self {
            Self::ScsiDebug => &["SCSI_DEBUG"],
            Self::Iscsi => &["ISCSI_TCP", "ISCSI_TARGET", "TCM_FILEIO"],
        }
    }
}

axis! {
    /// dm-multipath's `queue_mode` feature: `bio` (bio based) or `rq` (request based, blk-mq).
    QueueMode {
        /// Bios wait in the target's own list.
        Bio = "bio",
        /// Requests wait in the blk-mq requeue list of the map.
        Rq = "rq",
    }
}
axis! {
    /// How the table under the I/O is exchanged.
    SuspendForm {
        /// SUSPEND ioctl, then load, then resume.
        Explicit = "explicit",
        /// Load, then resume with the flag: the ioctl that `multipathd` uses.
        Implicit = "implicit",
    }
}
axis! {
    /// How a path is made to fail.
    Fault {
        /// The dm message `fail_path`: no I/O is involved.
        Message = "message",
        /// The SCSI device's state is set to `offline`; the next I/O fails the path.
        Offline = "offline",
        /// The SCSI device is deleted; the next I/O fails the path. A rescan brings a new device.
        Delete = "delete",
        /// scsi_debug ends each command with an error of the transport.
        TransportError = "transport_error",
        /// scsi_debug answers no command: the SCSI layer's time-out runs out, and it aborts the command.
        AbortedCommand = "aborted_command",
        /// scsi_debug's hosts take no command. No path fails by it: its I/O waits.
        HostBusy = "host_busy",
        /// The same once more: the command was aborted before, so the SCSI layer wakes its error handler.
        Timeout = "timeout",
        /// The iSCSI portal is disabled: the target cuts the session, and its I/O fails at once. Another log-in brings a
        /// new disk.
        PortalDisabled = "portal_disabled",
        /// The iSCSI portal's address is removed: packets are lost until the initiator misses the answer to a ping. Another
        /// log-in brings a new disk.
        AddressRemoved = "address_removed",
        /// The iSCSI session is cut and stays so longer than `replacement_timeout`, for which the SCSI layer holds its I/O. The
        /// session comes back with its disk.
        ReplacementTimeout = "replacement_timeout",
    }
}

impl Fault {
    /// The faults that paths of this kind can have, in the order in which cases run.
    pub const fn of(transport: Transport) -> &'static [Self] {
        match transport {
            Transport::ScsiDebug => &[
                Self::Message,
                Self::Offline,
                Self::Delete,
                Self::TransportError,
                Self::AbortedCommand,
                Self::HostBusy,
                Self::Timeout,
            ],
            Transport::Iscsi => &[
                Self::Message,
                Self::Offline,
                Self::Delete,
                Self::PortalDisabled,
                Self::AddressRemoved,
                Self::ReplacementTimeout,
            ],
        }
    }

    /// Whether dm-multipath takes a path with this fault for failed, at the latest after its next I/O.
    pub const fn fails_paths(self) -> bool {
        !matches!(self, Self::HostBusy)
    }

    /// Whether I/O fails only after a second or more of somebody's timer.
    pub const fn takes_long(self) -> bool {
        matches!(self, Self::AbortedCommand | Self::Timeout | Self::AddressRemoved | Self::ReplacementTimeout)
    }

    /// Whether a time-out of the kernel's own ends what the fault began: of the SCSI command, or of the wait for a lost session.
    pub const fn is_timeout(self) -> bool {
        matches!(self, Self::Timeout | Self::ReplacementTimeout)
    }

    /// Whether a device with this fault keeps I/O for a while before it fails it.
    pub const fn holds_io(self) -> bool {
        self.strikes_every_path() || matches!(self, Self::AddressRemoved | Self::ReplacementTimeout)
    }

    /// Whether it strikes every path of the transport at once: what scsi_debug injects, see
    /// [`crate::paths::injection`].
    pub const fn strikes_every_path(self) -> bool {
        matches!(self, Self::TransportError | Self::AbortedCommand | Self::HostBusy | Self::Timeout)
    }
}

axis! {
    /// What kind of I/O is submitted.
    IoKind {
        /// Direct writes.
        Write = "write",
        /// Direct reads of blocks with known content.
        Read = "read",
        /// Empty flushes (fsync of the block device).
        Flush = "flush",
        /// Direct writes with `RWF_DSYNC`: FUA where the device has it.
        Fua = "fua",
        /// Discards (`BLKDISCARD`): what was there reads as zeroes.
        Discard = "discard",
        /// Write-zeroes (`fallocate` with `FALLOC_FL_PUNCH_HOLE`): what was there reads as zeroes.
        WriteZeroes = "write_zeroes",
        /// Writes into the page cache, then `fdatasync`.
        Cached = "cached",
        /// Stores into mapped memory, then `msync`.
        Mapped = "mapped",
    }
}

axis! {
    /// Which file system is mounted on the map.
    FileSystemKind {
        /// ext4, with its journal.
        Ext4 = "ext4",
        /// XFS, with its log.
        Xfs = "xfs",
    }
}

impl FileSystemKind {
    /// Kernel symbols without which there is no such file system.
    pub const fn needs(self) -> &'static [&'static str] {
        match self {
            Self::Ext4 => &["EXT4_FS"],
            Self::Xfs => &["XFS_FS"],
        }
    }
}

axis! {
    /// What a signal does to a process that waits in a suspend.
    Signal {
        /// Its handler was installed without `SA_RESTART`: the ioctl ends with EINTR.
        Eintr = "eintr",
        /// Its handler was installed with `SA_RESTART`: the kernel issues the ioctl again.
        Restart = "restart",
    }
}

/// One point of a case's matrix. An axis that does not matter to the case is `None`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(default)]
pub struct Condition {
    /// How paths are made; `None` for a case that needs no paths.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub transport: Option<Transport>,
    /// `queue_mode` of the multipath maps.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub queue_mode: Option<QueueMode>,
    /// How the table is exchanged.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub suspend: Option<SuspendForm>,
    /// How paths fail.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fault: Option<Fault>,
    /// What is submitted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub io: Option<IoKind>,
    /// What is mounted on the map.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file_system: Option<FileSystemKind>,
    /// What a signal does to a suspend that waits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signal: Option<Signal>,
}

impl Condition {
    /// The names of the axes that are set, in a fixed order.
    pub fn parts(&self) -> Vec<&'static str> {
        [
            self.transport.map(Transport::name),
            self.queue_mode.map(QueueMode::name),
            self.suspend.map(SuspendForm::name),
            self.fault.map(Fault::name),
            self.io.map(IoKind::name),
            self.file_system.map(FileSystemKind::name),
            self.signal.map(Signal::name),
        ]
        .into_iter()
        .flatten()
        .collect()
    }
}

/// `scsi_debug,bio,explicit`; empty for a case without conditions.
impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.parts().join(","))
    }
}
