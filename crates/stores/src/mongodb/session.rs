//! One server or replica set: how commands reach it, and with which guarantees.
//!
//! On a replica set every write is acknowledged by a majority and journaled, and
//! every read is of the primary, of what a majority has: what was acknowledged is
//! not lost in a failover, and what was read is not undone by one. Commands are
//! sent as they are: the driver repeats none of them by itself but the end of a
//! transaction, which the server knows by its number.
//!
//! Each read names the moment that it must not be behind ([`super::moments`]).

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use mongodb::action::{CountDocuments, Find};
use mongodb::bson::{Document, RawDocumentBuf, Timestamp};
use mongodb::error::Error;
use mongodb::event::EventHandler;
use mongodb::event::sdam::SdamEvent;
use mongodb::options::{ReadConcern, ServerMonitoringMode, TransactionOptions, WriteConcern};
use mongodb::raw_batch_cursor::{RawBatch, SessionRawBatchCursor};
use mongodb::{Client, ClientSession, Collection, Database, SessionCursor};
use shearwater_core::error::{StoreError, StoreErrorKind, StoreResult};

use super::config::Config;
use super::error::{Elected, Tried, failure};
use super::moments::Moments;
use super::raw::{Doc, Owned, find};

/// How long a write waits for a majority, ms: an election may be under way.
const CONCERN_MS_MAX: i64 = 10_000;

/// Where a command says how its writes are to be acknowledged.
const CONCERN: &str = "writeConcern";

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
    moments: Arc<Moments>,
}

/// The documents that a read finds.
pub(super) struct Rows<'a> {
    server: &'a Server,
    cursor: SessionCursor<RawDocumentBuf>,
    session: ClientSession,
}

impl Rows<'_> {
    /// The next document.
    pub(super) async fn next(&mut self) -> Result<Option<RawDocumentBuf>, Error> {
        let next = self.cursor.next(&mut self.session).await.transpose();
        self.server.moments.told(self.session.operation_time());
        next
    }

    /// Every document.
    pub(super) async fn all(mut self) -> Result<Vec<RawDocumentBuf>, Error> {
        let mut all = Vec::new();
        while let Some(one) = self.next().await? {
            all.push(one);
        }
        Ok(all)
    }
}

/// The answers of a read, each with many documents.
pub(super) struct Answers<'a> {
    server: &'a Server,
    cursor: SessionRawBatchCursor,
    session: ClientSession,
}

impl Answers<'_> {
    /// The next answer.
    pub(super) async fn next(&mut self) -> Result<Option<RawBatch>, Error> {
        let next = self.cursor.stream(&mut self.session).next().await.transpose();
        self.server.moments.told(self.session.operation_time());
        next
    }
}

impl Server {
    /// Connects, and asks what it is.
    pub(super) async fn open(url: &str) -> StoreResult<Server> {
        let Config { mut options, database: name, place } = Config::parse(url).await?;
        let moments = Arc::new(Moments::default());
        let hearing = moments.clone();
        options.sdam_event_handler = Some(EventHandler::callback(move |event| {
            if let SdamEvent::ServerHeartbeatSucceeded(heard) = event {
                hearing.heard(&heard.reply);
            }
        }));
        // A server says at once what it is from now on; asked at times, it may have
        // been another one in between.
        options.server_monitoring_mode = Some(ServerMonitoringMode::Stream);
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
        moments.heard(&hello);
        Ok(Server { client, database, topology, version, place, name, moments })
    }

    /// Whether it has transactions.
    pub(super) fn has_transactions(&self) -> bool {
        self.topology == Topology::Set
    }

    /// Runs a command by itself.
    pub(super) async fn run(&self, what: &str, command: Vec<u8>) -> Tried<Document> {
        let acknowledged = find(&command, CONCERN).is_some();
        let answer = self.database.run_raw_command(raw(command)?).await.map_err(|e| failure(what, &e))?;
        // Other answers tell of moments that only the primary may have.
        if acknowledged && !answer.contains_key("writeConcernError") {
            self.moments.told(answer.get_timestamp("operationTime").ok());
        }
        Ok(answer)
    }

    /// A session whose reads see whatever this process was told before, and the
    /// moment that they name.
    async fn reading(&self) -> Result<(ClientSession, Option<Timestamp>), Error> {
        let mut session = self.client.start_session().await?;
        let named = self.moments.latest();
        if let Some(named) = named {
            session.advance_operation_time(named);
        }
        Ok((session, named))
    }

    /// Notes the moment of an answer; an error: it does not count.
    fn answered(&self, session: &ClientSession, named: Option<Timestamp>) -> Result<(), Error> {
        let at = session.operation_time();
        self.moments.told(at);
        if self.moments.is_before(named, at) { Err(Error::custom(Elected)) } else { Ok(()) }
    }

    /// Reads documents.
    pub(super) async fn rows(&self, find: Find<'_, RawDocumentBuf>) -> Result<Rows<'_>, Error> {
        let (mut session, named) = self.reading().await?;
        let cursor = find.read_concern(self.read_concern()).session(&mut session).await?;
        self.answered(&session, named)?;
        Ok(Rows { server: self, cursor, session })
    }

    /// Reads documents, as they are sent.
    pub(super) async fn answers(&self, find: Find<'_, RawDocumentBuf>) -> Result<Answers<'_>, Error> {
        let (mut session, named) = self.reading().await?;
        let cursor = find.read_concern(self.read_concern()).session(&mut session).batch().await?;
        self.answered(&session, named)?;
        Ok(Answers { server: self, cursor, session })
    }

    /// Counts documents.
    pub(super) async fn count(&self, count: CountDocuments<'_>) -> Result<u64, Error> {
        let (mut session, named) = self.reading().await?;
        let counted = count.read_concern(self.read_concern()).session(&mut session).await;
        self.answered(&session, named)?;
        counted
    }

    /// Ends a transaction: what it did is a majority's, and is read from now on.
    pub(super) async fn commit(&self, session: &mut ClientSession) -> Result<(), Error> {
        session.commit_transaction().await?;
        self.moments.told(session.operation_time());
        Ok(())
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
        let failed = |e| failure(what, &e).of_a_repeatable();
        let collection = self.collection(collection);
        loop {
            let (mut session, named) = self.reading().await.map_err(failed)?;
            let find = collection.find_one(by_id(id)?).read_concern(self.read_concern()).session(&mut session);
            let found = find.await.map_err(failed)?;
            // Whoever reads again names the new primary's moment.
            if self.answered(&session, named).is_ok() {
                return Ok(found);
            }
        }
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
    fn read_concern(&self) -> ReadConcern {
        match self.topology {
            Topology::Set => ReadConcern::majority(),
            Topology::Standalone => ReadConcern::local(),
        }
    }

    /// Says how a command's writes are to be acknowledged.
    pub(super) fn acknowledged(&self, command: &mut Doc) {
        command.begin(CONCERN);
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
