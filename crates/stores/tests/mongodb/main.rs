//! MongoDB against a real mongod.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, missing_docs)]

mod conformance;
mod denials;
mod documents;
mod failover;
mod fence;
#[path = "../inputs/mod.rs"]
mod inputs;
mod lists;
mod place;
mod standalone;
