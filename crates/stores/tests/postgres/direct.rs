//! Writers behind our back: whatever they do is captured in their own
//! transactions, in the order of their commits, and stopped by the fence.

use bytes::Bytes;
use futures::SinkExt;
use shearwater_core::error::StoreErrorKind;
use shearwater_core::shape::{ChildShape, FieldType, Layout, TableShape};
use shearwater_core::store::{Applied, Change, Role, Written};
use shearwater_core::{Document, Value};
use shearwater_testbed::Privileges;

use crate::place::{
    Copy, accounts, change, code, column, direct, fence, key, made, open, place, put, until, waiting, write,
};

/// Statements, and the keys that each must mark.
const STATEMENTS: &[(&str, &[i64])] = &[
    ("INSERT INTO accounts VALUES (1, 1, 'a'), (2, 2, 'b'), (3, 3, NULL)", &[1, 2, 3]),
    ("UPDATE accounts SET n = n + 10 WHERE id < 3", &[1, 2]),
    ("UPDATE accounts SET n = 0 WHERE id > 100", &[]),
    ("INSERT INTO accounts VALUES (2, 5, 'x'), (4, 4, 'd') ON CONFLICT (id) DO UPDATE SET n = excluded.n", &[2, 4]),
    ("INSERT INTO accounts VALUES (2, 9, 'y') ON CONFLICT DO NOTHING", &[]),
    (
        "MERGE INTO accounts a USING (VALUES (1, 'gone'), (2, 'new'), (5, 'five')) v(id, name) ON a.id = v.id \
         WHEN MATCHED AND v.id = 1 THEN DELETE WHEN MATCHED THEN UPDATE SET name = v.name \
         WHEN NOT MATCHED THEN INSERT VALUES (v.id, 5, v.name)",
        &[1, 2, 5],
    ),
    ("UPDATE accounts SET id = id + 100 WHERE id IN (2, 3)", &[2, 3, 102, 103]),
    (
        "WITH gone AS (DELETE FROM accounts WHERE id = 102 RETURNING *) \
         INSERT INTO accounts SELECT 6, n, name FROM gone WHERE false UNION ALL SELECT 7, 7, 'seven'",
        &[7, 102],
    ),
    ("BEGIN; DELETE FROM accounts WHERE id = 7; INSERT INTO accounts VALUES (7, 8, 'eight'); COMMIT", &[7]),
    ("BEGIN; INSERT INTO accounts VALUES (8, 8, 'undone'); ROLLBACK", &[]),
    ("BEGIN; SAVEPOINT a; DELETE FROM accounts; ROLLBACK TO a; UPDATE accounts SET n = 1 WHERE id = 4; COMMIT", &[4]),
    ("SET session_replication_role = replica; UPDATE accounts SET n = 77 WHERE id = 5", &[5]),
    ("SET session_replication_role = origin; TRUNCATE accounts", &[4, 5, 7, 103]),
    ("INSERT INTO accounts VALUES (1, 1, 'again')", &[1]),
];

#[tokio::test]
async fn every_statement_is_captured() {
    let (url, store) = place(Role::Authority).await;
    let client = direct(&url).await;
    let mut copy = Copy::default();
    for (sql, expected) in STATEMENTS {
        client.batch_execute(sql).await.unwrap();
        assert_eq!(copy.drain(&store).await, *expected, "{sql}");
        copy.check(&client, sql).await;
    }
    let sink = client.copy_in::<_, Bytes>("COPY accounts FROM STDIN").await.unwrap();
    futures::pin_mut!(sink);
    sink.send(Bytes::from_static(b"21\t1\tc1\n22\t2\t\\N\n")).await.unwrap();
    sink.finish().await.unwrap();
    assert_eq!(copy.drain(&store).await, [21, 22], "COPY");
    copy.check(&client, "COPY").await;
}

