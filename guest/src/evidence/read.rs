// SPDX-License-Identifier: GPL-2.0-only
//! Reads a [`Snapshot`] from sysfs and debugfs. Files that vanish while they are read count as empty: a deleted
//! path has no I/O in flight.

use std::fs;
use std::path::{Path, PathBuf};

use super::Snapshot;
use super::mq::{Mq, Request, has_flag, tags_taken};
use crate::condition::QueueMode;
use crate::dm::DevNo;

const DEBUGFS: &str = "/sys/kernel/debug/block";

/// Reads what the map `device` shows now.
pub fn read(device: DevNo, mode: QueueMode) -> Snapshot {
    let folder = PathBuf::from(format!("/sys/dev/block/{device}"));
    let below = entries(&folder.join("slaves")).iter().map(|lower| in_path(lower)).sum();
    let mq = (mode == QueueMode::Rq).then(|| read_mq(&debug_folder(device)));
    Snapshot {
        suspended: text(&folder.join("dm/suspended")).trim() == "1",
        inflight: inflight(&folder),
        below,
        mq,
    }
}

/// `queue/nr_requests`: how many requests a request-based device has.
pub fn requests(device: DevNo) -> Option<u64> {
    text(&PathBuf::from(format!("/sys/dev/block/{device}/queue/nr_requests"))).trim().parse().ok()
}

/// Why blk-mq's state of the map can't be seen; `None` if it can.
pub fn blk_debugfs_missing(device: DevNo) -> Option<String> {
    let file = debug_folder(device).join("requeue_list");
    let missing = || {
        format!(
            "{} does not exist (hint: CONFIG_BLK_DEBUG_FS, and debugfs mounted): \
             where a request is cannot be seen without it",
            file.display()
        )
    };
    (!file.exists()).then(missing)
}

/// What a path has in flight. A SCSI device that is blocked, because its iSCSI session is lost and may come back, starts
/// nothing that it is sent, and `inflight` counts what was started: there it is the requests that exist.
fn in_path(lower: &Path) -> u64 {
    if text(&lower.join("device/state")).trim() != "blocked" {
        return inflight(lower);
    }
    lower.file_name().map_or(0, |name| requests_held(&hardware_queues(&Path::new(DEBUGFS).join(name))))
}

fn hardware_queues(folder: &Path) -> Vec<PathBuf> {
    entries(folder).into_iter().filter(|path| is_named(path, |name| name.starts_with("hctx"))).collect()
}

/// Requests that exist: they hold a tag of the scheduler, or of the driver where there is no scheduler.
fn requests_held(queues: &[PathBuf]) -> u64 {
    let taken = |queue: &PathBuf| {
        tags_taken(&text(&queue.join("sched_tags"))).or_else(|| tags_taken(&text(&queue.join("tags"))))
    };
    queues.iter().filter_map(taken).sum()
}

fn debug_folder(device: DevNo) -> PathBuf {
    // dm's disks are called after their minor (`alloc_dev`).
    Path::new(DEBUGFS).join(format!("dm-{}", device.minor))
}

fn read_mq(folder: &Path) -> Mq {
    let requests = |file: &Path| Request::parse_all(&text(file));
    let mut mq = Mq {
        quiesced: has_flag(&text(&folder.join("state")), "QUIESCED"),
        requeued: requests(&folder.join("requeue_list")),
        ..Mq::default()
    };
    // mq-deadline's `dispatch`, `read0_fifo_list` and so on; the other files there hold no request.
    for file in entries(&folder.join("sched")) {
        if is_named(&file, |name| name.starts_with("dispatch") || name.ends_with("_fifo_list")) {
            mq.waiting.extend(requests(&file));
        }
    }
    let queues = hardware_queues(folder);
    mq.held = requests_held(&queues);
    for hardware in queues {
        mq.waiting.extend(requests(&hardware.join("dispatch")));
        for software in
            entries(&hardware).into_iter().filter(|path| is_named(path, |name| name.starts_with("cpu")))
        {
            for list in ["default_rq_list", "read_rq_list", "poll_rq_list"] {
                mq.waiting.extend(requests(&software.join(list)));
            }
        }
    }
    mq
}

fn is_named(path: &Path, holds: impl Fn(&str) -> bool) -> bool {
    path.file_name().and_then(|name| name.to_str()).is_some_and(holds)
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()).collect()
}

fn text(file: &Path) -> String {
    fs::read_to_string(file).unwrap_or_default()
}

/// Reads and writes together.
fn inflight(folder: &Path) -> u64 {
    sum(&text(&folder.join("inflight")), &[0, 1])
}

fn sum(line: &str, fields: &[usize]) -> u64 {
    let numbers: Vec<u64> = line.split_ascii_whitespace().map(|word| word.parse().unwrap_or(0)).collect();
    fields.iter().filter_map(|field| numbers.get(*field)).sum()
}

#[cfg(test)]
mod tests {
    /// Documentation/block/stat.rst has the format: reads, then writes.
    #[test]
    fn inflight_is_reads_and_writes() {
        assert_eq!(super::sum("       1        2\n", &[0, 1]), 3);
    }
}
