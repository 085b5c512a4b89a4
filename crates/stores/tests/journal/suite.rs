//! What every journal promises, wherever it is: order, conflicts, leases, and
//! several processes (here: several connections) at once.

use shearwater_core::journal::{Command, DeadLetter, Event, JournalError, Refusal};
use shearwater_core::lifecycle::{Lifecycle, Phase, State};
use shearwater_core::store::Side;

use shearwater_stores::Create;

use crate::bench::{Bench, paused};

/// Long beside what a slow machine takes for a test: on a server real time passes too.
const LEASE_MS: u64 = 1_000_000;

pub async fn appends_in_order_and_reads_back_what_was_written(bench: &impl Bench) {
    let journal = bench.created().await;
    assert_eq!(journal.last_seq().await.unwrap(), 1);
    let events = [
        Event::Capturing,
        Event::Captured,
        Event::Entering { to: Phase::DualWrite, epoch: 2 },
        paused("a \"quote\" \u{0} \\"),
    ];
    assert_eq!(journal.append(1, "worker", &events).await.unwrap(), 5);
    let entries = journal.read(0, 100).await.unwrap();
    assert_eq!(entries.iter().map(|e| e.seq).collect::<Vec<_>>(), [1, 2, 3, 4, 5]);
    assert_eq!(entries[0].event, Event::Created { spec: "spec text".into() });
    assert_eq!(entries[1].actor, "worker");
    assert!(entries[0].at_ms > 0 && entries[0].at_ms <= entries[4].at_ms);
    assert_eq!(entries[1..].iter().map(|e| e.event.clone()).collect::<Vec<_>>(), events);
    assert_eq!(journal.read(2, 2).await.unwrap().iter().map(|e| e.seq).collect::<Vec<_>>(), [3, 4]);
    assert_eq!(State::replay(&entries).unwrap().effective_phase(), Phase::DualWrite);
}

pub async fn an_append_that_is_late_is_refused_whole(bench: &impl Bench) {
    let (first, second) = (bench.created().await, bench.open().await.migration("users").await.unwrap());
    first.append(1, "first", &[Event::Capturing]).await.unwrap();
    let late = second.append(1, "second", &[Event::Capturing, Event::Captured]).await;
    assert_eq!(late, Err(JournalError::Conflict { at: 2 }));
    assert_eq!(second.last_seq().await.unwrap(), 2);
    assert_eq!(second.append(7, "second", &[Event::Resumed]).await, Err(JournalError::Conflict { at: 2 }));
}

