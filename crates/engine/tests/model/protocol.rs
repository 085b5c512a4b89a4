//! The protections, and the atomic operations of one store.

/// How the dirty mark is set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mark {
    /// In the same atomic write.
    Atomic,
    /// In a write of its own, afterwards (H4b).
    Afterwards,
    /// Not in a store at all (H4a, H4d).
    Never,
}

/// The protections of PROTOCOL.md, each switchable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Protections {
    pub guard: bool,
    pub tombstone: bool,
    pub mark: Mark,
    pub clear_by_stamp: bool,
    pub fence: bool,
    pub epoch_in_stamp: bool,
    pub drain: bool,
    pub dirty_from_authority: bool,
    pub ramp_by_key: bool,
    pub repair_guarded: bool,
    pub delete_after_reread: bool,
    pub never_compensate: bool,
    pub idempotency: bool,
}

impl Protections {
    pub const ALL: Protections = Protections {
        guard: true,
        tombstone: true,
        mark: Mark::Atomic,
        clear_by_stamp: true,
        fence: true,
        epoch_in_stamp: true,
        drain: true,
        dirty_from_authority: true,
        ramp_by_key: true,
        repair_guarded: true,
        delete_after_reread: true,
        never_compensate: true,
        idempotency: true,
    };
}

/// What a writer does. Values stand for whole records; each writer has its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Edit {
    Put(u8),
    Delete,
    /// An insert under an idempotency key, sent again when the reply is lost.
    InsertOnce(u8),
}

impl Edit {
    pub fn value(self) -> Option<u8> {
        match self {
            Edit::Put(value) | Edit::InsertOnce(value) => Some(value),
            Edit::Delete => None,
        }
    }
}

pub type Stamp = (u8, u8);

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    Authority,
    Follower,
    Closed,
}

/// One store's part for the one key.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Store {
    pub value: Option<u8>,
    /// The version (place in the order of acknowledged writes) of the value; for readers.
    pub version: u8,
    pub stamp: Stamp,
    pub counter: u8,
    pub dirty: Option<Stamp>,
    pub role: Role,
    pub epoch: u8,
    pub idempotency_row: bool,
}

impl Store {
    pub fn new(value: Option<u8>, role: Role) -> Store {
        Store { value, version: 0, stamp: (0, 0), counter: 0, dirty: None, role, epoch: 1, idempotency_row: false }
    }

    /// An authority write; `None` when the fence refuses it.
    pub fn write(&mut self, on: Protections, epoch: u8, value: Option<u8>, version: u8) -> Option<Stamp> {
        if on.fence && (self.role != Role::Authority || epoch < self.epoch) {
            return None;
        }
        self.counter = self.counter.max(self.stamp.1) + 1;
        self.stamp = (if on.epoch_in_stamp { epoch.max(self.epoch) } else { 0 }, self.counter);
        self.value = value;
        self.version = version;
        if on.mark == Mark::Atomic {
            self.dirty = Some(self.stamp);
        }
        Some(self.stamp)
    }

    /// A guarded put or tombstone by the follower's side.
    pub fn apply(&mut self, on: Protections, value: Option<u8>, version: u8, stamp: Stamp) {
        if on.fence && self.role == Role::Authority {
            return;
        }
        if on.guard && stamp <= self.stamp && stamp != (0, 0) {
            return;
        }
        if on.guard && stamp == (0, 0) && self.stamp > (0, 0) {
            return;
        }
        self.value = value;
        self.version = version;
        self.stamp = if value.is_none() && !on.tombstone { (0, 0) } else { stamp };
    }

    /// Clears the mark.
    pub fn clear(&mut self, on: Protections, stamp: Stamp) {
        if !on.clear_by_stamp || self.dirty == Some(stamp) {
            self.dirty = None;
        }
    }
}
