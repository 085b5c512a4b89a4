//! The testbed keeps its word: servers answer, databases are apart, what is
//! done to a server happens, and none outlives its test process.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod ends;
mod lives;
