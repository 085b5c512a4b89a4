//! Lists against a naive evaluation in memory.

use std::sync::Arc;

use shearwater_core::path::Path;
use shearwater_core::query::{
    Collation, CompareOp, Filter, IsWhat, Keyset, ListQuery, Literal, OrderTerm, keyset_of, sort_bytes_of,
};
use shearwater_core::shape::FieldType;
use shearwater_core::store::{Change, Expect, Fetched, Image, Role, Store};
use shearwater_core::{Document, Key, Value};

use super::bench::{Bench, Flavour, Place, Random, doc, fence, holds, installed, key, layout, write_all};

/// Queries of one random check: enough to meet every kind of filter and order
/// together, few enough for a test.
const QUERIES: usize = 150;

const OPS: [CompareOp; 6] =
    [CompareOp::Eq, CompareOp::Neq, CompareOp::Gt, CompareOp::Gte, CompareOp::Lt, CompareOp::Lte];

/// A value that often equals another, and sorts badly when sorted as text.
fn value(random: &mut Random, field: &str) -> Value {
    let ints = [-10, -1, 0, 1, 2, 5, 10, 100];
    let texts = ["", "A", "B", "a", "aa", "b", "ä", "z", "10", "9", "\u{1F600}", "a\0"];
    let floats = [-0.0, 0.0, 1.0, 1.5, 10.0, f64::INFINITY, f64::NAN, -2.5];
    if random.below(5) == 0 {
        return Value::Null;
    }
    match field {
        "age" => Value::Int(*random.pick(&ints)),
        "score" => Value::Float(*random.pick(&floats)),
        "active" => Value::Bool(random.below(2) == 0),
        _ => Value::text(*random.pick(&texts)),
    }
}

fn random_record(random: &mut Random, bench: &dyn Bench, id: &str, n: usize) -> Document {
    let mut record = Document::new();
    record.set("id", id);
    // Unique in the rows layout.
    let email = if random.below(6) == 0 { Value::Null } else { Value::text(format!("{}{n}", random.below(3))) };
    record.set("email", email);
    for field in ["age", "score", "active"] {
        record.set(field, value(random, field));
    }
    let mut tag = value(random, "tag");
    if !holds(bench, Place::Column, FieldType::Text, &tag) {
        tag = Value::Null;
    }
    let mut element = doc(r#"{"tag":null,"marks":[]}"#);
    element.set("tag", tag);
    record.set("tags", Value::Array(vec![Value::Document(element); random.below(3)]));
    if bench.flavour() == Flavour::Document {
        // Documents may lack fields, and hold any type in them.
        for field in ["age", "score", "email"] {
            match random.below(8) {
                0 => drop(record.remove(field)),
                1 => {
                    let other = *random.pick(&["age", "score", "active", "tag"]);
                    record.set(field, value(random, other));
                }
                _ => {}
            }
        }
        for (_, value) in record.iter_mut() {
            if !holds(bench, Place::Column, FieldType::Json, value) {
                *value = Value::Null;
            }
        }
    }
    record
}

const PATHS: [&str; 7] = ["id", "email", "age", "score", "active", "tags[0].tag", "nothing"];

fn path(random: &mut Random) -> Path {
    Path::parse(PATHS[random.below(PATHS.len())]).unwrap()
}

fn literal(random: &mut Random) -> Literal {
    let field = *random.pick(&["age", "score", "active", "tag", "tag"]);
    let value = value(random, field);
    match value {
        Value::Null => Literal::Untyped((*random.pick(&["k5", "10", "9", "01", "1.0", "true", "NaN", ""])).to_owned()),
        Value::Text(text) if random.below(2) == 0 => Literal::Untyped(text),
        Value::Int(n) if random.below(2) == 0 => Literal::Untyped(n.to_string()),
        value => Literal::Typed(value),
    }
}

fn filter(random: &mut Random, depth: usize) -> Filter {
    let parts = |random: &mut Random| (0..random.below(3) + 1).map(|_| filter(random, depth - 1)).collect();
    match random.below(if depth == 0 { 4 } else { 9 }) {
        0 | 1 => {
            let (path, op) = (path(random), *random.pick(&OPS));
            Filter::Compare { path, op, literal: literal(random) }
        }
        2 => {
            let path = path(random);
            let literals = (0..random.below(4)).map(|_| literal(random)).collect();
            Filter::In { path, literals }
        }
        3 => {
            let what = *random.pick(&[IsWhat::Null, IsWhat::True, IsWhat::False]);
            Filter::Is { path: path(random), what }
        }
        4 => {
            let pattern = (*random.pick(&["%a%", "_", "1%", "%", "A"])).to_owned();
            Filter::Like { path: path(random), pattern, fold_case: random.below(2) == 0 }
        }
        5 => Filter::Not(Box::new(filter(random, depth - 1))),
        6 => Filter::And(parts(random)),
        7 => Filter::Or(parts(random)),
        _ => Filter::All,
    }
}

fn order(random: &mut Random) -> Vec<OrderTerm> {
    (0..random.below(3))
        .map(|_| OrderTerm {
            path: path(random),
            descending: random.below(2) == 0,
            nulls_first: random.below(2) == 0,
            collation: if random.below(4) == 0 { Collation::Unicode } else { Collation::Binary },
        })
        .collect()
}

async fn filled(bench: &dyn Bench, random: &mut Random, records: usize) -> (Arc<dyn Store>, Vec<(Key, Document)>) {
    let store = installed(bench, Role::Authority).await;
    let mut all = Vec::new();
    for n in 0..records {
        let id = format!("{}{n}", random.pick(&["k", "K", "", "ä"]));
        all.push((key(&id), random_record(random, bench, &id, n)));
    }
    let change = |(key, record): &(Key, Document)| Change {
        key: key.clone(),
        image: Some(Image::of(record.clone())),
        expect: Expect::Absent,
    };
    write_all(bench, &store, all.iter().map(change).collect()).await;
    (store, all)
}

/// The list as the definition says it.
fn naive<'a>(all: &'a [(Key, Document)], filter: &Filter, order: &[OrderTerm]) -> Vec<&'a (Key, Document)> {
    let mut matching: Vec<_> = all.iter().filter(|(_, record)| filter.matches(record)).collect();
    matching.sort_by_key(|(key, record)| sort_bytes_of(order, key, record));
    matching
}

