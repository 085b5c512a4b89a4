//! Routes: (phase, ramp, key, dirty, operation) → who serves, who follows, what
//! the client is owed.

use crate::Key;
use crate::lifecycle::State;
use crate::store::Side;

/// Where one record is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadRoute {
    /// From this store.
    From(Side),
    /// From the follower when the authority says that the key is clean, else
    /// from the authority; also when the follower fails.
    RampedTo {
        /// The follower, which serves clean keys.
        follower: Side,
        /// The authority, which has the marks and serves dirty keys.
        authority: Side,
    },
}

/// Where a list is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ListRoute {
    /// From this store.
    From(Side),
    /// From the follower without the dirty keys, overlaid with those from the authority.
    Overlaid {
        /// The follower.
        follower: Side,
        /// The authority.
        authority: Side,
    },
}

/// How long a client's answer waits for the follower.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FollowerWait {
    /// Nobody follows.
    None,
    /// Briefly; when it does not answer, the key stays dirty and the client is not kept.
    Brief,
    /// Bounded, but long enough that reads of this key from the follower see the write.
    Ramped,
}

/// Where a write goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WriteRoute {
    /// To the authority, then the follower.
    To {
        /// Decides.
        authority: Side,
        /// Follows.
        follower: Option<Side>,
        /// What the client is owed of the follower.
        wait: FollowerWait,
        /// Whether target-only constraints are checked before the authority write.
        check_target_first: bool,
        /// The epoch to write under; `None` where no sidecar is installed.
        epoch: Option<u64>,
    },
    /// Nowhere yet: hold it until the authority is settled, within the pause budget.
    Hold,
}

/// The route of a read by key.
pub fn read(_state: &State, _key: &Key) -> ReadRoute {
    todo!()
}

/// The route of a list.
pub fn list(_state: &State) -> ListRoute {
    todo!()
}

/// The route of a write.
pub fn write(_state: &State) -> WriteRoute {
    todo!()
}

/// Whether reads are compared with the follower off the client's path, and
/// with which store.
pub fn shadow(_state: &State) -> Option<Side> {
    todo!()
}
