//! Records that come to a key which the target has already: merged by rule, and
//! parted again as they were but for what was written since.

use shearwater_core::Value;
use shearwater_core::journal::Command;
use shearwater_core::lifecycle::absorb::Phase;
use shearwater_engine::absorb::census::{CENSUS_NOTE, Collision};
use shearwater_engine::records::{Edit, ServeError, Shape};

use crate::world::{Process, World, document, v1, v2};

pub const MERGE: &str = "[conflicts]\nid = { merge = { name = \"source\", status = \"non-null\" } }\n";

/// Alice's own record under the key that Bob's third user comes to.
const HERS: &str = "bob-3|a3@alice.example|Own 3|boss|-";

async fn merged(world: &World) -> Process {
    let process = world.in_phase(Phase::Lazy).await;
    let done = process.patch(Shape::V2, &v2(3), &[("manager", "m".into()), ("status", "NEW".into())]).await;
    let got = done.records[0].clone().unwrap();
    assert_eq!(got.record.get("manager"), Some(&"boss".into()), "the answer is the record as it landed");
    assert_eq!(got.etag, process.get(Shape::V2, &v2(3)).await.unwrap().etag);
    assert!(world.people().contains(&"bob-3|a3@alice.example|F3 L003|boss|NEW".to_owned()), "{:?}", world.people());
    process
}

#[tokio::test]
async fn a_merged_record_is_both_and_parts_as_both_were() {
    let world = World::new(5).with(MERGE);
    let (bobs, people) = (world.bobs(), world.people());
    let process = merged(&world).await;
    // Bob's clients see what is theirs, Alice's see the one record.
    assert_eq!(process.field(Shape::V1, &v1(3), "email").await, "u3@bob.example".into());
    assert_eq!(process.field(Shape::V2, &v2(3), "email").await, "a3@alice.example".into());
    process.reconciled().await;
    assert_eq!(process.done(Command::Verify).await["mismatches"].as_u64(), Some(0));
    process.back().await;
    assert_eq!((world.bobs(), world.people()), (bobs.clone(), people.clone()));
    assert_eq!(process.field(Shape::V2, &v2(3), "manager").await, "m".into(), "its own is parked");
    // And again.
    process.forward_to(Phase::Lazy).await;
    process.patch(Shape::V2, &v2(3), &[("status", "NEW".into())]).await;
    assert!(world.people().contains(&"bob-3|a3@alice.example|F3 L003|boss|NEW".to_owned()));
    process.back().await;
    assert_eq!((world.bobs(), world.people()), (bobs, people));
    process.stop().await;
}

#[tokio::test]
async fn what_was_written_since_the_merge_stays_on_both_sides() {
    let world = World::new(5).with(MERGE);
    let (mut bobs, mut people) = (world.bobs(), world.people());
    let process = merged(&world).await;
    world.alice().execute("UPDATE people SET email = 'since@alice.example' WHERE id = 'bob-3'", []).unwrap();
    process.patch(Shape::V1, &v1(3), &[("last", "Since".into())]).await;
    process.back().await;
    bobs[2] = bobs[2].replace("u3@bob.example", "since@alice.example").replace("L003", "Since");
    let hers = people.iter_mut().find(|row| *row == HERS).unwrap();
    *hers = "bob-3|since@alice.example|F3 Since|boss|-".to_owned();
    assert_eq!((world.bobs(), world.people()), (bobs, people));
    process.stop().await;
}

#[tokio::test]
async fn bobs_clients_delete_what_is_bobs_and_never_alices_own() {
    let world = World::new(5).with(MERGE);
    let people = world.people();
    let process = merged(&world).await;
    process.write(Shape::V1, &v1(3), Edit::Delete).await.unwrap();
    assert_eq!(world.people(), people);
    assert!(process.get(Shape::V1, &v1(3)).await.is_none() && process.get(Shape::V2, &v2(3)).await.is_none());
    // Nor do they write it: under its key Bob's begins again in the source only.
    let new = document(&[("name", "A B".into()), ("manager", "m".into())]);
    let refused = process.write(Shape::V2, &v2(3), Edit::Insert(new)).await;
    assert!(matches!(refused, Err(ServeError::Unprocessable { code, .. }) if code == "absorb/taken"));
    assert_eq!(world.people(), people);
    let new = document(&[("first", "A".into()), ("last", "B".into())]);
    process.write(Shape::V1, &v1(3), Edit::Insert(new)).await.unwrap();
    assert_eq!(process.field(Shape::V2, &v2(3), "name").await, "A B".into());
    process.stop().await;
}

#[tokio::test]
async fn a_record_that_alice_put_in_a_deleted_ones_place_is_hers() {
    let world = World::new(3).without_collisions();
    let process = world.in_phase(Phase::Lazy).await;
    process.give_manager(1, "m").await;
    process.reconciled().await;
    world
        .alice()
        .execute_batch(
            "DELETE FROM people WHERE id = 'bob-1'; INSERT INTO people VALUES ('bob-1', NULL, 'Hers', 'boss', NULL)",
        )
        .unwrap();
    let new = document(&[("name", "A B".into()), ("manager", "m".into())]);
    let refused = process.write(Shape::V2, &v2(1), Edit::Insert(new)).await;
    assert!(matches!(refused, Err(ServeError::Unprocessable { code, .. }) if code == "absorb/taken"));
    assert!(world.people().contains(&"bob-1|-|Hers|boss|-".to_owned()));
    process.stop().await;
}

#[tokio::test]
async fn the_census_says_what_becomes_of_each() {
    let world = World::new(5).with(&format!("{MERGE}email = \"keep-target\"\n"));
    let process = world.in_phase(Phase::Prepare).await;
    let listed = process.setup.journal.note(CENSUS_NOTE).await.unwrap().unwrap();
    let mut listed: Vec<Collision> = serde_json::from_str(&listed).unwrap();
    listed.sort_by(|a, b| a.key.cmp(&b.key));
    let words: Vec<String> = listed.iter().map(|one| format!("{} {} {}", one.key, one.field, one.becomes)).collect();
    assert_eq!(words, ["2 email keep-target", "3 id merge"]);
    assert_eq!(process.field(Shape::V2, &v2(3), "manager").await, Value::Null);
    process.stop().await;
}
