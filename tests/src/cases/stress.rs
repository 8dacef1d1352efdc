// SPDX-License-Identifier: GPL-2.0-only
//! Storms: everything at once, as a seed says (docs/stress.md). A few steps in a default run, always with the same seed;
//! `--stress SECONDS` for more.

use guest::case::LeftOut;
use guest::condition::{Fault, QueueMode, SuspendForm, Transport};
use guest::prelude::*;
use guest::stress::Profile;
use guest::stress::removal;
use guest::stress::storm::run as storm;

use crate::matrix::Matrix;

const SUSPEND_RESUME: &str = "stress::suspend_resume_storm";
const RELOAD: &str = "stress::reload_races_path_failure";
const INTERRUPTED: &str = "stress::interrupted_suspends";
const REMOVE: &str = "stress::remove_while_queueing";
const SETTINGS_AND_DELETED: &str = "stress::queue_settings_and_deleted_paths";
const SETTINGS: &str = "stress::queue_settings_under_reload";

/// A condition that is drawn for each step.
const DRAWN: LeftOut =
    LeftOut { what: "suspend form", reason: "it is drawn anew for each exchange of the table" };

const NO_REQUESTS: LeftOut = LeftOut { what: "bio", reason: "a bio-based map has no requests to wait for" };

/// What is raced with is the core, or the map's queue.
const OTHER_TRANSPORT: LeftOut = LeftOut {
    what: "iscsi",
    reason: "how the path is made makes no difference to who waits; stress::suspend_resume_storm has its faults",
};

/// The table of this group.
pub const CASES: &[Case] = &[
    Case {
        name: SUSPEND_RESUME,
        claim: "seed, normal paths 2 to 4, again and again while paths come and go",
        summary: "no I/O fails or is lost while a map is suspended and resumed with noflush and its paths fail and return",
        tag: Tag::Stress,
        needs: super::NEEDS,
        conditions: || Matrix::of_maps().build(),
        left_out: &[DRAWN],
        allow: &[],
        deadline_seconds: 30,
        run: suspend_resume_storm,
    },
    Case {
        name: RELOAD,
        claim: "seed, normal path 4, while paths fail",
        summary: "no I/O fails or is lost while tables are exchanged as fast as paths fail and return",
        tag: Tag::Stress,
        needs: super::NEEDS,
        conditions: || Matrix::of_fast_maps().build(),
        left_out: &[DRAWN, OTHER_TRANSPORT],
        allow: &[],
        deadline_seconds: 30,
        run: reload_races_path_failure,
    },
    Case {
        name: INTERRUPTED,
        claim: "seed, error path 2, at any moment",
        summary: "whenever a noflush suspend is interrupted, I/O fails only if it was under way then, and none is lost",
        tag: Tag::Stress,
        needs: super::HELD,
        conditions: || Matrix::of_fast_maps().build(),
        left_out: &[DRAWN, OTHER_TRANSPORT],
        allow: &[],
        deadline_seconds: 30,
        run: interrupted_suspends,
    },
    Case {
        name: REMOVE,
        claim: "since the seed, 6076905b5ef3: a map is removed while it has events pending",
        summary: "a map that queues I/O can be removed in every way, whoever suspends it meanwhile, and its I/O ends",
        tag: Tag::Stress,
        needs: super::NEEDS,
        conditions: || Matrix::of_fast_maps().build(),
        left_out: &[
            OTHER_TRANSPORT,
            LeftOut { what: "suspend form", reason: "no table is exchanged for another that works" },
        ],
        allow: &[],
        deadline_seconds: 30,
        run: remove_while_queueing,
    },
    Case {
        name: SETTINGS,
        claim: "since the seed, be4addb1914f: a reload waits for a queue that is frozen until the reload has ended",
        summary: "changes of read_ahead_kb, nr_requests and scheduler during load, suspend and resume deadlock nothing",
        tag: Tag::Stress,
        needs: super::NEEDS,
        conditions: request_based,
        left_out: &[
            DRAWN,
            NO_REQUESTS,
            OTHER_TRANSPORT,
            LeftOut {
                what: "delete",
                reason: "lockdep of 6.12 may complain about the lock of the deleted disk's queue: stress::queue_settings_and_deleted_paths",
            },
        ],
        allow: &[],
        deadline_seconds: 30,
        run: queue_settings_under_reload,
    },
    Case {
        name: SETTINGS_AND_DELETED,
        claim: "since the seed, be4addb1914f: a reload waits for a queue that is frozen until the reload has ended",
        summary: "the same while paths are deleted and come back as new disks",
        tag: Tag::Stress,
        needs: super::NEEDS,
        conditions: request_based,
        left_out: &[DRAWN, NO_REQUESTS, OTHER_TRANSPORT],
        allow: &[],
        deadline_seconds: 30,
        run: queue_settings_and_deleted_paths,
    },
];

