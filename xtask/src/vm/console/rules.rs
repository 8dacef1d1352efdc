// SPDX-License-Identifier: GPL-2.0-only
//! What a splat looks like: the rules, as data. Read from the format strings of Linux 6.1 and 6.12; the newer
//! form of WARNING (file first, CPU last) is that of Linux 6.18 and later.
//!
//! What is deliberately no rule:
//! - `Call Trace:` alone: SysRq-t and SysRq-w, which the host itself asks for, print hundreds of them.
//! - `INFO: lockdep is turned off.`: a consequence. Whatever turned it off has printed its own report before
//!   (`debug_locks_off` in an Oops, a lockdep report, a taint), and that is a rule.
//! - `WARNING: Spectre v2 …`, `WARNING: CPU does not support IBPB.` and so on: statements about the machine at
//!   boot, printed with `pr_warn` and not with WARN.
//! - `[Firmware Bug]:`, `clocksource: … Marking clocksource 'tsc' as unstable`, `workqueue: … hogged CPU for`:
//!   about the machine and its speed; common under TCG.
//! - I/O errors, `device-mapper: multipath: … Failing path`, `EXT4-fs error`: what the cases provoke.

use std::fmt;
use std::sync::LazyLock;

use regex::bytes::{RegexSet, RegexSetBuilder};

/// The kinds of splat.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// The kernel gave up.
    Panic,
    /// A memory error that KASAN, KFENCE, KCSAN or KMSAN saw.
    Kasan,
    /// See [`Kind::Kasan`].
    Kcsan,
    /// See [`Kind::Kasan`].
    Kfence,
    /// See [`Kind::Kasan`].
    Kmsan,
    /// Undefined behaviour.
    Ubsan,
    /// Anything that lockdep reports, suspicious RCU usage included.
    Lockdep,
    /// A checker switched itself off: from here on a clean console proves less than it says.
    CheckerOff,
    /// No quiescent state for too long.
    RcuStall,
    /// A task in D state for too long.
    HungTask,
    /// A CPU in the kernel without scheduling for too long.
    SoftLockup,
    /// A CPU without interrupts for too long.
    HardLockup,
    /// A worker pool without progress.
    WorkqueueLockup,
    /// Sleeping or scheduling where it is forbidden.
    Atomic,
    /// A reference count under- or overflowed.
    Refcount,
    /// A list's pointers are wrong.
    List,
    /// An object of the debugobjects tracker was misused.
    Odebug,
    /// Slab red zones or poison are wrong.
    Slab,
    /// A kernel stack overflowed.
    Stack,
    /// A leak that kmemleak suspects.
    Kmemleak,
    /// Memory ran out and a process was killed for it.
    Oom,
    /// An interrupt that no handler wants.
    Irq,
    /// A network device whose references do not go away.
    Netdevice,
    /// A fault or exception in kernel mode.
    Oops,
    /// `BUG()` or another message that begins with `BUG:`.
    Bug,
    /// `WARN()`.
    Warning,
}

impl Kind {
    /// Short stable name, used in events and reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Panic => "panic",
            Self::Kasan => "kasan",
            Self::Kcsan => "kcsan",
            Self::Kfence => "kfence",
            Self::Kmsan => "kmsan",
            Self::Ubsan => "ubsan",
            Self::Lockdep => "lockdep",
            Self::CheckerOff => "checker off",
            Self::RcuStall => "rcu stall",
            Self::HungTask => "hung task",
            Self::SoftLockup => "soft lockup",
            Self::HardLockup => "hard lockup",
            Self::WorkqueueLockup => "workqueue lockup",
            Self::Atomic => "atomic",
            Self::Refcount => "refcount",
            Self::List => "list corruption",
            Self::Odebug => "odebug",
            Self::Slab => "slab",
            Self::Stack => "stack",
            Self::Kmemleak => "kmemleak",
            Self::Oom => "oom",
            Self::Irq => "irq",
            Self::Netdevice => "netdevice",
            Self::Oops => "oops",
            Self::Bug => "bug",
            Self::Warning => "warning",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// How the report after the first line ends, if nothing else ends it before (the bound, a marker, another
/// splat, the end of the console).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// The first line is all.
    Line,
    /// `---[ end trace`: WARN, BUG, Oops.
    Trace,
    /// `---[ end Kernel panic`.
    Panic,
    /// A bar of `=`: the sanitizers.
    Bar,
    /// The end of a stack trace, ` </TASK>`: lockdep, stalls, hung tasks.
    Stack,
    /// `Out of memory: Killed process`, which comes after the memory statistics.
    Killed,
    /// `FIX kmalloc-64: …`: SLUB says what it did about it.
    Fix,
}

