//! The gateway: an entity's HTTP API, in both shapes, in every phase.

pub mod auth;
pub mod etag;
pub mod field_path;
pub mod fields;
pub mod filter;
pub mod headers;
pub mod json;
pub mod json_split;
pub mod key_text;
pub mod page;
pub mod problem;
pub mod query;
pub mod select;
pub mod typed;
