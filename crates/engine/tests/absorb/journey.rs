//! There, back, and to the end.

use shearwater_core::Value;
use shearwater_core::journal::Command;
use shearwater_core::lifecycle::absorb::Phase;
use shearwater_engine::Serve;
use shearwater_engine::records::{Edit, ServeError, Shape};

use crate::world::{World, document, v1, v2};

#[tokio::test]
async fn a_record_moves_when_it_gets_what_the_target_requires() {
    let world = World::new(10).without_collisions();
    let process = world.in_phase(Phase::Lazy).await;
    // Without the required field it changes where it is.
    process.patch(Shape::V2, &v2(1), &[("name", "Ann Lee".into())]).await;
    assert_eq!(world.people().len(), 1);
    assert!(world.bobs()[0].starts_with("1|u1@bob.example|Ann|Lee|"), "{:?}", world.bobs()[0]);
    let before = process.get(Shape::V2, &v2(1)).await.unwrap();
    assert_eq!(before.record.get("manager"), Some(&Value::Null));
    // With it, it moves.
    let done = process.give_manager(1, "m1").await;
    assert_eq!(world.people()[1], "bob-1|u1@bob.example|Ann Lee|m1|-");
    let after = process.get(Shape::V2, &v2(1)).await.unwrap();
    assert_eq!(done.records[0].as_ref().unwrap().etag, after.etag);
    assert_ne!(before.etag, after.etag);
    // Both shapes show it, wherever it lives; the one does not know its manager.
    assert_eq!(process.field(Shape::V1, &v1(1), "first").await, "Ann".into());
    assert_eq!(process.field(Shape::V1, &v1(1), "vip").await, Value::Int(1));
    // An outdated client's write keeps what its shape does not have (H13).
    process.patch(Shape::V1, &v1(1), &[("email", "new@bob.example".into()), ("vip", Value::Int(9))]).await;
    assert_eq!(world.people()[1], "bob-1|new@bob.example|Ann Lee|m1|-");
    assert_eq!(process.field(Shape::V1, &v1(1), "vip").await, Value::Int(9));
    process.reconciled().await;
    assert_eq!(process.setup.journal.dead_letter_count().await.unwrap(), 0, "our own write of the row is no stray");
    process.stop().await;
}

#[tokio::test]
async fn records_are_created_and_deleted_on_either_side() {
    let world = World::new(3).without_collisions();
    let process = world.in_phase(Phase::Lazy).await;
    let new = |fields: &[(&str, Value)]| Edit::Insert(document(fields));
    process
        .write(Shape::V1, &v1(50), new(&[("email", "x@y".into()), ("first", "A".into()), ("last", "B".into())]))
        .await
        .unwrap();
    assert_eq!(world.people().len(), 1, "v1 has no manager: it stays");
    let lacking = process.write(Shape::V2, &v2(51), new(&[("name", "C D".into())])).await;
    assert!(matches!(lacking, Err(ServeError::Unprocessable { code, .. }) if code == "absorb/required"));
    process.write(Shape::V2, &v2(51), new(&[("name", "C D".into()), ("manager", "m".into())])).await.unwrap();
    assert_eq!(world.people()[1], "bob-51|-|C D|m|-");
    assert_eq!(process.field(Shape::V1, &v1(51), "last").await, "D".into());
    let again = process.write(Shape::V2, &v2(51), new(&[("name", "C D".into()), ("manager", "m".into())])).await;
    assert_eq!(again.unwrap_err(), ServeError::Exists);
    for (shape, key) in [(Shape::V2, v2(51)), (Shape::V1, v1(50)), (Shape::V2, v2(1))] {
        process.write(shape, &key, Edit::Delete).await.unwrap();
        assert!(process.get(shape, &key).await.is_none());
        assert_eq!(process.write(shape, &key, Edit::Delete).await.unwrap_err(), ServeError::NotFound);
    }
    // A key that was deleted after it had moved can be used again, on either side.
    process.write(Shape::V2, &v2(51), new(&[("name", "E F".into()), ("manager", "m".into())])).await.unwrap();
    assert_eq!(process.field(Shape::V1, &v1(51), "first").await, "E".into());
    process.write(Shape::V2, &v2(51), Edit::Delete).await.unwrap();
    process.write(Shape::V1, &v1(51), new(&[("first", "G".into()), ("last", "H".into())])).await.unwrap();
    assert_eq!(process.field(Shape::V2, &v2(51), "name").await, "G H".into());
    assert_eq!(world.people().len(), 1, "it lives in the source again");
    process.stop().await;
}

