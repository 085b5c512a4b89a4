//! The one thread that writes: group commit with a savepoint for each request.

use std::panic::{AssertUnwindSafe, catch_unwind};
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

type Answer = Box<dyn FnOnce(StoreResult<()>) + Send>;

/// What a request leaves: whether its changes stay, and whom to tell after the commit.
struct Ran {
    keep: bool,
    answer: Answer,
}

struct Job {
    durability: Durability,
    work: Box<dyn FnOnce(&Session) -> Ran + Send>,
    refuse: Box<dyn FnOnce(&mut Option<StoreError>) + Send>,
}

/// The way to the writing thread, which ends when the last of these is gone.
#[derive(Clone)]
pub(super) struct Writer {
    jobs: mpsc::Sender<Job>,
}

impl Writer {
    /// Starts the thread. The connection is opened with the first request, so
    /// that a store which is only read stays as it is.
    pub(super) fn start(config: Config, purpose: Purpose) -> StoreResult<Writer> {
        let (jobs, queue) = mpsc::channel(QUEUE_REQUESTS_MAX);
        let name = "sqlite-writer".to_owned();
        std::thread::Builder::new().name(name).spawn(move || serve(&config, purpose, queue)).map_err(|error| {
            StoreError::new(StoreErrorKind::Unavailable, format!("SQLite: the writing thread does not start: {error}"))
        })?;
        Ok(Writer { jobs })
    }

    /// Runs `work` in a transaction and answers after its commit. An error of
    /// `work` undoes what it did, and nothing else.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        durability: Durability,
        work: impl FnOnce(&Session) -> StoreResult<T> + Send + 'static,
    ) -> StoreResult<T> {
        let (reply, answer) = oneshot::channel::<StoreResult<T>>();
        let reply = std::sync::Arc::new(std::sync::Mutex::new(Some(reply)));
        let tell = |reply: std::sync::Arc<std::sync::Mutex<Option<oneshot::Sender<_>>>>, result: StoreResult<T>| {
            let sender = reply.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take();
            if let Some(sender) = sender {
                // A caller that went away does not want its answer.
                let _gone = sender.send(result);
            }
        };
        let (reply_refuse, tell_refuse) = (reply.clone(), tell);
        let job = Job {
            durability,
            work: Box::new(move |session| {
                let result = work(session);
                Ran {
                    keep: result.is_ok(),
                    answer: Box::new(move |committed| tell(reply, result.and_then(|done| committed.map(|()| done)))),
                }
            }),
            refuse: Box::new(move |error| {
                if let Some(error) = error.take() {
                    tell_refuse(reply_refuse, Err(error));
                }
            }),
        };
        let gone = || StoreError::new(StoreErrorKind::OutcomeUnknown, "SQLite: the writing thread ended");
        self.jobs
            .send(job)
            .await
            .map_err(|_| StoreError::new(StoreErrorKind::Unavailable, "SQLite: the writing thread ended"))?;
        answer.await.map_err(|_| gone())?
    }
}

fn refuse(job: Job, error: StoreError) {
    (job.refuse)(&mut Some(error));
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
    if let Err(error) = begin(session) {
        return refuse(job, error);
    }
    let ran = perform(session, job);
    let committed = end(session, ran.keep);
    let restored = session.set_sync(config.sync);
    (ran.answer)(committed.and(restored));
}

/// As many waiting requests as a commit may hold. Returns one that has to go alone.
fn group(session: &Session, first: Job, queue: &mut mpsc::Receiver<Job>) -> Option<Job> {
    if let Err(error) = begin(session) {
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
            if next.as_ref().is_some_and(|job| job.durability == Durability::OnDisk) {
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

fn begin(session: &Session) -> StoreResult<()> {
    if !session.conn.is_autocommit() {
        // A commit that failed left its transaction open.
        run(&session.conn, "ROLLBACK")?;
        session.forget_schema();
    }
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
        return Ran { keep: false, answer: refusal(job, error) };
    }
    let ran = perform(session, job);
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

fn refusal(job: Job, error: StoreError) -> Answer {
    Box::new(move |_| refuse(job, error))
}

fn perform(session: &Session, job: Job) -> Ran {
    let Job { work, refuse, .. } = job;
    catch_unwind(AssertUnwindSafe(|| work(session))).unwrap_or_else(|_| Ran {
        keep: false,
        answer: Box::new(move |_| {
            refuse(&mut Some(StoreError::new(
                StoreErrorKind::Unavailable,
                "SQLite: a request failed inside the program; it was undone",
            )));
        }),
    })
}