#[tokio::test]
async fn partitions_are_captured_wherever_they_are_written() {
    let url = shearwater_testbed::postgres().database("partitions");
    let client = direct(&url).await;
    client
        .batch_execute(
            "CREATE TABLE accounts (id bigint PRIMARY KEY, n bigint, name text) PARTITION BY RANGE (id); \
             CREATE TABLE low PARTITION OF accounts FOR VALUES FROM (0) TO (100); \
             CREATE TABLE high PARTITION OF accounts FOR VALUES FROM (100) TO (200)",
        )
        .await
        .unwrap();
    let store = open(&url, accounts()).await;
    store.install(fence(Role::Authority, 1)).await.unwrap();
    let mut copy = Copy::default();
    for (sql, expected) in [
        ("INSERT INTO accounts VALUES (1, 1, 'a'), (150, 2, 'b')", &[1, 150][..]),
        ("INSERT INTO low VALUES (2, 2, 'c')", &[2]),
        ("UPDATE accounts SET id = id + 100 WHERE id = 2", &[2, 102]),
        ("UPDATE high SET n = 9", &[102, 150]),
        ("SET session_replication_role = replica; DELETE FROM high WHERE id = 150", &[150]),
        (
            "SET session_replication_role = origin; \
             CREATE TABLE more PARTITION OF accounts FOR VALUES FROM (200) TO (300); INSERT INTO more VALUES (201, 1, 'm')",
            &[201],
        ),
        ("TRUNCATE accounts", &[1, 102, 201]),
    ] {
        client.batch_execute(sql).await.unwrap();
        assert_eq!(copy.drain(&store).await, expected, "{sql}");
        copy.check(&client, sql).await;
    }
    let hazards = &store.inspect().await.unwrap().tables[0].hazards;
    assert!(hazards.iter().any(|hazard| hazard.contains("partition")), "{hazards:?}");
    store.remove().await.unwrap();
    assert_eq!(store.sidecar_names().await.unwrap(), Vec::<String>::new());
}

#[tokio::test]
async fn a_closed_store_refuses_every_statement() {
    let (url, store) = place(Role::Authority).await;
    let client = direct(&url).await;
    client.batch_execute("INSERT INTO accounts VALUES (1, 1, 'a')").await.unwrap();
    store.set_fence(fence(Role::Authority, 1), fence(Role::Closed, 2)).await.unwrap();
    for sql in [
        "INSERT INTO accounts VALUES (2, 1, 'b')",
        "UPDATE accounts SET n = 2",
        "DELETE FROM accounts",
        "TRUNCATE accounts",
        "INSERT INTO accounts VALUES (1, 1, 'b') ON CONFLICT (id) DO UPDATE SET n = 5",
        "SET session_replication_role = replica; DELETE FROM accounts",
    ] {
        assert_eq!(code(client.batch_execute(sql).await), "SW001", "{sql}");
    }
    client.batch_execute("UPDATE accounts SET n = 2 WHERE id = 99; SELECT * FROM accounts").await.unwrap();
    assert_eq!(store.apply(2, vec![put(3, 3, "c")], None).await.unwrap(), [Applied::Changed], "ours go in");
}

#[tokio::test]
async fn a_follower_notes_what_is_not_ours() {
    let (url, store) = place(Role::Follower).await;
    let puts = (1..=20).map(|id| put(id, id, &format!("n{id}"))).collect();
    store.apply(1, puts, None).await.unwrap();
    assert_eq!(store.foreign(9).await.unwrap(), []);
    let client = direct(&url).await;
    client.batch_execute("DELETE FROM accounts WHERE id = 5; UPDATE accounts SET id = 99 WHERE id = 6").await.unwrap();
    assert_eq!(store.foreign(99).await.unwrap(), [key(5), key(6), key(99)]);
    client.batch_execute("TRUNCATE accounts").await.unwrap();
    assert_eq!(store.foreign(99).await.unwrap().len(), 21);
}

#[tokio::test]
async fn the_fence_waits_for_writers_on_their_way() {
    let (url, store) = place(Role::Authority).await;
    let (writer, watcher) = (direct(&url).await, direct(&url).await);
    writer.batch_execute("BEGIN; INSERT INTO accounts VALUES (1, 1, 'a')").await.unwrap();
    let closing = tokio::spawn({
        let store = store.clone();
        async move { store.set_fence(fence(Role::Authority, 1), fence(Role::Closed, 2)).await }
    });
    waiting(&watcher, "wait_event_type = 'Lock' AND wait_event = 'advisory'").await;
    assert!(!closing.is_finished(), "a writer that was admitted is on its way");
    writer.batch_execute("UPDATE accounts SET n = 2; COMMIT").await.unwrap();
    assert_eq!(closing.await.unwrap().unwrap(), fence(Role::Closed, 2));
    let marks = store.dirty(None, 9).await.unwrap();
    assert_eq!(marks.iter().map(|mark| (mark.key.clone(), mark.stamp.epoch)).collect::<Vec<_>>(), [(key(1), 1)]);
    assert_eq!(code(writer.batch_execute("UPDATE accounts SET n = 3").await), "SW001");
}

