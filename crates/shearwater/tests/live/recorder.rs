//! A program that writes records of its own through its own connection, and
//! remembers what was acknowledged. Each write is on the condition that the
//! record still is what was acknowledged last, so a lost or a resurrected
//! write is found at the next one, in whichever store that goes to. Recorders
//! also count in records that they share, in any order, so that they deadlock.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use shearwater_core::lifecycle::State;
use shearwater_core::store::Side;
use shearwater_engine::Member;
use tokio::sync::watch;

use crate::dice::Dice;
use crate::door::{Door, Not};

/// From `base` on, where the recorders' shared records are.
const SHARED: i64 = 500_000;

/// One transaction of so many counts in both shared records.
const SHARES_OF: u64 = 8;

/// Records of one recorder.
const KEYS: i64 = 60;

/// The rest between two transactions: a program among others, not a load test.
const REST: Duration = Duration::from_millis(4);

/// The pause before a program tries again what was refused for now.
const AGAIN: Duration = Duration::from_millis(5);

/// A table as a program knows it.
#[derive(Clone, Debug)]
pub struct Table {
    pub url: String,
    pub name: &'static str,
    pub key: &'static str,
    pub value: &'static str,
    /// Columns that must be given besides, and their values.
    pub others: (&'static str, &'static str),
}

/// One statement's part in a transaction.
#[derive(Clone, Copy, Debug)]
enum Change {
    Insert { key: i64, value: i64 },
    Update { key: i64, from: i64, value: i64 },
    Delete { key: i64, from: i64 },
    Rename { key: i64, to: i64, from: i64, value: i64 },
    Count { key: i64 },
}

/// What a recorder saw.
#[derive(Debug, Default)]
pub struct Record {
    /// Its records as acknowledged last.
    pub held: BTreeMap<i64, i64>,
    /// Transactions acknowledged by the source and by the target.
    pub acknowledged: [u64; 2],
    /// Refused by a fence.
    pub closed: u64,
    /// Deadlocks and other races.
    pub raced: u64,
    /// Connections that broke, and commits in doubt among them.
    pub cut: u64,
    pub in_doubt: u64,
    /// What was counted in each of the shared records.
    counted: u64,
}

pub struct Recorder {
    tables: [Table; 2],
    member: Arc<Member>,
    base: i64,
    shared: i64,
    done: Arc<AtomicU64>,
    /// Of all recorders.
    raced: Arc<AtomicU64>,
    dice: Dice,
    next: i64,
    doors: [Option<Door>; 2],
    record: Record,
}

impl Recorder {
    /// Writes until told to stop.
    pub async fn run(mut self, stop: watch::Receiver<bool>) -> Record {
        while !*stop.borrow() {
            let changes = self.draw();
            self.commit(&changes).await;
            tokio::time::sleep(REST).await;
        }
        self.record
    }

    /// One to three changes of different records.
    fn draw(&mut self) -> Vec<Change> {
        let mut free: Vec<i64> = (self.base..self.base + KEYS).collect();
        let mut changes = Vec::new();
        for _ in 0..=self.dice.below(3) {
            let key = free.swap_remove(self.dice.below(free.len() as u64) as usize);
            self.next += 1;
            let value = self.next;
            let Some(from) = self.record.held.get(&key).copied() else {
                changes.push(Change::Insert { key, value });
                continue;
            };
            let absent = free.iter().position(|key| !self.record.held.contains_key(key));
            changes.push(match (self.dice.below(10), absent) {
                (0, _) => Change::Delete { key, from },
                (1 | 2, Some(at)) => Change::Rename { key, to: free.swap_remove(at), from, value },
                _ => Change::Update { key, from, value },
            });
        }
        if self.dice.below(SHARES_OF) == 0 {
            let first = self.dice.below(2) as i64;
            changes.extend([first, 1 - first].map(|key| Change::Count { key: self.shared + key }));
        }
        changes
    }

