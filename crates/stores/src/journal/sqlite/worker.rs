//! A thread that owns a connection and does one piece of work after another.

use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::Duration;

use rusqlite::{Connection, ErrorCode, OpenFlags, Transaction, TransactionBehavior};
use shearwater_core::journal::JournalError;
use tokio::sync::oneshot;

use super::schema::{self, Make};

/// How long a statement waits for another process's transaction. Transactions
/// here are a few rows; one that takes seconds means a stopped process or a
/// full disk, and the caller must be told.
const BUSY_MS_MAX: u64 = 5_000;

/// Work waiting for one connection; senders beyond it wait. It only bounds
/// memory: a process has a handful of tasks that use the journal.
const JOBS_MAX: usize = 256;

type Job = Box<dyn FnOnce(&mut Connection) + Send>;

/// Why a piece of work failed.
pub(super) enum Fault {
    /// The answer for the caller.
    Journal(JournalError),
    /// SQLite's own error.
    Sqlite(rusqlite::Error),
}

impl From<JournalError> for Fault {
    fn from(error: JournalError) -> Fault {
        Fault::Journal(error)
    }
}

impl From<rusqlite::Error> for Fault {
    fn from(error: rusqlite::Error) -> Fault {
        Fault::Sqlite(error)
    }
}

impl From<Fault> for JournalError {
    fn from(fault: Fault) -> JournalError {
        match fault {
            Fault::Journal(error) => error,
            Fault::Sqlite(error) => {
                let damaged = matches!(
                    error.sqlite_error_code(),
                    Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase | ErrorCode::TypeMismatch)
                ) || matches!(error, rusqlite::Error::FromSqlConversionFailure(..));
                match damaged {
                    true => JournalError::Damaged(error.to_string()),
                    false => JournalError::Unavailable(error.to_string()),
                }
            }
        }
    }
}

/// A connection on its own thread. Dropping the last handle ends the thread.
pub(super) struct Worker {
    jobs: mpsc::SyncSender<Job>,
}

impl Worker {
    /// Opens the file and checks that it is a journal.
    pub(super) async fn open(path: &Path, create: bool, name: &str) -> Result<Worker, JournalError> {
        let (jobs, inbox) = mpsc::sync_channel::<Job>(JOBS_MAX);
        let (opened, answer) = oneshot::channel();
        let path = path.to_owned();
        std::thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || match connect(&path, create) {
                Ok(mut connection) => {
                    let _ = opened.send(Ok(()));
                    while let Ok(job) = inbox.recv() {
                        job(&mut connection);
                    }
                }
                Err(fault) => {
                    let _ = opened.send(Err(JournalError::from(fault)));
                }
            })
            .map_err(|e| JournalError::Unavailable(format!("no thread for the journal: {e}")))?;
        answer.await.map_err(|_| ended())??;
        Ok(Worker { jobs })
    }

    /// Does a piece of work on the connection.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Connection) -> Result<T, Fault> + Send + 'static,
    ) -> Result<T, JournalError> {
        let (done, answer) = oneshot::channel();
        let job: Job = Box::new(move |connection| {
            let _ = done.send(work(connection).map_err(JournalError::from));
        });
        let mut job = Some(job);
        while let Some(waiting) = job.take() {
            match self.jobs.try_send(waiting) {
                Ok(()) => {}
                Err(mpsc::TrySendError::Full(back)) => {
                    job = Some(back);
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
                Err(mpsc::TrySendError::Disconnected(_)) => return Err(ended()),
            }
        }
        answer.await.map_err(|_| ended())?
    }
}

fn ended() -> JournalError {
    JournalError::Unavailable("the journal's thread has ended".into())
}

/// Runs work in a transaction that takes the write lock at its beginning.
pub(super) fn immediate<T>(
    connection: &mut Connection,
    work: impl FnOnce(&Transaction<'_>) -> Result<T, Fault>,
) -> Result<T, Fault> {
    let tx = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let answer = work(&tx)?;
    tx.commit()?;
    Ok(answer)
}

fn connect(path: &PathBuf, create: bool) -> Result<Connection, Fault> {
    if !create && !path.exists() {
        return Err(JournalError::Absent(path.display().to_string()).into());
    }
    let mut flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    if create {
        flags |= OpenFlags::SQLITE_OPEN_CREATE;
    }
    let mut connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(Duration::from_millis(BUSY_MS_MAX))?;
    connection.set_prepared_statement_cache_capacity(64);
    to_wal(&connection)?;
    // A fact must be durable before it is acted on.
    connection.pragma_update(None, "synchronous", "FULL")?;
    schema::check(&mut connection, if create { Make::IfEmpty } else { Make::Never })?;
    Ok(connection)
}

/// Changing to WAL does not wait for locks by itself; two processes that make
/// one journal at the same time meet here.
fn to_wal(connection: &Connection) -> Result<(), Fault> {
    let mut waited_ms = 0;
    loop {
        match connection.pragma_update_and_check(None, "journal_mode", "WAL", |row| row.get::<_, String>(0)) {
            Err(e) if e.sqlite_error_code() == Some(ErrorCode::DatabaseBusy) && waited_ms < BUSY_MS_MAX => {
                std::thread::sleep(Duration::from_millis(5));
                waited_ms += 5;
            }
            other => return Ok(other.map(drop)?),
        }
    }
}
