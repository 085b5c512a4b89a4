//! Plain documents into tables with no values in between.

use std::sync::Arc;

use shearwater_core::flat::{Flat, FlatChunk, FlatRows, Tape};
use shearwater_core::mapping::Mapping;
use shearwater_core::spec;
use shearwater_core::store::{Applied, Checkpoint, CheckpointStep, ChunkMax, Image, Put, Role, ScanRange, Store};
use shearwater_core::value::json;
use shearwater_core::{Key, Stamp};
use tokio_postgres::Client;

use crate::place::{direct, fence, open};

const ALL: ChunkMax = ChunkMax { records: 100_000, bytes: 64 * 1024 * 1024 };
const WHOLE: ScanRange = ScanRange { id: 0, low: None, high: None };

const SPEC: &str = r#"
migration = "flat"
kind = "move"
entity = "things"
[source]
url = "postgres://u:p@127.0.0.1/a"
table = "things"
key = "_id"
layout = "document"
[target]
url = "postgres://u:p@127.0.0.1/b"
table = "things"
key = "id"
[fields]
id   = { from = "_id", type = "int" }
name = { from = "name", type = "text" }
when = { from = "when", type = "decimal" }
tags = { from = "tags", table = "tags", fields = { tag = { from = "tag", type = "text" }, notes = { from = "notes", table = "notes", scalar = "note", type = "text" } } }
[unmapped]
keep_in = "extra"
"#;

fn step(read: u64) -> CheckpointStep {
    let at =
        |read| Checkpoint { run: "r".into(), range: 0, cursor: None, done: false, read, changed: 0, dead: 0, bytes: 0 };
    CheckpointStep { from: at(0), to: at(read) }
}

/// A source of twenty documents, each with `id % 3` tags, and an empty target.
struct Pair {
    source: Arc<dyn Store>,
    target: Arc<dyn Store>,
    from: Client,
    to: Client,
    mapping: Mapping,
}

async fn pair() -> Pair {
    let server = shearwater_testbed::postgres();
    let (from, to) = (server.database("flat"), server.database("flat"));
    let mapping = Mapping::compile(&spec::parse_move(SPEC, &|_| None).unwrap()).unwrap();
    let client = direct(&from).await;
    client
        .batch_execute(
            "CREATE TABLE things (_id bigint PRIMARY KEY, doc json NOT NULL); \
             INSERT INTO things SELECT n, json_build_object('_id', n, 'name', 'name ' || n, 'tags', \
             (SELECT coalesce(json_agg(json_build_object('tag', 't' || m, 'notes', json_build_array('x', m::text))), '[]') \
             FROM generate_series(1, n % 3) m)) FROM generate_series(1, 20) n",
        )
        .await
        .unwrap();
    let source = open(&from, mapping.source().clone()).await;
    let target = shearwater_stores::open(&to, mapping.target().clone(), shearwater_stores::Create::IfMissing);
    let target = target.await.unwrap();
    target.provision().await.unwrap();
    source.install(fence(Role::Authority, 1)).await.unwrap();
    target.install(fence(Role::Follower, 1)).await.unwrap();
    Pair { source, target, from: client, to: direct(&to).await, mapping }
}

impl Pair {
    async fn read(&self) -> FlatChunk {
        self.source.gives().unwrap().read_undecoded(&WHOLE, None, ALL).await.unwrap()
    }

    /// The rows of the plain ones, and the places of the others.
    async fn written(&self, chunk: &FlatChunk) -> (FlatRows, Vec<usize>) {
        let (rules, mut tape, mut flat) = (self.mapping.flat().unwrap(), Tape::new(), Flat::default());
        let mut writer = self.target.takes().unwrap().writer().await.unwrap().unwrap();
        let mut others = Vec::new();
        for at in 0..chunk.records.count() {
            tape.clear();
            let is_plain = chunk.records.read(at, &mut tape) && rules.flatten(&tape, &mut flat);
            if !(is_plain && writer.write(&tape, &flat)) {
                others.push(at);
            }
        }
        (writer.end(), others)
    }

