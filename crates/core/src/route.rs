//! Routes: (phase, ramp, key, dirty, operation) → who serves, who follows, what
//! the client is owed.

use crate::Key;
use crate::lifecycle::{Phase, State};
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

/// The store that serves reads of everything, by phase; in an unsettled phase
/// the side that the journal has decided for.
fn serving(state: &State) -> Side {
    match state.effective_phase() {
        Phase::Planned | Phase::DualWrite | Phase::ShadowRead | Phase::ReadRamp | Phase::Withdrawn => Side::Source,
        Phase::ReverseWindow | Phase::Complete => Side::Target,
        Phase::Cutover => decided_or(state, Side::Source),
        Phase::Rollback => decided_or(state, Side::Target),
    }
}

fn decided_or(state: &State, before: Side) -> Side {
    match &state.switch {
        Some(switch) if switch.decided => switch.to,
        Some(_) | None => before,
    }
}

/// The route of a read by key.
pub fn read(state: &State, key: &Key) -> ReadRoute {
    let side = serving(state);
    if state.effective_phase() == Phase::ReadRamp && key.hash() % 100 < u64::from(state.ramp_percent) {
        return ReadRoute::RampedTo { follower: side.other(), authority: side };
    }
    ReadRoute::From(side)
}

/// The route of a list. The ramp counts keys, and a list has all of them: it is
/// served by the follower, overlaid, as soon as any key is.
pub fn list(state: &State) -> ListRoute {
    let side = serving(state);
    if state.effective_phase() == Phase::ReadRamp && state.ramp_percent > 0 {
        return ListRoute::Overlaid { follower: side.other(), authority: side };
    }
    ListRoute::From(side)
}

/// The route of a write.
pub fn write(state: &State) -> WriteRoute {
    let (wait, check_target_first) = match state.effective_phase() {
        Phase::Cutover | Phase::Rollback => return WriteRoute::Hold,
        Phase::Planned | Phase::Complete | Phase::Withdrawn => (FollowerWait::None, false),
        Phase::DualWrite | Phase::ShadowRead | Phase::ReverseWindow => (FollowerWait::Brief, false),
        Phase::ReadRamp => (FollowerWait::Ramped, true),
    };
    let epoch = state.captured.then_some(state.epoch);
    WriteRoute::To { authority: serving(state), follower: state.follower(), wait, check_target_first, epoch }
}

/// Whether reads are compared with the follower off the client's path, and
/// with which store.
pub fn shadow(state: &State) -> Option<Side> {
    match state.effective_phase() {
        Phase::ShadowRead => state.follower(),
        Phase::Planned
        | Phase::DualWrite
        | Phase::ReadRamp
        | Phase::Cutover
        | Phase::ReverseWindow
        | Phase::Rollback
        | Phase::Complete
        | Phase::Withdrawn => None,
    }
}

