//! The control API: the verbs of the CLI over HTTP, on a port of its own.

mod api;
pub mod status;
mod verbs;

pub use api::{ControlApp, spawn};
pub use status::{Status, status};
pub use verbs::VERBS;
