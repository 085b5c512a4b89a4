//! What can be done with a running server.

use mongodb::bson::{Document, doc};
use shearwater_testbed::{
    DynamoDb, Mariadb, Mongodb, Options, Postgres, Privileges, Server, Topology, Version, mariadb, mongodb, postgres,
};

fn one(server: &Server, url: &str, query: &str) -> String {
    let rows = server.rows(url, query);
    rows[0][0].clone().expect("a value")
}

#[track_caller]
fn refused(server: &Server, url: &str, statement: &str) {
    let run = std::panic::AssertUnwindSafe(|| server.run(url, &[statement]));
    assert!(std::panic::catch_unwind(run).is_err(), "{statement} should be refused");
}

fn keeps_databases_apart(server: &Server) {
    let (a, b) = (server.database("apart"), server.database("apart"));
    assert_ne!(a, b);
    server.run(&a, &["CREATE TABLE t (id int)", "INSERT INTO t VALUES (1)"]);
    server.run(&b, &["CREATE TABLE t (id int)"]);
    assert_eq!(one(server, &a, "SELECT count(*) FROM t"), "1");
    assert_eq!(one(server, &b, "SELECT count(*) FROM t"), "0");
}

fn limits_accounts(server: &Server) {
    let url = server.database("limits");
    server.run(&url, &["CREATE TABLE t (id int)"]);
    let rows = server.account(&url, Privileges::Rows);
    let reader = server.account(&url, Privileges::ReadOnly);
    let nobody = server.account(&url, Privileges::Nothing);
    server.run(&rows, &["INSERT INTO t VALUES (7)"]);
    refused(server, &rows, "CREATE TABLE u (id int)");
    assert_eq!(one(server, &reader, "SELECT id FROM t"), "7");
    refused(server, &reader, "INSERT INTO t VALUES (8)");
    refused(server, &nobody, "SELECT id FROM t");
    let owner = server.account(&url, Privileges::Owner);
    server.run(&owner, &["CREATE TABLE u (id int)", "DROP TABLE u"]);
}

fn survives_what_is_done_to_it(server: &Server) {
    let url = server.database("survivor");
    server.run(&url, &["CREATE TABLE t (id int)", "INSERT INTO t VALUES (1)"]);
    server.kill();
    refused(server, &url, "SELECT 1");
    server.start_again();
    server.run(&url, &["INSERT INTO t VALUES (2)"]);
    server.stop();
    refused(server, &url, "SELECT 1");
    server.start_again();
    assert_eq!(one(server, &url, "SELECT sum(id) FROM t"), "3");
    server.freeze();
    server.thaw();
    assert_eq!(one(server, &url, "SELECT count(*) FROM t"), "2");
}

#[test]
fn postgres_is_a_server_with_databases_and_accounts() {
    assert!(one(postgres(), &postgres().url(), "SELECT version()").starts_with("PostgreSQL"));
    keeps_databases_apart(postgres());
    limits_accounts(postgres());
}

#[test]
fn mariadb_is_a_server_with_databases_and_accounts() {
    assert!(one(mariadb(), &mariadb().url(), "SELECT version()").contains("MariaDB"));
    assert_eq!(one(mariadb(), &mariadb().url(), "SELECT @@binlog_format"), "ROW");
    keeps_databases_apart(mariadb());
    limits_accounts(mariadb());
}

#[test]
fn servers_survive_what_is_done_to_them() {
    survives_what_is_done_to_it(&Postgres::start(Options::new()));
    survives_what_is_done_to_it(&Mariadb::start(Options::new()));
}

#[test]
fn settings_and_versions_are_as_asked() {
    for (version, expected) in [(Version::Postgres17, "17."), (Version::Postgres18, "18.")] {
        let server = Postgres::start(Options::new().version(version).setting("max_connections", "33"));
        let url = server.database("version");
        assert!(one(&server, &url, "SHOW server_version").starts_with(expected));
        assert_eq!(one(&server, &url, "SHOW max_connections"), "33");
    }
    let server = Mariadb::start(Options::new().setting("max-connections", "33"));
    assert_eq!(one(&server, &server.url(), "SELECT @@max_connections"), "33");
}

