//! Whole absorbs on real stores: there, back, and again; the protocol's holes
//! with their protections on and off; stragglers, bulk updates, lists.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod child;
mod collisions;
mod held;
mod holes;
mod identity;
mod joins;
mod journey;
mod kill;
mod kill_keys;
mod lists;
mod meeting;
mod references;
mod scene;
mod servers;
mod stragglers;
mod undo;
mod whole_keys;
mod world;