#[tokio::test]
async fn a_writer_that_never_ends_does_not_hold_the_fence_for_ever() {
    let (url, store) = place(Role::Authority).await;
    let (writer, other) = (direct(&url).await, direct(&url).await);
    writer.batch_execute("BEGIN; INSERT INTO accounts VALUES (1, 1, 'a')").await.unwrap();
    let error = store.set_fence(fence(Role::Authority, 1), fence(Role::Closed, 2)).await.unwrap_err();
    assert_eq!(error.kind, StoreErrorKind::Unavailable, "{error}");
    assert!(error.hint.is_some_and(|hint| hint.contains("pg_stat_activity")));
    assert_eq!(store.fence().await.unwrap(), Some(fence(Role::Authority, 1)));
    other.batch_execute("INSERT INTO accounts VALUES (2, 2, 'b')").await.unwrap();
    writer.batch_execute("COMMIT").await.unwrap();
    assert_eq!(store.dirty_count().await.unwrap(), 2);
}

#[tokio::test]
async fn old_snapshots_do_not_slip_past_the_fence() {
    let (url, store) = place(Role::Authority).await;
    for isolation in ["REPEATABLE READ", "SERIALIZABLE"] {
        let client = direct(&url).await;
        let begin = format!("BEGIN ISOLATION LEVEL {isolation}; SELECT count(*) FROM accounts");
        let now = store.fence().await.unwrap().unwrap();
        client.batch_execute(&begin).await.unwrap();
        store.set_fence(now, fence(Role::Closed, now.epoch + 1)).await.unwrap();
        let insert = "INSERT INTO accounts VALUES (1, 1, 'a')";
        assert_eq!(code(client.batch_execute(insert).await), "40001", "{isolation}: it was read as open");
        client.batch_execute("ROLLBACK").await.unwrap();
        client.batch_execute(&begin).await.unwrap();
        assert_eq!(code(client.batch_execute(insert).await), "SW001", "{isolation}");
        client.batch_execute("ROLLBACK").await.unwrap();
        let open = fence(Role::Authority, now.epoch + 2);
        store.set_fence(fence(Role::Closed, now.epoch + 1), open).await.unwrap();
        client.batch_execute(&format!("{begin}; {insert}; COMMIT")).await.unwrap();
        assert_eq!(store.fetch(&key(1)).await.unwrap().stamp.unwrap().epoch, open.epoch, "{isolation}");
        client.batch_execute("DELETE FROM accounts").await.unwrap();
    }
    store.remove().await.unwrap();
    let client = direct(&url).await;
    client.batch_execute("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 1 FROM pg_class LIMIT 1").await.unwrap();
    store.install(fence(Role::Authority, 9)).await.unwrap();
    let late = client.batch_execute("INSERT INTO accounts VALUES (1, 1, 'a')").await;
    assert_eq!(code(late), "40001", "it began before the capture and would not be stamped");
}

