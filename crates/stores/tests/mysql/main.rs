//! MySQL and MariaDB against a real MariaDB server.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, missing_docs)]

mod breaks;
mod conformance;
mod denials;
mod direct;
mod fence;
mod foreign_keys;
mod place;
mod races;
mod seen;
mod values;
mod vitals;
