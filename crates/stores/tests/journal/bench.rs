//! The journals under test, and time that passes when it is told to.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use shearwater_core::journal::{Event, Journal, JournalError};
use shearwater_stores::Create;
use shearwater_stores::journal::{JournalFile, JournalPlace, JournalStore};
use shearwater_testbed::postgres;

/// A place for one journal.
pub trait Bench {
    /// One process's view of it.
    async fn try_open(&self, create: Create) -> Result<JournalStore, JournalError>;

    /// Every lease comes nearer to its end.
    async fn pass_ms(&self, ms: i64);

    /// Runs SQL on the journal's tables, which are named `{}table`.
    async fn sql(&self, statement: &str);

    async fn open(&self) -> JournalStore {
        self.try_open(Create::IfMissing).await.unwrap()
    }

    /// A journal with the migration `users`.
    async fn created(&self) -> Arc<dyn Journal> {
        self.open().await.create("users", "spec text", "me").await.unwrap()
    }
}

pub struct FileBench {
    pub path: PathBuf,
    clock: Arc<AtomicI64>,
    _dir: tempfile::TempDir,
}

impl FileBench {
    pub fn new() -> FileBench {
        let dir = tempfile::tempdir().unwrap();
        FileBench { path: dir.path().join("journal"), clock: Arc::new(AtomicI64::new(1_000_000)), _dir: dir }
    }
}

impl Bench for FileBench {
    async fn try_open(&self, create: Create) -> Result<JournalStore, JournalError> {
        let clock = self.clock.clone();
        let clock = Arc::new(move || clock.load(Ordering::SeqCst));
        Ok(JournalFile::open_with_clock(&self.path, create == Create::IfMissing, clock).await?.into())
    }

    async fn pass_ms(&self, ms: i64) {
        self.clock.fetch_add(ms, Ordering::SeqCst);
    }

    async fn sql(&self, statement: &str) {
        rusqlite::Connection::open(&self.path).unwrap().execute_batch(&statement.replace("{}", "")).unwrap();
    }
}

pub struct ServerBench {
    pub url: String,
}

impl ServerBench {
    pub fn new() -> ServerBench {
        ServerBench { url: postgres().database("journal") }
    }
}

impl Bench for ServerBench {
    async fn try_open(&self, create: Create) -> Result<JournalStore, JournalError> {
        JournalStore::open(&JournalPlace::parse(&self.url).unwrap(), create).await
    }

    /// The server's clock is nobody's to set, so the ends of leases move instead.
    async fn pass_ms(&self, ms: i64) {
        self.sql(&format!("UPDATE {{}}member SET lease_until_ms = lease_until_ms - {ms}")).await;
        self.sql(&format!("UPDATE {{}}lease SET until_ms = until_ms - {ms}")).await;
    }

    async fn sql(&self, statement: &str) {
        postgres().run(&self.url, &[&statement.replace("{}", "shearwater_journal.")]);
    }
}

pub fn paused(reason: &str) -> Event {
    Event::Paused { reason: reason.into() }
}

/// A stretch of network in front of a server that loses an answer when told to:
/// it cuts the connection when the answer to the next statement arrives.
pub struct Proxy {
    port: u16,
    lose: Arc<AtomicI64>,
}

impl Proxy {
    pub async fn before(server: u16) -> Proxy {
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let (port, lose) = (listener.local_addr().unwrap().port(), Arc::new(AtomicI64::new(0)));
        let losing = lose.clone();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(carry(client, server, losing.clone()));
            }
        });
        Proxy { port, lose }
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    pub fn lose_next_answer(&mut self) {
        self.lose.store(1, Ordering::SeqCst);
    }

    /// Whether it was lost.
    pub fn lost_an_answer(&self) -> bool {
        self.lose.load(Ordering::SeqCst) == 0
    }
}

/// Carries bytes both ways until either side ends or an answer is to be lost.
async fn carry(client: tokio::net::TcpStream, server: u16, lose: Arc<AtomicI64>) {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let server = tokio::net::TcpStream::connect(("127.0.0.1", server)).await.unwrap();
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let asking = async { tokio::io::copy(&mut from_client, &mut to_server).await.map(drop) };
    let answering = async {
        let mut bytes = [0; 16 * 1024];
        loop {
            let read = from_server.read(&mut bytes).await?;
            let lost = lose.compare_exchange(1, 0, Ordering::SeqCst, Ordering::SeqCst).is_ok();
            if read == 0 || lost {
                return Ok::<(), std::io::Error>(());
            }
            to_client.write_all(&bytes[..read]).await?;
        }
    };
    tokio::select! {
        _ = asking => {}
        _ = answering => {}
    }
}
