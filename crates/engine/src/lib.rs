//! Phases and activities of a migration. One file for each; `run` has all
//! control flow and stays thin.

pub mod failpoint;
pub mod member;
pub mod records;
pub mod run;
pub mod setup;
pub mod throttle;

pub use member::Member;
pub use records::Records;
pub use setup::Setup;
pub use throttle::Foreground;
