//! PostgreSQL, killed while a backfill's batches are not on its disk yet.

use shearwater_core::error::{Policy, StoreResult};
use shearwater_core::evolve::{FillCheckpoint, FillRange, Stage};
use shearwater_testbed::{Options, Postgres};

use crate::place::{Kind, Place, Wanting};

const ROWS: u64 = 2_000;

const ROWS_PER_BATCH: u64 = 500;

/// Asks again over another connection when one died with the server.
async fn persist<T, F: Future<Output = StoreResult<T>>>(ask: impl Fn() -> F) -> T {
    loop {
        match ask().await {
            Ok(answer) => return answer,
            Err(error) => assert_eq!(error.policy(), Policy::Retry, "{error}"),
        }
    }
}

async fn fill(wanting: &Wanting, run: &str, range: &FillRange, at: &FillCheckpoint) -> FillCheckpoint {
    persist(|| wanting.evolve.fill(run, range, at, ROWS_PER_BATCH)).await
}

async fn missing(wanting: &Wanting) -> u64 {
    persist(|| wanting.evolve.count_missing()).await
}

async fn checkpoint(wanting: &Wanting, run: &str) -> Option<FillCheckpoint> {
    persist(|| wanting.evolve.fill_checkpoints(run)).await.into_iter().next()
}

/// A crash takes a batch's rows and its checkpoint together. Whoever goes on from
/// what it remembers passes those rows by; they are counted then, and another run
/// fills them. The last batch waits for the disk, and brings all before it there.
#[tokio::test]
async fn batches_that_a_crash_takes_are_counted_as_missing_and_the_last_one_is_on_the_disk() {
    // Nobody else brings the log to the disk meanwhile.
    let options = Options::new().setting("wal_writer_delay", "10s").setting("autovacuum", "off");
    let server: &'static Postgres = Box::leak(Box::new(Postgres::start(options)));
    let place = Place::on(server, Kind::Postgres);
    place.run(&format!(
        "INSERT INTO users (id, name, active) SELECT n, 'somebody ' || n, true FROM generate_series(1, {ROWS}) n"
    ));
    let wanting = place.wanting("status", "text", "{ sql = '''concat('is ', name)''', fallback = \"none\" }").await;
    wanting.stage(Stage::Expand).await;
    let range = wanting.evolve.fill_ranges(1).await.unwrap().remove(0);
    let mut at = FillCheckpoint { range: range.id, ..FillCheckpoint::default() };
    at = fill(&wanting, "run", &range, &at).await;
    assert!(at.filled > 0 && !at.done);
    server.kill();
    server.start_again();
    let kept = checkpoint(&wanting, "run").await.map_or(0, |kept| kept.filled);
    let lost = at.filled - kept;
    assert_eq!(missing(&wanting).await, ROWS - kept, "rows and checkpoint are one");
    assert!(lost > 0, "the batch was on the disk already: nothing was tried");
    while !at.done {
        at = fill(&wanting, "run", &range, &at).await;
    }
    server.kill();
    server.start_again();
    assert_eq!(missing(&wanting).await, lost, "what came after is on the disk");
    assert!(checkpoint(&wanting, "run").await.unwrap().done);
    let mut again = FillCheckpoint { range: range.id, ..FillCheckpoint::default() };
    while !again.done {
        again = fill(&wanting, "run.1", &range, &again).await;
    }
    assert_eq!((again.filled, missing(&wanting).await), (lost, 0));
}
