//! SQLite passes the conformance suite in both layouts.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, missing_docs)]

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use rusqlite::{Connection, params};
use shearwater_core::shape::Layout;
use shearwater_core::store::Store;
use shearwater_stores::Create;
use shearwater_stores::conformance::{self, Bench, DirectChange, Flavour};

mod inputs;

struct Sqlite {
    flavour: Flavour,
    dir: tempfile::TempDir,
    made: AtomicUsize,
    places: Mutex<Vec<(Arc<dyn Store>, String)>>,
    seed: u64,
}

impl Sqlite {
    fn new(flavour: Flavour) -> Arc<Sqlite> {
        let dir = tempfile::tempdir().unwrap();
        Arc::new(Sqlite { flavour, dir, made: AtomicUsize::new(0), places: Mutex::default(), seed: inputs::seed() })
    }

    fn path(&self, store: &Arc<dyn Store>) -> String {
        let places = self.places.lock().unwrap();
        places.iter().find(|(s, _)| Arc::ptr_eq(s, store)).unwrap().1.clone()
    }
}

#[async_trait]
impl Bench for Sqlite {
    fn flavour(&self) -> Flavour {
        self.flavour
    }

    async fn fresh(&self, layout: Layout) -> Arc<dyn Store> {
        let n = self.made.fetch_add(1, Ordering::Relaxed);
        let path = self.dir.path().join(format!("{n}.db")).display().to_string();
        let url = format!("sqlite:{path}?sync=normal");
        let store = shearwater_stores::open(&url, layout, Create::IfMissing).await.unwrap();
        store.provision().await.unwrap();
        self.places.lock().unwrap().push((store.clone(), path));
        store
    }

    async fn again(&self, store: &Arc<dyn Store>) -> Arc<dyn Store> {
        let url = format!("sqlite:{}", self.path(store));
        shearwater_stores::open(&url, store.layout().clone(), Create::Never).await.unwrap()
    }

    async fn directly(&self, store: &Arc<dyn Store>, change: DirectChange) -> Result<(), String> {
        let direct = Connection::open(self.path(store)).unwrap();
        let document = self.flavour == Flavour::Document;
        let changed = match change {
            DirectChange::SetAge(id, age) if document => {
                direct.execute("UPDATE users SET doc = json_set(doc, '$.age', ?2) WHERE id = ?1", params![id, age])
            }
            DirectChange::SetAge(id, age) => {
                direct.execute("UPDATE users SET age = ?2 WHERE id = ?1", params![id, age])
            }
            DirectChange::Delete(id) => direct.execute("DELETE FROM users WHERE id = ?1", [id]),
            DirectChange::Rename(from, to) if document => direct
                .execute("UPDATE users SET id = ?2, doc = json_set(doc, '$.id', ?2) WHERE id = ?1", params![from, to]),
            DirectChange::Rename(from, to) => {
                direct.execute("UPDATE users SET id = ?2 WHERE id = ?1", params![from, to])
            }
        };
        assert_ne!(changed.as_ref().ok(), Some(&0), "nothing was changed");
        changed.map(drop).map_err(|e| e.to_string())
    }

    fn naughty_strings(&self) -> Vec<String> {
        inputs::naughty_strings()
    }

    fn seed(&self) -> u64 {
        self.seed
    }
}

async fn check(flavour: Flavour) {
    let outcomes = conformance::run(Sqlite::new(flavour)).await;
    assert!(outcomes.len() >= 40, "{} checks ran", outcomes.len());
    let failed: Vec<&str> = outcomes.iter().filter(|o| !o.held).map(|o| o.name).collect();
    assert!(failed.is_empty(), "{} of {} checks failed: {failed:#?}", failed.len(), outcomes.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn document_layout() {
    check(Flavour::Document).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_layout() {
    check(Flavour::Rows).await;
}
