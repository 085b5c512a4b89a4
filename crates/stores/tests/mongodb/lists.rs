//! Lists along indexes: the same pages as the general way gives, read for less.

use mongodb::bson::oid::ObjectId;
use mongodb::bson::spec::BinarySubtype;
use mongodb::bson::{Binary, Bson, DateTime, Decimal128, Document as Bsons, RawDocumentBuf, Timestamp, Uuid, doc};
use mongodb::options::IndexOptions;
use mongodb::{Collection, IndexModel};
use shearwater_core::path::Path;
use shearwater_core::query::{
    CompareOp, Filter, IsWhat, Keyset, ListQuery, Literal, OrderTerm, keyset_of, sort_bytes, sort_bytes_of,
};
use shearwater_core::store::*;
use shearwater_core::{Document, Key, Value};
use shearwater_stores::conformance::Random;
use shearwater_testbed::mongodb;

use crate::inputs;
use crate::place::*;

/// Records in one round: more than one page of any size below.
const RECORDS: usize = 90;

/// Queries of one round, each walked from its beginning to its end.
const WALKS: usize = 6;

fn decimal(text: &str) -> Bson {
    text.parse::<Decimal128>().unwrap().into()
}

fn binary(subtype: BinarySubtype, bytes: &[u8]) -> Bson {
    Binary { subtype, bytes: bytes.to_vec() }.into()
}

/// Values that stand in brackets: few of each, so that there are runs of one value.
fn tame(random: &mut Random) -> Bson {
    let n = random.below(4) as i32 - 1;
    match random.below(14) {
        0 => Bson::Null,
        1 => (n > 0).into(),
        2 | 3 => n.into(),
        4 => i64::from(n).into(),
        5 => (*random.pick(&[-0.0, 0.0, 1.0, 1.5, f64::NEG_INFINITY, f64::INFINITY])).into(),
        6 => (*random.pick(&[f64::NAN, -f64::NAN, 9_007_199_254_740_992.0])).into(),
        7 => (*random.pick(&[i64::MIN, i64::MAX, 9_007_199_254_740_993])).into(),
        8 => decimal(random.pick::<&str>(&[
            "1",
            "1.0",
            "1.00",
            "0",
            "-0",
            "0.0",
            "NaN",
            "Infinity",
            "-Infinity",
            "1.5",
            "0.1",
        ])),
        9 | 10 => (*random.pick(&["", "a", "A", "ä", "a\0", "a\u{1F600}", "1", "true", "b"])).into(),
        11 => DateTime::from_millis([0, -1, 1_704_067_200_000, i64::MAX / 1_000][random.below(4)]).into(),
        12 => Uuid::from_bytes([random.below(3) as u8 * 0x7f; 16]).into(),
        _ => ObjectId::from_bytes([random.below(3) as u8 * 0x7f; 12]).into(),
    }
}

/// Values that an index has among others, where they do not belong.
fn hidden(random: &mut Random) -> Bson {
    match random.below(3) {
        0 => Bson::Symbol((*random.pick(&["a", "zz", ""])).to_owned()),
        1 => Decimal128::from_bytes([0xff; 16]).into(),
        // A coefficient that is too large: zero to MongoDB.
        _ => Decimal128::from_bytes((3u128 << 125).to_le_bytes()).into(),
    }
}

/// Values that an index has in an order of its own.
fn wild(random: &mut Random) -> Bson {
    match random.below(10) {
        0 => vec![Bson::from(1), "a".into()].into(),
        1 => doc! { "@instant": "1970-01-01T00:00:00.000001Z" }.into(),
        2 => doc! { "a": 1 }.into(),
        3 => binary(BinarySubtype::Generic, b"ab"),
        4 => binary(BinarySubtype::Uuid, b"short"),
        5 => hidden(random),
        6 => DateTime::from_millis(*random.pick(&[i64::MAX, i64::MIN])).into(),
        7 => Timestamp { time: 1, increment: 1 }.into(),
        8 => Bson::Undefined,
        _ => random.pick(&[Bson::MinKey, Bson::MaxKey]).clone(),
    }
}

