//! The protocol, model-checked: one key, a handful of processes, crash-stop,
//! atomic single-record store operations. Every protection can be switched off;
//! then the checker must find the hole of that number. All on: none.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod lazy;
mod process;
mod protocol;
mod world;

use process::Process::{Backfill, Lister, Reader, Reconciler, Switcher, Verifier, Writer};
use protocol::{Edit, Mark, Protections};
use stateright::{Checker, Model};
use world::Setup;

/// Everything on.
const ALL: Protections = Protections::ALL;

/// Searches every interleaving; answers the names of the properties that broke.
fn broken(setup: &Setup) -> Vec<&'static str> {
    let checker = setup.clone().checker().spawn_bfs().join();
    assert!(checker.is_done(), "the search was cut short");
    assert!(checker.unique_state_count() > 4, "the setup does nothing");
    let mut names: Vec<&'static str> = checker.discoveries().keys().copied().collect();
    names.sort_unstable();
    names
}

/// Sound with everything on; broken in this property with `off`.
fn check(hole: &str, setup: Setup, off: Protections, property: &'static str) {
    assert_eq!(broken(&Setup { protections: ALL, ..setup.clone() }), Vec::<&str>::new(), "{hole}: not sound");
    let found = broken(&Setup { protections: off, ..setup });
    assert!(found.contains(&property), "{hole}: the checker found {found:?} instead of {property:?}");
}

const EQUAL: &str = "at rest both stores are equal";
const LAST: &str = "at rest the authority holds the last acknowledged write";
const FORWARD: &str = "reads of a key never go backwards";
const OWN: &str = "an acknowledged write is read";
const ONCE: &str = "a request is applied once";

fn put(value: u8) -> process::Process {
    Writer { edit: Edit::Put(value), at: process::WriterAt::Admit }
}

fn delete() -> process::Process {
    Writer { edit: Edit::Delete, at: process::WriterAt::Admit }
}

#[test]
fn model_h1_backfill_overwrites_a_newer_write() {
    let setup =
        Setup::with(1, vec![put(2), Backfill(process::BackfillAt::Read), Reconciler(process::ReconcilerAt::Idle)]);
    check("H1", setup, Protections { guard: false, ..ALL }, EQUAL);
}

#[test]
fn model_h2_deleted_record_comes_back() {
    let setup =
        Setup::with(1, vec![delete(), Backfill(process::BackfillAt::Read), Reconciler(process::ReconcilerAt::Idle)]);
    check("H2", setup, Protections { tombstone: false, ..ALL }, EQUAL);
}

#[test]
fn model_h3_two_writers_cross() {
    let setup = Setup::with(1, vec![put(2), put(3), Reconciler(process::ReconcilerAt::Idle)]);
    check("H3", setup, Protections { guard: false, ..ALL }, EQUAL);
}

#[test]
fn model_h4a_crash_between_the_two_writes() {
    let setup = Setup::with(1, vec![put(2), Reconciler(process::ReconcilerAt::Idle)]).crashes(1);
    check("H4a", setup, Protections { mark: Mark::Never, ..ALL }, EQUAL);
}

#[test]
fn model_h4b_marked_afterwards() {
    let setup = Setup::with(1, vec![put(2), Reconciler(process::ReconcilerAt::Idle)]).crashes(1);
    check("H4b", setup, Protections { mark: Mark::Afterwards, ..ALL }, EQUAL);
}

#[test]
fn model_h4c_mark_cleared_by_anyone() {
    let setup = Setup::with(1, vec![put(2), put(3), Reconciler(process::ReconcilerAt::Idle)]).crashes(1);
    check("H4c", setup, Protections { clear_by_stamp: false, ..ALL }, EQUAL);
}

#[test]
fn model_h4d_follower_skipped_after_a_lost_reply() {
    let setup = Setup::with(1, vec![put(2), Reconciler(process::ReconcilerAt::Idle)]).follower_fails();
    check("H4d", setup, Protections { mark: Mark::Never, ..ALL }, EQUAL);
}

