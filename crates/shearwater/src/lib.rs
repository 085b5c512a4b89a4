//! Shearwater's outside: the gateway, the control API and their wiring.
//! Everything that decides lives in `shearwater-core` and `shearwater-engine`.

pub mod bench;
pub mod cli;
pub mod control;
pub mod demo;
pub mod gateway;
pub mod metrics;
pub mod render;
pub mod wiring;
