//! DynamoDB passes the conformance suite in the layout that it has.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use aws_sdk_dynamodb::types::AttributeValue;
use shearwater_core::shape::{FieldType, Layout};
use shearwater_core::store::Store;
use shearwater_core::value::Decimal;
use shearwater_core::{Document, Value};
use shearwater_stores::Create;
use shearwater_stores::conformance::{self, Bench, Bypass, DirectChange, Flavour, Place, Ranges};

use crate::direct::Direct;
use crate::inputs;

struct DynamoDb {
    places: Mutex<Vec<(Arc<dyn Store>, String)>>,
    seed: u64,
}

impl DynamoDb {
    fn url(&self, store: &Arc<dyn Store>) -> String {
        let places = self.places.lock().unwrap();
        places.iter().find(|(s, _)| Arc::ptr_eq(s, store)).unwrap().1.clone()
    }
}

/// A magnitude that DynamoDB's numbers have.
fn is_in_range(x: f64) -> bool {
    x == 0.0 || (1e-130..1e126).contains(&x.abs())
}

fn is_held(value: &Value) -> bool {
    match value {
        Value::Float(x) => is_in_range(*x),
        Value::Decimal(Decimal::Finite { digits, .. }) => digits.len() <= 38,
        Value::Decimal(_) => false,
        Value::Array(items) => items.iter().all(is_held),
        Value::Document(document) => document.iter().all(|(name, value)| !name.is_empty() && is_held(value)),
        _ => true,
    }
}

#[async_trait]
impl Bench for DynamoDb {
    fn flavour(&self) -> Flavour {
        Flavour::Document
    }

    fn holds(&self, _place: Place, _ty: FieldType, _value: &Value) -> bool {
        false
    }

    fn holds_in_document(&self, place: Place, value: &Value) -> bool {
        match (place, value) {
            (Place::Key, Value::Text(text)) => (1..=2048).contains(&text.len()),
            (Place::Key, _) => false,
            (Place::Column, value) => is_held(value),
        }
    }

    /// By name, the key first: what DynamoDB itself keeps of the standard record.
    fn bare(&self, record: Document) -> Document {
        fn sorted(document: Document) -> Document {
            let mut fields: Vec<(String, Value)> = document.into_iter().collect();
            fields.sort_by(|(a, _), (b, _)| (a != "id", a).cmp(&(b != "id", b)));
            fields.into_iter().map(|(name, value)| (name, bare(value))).collect()
        }
        fn bare(value: Value) -> Value {
            match value {
                Value::Float(x) => Value::Decimal(x.to_string().parse().unwrap()),
                Value::Array(items) => Value::Array(items.into_iter().map(bare).collect()),
                Value::Document(document) => Value::Document(sorted(document)),
                other => other,
            }
        }
        sorted(record)
    }

    fn bypass(&self) -> Bypass {
        Bypass::Noticed
    }

    fn ranges(&self) -> Ranges {
        Ranges::Hashed
    }

    fn changes_max(&self) -> usize {
        49
    }

    fn table_name(&self, name: &str) -> String {
        let hex: String = name.bytes().map(|byte| format!("{byte:02x}")).collect();
        format!("odd-{hex}")
    }

    async fn fresh(&self, layout: Layout) -> Arc<dyn Store> {
        let mut url = shearwater_testbed::dynamodb().database("conformance");
        if layout.table() == "pairs" {
            url += "&key_types=S,N";
        }
        let store = shearwater_stores::open(&url, layout, Create::IfMissing).await.unwrap();
        store.provision().await.unwrap();
        self.places.lock().unwrap().push((store.clone(), url));
        store
    }

    async fn again(&self, store: &Arc<dyn Store>) -> Arc<dyn Store> {
        shearwater_stores::open(&self.url(store), store.layout().clone(), Create::Never).await.unwrap()
    }

    async fn directly(&self, store: &Arc<dyn Store>, change: DirectChange) -> Result<(), String> {
        let direct = Direct::connect(&self.url(store));
        match change {
            DirectChange::SetAge(id, age) => {
                direct.set("users", "id", &id, "age", AttributeValue::N(age.to_string())).await;
            }
            DirectChange::Delete(id) => direct.delete("users", "id", &id).await,
            // As a program copies an item: with attributes that it does not know.
            DirectChange::Rename(from, to) => {
                let mut item = direct.get("users", "id", &from).await.unwrap();
                item.insert("id".to_owned(), AttributeValue::S(to));
                direct.put("users", item).await;
                direct.delete("users", "id", &from).await;
            }
        }
        Ok(())
    }

    fn naughty_strings(&self) -> Vec<String> {
        inputs::naughty_strings()
    }

    fn seed(&self) -> u64 {
        self.seed
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn document_layout() {
    let bench = DynamoDb { places: Mutex::default(), seed: inputs::seed() };
    let outcomes = conformance::run(Arc::new(bench)).await;
    assert!(outcomes.len() >= 40, "{} checks ran", outcomes.len());
    let failed: Vec<&str> = outcomes.iter().filter(|o| !o.held).map(|o| o.name).collect();
    assert!(failed.is_empty(), "{} of {} checks failed: {failed:#?}", failed.len(), outcomes.len());
}