#[test]
fn model_h5a_members_disagree_on_the_phase() {
    let setup = Setup::with(
        1,
        vec![put(2), put(3), Switcher(process::SwitcherAt::Begin), Reconciler(process::ReconcilerAt::Idle)],
    );
    check("H5a", setup, Protections { fence: false, ..ALL }, LAST);
}

#[test]
fn model_h5b_stamps_without_epochs() {
    let setup = Setup::with(
        1,
        vec![put(2), put(3), Switcher(process::SwitcherAt::Begin), Reconciler(process::ReconcilerAt::Idle)],
    );
    check("H5b", setup, Protections { fence: false, epoch_in_stamp: false, ..ALL }, EQUAL);
}

#[test]
fn model_h5c_cutover_without_drain() {
    let setup =
        Setup::with(1, vec![put(2), Switcher(process::SwitcherAt::Begin), Reconciler(process::ReconcilerAt::Idle)]);
    check("H5c", setup, Protections { drain: false, ..ALL }, LAST);
}

#[test]
fn model_h6_read_your_writes() {
    let setup = Setup::with(
        1,
        vec![
            put(2),
            Reader { seen: 0, left: 1, at: process::ReaderAt::Start },
            Reconciler(process::ReconcilerAt::Idle),
        ],
    )
    .follower_fails();
    check("H6", setup, Protections { dirty_from_authority: false, ..ALL }, OWN);
}

#[test]
fn model_h7_reads_go_backwards() {
    let setup = Setup::with(
        1,
        vec![
            put(2),
            Reader { seen: 0, left: 2, at: process::ReaderAt::Start },
            Reconciler(process::ReconcilerAt::Idle),
        ],
    );
    check("H7", setup, Protections { ramp_by_key: false, dirty_from_authority: false, ..ALL }, FORWARD);
}

#[test]
fn model_h8a_verifier_repairs_with_a_stale_read() {
    let setup = Setup::with(
        1,
        vec![put(2), Verifier(process::VerifierAt::ReadSource), Reconciler(process::ReconcilerAt::Idle)],
    );
    check("H8a", setup, Protections { repair_guarded: false, ..ALL }, EQUAL);
}

#[test]
fn model_h8b_list_difference_deletes_a_live_record() {
    let setup =
        Setup::empty(vec![put(2), Lister(process::ListerAt::ListSource), Reconciler(process::ReconcilerAt::Idle)]);
    check("H8b", setup, Protections { delete_after_reread: false, ..ALL }, EQUAL);
}

#[test]
fn model_h15_compensating_delete() {
    let setup = Setup::empty(vec![put(2), put(3), Reconciler(process::ReconcilerAt::Idle)]).follower_fails();
    check("H15", setup, Protections { never_compensate: false, ..ALL }, LAST);
}

#[test]
fn model_h17_retried_insert() {
    let setup = Setup::empty(vec![
        Writer { edit: Edit::InsertOnce(2), at: process::WriterAt::Admit },
        Reconciler(process::ReconcilerAt::Idle),
    ])
    .replies_lost();
    check("H17", setup, Protections { idempotency: false, ..ALL }, ONCE);
}

/// Everything at once: a deleter, a writer, a backfill, a change of authority,
/// a crash, a failing follower. No property breaks.
#[test]
fn model_whole_protocol_is_sound() {
    let setup = Setup::with(
        1,
        vec![
            put(2),
            delete(),
            Backfill(process::BackfillAt::Read),
            Switcher(process::SwitcherAt::Begin),
            Reconciler(process::ReconcilerAt::Idle),
        ],
    )
    .crashes(1)
    .follower_fails();
    assert_eq!(broken(&setup), Vec::<&str>::new());
}

/// There and back again: a second switch in the other direction, with writers
/// on both sides of it.
#[test]
fn model_rollback_is_sound_and_needs_its_drain() {
    let setup = Setup::with(
        1,
        vec![
            put(2),
            put(3),
            Switcher(process::SwitcherAt::Begin),
            Switcher(process::SwitcherAt::Waiting),
            Reconciler(process::ReconcilerAt::Idle),
        ],
    );
    check("rollback", setup, Protections { drain: false, ..ALL }, LAST);
}
