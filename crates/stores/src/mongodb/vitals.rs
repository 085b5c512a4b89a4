//! How our background work weighs on the servers now: how far the majority is
//! behind the primary, which every account may ask.

use async_trait::async_trait;
use mongodb::bson::Document;
use shearwater_core::error::StoreResult;
use shearwater_core::store::{Load, Vitals};

use super::MongoDb;
use super::raw::Doc;
use super::session::Topology;

#[async_trait]
impl Vitals for MongoDb {
    async fn load(&self) -> StoreResult<Load> {
        let server = &self.0.server;
        if server.topology == Topology::Standalone {
            return Ok(Load::default());
        }
        let mut hello = Doc::new();
        hello.int("hello", 1);
        let answer = server.run("asking how far the replicas are", hello.end()).await;
        Ok(load_of(&answer.map_err(|failure| failure.of_a_repeatable().error)?))
    }
}

/// What the primary wrote last, and what it knows a majority to have.
fn load_of(hello: &Document) -> Load {
    let time =
        |name: &str| hello.get_document("lastWrite").ok()?.get_datetime(name).ok().map(|at| at.timestamp_millis());
    let lag = match (time("lastWriteDate"), time("majorityWriteDate")) {
        (Some(last), Some(majority)) => last - majority,
        _ => 0,
    };
    Load { lock_waits: 0, replica_lag_ms: u64::try_from(lag).unwrap_or(0) }
}

#[cfg(test)]
mod tests {
    use mongodb::bson::{DateTime, doc};

    use super::*;

    #[test]
    fn the_majority_is_as_far_behind_as_its_last_write() {
        let at = DateTime::from_millis;
        let hello = doc! { "lastWrite": { "lastWriteDate": at(9_000), "majorityWriteDate": at(5_500) } };
        assert_eq!(load_of(&hello).replica_lag_ms, 3_500);
        assert_eq!(load_of(&doc! {}).replica_lag_ms, 0);
    }
}