/// One rule: a record that matches starts a splat.
#[derive(Debug, Clone, Copy)]
pub struct Rule {
    /// What it is.
    pub kind: Kind,
    /// Regular expression; every one starts at the start of a record.
    pub pattern: &'static str,
    /// How the report ends.
    pub end: End,
}

const fn rule(kind: Kind, end: End, pattern: &'static str) -> Rule {
    Rule { kind, pattern, end }
}

/// The rules; the first that matches decides.
pub const RULES: &[Rule] = &[
    rule(Kind::Panic, End::Panic, r"^Kernel panic - not syncing: "),
    rule(Kind::Oops, End::Trace, r"^(?:traps: )?PANIC: "), // double fault, early exception
    // The sanitizers: mm/kasan/report.c, kernel/kcsan/report.c, mm/kfence/report.c, mm/kmsan/report.c, lib/ubsan.c.
    rule(Kind::Kasan, End::Bar, r"^BUG: KASAN: "),
    rule(Kind::Kcsan, End::Bar, r"^BUG: KCSAN: "),
    rule(Kind::Kfence, End::Bar, r"^BUG: KFENCE: "),
    rule(Kind::Kmsan, End::Bar, r"^BUG: KMSAN: "),
    rule(Kind::Ubsan, End::Trace, r"^UBSAN: "),
    // kernel/locking/lockdep.c
    rule(
        Kind::Lockdep,
        End::Stack,
        r"^WARNING: possible (?:circular locking|recursive locking|irq lock inversion)",
    ),
    rule(Kind::Lockdep, End::Stack, r"^WARNING: .*-safe -> .*-unsafe lock order detected"),
    rule(
        Kind::Lockdep,
        End::Stack,
        r"^WARNING: (?:inconsistent lock state|suspicious RCU usage|held lock freed)",
    ),
    rule(Kind::Lockdep, End::Stack, r"^WARNING: (?:bad unlock balance|bad contention|chain_key collision)"),
    rule(
        Kind::Lockdep,
        End::Stack,
        r"^WARNING: (?:Nested lock was not taken|lock held when returning to user)",
    ),
    rule(Kind::Lockdep, End::Stack, r"^WARNING: .*/[0-9]+ still has locks held"),
    rule(Kind::Lockdep, End::Stack, r"^\[ BUG: "), // Invalid wait context
    rule(Kind::Lockdep, End::Stack, r"^INFO: trying to register non-static key"),
    rule(Kind::Lockdep, End::Stack, r"^BUG: (?:key \S+ has not been registered|looking up invalid subclass)"),
    rule(Kind::Lockdep, End::Trace, r"^DEBUG_LOCKS_WARN_ON\("),
    // From here on lockdep (or debugobjects, or kmemleak) sees nothing, so that silence is no proof.
    rule(Kind::CheckerOff, End::Stack, r"^BUG: MAX_(?:LOCKDEP_|LOCK_DEPTH|STACK_TRACE_ENTRIES)"),
    rule(Kind::CheckerOff, End::Line, r"^Disabling lock debugging due to kernel taint"),
    rule(Kind::CheckerOff, End::Line, r"^ODEBUG: Out of memory"),
    rule(Kind::CheckerOff, End::Line, r"^kmemleak: Kernel memory leak detector disabled"),
    // Watchdogs: kernel/rcu/tree_stall.h, tree_exp.h, tasks.h; hung_task.c; watchdog*.c; workqueue.c; smp.c.
    rule(Kind::RcuStall, End::Stack, r"^(?:rcu: )?INFO: .*detected (?:expedited )?stalls?\b"),
    rule(Kind::HungTask, End::Stack, r"^INFO: task .* blocked .*for more than [0-9]+ seconds"),
    rule(Kind::SoftLockup, End::Stack, r"^(?:watchdog: )?BUG: soft lockup"),
    rule(
        Kind::HardLockup,
        End::Stack,
        r"^(?:(?:NMI )?watchdog: )?(?:Watchdog detected hard LOCKUP|BUG: hard lockup)",
    ),
    rule(Kind::HardLockup, End::Stack, r"^smp: csd: Detected non-responsive CSD lock"),
    rule(Kind::WorkqueueLockup, End::Stack, r"^BUG: workqueue lockup"),
    // kernel/sched/core.c, lib/smp_processor_id.c, kernel/workqueue.c
    rule(
        Kind::Atomic,
        End::Stack,
        r"^BUG: (?:sleeping function called|scheduling while atomic|scheduling in a non-)",
    ),
    rule(
        Kind::Atomic,
        End::Stack,
        r"^BUG: (?:assuming (?:atomic|non migratable) context|using .* in preemptible)",
    ),
    rule(Kind::Atomic, End::Stack, r"^BUG: workqueue leaked"),
    // Data structures: lib/refcount.c, list_debug.c, debugobjects.c; mm/slub.c.
    rule(Kind::Refcount, End::Trace, r"^refcount_t: "),
    rule(Kind::List, End::Trace, r"^list_(?:add|del) (?:corruption|double add)"),
    rule(Kind::Odebug, End::Trace, r"^ODEBUG: .*\(active state "),
    rule(Kind::Slab, End::Fix, r"^BUG [^:]+ \((?:Not tainted|Tainted: [^)]*)\): "),
    rule(Kind::Stack, End::Trace, r"^BUG: .*stack guard page was hit"),
    rule(Kind::Kmemleak, End::Line, r"^kmemleak: [0-9]+ new suspected memory leaks"),
    // mm/oom_kill.c
    rule(Kind::Oom, End::Killed, r"^.{1,40} invoked oom-killer: "),
    rule(Kind::Oom, End::Line, r"^(?:Out of memory|Memory cgroup out of memory): Killed process"),
    rule(Kind::Irq, End::Stack, r"^irq [0-9]+: nobody cared"),
    rule(Kind::Netdevice, End::Line, r"^unregister_netdevice: waiting for "),
    // Faults: arch/x86/mm/fault.c; and any exception: `Oops: …: 0000 [#1]`, on 6.1 without `Oops: ` for some.
    rule(Kind::Oops, End::Trace, r"^BUG: (?:kernel NULL pointer dereference|unable to handle)"),
    rule(Kind::Oops, End::Trace, r"^Unable to handle kernel "),
    rule(Kind::Oops, End::Trace, r"^(?:Oops: |[^\[\]]*: [0-9a-f]{4,16} \[#[0-9]+\])"),
    rule(Kind::Bug, End::Trace, r"^kernel BUG at "),
    // Whatever else calls itself BUG, with up to three subsystem prefixes; `ODEBUG:` and `DEBUG:` are none.
    rule(Kind::Bug, End::Stack, r"^(?:[A-Za-z0-9_.-]+: ){0,3}BUG: "),
    // kernel/panic.c `__warn`, before and after Linux 6.18.
    rule(Kind::Warning, End::Trace, r"^WARNING: CPU: [0-9]+ PID: [0-9]+ at "),
    rule(Kind::Warning, End::Trace, r"^WARNING: \S+ at .*, CPU#[0-9]+: "),
];

