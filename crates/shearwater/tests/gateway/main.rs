//! The gateway over real HTTP, against in-process servers with SQLite stores.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod absorbed;
mod bulk;
mod guards;
mod lists;
mod outcomes;
mod phases;
mod records;
mod upserts;
mod world;
