// SPDX-License-Identifier: GPL-2.0-only
//! Lines of `trace_pipe`, as `kernel/trace/trace_output.c` prints them, and lines that are none.

use proptest::prelude::*;

use super::*;

fn event(line: &str) -> Record {
    match Line::parse(line) {
        Ok(Line::Event(record)) => record,
        other => panic!("{line}: {other:?}"),
    }
}

fn json(line: &str) -> String {
    serde_json::to_string(&event(line)).unwrap()
}

#[test]
fn every_event_is_understood() {
    let head = "    kworker/0:1H-57      [000] d..2.    12.345678: ";
    let io = "dev=253:0 kind=bio op=WFS sector=64 sectors=8 error=0";
    for (event, step) in [
        ("dm_io_queued", "queued"),
        ("dm_io_pushed_back", "pushed_back"),
        ("dm_io_refused", "refused"),
        ("dm_io_reissued", "reissued"),
        ("dm_io_completed", "completed"),
    ] {
        assert_eq!(
            json(&format!("{head}{event}: {io}")),
            format!(
                r#"{{"t":12.345678,"dev":"253:0","io":{{"step":"{step}","kind":"bio","op":"WFS","sector":64,"sectors":8}}}}"#
            )
        );
    }
    insta::assert_snapshot!(
        json(&format!("{head}dm_io_completed: dev=253:0 kind=rq op=N sector=0 sectors=0 error=-5")),
        @r#"{"t":12.345678,"dev":"253:0","io":{"step":"completed","kind":"rq","op":"N","sector":0,"sectors":0,"error":-5}}"#);
    insta::assert_snapshot!(
        json(&format!("{head}dm_pushback_merged: dev=253:0 count=32 deferred=33")),
        @r#"{"t":12.345678,"dev":"253:0","merged":{"count":32,"deferred":33}}"#);
    insta::assert_snapshot!(
        json(&format!("{head}dm_suspend_phase: dev=253:1 phase=interrupted noflush=1 error=-512 deferred=0")),
        @r#"{"t":12.345678,"dev":"253:1","suspend":{"phase":"interrupted","noflush":true,"error":-512,"deferred":0}}"#);
    insta::assert_snapshot!(
        json(&format!("{head}dm_resume_phase: dev=253:0 phase=flushed noflush=0 error=0 deferred=32")),
        @r#"{"t":12.345678,"dev":"253:0","resume":{"phase":"flushed","noflush":false,"deferred":32}}"#);
}

#[test]
fn what_stands_before_the_stamp_does_not_matter() {
    let tail = "3.000001: dm_pushback_merged: dev=253:0 count=1 deferred=1";
    for head in [
        "          <idle>-0       [001] ..s1.     ",
        "           a: b [-77      [001] .....     ",
        "  9.999999: dm_io-1       (-------) [003] d.h3. ",
        "",
    ] {
        assert!((event(&format!("{head}{tail}")).t - 3.000_001).abs() < 1e-9, "{head}");
    }
}

#[test]
fn lost_events_are_told() {
    assert_eq!(Line::parse("CPU:1 [LOST 123 EVENTS]"), Ok(Line::Lost));
    assert_eq!(Line::parse("CPU:0 [LOST EVENTS]"), Ok(Line::Lost));
    assert!(Line::parse("CPU:x [LOST 1 EVENTS]").is_err());
}

#[test]
fn anything_else_is_an_error_that_says_what_was_wanted() {
    let error = |text: &str| Line::parse(&format!("x-1 [000] ..... {text}")).unwrap_err().to_string();
    insta::assert_snapshot!(error("1.000000: dm_io_queued: dev=253:0 kind=bio op=W sector=64 error=0"),
        @"expected `sectors=` in `x-1 [000] ..... 1.000000: dm_io_queued: dev=253:0 kind=bio op=W sector=64 error=0`, found `dev=253:0 kind=bio op=W sector=64 error=0`");
    insta::assert_snapshot!(error("1.000000: block_rq_issue: 8,0 W"),
        @"expected an event of dm_pushback in `x-1 [000] ..... 1.000000: block_rq_issue: 8,0 W`, found `block_rq_issue`");
    insta::assert_snapshot!(error("inf: dm_pushback_merged: dev=253:0 count=1 deferred=1"),
        @"expected seconds with six decimals in `x-1 [000] ..... inf: dm_pushback_merged: dev=253:0 count=1 deferred=1`, found `inf`");
    insta::assert_snapshot!(error("1.000000: dm_resume_phase: dev=253:0 phase=waited noflush=0 error=0 deferred=0"),
        @"expected begin, flushed, done in `x-1 [000] ..... 1.000000: dm_resume_phase: dev=253:0 phase=waited noflush=0 error=0 deferred=0`, found `waited`");
}

proptest! {
    #[test]
    fn what_the_kernel_prints_comes_back(
        comm in "\\PC{0,15}", pid in 0u32..100_000, micros in 0u64..1 << 42, sector: u64, sectors in 0u64..1 << 32,
        minor in 0u32..1 << 20, error in -4095i32..=0, queued: bool,
    ) {
        let (name, step) = if queued { ("dm_io_queued", Step::Queued) } else { ("dm_io_refused", Step::Refused) };
        let line = format!(
            "{comm:>16}-{pid:<7} [001] d.s3. {:5}.{:06}: {name}: dev=253:{minor} kind=rq op=RA sector={sector} sectors={sectors} error={error}",
            micros / 1_000_000, micros % 1_000_000,
        );
        let record = event(&line);
        prop_assert_eq!(format!("{:.6}", record.t), format!("{}.{:06}", micros / 1_000_000, micros % 1_000_000));
        prop_assert_eq!(&record.dev, &format!("253:{minor}"));
        prop_assert_eq!(&record.what, &What::Io(Io { step, kind: "rq".into(), op: "RA".into(), sector, sectors, error }));
        let text = serde_json::to_string(&record).unwrap();
        prop_assert_eq!(serde_json::from_str::<Record>(&text).unwrap().what, record.what);
    }

    #[test]
    fn no_line_makes_it_panic(line in "\\PC{0,120}|CPU:[0-9]{0,3} \\[LOST [0-9]{0,30} ?EVENTS\\]") {
        let _ = Line::parse(&line);
    }
}