/// What the agent writes through /dev/kmsg starts with this; it is never a splat.
pub const AGENT: &str = "dm-pushback: ";

static SET: LazyLock<RegexSet> = LazyLock::new(|| {
    let patterns = RULES.iter().map(|rule| rule.pattern);
    #[expect(
        clippy::expect_used,
        reason = "the patterns are constants; every unit test of the scanner compiles them"
    )]
    RegexSetBuilder::new(patterns).unicode(false).build().expect("the rules compile")
});

/// The rule that a record matches, if any.
pub fn matching(record: &str) -> Option<&'static Rule> {
    if record.starts_with(AGENT) {
        return None;
    }
    SET.matches(record.as_bytes()).iter().next().and_then(|index| RULES.get(index))
}

/// Whether a splat of kind `next`, found right after one of kind `first` began, is the same report going on:
/// `list_del corruption` → `kernel BUG at` → `Oops: invalid opcode`, or `refcount_t: …` → `WARNING:`.
pub fn continues(first: Kind, next: Kind) -> bool {
    match next {
        Kind::Warning => matches!(
            first,
            Kind::Refcount | Kind::List | Kind::Odebug | Kind::Lockdep | Kind::Bug | Kind::Slab | Kind::Oom
        ),
        Kind::Bug => matches!(first, Kind::List | Kind::Slab | Kind::Refcount | Kind::Stack),
        Kind::Oops => matches!(first, Kind::Oops | Kind::Bug | Kind::List | Kind::Slab | Kind::Stack),
        Kind::CheckerOff => !matches!(first, Kind::Warning | Kind::Oom | Kind::Panic),
        Kind::Oom => first == Kind::Oom,
        _ => false,
    }
}