    /// Tries until acknowledged.
    async fn commit(&mut self, changes: &[Change]) {
        let mut was_in_doubt = false;
        loop {
            let side = self.authority().await;
            let sql: Vec<String> = changes.iter().map(|change| self.sql(side, *change)).collect();
            let Some(door) = self.door(side).await else { continue };
            match door.transact(&sql).await {
                Ok(()) => {
                    self.record.acknowledged[at(side)] += 1;
                    return self.remember(changes);
                }
                // A session that was cut may still end its commit after somebody looked.
                Err(Not::Missed(_) | Not::Wrong(_)) if was_in_doubt && self.was_committed(changes).await => {
                    return self.remember(changes);
                }
                Err(Not::Missed(changed)) => panic!("{side:?} had lost acknowledged writes: {changed:?} of {sql:?}"),
                Err(Not::Closed) => self.record.closed += 1,
                Err(Not::Raced) => {
                    self.record.raced += 1;
                    self.raced.fetch_add(1, Ordering::Relaxed);
                }
                Err(Not::Cut) => self.cut(side),
                Err(Not::InDoubt) => {
                    self.cut(side);
                    self.record.in_doubt += 1;
                    was_in_doubt = true;
                    if self.was_committed(changes).await {
                        return self.remember(changes);
                    }
                }
                Err(Not::Wrong(why)) => panic!("{side:?} answered a plain program: {why}; it had asked {sql:?}"),
            }
            tokio::time::sleep(AGAIN).await;
        }
    }

    /// Where the application was told to write, as any program can ask.
    async fn authority(&self) -> Side {
        loop {
            let view = self.member.view();
            if let Some(side) = State::authority(&view.state) {
                return side;
            }
            self.member.seen_above(view.seq).await;
        }
    }

    async fn door(&mut self, side: Side) -> Option<&mut Door> {
        if self.doors[at(side)].is_none() {
            match Door::open(&self.tables[at(side)].url).await {
                Ok(door) => self.doors[at(side)] = Some(door),
                Err(_) => tokio::time::sleep(AGAIN).await,
            }
        }
        self.doors[at(side)].as_mut()
    }

    fn cut(&mut self, side: Side) {
        self.record.cut += 1;
        self.doors[at(side)] = None;
    }

    /// Whether a transaction in doubt is there: all of it or nothing.
    async fn was_committed(&mut self, changes: &[Change]) -> bool {
        loop {
            let side = self.authority().await;
            let table = self.tables[at(side)].clone();
            let (from, to) = (self.base, self.base + KEYS);
            let query = format!(
                "SELECT CAST({k} AS {b}), CAST({v} AS {b}) FROM {t} WHERE {k} >= {from} AND {k} < {to}",
                k = table.key,
                v = table.value,
                t = table.name,
                b = if table.url.starts_with("mysql:") { "SIGNED" } else { "bigint" },
            );
            let Some(door) = self.door(side).await else { continue };
            let Ok(rows) = door.pairs(&query).await else {
                self.cut(side);
                continue;
            };
            let found: BTreeMap<i64, i64> = rows.into_iter().collect();
            let mut after = self.record.held.clone();
            apply(&mut after, changes);
            assert!(
                found == after || found == self.record.held,
                "a commit in doubt left neither all nor nothing: {changes:?}, found {found:?}, before {:?}",
                self.record.held
            );
            return found == after;
        }
    }

    fn remember(&mut self, changes: &[Change]) {
        self.done.fetch_add(1, Ordering::Relaxed);
        self.record.counted += u64::from(changes.iter().any(|change| matches!(change, Change::Count { .. })));
        apply(&mut self.record.held, changes);
    }

    fn sql(&self, side: Side, change: Change) -> String {
        let Table { name, key: k, value: v, others, .. } = &self.tables[at(side)];
        match change {
            Change::Insert { key, value } => {
                format!("INSERT INTO {name} ({k}, {v}, {}) VALUES ({key}, {value}, {})", others.0, others.1)
            }
            Change::Update { key, from, value } => {
                format!("UPDATE {name} SET {v} = {value} WHERE {k} = {key} AND {v} = {from}")
            }
            Change::Delete { key, from } => format!("DELETE FROM {name} WHERE {k} = {key} AND {v} = {from}"),
            Change::Rename { key, to, from, value } => {
                format!("UPDATE {name} SET {k} = {to}, {v} = {value} WHERE {k} = {key} AND {v} = {from}")
            }
            Change::Count { key } => format!("UPDATE {name} SET {v} = {v} + 1 WHERE {k} = {key}"),
        }
    }
}

