//! Specs for tables of plain columns: proposed from what a store says of them,
//! in an order in which foreign keys find their rows.

mod defaults;
mod order;
mod propose;
mod require;
#[cfg(test)]
mod tests;

pub use order::{Order, in_order};
pub use propose::{Proposal, alike, alike_table, propose};
pub use require::{ProposedValue, RequireProposal, propose_require};
