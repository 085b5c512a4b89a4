//! The gateway: an entity's HTTP API, in both shapes, in every phase.

mod answer;
pub mod app;
pub mod auth;
mod bulk;
pub mod connections;
pub mod entity;
pub mod etag;
pub mod field_path;
pub mod fields;
pub mod filter;
pub mod headers;
pub mod json;
pub mod json_split;
pub mod key_text;
pub mod openapi;
pub mod page;
pub mod problem;
pub mod query;
mod reads;
pub mod select;
pub mod server;
mod total;
pub mod typed;
pub mod usage;
mod writes;

pub use server::{ServeError, ServeHandle, ServeOptions, serve};
