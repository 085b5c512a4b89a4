//! A primary that is lost: what was acknowledged stays, and reads wait for it.

use std::sync::Arc;

use mongodb::Client;
use mongodb::bson::{Document as Bson, Timestamp, doc};
use mongodb::options::ReadConcern;
use shearwater_core::error::StoreErrorKind;
use shearwater_core::query::{Filter, ListQuery};
use shearwater_core::store::*;
use shearwater_core::{Key, Stamp};
use shearwater_testbed::{Mongodb, Topology, mongodb};

use crate::place::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_primary_takes_nothing_along_that_was_acknowledged() {
    let server = Arc::new(Mongodb::start(Topology::Three));
    what_only_the_lost_primary_had_was_not_acknowledged(&server).await;
    nobody_reads_from_before_what_another_process_was_acknowledged(&server).await;
}

/// The primary takes writes that nobody follows, and is killed: those that were
/// acknowledged are there on the next one, in an authority and in a follower.
async fn what_only_the_lost_primary_had_was_not_acknowledged(server: &Arc<Mongodb>) {
    for role in [Role::Authority, Role::Follower] {
        let place = Place::new(server, role).await;
        let (store, killer) = (&place.store, server.clone());
        let lost = tokio::task::spawn_blocking(move || {
            let first = killer.primary();
            killer.kill_node_ahead(first);
            assert_ne!(killer.primary(), first);
            killer.start_node(first);
        });
        let (mut tried, mut acknowledged) = (0, 0);
        while !lost.is_finished() {
            tried += 1;
            let done = match role {
                Role::Authority => store.write(write_of(vec![put_user("a", tried)])).await.is_ok(),
                _ => {
                    let batch = vec![put("a", tried, Stamp::new(1, tried as u64))];
                    store.apply(1, batch, None).await.is_ok_and(|answers| answers == [Applied::Changed])
                }
            };
            acknowledged = if done { tried } else { acknowledged };
        }
        lost.await.unwrap();
        let found = store.fetch(&Key::single("a")).await.unwrap().image.unwrap().record;
        let may_be = |n: &i64| found == user("a", *n);
        assert!(acknowledged > 0 && (acknowledged..=tried).any(|n| may_be(&n)), "{role:?} {acknowledged}: {found:?}");
    }
}

/// One process writes, another one only reads; the primary is killed while the
/// others do not know yet that they all have what was acknowledged. The next one
/// answers from before, but not to this reader.
async fn nobody_reads_from_before_what_another_process_was_acknowledged(server: &Arc<Mongodb>) {
    let writer = Place::new(server, Role::Authority).await;
    let (reader, key) = (open(&writer.url).await, Key::single("a"));
    writer.store.write(write_of(vec![put_user("a", 1)])).await.unwrap();
    assert_eq!(reader.fetch(&key).await.unwrap().image.unwrap().record, user("a", 1));
    let asked = server.clone();
    let first = tokio::task::spawn_blocking(move || {
        let first = asked.primary();
        others(first).for_each(|node| drop(asked.run_on(node, know_of_a_majority("alwaysOn"))));
        first
    });
    let first = first.await.unwrap();
    writer.store.write(write_of(vec![put_user("a", 2)])).await.unwrap();
    let killer = server.clone();
    let lost = tokio::task::spawn_blocking(move || {
        killer.kill_node(first);
        assert_ne!(killer.primary(), first);
    });
    lost.await.unwrap();
    let asking = tokio::spawn(async move {
        loop {
            // Until the driver knows of the election too.
            match reader.fetch(&key).await {
                Ok(found) => return (found.image.unwrap().record, reader, key),
                Err(error) => assert_eq!(error.kind, StoreErrorKind::Unavailable, "{error}"),
            }
        }
    });
    // Any other program is told what was before.
    let direct = writer.direct().await;
    for _ in 0..READS_OF_OTHERS {
        let found = direct.find_one(doc! { "_id": "a" }).read_concern(ReadConcern::majority()).await.unwrap().unwrap();
        assert_eq!(found.get_i32("age").unwrap(), 1, "the next primary knows too much for this test");
    }
    let knower = server.clone();
    let known = tokio::task::spawn_blocking(move || {
        others(first).for_each(|node| drop(knower.run_on(node, know_of_a_majority("off"))));
    });
    known.await.unwrap();
    // With the next write they know.
    direct.insert_one(doc! { "_id": "later" }).await.unwrap();
    let (found, reader, key) = asking.await.unwrap();
    assert_eq!(found, user("a", 2), "from before the acknowledged write");
    let listed =
        reader.list(&ListQuery { filter: Filter::All, order: Vec::new(), after: None, limit: 1 }).await.unwrap();
    assert_eq!((&listed.records[0].key, &listed.records[0].image.as_ref().unwrap().record), (&key, &user("a", 2)));
    let starter = server.clone();
    tokio::task::spawn_blocking(move || starter.start_node(first)).await.unwrap();
}

/// How often another program reads while the reader has its chance to do the same.
const READS_OF_OTHERS: usize = 100;

fn others(node: usize) -> impl Iterator<Item = usize> {
    (0..3).filter(move |other| *other != node)
}

/// Lets a server learn what a majority has, or not.
fn know_of_a_majority(not: &str) -> Bson {
    doc! { "configureFailPoint": "disableSnapshotting", "mode": not }
}

/// A new primary answers from before until it knows what a majority has; so each
/// read names the moment of the last write that was acknowledged.
#[tokio::test(flavor = "multi_thread")]
async fn reads_name_the_moment_that_they_must_not_be_behind() {
    let place = Place::new(mongodb(), Role::Authority).await;
    let database = Client::with_uri_str(&place.url).await.unwrap().default_database().unwrap();
    place.store.write(write_of(vec![put_user("a", 1)])).await.unwrap();
    let oplog = database.client().database("local").collection::<Bson>("oplog.rs");
    // Others write on the same server: what counts is the entry of this write.
    let ours = doc! { "o.applyOps.ns": format!("{}.users", database.name()) };
    let written = oplog.find_one(ours).sort(doc! { "$natural": -1 }).await.unwrap().unwrap();
    let written: Timestamp = written.get_timestamp("ts").unwrap();
    database.run_command(doc! { "profile": 2 }).await.unwrap();
    let key = Key::single("a");
    place.store.fetch(&key).await.unwrap();
    place.store.fetch_many(&[key]).await.unwrap();
    let query = ListQuery { filter: Filter::All, order: Vec::new(), after: None, limit: 10 };
    place.store.list(&query).await.unwrap();
    let range = place.store.split(1).await.unwrap().remove(0);
    place.store.scan(&range, None, ChunkMax { records: 10, bytes: 10_000 }).await.unwrap();
    assert_eq!(place.store.dirty(None, 10).await.unwrap().len(), 1);
    assert_eq!(place.store.dirty_count().await.unwrap(), 1);
    database.run_command(doc! { "profile": 0 }).await.unwrap();
    let profile = database.collection::<Bson>("system.profile");
    let mut seen = 0;
    let majority = doc! { "command.readConcern.level": "majority" };
    let mut cursor = profile.find(majority).await.unwrap();
    while cursor.advance().await.unwrap() {
        let read = cursor.deserialize_current().unwrap();
        let concern = read.get_document("command").unwrap().get_document("readConcern").unwrap();
        let named = concern.get_timestamp("afterClusterTime").unwrap_or_else(|_| panic!("{read}"));
        assert!(named >= written, "{named:?} {written:?}");
        seen += 1;
    }
    assert!(seen >= 6, "{seen} reads");
}
