//! The connector passes the conformance suite.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use mongodb::bson::{Document, doc};
use mongodb::{Client, Collection};
use shearwater_core::shape::Layout;
use shearwater_core::store::Store;
use shearwater_stores::Create;
use shearwater_stores::conformance::{self, Bench, Bypass, DirectChange, Flavour};
use shearwater_testbed::{Mongodb, Topology};

use crate::inputs;

struct MongoDb {
    server: &'static Mongodb,
    /// How many changes one write takes there.
    changes_max: usize,
    places: Mutex<Vec<(Arc<dyn Store>, String)>>,
    seed: u64,
}

impl MongoDb {
    fn new(server: &'static Mongodb, changes_max: usize) -> Arc<MongoDb> {
        Arc::new(MongoDb { server, changes_max, places: Mutex::default(), seed: inputs::seed() })
    }

    fn url(&self, store: &Arc<dyn Store>) -> String {
        let places = self.places.lock().unwrap();
        places.iter().find(|(s, _)| Arc::ptr_eq(s, store)).unwrap().1.clone()
    }
}

#[async_trait]
impl Bench for MongoDb {
    fn flavour(&self) -> Flavour {
        Flavour::Document
    }

    fn bypass(&self) -> Bypass {
        Bypass::NoticedWhereItStands
    }

    fn changes_max(&self) -> usize {
        self.changes_max
    }

    fn table_name(&self, name: &str) -> String {
        name.replace('$', "")
    }

    async fn fresh(&self, layout: Layout) -> Arc<dyn Store> {
        let url = self.server.database("conformance");
        let store = shearwater_stores::open(&url, layout, Create::IfMissing).await.unwrap();
        store.provision().await.unwrap();
        self.places.lock().unwrap().push((store.clone(), url));
        store
    }

    async fn again(&self, store: &Arc<dyn Store>) -> Arc<dyn Store> {
        shearwater_stores::open(&self.url(store), store.layout().clone(), Create::Never).await.unwrap()
    }

    async fn directly(&self, store: &Arc<dyn Store>, change: DirectChange) -> Result<(), String> {
        let client = Client::with_uri_str(self.url(store)).await.unwrap();
        let users: Collection<Document> = client.default_database().unwrap().collection("users");
        match change {
            DirectChange::SetAge(id, age) => {
                let done = users.update_one(doc! { "_id": id }, doc! { "$set": { "age": age } }).await;
                assert_eq!(done.map_err(|e| e.to_string())?.modified_count, 1, "nothing was changed");
            }
            DirectChange::Delete(id) => {
                let done = users.delete_one(doc! { "_id": id }).await;
                assert_eq!(done.map_err(|e| e.to_string())?.deleted_count, 1, "nothing was changed");
            }
            DirectChange::Rename(from, to) => {
                let found = users.find_one_and_delete(doc! { "_id": from }).await.map_err(|e| e.to_string())?;
                let mut document = found.unwrap();
                document.insert("_id", &to);
                document.insert("id", &to);
                users.insert_one(document).await.map_err(|e| e.to_string())?;
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
    let outcomes = conformance::run(MongoDb::new(shearwater_testbed::mongodb(), usize::MAX)).await;
    assert!(outcomes.len() >= 40, "{} checks ran", outcomes.len());
    let failed: Vec<&str> = outcomes.iter().filter(|o| !o.held).map(|o| o.name).collect();
    assert!(failed.is_empty(), "{} of {} checks failed: {failed:#?}", failed.len(), outcomes.len());
}

/// What takes a write of several changes, which a standalone server refuses.
const OF_SEVERAL_CHANGES: [&str; 2] = ["writing::a_write_is_all_or_nothing", "writing::a_changed_key_is_one_write"];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_standalone_server() {
    let server = Box::leak(Box::new(Mongodb::start(Topology::Standalone)));
    let outcomes = conformance::run(MongoDb::new(server, 1)).await;
    let failed: Vec<&str> = outcomes.iter().filter(|o| !o.held).map(|o| o.name).collect();
    assert_eq!(failed, OF_SEVERAL_CHANGES, "of {} checks", outcomes.len());
}
