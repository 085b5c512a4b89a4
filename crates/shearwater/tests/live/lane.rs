//! A backfill whose rows go as they are, with some that do not go so.

use std::process::Command;

use shearwater_engine::lane::Lane;
use shearwater_stores::journal::JournalFile;

use crate::stage::Stage;

/// Records; a few chunks of them.
const RECORDS: u64 = 30_000;

const SPEC: &str = r#"
migration = "lane"
kind = "move"
entity = "users"
[source]
url = "${SOURCE}"
table = "users"
key = "id"
[source.columns]
id = { type = "int", required = true }
name = "text"
joined = "instant"
[target]
url = "${TARGET}"
table = "people"
key = "number"
[fields]
number = { from = "id", type = "int" }
title = { from = "name", type = "text", chars_max = 60 }
since = { from = "joined", type = "instant" }
[unmapped]
refuse = true
"#;

/// What the target says of the rows that its own constraints take.
const SAME: &str = "SELECT md5(string_agg(t::text, ',' ORDER BY t::text)) FROM";

pub fn run(args: &[&str], urls: &[String; 2], place: &std::path::Path) -> serde_json::Value {
    let mut command = Command::new(env!("CARGO_BIN_EXE_shearwater"));
    command.args(args).arg("--json").env("SOURCE", &urls[0]).env("TARGET", &urls[1]).current_dir(place);
    let output = command.output().unwrap();
    assert!(output.status.success(), "{output:?}");
    serde_json::from_slice(&output.stdout).unwrap()
}

/// One record that a constraint refuses, one that is there with other content,
/// one that is there already, and a time that nobody reads.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_go_as_they_are_and_what_does_not_is_told() {
    let server = shearwater_testbed::postgres();
    let urls = [server.database("lane"), server.database("lane")];
    server.run(
        &urls[0],
        &[
            "CREATE TABLE users (id bigint PRIMARY KEY, name varchar(60), joined timestamptz)",
            &format!(
                "INSERT INTO users SELECT n, 'name ' || n, now() - n * interval '1 second' \
                 FROM generate_series(1, {RECORDS}) n"
            ),
            "UPDATE users SET name = NULL WHERE id % 7 = 0",
            "UPDATE users SET joined = '294276-12-31' WHERE id = 20000",
        ],
    );
    server.run(
        &urls[1],
        &[
            "CREATE TABLE people (since timestamptz, title varchar(60) CHECK (title <> 'name 11'), number bigint PRIMARY KEY)",
            "INSERT INTO people VALUES (NULL, 'other', 2500)",
        ],
    );
    let place = tempfile::tempdir().unwrap();
    std::fs::write(place.path().join("lane.toml"), SPEC).unwrap();
    let started = run(&["start", "lane.toml"], &urls, place.path());
    assert_eq!(started["read"], RECORDS, "{started:#}");
    assert_eq!((&started["dead_letters"], &started["changed"]), (&2.into(), &(RECORDS - 2).into()), "{started:#}");
    let left = format!("{SAME} (SELECT id, name, joined FROM users WHERE id NOT IN (11, 20000)) t");
    let right = format!("{SAME} (SELECT number, title, since FROM people) t");
    assert_eq!(server.rows(&urls[0], &left), server.rows(&urls[1], &right));

    let journal = JournalFile::open(&place.path().join("another"), true).await.unwrap();
    let journal = journal.create("lane", SPEC, "live").await.unwrap();
    let stage = Stage::watch(SPEC, &urls[0], &urls[1], journal).await;
    let lane = Lane::between(&stage.setup).await.unwrap();
    assert!(matches!(lane, Some(Lane::AsTheyAre(_))), "they went the ordinary way: {lane:?}");
    server.run(&urls[1], &["ALTER TABLE people ALTER title TYPE text"]);
    let journal = JournalFile::open(&place.path().join("altered"), true).await.unwrap();
    let journal = journal.create("lane", SPEC, "live").await.unwrap();
    let stage = Stage::watch(SPEC, &urls[0], &urls[1], journal).await;
    assert!(Lane::between(&stage.setup).await.unwrap().is_none());
}
