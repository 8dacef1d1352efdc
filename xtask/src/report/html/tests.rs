// SPDX-License-Identifier: GPL-2.0-only
//! Pages of runs as they end, and as they do not; `tests/html_report` looks at them in a browser.

use guest::condition::{Condition, QueueMode};
use guest::message::Cut;
use guest::trace::{Io, Step, What};
use proptest::prelude::*;

use super::*;
use crate::event::{FORMAT, Kind, Source};
use crate::report::model::{CaseResult, fold};
use crate::report::tests::every_outcome;
use crate::report::timeline::TimeLine;

/// The page of one run.
fn of(events: &[Event]) -> String {
    let results = fold(events);
    one_run(Finished { results: &results, events, folder: Utf8Path::new("/runs/20261123-204200") }, &[])
}

/// What stands between two marks, each with its own line for a tag.
fn piece(page: &str, from: &str, to: &str) -> String {
    let piece =
        page.split_once(from).and_then(|(_, rest)| rest.split_once(to)).map_or("", |(piece, _)| piece);
    piece.replace("><", ">\n<")
}

fn result(queue_mode: QueueMode, outcome: Status, number: &str) -> CaseResult {
    let conditions = Condition { queue_mode: Some(queue_mode), ..Condition::default() };
    CaseResult {
        name: "a::b".into(),
        conditions,
        full_name: format!("a::b[{queue_mode}]{number}"),
        outcome,
        seconds: 1.0,
        message: String::new(),
        assertion: None,
        splat: None,
        artifacts: None,
        evidence: None,
        history: vec![],
    }
}

fn results(cases: &[CaseResult]) -> Results {
    Results { cases: cases.to_vec(), ..Results::default() }
}

fn shown<'a>(column: &str, when: &str, results: &'a Results) -> Shown<'a> {
    Shown { column: column.into(), when: when.into(), results, events: &[], folder: None, href: None }
}

