// SPDX-License-Identifier: GPL-2.0-only
//! The scanner against recorded consoles (`fixtures/NAME/console.txt` and what must come out, `expected`), against
//! any way of cutting the input, and against noise.
//!
//! `DM_PUSHBACK_BLESS=1 cargo test -p xtask console` writes the `expected` files; read the difference before
//! committing it.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::fmt::Write as _;

use camino::{Utf8Path, Utf8PathBuf};
use proptest::prelude::*;

use super::*;

fn scan(bytes: &[u8]) -> Vec<Found> {
    scan_in_chunks(bytes, &[])
}

fn scan_in_chunks(bytes: &[u8], cuts: &[usize]) -> Vec<Found> {
    let mut scanner = Scanner::new();
    let mut found = Vec::new();
    let mut rest = bytes;
    for &cut in cuts {
        let (chunk, after) = rest.split_at(cut.min(rest.len()));
        found.extend(scanner.push(chunk));
        rest = after;
    }
    found.extend(scanner.push(rest));
    found.extend(scanner.finish());
    found
}

fn splats(text: &str) -> Vec<(Kind, String)> {
    scan(text.as_bytes())
        .into_iter()
        .filter_map(|found| match found {
            Found::Splat(splat) => Some((splat.kind, splat.first_line)),
            _ => None,
        })
        .collect()
}

/// Everything but the lines, in a form that a person can check.
fn summary(found: &[Found]) -> String {
    let mut out = String::new();
    for item in found {
        let _ = match item {
            Found::Line(_) => Ok(()),
            Found::Splat(Splat { kind, first_line, text }) => {
                let (lines, first, last) = (
                    text.lines().count(),
                    text.lines().next().unwrap_or(""),
                    text.lines().last().unwrap_or(""),
                );
                writeln!(
                    out,
                    "splat {kind}: {first_line}\n    {lines} lines\n    from {first}\n    to   {last}"
                )
            }
            Found::Dropped { lines } => writeln!(out, "dropped {lines}"),
            Found::Marker(Marker { edge, token, name }) => writeln!(out, "{edge:?} {token} {name}"),
        };
    }
    out
}

fn fixtures() -> Vec<Utf8PathBuf> {
    let dir = Utf8Path::new(env!("CARGO_MANIFEST_DIR")).join("src/vm/console/fixtures");
    let mut all: Vec<_> = dir
        .read_dir_utf8()
        .unwrap()
        .map(|entry| entry.unwrap().into_path())
        .filter(|path| path.is_dir())
        .collect();
    all.sort();
    assert!(all.len() > 30, "the fixtures are gone: {}", all.len());
    all
}