    async fn put(&self, rows: &FlatRows, puts: Vec<Put>) -> Option<(u64, Vec<Applied>)> {
        let to = self.target.takes().unwrap();
        to.put_flat(1, rows, puts, &step(20)).await.unwrap().map(|done| (done.changed, done.answers))
    }

    /// What the target holds of each key, as our JSON.
    async fn held(&self) -> Vec<(i64, String)> {
        let records = self.target.scan(&WHOLE, None, ALL).await.unwrap().records;
        let text = |id: &Key| id.to_text().parse().unwrap();
        let records = records.into_iter().map(|one| one.unwrap());
        records.map(|one| (text(&one.key), json::document_to_string(&one.image.unwrap().record))).collect()
    }

    /// What the mapping makes of each document of the source.
    async fn expected(&self) -> Vec<(i64, String)> {
        let records = self.source.scan(&WHOLE, None, ALL).await.unwrap().records;
        let expect = |record: shearwater_core::store::Fetched| {
            let image = self.mapping.forward(&record.image.unwrap()).unwrap();
            (record.key.to_text().parse().unwrap(), json::document_to_string(&image.record))
        };
        records.into_iter().map(|one| expect(one.unwrap())).collect()
    }

    async fn count(&self, table: &str) -> i64 {
        self.to.query_one(&format!("SELECT count(*) FROM {table}"), &[]).await.unwrap().get(0)
    }

    fn mapped(&self, id: i64, stamp: Stamp) -> Put {
        let text = format!("{{\"_id\":{id},\"name\":\"other\",\"tags\":[]}}");
        let record = json::parse_document(text.as_bytes()).unwrap();
        let image = self.mapping.forward(&Image::of(record)).unwrap();
        Put { key: Key::single(id), image: Some(image), stamp }
    }
}

#[tokio::test]
async fn plain_documents_are_rows_of_every_table() {
    let pair = pair().await;
    let (rows, others) = pair.written(&pair.read().await).await;
    assert_eq!((rows.count, others.len()), (20, 0));
    assert_eq!(pair.put(&rows, vec![]).await, Some((20, vec![])));
    assert_eq!(pair.target.checkpoints("r").await.unwrap(), [Checkpoint { changed: 20, ..step(20).to }]);
    assert_eq!(pair.held().await, pair.expected().await);
    assert_eq!((pair.count("tags").await, pair.count("notes").await), (21, 42));
}

#[tokio::test]
async fn documents_that_are_not_plain_or_have_a_stamp_go_beside_them() {
    let pair = pair().await;
    let odd = "UPDATE things SET doc = ('{\"_id\":' || _id || ',\"name\":\"\\u0000\",\"tags\":[]}')::json WHERE _id = 4; \
               UPDATE things SET doc = ('{\"_id\":' || _id || ',\"name\":null,\"tags\":[]}')::json WHERE _id = 5; \
               UPDATE things SET doc = ('{\"_id\":1,\"name\":\"another key\",\"tags\":[]}')::json WHERE _id = 6";
    pair.source.remove().await.unwrap();
    pair.from.batch_execute(odd).await.unwrap();
    pair.source.install(fence(Role::Authority, 1)).await.unwrap();
    pair.from
        .batch_execute("UPDATE things SET doc = doc WHERE _id = 9; DELETE FROM things WHERE _id = 10")
        .await
        .unwrap();
    let chunk = pair.read().await;
    assert_eq!((chunk.records.count(), chunk.others.len()), (18, 1));
    assert!(chunk.others[0].as_ref().unwrap().stamp.unwrap() > Stamp::ZERO);
    let (rows, others) = pair.written(&chunk).await;
    assert_eq!((rows.count, others.as_slice()), (15, [3, 4, 5].as_slice()), "U+0000, null, another key");
    let decoded = chunk.records.decode(&others).await.unwrap();
    assert_eq!(decoded[0].as_ref().unwrap().key, Key::single(4_i64));
    assert_eq!(decoded[2].as_ref().unwrap_err().key, Some(Key::single(6_i64)));

    // A newer content of 3, and the end of 2, came by the live way first.
    let live = Stamp::new(1, 1_000);
    let gone = Put { image: None, ..pair.mapped(2, live) };
    pair.target.apply(1, vec![pair.mapped(3, live), gone], None).await.unwrap();
    let fifth = pair.mapped(5, Stamp::ZERO);
    assert_eq!(pair.put(&rows, vec![fifth]).await, Some((13, vec![Applied::Changed])));
    let held = pair.held().await;
    let keys: Vec<i64> = held.iter().map(|(key, _)| *key).collect();
    assert_eq!(keys, (1..=20).filter(|id| ![2, 4, 6, 9, 10].contains(id)).collect::<Vec<_>>());
    assert!(held.iter().any(|(key, text)| *key == 3 && text.contains("other")), "{held:?}");
    assert_eq!(pair.target.checkpoints("r").await.unwrap(), [Checkpoint { changed: 14, ..step(20).to }]);
}

