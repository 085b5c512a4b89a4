//! Stitched lists against a naive evaluation, while records change stores
//! between two pages and between the two reads of one page.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs)]

use proptest::prelude::*;
use shearwater_core::absorb::stitch::{Across, Ask, Page, Reading, Row, Same, merge};
use shearwater_core::path::Path;
use shearwater_core::query::{Collation, CompareOp, Filter, ListPage, ListQuery, Literal, OrderTerm, sort_bytes_of};
use shearwater_core::store::{Fetched, Image};
use shearwater_core::{Document, Key, Value};

/// How the source's keys become the target's.
#[derive(Clone, Copy, Debug)]
enum Keys {
    /// `n` → `n + 1000`, in the same order.
    Offset,
    /// `n` → `bob-n`, in another order: bob-10 comes before bob-9.
    Prefix,
}

impl Keys {
    fn forward(self, n: i64) -> Key {
        match self {
            Keys::Offset => Key::single(n + 1_000),
            Keys::Prefix => Key::single(format!("bob-{n}")),
        }
    }

    fn back(self, key: &Key) -> Option<i64> {
        match (self, key.values()) {
            (Keys::Offset, [Value::Int(n)]) => Some(n - 1_000),
            (Keys::Prefix, [Value::Text(text)]) => text.strip_prefix("bob-")?.parse().ok(),
            _ => None,
        }
    }
}

/// A record: `name` exists in both shapes, `size` in the source under another
/// name, `loud` is computed and the source cannot sort by it.
#[derive(Clone, Debug)]
struct Person {
    n: i64,
    name: Option<String>,
    size: Option<i64>,
    moved: bool,
}

impl Person {
    fn v1(&self) -> Document {
        [("n", Value::Int(self.n)), ("name", text(&self.name)), ("sz", self.size.map_or(Value::Null, Value::Int))]
            .into_iter()
            .collect()
    }

    fn v2(&self, keys: Keys) -> Document {
        let loud = self.name.as_ref().map_or(Value::Null, |name| Value::text(name.chars().rev().collect::<String>()));
        [
            ("id", keys.forward(self.n).values()[0].clone()),
            ("name", text(&self.name)),
            ("size", self.size.map_or(Value::Null, Value::Int)),
            ("loud", loud),
        ]
        .into_iter()
        .collect()
    }
}

fn text(text: &Option<String>) -> Value {
    text.as_ref().map_or(Value::Null, |text| Value::text(text.as_str()))
}

struct Source(Keys);

impl Across for Source {
    fn path(&self, path: &Path) -> Option<Path> {
        match path.root() {
            "name" => Some(Path::field("name")),
            "size" => Some(Path::field("sz")),
            _ => None,
        }
    }

    fn key(&self, key: &Key) -> Option<Key> {
        self.0.back(key).map(Key::single)
    }

    fn keys_in_order(&self) -> bool {
        matches!(self.0, Keys::Offset)
    }
}

/// A store's list as the contract has it.
fn list(records: Vec<(Key, Document)>, query: &ListQuery) -> ListPage {
    let place = |key: &Key, record: &Document| sort_bytes_of(&query.order, key, record);
    let after = query.after.as_ref().map(|place| shearwater_core::query::sort_bytes(&query.order, place));
    let mut found: Vec<_> = records
        .into_iter()
        .filter(|(key, record)| {
            query.filter.matches(record) && after.as_ref().is_none_or(|after| place(key, record) > *after)
        })
        .collect();
    found.sort_by_key(|(key, record)| place(key, record));
    let more = found.len() > query.limit;
    found.truncate(query.limit);
    let fetched = |(key, record)| Fetched { key, image: Some(Image::of(record)), stamp: None, dirty: false };
    ListPage { records: found.into_iter().map(fetched).collect(), more }
}