#[tokio::test]
async fn a_rollback_takes_along_what_was_written_there_and_loses_nothing() {
    let world = World::new(12).without_collisions();
    let (bobs, people) = (world.bobs(), world.people());
    let process = world.in_phase(Phase::Lazy).await;
    for n in 1..=6 {
        process.give_manager(n, "m1").await;
    }
    process.forward_to(Phase::Drain).await;
    // Alice's own programs write her store directly, also Bob's records there.
    world
        .alice()
        .execute("UPDATE people SET email = 'direct@alice.example', status = 'VIP' WHERE id = 'bob-2'", [])
        .unwrap();
    world.alice().execute("DELETE FROM people WHERE id = 'bob-3'", []).unwrap();
    process.patch(Shape::V2, &v2(4), &[("manager", "m2".into())]).await;
    assert_eq!(process.field(Shape::V1, &v1(2), "email").await, "direct@alice.example".into());
    assert!(process.get(Shape::V1, &v1(3)).await.is_none());
    process.done(Command::Rollback).await;
    process.until("prepared again", |state| state.phase == Phase::Prepare && state.entering.is_none()).await;
    let mut expect = bobs.clone();
    expect[1] = expect[1].replace("u2@bob.example", "direct@alice.example");
    expect.remove(2);
    assert_eq!(world.bobs(), expect, "what was written comes along, nothing else changes");
    assert_eq!(world.people(), people, "Alice's own records are as they were");
    // What the source cannot hold is parked, and comes back on the next move.
    assert_eq!(process.field(Shape::V2, &v2(2), "status").await, "VIP".into());
    process.forward_to(Phase::Lazy).await;
    process.patch(Shape::V2, &v2(2), &[("name", "Again Here".into())]).await;
    assert_eq!(world.people()[1], "bob-2|direct@alice.example|Again Here|m1|VIP");
    process.patch(Shape::V2, &v2(4), &[("name", "Me Too".into())]).await;
    assert_eq!(process.field(Shape::V2, &v2(4), "manager").await, "m2".into());
    process.stop().await;
}

#[tokio::test]
async fn given_up_nothing_of_ours_is_left() {
    let world = World::new(4);
    let schema = |connection: rusqlite::Connection| -> Vec<String> {
        let mut statement = connection.prepare("SELECT coalesce(sql, name) FROM sqlite_schema ORDER BY 1").unwrap();
        statement.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect()
    };
    let before = (schema(world.bob()), schema(world.alice()), world.bobs(), world.people());
    let process = world.in_phase(Phase::Prepare).await;
    assert!(schema(world.bob()).len() > before.0.len());
    process.done(Command::Rollback).await;
    process.until("planned", |state| state.phase == Phase::Planned && !state.prepared).await;
    assert_eq!((schema(world.bob()), schema(world.alice()), world.bobs(), world.people()), before);
    process.done(Command::Withdraw).await;
    process.until("over", |state| state.phase == Phase::Withdrawn).await;
    process.stop().await;
}

#[tokio::test]
async fn to_the_end_everybody_is_alices() {
    let world = World::new(8).without_collisions();
    let process = world.in_phase(Phase::Lazy).await;
    process.refused(Command::Complete, "phase/not-drain").await;
    process.forward_to(Phase::Drain).await;
    process.give_manager(1, "m").await;
    let refusal = process.refused(Command::Complete, "gate/remaining").await;
    assert!(refusal.message.contains("7 records"), "{refusal}");
    for n in 2..=8 {
        process.give_manager(n, "m").await;
    }
    let report = process.done(Command::Verify).await;
    assert_eq!((report["compared"].as_u64(), report["mismatches"].as_u64()), (Some(8), Some(0)), "{report}");
    let report = process.served.report().await.unwrap();
    assert_eq!((report["counts"]["moved"].as_u64(), report["counts"]["remaining"].as_u64()), (Some(8), Some(0)));
    process.done(Command::Complete).await;
    process.until("complete", |state| state.phase == Phase::Complete).await;
    let left: i64 = world
        .bob()
        .query_row("SELECT count(*) FROM sqlite_schema WHERE name LIKE '\\_shearwater%' ESCAPE '\\'", [], |row| {
            row.get(0)
        })
        .unwrap();
    let flag: i64 = world
        .bob()
        .query_row("SELECT count(*) FROM pragma_table_info('users') WHERE name = 'migrated'", [], |row| row.get(0))
        .unwrap();
    assert_eq!((left, flag), (0, 0), "flag, index and sidecar are gone");
    // The API goes on, from Alice's store alone.
    process.patch(Shape::V2, &v2(2), &[("name", "Still Here".into())]).await;
    assert_eq!(process.field(Shape::V1, &v1(2), "first").await, "Still".into());
    assert_eq!(process.all(Shape::V1).await.len(), 8, "v1 shows what it has words for");
    process.stop().await;
}

