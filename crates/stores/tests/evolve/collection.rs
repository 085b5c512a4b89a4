//! A collection of users in MongoDB, and a field on its way into it.

use std::sync::Arc;

use mongodb::bson::{Bson, Document as Bsons, doc};
use mongodb::{Client, Collection, Database};
use shearwater_core::error::StoreResult;
use shearwater_core::evolve::*;
use shearwater_core::fill::Fill;
use shearwater_core::shape::FieldType;
use shearwater_testbed::Mongodb;

use crate::place::{PATIENCE, require_spec};

/// One collection `users` with everything around it.
pub struct Place {
    pub url: String,
    pub database: Database,
    pub users: Collection<Bsons>,
}

impl Place {
    pub async fn new(server: &Mongodb) -> Place {
        let url = server.database("evolve");
        let database = Client::with_uri_str(&url).await.unwrap().default_database().unwrap();
        let users = database.collection("users");
        Place { url, database, users }
    }

    /// With documents whose `_id`s are of every kind that has an order of its own.
    pub async fn with_nasty(server: &Mongodb) -> Place {
        let place = Place::new(server).await;
        let ids = [
            Bson::MinKey,
            Bson::Int32(-1),
            Bson::Int64(1 << 40),
            Bson::Double(2.5),
            Bson::String(String::new()),
            Bson::String("a'\"$.b".to_owned()),
            Bson::Document(doc! { "a": 1, "b": "x" }),
            Bson::Binary(mongodb::bson::Binary {
                subtype: mongodb::bson::spec::BinarySubtype::Generic,
                bytes: vec![0, 255],
            }),
            Bson::ObjectId(mongodb::bson::oid::ObjectId::from_bytes([7; 12])),
            Bson::Boolean(true),
            Bson::DateTime(mongodb::bson::DateTime::from_millis(-5)),
            Bson::MaxKey,
        ];
        let more = (0..140).map(|n| Bson::String(format!("user-{n:03}")));
        let nicks = [Some(Bson::String("ä".into())), Some(Bson::Null), None, Some(Bson::String(String::new()))];
        let documents = ids.into_iter().chain(more).enumerate().map(|(n, id)| {
            let mut document = doc! { "_id": id, "name": format!("n{n}"), "active": n % 3 != 0 };
            if let Some(nick) = &nicks[n % nicks.len()] {
                document.insert("nick", nick.clone());
            }
            document
        });
        place.users.insert_many(documents).await.unwrap();
        place
    }

    pub async fn wanting(&self, value: &str) -> Wanting {
        self.wanting_of("text", value).await
    }

    pub async fn wanting_of(&self, ty: &str, value: &str) -> Wanting {
        self.try_wanting(ty, value).await.unwrap_or_else(|e| panic!("{ty} {value}: {e:?}"))
    }

    /// For a field of a type, with what narrows it, or why it is refused.
    pub async fn try_wanting(&self, ty: &str, value: &str) -> StoreResult<Wanting> {
        let store = "url = \"mongodb://h/x\"\ntable = \"users\"\nkey = \"_id\"";
        let spec = require_spec(store, "status", ty, value);
        let fill = Fill::of_documents(&spec.field, &["_id".to_owned()]).unwrap();
        let wanted = Wanted {
            table: "users".into(),
            key: vec![("_id".into(), FieldType::Json)],
            column: "status".into(),
            native: None,
            fill: fill.clone(),
        };
        Ok(Wanting { evolve: shearwater_stores::open_evolve(&self.url, wanted).await?, fill })
    }

    /// Names and options of all collections, with defaults spelled out: once the
    /// server was told one it spells it out itself.
    pub async fn schema(&self) -> Vec<String> {
        let names = self.database.run_command(doc! { "listCollections": 1 }).await.unwrap();
        let found = names.get_document("cursor").unwrap().get_array("firstBatch").unwrap();
        let mut all: Vec<String> = found
            .iter()
            .filter_map(Bson::as_document)
            .map(|one| {
                let mut options = one.get_document("options").unwrap().clone();
                for (name, default) in [("validationLevel", "strict"), ("validationAction", "error")] {
                    if !options.contains_key(name) {
                        options.insert(name, default);
                    }
                }
                let mut options: Vec<String> = options.iter().map(|(name, value)| format!("{name}: {value}")).collect();
                options.sort();
                format!("{} {options:?}", one.get_str("name").unwrap())
            })
            .collect();
        all.sort();
        all
    }

    pub async fn documents(&self) -> Vec<Bsons> {
        use futures::TryStreamExt as _;
        self.users.find(doc! {}).sort(doc! { "_id": 1 }).await.unwrap().try_collect().await.unwrap()
    }

    pub async fn status(&self, id: impl Into<Bson>) -> Option<Bson> {
        self.users.find_one(doc! { "_id": id.into() }).await.unwrap().unwrap().get("status").cloned()
    }
}

pub struct Wanting {
    pub evolve: Arc<dyn Evolve>,
    pub fill: Fill,
}

impl Wanting {
    /// Makes every alteration of a stage, each one twice.
    pub async fn stage(&self, stage: Stage) {
        for what in self.evolve.alterations(stage) {
            for again in [false, true] {
                match self.evolve.try_to(what, PATIENCE, 1_000).await.unwrap() {
                    Try::Made { held_micros } if again && what != Alteration::DropColumn => {
                        assert_eq!(held_micros, 0, "{what:?} acted twice");
                    }
                    Try::Made { .. } => {}
                    other => panic!("{what:?}: {other:?}"),
                }
            }
        }
    }

    /// Fills everything, in batches of so many; how many were filled.
    pub async fn backfill(&self, run: &str, documents_max: u64) -> u64 {
        let mut filled = 0;
        for range in self.evolve.fill_ranges(8).await.unwrap() {
            let mut at = FillCheckpoint { range: range.id, ..FillCheckpoint::default() };
            while !at.done {
                at = self.evolve.fill(run, &range, &at, documents_max).await.unwrap();
                assert!(self.evolve.fill_checkpoints(run).await.unwrap().contains(&at), "{at:?}");
            }
            filled += at.filled;
        }
        filled
    }
}