fn read_source(ask: &Ask, people: &[Person], keys: Keys) -> Vec<Row<()>> {
    let mut reading = Reading::begin(ask, &Source(keys), Filter::All);
    while let Some(query) = reading.next() {
        let unmoved = people.iter().filter(|p| !p.moved).map(|p| (Key::single(p.n), p.v1())).collect();
        let page = list(unmoved, &query);
        for found in &page.records {
            let [Value::Int(n)] = found.key.values() else { panic!() };
            let person = people.iter().find(|p| p.n == *n).unwrap();
            reading.offer(keys.forward(*n), person.v2(keys), ());
        }
        let last = page.records.last().map(|f| (&f.key, &f.image.as_ref().unwrap().record));
        reading.turn(last, page.more);
    }
    reading.rows()
}

fn read_target(ask: &Ask, people: &[Person], keys: Keys) -> Vec<Row<()>> {
    let mut reading = Reading::begin(ask, &Same, Filter::All);
    while let Some(query) = reading.next() {
        let moved = people.iter().filter(|p| p.moved).map(|p| (keys.forward(p.n), p.v2(keys))).collect();
        let page = list(moved, &query);
        for found in &page.records {
            reading.offer(found.key.clone(), found.image.as_ref().unwrap().record.clone(), ());
        }
        let last = page.records.last().map(|f| (&f.key, &f.image.as_ref().unwrap().record));
        reading.turn(last, page.more);
    }
    reading.rows()
}

/// Which way records go while the list is walked.
#[derive(Clone, Copy, Debug)]
enum Going {
    ToTarget,
    Back,
}

/// In which order the two stores are read.
#[derive(Clone, Copy, Debug)]
enum Reads {
    /// The store that records leave first: the protocol.
    LeftFirst,
    /// The other one first (H10).
    JoinedFirst,
}

struct Walk {
    keys: Keys,
    going: Going,
    reads: Reads,
    /// Which record moves at each step: between the reads of a page, and between pages.
    moves: Vec<Vec<usize>>,
}

impl Walk {
    fn step(&self, people: &mut [Person], at: usize) {
        let count = people.len();
        for n in self.moves.get(at % self.moves.len().max(1)).into_iter().flatten() {
            if count > 0 {
                people[n % count].moved = matches!(self.going, Going::ToTarget);
            }
        }
    }

    fn pages(&self, mut people: Vec<Person>, ask: &Ask) -> Vec<Key> {
        let (mut seen, mut at, mut ask) = (Vec::new(), 0, ask.clone());
        loop {
            let source_first = matches!(
                (self.going, self.reads),
                (Going::ToTarget, Reads::LeftFirst) | (Going::Back, Reads::JoinedFirst)
            );
            let first = match source_first {
                true => read_source(&ask, &people, self.keys),
                false => read_target(&ask, &people, self.keys),
            };
            self.step(&mut people, at);
            let second = match source_first {
                true => read_target(&ask, &people, self.keys),
                false => read_source(&ask, &people, self.keys),
            };
            self.step(&mut people, at + 1);
            at += 2;
            let Page { rows, next } = merge(&ask.order, ask.limit, vec![first, second]);
            assert!(rows.len() <= ask.limit);
            seen.extend(rows.into_iter().map(|row| row.key));
            let Some(place) = next else { return seen };
            ask.after = Some(place);
            assert!(at < 2_000, "the walk does not end");
        }
    }
}

fn naive(people: &[Person], keys: Keys, ask: &Ask) -> Vec<Key> {
    let mut all: Vec<(Vec<u8>, Key)> = people
        .iter()
        .map(|p| (keys.forward(p.n), p.v2(keys)))
        .filter(|(_, record)| ask.filter.matches(record))
        .map(|(key, record)| (sort_bytes_of(&ask.order, &key, &record), key))
        .collect();
    all.sort();
    all.into_iter().map(|(_, key)| key).collect()
}

fn people() -> impl Strategy<Value = Vec<Person>> {
    let name = prop::option::weighted(0.8, prop::sample::select(vec!["a", "B", "b", "é", "z", "zz"]));
    let one = (name, prop::option::weighted(0.7, 0i64..4), any::<bool>());
    prop::collection::vec(one, 0..40).prop_map(|all| {
        let person = |(n, (name, size, moved)): (usize, (Option<&str>, Option<i64>, bool))| Person {
            n: n as i64,
            name: name.map(str::to_owned),
            size,
            moved,
        };
        all.into_iter().enumerate().map(person).collect()
    })
}