/// Each writer reads its own stamp in its own transaction; a row lock orders them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stamps_of_a_key_rise_as_its_commits_do() {
    let (url, store) = place(Role::Authority).await;
    let client = direct(&url).await;
    client
        .batch_execute(
            "INSERT INTO accounts SELECT n, 0, NULL FROM generate_series(0, 2) n; \
             CREATE TABLE seen (id bigint, n bigint, epoch bigint, counter bigint, writer bigint)",
        )
        .await
        .unwrap();
    let mut tasks = Vec::new();
    for writer in 0..6_i64 {
        let (url, store) = (url.clone(), store.clone());
        tasks.push(tokio::spawn(async move {
            let client = direct(&url).await;
            for round in 0..15 {
                let id = (writer + round) % 3;
                if writer == 0 {
                    // Through the store, over what the others write.
                    let changes = vec![change(100 + id, round, &format!("own {id}"))];
                    store.write(write(changes, &format!("{round}"))).await.unwrap();
                }
                let sql = format!(
                    "BEGIN; UPDATE accounts SET n = n + 1 WHERE id = {id}; INSERT INTO seen \
                     SELECT a.id, a.n, m.epoch, m.counter, {writer} FROM accounts a \
                     JOIN _shearwater.\"public.accounts_marks\" m ON m.k0 = a.id WHERE a.id = {id}; COMMIT"
                );
                client.batch_execute(&sql).await.unwrap();
            }
        }));
    }
    for task in tasks {
        task.await.unwrap();
    }
    let rows = client.query("SELECT id, n, epoch, counter FROM seen ORDER BY id, n", &[]).await.unwrap();
    assert_eq!(rows.len(), 90);
    for pair in rows.windows(2) {
        let read = |at: usize| -> [i64; 4] { [0, 1, 2, 3].map(|column| pair[at].get(column)) };
        let (before, after) = (read(0), read(1));
        if before[0] == after[0] {
            assert!(before[1] < after[1] && before[2..] < after[2..], "{before:?} {after:?}");
        }
    }
    let mut copy = Copy::default();
    copy.drain(&store).await;
    copy.check(&client, "after all writers").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deadlock_ends_with_everything_captured() {
    let (url, store) = place(Role::Authority).await;
    let (client, watcher) = (direct(&url).await, direct(&url).await);
    // The direct writer finds out late, so that ours is the one that begins again.
    client
        .batch_execute("SET deadlock_timeout = '60s'; INSERT INTO accounts VALUES (1, 0, 'a'), (2, 0, 'b')")
        .await
        .unwrap();
    client.batch_execute("BEGIN; UPDATE accounts SET n = n + 1 WHERE id = 2").await.unwrap();
    let ours = tokio::spawn({
        let store = store.clone();
        async move { store.write(write(vec![change(1, 7, "a"), change(2, 7, "b")], "w")).await }
    });
    waiting(&watcher, "wait_event_type = 'Lock'").await;
    client.batch_execute("UPDATE accounts SET n = n + 1 WHERE id = 1; COMMIT").await.unwrap();
    ours.await.unwrap().unwrap();
    let mut copy = Copy::default();
    assert_eq!(copy.drain(&store).await, [1, 2]);
    copy.check(&client, "after the deadlock").await;
    let n: i64 = client.query_one("SELECT sum(n)::int8 FROM accounts", &[]).await.unwrap().get(0);
    assert_eq!(n, 14, "ours came last");
}

#[tokio::test]
async fn a_writer_without_any_right_on_the_sidecar_is_captured() {
    let server = shearwater_testbed::postgres();
    let url = server.database("rights");
    let owner_url = server.account(&url, Privileges::Owner);
    // Whoever owns the database and its tables may install the sidecar; no superuser is needed.
    let store = made(&owner_url, Role::Authority).await;
    let client = direct(&server.account(&url, Privileges::Rows)).await;
    client.batch_execute("INSERT INTO accounts VALUES (1, 1, 'a'); UPDATE accounts SET n = 2").await.unwrap();
    let mut copy = Copy::default();
    assert_eq!(copy.drain(&store).await, [1]);
    copy.check(&client, "a user of the application").await;
    for sql in ["SELECT * FROM _shearwater.state", "DELETE FROM _shearwater.\"public.accounts_marks\""] {
        assert_eq!(code(client.batch_execute(sql).await), "42501", "{sql}");
    }
    store.remove().await.unwrap();
    assert_eq!(store.sidecar_names().await.unwrap(), Vec::<String>::new());
}

#[tokio::test]
async fn what_logical_replication_applies_is_captured() {
    let server = shearwater_testbed::postgres();
    let (from, to) = (server.database("publisher"), server.database("subscriber"));
    let publisher = direct(&from).await;
    let table = crate::place::TABLE;
    publisher.batch_execute(&format!("{table}; CREATE PUBLICATION p FOR TABLE accounts")).await.unwrap();
    // In one server the slot must be made by hand: else both ends wait for each other.
    publisher.batch_execute("SELECT pg_create_logical_replication_slot('shearwater_test', 'pgoutput')").await.unwrap();
    let store = made(&to, Role::Authority).await;
    let subscriber = direct(&to).await;
    let conninfo = from.replace('\'', "''");
    let subscribe = format!(
        "CREATE SUBSCRIPTION s CONNECTION '{conninfo}' PUBLICATION p \
         WITH (create_slot = false, slot_name = 'shearwater_test', copy_data = false)"
    );
    subscriber.batch_execute(&subscribe).await.unwrap();
    publisher
        .batch_execute("INSERT INTO accounts VALUES (1, 1, 'a'), (2, 2, 'b'); DELETE FROM accounts WHERE id = 2")
        .await
        .unwrap();
    publisher.batch_execute("UPDATE accounts SET n = 10").await.unwrap();
    until(&subscriber, "SELECT count(*) = 1 AND coalesce(max(n), 0) = 10 FROM accounts").await;
    let mut copy = Copy::default();
    assert_eq!(copy.drain(&store).await, [1, 2]);
    copy.check(&subscriber, "what was applied").await;
    publisher.batch_execute("TRUNCATE accounts").await.unwrap();
    until(&subscriber, "SELECT count(*) = 0 FROM accounts").await;
    assert_eq!(copy.drain(&store).await, [1]);
    subscriber.batch_execute("DROP SUBSCRIPTION s").await.unwrap();
}

