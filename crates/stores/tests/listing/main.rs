//! Lists on SQLite, PostgreSQL and MariaDB side by side: how they are answered,
//! and that they are the same.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, missing_docs)]

mod collated;
#[path = "../inputs/mod.rs"]
mod inputs;
mod place;
mod plans;