#[test]
fn every_outcome_has_its_place() {
    let page = of(&every_outcome());
    insta::assert_snapshot!(piece(&page, "<p class=\"verdict\">", "<dl>"), @r#"
    <span class="badge pass">3 passed</span> <span class="badge fail">4 failed</span> <span class="badge known">1 known to deviate</span> <span class="badge skip">1 skipped</span> <span class="badge infra">1 trouble of the host</span> <span class="badge infra">2 not run</span> of 12 in 60.2 s</p>
    <p class="warn">The run did not come to its end.</p>
    "#);
    // Four failures and the trouble of the host, in the order of the plan.
    let names: Vec<_> =
        page.split("<article").skip(1).map(|article| piece(article, "data-n=\"", "\"")).collect();
    assert_eq!(
        names,
        [
            "normal::queued_io_leaves[scsi_debug,bio,explicit]",
            "normal::queued_io_leaves[scsi_debug,rq,explicit]",
            "normal::wedged",
            "normal::vm_went_away",
            "normal::no_tool",
        ]
    );
    insta::assert_snapshot!(piece(&page, "<tbody>", "</tbody>").lines().take(10).collect::<Vec<_>>().join("\n"), @r##"
    <tr class="case h-odd">
    <th scope="row">compat::<wbr>queued_<wbr>io_<wbr>fails<wbr>
    </th>
    <td>
    <a class="sq pass cond is-pass c-scsi_debug c-bio c-explicit" href="#r0-0" title="scsi_debug,bio,explicit">
    <span class="vh">Pass</span>
    </a>
    <a class="sq known cond is-odd c-scsi_debug c-rq c-explicit" href="#r0-1" title="scsi_debug,rq,explicit">
    <span class="vh">KnownDeviation</span>
    </a>
    "##);
    insta::assert_snapshot!(piece(&page, "normal::queued_io_leaves[scsi_debug,bio,explicit]\">", "<h4>"), @r#"
    <details open>
    <summary>
    <h3>
    <span class="badge fail">Fail</span> normal::<wbr>queued_<wbr>io_<wbr>leaves[<wbr>scsi_<wbr>debug,<wbr>bio,<wbr>explicit]<wbr> <small>1.300 s</small>
    </h3>
    </summary>
    <div id="r0-4">
    <pre class="message">no write returns: 3 of 32 returned with EIO
    the first: #7 &lt;sector 56&gt; &amp; &quot;its&quot; neighbours\u{1b}[31m\u{0}</pre>
    <dl>
    <dt>artifacts</dt>
    <dd>
    <code>/runs/20261123-204200/cases/normal--queued_io_leaves-scsi_debug,bio,explicit-</code>
    </dd>
    <dt>again</dt>
    <dd>
    <code>cargo xtask test --rerun /runs/20261123-204200/cases/normal--queued_io_leaves-scsi_debug,bio,explicit-</code>
    </dd>
    </dl>
    "#);
}

#[test]
fn a_run_without_anything_and_one_that_was_cut_short() {
    let empty = of(&[]);
    assert!(
        empty.contains("No case was planned.") && empty.contains("The run did not come to its end."),
        "{empty}"
    );
    assert!(page("nothing", &[]).contains("There are no runs."));
    // Cut after each of its events, a run is told as far as it came.
    let events = every_outcome();
    for n in 0..events.len() {
        assert!(of(&events[..n]).contains("The run did not come to its end."), "after {n} events");
    }
}

#[test]
fn columns_have_their_newest_run_and_a_history() {
    let [old, new, other] = [
        results(&[result(QueueMode::Bio, Status::Fail, ""), result(QueueMode::Bio, Status::Pass, " #2")]),
        results(&[result(QueueMode::Bio, Status::Pass, ""), result(QueueMode::Rq, Status::Fail, "")]),
        results(&[result(QueueMode::Rq, Status::Skipped, "")]),
    ];
    let runs =
        [shown("6.12", "Monday", &old), shown("6.1", "Monday", &other), shown("6.12", "Tuesday", &new)];
    let columns = table::columns(&runs);
    assert_eq!(
        columns.iter().map(|c| (c.label, c.runs.len())).collect::<Vec<_>>(),
        [("6.12", 2), ("6.1", 1)]
    );
    let groups = table::groups(&columns);
    let [group] = &groups[..] else { panic!("one case") };
    let told: Vec<_> = group
        .rows
        .iter()
        .map(|row| {
            (row.label, row.cells.iter().map(|cell| (cell.status(), cell.before.clone())).collect::<Vec<_>>())
        })
        .collect();
    assert_eq!(
        told,
        [
            ("bio", vec![(Some(Status::Pass), vec![Some(Status::Fail)]), (None, vec![])]),
            ("rq", vec![(Some(Status::Fail), vec![None]), (Some(Status::Skipped), vec![])]),
        ]
    );
    let page = page("index", &runs);
    insta::assert_snapshot!(piece(&page, "<section id=\"cases\">", "</section>").split_once("</p>").unwrap().1.trim_start(), @r##"
    <details class="case h-fail h-odd">
    <summary>a::<wbr>b<wbr> <span class="badge fail">1 of 2</span> <span class="badge skip">0 of 1</span>
    </summary>
    <details class="cond is-pass c-bio" data-n="a::b[bio]">
    <summary>
    <i class="sq pass">
    </i>
    <span class="hist" title="earlier runs, oldest first">
    <i class="fail">
    </i>
    </span> <i class="sq none">
    </i> bio<wbr> <small>1.000 s</small>
    </summary>
    <div id="r2-0">
    <p>6.12, Pass after 1.000 s</p>
    </div>
    </details>
    <details class="cond is-fail c-rq" data-n="a::b[rq]">
    <summary>
    <i class="sq fail">
    </i>
    <span class="hist" title="earlier runs, oldest first">
    <i class="none">
    </i>
    </span> <i class="sq skip">
    </i> rq<wbr>
    </summary>
    <p>6.12, <a href="#r2-1">Fail: see above</a>
    </p>
    <div id="r1-0">
    <p>6.1, Skipped after 1.000 s</p>
    </div>
    </details>
    </details>
    "##);
}

#[test]
fn an_index_leads_to_the_page_of_each_run_and_to_its_evidence() {
    let fails = CaseResult {
        artifacts: Some("part-1/failures/a-b".into()),
        ..result(QueueMode::Bio, Status::Fail, "")
    };
    let [old, new] = [results(&[result(QueueMode::Bio, Status::Pass, "")]), results(&[fails])];
    let run = |when, results, folder: &'static str, href| Shown {
        folder: Some(Utf8Path::new(folder)),
        href: Some(href),
        ..shown("main.lock", when, results)
    };
    let page = index(
        "nights",
        "1 new failure <main>",
        &[
            run("Monday", &old, "/state/runs/main.lock/1", "runs/main.lock/1/report.html"),
            run("Tuesday", &new, "/state/runs/main.lock/2", "runs/main.lock/2/report.html"),
        ],
    );
    let links: Vec<_> =
        page.split("<a href=\"").skip(1).map(|rest| rest.split("</a>").next().unwrap()).collect();
    insta::assert_snapshot!(links.join("\n"), @r##"
    runs/main.lock/2/report.html">Tuesday
    runs/main.lock/1/report.html">Monday
    runs/main.lock/2/part-1/failures/a-b/"><code>/state/runs/main.lock/2/part-1/failures/a-b</code>
    #r1-0">Fail: see above
    "##);
    assert!(page.contains("<pre>1 new failure &lt;main&gt;</pre>"));
}

#[test]
fn names_of_folders_are_times() {
    assert_eq!(time("20261123-204200"), "2026-11-23 20:42:00");
    assert_eq!(time("20261123-204200-2"), "2026-11-23 20:42:00");
    assert_eq!(time("baseline"), "baseline");
    assert_eq!(time("20261123-2042ü"), "20261123-2042ü");
}

#[test]
fn a_page_has_an_end() {
    let dir = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/html_report/proof/baseline");
    let run = crate::report::recorded::read(Utf8Path::new(dir)).unwrap();
    let runs = [Shown { events: &run.events, ..shown("6.1", "now", &run.results) }];
    let page = |passes, others| page_within("t", "", &runs, passes, others);
    let lines = |page: &str| page.matches("<h4>Time line").count();
    assert_eq!(lines(&page(FOR_PASSES, FOR_OTHERS)), 5, "four failures and a known deviation");
    assert_eq!(lines(&page(0, FOR_OTHERS)), 4);
    assert_eq!(lines(&page(FOR_PASSES, 0)), 1);
    assert!(page(0, 0).contains("No time line: this page is large enough."));
    // What does not fit in full may fit without the words.
    let full = page(0, FOR_OTHERS).len();
    let less = page(0, 6000);
    assert!(lines(&less) > 0 && less.len() < full, "{} of {full}", less.len());
}

#[test]
fn io_that_is_stuck_until_a_clock_runs_out_is_drawn_until_then() {
    let event = |t: f64, kind| Event { v: FORMAT, t, src: Source::Guest, vm: Some(1), case: None, kind };
    let queued = What::Io(Io {
        step: Step::Queued,
        kind: "bio".into(),
        op: "W".into(),
        sector: 0,
        sectors: 8,
        error: 0,
    });
    let events = [
        event(1.0, Kind::Line { text: "hello".into() }),
        event(1.5, Kind::Traced { dev: "254:0".into(), what: queued }),
        event(2.0, Kind::Expired { clock: "case".into(), seconds: 1.0 }),
    ];
    let line = TimeLine::of(&events.iter().collect::<Vec<_>>());
    let picture = drawing::draw(&line, drawing::Detail::Full).into_string();
    assert_eq!(piece(&picture, "<path class=\"tgt\" d=\"", "\""), "M380 34V4H760V34z");
}

#[test]
fn a_drawing_says_that_the_trace_is_incomplete() {
    let cut = Cut { left_out: 7, lost: 2, unreadable: vec!["expected <an event>".into()] };
    let kind = Kind::TraceCut { cut };
    let event = Event { v: FORMAT, t: 1.0, src: Source::Guest, vm: Some(1), case: None, kind };
    let picture = drawing::draw(&TimeLine::of(&[&event]), drawing::Detail::Compact).into_string();
    insta::assert_snapshot!(piece(&picture, "<p class=\"note\">", "</p>"), @"The kernel's trace is incomplete: 7 more events, 2 lost by the kernel; expected &lt;an event&gt;: where I/O was, and what suspends did, is drawn as far as it goes");
}

#[test]
fn runs_of_a_branch_are_one_column_and_the_newest_commit_is_told() {
    let at = |source: &str| {
        let kernel = KernelFacts { source: source.into(), flavour: "lock".into(), ..KernelFacts::default() };
        Results { kernel, cases: vec![result(QueueMode::Bio, Status::Pass, "")], ..Results::default() }
    };
    let runs = ["git https://h/x.git#next (0123456789ab)", "git https://h/x.git#next (ba9876543210)"].map(at);
    let name = column(&runs[0].kernel);
    let page = page("index", &[shown(&name, "Monday", &runs[0]), shown(&name, "Tuesday", &runs[1])]);
    assert!(page.contains("#next (ba9876543210)") && !page.contains("0123456789ab"));
    assert!(page.contains("history from 1 earlier"));
    for (source, told) in [
        ("git https://h/x.git#next (ba9876543210)", "git https://h/x.git#next, lock"),
        ("git /srv/linux (mine)#next (ba9876543210)", "git /srv/linux (mine)#next, lock"),
        ("deb linux-image-amd64 (linux-image-6.1.0-56-amd64 6.1.192-2)", "deb linux-image-amd64, lock"),
        ("tree /srv/linux (mine)", "tree /srv/linux (mine), lock"),
    ] {
        assert_eq!(column(&at(source).kernel), told);
    }
}

proptest! {
    #[test]
    fn text_of_a_kernel_never_becomes_markup(text in "(?s).{0,40}", odd in "[<>&\"'/a-z!-]{0,20}") {
        let hostile = format!("<b>{odd}</b>{text}</pre><script>");
        let case = Some("a::b".to_owned());
        let event = |kind| Event { v: FORMAT, t: 1.0, src: Source::Guest, vm: Some(1), case: case.clone(), kind };
        let details = [("map".to_owned(), hostile.clone()), ("table".to_owned(), hostile.clone())];
        let page = of(&[
            event(Kind::Line { text: hostile.clone() }),
            event(Kind::Happened { what: hostile.clone(), details: details.into() }),
            event(Kind::Happened { what: "suspend started".into(), details: [("map".to_owned(), hostile.clone())].into() }),
            event(Kind::Captured { title: hostile.clone(), text: hostile.clone() }),
            event(Kind::Splat { splat: hostile.clone(), text: hostile.clone() }),
            event(Kind::CaseOutcome {
                name: "a::b".into(),
                condition: Condition::default(),
                outcome: crate::outcome::Outcome::Fail { assertion: hostile.clone(), message: hostile.clone() },
                seconds: 1.0,
                artifacts: Some(hostile.clone()),
            }),
        ]);
        prop_assert_eq!(page.matches("<script").count(), 1, "ours alone");
        prop_assert!(!page.contains("<b>"));
        let shown = page.split_once("</style>").map_or("", |(_, rest)| rest);
        prop_assert!(!shown.contains(|c: char| c.is_control() && c != '\n'));
    }
}
