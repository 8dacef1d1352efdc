// SPDX-License-Identifier: GPL-2.0-only
//! Every report of the stream with every outcome, as text.

use super::*;

#[test]
fn ktap() {
    let text = ktap::render(&fold(&every_outcome()));
    check_ktap(&text).unwrap();
    insta::assert_snapshot!(text, @r#"
    KTAP version 1
    1..9
    # kernel: 6.12.117
    # source: base 6.12
    # variant: stock
    # observe: true
    # flavour: lock
      KTAP version 1
      1..2
      ok 1 scsi_debug,bio,explicit # 1.000 s
      # scsi_debug,rq,explicit: every queued write fails with EIO: stock request-based multipath keeps requeued requests over a flush suspend
      # scsi_debug,rq,explicit: artifacts in cases/compat--queued_io_fails-scsi_debug,rq,explicit-
      ok 2 scsi_debug,rq,explicit # XFAIL every queued write fails with EIO: stock request-based multipath keeps requeued requests over a flush suspend
    ok 1 compat::queued_io_fails
      KTAP version 1
      1..2
      ok 1 scsi_debug,bio,explicit # 1.150 s
      ok 2 scsi_debug,bio,explicit run 2 # 1.200 s
    ok 2 compat::io_fails_without_paths
      KTAP version 1
      1..2
      # scsi_debug,bio,explicit: no write returns: 3 of 32 returned with EIO
      # scsi_debug,bio,explicit: the first: #7 <sector 56> & "its" neighbours\u{1b}[31m\u{0}
      # scsi_debug,bio,explicit: +0.250           1 bio of 253:0 queued in the target
      # scsi_debug,bio,explicit: +0.500           1 bio of 253:0 refused instead of pushed back with EIO
      # scsi_debug,bio,explicit: incomplete: 0 more events, 3 lost by the kernel; odd \u{1b}
      # scsi_debug,bio,explicit: artifacts in cases/normal--queued_io_leaves-scsi_debug,bio,explicit-
      not ok 1 scsi_debug,bio,explicit # Fail: no write returns: 3 of 32 returned with EIO
      # scsi_debug,rq,explicit: warning: WARNING: CPU: 1 PID: 77 at drivers/md/dm-rq.c:195 f+0x1/0x2 ]]>
      # scsi_debug,rq,explicit: artifacts in cases/normal--queued_io_leaves-scsi_debug,rq,explicit-
      not ok 2 scsi_debug,rq,explicit # KernelSplat: warning: WARNING: CPU: 1 PID: 77 at drivers/md/dm-rq.c:195 f+0x1/0x2 ]]>
    not ok 3 normal::queued_io_leaves # 2 of 2 conditions
    # normal::needs_debugfs: this kernel has no BLK_DEBUG_FS
    # normal::needs_debugfs: artifacts in cases/normal--needs_debugfs
    ok 4 normal::needs_debugfs # SKIP this kernel has no BLK_DEBUG_FS
    # normal::wedged: case clock, 30.0 s: waiting for `map reports 0 valid paths`
    # normal::wedged: artifacts in cases/normal--wedged
    not ok 5 normal::wedged # TIMEOUT case clock, 30.0 s: waiting for `map reports 0 valid paths`
    # normal::vm_went_away: QEMU ended with signal 6
    # normal::vm_went_away: artifacts in cases/normal--vm_went_away
    not ok 6 normal::vm_went_away # VmLost: QEMU ended with signal 6
    # normal::no_tool: the image has no dmsetup
    # normal::no_tool: artifacts in cases/normal--no_tool
    not ok 7 normal::no_tool # ERROR Infra: the image has no dmsetup
      KTAP version 1
      1..1
      # scsi_debug,bio,explicit,offline: the run was interrupted before it was started
      not ok 1 scsi_debug,bio,explicit,offline # ERROR NotRun: the run was interrupted before it was started
    not ok 8 normal::never_started # 1 of 1 conditions
      KTAP version 1
      1..1
      # scsi_debug,rq,explicit: started, but the run was interrupted before it had an outcome
      not ok 1 scsi_debug,rq,explicit # ERROR NotRun: started, but the run was interrupted before it had an outcome
    not ok 9 normal::unfinished # 1 of 1 conditions
    # passed 3 failed 4 known-deviations 1 skipped 1 infra 1 not-run 2 of 12 in 60.2 s
    "#);
}

#[test]
#[expect(clippy::too_many_lines, reason = "a document as it is")]
fn junit() {
    let mut results = fold(&every_outcome());
    // One of each kind of element is enough to read.
    results.cases.retain(|case| !matches!(case.outcome, Status::Timeout | Status::VmLost | Status::NotRun));
    insta::assert_snapshot!(junit::render(&results).unwrap(), @r#"
    <?xml version="1.0" encoding="UTF-8"?>
    <testsuites name="dm-pushback" tests="8" skipped="2" failures="2" errors="1" time="60.250">
        <testsuite name="compat::queued_io_fails" tests="2" skipped="1" errors="0" failures="0" time="2.100">
            <properties>
                <property name="kernel.source" value="base 6.12"/>
                <property name="kernel.variant" value="stock"/>
                <property name="kernel.observe" value="true"/>
                <property name="kernel.flavour" value="lock"/>
                <property name="kernel.release" value="6.12.117"/>
                <property name="kernel.id" value="0123abcd"/>
            </properties>
            <testcase name="compat::queued_io_fails[scsi_debug,bio,explicit]" classname="compat::queued_io_fails" time="1.000">
                <properties>
                    <property name="evidence" value="tracepoints"/>
                </properties>
            </testcase>
            <testcase name="compat::queued_io_fails[scsi_debug,rq,explicit]" classname="compat::queued_io_fails" time="1.100">
                <properties>
                    <property name="evidence" value="tracepoints"/>
                    <property name="artifacts" value="cases/compat--queued_io_fails-scsi_debug,rq,explicit-"/>
                </properties>
                <skipped message="every queued write fails with EIO: stock request-based multipath keeps requeued requests over a flush suspend" type="KnownDeviation"/>
            </testcase>
        </testsuite>
        <testsuite name="compat::io_fails_without_paths" tests="2" skipped="0" errors="0" failures="0" time="2.350">
            <properties>
                <property name="kernel.source" value="base 6.12"/>
                <property name="kernel.variant" value="stock"/>
                <property name="kernel.observe" value="true"/>
                <property name="kernel.flavour" value="lock"/>
                <property name="kernel.release" value="6.12.117"/>
                <property name="kernel.id" value="0123abcd"/>
            </properties>
            <testcase name="compat::io_fails_without_paths[scsi_debug,bio,explicit]" classname="compat::io_fails_without_paths" time="1.150">
                <properties>
                    <property name="evidence" value="tracepoints"/>
                </properties>
            </testcase>
            <testcase name="compat::io_fails_without_paths[scsi_debug,bio,explicit] #2" classname="compat::io_fails_without_paths" time="1.200">
                <properties>
                    <property name="evidence" value="tracepoints"/>
                </properties>
            </testcase>
        </testsuite>
        <testsuite name="normal::queued_io_leaves" tests="2" skipped="0" errors="0" failures="2" time="2.700">
            <properties>
                <property name="kernel.source" value="base 6.12"/>
                <property name="kernel.variant" value="stock"/>
                <property name="kernel.observe" value="true"/>
                <property name="kernel.flavour" value="lock"/>
                <property name="kernel.release" value="6.12.117"/>
                <property name="kernel.id" value="0123abcd"/>
            </properties>
            <testcase name="normal::queued_io_leaves[scsi_debug,bio,explicit]" classname="normal::queued_io_leaves" time="1.300">
                <properties>
                    <property name="evidence" value="tracepoints (incomplete)"/>
                    <property name="artifacts" value="cases/normal--queued_io_leaves-scsi_debug,bio,explicit-"/>
                </properties>
                <failure message="no write returns: 3 of 32 returned with EIO" type="Fail">no write returns: 3 of 32 returned with EIO
    the first: #7 &lt;sector 56&gt; &amp; &quot;its&quot; neighbours\u{1b}[31m\u{0}</failure>
                <system-out>+0.250           1 bio of 253:0 queued in the target
    +0.500           1 bio of 253:0 refused instead of pushed back with EIO
    incomplete: 0 more events, 3 lost by the kernel; odd \u{1b}</system-out>
            </testcase>
            <testcase name="normal::queued_io_leaves[scsi_debug,rq,explicit]" classname="normal::queued_io_leaves" time="1.400">
                <properties>
                    <property name="evidence" value="tracepoints"/>
                    <property name="artifacts" value="cases/normal--queued_io_leaves-scsi_debug,rq,explicit-"/>
                </properties>
                <failure message="warning: WARNING: CPU: 1 PID: 77 at drivers/md/dm-rq.c:195 f+0x1/0x2 ]]&gt;" type="KernelSplat"/>
            </testcase>
        </testsuite>
        <testsuite name="normal::needs_debugfs" tests="1" skipped="1" errors="0" failures="0" time="1.500">
            <properties>
                <property name="kernel.source" value="base 6.12"/>
                <property name="kernel.variant" value="stock"/>
                <property name="kernel.observe" value="true"/>
                <property name="kernel.flavour" value="lock"/>
                <property name="kernel.release" value="6.12.117"/>
                <property name="kernel.id" value="0123abcd"/>
            </properties>
            <testcase name="normal::needs_debugfs" classname="normal::needs_debugfs" time="1.500">
                <properties>
                    <property name="artifacts" value="cases/normal--needs_debugfs"/>
                </properties>
                <skipped message="this kernel has no BLK_DEBUG_FS" type="Skipped"/>
            </testcase>
        </testsuite>
        <testsuite name="normal::no_tool" tests="1" skipped="0" errors="1" failures="0" time="4.200">
            <properties>
                <property name="kernel.source" value="base 6.12"/>
                <property name="kernel.variant" value="stock"/>
                <property name="kernel.observe" value="true"/>
                <property name="kernel.flavour" value="lock"/>
                <property name="kernel.release" value="6.12.117"/>
                <property name="kernel.id" value="0123abcd"/>
            </properties>
            <testcase name="normal::no_tool" classname="normal::no_tool" time="4.200">
                <properties>
                    <property name="evidence" value="tracepoints"/>
                    <property name="artifacts" value="cases/normal--no_tool"/>
                </properties>
                <error message="the image has no dmsetup" type="Infra"/>
            </testcase>
        </testsuite>
    </testsuites>
    "#);
}

#[test]
#[expect(clippy::too_many_lines, reason = "a document as it is")]
fn json() {
    let mut results = fold(&every_outcome());
    let text = json::render(&results).unwrap();
    assert_eq!(serde_json::from_str::<Results>(&text).unwrap(), results);
    let shown = [1, 4, 10].map(|n| results.cases[n].clone());
    results.cases = shown.to_vec();
    insta::assert_snapshot!(json::render(&results).unwrap(), @r#"
    {
      "v": 1,
      "kernel": {
        "source": "base 6.12",
        "variant": "stock",
        "observe": true,
        "flavour": "lock",
        "release": "6.12.117",
        "id": "0123abcd",
        "unknown_symbols": [
          "DM_PUSHBACK_OBSERVE"
        ]
      },
      "host": {
        "qemu": "QEMU emulator version 7.2.0",
        "accel": "tcg",
        "accel_reason": "KVM opens but does not boot Linux",
        "boot": "image",
        "cpus": 2,
        "memory_mib": 7800
      },
      "cases": [
        {
          "name": "compat::queued_io_fails",
          "conditions": {
            "transport": "scsi_debug",
            "queue_mode": "rq",
            "suspend": "explicit"
          },
          "full_name": "compat::queued_io_fails[scsi_debug,rq,explicit]",
          "outcome": "KnownDeviation",
          "seconds": 1.1,
          "message": "every queued write fails with EIO: stock request-based multipath keeps requeued requests over a flush suspend",
          "assertion": "every queued write fails with EIO",
          "artifacts": "cases/compat--queued_io_fails-scsi_debug,rq,explicit-",
          "evidence": "tracepoints"
        },
        {
          "name": "normal::queued_io_leaves",
          "conditions": {
            "transport": "scsi_debug",
            "queue_mode": "bio",
            "suspend": "explicit"
          },
          "full_name": "normal::queued_io_leaves[scsi_debug,bio,explicit]",
          "outcome": "Fail",
          "seconds": 1.3,
          "message": "no write returns: 3 of 32 returned with EIO\nthe first: #7 <sector 56> & \"its\" neighbours\u001b[31m\u0000",
          "assertion": "no write returns",
          "artifacts": "cases/normal--queued_io_leaves-scsi_debug,bio,explicit-",
          "evidence": "tracepoints (incomplete)",
          "history": [
            "+0.250           1 bio of 253:0 queued in the target",
            "+0.500           1 bio of 253:0 refused instead of pushed back with EIO",
            "incomplete: 0 more events, 3 lost by the kernel; odd \u001b"
          ]
        },
        {
          "name": "normal::never_started",
          "conditions": {
            "transport": "scsi_debug",
            "queue_mode": "bio",
            "suspend": "explicit",
            "fault": "offline"
          },
          "full_name": "normal::never_started[scsi_debug,bio,explicit,offline]",
          "outcome": "NotRun",
          "seconds": 0.0,
          "message": "the run was interrupted before it was started"
        }
      ],
      "summary": {
        "total": 12,
        "passed": 3,
        "failed": 4,
        "known_deviations": 1,
        "skipped": 1,
        "infra": 1,
        "not_run": 2,
        "outcomes": {
          "Fail": 1,
          "Infra": 1,
          "KernelSplat": 1,
          "KnownDeviation": 1,
          "NotRun": 2,
          "Pass": 3,
          "Skipped": 1,
          "Timeout": 1,
          "VmLost": 1
        },
        "seconds": 60.25,
        "complete": false,
        "exit_code": 1
      }
    }
    "#);
}

#[test]
fn terminal_summary() {
    let text = terminal::summary(&fold(&every_outcome()), Utf8Path::new("out/2026-01-02 run"), false);
    insta::assert_snapshot!(text, @r#"
    kernel  6.12.117 (base 6.12), stock, observed, lock
    host    QEMU emulator version 7.2.0, tcg (KVM opens but does not boot Linux), 2 CPUs, 7800 MiB
    seen by tracepoints; tracepoints (incomplete)
            this tree does not know DM_PUSHBACK_OBSERVE

    known deviations (neither pass nor failure):
      compat::queued_io_fails[scsi_debug,rq,explicit]
          every queued write fails with EIO: stock request-based multipath keeps requeued requests over a flush suspend

    skipped:
      normal::needs_debugfs
          this kernel has no BLK_DEBUG_FS

    slowest:
         4.200 s  normal::no_tool
         4.100 s  normal::vm_went_away
         4.000 s  normal::wedged
         1.500 s  normal::needs_debugfs
         1.400 s  normal::queued_io_leaves[scsi_debug,rq,explicit]

    Fail  normal::queued_io_leaves[scsi_debug,bio,explicit] (1.300 s)
        no write returns: 3 of 32 returned with EIO
        the first: #7 <sector 56> & "its" neighbours\u{1b}[31m\u{0}
        history of its I/O, seconds since it began:
          +0.250           1 bio of 253:0 queued in the target
          +0.500           1 bio of 253:0 refused instead of pushed back with EIO
          incomplete: 0 more events, 3 lost by the kernel; odd \u{1b}
        artifacts: out/2026-01-02 run/cases/normal--queued_io_leaves-scsi_debug,bio,explicit-
        again:     cargo xtask test --rerun 'out/2026-01-02 run/cases/normal--queued_io_leaves-scsi_debug,bio,explicit-'

    KernelSplat  normal::queued_io_leaves[scsi_debug,rq,explicit] (1.400 s)
        warning: WARNING: CPU: 1 PID: 77 at drivers/md/dm-rq.c:195 f+0x1/0x2 ]]>
        artifacts: out/2026-01-02 run/cases/normal--queued_io_leaves-scsi_debug,rq,explicit-
        again:     cargo xtask test --rerun 'out/2026-01-02 run/cases/normal--queued_io_leaves-scsi_debug,rq,explicit-'

    Timeout  normal::wedged (4.000 s)
        case clock, 30.0 s: waiting for `map reports 0 valid paths`
        artifacts: out/2026-01-02 run/cases/normal--wedged
        again:     cargo xtask test --rerun 'out/2026-01-02 run/cases/normal--wedged'

    VmLost  normal::vm_went_away (4.100 s)
        QEMU ended with signal 6
        artifacts: out/2026-01-02 run/cases/normal--vm_went_away
        again:     cargo xtask test --rerun 'out/2026-01-02 run/cases/normal--vm_went_away'

    Infra  normal::no_tool (4.200 s)
        the image has no dmsetup
        artifacts: out/2026-01-02 run/cases/normal--no_tool
        again:     cargo xtask test --rerun 'out/2026-01-02 run/cases/normal--no_tool'

    NotRun  1 of 12 cases: started, but the run was interrupted before it had an outcome

    NotRun  1 of 12 cases: the run was interrupted before it was started

    3 passed, 4 failed, 1 known deviation, 1 skipped, 1 infrastructure failure, 2 not run of 12 in 60.2 s; the run did not come to its end
    everything is in out/2026-01-02 run
    "#);
}

#[test]
fn terminal_lines() {
    let results = fold(&every_outcome());
    let lines: Vec<_> = results.cases.iter().map(|case| terminal::status_line(case, false)).collect();
    insta::assert_snapshot!(lines.join("\n"), @r#"
              Pass    1.000 s  compat::queued_io_fails[scsi_debug,bio,explicit]
    KnownDeviation    1.100 s  compat::queued_io_fails[scsi_debug,rq,explicit]
                               every queued write fails with EIO: stock request-based multipath keeps requeued requests over a flush suspend
              Pass    1.150 s  compat::io_fails_without_paths[scsi_debug,bio,explicit]
              Pass    1.200 s  compat::io_fails_without_paths[scsi_debug,bio,explicit] #2
              Fail    1.300 s  normal::queued_io_leaves[scsi_debug,bio,explicit]
                               no write returns: 3 of 32 returned with EIO
                               the first: #7 <sector 56> & "its" neighbours\u{1b}[31m\u{0}
       KernelSplat    1.400 s  normal::queued_io_leaves[scsi_debug,rq,explicit]
                               warning: WARNING: CPU: 1 PID: 77 at drivers/md/dm-rq.c:195 f+0x1/0x2 ]]>
           Skipped    1.500 s  normal::needs_debugfs
                               this kernel has no BLK_DEBUG_FS
           Timeout    4.000 s  normal::wedged
                               case clock, 30.0 s: waiting for `map reports 0 valid paths`
            VmLost    4.100 s  normal::vm_went_away
                               QEMU ended with signal 6
             Infra    4.200 s  normal::no_tool
                               the image has no dmsetup
            NotRun    0.000 s  normal::never_started[scsi_debug,bio,explicit,offline]
                               the run was interrupted before it was started
            NotRun    0.000 s  normal::unfinished[scsi_debug,rq,explicit]
                               started, but the run was interrupted before it had an outcome
    "#);
    assert!(terminal::status_line(&results.cases[0], true).starts_with("\x1b["));
}
