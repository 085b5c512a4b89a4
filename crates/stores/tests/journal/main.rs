//! What a journal promises, in a file and on a server.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs, async_fn_in_trait)]

mod bench;
mod file;
mod server;
mod suite;

/// Each promise of the suite as a test of each journal.
macro_rules! promises {
    ($($name:ident)*) => {
        mod in_a_file {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                crate::suite::$name(&crate::bench::FileBench::new()).await;
            })*
        }
        mod on_a_server {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                crate::suite::$name(&crate::bench::ServerBench::new()).await;
            })*
        }
    };
}

promises! {
    appends_in_order_and_reads_back_what_was_written
    an_append_that_is_late_is_refused_whole
    of_concurrent_appenders_exactly_one_wins_each_place
    what_another_process_appended_is_seen_without_reopening
    members_live_as_long_as_their_leases
    a_named_lease_has_one_holder_at_a_time
    requests_are_kept_until_finished_and_the_first_outcome_stands
    dead_letters_are_one_for_each_key
    notes_are_shared_and_once_means_once
    migrations_of_one_journal_do_not_mix
    a_journal_from_a_newer_version_is_refused
    an_entry_that_cannot_be_read_is_named
    many_processes_make_one_journal_at_the_same_time
    a_journal_that_is_not_there_is_not_made_by_asking
}
