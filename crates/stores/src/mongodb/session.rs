//! One server or replica set: how commands reach it, and with which guarantees.
//!
//! On a replica set every write is acknowledged by a majority and journaled, and
//! every read is of the primary, of what a majority has: what was acknowledged is
//! not lost in a failover, and what was read is not undone by one. Commands are
//! sent as they are: the driver repeats none of them by itself but the end of a
//! transaction, which the server knows by its number.

use std::time::Duration;

use mongodb::bson::{Document, RawDocumentBuf};
use mongodb::options::{ReadConcern, TransactionOptions, WriteConcern};
use mongodb::{Client, ClientSession, Collection, Database};
use shearwater_core::error::{StoreError, StoreErrorKind, StoreResult};

use super::config::Config;
use super::error::{Tried, failure};
use super::raw::{Doc, Owned};

/// How long a write waits for a majority, ms: an election may be under way.
const CONCERN_MS_MAX: i64 = 10_000;

/// What stands together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Topology {
    Standalone,
    Set,
}

/// A connection to a database.
pub(super) struct Server {
    client: Client,
    database: Database,
    pub(super) topology: Topology,
    pub(super) version: String,
    pub(super) place: String,
    pub(super) name: String,
}

impl Server {
    /// Connects, and asks what it is.
    pub(super) async fn open(url: &str) -> StoreResult<Server> {
        let Config { options, database: name, place } = Config::parse(url).await?;
        let at = |error: StoreError| StoreError { message: format!("{} ({place})", error.message), ..error };
        let client = Client::with_options(options).map_err(|e| failure("connecting", &e).error)?;
        let database = client.database(&name);
        let asked = async |name: &str| {
            let command = Document::from_iter([(name.to_owned(), mongodb::bson::Bson::Int32(1))]);
            let answer = database.run_command(command).await;
            answer.map_err(|e| at(failure("connecting", &e).of_a_repeatable().error))
        };
        let hello = asked("hello").await?;
        if hello.get_str("msg").is_ok_and(|msg| msg == "isdbgrid") {
            let what = "MongoDB: this is a sharded cluster; only replica sets are supported";
            return Err(
                StoreError::new(StoreErrorKind::Unsupported, what).with_hint("move each shard's replica set by itself")
            );
        }
        let topology = if hello.contains_key("setName") { Topology::Set } else { Topology::Standalone };
        let version = asked("buildInfo").await?.get_str("version").unwrap_or("of an unknown version").to_owned();
        Ok(Server { client, database, topology, version, place, name })
    }

    /// Whether it has transactions.
    pub(super) fn has_transactions(&self) -> bool {
        self.topology == Topology::Set
    }

    /// Runs a command by itself.
    pub(super) async fn run(&self, what: &str, command: Vec<u8>) -> Tried<Document> {
        let answer = self.database.run_raw_command(raw(command)?).await;
        answer.map_err(|e| failure(what, &e))
    }

    /// Runs a command in a session's transaction.
    pub(super) async fn run_in(&self, session: &mut ClientSession, what: &str, command: Vec<u8>) -> Tried<Document> {
        let answer = self.database.run_raw_command(raw(command)?).session(session).await;
        answer.map_err(|e| failure(what, &e))
    }

    /// Begins a transaction.
    pub(super) async fn transaction(&self) -> Tried<ClientSession> {
        let mut session = self.client.start_session().await.map_err(|e| failure("beginning a transaction", &e))?;
        let concern = WriteConcern::builder()
            .w(Some(mongodb::options::Acknowledgment::Majority))
            .journal(Some(true))
            .w_timeout(Some(Duration::from_millis(CONCERN_MS_MAX as u64)))
            .build();
        let options =
            TransactionOptions::builder().read_concern(ReadConcern::snapshot()).write_concern(concern).build();
        let begun = session.start_transaction().with_options(options).await;
        begun.map_err(|e| failure("beginning a transaction", &e))?;
        Ok(session)
    }

    /// The database, for what has an order of its own.
    pub(super) fn database(&self) -> &Database {
        &self.database
    }

    /// The database in which a server tells of itself.
    pub(super) fn admin(&self) -> Database {
        self.client.database("admin")
    }

    /// A collection, its documents as they are.
    pub(super) fn collection(&self, name: &str) -> Collection<RawDocumentBuf> {
        self.database.collection(name)
    }

    /// The document of this `_id`.
    pub(super) async fn find(&self, what: &str, collection: &str, id: &Owned) -> Tried<Option<RawDocumentBuf>> {
        let find = self.collection(collection);
        let find = find.find_one(by_id(id)?).read_concern(self.read_concern());
        find.await.map_err(|e| failure(what, &e).of_a_repeatable())
    }

    /// The document of this `_id`, as a transaction sees it.
    pub(super) async fn find_in(
        &self,
        session: &mut ClientSession,
        what: &str,
        collection: &str,
        id: &Owned,
    ) -> Tried<Option<RawDocumentBuf>> {
        let find = self.collection(collection);
        find.find_one(by_id(id)?).session(session).await.map_err(|e| failure(what, &e))
    }

    /// What reads see: never what a failover may take back.
    pub(super) fn read_concern(&self) -> ReadConcern {
        match self.topology {
            Topology::Set => ReadConcern::majority(),
            Topology::Standalone => ReadConcern::local(),
        }
    }

    /// Says how a command's writes are to be acknowledged.
    pub(super) fn acknowledged(&self, command: &mut Doc) {
        command.begin("writeConcern");
        match self.topology {
            Topology::Set => command.text("w", "majority").long("wtimeout", CONCERN_MS_MAX),
            Topology::Standalone => command.int("w", 1),
        };
        command.yes("j").close();
    }
}

/// Bytes that we have written as the driver takes them.
pub(super) fn raw(bytes: Vec<u8>) -> StoreResult<RawDocumentBuf> {
    RawDocumentBuf::from_bytes(bytes)
        .map_err(|_| StoreError::new(StoreErrorKind::Unsupported, "MongoDB: a command cannot be written"))
}

/// A filter as the driver takes it.
pub(super) fn filter(bytes: Vec<u8>) -> StoreResult<Document> {
    Document::try_from(raw(bytes)?)
        .map_err(|_| StoreError::new(StoreErrorKind::Unsupported, "MongoDB: a filter cannot be written"))
}

/// The filter of one `_id`, taken literally.
pub(super) fn by_id(id: &Owned) -> StoreResult<Document> {
    let mut doc = Doc::new();
    doc.begin("_id").put("$eq", id.get());
    filter(doc.end())
}
