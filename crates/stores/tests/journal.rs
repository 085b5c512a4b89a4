//! What a journal promises, on the SQLite journal: order, conflicts, leases,
//! and several processes (here: several open files) at once.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use shearwater_core::journal::{Command, DeadLetter, Event, Journal, JournalError, Refusal};
use shearwater_core::lifecycle::{Phase, State};
use shearwater_core::store::Side;
use shearwater_stores::journal::JournalFile;

struct Bench {
    _dir: tempfile::TempDir,
    path: PathBuf,
    clock: Arc<AtomicI64>,
}

impl Bench {
    fn new() -> Bench {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("journal");
        Bench { _dir: dir, path, clock: Arc::new(AtomicI64::new(1_000_000)) }
    }

    /// One process's view of the file.
    async fn open(&self) -> JournalFile {
        let clock = self.clock.clone();
        JournalFile::open_with_clock(&self.path, true, Arc::new(move || clock.load(Ordering::SeqCst))).await.unwrap()
    }

    async fn created(&self) -> Arc<dyn Journal> {
        self.open().await.create("users", "spec text", "me").await.unwrap()
    }

    fn pass_ms(&self, ms: i64) {
        self.clock.fetch_add(ms, Ordering::SeqCst);
    }
}

fn paused(reason: &str) -> Event {
    Event::Paused { reason: reason.into() }
}

#[tokio::test]
async fn appends_in_order_and_reads_back_what_was_written() {
    let bench = Bench::new();
    let journal = bench.created().await;
    assert_eq!(journal.last_seq().await.unwrap(), 1);
    bench.pass_ms(5);
    let events =
        [Event::Capturing, Event::Captured, Event::Entering { to: Phase::DualWrite, epoch: 2 }, paused("a \"quote\"")];
    assert_eq!(journal.append(1, "worker", &events).await.unwrap(), 5);
    let entries = journal.read(0, 100).await.unwrap();
    assert_eq!(entries.iter().map(|e| e.seq).collect::<Vec<_>>(), [1, 2, 3, 4, 5]);
    assert_eq!(entries[0].event, Event::Created { spec: "spec text".into() });
    assert_eq!((entries[1].actor.as_str(), entries[1].at_ms), ("worker", 1_000_005));
    assert_eq!(entries[1..].iter().map(|e| e.event.clone()).collect::<Vec<_>>(), events);
    assert_eq!(journal.read(2, 2).await.unwrap().iter().map(|e| e.seq).collect::<Vec<_>>(), [3, 4]);
    assert_eq!(State::replay(&entries).unwrap().effective_phase(), Phase::DualWrite);
}

#[tokio::test]
async fn an_append_that_is_late_is_refused_whole() {
    let bench = Bench::new();
    let (first, second) = (bench.created().await, bench.open().await.migration("users").await.unwrap());
    first.append(1, "first", &[Event::Capturing]).await.unwrap();
    let late = second.append(1, "second", &[Event::Capturing, Event::Captured]).await;
    assert_eq!(late, Err(JournalError::Conflict { at: 2 }));
    assert_eq!(second.last_seq().await.unwrap(), 2);
    assert_eq!(second.append(7, "second", &[Event::Resumed]).await, Err(JournalError::Conflict { at: 2 }));
}

#[tokio::test]
async fn of_concurrent_appenders_exactly_one_wins_each_place() {
    const EACH: usize = 20;
    let bench = Bench::new();
    bench.created().await;
    let mut tasks = tokio::task::JoinSet::new();
    for n in 0..4 {
        let journal = bench.open().await.migration("users").await.unwrap();
        tasks.spawn(async move {
            for _ in 0..EACH {
                loop {
                    let at = journal.last_seq().await.unwrap();
                    match journal.append(at, &format!("p{n}"), &[paused("x")]).await {
                        Ok(seq) => break assert_eq!(seq, at + 1),
                        Err(JournalError::Conflict { at: now }) => assert!(now > at),
                        Err(other) => panic!("{other}"),
                    }
                }
            }
        });
    }
    while let Some(done) = tasks.join_next().await {
        done.unwrap();
    }
    let entries = bench.open().await.migration("users").await.unwrap().read(0, 1_000).await.unwrap();
    assert_eq!(entries.iter().map(|e| e.seq).collect::<Vec<_>>(), (1..=1 + 4 * EACH as u64).collect::<Vec<_>>());
    for n in 0..4 {
        assert_eq!(entries.iter().filter(|e| e.actor == format!("p{n}")).count(), EACH);
    }
}

