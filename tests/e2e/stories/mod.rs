//! The stories, by what they are about.

mod api;
mod bad_input;
mod baked;
mod boot_faults;
mod boot_partition;
mod bus;
mod channel;
mod clients;
mod crash_only;
mod demo;
mod every_controller;
mod faults;
mod full_state;
mod lifecycle;
mod limits;
mod network;
mod power;
mod power_cuts;
mod probe;
mod real_software;
mod signed_host;
mod state_repair;
mod terminal;
mod trials;
mod unit_directory;
mod updates;
mod watchdogs;

/// A story: ends well or says what went wrong.
pub(crate) type Story = fn() -> anyhow::Result<()>;

/// Every story and its name; the longest first, so that others run beside it.
pub(crate) const ALL: &[(&str, Story)] = &[
    (
        "manager_killed_a_hundred_times_loses_nothing",
        crash_only::hundred_kills,
    ),
    (
        "power_may_go_at_any_write_of_an_update",
        power_cuts::every_write,
    ),
    (
        "an_update_by_file_is_kept_and_rolled_back_with_its_data",
        updates::there_and_back,
    ),
    (
        "an_update_goes_on_after_power_went_and_fetches_little_again",
        updates::power_cut_while_fetching,
    ),
    (
        "podman_buildah_and_containerd_run_containers_with_the_runtime",
        clients::run_containers,
    ),
    (
        "the_runtimes_own_tests_pass_with_every_controller",
        every_controller::own_tests,
    ),
    ("a_probe_guest_tells_what_runs_here", probe::guest_that_runs),
    (
        "demo_boots_through_firmware_and_serves_its_page",
        demo::boots_through_firmware,
    ),
    (
        "units_are_applied_stopped_changed_and_removed",
        lifecycle::unit_life,
    ),
    ("exec_runs_in_the_container", lifecycle::exec),
    (
        "exec_gives_a_terminal_and_puts_it_right_again",
        terminal::exec_terminal,
    ),
    (
        "what_was_applied_lasts_across_a_power_cut",
        lifecycle::power_cut,
    ),
    (
        "bad_unit_files_change_nothing_and_say_why",
        bad_input::unit_files,
    ),
    (
        "dropped_unit_files_deploy_and_their_removal_stops",
        unit_directory::dropped_files,
    ),
    (
        "odd_things_in_the_unit_directory_change_nothing",
        unit_directory::odd_files,
    ),
    ("failing_containers_say_why", bad_input::containers),
    ("containers_are_held_to_their_limits", limits::limits),
    (
        "nginx_and_redis_run_and_find_each_other",
        real_software::nginx_and_redis,
    ),
    (
        "a_baked_image_is_in_its_container_what_umoci_unpacks",
        baked::as_umoci_unpacks,
    ),
    (
        "a_neighbour_reaches_only_what_is_published",
        network::neighbour,
    ),
    (
        "curl_is_served_and_strangers_are_not",
        api::curl_and_strangers,
    ),
    (
        "a_host_with_a_signed_certificate_is_known_by_its_authority",
        signed_host::known_by_its_authority,
    ),
    (
        "containers_use_the_bus_by_libdbus_as_their_units_say",
        bus::libdbus_clients,
    ),
    (
        "a_boot_whose_disk_hangs_starts_over",
        boot_faults::hung_disk,
    ),
    (
        "a_damaged_state_partition_is_repaired",
        state_repair::repaired_state,
    ),
    (
        "a_ruined_state_partition_does_not_loop",
        boot_faults::ruined_state,
    ),
    (
        "a_full_state_partition_stops_nothing_that_runs",
        full_state::full_state,
    ),
    (
        "an_image_that_is_cut_off_gives_way_to_the_old_one",
        boot_partition::truncated_image,
    ),
    (
        "a_machine_with_nothing_to_start_never_waits_for_a_person",
        boot_partition::nothing_to_start,
    ),
    (
        "the_loader_leaves_the_stack_to_interrupts",
        boot_partition::leaves_the_stack_alone,
    ),
    ("a_changed_root_is_not_used", boot_faults::changed_root),
    ("a_hung_manager_is_replaced", watchdogs::hung_manager),
    (
        "a_hung_pid_1_is_reset_by_softdog",
        watchdogs::hung_init_softdog,
    ),
    (
        "a_hung_pid_1_is_reset_by_the_machines_watchdog",
        watchdogs::hung_init_hardware,
    ),
    (
        "a_hung_kernel_is_reset_by_the_machines_watchdog",
        watchdogs::hung_kernel,
    ),
    ("a_panicked_kernel_reboots", watchdogs::panicked_kernel),
    ("the_power_button_switches_off_in_order", power::button),
    (
        "a_channel_is_followed_and_never_to_what_failed",
        channel::followed,
    ),
    ("a_trial_whose_units_are_well_is_kept", trials::kept),
    (
        "a_trial_whose_unit_stays_ill_goes_back_and_says_why",
        trials::given_up,
    ),
    (
        "a_trial_that_fails_with_nowhere_to_go_is_reported",
        trials::nowhere_to_go,
    ),
    (
        "a_kernel_that_panics_on_trial_leaves_its_last_words",
        trials::panicked,
    ),
    (
        "a_trial_goes_on_when_its_manager_is_killed",
        trials::manager_killed,
    ),
    (
        "fault_bad_bundles_and_servers_change_nothing_and_say_why",
        faults::refusals::nothing_harms,
    ),
    (
        "fault_units_that_stay_ill_flap_or_lack_their_image_go_back",
        faults::gates::that_stay_shut,
    ),
    (
        "fault_managers_that_never_answer_give_way",
        faults::managers::that_never_answer,
    ),
    (
        "fault_power_goes_three_times_and_the_update_arrives",
        faults::power::gone_three_times,
    ),
    (
        "fault_a_full_state_partition_is_updated",
        faults::full_state::updated,
    ),
    (
        "fault_a_kernel_that_panics_gives_way",
        faults::boots::panicking_kernel,
    ),
    (
        "fault_an_exiting_pid_1_gives_way",
        faults::boots::exiting_init,
    ),
    (
        "fault_a_truncated_kernel_image_gives_way",
        faults::boots::truncated_kernel,
    ),
    (
        "fault_a_flipped_bit_in_the_root_gives_way",
        faults::boots::flipped_root_bit,
    ),
    (
        "fault_a_flipped_bit_in_the_hash_tree_gives_way",
        faults::boots::flipped_tree_bit,
    ),
];
