//! The limit: COPY of the rows that the backfill wrote, already in memory,
//! into fresh tables of the same definition.

use std::time::Instant;

use futures::{SinkExt, StreamExt};

use crate::pairs::{Place, connect};

/// Records per second.
pub async fn copy_per_s(place: &Place, records: u64) -> f64 {
    let client = connect(&place.target).await;
    let mut memory = Vec::new();
    for table in place.tables {
        let stream = client.copy_out(&format!("COPY \"{table}\" TO STDOUT (FORMAT binary)")).await.unwrap();
        let parts: Vec<_> = stream.map(Result::unwrap).collect().await;
        memory.push((table, parts));
        let fresh = format!("CREATE TABLE \"limit_{table}\" (LIKE \"{table}\" INCLUDING ALL)");
        client.batch_execute(&fresh).await.unwrap();
    }
    client.batch_execute("CHECKPOINT").await.unwrap();
    let began = Instant::now();
    client.batch_execute("BEGIN").await.unwrap();
    for (table, parts) in memory {
        let copy = client.copy_in(&format!("COPY \"limit_{table}\" FROM STDIN (FORMAT binary)")).await.unwrap();
        let mut copy = std::pin::pin!(copy);
        for part in parts {
            copy.send(part).await.unwrap();
        }
        copy.finish().await.unwrap();
    }
    client.batch_execute("COMMIT").await.unwrap();
    let took = began.elapsed().as_secs_f64();
    for table in place.tables {
        client.batch_execute(&format!("DROP TABLE \"limit_{table}\"")).await.unwrap();
    }
    records as f64 / took
}
