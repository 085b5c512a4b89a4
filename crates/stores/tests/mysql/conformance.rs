//! The connector passes the conformance suite in both layouts.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Opts, Params};
use shearwater_core::shape::Layout;
use shearwater_core::store::Store;
use shearwater_stores::Create;
use shearwater_stores::conformance::{self, Bench, DirectChange, Flavour};

struct MySql {
    flavour: Flavour,
    places: Mutex<Vec<(Arc<dyn Store>, String)>>,
    seed: u64,
}

impl MySql {
    fn new(flavour: Flavour) -> Arc<MySql> {
        let seed = match std::env::var("SHEARWATER_SEED") {
            Ok(seed) => seed.parse().unwrap(),
            Err(_) => std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_micros() as u64,
        };
        println!("SHEARWATER_SEED={seed}");
        Arc::new(MySql { flavour, places: Mutex::default(), seed })
    }

    fn url(&self, store: &Arc<dyn Store>) -> String {
        let places = self.places.lock().unwrap();
        places.iter().find(|(s, _)| Arc::ptr_eq(s, store)).unwrap().1.clone()
    }
}

#[async_trait]
impl Bench for MySql {
    fn flavour(&self) -> Flavour {
        self.flavour
    }

    async fn fresh(&self, layout: Layout) -> Arc<dyn Store> {
        let url = shearwater_testbed::mariadb().database("conformance");
        let store = shearwater_stores::open(&url, layout, Create::IfMissing).await.unwrap();
        store.provision().await.unwrap();
        self.places.lock().unwrap().push((store.clone(), url));
        store
    }

    async fn again(&self, store: &Arc<dyn Store>) -> Arc<dyn Store> {
        shearwater_stores::open(&self.url(store), store.layout().clone(), Create::Never).await.unwrap()
    }

    async fn directly(&self, store: &Arc<dyn Store>, change: DirectChange) -> Result<(), String> {
        let mut direct = Conn::new(Opts::from_url(&self.url(store)).unwrap()).await.unwrap();
        let document = self.flavour == Flavour::Document;
        let (sql, bound): (&str, Params) = match change {
            DirectChange::SetAge(id, age) if document => {
                ("UPDATE users SET doc = JSON_SET(doc, '$.age', ?) WHERE id = ?", (age, id).into())
            }
            DirectChange::SetAge(id, age) => ("UPDATE users SET age = ? WHERE id = ?", (age, id).into()),
            DirectChange::Delete(id) => ("DELETE FROM users WHERE id = ?", (id,).into()),
            DirectChange::Rename(from, to) if document => {
                ("UPDATE users SET doc = JSON_SET(doc, '$.id', ?), id = ? WHERE id = ?", (&to, &to, from).into())
            }
            DirectChange::Rename(from, to) => ("UPDATE users SET id = ? WHERE id = ?", (to, from).into()),
        };
        let done = direct.exec_drop(sql, bound).await;
        assert!(done.is_err() || direct.affected_rows() > 0, "nothing was changed");
        done.map_err(|e| e.to_string())
    }

    fn naughty_strings(&self) -> Vec<String> {
        let data = std::env::var_os("SHEARWATER_DATA")
            .map_or_else(|| PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/data")), PathBuf::from);
        let file = data.join("nasty/naughty-strings/blns.json");
        let text = std::fs::read(&file)
            .unwrap_or_else(|e| panic!("{}: {e}; set SHEARWATER_DATA to the folder of the data sets", file.display()));
        serde_json::from_slice(&text).unwrap()
    }

    fn seed(&self) -> u64 {
        self.seed
    }
}

async fn check(flavour: Flavour) {
    let outcomes = conformance::run(MySql::new(flavour)).await;
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
