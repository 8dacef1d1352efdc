// SPDX-License-Identifier: GPL-2.0-only
//! What blk-mq shows of one queue in debugfs, parsed: `block/blk-mq-debugfs.c`. Pure.

/// What blk-mq shows of a queue.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Mq {
    /// `state` has the flag `QUIESCED`: nothing is dispatched.
    pub quiesced: bool,
    /// Requests that exist: they hold a tag of the scheduler, or of the driver where there is no scheduler.
    pub held: u64,
    /// On the requeue list.
    pub requeued: Vec<Request>,
    /// Ready to be dispatched: in the scheduler, in a software queue, on a dispatch list.
    pub waiting: Vec<Request>,
}

/// What a request does, as far as it matters here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Op {
    /// `FLUSH`: the one request that stands for all flushes.
    Flush,
    /// Everything else.
    Other,
}

/// One line of a list of requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Request {
    /// What it does.
    pub op: Op,
    /// `.state=idle`: not started, or started and given back.
    pub idle: bool,
}

impl Request {
    /// Parses the lines of a list of requests, e.g.
    /// `00000000943414c3 {.op=WRITE, .cmd_flags=SYNC|IDLE, .rq_flags=STARTED, .state=idle, .tag=-1, ...}`.
    pub fn parse_all(text: &str) -> Vec<Self> {
        text.lines().filter_map(Self::parse).collect()
    }

    fn parse(line: &str) -> Option<Self> {
        let (_, fields) = line.split_once('{')?;
        let field = |name: &str| {
            fields.split([',', '}']).find_map(|field| field.trim().strip_prefix(name)?.strip_prefix('='))
        };
        let op = if field(".op")? == "FLUSH" { Op::Flush } else { Op::Other };
        Some(Self { op, idle: field(".state")? == "idle" })
    }
}

/// Whether `state`, e.g. `SAME_COMP|INIT_DONE|QUIESCED`, has the flag.
pub fn has_flag(state: &str, flag: &str) -> bool {
    state.trim().split('|').any(|word| word == flag)
}

/// How many tags are taken, from `tags` or `sched_tags`; `None` if the file is empty (there is no scheduler).
pub fn tags_taken(text: &str) -> Option<u64> {
    // A queue with reserved tags shows two bitmaps; dm has none.
    let busy: Vec<u64> =
        text.lines().filter_map(|line| line.trim().strip_prefix("busy=")?.parse().ok()).collect();
    if busy.is_empty() { None } else { Some(busy.iter().sum()) }
}