pub async fn of_concurrent_appenders_exactly_one_wins_each_place(bench: &impl Bench) {
    const EACH: usize = 20;
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

pub async fn what_another_process_appended_is_seen_without_reopening(bench: &impl Bench) {
    let (mine, other) = (bench.created().await, bench.open().await.migration("users").await.unwrap());
    for seq in 1..20 {
        assert_eq!(other.last_seq().await.unwrap(), seq);
        mine.append(seq, "m", &[paused("x")]).await.unwrap();
        assert_eq!(other.last_seq().await.unwrap(), seq + 1);
        assert_eq!(mine.last_seq().await.unwrap(), seq + 1);
    }
}

pub async fn members_live_as_long_as_their_leases(bench: &impl Bench) {
    let journal = bench.created().await;
    let names = |members: Vec<shearwater_core::journal::Member>| {
        members.into_iter().map(|m| format!("{}@{}", m.id, m.epoch)).collect::<Vec<_>>()
    };
    journal.renew("a", 1, 3 * LEASE_MS).await.unwrap();
    journal.renew("b", 1, LEASE_MS).await.unwrap();
    assert_eq!(names(journal.members().await.unwrap()), ["a@1", "b@1"]);
    bench.pass_ms(LEASE_MS as i64 * 9 / 10).await;
    journal.renew("a", 2, 3 * LEASE_MS).await.unwrap();
    assert_eq!(names(journal.members().await.unwrap()), ["a@2", "b@1"]);
    bench.pass_ms(LEASE_MS as i64 / 10).await;
    assert_eq!(names(journal.members().await.unwrap()), ["a@2"], "a lease ends at its time");
    journal.leave("a").await.unwrap();
    assert_eq!(names(journal.members().await.unwrap()), [""; 0]);
}

pub async fn a_named_lease_has_one_holder_at_a_time(bench: &impl Bench) {
    let (one, two) = (bench.created().await, bench.open().await.migration("users").await.unwrap());
    assert!(one.acquire("coordinator", "one", LEASE_MS).await.unwrap());
    assert!(!two.acquire("coordinator", "two", LEASE_MS).await.unwrap());
    assert!(two.acquire("other", "two", LEASE_MS).await.unwrap(), "names do not share holders");
    bench.pass_ms(LEASE_MS as i64 * 9 / 10).await;
    assert!(one.acquire("coordinator", "one", LEASE_MS).await.unwrap(), "its holder keeps it");
    bench.pass_ms(LEASE_MS as i64 * 9 / 10).await;
    assert!(!two.acquire("coordinator", "two", LEASE_MS).await.unwrap());
    bench.pass_ms(LEASE_MS as i64 / 10).await;
    assert!(two.acquire("coordinator", "two", LEASE_MS).await.unwrap());
    one.release("coordinator", "one").await.unwrap();
    assert!(!one.acquire("coordinator", "one", LEASE_MS).await.unwrap(), "only the holder gives it up");
    two.release("coordinator", "two").await.unwrap();
    assert!(one.acquire("coordinator", "one", LEASE_MS).await.unwrap());
}

pub async fn requests_are_kept_until_finished_and_the_first_outcome_stands(bench: &impl Bench) {
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

pub async fn dead_letters_are_one_for_each_key(bench: &impl Bench) {
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

pub async fn notes_are_shared_and_once_means_once(bench: &impl Bench) {
    let (one, two) = (bench.created().await, bench.open().await.migration("users").await.unwrap());
    assert_eq!(one.note("key").await.unwrap(), None);
    assert_eq!(one.note_once("key", "first").await.unwrap(), "first");
    assert_eq!(two.note_once("key", "second").await.unwrap(), "first");
    two.set_note("key", "third").await.unwrap();
    assert_eq!(one.note("key").await.unwrap().as_deref(), Some("third"));
}

pub async fn migrations_of_one_journal_do_not_mix(bench: &impl Bench) {
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

pub async fn a_journal_from_a_newer_version_is_refused(bench: &impl Bench) {
    bench.created().await;
    bench.sql("UPDATE {}meta SET value = '2'").await;
    let refused = bench.try_open(Create::Never).await.err();
    assert_eq!(refused, Some(JournalError::Newer { found: 2, known: 1 }));
    let refused = bench.try_open(Create::IfMissing).await.err();
    assert_eq!(refused, Some(JournalError::Newer { found: 2, known: 1 }));
}

pub async fn an_entry_that_cannot_be_read_is_named(bench: &impl Bench) {
    let journal = bench.created().await;
    journal.append(1, "m", &[Event::Capturing]).await.unwrap();
    bench.sql("UPDATE {}entry SET event = '{\"event\":\"from-the-future\"}' WHERE seq = 2").await;
    let error = journal.read(0, 10).await.unwrap_err();
    assert!(matches!(&error, JournalError::Damaged(why) if why.contains("entry 2")), "{error}");
}

pub async fn many_processes_make_one_journal_at_the_same_time(bench: &impl Bench) {
    let opened = futures::future::join_all((0..8).map(|_| bench.open())).await;
    let made = futures::future::join_all(opened.iter().map(|store| store.create("users", "s", "m"))).await;
    assert_eq!(made.iter().filter(|made| made.is_ok()).count(), 1);
    for store in &opened {
        assert_eq!(store.names().await.unwrap(), ["users"]);
    }
}

pub async fn a_journal_that_is_not_there_is_not_made_by_asking(bench: &impl Bench) {
    for _ in 0..2 {
        let error = bench.try_open(Create::Never).await.err().unwrap();
        assert!(matches!(&error, JournalError::Absent(_)), "{error}");
        assert!(!error.to_string().contains("testbed"), "{error}");
    }
}
