//! The contract of a store as a suite of checks, which every store passes in
//! every layout that it has.
//!
//! A check panics when the store breaks the contract; [`run`] runs all of them
//! and names those that failed.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a check fails by panicking")]

mod bench;
mod capture;
mod guard;
mod lists;
mod reading;
mod values;
mod writing;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

pub use bench::{Bench, Bypass, DirectChange, Flavour, Place, Random, Ranges};

type Running = Pin<Box<dyn Future<Output = ()> + Send>>;

/// One check.
#[derive(Clone, Copy)]
pub struct Check {
    /// Its name, a sentence.
    pub name: &'static str,
    run: fn(Arc<dyn Bench>) -> Running,
}

macro_rules! checks {
    ($($group:ident::$name:ident),* $(,)?) => {
        /// Every check, in reading order.
        pub const CHECKS: &[Check] = &[$(Check {
            name: concat!(stringify!($group), "::", stringify!($name)),
            run: |bench| Box::pin(async move { $group::$name(&*bench).await }),
        }),*];
    };
}

checks! {
    reading::an_absent_key_has_no_record,
    reading::what_was_written_is_read_back,
    reading::fetch_many_keeps_the_order_asked,
    reading::scans_give_every_record_once,
    reading::scans_keep_both_bounds,
    reading::scans_tell_stamps,
    reading::splits_cover_without_overlap,
    reading::keys_alone_are_those_of_the_records,
    reading::estimates_count_records,
    writing::every_change_is_stamped_and_marked,
    writing::a_write_is_all_or_nothing,
    writing::expectations_hold_or_nothing_is_written,
    writing::a_changed_key_is_one_write,
    writing::an_idempotency_key_is_used_once,
    writing::twins_of_one_request_are_applied_once_and_replayed,
    writing::old_idempotency_keys_are_forgotten,
    writing::older_epochs_are_refused,
    writing::only_the_authority_takes_writes,
    writing::a_store_without_a_sidecar_has_no_stamps,
    writing::parked_fields_stay_beside_their_record,
    writing::a_record_is_replaced_whole,
    writing::concurrent_writers_each_get_their_own_stamp,
    guard::every_order_of_stamps,
    guard::batches_side_by_side_leave_the_highest_stamp,
    guard::a_second_backfill_changes_nothing,
    guard::a_tombstone_keeps_an_older_record_out,
    guard::checkpoints_commit_with_their_rows,
    guard::a_checkpoint_does_not_pass_a_refused_put,
    guard::the_authority_takes_no_puts,
    guard::unique_values_pass_between_records_of_a_batch,
    guard::a_refused_put_leaves_the_others,
    guard::puts_carry_parked_fields,
    capture::dirty_marks_come_oldest_first,
    capture::clearing_is_compare_and_set,
    capture::the_fence_is_compare_and_set,
    capture::installing_twice_changes_nothing,
    capture::removal_leaves_no_reserved_name,
    capture::stamps_rise_over_a_change_of_roles,
    capture::a_direct_writer_is_captured,
    capture::a_direct_writer_to_a_follower_is_noted,
    capture::a_direct_writer_is_refused_when_closed,
    capture::a_second_handle_sees_everything,
    values::every_type_survives,
    values::naughty_strings_survive_as_values_and_keys,
    values::keys_of_every_type,
    values::composite_keys,
    values::odd_names,
    values::what_does_not_fit_is_refused_by_name,
    lists::lists_agree_with_a_naive_evaluation,
    lists::pages_join_without_repeats_or_gaps,
    lists::lists_of_what_is_parked_agree_with_a_naive_evaluation,
}

/// What became of one check.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The check.
    pub name: &'static str,
    /// Whether it held.
    pub held: bool,
}

/// Runs every check, one after the other, each on stores of its own.
pub async fn run(bench: Arc<dyn Bench>) -> Vec<Outcome> {
    let mut outcomes = Vec::with_capacity(CHECKS.len());
    for check in CHECKS {
        // The panic's message goes to the test's output, with its place.
        let held = tokio::spawn((check.run)(bench.clone())).await.is_ok();
        outcomes.push(Outcome { name: check.name, held });
    }
    outcomes
}
