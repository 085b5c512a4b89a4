//! Words and decisions of Shearwater.
//!
//! Everything here is pure: no I/O, no clock, no async runtime, no driver. The
//! engine and the stores meet in the traits of [`store`] and [`journal`].

pub mod absorb;
pub mod census;
pub mod compare;
pub mod domain;
pub mod error;
pub mod evolve;
pub mod expr;
pub mod fill;
pub mod flat;
pub mod import;
pub mod journal;
pub mod key;
pub mod lifecycle;
pub mod limits;
pub mod mapping;
pub mod path;
pub mod plan;
pub mod query;
pub mod route;
pub mod shape;
pub mod spec;
pub mod stamp;
pub mod store;
pub mod tables;
mod toml_text;
pub mod value;
pub mod verbatim;

pub use key::Key;
pub use stamp::Stamp;
pub use value::{Document, Value};
