//! A backfill of documents, most of them plain: what goes with no values in
//! between, and what does not, is in the target as if each had been mapped.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::Value as Json;
use shearwater_core::flat::{Flat, Tape};
use shearwater_core::mapping::Mapping;
use shearwater_core::store::{Applied, ChunkMax, Fence, Put, Role, ScanRange, Side, Store};
use shearwater_core::{Key, Stamp};
use shearwater_engine::lane::Lane;
use shearwater_stores::journal::JournalFile;
use shearwater_stores::outsider::Collection;
use shearwater_testbed::{mongodb, postgres};

use crate::dice::{Dice, seed};
use crate::lane::run;
use crate::stage::Stage;

/// Documents; a few chunks of them.
const DOCUMENTS: u64 = 3_000;

const SPEC: &str = r#"
migration = "plain"
kind = "move"
entity = "things"
[source]
url = "${SOURCE}"
table = "things"
key = "_id"
layout = "document"
[target]
url = "${TARGET}"
table = "things"
key = "id"
[fields]
id    = { from = "_id", type = "text" }
name  = { from = "name", type = "text", chars_max = 40 }
score = { from = "score", type = "float", required = true }
count = { from = "count", type = "int" }
is_on = { from = "is_on", type = "bool" }
lines = { from = "lines", table = "lines", fields = { street = { from = "street", type = "text" }, n = { from = "n", type = "int" }, marks = { from = "marks", table = "marks", scalar = "mark", type = "text" } } }
[unmapped]
keep_in = "extra"
"#;

/// What all of a target's rows are, table by table.
const TABLES: [&str; 3] = ["things", "lines", "marks"];

fn text(dice: &mut Dice) -> String {
    let texts = ["", "Maria", "ünïcödé 🦀", "a \\\"quoted\\\" one", "two\\nlines", "x"];
    format!("\"{}\"", texts[dice.below(texts.len() as u64) as usize])
}

