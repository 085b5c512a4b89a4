//! A new required field in a table of DynamoDB: the store enforces nothing, so
//! what is shown is that the backfill fills each item once, leaves what somebody
//! chose, and that nothing of ours is left on the way back and at the end.

use std::sync::Arc;

use aws_sdk_dynamodb::types::AttributeValue;
use shearwater_core::error::{StoreErrorKind, StoreResult};
use shearwater_core::evolve::*;
use shearwater_core::fill::Fill;
use shearwater_core::shape::{DocumentLayout, FieldType, Layout};
use shearwater_core::store::*;
use shearwater_core::value::json;
use shearwater_core::{Document, Key, Value};
use shearwater_stores::Create;
use shearwater_stores::outsider::Collection;

use crate::direct::Direct;
use crate::place::{PATIENCE, require_spec};
use crate::proxy::{Fault, Gate, Proxy};

const BY_ACTIVITY: &str = "{ sql = '''CASE WHEN active THEN 'ACTIVE' ELSE 'INACTIVE' END''' }";
const ITEMS: usize = 120;

struct Place {
    url: String,
    store: Arc<dyn Store>,
}

impl Place {
    async fn new() -> Place {
        let url = shearwater_testbed::dynamodb().database("evolve");
        let layout = DocumentLayout { table: "users".into(), key: vec!["id".into()], document: "doc".into() };
        let store = shearwater_stores::open(&url, Layout::Document(layout), Create::IfMissing).await.unwrap();
        store.provision().await.unwrap();
        let place = Place { url, store };
        for n in 0..ITEMS {
            // Every third is not in the order in which the store keeps fields, so it holds our note of that.
            let text = match n % 3 {
                0 => format!(r#"{{"id":"u{n}","name":"n","active":{},"at":1.5}}"#, n % 2 == 0),
                _ => format!(r#"{{"active":{},"id":"u{n}","name":"n"}}"#, n % 2 == 0),
            };
            place.put(&format!("u{n}"), &text).await;
        }
        place
    }

    async fn put(&self, id: &str, text: &str) {
        let image = Some(Image::of(json::parse_document(text.as_bytes()).unwrap()));
        let change = Change { key: Key::single(id), image, expect: Expect::Any };
        self.store.write(Write { epoch: None, changes: vec![change], idempotency: None }).await.unwrap();
    }

    async fn record(&self, id: &str) -> Document {
        self.store.fetch(&Key::single(id)).await.unwrap().image.unwrap().record
    }

    async fn records(&self) -> Vec<(Key, Document)> {
        let mut all = Vec::new();
        for range in self.store.split(1).await.unwrap() {
            let mut after = None;
            loop {
                let max = ChunkMax { records: 100, bytes: 1 << 20 };
                let chunk = self.store.scan(&range, after.as_ref(), max).await.unwrap();
                all.extend(chunk.records.into_iter().map(|found| {
                    let found = found.unwrap();
                    (found.key, found.image.unwrap().record)
                }));
                after = chunk.next;
                if after.is_none() {
                    break;
                }
            }
        }
        all.sort_by_key(|(key, _)| key.to_text());
        all
    }

    async fn tables(&self) -> Vec<String> {
        let (table, key, document) = ("users".to_owned(), "id".to_owned(), "doc".to_owned());
        let open = shearwater_stores::open_outsider(&self.url, Collection { table, key, document });
        open.await.unwrap().tables().await.unwrap()
    }

    async fn wanting(&self, value: &str) -> (Arc<dyn Evolve>, Fill) {
        wanting_at(&self.url, value).await
    }
}

async fn wanting_at(url: &str, value: &str) -> (Arc<dyn Evolve>, Fill) {
    wanting_of(url, "text", value).await.unwrap()
}

/// For a field of a type, or why it is refused.
async fn wanting_of(url: &str, ty: &str, value: &str) -> StoreResult<(Arc<dyn Evolve>, Fill)> {
    let spec = require_spec("url = \"dynamodb:?region=x\"\ntable = \"users\"\nkey = \"id\"", "status", ty, value);
    let fill = Fill::of_documents(&spec.field, &["id".to_owned()]).unwrap();
    let wanted = Wanted {
        table: "users".into(),
        key: vec![("id".into(), FieldType::Json)],
        column: "status".into(),
        native: None,
        fill: fill.clone(),
    };
    Ok((shearwater_stores::open_evolve(url, wanted).await?, fill))
}

async fn stage(evolve: &dyn Evolve, stage: Stage) {
    for what in evolve.alterations(stage) {
        for _ in 0..2 {
            let tried = evolve.try_to(what, PATIENCE, 1_000).await.unwrap();
            assert!(matches!(tried, Try::Made { .. }), "{what:?}: {tried:?}");
        }
    }
}

async fn backfill(evolve: &dyn Evolve, run: &str, items_max: u64) -> u64 {
    let mut filled = 0;
    for range in evolve.fill_ranges(8).await.unwrap() {
        let mut at = FillCheckpoint { range: range.id, ..FillCheckpoint::default() };
        while !at.done {
            // As a process that goes on where another was killed, after a batch that is repeated.
            evolve.fill(run, &range, &at, items_max).await.unwrap();
            let again = evolve.fill(run, &range, &at, items_max).await.unwrap();
            assert_eq!(again.filled, at.filled, "it skips what is filled");
            at = evolve.fill_checkpoints(run).await.unwrap().pop().unwrap();
            assert_eq!(at, again);
        }
        filled += at.filled;
    }
    assert_eq!(filled, 0, "each batch was repeated, so the last count of each is none");
    evolve.count_missing().await.unwrap()
}

#[tokio::test]
async fn a_field_lives_there_and_back_and_the_gateway_alone_enforces_it() {
    let place = Place::new().await;
    let (tables, before) = (place.tables().await, place.records().await);
    let (evolve, fill) = place.wanting(BY_ACTIVITY).await;
    let told = evolve.hazards().await.unwrap().join("\n");
    assert!(told.contains("DynamoDB cannot enforce") && evolve.enforcer() == Enforcer::Gateway, "{told}");
    for round in 0..2 {
        stage(&*evolve, Stage::Expand).await;
        let chosen = r#"{"id":"u1","name":"n","active":false,"status":"CHOSEN"}"#;
        place.put("u1", chosen).await;
        assert_eq!(evolve.count_missing().await.unwrap(), ITEMS as u64 - 1);
        let range = evolve.fill_ranges(1).await.unwrap().remove(0);
        let first = evolve.fill("first", &range, &FillCheckpoint::default(), 50).await.unwrap();
        assert!(first.filled >= 49 && !first.done, "{first:?}");
        assert_eq!(backfill(&*evolve, &format!("run{round}"), 37).await, 0);
        for (key, record) in place.records().await {
            let expected = if key == Key::single("u1") { Value::text("CHOSEN") } else { fill.value(&record).unwrap() };
            assert_eq!(record.get("status"), Some(&expected), "{key:?}");
        }
        assert_eq!(place.record("u0").await.get("at"), before[0].1.get("at"), "what the store lacks a type for stays");
        stage(&*evolve, Stage::Enforce).await;
        place.put("late", r#"{"id":"late"}"#).await;
        let tried = evolve.try_to(Alteration::ValidateCheck, PATIENCE, 1_000).await.unwrap();
        assert_eq!(tried, Try::Violated(vec![Key::single("late")]), "it is named; the store has taken it");
        let gone = Change { key: Key::single("late"), image: None, expect: Expect::Any };
        place.store.write(Write { epoch: None, changes: vec![gone], idempotency: None }).await.unwrap();
        stage(&*evolve, Stage::Back).await;
        assert_eq!(evolve.count_chosen().await.unwrap(), 1);
        stage(&*evolve, Stage::Remove).await;
        place.put("u1", r#"{"active":false,"id":"u1","name":"n"}"#).await;
        assert_eq!((place.tables().await, place.records().await), (tables.clone(), before.clone()));
    }
    stage(&*evolve, Stage::Expand).await;
    backfill(&*evolve, "last", 1_000).await;
    for last in [Stage::Enforce, Stage::Contract, Stage::Complete] {
        stage(&*evolve, last).await;
    }
    assert_eq!(place.tables().await, tables, "nothing of ours is left");
}

#[tokio::test]
async fn what_some_items_have_already_stays_and_what_the_fill_does_not_take_is_named() {
    let place = Place::new().await;
    place.put("u1", r#"{"id":"u1","name":"n","active":false,"status":"MINE"}"#).await;
    place.put("u2", r#"{"id":"u2","name":"n","active":true,"status":null}"#).await;
    let (evolve, _) = place.wanting(BY_ACTIVITY).await;
    stage(&*evolve, Stage::Expand).await;
    assert_eq!(backfill(&*evolve, "r", 1_000).await, 0);
    assert_eq!(place.record("u1").await.get("status"), Some(&Value::text("MINE")));
    assert_eq!(place.record("u2").await.get("status"), Some(&Value::text("ACTIVE")), "a null is no value");
    stage(&*evolve, Stage::Remove).await;
    assert_eq!(place.record("u1").await.get("status"), Some(&Value::text("MINE")), "nobody knows whose the others are");
    place.put("odd", r#"{"id":"odd","active":"yes"}"#).await;
    stage(&*evolve, Stage::Expand).await;
    let range = evolve.fill_ranges(1).await.unwrap().remove(0);
    let refused = evolve.fill("odd", &range, &FillCheckpoint::default(), 1_000).await.unwrap_err();
    assert!(matches!(refused.kind, StoreErrorKind::Refused { .. }), "{refused}");
    assert!(refused.message.contains("odd") && !refused.message.contains("yes"), "{refused}");
}

/// What the fill has read is not what stands there when it writes: an item whose
/// value would be another one by now, that has got one, or that is gone, is left.
#[tokio::test]
async fn what_was_written_while_the_fill_was_on_its_way_stays() {
    let place = Place::new().await;
    let proxy = Proxy::before(&place.url).await;
    let (evolve, fill) = wanting_at(&proxy.url, BY_ACTIVITY).await;
    stage(&*evolve, Stage::Expand).await;
    let gate = Gate::default();
    proxy.next("Scan", 1, Fault::Late(gate.clone()));
    let range = evolve.fill_ranges(1).await.unwrap().remove(0);
    let filling = {
        let (evolve, range) = (evolve.clone(), range.clone());
        tokio::spawn(async move { evolve.fill("race", &range, &FillCheckpoint::default(), 1_000).await.unwrap() })
    };
    gate.reached.notified().await;
    // Two whose fields are noted in our attribute, and two that are plain items.
    place.put("u0", r#"{"id":"u0","name":"n","active":false,"at":1.5}"#).await;
    place.put("u1", r#"{"active":true,"id":"u1","name":"n"}"#).await;
    place.put("u3", r#"{"id":"u3","name":"n","active":false,"at":1.5,"status":"MINE"}"#).await;
    place.put("u4", r#"{"active":true,"id":"u4","name":"n","status":"MINE"}"#).await;
    for id in ["u6", "u7"] {
        let gone = Change { key: Key::single(id), image: None, expect: Expect::Any };
        place.store.write(Write { epoch: None, changes: vec![gone], idempotency: None }).await.unwrap();
    }
    // And one to which a program adds a field that nobody has read.
    let direct = Direct::connect(&place.url);
    direct.set("users", "id", "u9", "extra", AttributeValue::S("kept".into())).await;
    gate.opened.notify_one();
    let done = filling.await.unwrap();
    assert_eq!((done.read, done.filled), (ITEMS as u64, ITEMS as u64 - 6));
    let status = async |id: &str| place.record(id).await.remove("status");
    assert_eq!((status("u0").await, status("u1").await), (None, None));
    assert_eq!((status("u3").await, status("u4").await), (Some("MINE".into()), Some("MINE".into())));
    let added = direct.get("users", "id", "u9").await.unwrap();
    assert_eq!(added["extra"], AttributeValue::S("kept".into()), "what was added stays");
    assert!(added.contains_key("status"), "{added:?}");
    assert_eq!(place.records().await.len(), ITEMS - 2, "none comes back");
    let missing = evolve.try_to(Alteration::ValidateCheck, PATIENCE, 1_000).await.unwrap();
    assert!(matches!(&missing, Try::Violated(keys) if keys.len() == 2), "{missing:?}");
    assert_eq!(backfill(&*evolve, "again", 1_000).await, 0);
    for id in ["u0", "u1"] {
        let record = place.record(id).await;
        assert_eq!(record.get("status"), Some(&fill.value(&record).unwrap()), "{id}");
    }
}

#[tokio::test]
async fn fields_of_other_types_are_filled_exactly_or_refused_by_name() {
    let place = Place::new().await;
    for (ty, value) in [
        ("int", "{ sql = '''length(name) + 9223372036854775807''', fallback = -1 }"),
        ("bool", "{ sql = '''CAST(name AS bool)''', fallback = true }"),
        ("text n m", "{ sql = '''name''', fallback = \"m\" }"),
        ("bytes", "\"AP8=\""),
        ("json", "[{ a = 1 }, \"x\", true]"),
    ] {
        let (evolve, fill) = wanting_of(&place.url, ty, value).await.unwrap();
        stage(&*evolve, Stage::Expand).await;
        assert_eq!(backfill(&*evolve, "r", 50).await, 0, "{ty}, {value}");
        for (key, record) in place.records().await {
            let expected = fill.value(&record).unwrap();
            assert_eq!(record.get("status"), Some(&expected), "{ty}, {value}: {key:?}");
            assert!(fill.takes(&expected), "{ty}, {value}");
        }
        stage(&*evolve, Stage::Enforce).await;
        stage(&*evolve, Stage::Remove).await;
    }
    for (ty, value) in
        [("decimal 5 2", "\"1.50\""), ("date", "2026-01-31"), ("float", "1.5"), ("instant", "2026-01-31T00:00:00Z")]
    {
        let Err(told) = wanting_of(&place.url, ty, value).await else { panic!("{ty} is taken") };
        assert!(told.message.contains(ty.split(' ').next().unwrap()) && told.hint.is_some(), "{ty}: {told:?}");
    }
}
