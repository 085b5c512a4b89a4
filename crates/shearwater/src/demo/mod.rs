//! The demo: a whole migration under load, judged from what its clients saw.

pub mod check;
mod dice;
pub mod history;
mod walks;
