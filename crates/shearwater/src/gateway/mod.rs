//! The gateway: an entity's HTTP API, in both shapes, in every phase.

pub mod etag;
pub mod field_path;
pub mod fields;
pub mod filter;
pub mod problem;
pub mod query;
pub mod select;
pub mod typed;
