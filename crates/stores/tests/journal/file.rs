//! What only the journal in a file promises.

use std::path::Path;

use shearwater_core::journal::Event;
use shearwater_stores::journal::JournalFile;

use crate::bench::{Bench, FileBench};

#[tokio::test]
async fn a_process_that_dies_between_leaves_whole_entries_only() {
    let bench = FileBench::new();
    let journal = bench.created().await;
    // A transaction of a process that is killed before its commit.
    let killed = rusqlite::Connection::open(&bench.path).unwrap();
    killed.execute_batch("BEGIN IMMEDIATE; UPDATE migration SET last_seq = 2; INSERT INTO entry VALUES (1, 2, 0, 'x', '\"resumed\"')").unwrap();
    drop(killed);
    assert_eq!(journal.last_seq().await.unwrap(), 1);
    assert_eq!(journal.append(1, "m", &[Event::Capturing]).await.unwrap(), 2);
    assert_eq!(journal.read(1, 10).await.unwrap()[0].event, Event::Capturing);
}

#[tokio::test]
async fn files_that_are_no_journal_are_refused_and_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let check = async |path: &Path, create, expect: &str| {
        let before = std::fs::read(path).ok();
        let error = JournalFile::open(path, create).await.err().unwrap();
        assert!(error.to_string().contains(expect), "{error}");
        assert_eq!(std::fs::read(path).ok(), before);
    };
    let missing = dir.path().join("missing");
    check(&missing, false, "there is no journal").await;
    check(&dir.path().join("no-folder/journal"), true, "cannot be used").await;
    let text = dir.path().join("text");
    std::fs::write(
        &text,
        "a text that is long enough to be taken for a database header, and then some more of it: \
                           sqlite looks at the first hundred bytes",
    )
    .unwrap();
    check(&text, true, "damaged").await;
    let database = dir.path().join("database");
    let connection = rusqlite::Connection::open(&database).unwrap();
    connection.execute_batch("PRAGMA journal_mode = WAL; CREATE TABLE mine (x)").unwrap();
    drop(connection);
    check(&database, true, "no Shearwater journal").await;
    check(&database, false, "no Shearwater journal").await;
}