#[test]
fn recorded_consoles_give_what_is_expected() {
    let bless = std::env::var_os("DM_PUSHBACK_BLESS").is_some();
    let mut wrong = Vec::new();
    for dir in fixtures() {
        let seen = summary(&scan(&fs_err::read(dir.join("console.txt")).unwrap()));
        let file = dir.join("expected");
        if bless {
            fs_err::write(&file, &seen).unwrap();
        } else if seen != fs_err::read_to_string(&file).unwrap() {
            wrong.push(format!("{dir}:\n{seen}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn forms_that_were_read_in_the_sources_and_not_recorded() {
    // (record, kind): the forms of 6.1, of kernels after 6.18, and of checkers that the recorded kernel lacks.
    let table = [
        (
            "general protection fault, probably for non-canonical address 0xdead000000000100: 0000 [#1] SMP",
            "oops",
        ),
        ("invalid opcode: 0000 [#1] PREEMPT SMP", "oops"),
        ("Oops: 0002 [#1] SMP NOPTI", "oops"),
        ("Internal error: Oops: 0000000096000004 [#1] SMP", "oops"),
        ("Unable to handle kernel NULL pointer dereference at virtual address 0000000000000008", "oops"),
        (
            "WARNING: drivers/md/dm.c:812 at dm_split_and_process_bio+0x4f2/0x5c0, CPU#1: kworker/1:1/36",
            "warning",
        ),
        ("WARNING: CPU: 0 PID: 1 at dm_any+0x1/0x2", "warning"),
        ("watchdog: Watchdog detected hard LOCKUP on cpu 1", "hard lockup"),
        ("NMI watchdog: Watchdog detected hard LOCKUP on cpu 1", "hard lockup"),
        ("rcu: INFO: rcu_preempt detected stalls on CPUs/tasks:", "rcu stall"),
        ("rcu: INFO: rcu_sched detected expedited stalls on CPUs/tasks: { 1-.... }", "rcu stall"),
        ("INFO: rcu_tasks detected stalls on tasks:", "rcu stall"),
        ("INFO: task dmsetup:77 blocked for more than 30 seconds.", "hung task"),
        ("INFO: task dd:7 blocked in I/O wait for more than 30 seconds.", "hung task"),
        ("BUG: MAX_LOCKDEP_CHAINS too low!", "checker off"),
        ("ODEBUG: Out of memory. ODEBUG disabled", "checker off"),
        ("WARNING: HARDIRQ-safe -> HARDIRQ-unsafe lock order detected", "lockdep"),
        ("WARNING: Nested lock was not taken", "lockdep"),
        ("DEBUG_LOCKS_WARN_ON(lock->magic != lock)", "lockdep"),
        ("BUG: using smp_processor_id() in preemptible [00000000] code: dmsetup/77", "atomic"),
        ("BUG kmalloc-64 (Not tainted): Poison overwritten", "slab"),
        ("BUG: TASK stack guard page was hit at 0000000000000000 (stack is 0..1)", "stack"),
        ("BUG: KMSAN: uninit-value in dm_submit_bio+0x1/0x2", "kmsan"),
        ("kmemleak: 3 new suspected memory leaks (see /sys/kernel/debug/kmemleak)", "kmemleak"),
        ("irq 11: nobody cared (try booting with the \"irqpoll\" option)", "irq"),
        ("unregister_netdevice: waiting for lo to become free. Usage count = 2", "netdevice"),
        ("Out of memory: Killed process 45 (tail) total-vm:82088kB", "oom"),
        ("BUG: Bad page state in process x  pfn:00001", "bug"),
        ("device-mapper: core: BUG: something", "bug"),
    ];
    for (record, kind) in table {
        for before in
            ["", "[    1.234567] ", "[12345.678901][  T12] ", "[    1.000000][    C1] ", "<4>[    2.000000] "]
        {
            let seen: Vec<_> =
                splats(&format!("{before}{record}\r\n")).into_iter().map(|(k, _)| k.name()).collect();
            assert_eq!(seen, [kind], "{before}{record}");
        }
    }
}

#[test]
fn what_only_looks_like_a_splat() {
    for record in [
        "dm-pushback: BUG: this is the agent speaking",
        "dm-pushback: WARNING: CPU: 0 PID: 1 at nowhere.c:1 f+0x0",
        "ODEBUG: selftest passed",
        "DEBUG: x",
        "[Firmware Bug]: TSC doesn't count with P0 frequency!",
        "WARNING: CPU does not support IBPB.",
        "WARNING: Spectre v2 mitigation leaves CPU vulnerable to RETBleed attacks, data leaks possible!",
        "clocksource: timekeeping watchdog on CPU0: Marking clocksource 'tsc' as unstable because the skew is too large:",
        "workqueue: blk_mq_run_work_fn hogged CPU for >10000us 4 times, consider switching to WQ_UNBOUND",
        "INFO: lockdep is turned off.",
        "rcu: Hierarchical RCU implementation.",
        "rcu: \tRCU lockdep checking is enabled.",
        "Call Trace:",
        "sysrq: Show Blocked State",
        "task:dmsetup         state:D stack:0     pid:77",
        "Kernel command line: oops=panic panic=-1",
        "Lock dependency validator: Copyright (c) 2006 Red Hat, Inc., Ingo Molnar",
        "---[ end Kernel panic - not syncing: sysrq triggered crash ]---",
    ] {
        assert_eq!(splats(&format!("[    1.234567] {record}\n")), [], "{record}");
    }
}

#[test]
fn torn_lines() {
    // CPU 1 panics into what CPU 0 was printing; firmware and a user process do not end their lines.
    let seen = splats(
        "[    1.000000] sd 0:0:0:0: [sda] Atta[    1.000001] BUG: unable to handle page fault for address: 0\nched\n",
    );
    assert_eq!(seen, [(Kind::Oops, "BUG: unable to handle page fault for address: 0".to_owned())]);
    let seen = splats("\x1bc\x1b[?7l\x1b[2JBooting from ROM..\rKernel panic - not syncing: x\n");
    assert_eq!(seen, [(Kind::Panic, "Kernel panic - not syncing: x".to_owned())]);
    // The VM was killed in the middle of a line.
    assert_eq!(splats("[    1.000000] Kernel panic - not syncing: Fat").len(), 1);
    // A marker that is not complete is none: the rest of the name is missing.
    assert_eq!(summary(&scan(b"[    1.000000] dm-pushback: end 7 compat::x[bi")), "");
    assert_eq!(
        summary(&scan(b"[    1.000000] dm-pushback: end 7 compat::x[bio]\r\n")),
        "End 7 compat::x[bio]\n"
    );
    assert_eq!(summary(&scan(b"[    1.000000] dm-pushback: end seven compat::x\n")), "");
}

#[test]
fn bytes_that_are_no_text() {
    let found =
        scan(b"\xff\xfe\0\x07[    1.000000] WARNING: CPU: 0 PID: 1 at \xc3\x28.c:1 f+0x0/0x1\x1b[0m\n");
    let [Found::Line(line), Found::Splat(splat)] = found.as_slice() else { panic!("{found:?}") };
    assert_eq!(line, "\u{fffd}\u{fffd}[    1.000000] WARNING: CPU: 0 PID: 1 at \u{fffd}(.c:1 f+0x0/0x1");
    assert_eq!(splat.kind, Kind::Warning);
}

#[test]
fn an_endless_line_is_cut_and_still_read() {
    let mut input = vec![b'x'; 5 * line::MAX_LINE - 20];
    input.extend_from_slice(b"[    1.000000] Kernel panic - not syncing: at the cut\n");
    let found = scan(&input);
    let longest =
        found.iter().filter_map(|f| if let Found::Line(line) = f { Some(line.len()) } else { None }).max();
    assert_eq!(longest, Some(line::MAX_LINE));
    assert!(
        summary(&found).starts_with("splat panic: Kernel panic - not syncing: at the cut\n"),
        "{}",
        summary(&found)
    );
}

#[test]
fn a_report_without_end_is_bounded_and_visible_before() {
    let mut scanner = Scanner::new();
    scanner.push(b"[    1.000000] WARNING: possible recursive locking detected\n");
    assert_eq!(scanner.pending().map(|splat| splat.kind), Some(Kind::Lockdep));
    let found: Vec<_> = (0..5000).flat_map(|_| scanner.push(b"[    1.000001] and so on\n")).collect();
    let sizes: Vec<_> = found
        .iter()
        .filter_map(|f| if let Found::Splat(s) = f { Some(s.text.lines().count()) } else { None })
        .collect();
    assert_eq!(sizes, [400]);
    assert_eq!(scanner.finish(), []);
}

#[test]
fn only_what_follows_at_once_continues_a_report() {
    let refcount = "[    1.000000] refcount_t: underflow; use-after-free.\n";
    let warning = "[    1.000002] WARNING: CPU: 0 PID: 1 at lib/refcount.c:28 f+0x0/0x1\n";
    let between = "[    1.000001] a line of another CPU\n";
    assert_eq!(splats(&format!("{refcount}{warning}")).len(), 1);
    assert_eq!(splats(&format!("{refcount}{}{warning}", between.repeat(20))).len(), 2);
}

#[test]
fn a_case_gets_its_own_splats() {
    let text = "[    1.000000] dm-pushback: begin 1 a\n[    1.100000] WARNING: inconsistent lock state\n\
        [    1.200000] dm-pushback: end 1 a\n[    1.300000] dm-pushback: begin 2 b\n[    1.400000] dm-pushback: end 2 b\n";
    insta::assert_snapshot!(summary(&scan(text.as_bytes())), @r"
    Begin 1 a
    splat lockdep: WARNING: inconsistent lock state
        1 lines
        from [    1.100000] WARNING: inconsistent lock state
        to   [    1.100000] WARNING: inconsistent lock state
    End 1 a
    Begin 2 b
    End 2 b
    ");
}

/// Pieces of real consoles in any order, with noise between them.
fn console() -> impl Strategy<Value = Vec<u8>> {
    let texts: Vec<Vec<u8>> =
        fixtures().iter().map(|dir| fs_err::read(dir.join("console.txt")).unwrap()).collect();
    let piece = prop_oneof![
        3 => (any::<prop::sample::Index>(), any::<prop::sample::Index>(), 0..400_usize).prop_map(
            move |(which, at, length)| {
                let text = which.get(&texts);
                let at = at.index(text.len());
                text[at..text.len().min(at + length)].to_vec()
            }
        ),
        1 => prop::collection::vec(any::<u8>(), 0..40),
        1 => Just(b"\r\n".to_vec()),
        1 => (8000..9000_usize).prop_map(|length| vec![b'='; length]),
    ];
    prop::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, ..ProptestConfig::default() })]

    #[test]
    fn any_split_gives_the_same(input in console(), cuts in prop::collection::vec(0..300_usize, 0..60)) {
        prop_assert_eq!(scan_in_chunks(&input, &cuts), scan(&input));
    }

    #[test]
    fn byte_by_byte_gives_the_same(input in console()) {
        let cuts = vec![1; input.len()];
        prop_assert_eq!(scan_in_chunks(&input, &cuts), scan(&input));
    }

    #[test]
    fn noise_never_panics_and_lines_stay_short(input in prop::collection::vec(any::<u8>(), 0..3000)) {
        for item in scan(&input) {
            if let Found::Line(line) = item {
                // A replacement character is three bytes of UTF-8.
                prop_assert!(line.len() <= 3 * line::MAX_LINE);
            }
        }
    }
}

#[test]
fn an_allowed_warning_does_not_hide_what_happens_inside_its_report() {
    let text = "[    1.000000] ------------[ cut here ]------------\n[    1.000001] allowed one\n\
        [    1.000002] WARNING: CPU: 0 PID: 1 at a.c:1 f+0x0/0x1\n[    1.000003] BUG: KASAN: slab-out-of-bounds in g\n\
        [    1.000004] Oops: divide error: 0000 [#1]\n[    1.000005] ---[ end trace 0 ]---\n";
    let left: Vec<_> = scan(text.as_bytes())
        .into_iter()
        .filter_map(|f| if let Found::Splat(splat) = f { Some(splat) } else { None })
        .filter(|splat| !splat.first_line.contains("allowed one"))
        .map(|splat| splat.kind)
        .collect();
    assert_eq!(left, [Kind::Kasan, Kind::Oops]);
}
