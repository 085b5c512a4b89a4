//! What clients asked and what they were answered, compactly: the evidence
//! that the checker judges.
//!
//! Every write puts a version into its record that no other write of the same
//! key uses, so that a later read says which write it saw.

/// A record's key, by its number in the demo's register of keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct KeyId(pub u32);

/// The number that a write put into its record; unique for each key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Version(pub u32);

/// The end of an act whose answer never came: it may have happened at any
/// time after its begin, or never.
pub const NEVER: u64 = u64::MAX;

/// What an observer learned about one key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen {
    /// No record.
    Absent,
    /// A record, its version not shown (a refused insert).
    Present,
    /// A record of this version.
    Version(Version),
}

/// What the answer of a write says about the record just before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Before {
    /// Nothing.
    Anything,
    /// There was none (an insert).
    Absent,
    /// There was one (a patch, a delete).
    Present,
    /// It had this version (`If-Match`).
    Version(Version),
}

/// Fields that lists are ordered by, as a set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SortFields(pub u8);

impl SortFields {
    /// No field.
    pub const NONE: SortFields = SortFields(0);
    /// Every field.
    pub const ALL: SortFields = SortFields(u8::MAX);

    /// Whether both sets have a field in common.
    pub fn meets(self, other: SortFields) -> bool {
        self.0 & other.0 != 0
    }
}

/// One thing that happened to one key, as its client knows it. An act that was
/// refused for certain is not in the history, but what its refusal showed is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    /// A read, or what a refusal showed.
    Saw(Seen),
    /// What was in the store when all clients had stopped.
    Left(Seen),
    /// A put.
    Wrote {
        /// The version that it wrote.
        version: Version,
        /// What it found.
        before: Before,
        /// Which sort fields it may have changed.
        touched: SortFields,
    },
    /// A delete, also the old key's half of a key change.
    Deleted {
        /// What it found.
        before: Before,
    },
}

/// An act with its time, in nanoseconds since the demo began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Op {
    /// On which key.
    pub key: KeyId,
    /// What.
    pub act: Act,
    /// When the client sent it.
    pub begun_ns: u64,
    /// When the client had its answer; [`NEVER`] when the outcome is unknown.
    pub ended_ns: u64,
}

/// Which records a walk asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Among {
    /// All.
    All,
    /// Those of one bucket: `key % BUCKETS`, which no client ever changes.
    Bucket(u32),
}

/// Buckets that keys fall into.
pub const BUCKETS: u32 = 16;

impl Among {
    /// Whether a key belongs.
    pub fn has(self, key: KeyId) -> bool {
        match self {
            Among::All => true,
            Among::Bucket(bucket) => key.0 % BUCKETS == bucket,
        }
    }
}

/// A list walked to its end by `Link` pages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Walk {
    /// What it asked for.
    pub among: Among,
    /// What it was ordered by.
    pub order: SortFields,
    /// When its first page was asked for.
    pub begun_ns: u64,
    /// When its last page was there.
    pub ended_ns: u64,
    /// The keys in the order of the answers.
    pub keys: Vec<KeyId>,
}

/// Everything that clients did and saw.
#[derive(Clone, Debug, Default)]
pub struct History {
    /// The version of each key at the beginning; absent for keys beyond its end.
    pub initial: Vec<Option<Version>>,
    /// Acts in any order.
    pub ops: Vec<Op>,
    /// Walks in any order.
    pub walks: Vec<Walk>,
}

impl History {
    /// The version that a key had at the beginning.
    pub fn initial_of(&self, key: KeyId) -> Option<Version> {
        self.initial.get(key.0 as usize).copied().flatten()
    }

    /// Takes in what another recorder saw of the same run.
    pub fn merge(&mut self, other: History) {
        self.ops.extend(other.ops);
        self.walks.extend(other.walks);
        if self.initial.len() < other.initial.len() {
            self.initial = other.initial;
        }
    }
}
