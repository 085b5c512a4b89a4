//! What only the journal on a server promises: it outlives its connections and
//! its server, settles what it does not know, and says clearly what is wrong.

use std::time::Duration;

use shearwater_core::journal::{Command, Event, JournalError};
use shearwater_stores::Create;
use shearwater_stores::journal::{JournalPlace, JournalStore};
use shearwater_testbed::{Options, Postgres, Privileges, postgres};

use crate::bench::{Bench, ServerBench, paused};

async fn open(url: &str, create: Create) -> Result<JournalStore, JournalError> {
    JournalStore::open(&JournalPlace::parse(url).unwrap(), create).await
}

/// Cuts every connection of the journal's processes.
fn cut(server: &Postgres, url: &str) {
    let cut = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
               WHERE datname = current_database() AND pid <> pg_backend_pid()";
    server.run(url, &[cut]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_that_are_cut_are_made_again() {
    let bench = ServerBench::new();
    let journal = bench.created().await;
    for seq in 1..6 {
        cut(postgres(), &bench.url);
        assert_eq!(journal.append(seq, "m", &[paused("x")]).await.unwrap(), seq + 1);
        cut(postgres(), &bench.url);
        assert_eq!(journal.last_seq().await.unwrap(), seq + 1);
        assert!(journal.acquire("coordinator", "m", 1_000).await.unwrap());
    }
}

/// A trigger that cuts the connection of the first statement on a table, before
/// or after it has committed; the answer is lost either way.
async fn cut_once(bench: &ServerBench, table: &str, when: &str) {
    bench.sql("CREATE TABLE {}cut AS SELECT 1 AS left_to_cut").await;
    bench
        .sql(
            "CREATE FUNCTION {}cut() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
                 UPDATE {}cut SET left_to_cut = left_to_cut - 1 WHERE left_to_cut > 0;
                 IF FOUND THEN PERFORM pg_terminate_backend(pg_backend_pid()); END IF;
                 RETURN NULL; END $$",
        )
        .await;
    let trigger = format!("CREATE TRIGGER cut {when} ON {{}}{table} FOR EACH STATEMENT EXECUTE FUNCTION {{}}cut()");
    bench.sql(&trigger).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_append_that_was_cut_off_before_its_commit_is_done_again() {
    let bench = ServerBench::new();
    let journal = bench.created().await;
    // A cut inside of the statement takes the counter's row back as well, so
    // the connection is cut for as long as the trigger is there.
    cut_once(&bench, "entry", "AFTER INSERT").await;
    let append = tokio::spawn({
        let journal = journal.clone();
        async move { journal.append(1, "m", &[Event::Capturing, Event::Captured]).await }
    });
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(journal.last_seq().await.unwrap(), 1, "nothing of a cut append is there");
    bench.sql("DROP TRIGGER cut ON {}entry").await;
    assert_eq!(append.await.unwrap().unwrap(), 3);
    assert_eq!(journal.read(1, 10).await.unwrap().len(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_append_whose_answer_was_lost_is_settled_and_not_done_twice() {
    let mut proxy = crate::bench::Proxy::before(postgres().port()).await;
    let bench = ServerBench::new();
    let other = bench.created().await;
    let through = bench.url.replace(&format!(":{}/", postgres().port()), &format!(":{}/", proxy.port()));
    let journal = open(&through, Create::Never).await.unwrap().migration("users").await.unwrap();
    journal.append(1, "me", &[paused("prepares the statements")]).await.unwrap();
    for seq in (2..20).step_by(2) {
        // The server does it, and its answer goes nowhere.
        proxy.lose_next_answer();
        assert_eq!(journal.append(seq, "me", &[paused("a"), paused("b")]).await.unwrap(), seq + 2);
        assert!(proxy.lost_an_answer(), "the test must lose an answer");
        assert_eq!(other.last_seq().await.unwrap(), seq + 2);
    }
    let asked = journal.ask(Command::Pause).await.unwrap();
    proxy.lose_next_answer();
    let again = journal.ask(Command::Resume).await.unwrap();
    let open: Vec<u64> = other.open_requests().await.unwrap().iter().map(|request| request.id).collect();
    assert_eq!(open, [asked, again], "one request for each time that was asked");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_process_that_was_faster_is_a_conflict_also_after_a_lost_answer() {
    let mut proxy = crate::bench::Proxy::before(postgres().port()).await;
    let bench = ServerBench::new();
    let other = bench.created().await;
    let through = bench.url.replace(&format!(":{}/", postgres().port()), &format!(":{}/", proxy.port()));
    let journal = open(&through, Create::Never).await.unwrap().migration("users").await.unwrap();
    journal.append(1, "me", &[paused("prepares the statements")]).await.unwrap();
    other.append(2, "other", &[paused("a")]).await.unwrap();
    proxy.lose_next_answer();
    assert_eq!(journal.append(2, "me", &[paused("b")]).await, Err(JournalError::Conflict { at: 3 }));
    assert!(proxy.lost_an_answer());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_server_that_comes_back_has_every_entry() {
    let server = Postgres::start(Options::new());
    let url = server.database("journal");
    let journal = open(&url, Create::IfMissing).await.unwrap().create("users", "s", "me").await.unwrap();
    for seq in 1..4 {
        let event = [paused("x")];
        let (appended, ()) = tokio::join!(journal.append(seq, "m", &event), async {
            tokio::task::block_in_place(|| {
                server.kill();
                server.start_again();
            });
        });
        match appended {
            Ok(appended) => assert_eq!(appended, seq + 1),
            // The server took longer than the journal's patience.
            Err(JournalError::Server { .. } | JournalError::Unavailable(_)) => {
                let _ = journal.append(seq, "m", &event).await;
            }
            Err(other) => panic!("{other}"),
        }
        assert_eq!(journal.last_seq().await.unwrap(), seq + 1);
    }
    assert_eq!(journal.read(0, 10).await.unwrap().len(), 4);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leases_follow_the_servers_clock_and_not_the_members() {
    let bench = ServerBench::new();
    let journal = bench.created().await;
    journal.renew("m", 1, 60_000).await.unwrap();
    let ends = journal.members().await.unwrap()[0].lease_until_ms;
    let now = postgres().rows(&bench.url, "SELECT (extract(epoch FROM clock_timestamp()) * 1000)::bigint");
    let left = ends - now[0][0].as_ref().unwrap().parse::<i64>().unwrap();
    assert!((1..=60_000).contains(&left), "{left} ms are left of 60,000");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_wrong_is_said_with_a_hint_and_without_the_password() {
    let server = postgres();
    let url = server.database("wrong");
    let nobody = server.account(&url, Privileges::Nothing);
    let port = server.port().to_string();
    let cases = [
        (url.replace("testbed:testbed@", "testbed:s3cret@"), "password", "user and the password"),
        (url.replace("/wrong", "/elsewhere"), "does not exist", "create the database"),
        (url.replace(&port, "1"), "connecting to", "the server runs"),
        (nobody, "permission denied", "grant the privilege"),
        (format!("{url}?sslmode=require"), "connecting to", "sslmode"),
    ];
    for (url, why, hint) in cases {
        match open(&url, Create::IfMissing).await.err() {
            Some(JournalError::Server { why: said, hint: hinted }) => {
                assert!(said.contains(why), "{said:?} says nothing of {why:?}");
                assert!(hinted.contains(hint), "{hinted:?} says nothing of {hint:?}");
                assert!(!said.contains("s3cret") && !hinted.contains("s3cret"), "{said} {hinted}");
            }
            other => panic!("{url}: {other:?}"),
        }
    }
    assert!(open(&url, Create::Never).await.is_err(), "nothing was made");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_account_that_may_only_change_rows_can_use_a_journal_that_is_there() {
    let bench = ServerBench::new();
    bench.created().await;
    let limited = postgres().account(&bench.url, Privileges::Nothing);
    let name = limited.split([':', '/', '@']).nth(3).unwrap().to_owned();
    bench.sql(&format!("GRANT USAGE ON SCHEMA shearwater_journal TO \"{name}\"")).await;
    let rows = "SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA shearwater_journal";
    bench.sql(&format!("GRANT {rows} TO \"{name}\"")).await;
    let store = open(&limited, Create::IfMissing).await.unwrap();
    let journal = store.migration("users").await.unwrap();
    assert_eq!(journal.append(1, "m", &[Event::Capturing]).await.unwrap(), 2);
    journal.renew("m", 1, 1_000).await.unwrap();
    journal.ask(Command::Pause).await.unwrap();
    store.create("books", "s", "m").await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_are_protected_as_the_url_says() {
    let server = Postgres::start(Options::new().tls().never_killed());
    let url = server.database("tls");
    let verified = format!("{url}?sslmode=verify-full&sslrootcert={}", server.ca_file().display());
    for (url, expect) in
        [(format!("{url}?sslmode=disable"), "f"), (format!("{url}?sslmode=require"), "t"), (verified.clone(), "t")]
    {
        let store = open(&url, Create::IfMissing).await.unwrap();
        let ssl = "SELECT bool_and(ssl) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) \
                   WHERE datname = current_database() AND application_name = 'shearwater'";
        assert_eq!(server.rows(url.split('?').next().unwrap(), ssl)[0][0].as_deref(), Some(expect), "{url}");
        drop(store);
        cut(&server, url.split('?').next().unwrap());
    }
    // Another authority than the one that signed: the public ones.
    let error = open(&format!("{url}?sslmode=verify-full"), Create::IfMissing).await.err().unwrap();
    assert!(matches!(&error, JournalError::Server { .. }), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_standby_is_refused_with_a_hint() {
    let primary = Postgres::start(Options::new());
    let url = primary.database("journal");
    let replica = primary.replica();
    let there = url.replace(&primary.port().to_string(), &replica.port().to_string());
    match open(&there, Create::IfMissing).await.err() {
        Some(JournalError::Server { hint, .. }) => assert!(hint.contains("primary"), "{hint}"),
        other => panic!("{other:?}"),
    }
}