fn id(random: &mut Random, kind: usize, n: usize) -> Bson {
    let turned = (n * 37 % RECORDS) as i32;
    match kind {
        0 => format!("{}{turned}", random.pick(&["k", "K", "ä"])).into(),
        1 => match random.below(3) {
            0 => turned.into(),
            1 => f64::from(turned).into(),
            _ => decimal(&turned.to_string()),
        },
        2 => ObjectId::from_bytes([turned as u8; 12]).into(),
        3 => match n % 7 {
            0 => doc! { "a": turned }.into(),
            1 => Timestamp { time: 1, increment: turned as u32 }.into(),
            _ => format!("k{turned}").into(),
        },
        _ => match random.below(3) {
            0 => turned.into(),
            1 => DateTime::from_millis(i64::from(turned)).into(),
            _ => format!("k{turned}").into(),
        },
    }
}

/// What may be among the values, besides tame ones.
type Others = Option<fn(&mut Random) -> Bson>;

async fn fill(direct: &Collection<Bsons>, random: &mut Random, kind: usize, others: Others) {
    let mut all = Vec::new();
    for n in 0..RECORDS {
        let mut one = doc! { "_id": id(random, kind, n) };
        let value = match others {
            Some(others) if random.below(20) == 0 => others(random),
            _ => tame(random),
        };
        if random.below(10) > 0 {
            one.insert("v", value);
        }
        one.insert("w", random.below(3) as i32);
        all.push(RawDocumentBuf::try_from(&one).unwrap());
    }
    direct.clone_with_type::<RawDocumentBuf>().insert_many(all).await.unwrap();
}

async fn index(direct: &Collection<Bsons>, keys: Bsons, options: IndexOptions) {
    direct.create_index(IndexModel::builder().keys(keys).options(options).build()).await.unwrap();
}

fn filter(random: &mut Random, all: &[(Key, Document)]) -> Filter {
    let (v, w) = (Path::field("v"), Path::field("w"));
    let texts = [
        "1",
        "0",
        "0.1",
        "1.5",
        "-1",
        "NaN",
        "1e400",
        "a",
        "",
        "true",
        "1970-01-01T00:00:00Z",
        "1970-01-01T00:00:00.000001Z",
        "7f7f7f7f7f7f7f7f7f7f7f7f",
        "7f7f7f7f-7f7f-7f7f-7f7f-7f7f7f7f7f7f",
        "[1,\"a\"]",
        "YWI=",
        "9223372036854775807",
    ];
    let ops = [CompareOp::Eq, CompareOp::Neq, CompareOp::Gt, CompareOp::Gte, CompareOp::Lt, CompareOp::Lte];
    let text = |random: &mut Random| Literal::Untyped((*random.pick(&texts)).to_owned());
    let typed = |random: &mut Random| Literal::Typed(random.pick(all).1.get("v").cloned().unwrap_or_else(|| 1.into()));
    match random.below(8) {
        0 | 1 => Filter::All,
        2 | 3 => Filter::Compare { path: v, op: *random.pick(&ops), literal: text(random) },
        4 => Filter::Compare { path: v, op: *random.pick(&ops), literal: typed(random) },
        5 => Filter::In { path: v, literals: (0..random.below(3)).map(|_| text(random)).collect() },
        6 => Filter::Is { path: v, what: *random.pick(&[IsWhat::Null, IsWhat::True, IsWhat::False]) },
        _ => Filter::And(vec![
            Filter::Compare { path: v, op: *random.pick(&ops), literal: text(random) },
            Filter::Compare { path: w, op: CompareOp::Eq, literal: Literal::Untyped(random.below(3).to_string()) },
        ]),
    }
}

fn order(random: &mut Random) -> Vec<OrderTerm> {
    let (descending, nulls_first) = (random.below(2) == 0, random.below(2) == 0);
    match random.below(6) {
        0 => vec![],
        1 => vec![OrderTerm { descending, nulls_first, ..OrderTerm::by(Path::field("_id")) }],
        _ => vec![OrderTerm { descending, nulls_first, ..OrderTerm::by(Path::field("v")) }],
    }
}

/// A key of a record, or one that is equal to it for MongoDB, or of another type.
fn some_key(random: &mut Random, all: &[(Key, Document)]) -> Key {
    match (random.below(4), random.pick(all).0.values()) {
        (0, [Value::Int(n)]) => Key::single(*n as f64),
        (0, [Value::Float(x)]) => Key::single(*x as i64),
        (1, _) => Key::single(*random.pick(&["", "k5", "zz"])),
        (2, _) => Key::single(random.below(RECORDS) as i64),
        (_, values) => Key::composite(values.to_vec()),
    }
}