/// A delete of nothing holds no row, so only the stamp tells that somebody was faster.
#[tokio::test]
async fn a_delete_that_meets_an_insert_comes_after_it() {
    let (url, store) = place(Role::Authority).await;
    let (client, watcher) = (direct(&url).await, direct(&url).await);
    client.batch_execute("BEGIN; INSERT INTO accounts VALUES (5, 1, 'a')").await.unwrap();
    let deleting = tokio::spawn({
        let store = store.clone();
        let gone = Change { image: None, ..change(5, 0, "") };
        async move { store.write(write(vec![gone], "d")).await }
    });
    waiting(&watcher, "wait_event_type = 'Lock'").await;
    client.batch_execute("COMMIT").await.unwrap();
    deleting.await.unwrap().unwrap();
    assert_eq!(store.fetch(&key(5)).await.unwrap().image, None);
    let mut copy = Copy::default();
    assert_eq!(copy.drain(&store).await, [5]);
    copy.check(&client, "the delete came last").await;
}

/// Elements are written without their record's lock.
#[tokio::test]
async fn a_record_that_meets_its_elements_comes_after_them() {
    let url = shearwater_testbed::postgres().database("elements");
    let shape = ChildShape {
        field: "items".into(),
        table: "items".into(),
        columns: vec![column("x", FieldType::Int)],
        children: vec![],
        residue: None,
    };
    let Layout::Rows(root) = accounts() else { panic!() };
    let layout = Layout::Rows(TableShape { children: vec![shape], ..root });
    let store = shearwater_stores::open(&url, layout, shearwater_stores::Create::IfMissing).await.unwrap();
    store.provision().await.unwrap();
    store.install(fence(Role::Authority, 1)).await.unwrap();
    let (client, watcher) = (direct(&url).await, direct(&url).await);
    let with_items = |n: i64| {
        let mut change = change(1, n, "a");
        let mut item = Document::new();
        item.set("x", n);
        if let Some(image) = &mut change.image {
            image.record.set("items", Value::Array(vec![Value::Document(item)]));
        }
        change
    };
    store.write(write(vec![with_items(1)], "1")).await.unwrap();
    let before = store.fetch(&key(1)).await.unwrap().stamp;
    client
        .batch_execute("BEGIN; INSERT INTO items (record_id, id, position, x) VALUES (1, 'direct', 1, 9)")
        .await
        .unwrap();
    let writing = tokio::spawn({
        let (store, change) = (store.clone(), with_items(2));
        async move { store.write(write(vec![change], "2")).await }
    });
    waiting(&watcher, "wait_event_type = 'Lock'").await;
    client.batch_execute("COMMIT").await.unwrap();
    writing.await.unwrap().unwrap();
    let fetched = store.fetch(&key(1)).await.unwrap();
    let expected = with_items(2).image.unwrap().record;
    assert_eq!(fetched.image.unwrap().record, expected, "the whole record, as it was written");
    assert!(fetched.stamp > before);
    client.batch_execute("DELETE FROM items").await.unwrap();
    assert!(
        store.fetch(&key(1)).await.unwrap().stamp > fetched.stamp,
        "a change of an element is a change of its record"
    );
}

