//! H1–H4 and H8: what must not happen to the follower.

use shearwater_core::lifecycle::Phase;
use shearwater_core::store::{Change, DirtyMark, Expect, Image, Put, Side, Write, Written};
use shearwater_core::{Stamp, Value};
use shearwater_engine::records::{Edit, Shape};

use crate::stage::bent::Bend;
use crate::stage::{Stage, doc, key};
use crate::{Protection, Seen, check, options};

const ONE: &str = r#"{"_id": "k", "name": "1"}"#;

/// A write to the source alone, as of a process that dies right after it.
async fn write_and_die(stage: &Stage, name: &str) -> Stamp {
    let mut record = doc(ONE);
    record.set("name", name);
    let change = Change { key: key("k"), image: Some(Image::of(record)), expect: Expect::Any };
    let write = Write { epoch: Some(stage.state().await.epoch), changes: vec![change], idempotency: None };
    match stage.setup.source.write(write).await.unwrap() {
        Written::Applied(stamps) => stamps[0].unwrap(),
        Written::Replayed(_) => panic!("nothing was replayed"),
    }
}

async fn target_has(stage: &Stage, name: &str) -> Seen {
    Seen::sound_if(stage.name_in(Side::Target, "k").await.as_deref() == Some(name))
}

#[tokio::test(flavor = "multi_thread")]
async fn h1_backfill_overwrites_a_newer_write() {
    check(async |protection: Protection| {
        let stage = Stage::at(Phase::DualWrite, &[ONE]).await;
        let server = stage.serve(options()).await;
        let read = stage.read_for(Side::Target, "k").await;
        server.patch(Shape::V1, "k", r#"{"name": "2"}"#).await.unwrap();
        assert_eq!(stage.name_in(Side::Target, "k").await.as_deref(), Some("2"));
        stage.target.bend(protection.bend(Bend::Unguarded));
        stage.apply(Side::Target, read).await;
        target_has(&stage, "2").await
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn h2_a_deleted_record_comes_back() {
    check(async |protection: Protection| {
        let stage = Stage::at(Phase::DualWrite, &[ONE]).await;
        let server = stage.serve(options()).await;
        let read = stage.read_for(Side::Target, "k").await;
        server.edit(Shape::V1, "k", Edit::Delete).await.unwrap();
        stage.target.bend(protection.bend(Bend::NoTombstones));
        stage.apply(Side::Target, read).await;
        Seen::sound_if(stage.name_in(Side::Target, "k").await.is_none())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn h3_two_writers_cross() {
    check(async |protection: Protection| {
        let stage = Stage::at(Phase::DualWrite, &[ONE]).await;
        let server = stage.serve(options()).await;
        write_and_die(&stage, "2").await;
        let first = stage.read_for(Side::Target, "k").await;
        server.patch(Shape::V1, "k", r#"{"name": "3"}"#).await.unwrap();
        stage.target.bend(protection.bend(Bend::Unguarded));
        stage.apply(Side::Target, first).await;
        target_has(&stage, "3").await
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn h4a_crash_between_the_two_writes() {
    check(async |protection: Protection| {
        let stage = Stage::at(Phase::ReadRamp, &[ONE]).await;
        stage.source.bend(protection.bend(Bend::NoMarks));
        write_and_die(&stage, "2").await;
        stage.drain(Side::Source).await;
        target_has(&stage, "2").await
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn h4b_a_mark_that_is_made_afterwards() {
    // A writer that has never heard of us and dies right after its commit: its
    // mark is made by the trigger or never.
    check(async |protection: Protection| {
        let stage = Stage::at(Phase::ReadRamp, &[ONE]).await;
        let names = stage.setup.source.sidecar_names().await.unwrap();
        let direct = rusqlite::Connection::open(stage.source_path()).unwrap();
        if protection == Protection::Off {
            for name in names {
                direct.execute_batch(&format!("DROP TRIGGER IF EXISTS \"{name}\"")).unwrap();
            }
        }
        let changed = direct.execute(r#"UPDATE users SET doc = '{"_id": "k", "name": "2"}' WHERE _id = 'k'"#, []);
        assert_eq!(changed.unwrap(), 1);
        drop(direct);
        stage.drain(Side::Source).await;
        target_has(&stage, "2").await
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn h4c_a_mark_cleared_for_another_write() {
    check(async |protection: Protection| {
        let stage = Stage::at(Phase::ReadRamp, &[ONE]).await;
        let first = write_and_die(&stage, "2").await;
        let put = stage.read_for(Side::Target, "k").await;
        stage.apply(Side::Target, put).await;
        write_and_die(&stage, "3").await;
        stage.source.bend(protection.bend(Bend::ClearsAny));
        stage.setup.source.clear(vec![DirtyMark { key: key("k"), stamp: first }]).await.unwrap();
        stage.drain(Side::Source).await;
        target_has(&stage, "3").await
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn h4d_applied_but_the_client_saw_an_error() {
    check(async |protection: Protection| {
        let stage = Stage::at(Phase::ReadRamp, &[ONE]).await;
        stage.source.bend(match protection {
            Protection::On => Bend::LosesAnswer,
            Protection::Off => Bend::LosesAnswerAndMark,
        });
        let change =
            Change { key: key("k"), image: Some(Image::of(doc(r#"{"_id": "k", "name": "2"}"#))), expect: Expect::Any };
        let write = Write { epoch: Some(stage.state().await.epoch), changes: vec![change], idempotency: None };
        stage.setup.source.write(write).await.unwrap_err();
        stage.drain(Side::Source).await;
        target_has(&stage, "2").await
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn h8a_a_verifier_repairs_with_a_stale_read() {
    check(async |protection: Protection| {
        let stage = Stage::at(Phase::ReadRamp, &[ONE]).await;
        let server = stage.serve(options()).await;
        write_and_die(&stage, "2").await;
        let read = stage.read_for(Side::Target, "k").await;
        server.patch(Shape::V2, "k", r#"{"name": "3"}"#).await.unwrap();
        stage.target.bend(protection.bend(Bend::Unguarded));
        stage.apply(Side::Target, read).await;
        target_has(&stage, "3").await
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn h8b_a_list_difference_deletes_a_live_record() {
    check(async |protection: Protection| {
        let stage = Stage::at(Phase::ReadRamp, &[ONE]).await;
        let server = stage.serve(options()).await;
        let all = crate::stage::by(Shape::V1, "name", 10);
        let listed = server.walk(all).await;
        server.edit(Shape::V1, "new", Edit::Insert(doc(r#"{"_id": "new", "name": "N"}"#))).await.unwrap();
        assert!(!listed.contains(&"new".to_owned()), "so the new record looks like an extra one");
        let repair = match protection {
            // The key is read again in the authority.
            Protection::On => stage.read_for(Side::Target, "new").await,
            // Deleted for its absence in the list, whatever is held.
            Protection::Off => {
                stage.target.bend(Bend::Unguarded);
                Put { key: key("new"), image: None, stamp: Stamp::ZERO }
            }
        };
        stage.apply(Side::Target, repair).await;
        let found = stage.setup.target.fetch(&key("new")).await.unwrap().image;
        Seen::sound_if(found.is_some_and(|image| image.record.get("name") == Some(&Value::text("N"))))
    })
    .await;
}