#[test]
fn tls_is_offered_when_asked() {
    let server = Postgres::start(Options::new().tls());
    assert_eq!(one(&server, &server.url(), "SHOW ssl"), "on");
    assert!(std::fs::read_to_string(server.ca_file()).expect("the authority").contains("BEGIN CERTIFICATE"));
    let server = Mariadb::start(Options::new().tls());
    assert_eq!(one(&server, &server.url(), "SELECT @@have_ssl"), "YES");
}

#[test]
fn a_replica_is_read_only() {
    let primary = Postgres::start(Options::new());
    let url = primary.database("copied");
    primary.run(&url, &["CREATE TABLE t (id int)"]);
    let replica = primary.replica();
    let there = url.replace(&primary.port().to_string(), &replica.port().to_string());
    assert_eq!(one(&replica, &there, "SELECT pg_is_in_recovery()"), "t");
    refused(&replica, &there, "INSERT INTO t VALUES (1)");
}

/// The addresses in `/proc/net` on which something listens at a port, as the kernel writes them.
fn listening(port: u16) -> Vec<String> {
    let tables = ["/proc/net/tcp", "/proc/net/tcp6"].map(|file| std::fs::read_to_string(file).unwrap_or_default());
    let lines = tables.iter().flat_map(|table| table.lines().skip(1));
    let places = lines.filter_map(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let (address, at) = words.get(1)?.split_once(':')?;
        (words.get(3) == Some(&"0A") && u16::from_str_radix(at, 16) == Ok(port)).then(|| address.to_owned())
    });
    places.collect()
}

#[test]
fn dynamodb_listens_on_the_loopback_interface_only() {
    let server = DynamoDb::start();
    let places = listening(server.port());
    let loopback = ["0100007F", "0000000000000000FFFF00000100007F"];
    assert!(!places.is_empty() && places.iter().all(|place| loopback.contains(&place.as_str())), "{places:?}");
    assert_ne!(server.database("apart"), server.database("apart"));
    for _ in 0..2 {
        server.kill();
        assert!(std::net::TcpStream::connect(("127.0.0.1", server.port())).is_err(), "a killed server answers");
        server.start_again();
    }
}

fn insert(server: &Mongodb, url: &str, id: i32) {
    let concern = doc! { "w": "majority", "wtimeout": 30_000 };
    let insert = doc! { "insert": "t", "documents": [{ "_id": id }], "writeConcern": concern };
    assert_eq!(server.run(url, insert).get_i32("n").unwrap(), 1);
}

fn count(server: &Mongodb, url: &str) -> i32 {
    server.run(url, doc! { "count": "t" }).get_i32("n").unwrap()
}

#[test]
fn mongodb_is_a_replica_set_of_one_that_survives_a_kill() {
    assert_eq!(mongodb().run_on(0, doc! { "buildInfo": 1 }).get_str("version").unwrap(), "6.0.27");
    let server = Mongodb::start(Topology::Single);
    let (url, other) = (server.database("a"), server.database("a"));
    insert(&server, &url, 1);
    server.kill();
    server.start_again();
    insert(&server, &url, 2);
    assert_eq!((count(&server, &url), count(&server, &other)), (2, 0));
}

#[test]
fn a_set_of_three_outlives_its_primary() {
    let server = Mongodb::start(Topology::Three);
    let url = server.database("a");
    insert(&server, &url, 1);
    let first = server.primary();
    server.kill_node(first);
    assert_ne!(server.primary(), first);
    insert(&server, &url, 2);
    server.start_node(first);
    assert_eq!(count(&server, &url), 2);
}

#[test]
fn mongodb_with_accounts_lets_nobody_else_in() {
    let server = Mongodb::start_with_accounts(Topology::Single);
    let url = server.database("a");
    insert(&server, &url, 1);
    let reader = server.account(&url, &["read"]);
    assert_eq!(count(&server, &reader), 1);
    let drop = |url: String| {
        let run = std::panic::AssertUnwindSafe(|| -> Document { server.run(&url, doc! { "drop": "t" }) });
        std::panic::catch_unwind(run).is_err()
    };
    assert!(drop(reader), "a reader drops nothing");
    assert!(drop(url.replace("testbed:testbed@", "testbed:wrong@")), "a wrong password opens nothing");
}