#[tokio::test]
async fn rows_that_do_not_all_go_in_write_nothing() {
    let pair = pair().await;
    let (rows, _) = pair.written(&pair.read().await).await;
    for (break_it, mend_it) in [
        ("INSERT INTO things (id) VALUES (12)", "DELETE FROM things"),
        ("INSERT INTO tags (record_id, id, position) SELECT 2, 'x', 1", "DELETE FROM tags"),
        ("ALTER TABLE tags ADD CHECK (tag <> 't2')", "ALTER TABLE tags DROP CONSTRAINT tags_tag_check"),
    ] {
        pair.to.batch_execute(break_it).await.unwrap();
        let before = (pair.count("things").await, pair.count("tags").await);
        let put = pair.put(&rows, vec![]).await;
        let after = (pair.count("things").await, pair.count("tags").await);
        match break_it.contains("SELECT 2") {
            // Another child row is no refusal of these.
            true => assert_eq!(put, Some((20, vec![])), "{break_it}"),
            false => assert!(put.is_none() && before == after, "{break_it}: {put:?}"),
        }
        pair.to.batch_execute(mend_it).await.unwrap();
        pair.to.batch_execute("DELETE FROM things; DELETE FROM tags; DELETE FROM notes").await.unwrap();
    }
    // What has something parked, and nothing else, is for the ordinary way.
    let mut parked = pair.mapped(7, Stamp::ZERO);
    parked.image.as_mut().unwrap().parked.set("loyalty", "gold");
    pair.target.apply(1, vec![parked], None).await.unwrap();
    assert!(pair.put(&rows, vec![]).await.is_none());
    // Written when the tables were other ones.
    let other = FlatRows { form: rows.form.replace("text", "varchar"), ..rows };
    assert!(pair.put(&other, vec![]).await.is_none());
}

/// A column of a type that travels as the server's own text.
#[tokio::test]
async fn tables_that_copy_does_not_fit_take_no_such_rows() {
    let server = shearwater_testbed::postgres();
    let mapping = Mapping::compile(&spec::parse_move(SPEC, &|_| None).unwrap()).unwrap();
    let notes =
        "CREATE TABLE notes (record_id bigint, id text, parent_id text, position bigint, note text, extra json)";
    let tags = "CREATE TABLE tags (record_id bigint, id text, position bigint, tag text, extra json)";
    for (things, takes) in [
        ("CREATE TABLE things (id bigint PRIMARY KEY, name text, \"when\" numeric, extra json)", true),
        ("CREATE TABLE things (id bigint PRIMARY KEY, name letter, \"when\" numeric, extra json)", false),
    ] {
        let url = server.database("flat");
        let client = direct(&url).await;
        for sql in ["CREATE TYPE letter AS ENUM ('a', 'b')", things, tags, notes] {
            client.batch_execute(sql).await.unwrap();
        }
        let store = open(&url, mapping.target().clone()).await;
        assert_eq!(store.takes().unwrap().writer().await.unwrap().is_some(), takes, "{things}");
    }
}
