//! PostgreSQL passes the conformance suite in both layouts, in the system's
//! version and in the newest.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use shearwater_core::Value;
use shearwater_core::shape::{FieldType, Layout};
use shearwater_core::store::Store;
use shearwater_core::value::Decimal;
use shearwater_stores::Create;
use shearwater_stores::conformance::{self, Bench, DirectChange, Flavour, Place};
use shearwater_testbed as testbed;
use tokio_postgres::NoTls;

use crate::inputs;

struct Postgres {
    flavour: Flavour,
    /// A server of another version; the shared one without.
    newer: Option<testbed::Postgres>,
    places: Mutex<Vec<(Arc<dyn Store>, String)>>,
    seed: u64,
}

impl Postgres {
    fn url(&self, store: &Arc<dyn Store>) -> String {
        let places = self.places.lock().unwrap();
        places.iter().find(|(s, _)| Arc::ptr_eq(s, store)).unwrap().1.clone()
    }
}

#[async_trait]
impl Bench for Postgres {
    fn flavour(&self) -> Flavour {
        self.flavour
    }

    fn holds(&self, place: Place, ty: FieldType, value: &Value) -> bool {
        match (place, ty, value) {
            (_, FieldType::Text, Value::Text(text)) => !text.contains('\0'),
            // numeric writes the zeros of 1e3 out; as a key the decimal is a text.
            (Place::Column, FieldType::Decimal, Value::Decimal(Decimal::Finite { scale, .. })) => *scale >= 0,
            _ => true,
        }
    }

    async fn fresh(&self, layout: Layout) -> Arc<dyn Store> {
        let url = self.newer.as_ref().unwrap_or_else(|| testbed::postgres()).database("conformance");
        let store = shearwater_stores::open(&url, layout, Create::IfMissing).await.unwrap();
        store.provision().await.unwrap();
        self.places.lock().unwrap().push((store.clone(), url));
        store
    }

    async fn again(&self, store: &Arc<dyn Store>) -> Arc<dyn Store> {
        shearwater_stores::open(&self.url(store), store.layout().clone(), Create::Never).await.unwrap()
    }

    async fn directly(&self, store: &Arc<dyn Store>, change: DirectChange) -> Result<(), String> {
        let (direct, connection) = tokio_postgres::connect(&self.url(store), NoTls).await.unwrap();
        tokio::spawn(connection);
        let set = |field: &str, value: &str| match self.flavour {
            Flavour::Document => format!("doc = jsonb_set(doc::jsonb, '{{{field}}}', to_jsonb({value}))::json"),
            Flavour::Rows => format!("{field} = {value}"),
        };
        let changed = match change {
            DirectChange::SetAge(id, age) => {
                let sql = format!("UPDATE users SET {} WHERE id = $2", set("age", "$1::int8"));
                direct.execute(&sql, &[&age, &id]).await
            }
            DirectChange::Delete(id) => direct.execute("DELETE FROM users WHERE id = $1", &[&id]).await,
            DirectChange::Rename(from, to) => {
                let document = match self.flavour {
                    Flavour::Document => format!(", {}", set("id", "$1::text")),
                    Flavour::Rows => String::new(),
                };
                let sql = format!("UPDATE users SET id = $1::text{document} WHERE id = $2");
                direct.execute(&sql, &[&to, &from]).await
            }
        };
        assert_ne!(changed.as_ref().ok(), Some(&0), "nothing was changed");
        changed.map(drop).map_err(|e| e.as_db_error().unwrap().to_string())
    }

    fn naughty_strings(&self) -> Vec<String> {
        inputs::naughty_strings()
    }

    fn seed(&self) -> u64 {
        self.seed
    }
}

async fn check(flavour: Flavour, newer: Option<testbed::Postgres>) {
    let bench = Postgres { flavour, newer, places: Mutex::default(), seed: inputs::seed() };
    let outcomes = conformance::run(Arc::new(bench)).await;
    assert!(outcomes.len() >= 40, "{} checks ran", outcomes.len());
    let failed: Vec<&str> = outcomes.iter().filter(|o| !o.held).map(|o| o.name).collect();
    assert!(failed.is_empty(), "{} of {} checks failed: {failed:#?}", failed.len(), outcomes.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn document_layout() {
    check(Flavour::Document, None).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_layout() {
    check(Flavour::Rows, None).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_layouts_on_postgresql_18() {
    for flavour in [Flavour::Document, Flavour::Rows] {
        let options = testbed::Options::new().version(testbed::Version::Postgres18).never_killed();
        check(flavour, Some(testbed::Postgres::start(options))).await;
    }
}
