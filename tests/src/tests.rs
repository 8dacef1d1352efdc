// SPDX-License-Identifier: GPL-2.0-only
//! What every case of the catalogue must be.

use std::collections::BTreeSet;

use guest::case::full_name;

use super::catalogue;

fn full_names() -> Vec<String> {
    let of = |case: &guest::case::Case| {
        (case.conditions)().iter().map(|condition| full_name(case.name, condition)).collect::<Vec<_>>()
    };
    catalogue().iter().flat_map(of).collect()
}

#[test]
fn names_are_unique() {
    let names = full_names();
    let unique: BTreeSet<&String> = names.iter().collect();
    assert_eq!(unique.len(), names.len());
}

#[test]
fn the_order_never_changes() {
    assert_eq!(full_names(), full_names());
    let first_hidden = catalogue().iter().position(|case| case.tag.is_hidden());
    let rest = &catalogue()[first_hidden.unwrap_or(catalogue().len())..];
    assert!(rest.iter().all(|case| case.tag.is_hidden()), "hidden cases come last");
}

#[test]
fn every_case_is_complete() {
    for case in catalogue() {
        assert!(!case.claim.is_empty() && !case.summary.is_empty(), "{}", case.name);
        assert!(!(case.conditions)().is_empty(), "{}", case.name);
        assert!(case.deadline_seconds > 0, "{}", case.name);
        assert!(
            case.left_out.iter().all(|out| !out.what.is_empty() && !out.reason.is_empty()),
            "{}",
            case.name
        );
        let (module, function) = case.name.split_once("::").unwrap_or_default();
        let plain = |part: &str| {
            !part.is_empty() && part.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
        };
        assert!(plain(module) && plain(function), "{}", case.name);
        if !case.tag.is_hidden() {
            let of_the_seed =
                ["seed, ", "since the seed, "].iter().any(|start| case.claim.starts_with(start));
            assert!(of_the_seed, "{}", case.name);
        }
    }
}

/// `module::function` in a reason is a case that somebody will look for.
#[test]
fn reasons_name_cases_that_exist() {
    let of_a_name = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
    for case in catalogue() {
        for word in case.left_out.iter().flat_map(|out| out.reason.split(|c| !of_a_name(c))) {
            let name = word.trim_end_matches(':');
            let known = !name.contains("::") || catalogue().iter().any(|other| other.name == name);
            assert!(known, "{}: there is no case {name}", case.name);
        }
    }
}

/// The names are stable: filters, reports and bisect scripts rely on them.
#[test]
fn the_default_run_is_known() {
    let default = catalogue().iter().filter(|case| !case.tag.is_hidden());
    let names: Vec<_> = default.map(|case| (case.name, (case.conditions)().len())).collect();
    assert_eq!(
        names,
        [
            ("compat::io_succeeds_with_paths", 16),
            ("compat::io_fails_without_paths", 4),
            ("compat::io_queues_without_paths", 4),
            ("compat::flush_suspend_fails_queued_io", 20),
            ("compat::flush_suspend_fails_spanning_io", 4),
            ("noflush::queued_io_leaves_the_target_without_returning", 20),
            ("noflush::resume_without_recovery_queues_again", 8),
            ("noflush::resume_after_path_recovery_completes", 4),
            ("noflush::resume_after_table_load_completes", 16),
            ("noflush::load_then_noflush_resume_completes", 12),
            ("noflush::spanning_io_completes", 8),
            ("noflush::io_failing_during_the_wait_is_pushed_back", 20),
            ("noflush::io_failing_without_queueing_is_pushed_back", 4),
            ("compat::io_failing_during_flush_suspend_fails", 20),
            ("noflush::flag_is_gone_after_resume", 4),
            ("fault::path_answers_again_while_the_suspend_waits", 4),
            ("fault::io_in_flight_outlives_its_path", 4),
            ("fault::io_outlives_a_busy_host", 2),
            ("fault::busy_host_costs_no_cpu_time", 2),
            ("fault::requeued_io_leaves_the_path_selector", 2),
            ("fault::limits_outlive_the_paths", 4),
            ("fault::queueing_outlives_suspends", 4),
            ("fault::ioctl_waits_for_paths", 4),
            ("alua::io_that_waits_for_a_group_outlives_a_suspend", 2),
            ("alua::io_without_an_active_group_is_pushed_back", 2),
            ("alua::a_group_switch_during_a_suspend_loses_nothing", 2),
            ("daemon::new_paths_complete_queued_io", 2),
            ("daemon::its_suspend_pushes_back", 1),
            ("daemon::its_removal_keeps_queued_io", 1),
            ("stress::suspend_resume_storm", 4),
            ("stress::reload_races_path_failure", 2),
            ("stress::interrupted_suspends", 2),
            ("stress::remove_while_queueing", 2),
            ("stress::queue_settings_under_reload", 1),
            ("stress::queue_settings_and_deleted_paths", 1),
            ("noflush::queue_settings_change_while_suspended", 2),
            ("noflush::more_suspends_than_tags", 2),
            ("noflush::split_io_is_whole", 1),
            ("noflush::striped_io_with_one_half_pushed_back_completes", 2),
            ("noflush::thousands_of_ios_are_pushed_back", 1),
            ("noflush::polled_io_completes", 1),
            ("noflush::io_uring_io_waits_for_the_resume", 2),
            ("noflush::nowait_io_is_refused_at_once", 2),
            ("core::nowait_io_gets_eagain_while_suspended", 1),
            ("noflush::page_cache_writes_are_pushed_back", 4),
            ("noflush::reads_race_with_pushed_back_writes", 4),
            ("noflush::mounted_file_system_survives", 4),
            ("noflush::preflush_and_fua_writes_are_pushed_back", 2),
            ("compat::flush_suspend_freezes_the_file_system", 2),
            ("noflush::size_changes_under_a_parked_fsync", 2),
            ("compat::flush_suspend_of_a_file_system_without_paths_fails", 2),
            ("error_path::failed_suspend_reissues_pushed_back_io", 4),
            ("error_path::interrupted_suspend_keeps_pushed_back_io", 8),
            ("error_path::interrupted_suspend_reissues_pushed_back_io", 8),
            ("error_path::io_not_returned_in_time_fails", 4),
            ("error_path::errors_are_eio_and_nothing_internal", 4),
            ("core::io_that_map_requeues_is_pushed_back", 2),
            ("core::io_that_end_io_requeues_is_pushed_back", 2),
            ("core::spanning_io_is_pushed_back", 2),
            ("core::spanning_io_fails_with_a_flush_suspend", 2),
            ("core::the_half_that_succeeded_is_not_issued_again", 1),
            ("core::the_half_that_failed_fails_the_io", 1),
            ("core::pushback_supersedes_an_error", 1),
            ("core::pushed_back_io_is_reissued_in_order", 1),
            ("core::refused_pushback_is_eio", 1),
            ("core::partly_accepted_io_is_whole", 1),
            ("core::io_accepted_after_an_advance_is_whole", 1),
            ("core::failed_suspend_reissues_what_was_pushed_back", 1),
            ("core::the_flag_ends_with_the_suspend", 2),
            ("race::pushback_meets_the_end_of_a_suspend", 1),
            ("race::pushback_meets_an_interruption", 1),
            ("race::pushback_meets_the_merge", 1),
        ]
    );
}