/// Whether a read must be confirmed with the journal after it was made: while
/// the authority is unsettled another member may see the end of it earlier.
/// Writes are held until `opened` is journalled, so a read that finds no newer
/// entry afterwards came before every write of the new authority.
pub fn confirm_reads(state: &State) -> bool {
    state.authority().is_none()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lifecycle::Lifecycle as _;
    use crate::lifecycle::State;

    fn state(phase: Phase, entering: Option<Phase>, ramp_percent: u8) -> State {
        State { phase, entering, ramp_percent, captured: true, epoch: 7, ..State::initial() }
    }

    fn side(side: Side) -> &'static str {
        match side {
            Side::Source => "S",
            Side::Target => "T",
        }
    }

    fn words(state: &State) -> String {
        let read = match serving_of_any_key(state) {
            ReadRoute::From(s) => side(s).to_owned(),
            ReadRoute::RampedTo { follower, authority } => format!("{}|{}", side(follower), side(authority)),
        };
        let list = match list(state) {
            ListRoute::From(s) => side(s).to_owned(),
            ListRoute::Overlaid { follower, authority } => format!("{}+{}", side(follower), side(authority)),
        };
        let write = match write(state) {
            WriteRoute::Hold => "hold".to_owned(),
            WriteRoute::To { authority, follower, wait, check_target_first, .. } => format!(
                "{}{} {wait:?}{}",
                side(authority),
                follower.map(|f| format!(">{}", side(f))).unwrap_or_default(),
                if check_target_first { " check" } else { "" }
            ),
        };
        let shadow = shadow(state).map(|s| format!(" shadow {}", side(s))).unwrap_or_default();
        format!("read {read}, list {list}, write {write}{shadow}")
    }

    fn serving_of_any_key(state: &State) -> ReadRoute {
        // At 100 % every key is ramped, at 0 % none: no key hash is needed.
        match state.effective_phase() == Phase::ReadRamp && state.ramp_percent == 100 {
            true => ReadRoute::RampedTo { follower: serving(state).other(), authority: serving(state) },
            false => ReadRoute::From(serving(state)),
        }
    }

    #[test]
    fn routing_table_of_the_protocol() {
        let check = |phase, entering, ramp, expect: &str| {
            assert_eq!(words(&state(phase, entering, ramp)), expect, "{phase:?} entering {entering:?} at {ramp} %");
        };
        use Phase::*;
        check(Planned, None, 0, "read S, list S, write S None");
        check(DualWrite, None, 0, "read S, list S, write S>T Brief");
        check(ShadowRead, None, 0, "read S, list S, write S>T Brief shadow T");
        check(ReadRamp, None, 0, "read S, list S, write S>T Ramped check");
        check(ReadRamp, None, 100, "read T|S, list T+S, write S>T Ramped check");
        check(Cutover, None, 100, "read S, list S, write hold");
        check(ReverseWindow, None, 0, "read T, list T, write T>S Brief");
        check(Rollback, None, 0, "read T, list T, write hold");
        check(Complete, None, 0, "read T, list T, write T None");
        check(Withdrawn, None, 0, "read S, list S, write S None");
        // The phase that is being entered is followed at once.
        check(Planned, Some(DualWrite), 0, "read S, list S, write S>T Brief");
        check(ReadRamp, Some(Planned), 100, "read S, list S, write S None");
        check(ReverseWindow, Some(Complete), 0, "read T, list T, write T None");
    }

    #[test]
    fn a_decided_switch_reads_the_new_authority_and_still_holds_writes() {
        use crate::lifecycle::Switch;
        let check = |phase, from: Side, decided, expect| {
            let switch = Switch { from, to: from.other(), back_to: Phase::ReadRamp, decided, budget_ms: 300 };
            let state = State { switch: Some(switch), ..state(phase, None, 0) };
            assert_eq!(words(&state), expect);
            assert!(confirm_reads(&state));
        };
        check(Phase::Cutover, Side::Source, false, "read S, list S, write hold");
        check(Phase::Cutover, Side::Source, true, "read T, list T, write hold");
        check(Phase::Rollback, Side::Target, false, "read T, list T, write hold");
        check(Phase::Rollback, Side::Target, true, "read S, list S, write hold");
        assert!(!confirm_reads(&state(Phase::ReadRamp, None, 50)));
    }

    #[test]
    fn the_ramp_takes_keys_by_hash_and_never_gives_one_back() {
        let ramped = |percent, key: &Key| {
            matches!(read(&state(Phase::ReadRamp, None, percent), key), ReadRoute::RampedTo { .. })
        };
        let keys: Vec<Key> = (0..1_000).map(|n| Key::single(n as i64)).collect();
        let counts: Vec<usize> =
            [0, 10, 50, 100].iter().map(|&p| keys.iter().filter(|k| ramped(p, k)).count()).collect();
        assert_eq!((counts[0], counts[3]), (0, 1_000));
        assert!((50..150).contains(&counts[1]) && (400..600).contains(&counts[2]), "{counts:?}");
        for key in &keys {
            let first = (0..=100).find(|&p| ramped(p, key)).unwrap();
            assert!((first..=100).all(|p| ramped(p, key)), "a key that is read from the target stays there");
        }
    }

    #[test]
    fn writes_carry_the_epoch_only_where_a_sidecar_is() {
        let epoch = |captured| match write(&State { captured, ..state(Phase::Planned, None, 0) }) {
            WriteRoute::To { epoch, .. } => epoch,
            WriteRoute::Hold => panic!("planned does not hold"),
        };
        assert_eq!(epoch(true), Some(7));
        assert_eq!(epoch(false), None);
    }
}
