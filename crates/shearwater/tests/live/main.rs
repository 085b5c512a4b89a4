//! Whole migrations between real servers, while programs that have never heard
//! of Shearwater write through connections of their own.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, missing_docs)]

mod bypassed;
mod compare;
mod dice;
mod door;
mod faults;
mod foreign;
mod lane;
mod mariadb_source;
mod pair;
mod plain;
mod plan;
mod postgres_source;
mod programs;
mod recorder;
mod require;
mod stage;
mod things;