async fn everything(store: &dyn Store) -> Vec<(Key, Document)> {
    let all = ScanRange { id: 0, low: None, high: None };
    let chunk = store.scan(&all, None, ChunkMax { records: 10 * RECORDS, bytes: 1 << 24 }).await.unwrap();
    chunk.records.into_iter().map(|one| one.unwrap()).map(|one| (one.key, one.image.unwrap().record)).collect()
}

/// Every page of a list from its beginning.
async fn walk(store: &dyn Store, query: &ListQuery) -> Vec<Key> {
    let (mut found, mut after) = (Vec::new(), None);
    loop {
        let page = store.list(&ListQuery { after, ..query.clone() }).await.unwrap();
        assert!(page.records.len() == query.limit || !page.more);
        let last = page.records.last().filter(|_| page.more);
        after = last.map(|last| keyset_of(&query.order, &last.key, &last.image.as_ref().unwrap().record));
        found.extend(page.records.into_iter().map(|one| one.key));
        if after.is_none() {
            return found;
        }
    }
}

/// Generated documents of all types, in every order, with and without an index
/// and with what no index gives in order: always the list as it is defined.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pages_along_an_index_are_those_of_the_definition() {
    let seed = inputs::seed();
    let random = &mut Random::new(seed);
    let (mut along, mut otherwise) = (0, 0);
    for round in 0..24 {
        let place = Place::bare(mongodb()).await;
        let direct = place.direct().await;
        let kind = random.below(5);
        let pools: [Others; 4] = [None, None, Some(hidden), Some(wild)];
        let others = *random.pick(&pools);
        fill(&direct, random, kind, others).await;
        let all = everything(place.store.as_ref()).await;
        let signs = [(1, 1), (1, -1), (-1, 1), (-1, -1), (0, 0)][round % 5];
        if signs != (0, 0) {
            index(&direct, doc! { "v": signs.0, "_id": signs.1 }, IndexOptions::default()).await;
        }
        if random.below(3) == 0 {
            index(&direct, doc! { "w": 1 }, IndexOptions::default()).await;
        }
        for _ in 0..WALKS {
            let (filter, order, limit) = (filter(random, &all), order(random), *random.pick(&[2, 5, 9, 40, 100]));
            let query = ListQuery { filter, order, after: None, limit };
            let plan = place.store.explain(&query, Among::All).await.unwrap().unwrap();
            *(if plan.reads == Reads::Page { &mut along } else { &mut otherwise }) += 1;
            let mut expected: Vec<&(Key, Document)> =
                all.iter().filter(|(_, record)| query.filter.matches(record)).collect();
            expected.sort_by_key(|(key, record)| sort_bytes_of(&query.order, key, record));
            let expected: Vec<Key> = expected.into_iter().map(|(key, _)| key.clone()).collect();
            let found = walk(place.store.as_ref(), &query).await;
            assert_eq!(found, expected, "seed {seed}, round {round}: {signs:?} {plan:?} {query:?}");
            // From a place where no record is: a value of one, a key like those of others.
            let (values, key) =
                (keyset_of(&query.order, &all[0].0, &random.pick(&all).1).values, some_key(random, &all));
            let by_key = query.order.first().is_some_and(|term| term.path == Path::field("_id"));
            let values = if by_key { key.values().to_vec() } else { values };
            let query = ListQuery { after: Some(Keyset { values, key }), limit: 7, ..query };
            let after = sort_bytes(&query.order, query.after.as_ref().unwrap());
            let mut expected: Vec<&(Key, Document)> =
                all.iter().filter(|(_, record)| query.filter.matches(record)).collect();
            expected.retain(|(key, record)| sort_bytes_of(&query.order, key, record) > after);
            expected.sort_by_key(|(key, record)| sort_bytes_of(&query.order, key, record));
            let page = place.store.list(&query).await.unwrap();
            let found: Vec<&Key> = page.records.iter().map(|one| &one.key).collect();
            let shown: Vec<&Key> = expected.iter().take(7).map(|(key, _)| key).collect();
            assert_eq!(found, shown, "seed {seed}, round {round}: {signs:?} {plan:?} {query:?}");
            assert_eq!(page.more, expected.len() > 7, "seed {seed}, round {round}: {query:?}");
        }
    }
    assert!(along > 5 && otherwise > 5, "{along} along an index, {otherwise} not");
}

