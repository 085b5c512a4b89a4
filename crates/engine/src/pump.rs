//! The copying itself, for the backfill and for `copy`: ranges to parallel
//! workers, each a pipeline read → map → apply with one chunk between two
//! steps, so that memory stays flat however large the table is.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use shearwater_core::Key;
use shearwater_core::Stamp;
use shearwater_core::error::{Policy, StoreError};
use shearwater_core::lifecycle::BackfillTotals;
use shearwater_core::mapping::Mapping;
use shearwater_core::store::{Applied, Checkpoint, CheckpointStep, Chunk, Put, ScanRange, Side};
use shearwater_core::verbatim::RowsPut;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;

use crate::brake::{Brake, LOOK_INTERVAL};
use crate::dead_letters::{Letters, Refused};
use crate::follow::put_of;
use crate::foreground::Foreground;
use crate::helm::{Course, Leash, backoff};
use crate::lane::{self, Lane, Part, Passing};
use crate::ledger::Halt;
use crate::progress::Progress;
use crate::throttle::Throttle;
use crate::{Setup, failpoint};

/// Chunks waiting between two steps of a pipeline: one is enough to keep both
/// steps busy, and memory holds them all.
const CHUNKS_WAITING: usize = 1;

/// Refusals listed by a copy; beyond that they are only counted.
pub const REFUSED_LISTED_MAX: usize = 1_000;

/// Where refused records are kept.
pub enum Sink {
    /// As dead letters, in the journal.
    Letters(Arc<tokio::sync::Mutex<Letters>>),
    /// In a list for the report.
    Listed(Mutex<Vec<Refused>>),
}

impl Sink {
    async fn keep(&self, refused: &[Refused]) -> Result<(), Halt> {
        match self {
            Sink::Letters(letters) if !refused.is_empty() => {
                let mut letters = letters.lock().await;
                for one in refused {
                    letters.bury(Side::Source, one).await?;
                    failpoint::hit("backfill-letter-buried");
                }
            }
            Sink::Letters(_) => {}
            Sink::Listed(list) => {
                if let Ok(mut list) = list.lock() {
                    let room = REFUSED_LISTED_MAX.saturating_sub(list.len());
                    list.extend(refused.iter().take(room).cloned());
                }
            }
        }
        Ok(())
    }
}

/// One run's copying from source to target.
pub struct Pump {
    /// The migration.
    pub setup: Setup,
    /// Source to target, under an epoch.
    pub course: Course,
    /// The run's name, under which the target keeps its checkpoints.
    pub run: String,
    /// The pace.
    pub throttle: Throttle,
    /// What clients feel.
    pub foreground: Arc<Foreground>,
    /// What the stores feel.
    pub brake: Brake,
    /// As many chunks are written at a time as the target applies side by
    /// side; the duty bound holds for each of them.
    pub turn: Semaphore,
    /// How records go without being decoded, if they can.
    pub lane: Option<Lane>,
    /// What is shown.
    pub progress: Progress,
    /// Where refused records are kept.
    pub sink: Sink,
}

struct Mapped {
    /// Records that are not decoded, which no put stands for yet.
    passing: Passing,
    records: Vec<(Key, Stamp)>,
    puts: Vec<Put>,
    refused: Vec<Refused>,
    chunk: ChunkSize,
}

/// What a chunk adds to its range's checkpoint.
struct ChunkSize {
    read: u64,
    bytes: u64,
    next: Option<shearwater_core::store::Cursor>,
}

impl Mapped {
    /// What it makes of its range's checkpoint.
    fn step(&self, at: &Checkpoint) -> CheckpointStep {
        let to = Checkpoint {
            done: self.chunk.next.is_none(),
            cursor: self.chunk.next.clone(),
            read: at.read + self.chunk.read,
            dead: at.dead + self.refused.len() as u64,
            bytes: at.bytes + self.chunk.bytes,
            ..at.clone()
        };
        CheckpointStep { from: at.clone(), to }
    }
}

impl Pump {
    /// Copies all ranges, going on from the checkpoints; answers the totals of
    /// the whole run, earlier processes' parts included (without the time).
    pub async fn run(
        self: &Arc<Self>,
        ranges: Vec<ScanRange>,
        checkpoints: Vec<Checkpoint>,
        leash: Leash,
    ) -> Result<BackfillTotals, Halt> {
        let mut known: HashMap<u32, Checkpoint> = checkpoints.into_iter().map(|c| (c.range, c)).collect();
        let mut totals = BackfillTotals::default();
        let mut queue = VecDeque::new();
        for range in ranges {
            match known.remove(&range.id) {
                Some(done) if done.done => add(&mut totals, &done),
                Some(begun) => queue.push_back((range, begun)),
                None => queue.push_back((range.clone(), self.unbegun(&range))),
            }
        }
        let queue = Arc::new(Mutex::new(queue));
        let mut workers = JoinSet::new();
        for _ in 0..self.setup.spec.pace.workers.max(1) {
            workers.spawn(self.clone().work(queue.clone(), leash.clone()));
        }
        while let Some(worked) = workers.join_next().await {
            for checkpoint in worked.map_err(|error| Halt::Broken(error.to_string()))?? {
                add(&mut totals, &checkpoint);
            }
        }
        Ok(totals)
    }