fn apply(held: &mut BTreeMap<i64, i64>, changes: &[Change]) {
    for change in changes {
        match *change {
            Change::Insert { key, value } | Change::Update { key, value, .. } => {
                held.insert(key, value);
            }
            Change::Delete { key, .. } => {
                held.remove(&key);
            }
            Change::Rename { key, to, value, .. } => {
                held.remove(&key);
                held.insert(to, value);
            }
            Change::Count { .. } => {}
        }
    }
}

fn at(side: Side) -> usize {
    match side {
        Side::Source => 0,
        Side::Target => 1,
    }
}

/// Recorders at work.
pub struct Recorders {
    stop: watch::Sender<bool>,
    tasks: Vec<tokio::task::JoinHandle<Record>>,
    shared: i64,
    done: Arc<AtomicU64>,
    raced: Arc<AtomicU64>,
}

impl Recorders {
    /// Sets recorders of different keys to work, the first ones from `base` on.
    pub async fn start(tables: [Table; 2], member: &Arc<Member>, base: i64, count: i64, seed: u64) -> Recorders {
        let (stop, stopped) = watch::channel(false);
        let (shared, done) = (base + SHARED, Arc::new(AtomicU64::new(0)));
        let raced = Arc::new(AtomicU64::new(0));
        let recorder = |n| Recorder {
            tables: tables.clone(),
            member: member.clone(),
            base: base + n * KEYS,
            shared,
            done: done.clone(),
            raced: raced.clone(),
            dice: Dice::new(seed ^ n as u64),
            next: 0,
            doors: [None, None],
            record: Record::default(),
        };
        let first = recorder(0);
        let shared_records = [0, 1].map(|n| first.sql(Side::Source, Change::Insert { key: shared + n, value: 0 }));
        Door::open(&tables[0].url).await.unwrap().transact(&shared_records).await.unwrap();
        let tasks = (0..count).map(|n| tokio::spawn(recorder(n).run(stopped.clone()))).collect();
        Recorders { stop, tasks, shared, done, raced }
    }

    /// Lets them end; what they all saw.
    pub async fn stop(self) -> Record {
        self.stop.send(true).unwrap();
        let mut all = Record::default();
        for task in self.tasks {
            let one = task.await.expect("a recorder found something wrong");
            all.held.extend(one.held);
            all.acknowledged = [0, 1].map(|side| all.acknowledged[side] + one.acknowledged[side]);
            all.closed += one.closed;
            all.raced += one.raced;
            all.cut += one.cut;
            all.in_doubt += one.in_doubt;
            all.counted += one.counted;
        }
        all.held.extend([0, 1].map(|n| (self.shared + n, all.counted as i64)));
        let counts = (all.acknowledged, all.closed, all.raced, all.cut, all.in_doubt);
        println!("recorders: acknowledged, closed, raced, cut, in doubt: {counts:?}");
        all
    }

    /// Waits until so many more transactions are acknowledged.
    pub async fn wrote(&self, transactions: u64) {
        let began = Instant::now();
        let enough = self.done.load(Ordering::Relaxed) + transactions;
        while self.done.load(Ordering::Relaxed) < enough {
            self.check();
            assert!(began.elapsed() < Duration::from_secs(60), "the recorders hardly write");
            tokio::time::sleep(AGAIN).await;
        }
    }

    /// Waits until two of them have been in each other's way.
    pub async fn raced(&self) {
        let began = Instant::now();
        while self.raced.load(Ordering::Relaxed) == 0 {
            self.check();
            assert!(began.elapsed() < Duration::from_secs(60), "no two recorders ever meet");
            tokio::time::sleep(AGAIN).await;
        }
    }

    /// They end early only for something wrong.
    pub fn check(&self) {
        assert!(self.tasks.iter().all(|task| !task.is_finished()), "a recorder found something wrong");
    }
}
