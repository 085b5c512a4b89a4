//! The one thread that writes: group commit with a savepoint for each request.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use shearwater_core::error::{StoreError, StoreErrorKind, StoreResult};
use tokio::sync::{mpsc, oneshot};

use super::config::{Config, Sync};
use super::session::{Purpose, Session, run};

/// Requests waiting for the writer: beyond it callers wait before they queue,
/// so that a slow disk is felt by who causes the load.
const QUEUE_REQUESTS_MAX: usize = 1_024;

/// Requests in one commit: bounds what one failed commit takes with it.
const GROUP_REQUESTS_MAX: usize = 256;

/// Work in one commit before the first request in it is answered, ms.
const GROUP_MS_MAX: u64 = 10;

/// How far a request's commit has to get.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Durability {
    /// As the URL says; shares its commit with others.
    AsConfigured,
    /// On the disk in any case, in a commit of its own.
    OnDisk,
}

/// Whether a request's rows must find the rows that they refer to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ForeignKeys {
    /// As SQLite does it: what breaks one is refused, and cascades run.
    Checked,
    /// A follower's rows come in any order, and the authority has checked them.
    Unchecked,
}

type Answer = Box<dyn FnOnce(StoreResult<()>) + Send>;

/// What a request leaves: whether its changes stay, and whom to tell after the commit.
struct Ran {
    keep: bool,
    answer: Answer,
}

/// Work on the connection, or the error for which there is none.
type Work = Box<dyn FnOnce(StoreResult<&Session>) -> Ran + Send>;

struct Job {
    durability: Durability,
    foreign_keys: ForeignKeys,
    work: Work,
}

/// The way to the writing thread, which ends when the last of these is gone.
#[derive(Clone)]
pub(super) struct Writer {
    /// Goes before `thread`: the thread ends when no sender is left.
    jobs: mpsc::Sender<Job>,
    _thread: Arc<Thread>,
}

/// The thread; whoever drops it last waits until its connection is closed, so
/// that a finished program leaves no write-ahead log behind.
struct Thread(Option<JoinHandle<()>>);

impl Drop for Thread {
    fn drop(&mut self) {
        if let Some(thread) = self.0.take().filter(|thread| thread.thread().id() != std::thread::current().id()) {
            // A panic there was answered to whoever asked.
            let _ = thread.join();
        }
    }
}

impl Writer {
    /// Starts the thread. The connection is opened with the first request, so
    /// that a store which is only read stays as it is.
    pub(super) fn start(config: Config, purpose: Purpose) -> StoreResult<Writer> {
        let (jobs, queue) = mpsc::channel(QUEUE_REQUESTS_MAX);
        let name = "sqlite-writer".to_owned();
        let spawned = std::thread::Builder::new().name(name).spawn(move || serve(&config, purpose, queue));
        let thread = spawned.map_err(|error| {
            StoreError::new(StoreErrorKind::Unavailable, format!("SQLite: the writing thread does not start: {error}"))
        })?;
        Ok(Writer { jobs, _thread: Arc::new(Thread(Some(thread))) })
    }

    /// Runs `work` in a transaction and answers after its commit. An error of
    /// `work` undoes what it did, and nothing else.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        durability: Durability,
        work: impl FnOnce(&Session) -> StoreResult<T> + Send + 'static,
    ) -> StoreResult<T> {
        self.run_with(durability, ForeignKeys::Checked, work).await
    }

    /// As [`Writer::run`], and says whether foreign keys are checked.
    pub(super) async fn run_with<T: Send + 'static>(
        &self,
        durability: Durability,
        foreign_keys: ForeignKeys,
        work: impl FnOnce(&Session) -> StoreResult<T> + Send + 'static,
    ) -> StoreResult<T> {
        let (reply, answer) = oneshot::channel::<StoreResult<T>>();
        let job = Job {
            durability,
            foreign_keys,
            work: Box::new(move |session| {
                let result = session.and_then(|session| caught(|| work(session)));
                let keep = result.is_ok();
                let answer: Answer = Box::new(move |committed| {
                    // A caller that went away does not want its answer.
                    let _gone = reply.send(result.and_then(|done| committed.map(|()| done)));
                });
                Ran { keep, answer }
            }),
        };
        let ended = |kind| StoreError::new(kind, "SQLite: the writing thread ended");
        self.jobs.send(job).await.map_err(|_| ended(StoreErrorKind::Unavailable))?;
        answer.await.map_err(|_| ended(StoreErrorKind::OutcomeUnknown))?
    }
}

