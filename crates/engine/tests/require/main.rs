//! A new required field through all of its phases: what clients of both shapes
//! see, what a kill leaves, and the mistakes that others make.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, missing_docs)]

mod clients;
mod documents;
mod kill;
mod mistakes;
mod process;
mod walk;
mod world;
