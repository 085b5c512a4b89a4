//! The command line through the real binary, as golden transcripts.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod absorb;
mod bad_input;
mod journal;
mod reference;
mod require;
mod tables;
mod terminal;
mod transcript;
mod walk;