#[tokio::test]
async fn what_another_process_appended_is_seen_without_reopening() {
    let bench = Bench::new();
    let (mine, other) = (bench.created().await, bench.open().await.migration("users").await.unwrap());
    for seq in 1..20 {
        assert_eq!(other.last_seq().await.unwrap(), seq);
        mine.append(seq, "m", &[paused("x")]).await.unwrap();
        assert_eq!(other.last_seq().await.unwrap(), seq + 1);
        assert_eq!(mine.last_seq().await.unwrap(), seq + 1);
    }
}

#[tokio::test]
async fn a_process_that_dies_between_leaves_whole_entries_only() {
    let bench = Bench::new();
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
async fn members_live_as_long_as_their_leases() {
    let bench = Bench::new();
    let journal = bench.created().await;
    let names = |members: Vec<shearwater_core::journal::Member>| {
        members.into_iter().map(|m| format!("{}@{}", m.id, m.epoch)).collect::<Vec<_>>()
    };
    journal.renew("a", 1, 3_000).await.unwrap();
    journal.renew("b", 1, 1_000).await.unwrap();
    assert_eq!(names(journal.members().await.unwrap()), ["a@1", "b@1"]);
    bench.pass_ms(999);
    journal.renew("a", 2, 3_000).await.unwrap();
    assert_eq!(names(journal.members().await.unwrap()), ["a@2", "b@1"]);
    bench.pass_ms(1);
    assert_eq!(names(journal.members().await.unwrap()), ["a@2"], "a lease ends at its time");
    journal.leave("a").await.unwrap();
    assert_eq!(names(journal.members().await.unwrap()), [""; 0]);
}

#[tokio::test]
async fn a_named_lease_has_one_holder_at_a_time() {
    let bench = Bench::new();
    let (one, two) = (bench.created().await, bench.open().await.migration("users").await.unwrap());
    assert!(one.acquire("coordinator", "one", 1_000).await.unwrap());
    assert!(!two.acquire("coordinator", "two", 1_000).await.unwrap());
    assert!(two.acquire("other", "two", 1_000).await.unwrap(), "names do not share holders");
    bench.pass_ms(900);
    assert!(one.acquire("coordinator", "one", 1_000).await.unwrap(), "its holder keeps it");
    bench.pass_ms(999);
    assert!(!two.acquire("coordinator", "two", 1_000).await.unwrap());
    bench.pass_ms(1);
    assert!(two.acquire("coordinator", "two", 1_000).await.unwrap());
    one.release("coordinator", "one").await.unwrap();
    assert!(!one.acquire("coordinator", "one", 1_000).await.unwrap(), "only the holder gives it up");
    two.release("coordinator", "two").await.unwrap();
    assert!(one.acquire("coordinator", "one", 1_000).await.unwrap());
}

#[tokio::test]
async fn requests_are_kept_until_finished_and_the_first_outcome_stands() {
    let bench = Bench::new();
    let journal = bench.created().await;
    let ramp = journal.ask(Command::Ramp { percent: 30 }).await.unwrap();
    let repair = journal.ask(Command::Repair { dry_run: true }).await.unwrap();
    let open = journal.open_requests().await.unwrap();
    assert_eq!(open.iter().map(|r| r.id).collect::<Vec<_>>(), [ramp, repair]);
    assert_eq!(open[1].command, Command::Repair { dry_run: true });
    let refusal = Refusal { code: "gate/x".into(), message: "closed".into(), hint: Some("open it".into()) };
    journal.finish(ramp, Err(refusal.clone())).await.unwrap();
    journal.finish(ramp, Ok(serde_json::json!({"late": true}))).await.unwrap();
    assert_eq!(journal.request(ramp).await.unwrap().unwrap().outcome, Some(Err(refusal)));
    journal.finish(repair, Ok(serde_json::json!({"repaired": 0}))).await.unwrap();
    let done = journal.request(repair).await.unwrap().unwrap();
    assert_eq!(done.outcome, Some(Ok(serde_json::json!({"repaired": 0}))));
    assert_eq!(journal.open_requests().await.unwrap(), []);
    assert_eq!(journal.request(99).await.unwrap(), None);
}

#[tokio::test]
async fn dead_letters_are_one_for_each_key() {
    let bench = Bench::new();
    let journal = bench.created().await;
    let letter = |key: &str, attempts| DeadLetter {
        key: key.into(),
        authority: Side::Source,
        stamp: (2, 9),
        code: "mapping/type".into(),
        reason: "age: found text, expected int".into(),
        at_ms: 5,
        attempts,
    };
    for (key, attempts) in [("b", 1), ("a", 1), ("c", 1), ("b", 2)] {
        journal.bury(letter(key, attempts)).await.unwrap();
    }
    assert_eq!(journal.dead_letter_count().await.unwrap(), 3);
    assert_eq!(journal.dead_letters(None, 2).await.unwrap(), [letter("a", 1), letter("b", 2)]);
    assert_eq!(journal.dead_letters(Some("b"), 9).await.unwrap(), [letter("c", 1)]);
    assert!(journal.resolve(Side::Source, "b").await.unwrap());
    assert!(!journal.resolve(Side::Source, "b").await.unwrap());
    assert!(!journal.resolve(Side::Target, "a").await.unwrap());
    assert_eq!(journal.dead_letter_count().await.unwrap(), 2);
}

#[tokio::test]
async fn notes_are_shared_and_once_means_once() {
    let bench = Bench::new();
    let (one, two) = (bench.created().await, bench.open().await.migration("users").await.unwrap());
    assert_eq!(one.note("key").await.unwrap(), None);
    assert_eq!(one.note_once("key", "first").await.unwrap(), "first");
    assert_eq!(two.note_once("key", "second").await.unwrap(), "first");
    two.set_note("key", "third").await.unwrap();
    assert_eq!(one.note("key").await.unwrap().as_deref(), Some("third"));
}

#[tokio::test]
async fn migrations_of_one_file_do_not_mix() {
    let bench = Bench::new();
    let file = bench.open().await;
    let users = file.create("users", "u", "me").await.unwrap();
    let books = file.create("books", "b", "me").await.unwrap();
    assert_eq!(file.create("users", "again", "me").await.err(), Some(JournalError::Exists("users".into())));
    assert_eq!(file.migration("cars").await.err(), Some(JournalError::Unknown("cars".into())));
    assert_eq!(file.names().await.unwrap(), ["users", "books"]);
    users.append(1, "m", &[Event::Capturing]).await.unwrap();
    users.renew("m", 1, 1_000).await.unwrap();
    users.set_note("n", "x").await.unwrap();
    let request = users.ask(Command::Pause).await.unwrap();
    assert!(users.acquire("coordinator", "m", 1_000).await.unwrap());
    assert!(books.acquire("coordinator", "n", 1_000).await.unwrap());
    assert_eq!(books.last_seq().await.unwrap(), 1);
    assert_eq!((books.members().await.unwrap(), books.note("n").await.unwrap()), (vec![], None));
    assert_eq!(books.request(request).await.unwrap(), None);
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
    check(&missing, false, "there is no file").await;
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

#[tokio::test]
async fn a_journal_from_a_newer_version_is_refused() {
    let bench = Bench::new();
    bench.created().await;
    rusqlite::Connection::open(&bench.path).unwrap().execute("UPDATE meta SET value = '2'", []).unwrap();
    let refused = JournalFile::open(&bench.path, false).await.err();
    assert_eq!(refused, Some(JournalError::Newer { found: 2, known: 1 }));
}

#[tokio::test]
async fn an_entry_that_cannot_be_read_is_named() {
    let bench = Bench::new();
    let journal = bench.created().await;
    let broken = "INSERT INTO entry VALUES (1, 2, 0, 'x', '{\"event\":\"from-the-future\"}')";
    rusqlite::Connection::open(&bench.path).unwrap().execute(broken, []).unwrap();
    let error = journal.read(0, 10).await.unwrap_err();
    assert!(matches!(&error, JournalError::Damaged(why) if why.contains("entry 2")), "{error}");
}

#[tokio::test]
async fn many_processes_make_one_journal_at_the_same_time() {
    let bench = Bench::new();
    let opened = futures_of(8, || bench.open()).await;
    let mut made = 0;
    for file in &opened {
        made += usize::from(file.create("users", "s", "m").await.is_ok());
    }
    assert_eq!(made, 1);
}

async fn futures_of<F: Future<Output = JournalFile>>(n: usize, make: impl Fn() -> F) -> Vec<JournalFile> {
    let mut all: Vec<_> = (0..n).map(|_| Box::pin(make())).collect();
    let mut done = Vec::new();
    std::future::poll_fn(|cx| {
        all.retain_mut(|future| match future.as_mut().poll(cx) {
            std::task::Poll::Ready(file) => {
                done.push(file);
                false
            }
            std::task::Poll::Pending => true,
        });
        if all.is_empty() { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
    })
    .await;
    done
}
