//! The demo: a whole migration under load, judged from what its clients saw.

pub mod check;
mod dice;
mod direct;
pub mod history;
mod http;
mod people;
mod plot;
mod register;
mod stage;
mod traffic;
mod walker;
mod walks;
mod wire;