fn pairs(records: &[Fetched]) -> Vec<(Key, Document)> {
    records.iter().map(|f| (f.key.clone(), f.image.clone().unwrap().record)).collect()
}

pub(super) async fn lists_agree_with_a_naive_evaluation(bench: &dyn Bench) {
    let seed = bench.seed();
    let random = &mut Random::new(seed);
    let (store, all) = filled(bench, random, 120).await;
    for n in 0..QUERIES {
        let (filter, order) = (filter(random, 2), order(random));
        let expected = naive(&all, &filter, &order);
        let after = match random.below(3) {
            0 => None,
            // A place of a record, which may match the filter or not.
            1 => Some(random.pick(&all)).map(|(key, record)| keyset_of(&order, key, record)),
            _ => Some(Keyset {
                values: order.iter().map(|_| value(random, "age")).collect(),
                key: Key::single(*random.pick(&["", "k3", "zz"])),
            }),
        };
        let place = after.as_ref().map(|after| shearwater_core::query::sort_bytes(&order, after));
        let expected: Vec<(Key, Document)> = expected
            .into_iter()
            .filter(|(key, record)| place.as_ref().is_none_or(|place| sort_bytes_of(&order, key, record) > *place))
            .cloned()
            .collect();
        let limit = random.below(30) + 1;
        let query = ListQuery { filter, order, after, limit };
        let page = store.list(&query).await.unwrap_or_else(|e| panic!("seed {seed}, query {n}: {query:?}: {e:?}"));
        let shown = expected.len().min(limit);
        assert_eq!(pairs(&page.records), expected[..shown], "seed {seed}, query {n}: {query:?}");
        assert_eq!(page.more, expected.len() > limit, "seed {seed}, query {n}: {query:?}");
        assert!(page.records.iter().all(|f| f.dirty && f.stamp.is_some()), "stamps come with the records");
    }
}

pub(super) async fn pages_join_without_repeats_or_gaps(bench: &dyn Bench) {
    let seed = bench.seed();
    let random = &mut Random::new(seed);
    let (store, all) = filled(bench, random, 90).await;
    for n in 0..20 {
        let order = order(random);
        let limit = random.below(20) + 1;
        let (mut found, mut after) = (Vec::new(), None);
        loop {
            let query = ListQuery { filter: Filter::All, order: order.clone(), after: after.clone(), limit };
            let page = store.list(&query).await.unwrap();
            let records = pairs(&page.records);
            after = records.last().map(|(key, record)| keyset_of(&order, key, record));
            found.extend(records);
            if !page.more {
                break;
            }
        }
        let expected: Vec<(Key, Document)> = naive(&all, &Filter::All, &order).into_iter().cloned().collect();
        assert_eq!(found, expected, "seed {seed}, walk {n}: {order:?}");
    }
}

pub(super) async fn lists_of_what_is_parked_agree_with_a_naive_evaluation(bench: &dyn Bench) {
    let seed = bench.seed();
    let random = &mut Random::new(seed);
    let store = bench.fresh(layout(bench.flavour())).await;
    store.install_for_parked(fence(Role::Authority, 1)).await.unwrap();
    let (mut changes, mut parked) = (Vec::new(), Vec::new());
    for n in 0..60 {
        let id = format!("{}{n}", random.pick(&["k", "K", "", "ä"]));
        let record = random_record(random, bench, &id, n);
        let mut image = Image::of(record.clone());
        if random.below(3) == 0 {
            image.parked = doc(r#"{"from":"elsewhere"}"#);
            parked.push((key(&id), record));
        }
        changes.push(Change { key: key(&id), image: Some(image), expect: Expect::Absent });
    }
    // What was parked and is no more, and what is gone, are not among them.
    changes.push(Change { image: None, expect: Expect::Present, ..changes[7].clone() });
    parked.retain(|(key, _)| *key != changes[7].key);
    let plain = changes[11].image.clone().map(|image| Image::of(image.record));
    changes.push(Change { image: plain, expect: Expect::Present, ..changes[11].clone() });
    parked.retain(|(key, _)| *key != changes[11].key);
    write_all(bench, &store, changes).await;
    for n in 0..40 {
        let (filter, order, limit) = (filter(random, 1), order(random), random.below(12) + 1);
        let (mut found, mut after) = (Vec::new(), None);
        loop {
            let query = ListQuery { filter: filter.clone(), order: order.clone(), after, limit };
            let page = store.list_parked(&query).await.unwrap();
            let records = pairs(&page.records);
            after = records.last().map(|(key, record)| keyset_of(&order, key, record));
            let beside = page.records.iter().map(|fetched| !fetched.image.as_ref().unwrap().parked.is_empty());
            // A store may answer others too; whoever asks looks.
            found.extend(records.into_iter().zip(beside).filter_map(|(record, is_parked)| is_parked.then_some(record)));
            if !page.more {
                break;
            }
        }
        let expected: Vec<(Key, Document)> = naive(&parked, &filter, &order).into_iter().cloned().collect();
        assert_eq!(found, expected, "seed {seed}, walk {n}: {filter:?} {order:?}");
    }
}