    fn unbegun(&self, range: &ScanRange) -> Checkpoint {
        Checkpoint {
            run: self.run.clone(),
            range: range.id,
            cursor: None,
            done: false,
            read: 0,
            changed: 0,
            dead: 0,
            bytes: 0,
        }
    }

    /// A worker: one range after the other until none is left.
    async fn work(
        self: Arc<Self>,
        queue: Arc<Mutex<VecDeque<(ScanRange, Checkpoint)>>>,
        mut leash: Leash,
    ) -> Result<Vec<Checkpoint>, Halt> {
        let mut finished = Vec::new();
        loop {
            let next = queue.lock().map_err(|_| Halt::Broken("a worker died".into()))?.pop_front();
            let Some((range, mut from)) = next else { return Ok(finished) };
            let mut failures = 0;
            loop {
                match self.copy_range(&range, from.clone(), &leash).await {
                    Ok(done) => {
                        finished.push(done);
                        break;
                    }
                    Err(Halt::Store { side, error }) if error.policy() == Policy::Retry => {
                        warn(side, &error);
                        leash.rest(backoff(failures)).await?;
                        leash.pass().await?;
                        failures += 1;
                        from = self.reread(&range, from).await;
                    }
                    Err(halt) => return Err(halt),
                }
            }
        }
    }

    /// The checkpoint as the target has it after a failure, if it can be read.
    async fn reread(&self, range: &ScanRange, last: Checkpoint) -> Checkpoint {
        match self.setup.target.checkpoints(&self.run).await {
            Ok(all) => all.into_iter().find(|c| c.range == range.id).unwrap_or(last),
            Err(_) => last,
        }
    }

    async fn copy_range(&self, range: &ScanRange, from: Checkpoint, leash: &Leash) -> Result<Checkpoint, Halt> {
        if from.done {
            return Ok(from);
        }
        let (read_out, read_in) = mpsc::channel(CHUNKS_WAITING);
        let (mapped_out, mapped_in) = mpsc::channel(CHUNKS_WAITING);
        let (_, _, done) = tokio::try_join!(
            self.read(range, from.cursor.clone(), leash.clone(), read_out),
            self.map(read_in, mapped_out),
            self.apply(mapped_in, from, leash.clone()),
        )?;
        Ok(done)
    }

    async fn read(
        &self,
        range: &ScanRange,
        mut after: Option<shearwater_core::store::Cursor>,
        mut leash: Leash,
        out: mpsc::Sender<Part>,
    ) -> Result<(), Halt> {
        loop {
            leash.pass().await?;
            let max = self.throttle.chunk_max();
            let part = lane::read(&*self.setup.source, self.lane.as_ref(), range, after.as_ref(), max).await?;
            failpoint::hit("backfill-chunk-read");
            after = part.chunk.next.clone();
            let end = after.is_none();
            if out.send(part).await.is_err() || end {
                return Ok(());
            }
        }
    }

    async fn map(&self, mut parts: mpsc::Receiver<Part>, out: mpsc::Sender<Mapped>) -> Result<(), Halt> {
        while let Some(part) = parts.recv().await {
            let (passing, chunk) = lane::write(&self.setup, self.lane.as_ref(), part).await?;
            let mut mapped = self.mapped(chunk).await?;
            mapped.chunk.read += passing.count() as u64;
            mapped.passing = passing;
            if out.send(mapped).await.is_err() {
                return Ok(());
            }
        }
        Ok(())
    }

    async fn mapped(&self, chunk: Chunk) -> Result<Mapped, Halt> {
        let (mapping, course) = (self.setup.mapping.clone(), self.course);
        let mapped = tokio::task::spawn_blocking(move || map_chunk(&mapping, course, chunk)).await;
        mapped.map_err(|error| Halt::Broken(error.to_string()))
    }

    async fn apply(
        &self,
        mut chunks: mpsc::Receiver<Mapped>,
        mut at: Checkpoint,
        mut leash: Leash,
    ) -> Result<Checkpoint, Halt> {
        while let Some(mapped) = chunks.recv().await {
            leash.pass().await?;
            self.rest_while_held(&mut leash).await?;
            let turn = self.turn.acquire().await.map_err(|error| Halt::Broken(error.to_string()))?;
            let records = mapped.passing.count() + mapped.puts.len();
            let began = Instant::now();
            let before = at.clone();
            at = self.apply_chunk(mapped, at).await?;
            let rest = self.throttle.wrote(records, began.elapsed(), &self.foreground);
            self.progress.add(at.read - before.read, at.changed - before.changed, at.dead - before.dead).await?;
            // Resting within the turn: the bound is on all workers together.
            leash.rest(rest).await?;
            drop(turn);
        }
        if at.done {
            return Ok(at);
        }
        // The reader ended early: its error is the one to tell.
        Err(Halt::Broken("the range's reader ended early".into()))
    }

