//! Every real data set, and everything nasty, through the real binary: import,
//! init, plan, start, there, back, there again, complete, export. What comes out
//! in shape v1 must be what went in, byte for byte.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod absorb;
mod databases;
mod dynamodb;
mod given;
mod made;
mod mongodb;
mod nasty;
mod northwind;
mod refused;
mod servers;
mod sets;
mod tables;
mod walk;