/// Maps that have requests.
fn request_based() -> Vec<Condition> {
    Matrix::of_fast_maps().in_mode(QueueMode::Rq).build()
}

/// The faults of the few steps of a default run: none that ends with a time-out of more than a second, and over iSCSI only
/// what scsi_debug has not got.
const fn quick_faults(transport: Transport) -> &'static [Fault] {
    use Fault::{Delete, HostBusy, Message, Offline, PortalDisabled, TransportError};
    match transport {
        Transport::ScsiDebug => &[Message, Offline, Delete, TransportError, HostBusy],
        Transport::Iscsi => &[PortalDisabled],
    }
}

/// The profile from which the others are made.
fn profile(bench: &Bench) -> Profile {
    let transport = bench.condition().transport.unwrap_or(Transport::ScsiDebug);
    let is_long = bench.stress().seconds.is_some();
    let faults = if is_long { Fault::of(transport) } else { quick_faults(transport) };
    Profile {
        forms: SuspendForm::ALL,
        between: 0..20_000,
        suspended: 0..20_000,
        interrupted: 0,
        always_reload: false,
        faults: faults.to_vec(),
        down: 1_000..60_000,
        up: 0..40_000,
        held: 0,
        settings: false,
    }
}

/// The map is suspended with noflush and resumed, with and without a new table, in both forms; paths fail in every way and
/// return. All I/O succeeds.
fn suspend_resume_storm(bench: &mut Bench) -> Outcome {
    let profile = profile(bench);
    storm(bench, SUSPEND_RESUME, &profile)
}

/// Without a pause between two exchanges, and with short ones between two faults: a table is loaded while a path of it fails,
/// goes away or comes back.
fn reload_races_path_failure(bench: &mut Bench) -> Outcome {
    let profile = Profile {
        between: 0..1_000,
        suspended: 0..1_000,
        always_reload: true,
        down: 0..10_000,
        up: 0..5_000,
        ..profile(bench)
    };
    storm(bench, RELOAD, &profile)
}

/// Most suspends get a signal, with or without `SA_RESTART`, while a path holds I/O for some time or fails it afterwards. I/O
/// fails only if it was under way in such a suspend.
fn interrupted_suspends(bench: &mut Bench) -> Outcome {
    let faults = vec![Fault::Message];
    let profile = Profile { interrupted: 8, faults, held: 6, always_reload: true, ..profile(bench) };
    storm(bench, INTERRUPTED, &profile)
}

/// Map after map: all paths fail, I/O is queued, and the map is removed, at once, after `fail_if_no_path`, by force or deferred,
/// while somebody else suspends it with noflush. The I/O succeeds or fails with EIO, and the map goes.
fn remove_while_queueing(bench: &mut Bench) -> Outcome {
    let mut profile = profile(bench);
    profile.faults.retain(|fault| fault.fails_paths());
    removal::run(bench, REMOVE, &profile)
}

/// Another task writes to the settings of the map's queue, which freezes it: the freeze waits for every request, and so for
/// the requests that wait for the reload.
fn queue_settings_under_reload(bench: &mut Bench) -> Outcome {
    let mut profile = Profile { settings: true, ..profile(bench) };
    profile.faults.retain(|fault| *fault != Fault::Delete);
    storm(bench, SETTINGS, &profile)
}

/// The same with paths that are deleted. A case of its own, as only here a kernel is known to complain.
fn queue_settings_and_deleted_paths(bench: &mut Bench) -> Outcome {
    let profile = Profile { settings: true, faults: vec![Fault::Delete], ..profile(bench) };
    storm(bench, SETTINGS_AND_DELETED, &profile)
}