/// What the server says that it read for each `find` on the users since the profiler was on.
async fn examined(direct: &Collection<Bsons>, database: &mongodb::Database) -> Vec<i64> {
    database.run_command(doc! { "profile": 0 }).await.unwrap();
    let profile = database.collection::<Bsons>("system.profile");
    let mut cursor = profile.find(doc! { "ns": direct.namespace().to_string() }).await.unwrap();
    let mut all = Vec::new();
    while cursor.advance().await.unwrap() {
        let one = cursor.deserialize_current().unwrap();
        all.push(one.get("docsExamined").map_or(0, |n| n.as_i32().map_or_else(|| n.as_i64().unwrap(), i64::from)));
    }
    profile.drop().await.unwrap();
    all
}

/// A page deep in a list reads what its first page does: about as many documents
/// as it has, in both directions, between unique values and within one that all have.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_reads_about_as_much_as_it_has_wherever_it_is() {
    const PEOPLE: i32 = 3_000;
    const LIMIT: usize = 20;
    let place = Place::bare(mongodb()).await;
    let direct = place.direct().await;
    let database =
        direct.client().default_database().unwrap_or_else(|| direct.client().database(&direct.namespace().db));
    let person = |n: i32| {
        let at = DateTime::from_millis(i64::from(n * 7_919 % PEOPLE) * 1_000);
        // Few of each, and numbers of two types that are equal to MongoDB.
        let (city, mixed) = (format!("c{}", n % 300), n % 1_000);
        let mixed = if n % 2 == 0 { Bson::from(mixed) } else { f64::from(mixed).into() };
        doc! {
            "_id": n * 31 % PEOPLE, "n": n * 7_919 % PEOPLE, "name": format!("n{:05}", n * 17 % PEOPLE), "at": at,
            "same": 5, "city": city, "mixed": mixed,
        }
    };
    direct.insert_many((0..PEOPLE).map(person)).await.unwrap();
    for field in ["n", "name", "at", "same", "city", "mixed"] {
        index(&direct, doc! { field: 1, "_id": 1 }, IndexOptions::default()).await;
    }
    for field in ["name", "city"] {
        let (name, none) = (format!("{field} that are symbols"), doc! { field: { "$type": "symbol" } });
        let options = IndexOptions::builder().name(name).partial_filter_expression(none).build();
        index(&direct, doc! { field: 1 }, options).await;
    }
    for name in ["_id", "n", "name", "at", "same", "city", "mixed"] {
        for descending in [false, true] {
            let order = vec![OrderTerm { descending, ..OrderTerm::by(Path::field(name)) }];
            let mut query = ListQuery { filter: Filter::All, order, after: None, limit: LIMIT };
            for depth in 0..3 {
                database.run_command(doc! { "profile": 2 }).await.unwrap();
                let page = place.store.list(&query).await.unwrap();
                let read: i64 = examined(&direct, &database).await.into_iter().sum();
                assert_eq!((page.records.len(), page.more), (LIMIT, true), "{name} {descending} {depth}");
                // Falling, numbers of other types come first among equal ones: there are none.
                let looked_through = if name == "same" && descending && depth == 0 { 2 * i64::from(PEOPLE) } else { 0 };
                let bound = looked_through + 4 * LIMIT as i64;
                assert!(read <= bound, "{name} {descending} {depth}: {read} documents for {LIMIT}");
                // Far on: the last record of a page of many.
                let far = ListQuery { limit: 900, ..query.clone() };
                let last = place.store.list(&far).await.unwrap().records.pop().unwrap();
                query.after = Some(keyset_of(&query.order, &last.key, &last.image.unwrap().record));
            }
        }
    }
    // A range begins where it begins.
    let literal = Literal::Untyped("2900".to_owned());
    let filter = Filter::Compare { path: Path::field("n"), op: CompareOp::Gte, literal };
    let query = ListQuery { filter, order: vec![OrderTerm::by(Path::field("n"))], after: None, limit: LIMIT };
    database.run_command(doc! { "profile": 2 }).await.unwrap();
    let page = place.store.list(&query).await.unwrap();
    let read: i64 = examined(&direct, &database).await.into_iter().sum();
    assert_eq!(page.records[0].image.as_ref().unwrap().record.get("n"), Some(&2_900i64.into()));
    assert!(read <= 4 * LIMIT as i64, "{read} documents for a range");
    // And equality finds what it asks for, in an order that has no index.
    let path = Path::field("name");
    let filter = Filter::Compare { path, op: CompareOp::Eq, literal: Literal::Untyped("n00170".to_owned()) };
    let query = ListQuery { filter, order: vec![OrderTerm::by(Path::field("other"))], after: None, limit: LIMIT };
    database.run_command(doc! { "profile": 2 }).await.unwrap();
    let page = place.store.list(&query).await.unwrap();
    let read: i64 = examined(&direct, &database).await.into_iter().sum();
    assert!(page.records.len() == 1 && read <= 5, "{} of {read} documents", page.records.len());
}