fn line(dice: &mut Dice) -> String {
    let marks: Vec<String> = (0..dice.below(3)).map(|_| text(dice)).collect();
    let n = dice.below(1_000) as i64 - 500;
    match dice.below(120) {
        0 => r#"{"street":"without the others"}"#.to_owned(),
        1 => format!(r#"{{"street":null,"n":{n},"marks":[]}}"#),
        2 => format!(r#"{{"street":"s","n":{n},"marks":[],"more":true}}"#),
        3 => format!(r#"{{"n":{n},"street":"s","marks":["a"]}}"#),
        4 => "5".to_owned(),
        _ => format!(r#"{{"street":{},"n":{n},"marks":[{}]}}"#, text(dice), marks.join(",")),
    }
}

/// A document, and with a chance of one in ten something odd in it.
fn document(dice: &mut Dice, id: &str) -> String {
    let lines: Vec<String> = (0..dice.below(4)).map(|_| line(dice)).collect();
    let mut fields = vec![
        ("_id", format!("\"{id}\"")),
        ("name", text(dice)),
        ("score", format!("{:?}", dice.below(1_000) as f64 / 7.0 + 0.5)),
        ("count", (dice.below(1 << 40) as i64 - (1 << 39)).to_string()),
        ("is_on", (dice.below(2) == 0).to_string()),
        ("lines", format!("[{}]", lines.join(","))),
    ];
    let at = 1 + dice.below(5) as usize;
    match dice.below(100) {
        0 => drop(fields.remove(at)),
        1 => fields[at].1 = "null".to_owned(),
        2 => fields[at].1 = "\"a text\"".to_owned(),
        3 => fields[at].1 = r#"{"deep":[1,{"a":"\u0000"}]}"#.to_owned(),
        4 => fields[1].1 = r#""nul \u0000 inside""#.to_owned(),
        5 => fields[1].1 = format!("\"{}\"", "long".repeat(11)),
        6 => fields.push(("unknown", "[1, 2.5, {\"@decimal\":\"1.10\"}]".to_owned())),
        7 => fields.swap(1, at),
        8 => fields[3].1 = "18446744073709551615".to_owned(),
        9 => fields[2].1 = "-0.0".to_owned(),
        _ => {}
    }
    let fields: Vec<String> = fields.iter().map(|(name, value)| format!("\"{name}\":{value}")).collect();
    format!("{{{}}}", fields.join(","))
}

async fn fill(url: &str) {
    let mut dice = Dice::new(seed());
    let collection = Collection { table: "things".into(), key: "_id".into(), document: "doc".into() };
    let mut program = shearwater_stores::open_outsider(url, collection).await.unwrap();
    let mut documents = (0..DOCUMENTS).map(|n| format!("t-{n:05}")).map(|id| {
        let document = document(&mut dice, &id);
        (id, document)
    });
    program.make(&mut documents).await.unwrap();
}

/// What the ordinary way makes of a source: rows in another database, and what is
/// refused, with its code.
async fn ordinary(source: &dyn Store, target: &dyn Store, mapping: &Mapping) -> BTreeSet<(String, String)> {
    target.provision().await.unwrap();
    target.install(Fence { role: Role::Follower, epoch: 1 }).await.unwrap();
    let (mut refused, mut puts, mut after) = (BTreeSet::new(), Vec::new(), None);
    let range = ScanRange { id: 0, low: None, high: None };
    loop {
        let chunk = source.scan(&range, after.as_ref(), ChunkMax { records: 1_000, bytes: 1 << 24 }).await.unwrap();
        for record in chunk.records {
            let record = match record {
                Ok(record) => record,
                Err(bad) => {
                    refused.insert((bad.key.unwrap().to_text(), bad.error.code().to_owned()));
                    continue;
                }
            };
            let key: Key = mapping.key_forward(&record.key).unwrap();
            match mapping.forward(&record.image.unwrap()) {
                Ok(image) => puts.push(Put { key, image: Some(image), stamp: Stamp::ZERO }),
                Err(error) => drop(refused.insert((record.key.to_text(), error.code.to_owned()))),
            }
        }
        after = chunk.next;
        if after.is_none() {
            break;
        }
    }
    let keys: Vec<String> = puts.iter().map(|put| put.key.to_text()).collect();
    for (key, answer) in keys.into_iter().zip(target.apply(1, puts, None).await.unwrap()) {
        if let Applied::Refused(error) = answer {
            refused.insert((key, error.code().to_owned()));
        }
    }
    refused
}

/// How many documents of a source are plain.
async fn plain(stage: &Stage) -> u64 {
    let (source, rules) = (&stage.setup.source, stage.setup.mapping.flat().unwrap());
    let range = ScanRange { id: 0, low: None, high: None };
    let (mut count, mut after, mut flat) = (0, None, Flat::default());
    loop {
        let max = ChunkMax { records: 700, bytes: 1 << 24 };
        let chunk = source.gives().unwrap().read_undecoded(&range, after.as_ref(), max).await.unwrap();
        for at in 0..chunk.records.count() {
            let mut tape = Tape::new();
            count += u64::from(chunk.records.read(at, &mut tape) && rules.flatten(&tape, &mut flat));
        }
        after = chunk.next;
        if after.is_none() {
            return count;
        }
    }
}

async fn stage(place: &Path, source: &str, target: &str) -> Stage {
    let journal = JournalFile::open(&place.join("another"), true).await.unwrap();
    let journal = journal.create("plain", SPEC, "live").await.unwrap();
    Stage::watch(SPEC, source, target, journal).await
}

/// The whole of it, out of a source that is filled.
async fn walk(source: String, name: &str) {
    let (server, place) = (postgres(), tempfile::tempdir().unwrap());
    let targets = [server.database(name), server.database(name)];
    std::fs::write(place.path().join("plain.toml"), SPEC).unwrap();
    let urls = [source.clone(), targets[0].clone()];
    let started = run(&["start", "plain.toml"], &urls, place.path());
    assert_eq!(started["read"], DOCUMENTS, "{started:#}");

    let other = tempfile::tempdir().unwrap();
    let stage = stage(other.path(), &source, &targets[1]).await;
    let refused = ordinary(&*stage.setup.source, &*stage.setup.target, &stage.setup.mapping).await;
    let letters = run(&["dead-letters", "--max", "1000"], &urls, place.path());
    let letters = letters["dead_letters"].as_array().unwrap().iter().map(|letter| {
        let word = |name: &str| letter[name].as_str().unwrap().to_owned();
        assert_eq!(letter["authority"], Json::from("source"));
        (word("key"), word("code"))
    });
    assert_eq!(letters.collect::<BTreeSet<_>>(), refused, "{name}");
    assert_eq!(started["changed"], DOCUMENTS - refused.len() as u64, "{started:#}");
    for table in TABLES {
        let all = format!("SELECT count(*), md5(string_agg(t::text, ',' ORDER BY t::text)) FROM {table} t");
        assert_eq!(server.rows(&targets[0], &all), server.rows(&targets[1], &all), "{name}: {table}");
    }
    let lane = Lane::between(&stage.setup).await.unwrap();
    assert!(matches!(lane, Some(Lane::Flat(_))), "{lane:?}");
    let plain = plain(&stage).await;
    assert!((DOCUMENTS / 2..DOCUMENTS).contains(&plain), "{plain} are plain");
    assert_eq!(stage.setup.store(Side::Source).estimate().await.unwrap().records, DOCUMENTS);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn documents_of_mongodb_are_in_the_tables_as_if_each_had_been_mapped() {
    let source = mongodb().database("plain");
    fill(&source).await;
    walk(source, "plain_mongodb").await;
}

/// One document lacks its key, one has another.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn documents_of_a_json_column_are_in_the_tables_as_if_each_had_been_mapped() {
    let source = postgres().database("plain");
    fill(&source).await;
    let lacks = "UPDATE things SET doc = '{\"name\":\"x\",\"score\":0.5,\"lines\":[]}' WHERE _id = 't-00007'";
    let differs = "UPDATE things SET doc = '{\"_id\":\"t-00001\",\"score\":0.5,\"lines\":[]}' WHERE _id = 't-00011'";
    postgres().run(&source, &[lacks, differs]);
    walk(source, "plain_json").await;
}