#[tokio::test]
async fn collisions_are_counted_before_the_start_and_refused_at_the_move() {
    let world = World::new(5);
    let process = world.in_phase(Phase::Lazy).await;
    let census = process.state().await.census.unwrap();
    assert_eq!(census.records, 5);
    let mut collisions = census.collisions.clone();
    collisions.sort();
    assert_eq!(collisions, [("email".to_owned(), 1), ("id".to_owned(), 1)]);
    for (n, field) in [(2, "email"), (3, "id")] {
        let refused = process.write(Shape::V2, &v2(n), Edit::MergePatch(document(&[("manager", "m".into())]))).await;
        match refused {
            Err(ServeError::Unprocessable { code, field: found, .. }) => {
                assert_eq!((code.as_str(), found.as_str()), ("absorb/taken", field));
            }
            other => panic!("{other:?}"),
        }
        assert_eq!(process.field(Shape::V2, &v2(n), "manager").await, Value::Null, "nothing was written");
    }
    process.stop().await;
}

#[tokio::test]
async fn a_conflict_is_settled_by_rule_and_the_way_back_undoes_it() {
    for (rule, landed) in
        [("\"keep-target\"", "-"), ("{ keep_both = '''concat('bob+', email)''' }", "bob+u2@bob.example")]
    {
        let world = World::new(5).with(&format!("[conflicts]\nemail = {rule}\n"));
        let bobs = world.bobs();
        let process = world.in_phase(Phase::Lazy).await;
        process.give_manager(2, "m").await;
        assert!(world.people().contains(&format!("bob-2|{landed}|F2 L002|m|-")), "{:?}", world.people());
        // To Bob's clients it has its own e-mail.
        assert_eq!(process.field(Shape::V1, &v1(2), "email").await, "u2@bob.example".into());
        process.back().await;
        assert_eq!(world.bobs(), bobs, "{rule}");
        process.stop().await;
    }
}

#[tokio::test]
async fn a_row_that_is_written_after_its_record_moved_is_told_of() {
    let world = World::new(3).without_collisions();
    let process = world.in_phase(Phase::Lazy).await;
    process.give_manager(1, "m").await;
    process.reconciled().await;
    world.bob().execute("UPDATE users SET email = 'stray@bob.example' WHERE id = 1", []).unwrap();
    process.reconciled().await;
    let letters = process.setup.journal.dead_letters(None, 10).await.unwrap();
    assert_eq!(
        letters.iter().map(|letter| (letter.key.as_str(), letter.code.as_str())).collect::<Vec<_>>(),
        [("1", "absorb/stray")]
    );
    assert_eq!(process.field(Shape::V1, &v1(1), "email").await, "u1@bob.example".into(), "the target's record stands");
    process.forward_to(Phase::Drain).await;
    for n in 2..=3 {
        process.give_manager(n, "m").await;
    }
    process.refused(Command::Complete, "gate/dead-letters").await;
    process.done(Command::RetryDeadLetters).await;
    process.done(Command::Complete).await;
    process.stop().await;
}

#[tokio::test]
async fn bobs_own_programs_go_on_writing_what_has_not_moved() {
    let world = World::new(3).without_collisions();
    let process = world.in_phase(Phase::Lazy).await;
    world.bob().execute("UPDATE users SET first = 'Direct' WHERE id = 1", []).unwrap();
    world.bob().execute("INSERT INTO users (id, first, last) VALUES (77, 'New', 'One')", []).unwrap();
    process.give_manager(1, "m").await;
    process.give_manager(77, "m").await;
    assert_eq!(world.people()[1..], ["bob-1|u1@bob.example|Direct L001|m|-", "bob-77|-|New One|m|-"]);
    process.reconciled().await;
    assert_eq!(process.setup.journal.dead_letter_count().await.unwrap(), 0);
    process.stop().await;
}
