//! A new required field on a live table, on SQLite and on real servers: one
//! suite, and what only one of them has.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, missing_docs)]

mod agree;
#[cfg(feature = "mongodb")]
mod collection;
mod crash;
#[cfg(feature = "dynamodb")]
#[path = "../dynamodb/direct.rs"]
#[allow(dead_code)]
mod direct;
#[cfg(feature = "mongodb")]
mod documents;
mod hazards;
#[cfg(feature = "dynamodb")]
mod items;
mod locks;
mod place;
mod plans;
#[cfg(feature = "dynamodb")]
#[path = "../dynamodb/proxy.rs"]
#[allow(dead_code)]
mod proxy;
mod random;
mod suite;
