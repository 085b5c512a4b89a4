//! Each hole of PROTOCOL.md that concerns `move`, by its shortest interleaving
//! on the real code and real SQLite stores: once as it is (the hole is closed),
//! once with the one protection switched off (the hole is there).
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

#[path = "../stage/mod.rs"]
mod stage;

mod authority;
mod follower;
mod reads;
mod shapes;

use shearwater_engine::records::{self, RecordsOptions};

/// Whether the hole's protection is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Protection {
    On,
    Off,
}

/// What the scenario saw.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Seen {
    /// What PROTOCOL.md promises.
    Sound,
    /// The hole.
    Hole,
}

impl Seen {
    fn sound_if(sound: bool) -> Seen {
        if sound { Seen::Sound } else { Seen::Hole }
    }
}

impl Protection {
    /// The bend that a store has when the protection is off.
    fn bend(self, off: stage::bent::Bend) -> stage::bent::Bend {
        match self {
            Protection::On => stage::bent::Bend::Straight,
            Protection::Off => off,
        }
    }

    /// Options of the data path that lack the protection when it is off.
    fn options(self, off: records::Protection) -> RecordsOptions {
        let without = (self == Protection::Off).then_some(off);
        RecordsOptions { without, ..options() }
    }
}

fn options() -> RecordsOptions {
    RecordsOptions { follower_brief_ms: 10_000, follower_ramped_ms: 10_000, hold_ms_max: 10_000, ..Default::default() }
}

/// Runs a scenario both ways.
async fn check(scenario: impl AsyncFn(Protection) -> Seen) {
    assert_eq!(scenario(Protection::On).await, Seen::Sound, "with the protection");
    assert_eq!(scenario(Protection::Off).await, Seen::Hole, "without it the hole must be seen");
}