/// A panic in one request must not end the thread that serves all.
fn caught<T>(work: impl FnOnce() -> StoreResult<T>) -> StoreResult<T> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| {
        let what = "SQLite: a request failed inside the program; it was undone";
        Err(StoreError::new(StoreErrorKind::Unavailable, what))
    })
}

/// Answers a request that cannot be served.
fn refuse(job: Job, error: StoreError) {
    ((job.work)(Err(error)).answer)(Ok(()));
}

fn serve(config: &Config, purpose: Purpose, mut queue: mpsc::Receiver<Job>) {
    let mut session: Option<Session> = None;
    while let Some(first) = queue.blocking_recv() {
        let open = match session.take() {
            Some(open) => open,
            None => match Session::open(config, purpose) {
                Ok(open) => open,
                Err(error) => {
                    refuse(first, error);
                    continue;
                }
            },
        };
        let mut next = Some(first);
        while let Some(job) = next.take() {
            next = match job.durability {
                Durability::OnDisk => {
                    alone(config, &open, job);
                    None
                }
                Durability::AsConfigured => group(&open, job, &mut queue),
            };
        }
        session = Some(open);
    }
}

/// One request in a commit that is on the disk when it is answered.
fn alone(config: &Config, session: &Session, job: Job) {
    if let Err(error) = session.set_sync(Sync::Full) {
        return refuse(job, error);
    }
    if let Err(error) = begin(session, job.foreign_keys) {
        return refuse(job, error);
    }
    let ran = (job.work)(Ok(session));
    let committed = end(session, ran.keep);
    let restored = session.set_sync(config.sync);
    (ran.answer)(committed.and(restored));
}

/// As many waiting requests as a commit may hold. Returns one that does not go with them.
fn group(session: &Session, first: Job, queue: &mut mpsc::Receiver<Job>) -> Option<Job> {
    let foreign_keys = first.foreign_keys;
    if let Err(error) = begin(session, foreign_keys) {
        refuse(first, error);
        return None;
    }
    let until = Instant::now() + Duration::from_millis(GROUP_MS_MAX);
    let mut answers: Vec<Answer> = Vec::new();
    let (mut next, mut left) = (Some(first), None);
    let mut lost = None;
    while let Some(job) = next.take() {
        let ran = within_savepoint(session, job);
        answers.push(ran.answer);
        if session.conn.is_autocommit() {
            // SQLite itself rolled the whole transaction back (disk full, I/O).
            lost = Some(StoreError::new(
                StoreErrorKind::Unavailable,
                "SQLite: the transaction was rolled back with another request's failure; nothing was written",
            ));
            session.forget_schema();
            break;
        }
        if answers.len() < GROUP_REQUESTS_MAX && Instant::now() < until {
            next = queue.try_recv().ok();
            let fits = |job: &Job| job.durability != Durability::OnDisk && job.foreign_keys == foreign_keys;
            if next.as_ref().is_some_and(|job| !fits(job)) {
                left = next.take();
            }
        }
    }
    let committed = match lost {
        Some(error) => Err(error),
        None => end(session, true),
    };
    for answer in answers {
        answer(committed.clone());
    }
    left
}

fn begin(session: &Session, foreign_keys: ForeignKeys) -> StoreResult<()> {
    if !session.conn.is_autocommit() {
        // A commit that failed left its transaction open.
        run(&session.conn, "ROLLBACK")?;
        session.forget_schema();
    }
    session.set_foreign_keys(foreign_keys)?;
    run(&session.conn, "BEGIN IMMEDIATE")
}

fn end(session: &Session, keep: bool) -> StoreResult<()> {
    if keep && let Err(error) = run(&session.conn, "COMMIT") {
        if !session.conn.is_autocommit() {
            run(&session.conn, "ROLLBACK")?;
        }
        session.forget_schema();
        return Err(unsure(error));
    }
    if !keep && !session.conn.is_autocommit() {
        session.forget_schema();
        run(&session.conn, "ROLLBACK")?;
    }
    Ok(())
}

/// A commit that failed on the disk may still be found there after a crash.
fn unsure(error: StoreError) -> StoreError {
    let io = error.kind == StoreErrorKind::Unavailable && !error.message.contains("locked");
    StoreError { kind: if io { StoreErrorKind::OutcomeUnknown } else { error.kind }, ..error }
}

