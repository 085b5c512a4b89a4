//! The demo at a small size, between stores of every kind: it must find nothing
//! wrong, leave nothing behind, and be able to find something.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod absorbs;
mod documents;
mod faults;
mod judge;
mod outsiders;
mod place;
mod tables;
