//! DynamoDB as a store, on Amazon's DynamoDB Local.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, missing_docs)]

mod breaks;
mod bypass;
mod conformance;
mod direct;
mod entities;
mod fence;
mod given;
#[path = "../inputs/mod.rs"]
mod inputs;
mod place;
mod proxy;
mod races;