fn order() -> impl Strategy<Value = Vec<OrderTerm>> {
    let term = (prop::sample::select(vec!["id", "name", "size", "loud"]), any::<bool>(), any::<bool>(), any::<bool>());
    prop::collection::vec(term, 0..3).prop_map(|terms| {
        let term = |(name, descending, nulls_first, is_unicode)| OrderTerm {
            path: Path::field(name),
            descending,
            nulls_first,
            collation: if is_unicode { Collation::Unicode } else { Collation::Binary },
        };
        terms.into_iter().map(term).collect()
    })
}

fn filter() -> impl Strategy<Value = Filter> {
    let compare =
        |name: &str, op, value: Value| Filter::Compare { path: Path::field(name), op, literal: Literal::Typed(value) };
    prop::sample::select(vec![
        Filter::All,
        compare("size", CompareOp::Gte, Value::Int(1)),
        Filter::Not(Box::new(compare("name", CompareOp::Eq, "b".into()))),
        Filter::And(vec![compare("size", CompareOp::Lt, Value::Int(3)), compare("loud", CompareOp::Neq, "a".into())]),
        Filter::Or(vec![compare("size", CompareOp::Eq, Value::Int(2)), compare("loud", CompareOp::Eq, "zz".into())]),
    ])
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn a_walk_has_every_record_once_and_in_order_while_records_move(
        people in people(),
        order in order(),
        filter in filter(),
        limit in 1usize..8,
        is_prefix in any::<bool>(),
        is_back in any::<bool>(),
        moves in prop::collection::vec(prop::collection::vec(0usize..40, 0..4), 1..12),
    ) {
        let keys = if is_prefix { Keys::Prefix } else { Keys::Offset };
        let going = if is_back { Going::Back } else { Going::ToTarget };
        let ask = Ask { filter, order, after: None, limit };
        let walk = Walk { keys, going, reads: Reads::LeftFirst, moves };
        let expect = naive(&people, keys, &ask);
        prop_assert_eq!(walk.pages(people, &ask), expect);
    }
}

/// H10 without its protection: the store that records join is read first, and
/// one that moves between the two reads is in neither.
#[test]
fn h10_a_record_that_moves_is_lost_when_the_joined_store_is_read_first() {
    let person = |n| Person { n, name: Some("a".into()), size: None, moved: false };
    let ask = Ask { filter: Filter::All, order: vec![], after: None, limit: 10 };
    for going in [Going::ToTarget, Going::Back] {
        let mut people: Vec<Person> = (0..3).map(person).collect();
        people.iter_mut().for_each(|p| p.moved = matches!(going, Going::Back));
        let walk = |reads| Walk { keys: Keys::Prefix, going, reads, moves: vec![vec![1], vec![]] };
        assert_eq!(walk(Reads::LeftFirst).pages(people.clone(), &ask).len(), 3);
        assert_eq!(walk(Reads::JoinedFirst).pages(people, &ask).len(), 2, "the hole is there");
    }
}

/// Where the store's order is the list's, a page reads a page and no more,
/// however deep it is.
#[test]
fn an_exact_reading_asks_for_one_page_only() {
    let ask = |after| Ask { filter: Filter::All, order: vec![], after, limit: 5 };
    for after in [None, Some(90)] {
        let after = after.map(|n| shearwater_core::query::Keyset { values: vec![], key: Keys::Offset.forward(n) });
        let mut reading: Reading<()> = Reading::begin(&ask(after.clone()), &Source(Keys::Offset), Filter::All);
        assert!(reading.is_exact());
        let query = reading.next().unwrap();
        assert_eq!(query.limit, 6);
        assert_eq!(query.after.is_some(), after.is_some());
        for n in 0..6 {
            reading.offer(Keys::Offset.forward(100 + n), Document::new(), ());
        }
        reading.turn(Some((&Key::single(105i64), &Document::new())), true);
        assert!(reading.next().is_none());
        assert_eq!(reading.rows().len(), 6);
    }
}
