//! The limit: COPY of the rows that the backfill wrote, already in memory,
//! into fresh tables of the same definition.

use std::time::Instant;

use bytes::Bytes;
use futures::future::try_join_all;
use futures::{SinkExt, StreamExt, TryStreamExt};
use tokio_postgres::{Client, Error};

use crate::pairs::{Place, connect};

/// Connections side by side: one, and as many as this machine has cores for.
const CONNECTIONS: [usize; 2] = [1, 2];

/// Records per second, over as many connections as are fastest.
pub async fn copy_per_s(place: &Place, records: u64) -> f64 {
    let mut fastest: f64 = 0.0;
    for connections in CONNECTIONS {
        fastest = fastest.max(records as f64 / copied_s(place, connections).await);
    }
    fastest
}

/// The rows of one table that one connection copies.
struct Part {
    table: &'static str,
    memory: Vec<Bytes>,
}

/// Seconds to copy every table, its rows shared out between the connections.
async fn copied_s(place: &Place, connections: usize) -> f64 {
    let client = connect(&place.target).await;
    let mut shares: Vec<Vec<Part>> = (0..connections).map(|_| Vec::new()).collect();
    for &table in place.tables {
        for (number, share) in shares.iter_mut().enumerate() {
            let rows = format!(
                "COPY (SELECT * FROM \"{table}\" WHERE (ctid::text::point)[0]::bigint % {connections} = {number}) \
                 TO STDOUT (FORMAT binary)"
            );
            let memory = client.copy_out(&rows).await.unwrap().try_collect().await.unwrap();
            share.push(Part { table, memory });
        }
        let fresh = format!("CREATE TABLE \"limit_{table}\" (LIKE \"{table}\" INCLUDING ALL)");
        client.batch_execute(&fresh).await.unwrap();
    }
    let mut clients = Vec::new();
    for _ in 0..connections {
        clients.push(connect(&place.target).await);
    }
    client.batch_execute("CHECKPOINT").await.unwrap();
    let began = Instant::now();
    try_join_all(clients.iter().zip(shares).map(|(client, parts)| copy(client, parts))).await.unwrap();
    let took = began.elapsed().as_secs_f64();
    for table in place.tables {
        client.batch_execute(&format!("DROP TABLE \"limit_{table}\"")).await.unwrap();
    }
    took
}

async fn copy(client: &Client, parts: Vec<Part>) -> Result<(), Error> {
    client.batch_execute("BEGIN").await?;
    for part in parts {
        let sink = client.copy_in(&format!("COPY \"limit_{}\" FROM STDIN (FORMAT binary)", part.table)).await?;
        let mut sink = std::pin::pin!(sink);
        let mut memory = futures::stream::iter(part.memory.into_iter().map(Ok)).boxed();
        sink.send_all(&mut memory).await?;
        sink.finish().await?;
    }
    client.batch_execute("COMMIT").await
}
