//! Members: following, acknowledging, leases.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod stage;

use std::sync::Arc;
use std::time::Duration;

use shearwater_core::lifecycle::Phase;
use shearwater_engine::Member;
use shearwater_engine::member::{Confirmed, MemberOptions};
use stage::Stage;
use stage::frozen::Frozen;

async fn acknowledged(stage: &Stage, member: &Member) -> u64 {
    let members = stage.setup.journal.members().await.unwrap();
    members.iter().find(|m| m.id == member.id()).unwrap().epoch
}

async fn reaches(stage: &Stage, member: &Member, epoch: u64) {
    while acknowledged(stage, member).await != epoch {
        member.nudge();
        tokio::task::yield_now().await;
    }
}

async fn join(stage: &Stage) -> Arc<Member> {
    Member::join(&stage.setup, "m", MemberOptions::default()).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_starts_where_the_journal_is_and_follows_it() {
    let stage = Stage::at(Phase::DualWrite, &[]).await;
    let member = join(&stage).await;
    assert_eq!(member.view().state, stage.state().await);
    assert_eq!(acknowledged(&stage, &member).await, 2);
    let other = join(&stage).await;
    assert_ne!(member.id(), other.id());
    let seq = member.view().seq;
    stage.go(Phase::ShadowRead).await;
    let last = stage.setup.journal.last_seq().await.unwrap();
    assert!(member.seen_above(seq).await.seq > seq);
    assert_eq!(member.seen_above(last - 1).await.state, stage.state().await);
    assert_eq!(other.seen_above(last - 1).await.seq, last);
    reaches(&stage, &member, 3).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_epoch_is_acknowledged_when_no_older_request_is_in_flight() {
    let stage = Stage::at(Phase::DualWrite, &[]).await;
    let member = join(&stage).await;
    let (older, also_older) = (member.admit().unwrap(), member.admit().unwrap());
    let reading = member.admit_read().unwrap();
    stage.go(Phase::ShadowRead).await;
    let last = stage.setup.journal.last_seq().await.unwrap();
    member.seen_above(last - 1).await;
    let newer = member.admit().unwrap();
    assert_eq!((older.view.state.epoch, newer.view.state.epoch), (2, 3));
    drop(older);
    // The member has had every occasion to acknowledge: its lease is renewed for
    // the next epoch's entry, still under the old one.
    stage.enter(Phase::ReadRamp).await;
    member.seen_above(last).await;
    assert_eq!(acknowledged(&stage, &member).await, 2);
    drop(also_older);
    reaches(&stage, &member, 3).await;
    drop(newer);
    reaches(&stage, &member, 4).await;
    assert_eq!(
        member.confirm(&reading).unwrap(),
        Confirmed::MovedOn,
        "a read holds nothing back and must be made again"
    );
    let now = member.admit_read().unwrap();
    assert_eq!(member.confirm(&now).unwrap(), Confirmed::Yes);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lapse_voids_what_was_admitted_before_it() {
    let stage = Stage::at(Phase::DualWrite, &[]).await;
    let journal = Frozen::new(stage.setup.journal.clone());
    let options = MemberOptions { ttl: Duration::from_millis(100), poll: Duration::from_millis(2) };
    let member: Arc<Member> = Member::join_journal(journal.clone(), "m", options).await.unwrap();
    let (admission, reading) = (member.admit().unwrap(), member.admit_read().unwrap());
    journal.let_leases_end();
    while member.is_serving() {
        tokio::task::yield_now().await;
    }
    assert!(member.admit().is_err() && member.admit_read().is_err());
    assert!(admission.still_valid().is_err() && member.confirm(&reading).is_err());
    stage.go(Phase::ShadowRead).await;
    journal.renew_again();
    while !member.is_serving() {
        tokio::task::yield_now().await;
    }
    assert_eq!(member.view().state.phase, Phase::ShadowRead, "it looks before it serves again");
    assert!(admission.still_valid().is_err() && member.confirm(&reading).is_err());
    assert!(member.admit().unwrap().still_valid().is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_that_leaves_lets_its_requests_end_and_takes_no_new_ones() {
    let stage = Stage::at(Phase::DualWrite, &[]).await;
    let member = join(&stage).await;
    let admission = member.admit().unwrap();
    let leaving = tokio::spawn({
        let member = member.clone();
        async move { member.leave().await }
    });
    while member.admit().is_ok() {
        tokio::task::yield_now().await;
    }
    assert!(admission.still_valid().is_ok() && !leaving.is_finished());
    drop(admission);
    leaving.await.unwrap();
    assert_eq!(stage.setup.journal.members().await.unwrap(), []);
    assert!(!member.is_serving());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_reconciler_is_woken_once_for_any_number_of_marks() {
    let stage = Stage::at(Phase::DualWrite, &[]).await;
    let member = join(&stage).await;
    member.wake_reconciler();
    member.wake_reconciler();
    member.reconciler_woken().await;
    let again = tokio::time::timeout(Duration::from_millis(20), member.reconciler_woken()).await;
    assert!(again.is_err());
}
