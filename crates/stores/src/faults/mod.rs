//! Stores that fail on cue, for tests: [`Faulty`] wraps a store and fails,
//! delays or holds its calls, before or after the store did its part (so that
//! "the outcome is unknown" can be tested); [`Weakened`] wraps a store and
//! switches a protection of the protocol off, so that a test can show that the
//! hole of that number is there without it.

mod cue;
mod faulty;
mod weakened;

pub use cue::{Call, Cue, Fault, Held, Repeat, When};
pub use faulty::Faulty;
pub use weakened::{Weakened, Weakness};