#[tokio::test]
async fn triggers_of_the_user_run_as_they_do_for_everybody() {
    let url = shearwater_testbed::postgres().database("audited");
    let client = direct(&url).await;
    let table = crate::place::TABLE;
    client
        .batch_execute(&format!(
            "{table}; CREATE TABLE audit (id bigint); CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS \
             'BEGIN INSERT INTO audit VALUES (NEW.id); RETURN NEW; END'; \
             CREATE TRIGGER notes AFTER INSERT ON accounts FOR EACH ROW EXECUTE FUNCTION note(); \
             CREATE FUNCTION shout() RETURNS trigger LANGUAGE plpgsql AS \
             'BEGIN NEW.name := upper(NEW.name); RETURN NEW; END'; \
             CREATE TRIGGER shouts BEFORE INSERT OR UPDATE ON accounts FOR EACH ROW WHEN (NEW.id > 50) EXECUTE FUNCTION shout()"
        ))
        .await
        .unwrap();
    let store = open(&url, accounts()).await;
    store.install(fence(Role::Authority, 1)).await.unwrap();
    store.write(write(vec![change(1, 1, "a")], "k")).await.unwrap();
    let audited: i64 = client.query_one("SELECT count(*) FROM audit WHERE id = 1", &[]).await.unwrap().get(0);
    assert_eq!(audited, 1);
    let error = store.write(write(vec![change(51, 1, "quiet")], "l")).await.unwrap_err();
    assert_eq!(
        error.kind,
        StoreErrorKind::Refused { field: Some("name".into()) },
        "{error}: it would be another value"
    );
    store.set_fence(fence(Role::Authority, 1), fence(Role::Closed, 2)).await.unwrap();
    let puts = (60..80).map(|id| put(id, 1, &format!("quiet{id}"))).collect();
    let answers = store.apply(2, puts, None).await.unwrap();
    assert!(answers.iter().all(|answer| matches!(answer, Applied::Refused(_))), "{answers:?}");
}

#[tokio::test]
async fn deferred_constraints_refuse_their_record_alone() {
    let url = shearwater_testbed::postgres().database("deferred");
    let client = direct(&url).await;
    client
        .batch_execute(
            "CREATE TABLE accounts (id bigint PRIMARY KEY, n bigint, name text, \
             UNIQUE (name) DEFERRABLE INITIALLY DEFERRED)",
        )
        .await
        .unwrap();
    let store = open(&url, accounts()).await;
    store.install(fence(Role::Follower, 1)).await.unwrap();
    let puts = vec![put(1, 1, "a"), put(2, 2, "a"), put(3, 3, "c")];
    let answers = store.apply(1, puts, None).await.unwrap();
    assert_eq!((&answers[0], &answers[2]), (&Applied::Changed, &Applied::Changed));
    let Applied::Refused(error) = &answers[1] else { panic!("{answers:?}") };
    assert_eq!(error.kind, StoreErrorKind::Refused { field: Some("name".into()) });
}

/// The server looks at the key first, then fills the indexes in the order in which
/// they were made: who made the same record in between is met at the name.
#[tokio::test]
async fn a_unique_value_of_the_same_record_made_meanwhile_is_not_another_record_s() {
    const GATE: i64 = 4711;
    let url = shearwater_testbed::postgres().database("twins");
    let client = direct(&url).await;
    let sql = format!(
        "CREATE TABLE accounts (id bigint, n bigint, name text);
         CREATE FUNCTION gate(name text) RETURNS text IMMUTABLE LANGUAGE plpgsql AS $$ BEGIN
           IF current_setting('application_name') = 'shearwater' THEN PERFORM pg_advisory_xact_lock_shared({GATE}); END IF;
           RETURN name;
         END $$;
         CREATE UNIQUE INDEX ON accounts (gate(name));
         ALTER TABLE accounts ADD PRIMARY KEY (id);"
    );
    client.batch_execute(&sql).await.unwrap();
    let store = open(&url, accounts()).await;
    store.install(fence(Role::Authority, 1)).await.unwrap();
    for (id, name) in [(1, "own"), (2, "another's")] {
        client.execute("SELECT pg_advisory_lock($1)", &[&GATE]).await.unwrap();
        let writer = tokio::spawn({
            let store = store.clone();
            async move { store.write(write(vec![change(id, 7, name)], name)).await }
        });
        waiting(&client, "wait_event = 'advisory'").await;
        client.execute("INSERT INTO accounts VALUES (1, 5, $1)", &[&name]).await.unwrap();
        client.execute("SELECT pg_advisory_unlock($1)", &[&GATE]).await.unwrap();
        let written = writer.await.unwrap();
        match id {
            1 => assert!(matches!(written, Ok(Written::Applied(_))), "{written:?}"),
            _ => assert!(matches!(written.unwrap_err().kind, StoreErrorKind::Refused { .. })),
        }
        let n: i64 = client.query_one("SELECT n FROM accounts WHERE id = 1", &[]).await.unwrap().get(0);
        assert_eq!(n, if id == 1 { 7 } else { 5 });
        client.execute("DELETE FROM accounts", &[]).await.unwrap();
    }
}
