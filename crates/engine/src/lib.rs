//! Phases and activities of a migration. One file for each; `run` has all
//! control flow and stays thin.

pub mod absorb;
pub mod backfill;
pub mod brake;
pub mod breaker;
pub mod commands;
pub mod complete;
pub mod coordinator;
pub mod copy;
pub mod cutover;
pub mod dead_letters;
pub mod enter;
pub mod failpoint;
pub mod follow;
pub mod gates;
pub mod helm;
pub mod interrupted;
pub mod ledger;
pub mod member;
pub mod progress;
pub mod pump;
pub mod ramp;
pub mod recheck;
pub mod reconcile;
pub mod records;
pub mod recover;
pub mod repair;
pub mod report;
pub mod require;
pub mod reverse;
pub mod rollback;
pub mod run;
pub mod serve;
pub mod setup;
pub mod shadow;
pub mod throttle;
pub mod twin;
pub mod verify;
pub mod withdraw;
pub mod work;

pub use member::Member;
pub use records::Records;
pub use serve::Serve;
pub use setup::Setup;
pub use throttle::Foreground;