fn within_savepoint(session: &Session, job: Job) -> Ran {
    if let Err(error) = run(&session.conn, "SAVEPOINT request") {
        return (job.work)(Err(error));
    }
    let ran = (job.work)(Ok(session));
    if session.conn.is_autocommit() {
        return ran;
    }
    let ended = if ran.keep {
        run(&session.conn, "RELEASE request")
    } else {
        session.forget_schema();
        run(&session.conn, "ROLLBACK TO request").and_then(|()| run(&session.conn, "RELEASE request"))
    };
    match ended {
        Ok(()) => ran,
        Err(error) => Ran { keep: false, answer: Box::new(move |_| (ran.answer)(Err(error))) },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sqlite::error::store_error;

    fn start() -> (tempfile::TempDir, Writer) {
        let dir = tempfile::tempdir().unwrap();
        let config = Config { path: dir.path().join("w.db"), sync: Sync::Normal };
        (dir, Writer::start(config, Purpose::Create).unwrap())
    }

    async fn sql(writer: &Writer, sql: &'static str) -> StoreResult<()> {
        let work = move |s: &Session| s.conn.execute_batch(sql).map_err(|e| store_error("testing", e));
        writer.run(Durability::AsConfigured, work).await
    }

    async fn rows(writer: &Writer) -> Vec<i64> {
        let work = |s: &Session| {
            s.conn
                .prepare("SELECT n FROM t ORDER BY n")
                .and_then(|mut s| s.query_map([], |row| row.get(0))?.collect())
                .map_err(|e| store_error("testing", e))
        };
        writer.run(Durability::AsConfigured, work).await.unwrap()
    }

    #[tokio::test]
    async fn a_failed_request_undoes_only_itself() {
        let (_dir, writer) = start();
        sql(&writer, "CREATE TABLE t (n INTEGER PRIMARY KEY)").await.unwrap();
        // One blocks the thread until all are queued, so that they share a commit.
        let (release, wait) = std::sync::mpsc::channel::<()>();
        let first = writer.run(Durability::AsConfigured, move |_| {
            wait.recv().unwrap();
            Ok(())
        });
        let work = async {
            tokio::join!(
                sql(&writer, "INSERT INTO t VALUES (1)"),
                sql(&writer, "INSERT INTO t VALUES (2); INSERT INTO t VALUES (1)"),
                writer.run(Durability::AsConfigured, |s| -> StoreResult<()> {
                    s.conn.execute_batch("INSERT INTO t VALUES (3)").unwrap();
                    panic!("a request that fails inside the program")
                }),
                sql(&writer, "INSERT INTO t VALUES (4)"),
                writer.run(Durability::OnDisk, |s| {
                    s.conn.execute_batch("INSERT INTO t VALUES (5)").map_err(|e| store_error("testing", e))
                }),
                async { release.send(()).unwrap() },
            )
        };
        let (first, (one, two, three, four, five, ())) = tokio::join!(first, work);
        assert!(first.is_ok() && one.is_ok() && four.is_ok() && five.is_ok());
        assert!(matches!(two.unwrap_err().kind, StoreErrorKind::Refused { .. }));
        assert_eq!(three.unwrap_err().kind, StoreErrorKind::Unavailable);
        assert_eq!(rows(&writer).await, [1, 4, 5]);
    }

    #[tokio::test]
    async fn a_full_disk_is_told_and_leaves_nothing_half_written() {
        let (_dir, writer) = start();
        sql(&writer, "CREATE TABLE t (n INTEGER PRIMARY KEY, filler BLOB); INSERT INTO t VALUES (1, NULL)")
            .await
            .unwrap();
        sql(&writer, "PRAGMA max_page_count = 20").await.unwrap();
        let full = sql(&writer, "INSERT INTO t VALUES (2, NULL); INSERT INTO t VALUES (3, zeroblob(1000000))").await;
        assert_eq!(full.unwrap_err().kind, StoreErrorKind::Full);
        assert_eq!(rows(&writer).await, [1]);
        sql(&writer, "INSERT INTO t VALUES (4, NULL)").await.unwrap();
        assert_eq!(rows(&writer).await, [1, 4], "the writer goes on");
    }

    #[tokio::test]
    async fn a_file_that_cannot_be_opened_is_told_to_every_caller() {
        let dir = tempfile::tempdir().unwrap();
        let config = Config { path: dir.path().join("no/such/folder/w.db"), sync: Sync::Full };
        let writer = Writer::start(config, Purpose::Create).unwrap();
        for _ in 0..2 {
            assert_eq!(sql(&writer, "SELECT 1").await.unwrap_err().kind, StoreErrorKind::NotFound);
        }
    }
}
