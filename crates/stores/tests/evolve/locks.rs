//! Nobody waits long for us, and we say for whom we wait.

use std::time::{Duration, Instant};

use mysql_async::prelude::Queryable;
use shearwater_core::evolve::*;

use crate::place::*;

const VALUE: &str = "{ sql = '''CASE WHEN active THEN 'ACTIVE' ELSE 'INACTIVE' END''' }";

/// Tries to add the column while somebody reads the table in an open
/// transaction: it gives way within its patience, says who it is, and
/// succeeds as soon as that one has gone.
async fn gives_way(wanting: &Wanting, end: impl Future<Output = ()>) {
    wanting.evolve.try_to(Alteration::AddSidecar, PATIENCE, 1_000).await.unwrap();
    for patience in [5, 40] {
        let began = Instant::now();
        let tried = wanting.evolve.try_to(Alteration::AddColumn, Duration::from_millis(patience), 1_000).await.unwrap();
        let Try::Busy(blockers) = tried else { panic!("{tried:?}") };
        assert!(!blockers.is_empty() && !blockers[0].what.is_empty(), "{blockers:?}");
        println!("gave way after {:?}: {blockers:?}", began.elapsed());
    }
    assert_eq!(wanting.evolve.look().await.unwrap().column, None, "a try that failed changed nothing");
    end.await;
    let tried = wanting.evolve.try_to(Alteration::AddColumn, Duration::from_secs(2), 1_000).await.unwrap();
    assert!(matches!(tried, Try::Made { .. }), "{tried:?}");
}

#[tokio::test]
async fn a_reader_is_not_waited_for_on_postgres() {
    let place = Place::new(Kind::Postgres);
    place.fill_with_nasty();
    let wanting = place.wanting("status", "text", VALUE).await;
    let (reader, connection) = tokio_postgres::connect(&place.url, tokio_postgres::NoTls).await.unwrap();
    tokio::spawn(connection);
    reader.batch_execute("BEGIN; SELECT count(*) FROM users").await.unwrap();
    gives_way(&wanting, async { reader.batch_execute("COMMIT").await.unwrap() }).await;
}

#[tokio::test]
async fn a_reader_is_not_waited_for_on_mariadb() {
    let place = Place::new(Kind::Mariadb);
    place.fill_with_nasty();
    let wanting = place.wanting("status", "text", VALUE).await;
    let mut reader = mysql_async::Conn::from_url(&place.url).await.unwrap();
    reader.query_drop("START TRANSACTION").await.unwrap();
    reader.query_drop("SELECT count(*) FROM users").await.unwrap();
    gives_way(&wanting, async { reader.query_drop("COMMIT").await.unwrap() }).await;
}

#[tokio::test]
async fn a_writer_is_not_waited_for_on_sqlite() {
    let place = Place::new(Kind::Sqlite);
    place.fill_with_nasty();
    let wanting = place.wanting("status", "text", VALUE).await;
    wanting.evolve.try_to(Alteration::AddSidecar, PATIENCE, 1_000).await.unwrap();
    let writer = rusqlite::Connection::open(place.file()).unwrap();
    writer.execute_batch("BEGIN IMMEDIATE; UPDATE users SET age = 1 WHERE id = 1").unwrap();
    gives_way(&wanting, async { writer.execute_batch("COMMIT").unwrap() }).await;
}
