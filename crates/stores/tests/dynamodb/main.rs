//! DynamoDB as a store, on Amazon's DynamoDB Local.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, missing_docs)]

mod conformance;
mod direct;
#[path = "../inputs/mod.rs"]
mod inputs;
