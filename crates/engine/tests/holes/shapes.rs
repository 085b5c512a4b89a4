//! H13, H18, H19, H20: what one shape has and the other has not.

use shearwater_core::lifecycle::Phase;
use shearwater_core::store::Side;
use shearwater_core::value::hash;
use shearwater_core::{Document, Value};
use shearwater_engine::records::{Edit, Protection as Switch, ServeError, Shape};

use crate::stage::{Server, Stage, doc};
use crate::{Protection, Seen, check, options};

const ONE: &str = r#"{"_id": "k", "name": "1", "email": "k@x"}"#;

async fn loyalty(server: &Server) -> Option<Value> {
    server.get(Shape::V2, "k").await.and_then(|got| got.record.get("loyalty").cloned())
}

#[tokio::test(flavor = "multi_thread")]
async fn h13_an_old_client_puts_a_whole_record_and_drops_the_new_field() {
    for phase in [Phase::DualWrite, Phase::ReadRamp, Phase::ReverseWindow] {
        check(async |protection: Protection| {
            let stage = Stage::at(phase, &[ONE]).await;
            let new = stage.serve(options()).await;
            let old = stage.serve(protection.options(Switch::KeepOtherShape)).await;
            new.patch(Shape::V2, "k", r#"{"loyalty": "gold"}"#).await.unwrap();
            let v1 = old.get(Shape::V1, "k").await.unwrap().record;
            assert!(!v1.contains("loyalty"), "the old shape does not show it");
            old.edit(Shape::V1, "k", Edit::Replace(v1)).await.unwrap();
            Seen::sound_if(loyalty(&new).await == Some(Value::text("gold")))
        })
        .await;
    }
}

#[tokio::test]
async fn h18_a_checksum_that_cannot_see() {
    let rows = |names: [&str; 4]| names.map(|name| [("_id", "k"), ("name", name)].into_iter().collect::<Document>());
    let (source, target) = (rows(["aa", "ab", "ba", "bb"]), rows(["ca", "cb", "da", "db"]));
    assert!(source.iter().zip(&target).all(|(s, t)| s != t), "every row differs");
    check(async |protection: Protection| {
        let equal = match protection {
            Protection::On => sum(&source) == sum(&target),
            Protection::Off => xor_of_crc32(&source) == xor_of_crc32(&target),
        };
        Seen::sound_if(!equal)
    })
    .await;
}

fn sum(rows: &[Document]) -> u128 {
    rows.iter().map(hash::document).fold(0, u128::wrapping_add)
}

fn xor_of_crc32(rows: &[Document]) -> u32 {
    rows.iter().fold(0, |sum, row| {
        let mut bytes = Vec::new();
        hash::write(&Value::Document(row.clone()), &mut bytes);
        sum ^ crc32(&bytes)
    })
}

fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0u32, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| (crc >> 1) ^ (0xedb8_8320 & (crc & 1).wrapping_neg()))
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn h19_a_constraint_that_only_the_follower_has() {
    for (bad, field) in [(r#"{"score": "many"}"#, "score"), (r#"{"email": "k@x"}"#, "email")] {
        check(async |protection: Protection| {
            let stage = Stage::at(Phase::ReadRamp, &[ONE, r#"{"_id": "m", "name": "M"}"#]).await;
            let server = stage.serve(protection.options(Switch::CheckTargetFirst)).await;
            match server.patch(Shape::V1, "m", bad).await {
                Err(ServeError::Unprocessable { field: named, .. }) => {
                    assert_eq!(named, field);
                    assert!(!stage.is_dirty(Side::Source, "m").await, "nothing was written");
                    Seen::Sound
                }
                Ok(done) => {
                    // Accepted, and the follower will refuse it for ever: a dead letter tells so.
                    assert!(!done.followed && stage.is_dirty(Side::Source, "m").await);
                    assert_eq!(stage.setup.journal.dead_letter_count().await.unwrap(), 1);
                    Seen::Hole
                }
                Err(other) => panic!("{other}"),
            }
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn h20_rollback_loses_fields_that_the_source_cannot_hold() {
    check(async |protection: Protection| {
        let stage = Stage::at(Phase::ReverseWindow, &[ONE]).await;
        let server = stage.serve(protection.options(Switch::Park)).await;
        server.patch(Shape::V2, "k", r#"{"loyalty": "gold"}"#).await.unwrap();
        stage.switch(Side::Target).await;
        server.sync().await;
        // Back at the source, an old client writes; then forward again.
        let v1 = server.get(Shape::V1, "k").await.unwrap().record;
        assert_eq!(v1, doc(ONE));
        server.patch(Shape::V1, "k", r#"{"name": "2"}"#).await.unwrap();
        stage.go(Phase::ReverseWindow).await;
        server.sync().await;
        assert_eq!(server.name(Shape::V2, "k").await.as_deref(), Some("2"));
        Seen::sound_if(loyalty(&server).await == Some(Value::text("gold")))
    })
    .await;
}
