//! PostgreSQL as a store, on a real server.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, missing_docs)]

mod conformance;
mod crash;
mod direct;
mod flat;
#[path = "../inputs/mod.rs"]
mod inputs;
mod looking;
mod natives;
mod numbering;
mod place;
mod races;
mod verbatim;