    async fn rest_while_held(&self, leash: &mut Leash) -> Result<(), Halt> {
        while let Some(why) = self.brake.held().await {
            self.progress.rests(Some(why)).await?;
            leash.rest(LOOK_INTERVAL).await?;
            leash.pass().await?;
        }
        Ok(self.progress.rests(None).await?)
    }

    /// Writes one chunk with its checkpoint. Dead letters are kept before the
    /// checkpoint that says that their records are dealt with.
    async fn apply_chunk(&self, mut mapped: Mapped, at: Checkpoint) -> Result<Checkpoint, Halt> {
        self.sink.keep(&mapped.refused).await?;
        let (mut step, mut put) = (mapped.step(&at), None);
        if mapped.passing.count() > 0 {
            let lane = self.lane.as_ref();
            put = mapped.passing.put(&self.setup, lane, self.course.epoch, &mapped.puts, &step).await?;
            if put.is_none() {
                mapped = self.decoded(mapped).await?;
                step = mapped.step(&at);
            }
        }
        let RowsPut { changed, answers } = match put {
            Some(put) => put,
            None => RowsPut { changed: 0, answers: self.put(std::mem::take(&mut mapped.puts), &step).await? },
        };
        failpoint::hit("backfill-chunk-applied");
        let step = RowsPut::step(&step, changed);
        let saved = step.after(&answers);
        let late = late_refusals(&mapped.records, &answers);
        if late.is_empty() {
            return Ok(saved);
        }
        self.sink.keep(&late).await?;
        let dead = step.to.dead + late.len() as u64;
        let step = CheckpointStep { from: saved, to: Checkpoint { dead, ..step.to } };
        self.put(Vec::new(), &step).await?;
        failpoint::hit("backfill-checkpointed");
        Ok(step.after(&[]))
    }

    /// The same with a put for each record. What is refused now is kept at once.
    async fn decoded(&self, mapped: Mapped) -> Result<Mapped, Halt> {
        let records = mapped.passing.decode(&*self.setup.source).await?;
        let rows = self.mapped(Chunk { records, next: None, bytes: 0 }).await?;
        self.sink.keep(&rows.refused).await?;
        let mut all = Mapped { passing: Passing::None, ..mapped };
        all.records.extend(rows.records);
        all.puts.extend(rows.puts);
        all.refused.extend(rows.refused);
        Ok(all)
    }

    async fn put(&self, puts: Vec<Put>, step: &CheckpointStep) -> Result<Vec<Applied>, Halt> {
        let applied = self.setup.target.apply(self.course.epoch, puts, Some(step.clone())).await;
        applied.map_err(Halt::store(Side::Target))
    }
}

fn late_refusals(records: &[(Key, Stamp)], answers: &[Applied]) -> Vec<Refused> {
    let refused = records.iter().zip(answers).filter_map(|((key, stamp), answer)| match answer {
        Applied::Refused(error) => Some(Refused::by_store(key, *stamp, error)),
        Applied::Changed | Applied::Unchanged | Applied::Stale { .. } => None,
    });
    refused.collect()
}

fn map_chunk(mapping: &Mapping, course: Course, chunk: Chunk) -> Mapped {
    let size = ChunkSize { read: chunk.records.len() as u64, bytes: chunk.bytes as u64, next: chunk.next };
    let mut mapped = Mapped {
        records: Vec::with_capacity(chunk.records.len()),
        puts: Vec::with_capacity(chunk.records.len()),
        refused: Vec::new(),
        chunk: size,
        passing: Passing::None,
    };
    for record in chunk.records {
        match record {
            Ok(record) => {
                let stamp = record.stamp.unwrap_or(Stamp::ZERO);
                match put_of(mapping, course, &record, stamp) {
                    Ok(put) => {
                        mapped.records.push((record.key, stamp));
                        mapped.puts.push(put);
                    }
                    Err(error) => mapped.refused.push(Refused::by_mapping(&record.key, stamp, &error)),
                }
            }
            Err(bad) => mapped.refused.push(Refused::unreadable(bad.key.as_ref(), &bad.error)),
        }
    }
    mapped
}

fn add(totals: &mut BackfillTotals, range: &Checkpoint) {
    totals.read += range.read;
    totals.changed += range.changed;
    totals.dead += range.dead;
    totals.bytes += range.bytes;
}

fn warn(side: Side, error: &StoreError) {
    tracing::warn!(?side, code = error.code(), "backfill waits: {}", error.message);
}
