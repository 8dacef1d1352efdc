// SPDX-License-Identifier: GPL-2.0-only
//! The top of a page: what was tested on what, the counts, and the filters.

use std::collections::BTreeSet;

use guest::condition::{Fault, FileSystemKind, IoKind, QueueMode, Signal, SuspendForm, Transport};
use maud::{Markup, html};

use super::text::shown;
use super::{Page, Shown, class};
use crate::report::model::{Status, Summary};
use crate::run::stress;

impl Page<'_> {
    pub(super) fn head(&self, title: &str) -> Markup {
        html! {
            h1 { (title) }
            @if !self.text.is_empty() { pre { (shown(self.text)) } }
            @if self.runs.is_empty() { p { "There are no runs." } }
            @for column in &self.columns {
                @if let Some(((_, run), before)) = column.runs.split_last() {
                    section.run { (head_of(run, before)) }
                }
            }
        }
    }

    /// The values of each axis of the conditions on this page, where there are several.
    pub(super) fn values(&self) -> Vec<(&'static str, BTreeSet<&'static str>)> {
        let mut axes = ["transport", "queue mode", "suspend", "fault", "I/O", "file system", "signal"]
            .map(|axis| (axis, BTreeSet::new()));
        for row in self.groups.iter().flat_map(|group| &group.rows) {
            let c = row.condition;
            let names = [
                c.transport.map(Transport::name),
                c.queue_mode.map(QueueMode::name),
                c.suspend.map(SuspendForm::name),
                c.fault.map(Fault::name),
                c.io.map(IoKind::name),
                c.file_system.map(FileSystemKind::name),
                c.signal.map(Signal::name),
            ];
            for ((_, values), name) in axes.iter_mut().zip(names) {
                values.extend(name);
            }
        }
        axes.into_iter().filter(|(_, values)| values.len() > 1).collect()
    }

    /// Filters that work without JavaScript: the style sheet looks at what is checked.
    pub(super) fn filters(&self) -> Markup {
        html! {
            nav.filters aria-label="filters" {
                div.set {
                    @for (id, name) in [("f-all", "all"), ("f-odd", "not passed"), ("f-fail", "failed")] {
                        label { input type="radio" name="f" id=(id) checked[id == "f-all"]; (name) }
                    }
                    // Of use with JavaScript only, which shows it.
                    label #q-label hidden { "name " input #q type="search" placeholder="noflush rq offline" autocomplete="off"; }
                }
                @let axes = self.values();
                @if !axes.is_empty() {
                    details {
                        summary { "conditions" }
                        @for (axis, values) in axes {
                            fieldset.set {
                                legend { (axis) }
                                @for value in values {
                                    label { input type="checkbox" id={ "f-" (value) } checked; (value) }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn head_of(run: &Shown, earlier: &[(usize, &Shown)]) -> Markup {
    let (kernel, host, sum) = (&run.results.kernel, &run.results.host, &run.results.summary);
    let evidence: BTreeSet<&str> =
        run.results.cases.iter().filter_map(|case| case.evidence.as_deref()).collect();
    html! {
        p.verdict { (counts(sum)) }
        @if !sum.complete { p.warn { "The run did not come to its end." } }
        dl {
            dt { "kernel" }
            dd { (shown(&kernel.release)) " (" (shown(&run.column)) ")" }
            @if kernel.source != kernel.lineage() {
                dt { "source" }
                dd { (shown(&kernel.source)) }
            }
            @if !kernel.unknown_symbols.is_empty() {
                dt { "not known" }
                dd { (kernel.unknown_symbols.iter().map(|s| shown(s)).collect::<Vec<_>>().join(", ")) }
            }
            dt { "run" }
            dd {
                @match run.href {
                    Some(href) => a href=(href) { (shown(&run.when)) },
                    None => (shown(&run.when)),
                }
                @if !earlier.is_empty() { ", history from " (earlier.len()) " earlier" }
                @for (n, (_, run)) in earlier.iter().enumerate() {
                    @if let Some(href) = run.href { (if n == 0 { ": " } else { ", " }) a href=(href) { (shown(&run.when)) } }
                }
            }
            @if !evidence.is_empty() {
                dt { "seen by" }
                dd { (evidence.into_iter().map(shown).collect::<Vec<_>>().join("; ")) }
            }
        }
        details {
            summary { "host and folder" }
            dl {
                @if let Some(asked) = run.results.stress {
                    dt { "stress" }
                    dd { code { (stress::options(asked).join(" ")) } }
                }
                @if !host.qemu.is_empty() {
                    dt { "host" }
                    dd {
                        (shown(&host.qemu)) ", " (shown(&host.accel)) " (" (shown(&host.accel_reason)) "), "
                        (host.cpus) " CPUs, " (host.memory_mib) " MiB, " (shown(&host.boot))
                    }
                }
                @if let Some(folder) = run.folder {
                    dt { "folder" }
                    dd { code { (shown(folder.as_str())) } }
                }
            }
        }
    }
}

/// `319 passed, 1 failed of 320 in 224.5 s`.
fn counts(sum: &Summary) -> Markup {
    let parts = [
        (sum.passed, Status::Pass, "passed"),
        (sum.failed, Status::Fail, "failed"),
        (sum.known_deviations, Status::KnownDeviation, "known to deviate"),
        (sum.skipped, Status::Skipped, "skipped"),
        (sum.infra, Status::Infra, "trouble of the host"),
        (sum.not_run, Status::NotRun, "not run"),
    ];
    html! {
        @for (count, status, words) in parts {
            @if count > 0 || status == Status::Pass {
                span.badge.(class(status)) { (count) " " (words) }
                " "
            }
        }
        "of " (sum.total) " in " (format!("{:.1}", sum.seconds)) " s"
    }
}
