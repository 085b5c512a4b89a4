//! A program that writes the table in plain SQL and knows nothing of us, and
//! one that only looks at who holds a lock of the table.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::{Rules, SHARED};
use crate::dice::Dice;
use crate::door::{Door, Not};

/// Its own keys are above this.
pub const DIRECT_FROM: i64 = 100_000_000;

/// The rest between two transactions.
const REST: Duration = Duration::from_millis(4);

/// Between two looks at the locks.
const LOOK: Duration = Duration::from_millis(2);

/// What the direct writer did.
#[derive(Debug, Default)]
pub struct Direct {
    pub done: u64,
    /// Inserts without the field that NOT NULL refused, after contract.
    pub refused: u64,
    /// How often it counted in a shared record.
    pub ages: BTreeMap<i64, i64>,
    /// Its own records.
    pub own: Vec<i64>,
    /// The longest that one of its transactions took.
    pub longest: Duration,
}

/// Inserts without the field, updates of another column, deletes, until told to stop.
pub async fn write(url: String, mut dice: Dice, rules: watch::Receiver<Rules>, turns: Arc<AtomicU64>) -> Direct {
    let mut door = Door::open(&url).await.unwrap();
    let (mut direct, mut next) = (Direct::default(), DIRECT_FROM);
    while !rules.borrow().stop {
        let before = *rules.borrow();
        let shared = 1 + dice.below(SHARED as u64) as i64;
        let sql = match dice.below(6) {
            0 | 1 => {
                next += 1;
                let columns = "INSERT INTO users (id, name, active, age)";
                format!("{columns} VALUES ({next}, 'direct', {}, 0)", next % 2 == 0)
            }
            2 if !direct.own.is_empty() => {
                let key = direct.own.swap_remove(dice.below(direct.own.len() as u64) as usize);
                format!("DELETE FROM users WHERE id = {key}")
            }
            _ => format!("UPDATE users SET age = age + 1 WHERE id = {shared}"),
        };
        let begun = Instant::now();
        let done = door.transact(std::slice::from_ref(&sql)).await;
        direct.longest = direct.longest.max(begun.elapsed());
        match done {
            Ok(()) if sql.starts_with("INSERT") => direct.own.push(next),
            Ok(()) if sql.starts_with("UPDATE") => *direct.ages.entry(shared).or_default() += 1,
            Ok(()) => {}
            Err(Not::Wrong(why)) if sql.starts_with("INSERT") && (before.contracted || rules.borrow().contracted) => {
                let not_null = ["null value in column \"status\"", "Field 'status' doesn't have a default value"];
                assert!(not_null.iter().any(|words| why.contains(words)), "{sql}: {why}");
                direct.refused += 1;
            }
            Err(not) => panic!("a direct write failed: {sql}: {not:?}"),
        }
        direct.done += 1;
        turns.fetch_add(1, Ordering::Relaxed);
        tokio::time::sleep(REST).await;
    }
    direct
}

/// The longest time for which one session was seen to keep others from the table, until told to stop.
pub async fn watch_locks(url: String, rules: watch::Receiver<Rules>) -> Duration {
    let mut door = Door::open(&url).await.unwrap();
    let sql = match url.starts_with("mysql:") {
        // Who holds it the server does not tell, but who waits for it.
        true => {
            "SELECT CAST(id AS SIGNED), CAST(1 AS SIGNED) FROM information_schema.processlist \
             WHERE db = DATABASE() AND state = 'Waiting for table metadata lock' AND info NOT LIKE 'ALTER%'"
        }
        false => {
            "SELECT DISTINCT pid::bigint, 1::bigint FROM pg_locks WHERE relation = 'users'::regclass AND granted \
             AND mode IN ('AccessExclusiveLock', 'ExclusiveLock', 'ShareRowExclusiveLock', 'ShareLock')"
        }
    };
    let (mut since, mut longest) = (BTreeMap::<i64, Instant>::new(), Duration::ZERO);
    while !rules.borrow().stop {
        let found = door.pairs(sql).await.unwrap();
        since.retain(|session, _| found.iter().any(|(other, _)| other == session));
        for (session, _) in found {
            longest = longest.max(since.entry(session).or_insert_with(Instant::now).elapsed());
        }
        tokio::time::sleep(LOOK).await;
    }
    longest
}