/// What a plan tells of orders: the index that one needs, and those that no index gives.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_order_without_an_index_names_the_one_it_needs() {
    let place = Place::bare(mongodb()).await;
    let direct = place.direct().await;
    direct.insert_many((0..9).map(|n| doc! { "_id": n, "email": format!("{n}@x") })).await.unwrap();
    let plan = async |name: &str, descending: bool| {
        let order = vec![OrderTerm { descending, ..OrderTerm::by(Path::field(name)) }];
        let query = ListQuery { filter: Filter::All, order, after: None, limit: 5 };
        place.store.explain(&query, Among::All).await.unwrap().unwrap()
    };
    assert_eq!(plan("_id", true).await.reads, Reads::Page);
    let lacks = plan("email", false).await;
    let create = r#"db.getCollection("users").createIndex({"email": 1, "_id": 1})"#;
    assert_eq!((lacks.reads, lacks.index.as_deref()), (Reads::Everything, Some(create)));
    // One that is not enough.
    index(&direct, doc! { "email": 1 }, IndexOptions::default()).await;
    index(&direct, doc! { "email": 1, "_id": 1 }, IndexOptions::builder().sparse(true).build()).await;
    assert_eq!(plan("email", false).await.index.as_deref(), Some(create));
    direct.drop_index("email_1__id_1").await.unwrap();
    index(&direct, doc! { "email": 1, "_id": 1 }, IndexOptions::default()).await;
    let rising = plan("email", false).await;
    assert_eq!((rising.reads, rising.index), (Reads::Page, None));
    let falling = plan("email", true).await;
    assert!(falling.reads == Reads::Everything && falling.index.as_ref().unwrap().contains("symbol"), "{falling:?}");
    let symbols = IndexOptions::builder()
        .name("email that are symbols".to_owned())
        .partial_filter_expression(doc! { "email": { "$type": "symbol" } })
        .build();
    direct.drop_index("email_1").await.unwrap();
    index(&direct, doc! { "email": 1 }, symbols).await;
    assert_eq!(plan("email", true).await.reads, Reads::Page);
    // An array makes it useless for this.
    direct.insert_one(doc! { "_id": 10, "email": ["a", "b"] }).await.unwrap();
    let arrays = plan("email", false).await;
    assert!(arrays.reads == Reads::Everything && arrays.index.is_none(), "{arrays:?}");
}

/// Where the collection compares texts otherwise than by their bytes, the server
/// decides nothing by its own order.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_collation_of_the_collection_is_not_taken_for_the_order() {
    let place = Place::bare(mongodb()).await;
    let direct = place.direct().await;
    direct.drop().await.unwrap();
    let collation = doc! { "locale": "en", "strength": 1 };
    mongodb().run(&place.url, doc! { "create": "users", "collation": collation });
    let texts = ["b", "A", "a", "B", "ä", "Z"];
    direct.insert_many(texts.iter().enumerate().map(|(n, text)| doc! { "_id": n as i32, "v": *text })).await.unwrap();
    index(&direct, doc! { "v": 1, "_id": 1 }, IndexOptions::default()).await;
    let literal = Literal::Untyped("A".to_owned());
    let filter = Filter::Compare { path: Path::field("v"), op: CompareOp::Gt, literal };
    let query = ListQuery { filter, order: vec![OrderTerm::by(Path::field("v"))], after: None, limit: 4 };
    let plan = place.store.explain(&query, Among::All).await.unwrap().unwrap();
    assert!(plan.reads == Reads::Everything && plan.index.is_none(), "{plan:?}");
    let found = walk(place.store.as_ref(), &query).await;
    assert_eq!(found, [3i64, 5, 2, 0, 4].map(Key::single), "B, Z, a, b, ä");
}
