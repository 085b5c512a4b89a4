//! Everything that people read: amounts, tables, progress, the console.

pub mod amount;
pub mod console;
pub mod progress;
pub mod table;

pub use console::{Console, Format};
