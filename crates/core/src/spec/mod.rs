//! The spec: one TOML file, as written. Checking it returns every problem at
//! once, each with its place.

mod absorb;
mod check;
mod column;
mod extras;
mod fields;
mod identity;
mod joins;
mod lists;
mod literal;
mod looked_up;
mod merge;
mod read;
mod references;
mod render;
pub mod require;
mod schema;
mod stores;
#[cfg(test)]
mod tests;

use crate::path::Path;
use crate::shape::{FieldType, Reference, WhenOmitted};
use crate::value::Value;

pub use absorb::{AbsorbSpec, Conflict, REST, Scope, Stragglers};
pub use extras::Together;
pub use identity::Assign;
pub use joins::{Join, JoinedField, Joins};
pub use lists::Lists;
pub use merge::{Merge, Prefer};
pub use read::{did_you_mean, locate};
pub use references::KeyReference;
pub use render::{Colour, render_problems, render_problems_in};
pub use require::RequireSpec;
pub use schema::json_schema;
pub use stores::STORE_SCHEMES;

/// The kind of migration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// To another store or shape.
    Move,
    /// A new required field.
    Require,
    /// Another company's records, one by one.
    Absorb,
}

impl Kind {
    /// The kind's name, as specs have it.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Move => "move",
            Kind::Require => "require",
            Kind::Absorb => "absorb",
        }
    }
}

/// A checked spec of any kind.
#[derive(Clone, Debug, PartialEq)]
pub enum Migration {
    /// To another store or shape.
    Move(Spec),
    /// A new required field.
    Require(RequireSpec),
    /// Another company's records, one by one.
    Absorb(Box<AbsorbSpec>),
}

impl Migration {
    /// The migration's name.
    pub fn name(&self) -> &str {
        match self {
            Migration::Move(spec) => &spec.migration,
            Migration::Require(spec) => &spec.migration,
            Migration::Absorb(spec) => &spec.base.migration,
        }
    }

    /// The entity's name in the gateway's paths.
    pub fn entity(&self) -> &str {
        match self {
            Migration::Move(spec) => &spec.entity,
            Migration::Require(spec) => &spec.entity,
            Migration::Absorb(spec) => &spec.base.entity,
        }
    }

    /// The kind.
    pub fn kind(&self) -> Kind {
        match self {
            Migration::Move(_) => Kind::Move,
            Migration::Require(_) => Kind::Require,
            Migration::Absorb(_) => Kind::Absorb,
        }
    }
}

/// A checked spec of a `move`.
#[derive(Clone, Debug, PartialEq)]
pub struct Spec {
    /// The migration's name: `[a-z0-9][a-z0-9-]*`.
    pub migration: String,
    /// The kind.
    pub kind: Kind,
    /// The entity's name in the gateway's paths.
    pub entity: String,
    /// Where the records are.
    pub source: StoreSpec,
    /// Where they will be.
    pub target: StoreSpec,
    /// The rules, in column order.
    pub fields: Vec<FieldRule>,
    /// What happens to fields that no rule names.
    pub unmapped: Unmapped,
    /// What must be true before steps forward.
    pub gates: Gates,
    /// How gently background work goes.
    pub pace: Pace,
}

/// One store.
#[derive(Clone, Debug, PartialEq)]
pub struct StoreSpec {
    /// Its URL with `${NAME}` references replaced; never printed (see `shown_url`).
    pub url: String,
    /// The URL as written in the spec, references not replaced, for output.
    pub shown_url: String,
    /// The table or collection.
    pub table: String,
    /// The key fields.
    pub key: Vec<String>,
    /// The layout.
    pub layout: LayoutSpec,
    /// Columns of a target that belong together.
    pub together: Together,
}

/// The layout as the spec declares it. Default: a source without columns is
/// `document`, a target is `rows`.
#[derive(Clone, Debug, PartialEq)]
pub enum LayoutSpec {
    /// A key and a JSON column of this name (default `doc`).
    Document {
        /// The JSON column.
        column: String,
    },
    /// Columns. For the target they are the `[fields]` of the spec; for a
    /// source they are declared in `[source.columns]`.
    Rows {
        /// Columns of a source; empty for a target.
        columns: Vec<FieldRule>,
        /// The source's residue column, if it has one.
        residue: Option<String>,
    },
}

/// One rule: how a field of v2 comes about, and how it goes back.
#[derive(Clone, Debug, PartialEq)]
pub struct FieldRule {
    /// The v2 field: a column, or the array field of a child table.
    pub name: String,
    /// Where its value comes from.
    pub from: RuleFrom,
    /// The column's type; `Json` when not declared.
    pub ty: FieldType,
    /// Whether NULL is refused.
    pub required: bool,
    /// Whether values are unique over the table.
    pub unique: bool,
    /// The column's type in the store's own words, for a column that the start makes.
    pub native: Option<String>,
    /// The column of another table in which each value must stand.
    pub references: Option<Reference>,
    /// Whether the store numbers the key where a program leaves it out, in a
    /// table that the start makes.
    pub identity: bool,
    /// What the store puts where a program leaves the column out, likewise.
    pub when_omitted: Option<WhenOmitted>,
    /// Whether a value of another type is converted when that is exact; its
    /// original type is remembered, so that it comes back as it was.
    pub cast: bool,
    /// What becomes of a value that the column cannot hold; the value itself
    /// is remembered, so that it comes back as it was. `None`: the record is refused.
    pub unfit: Option<Unfit>,
    /// The most characters of a text that the column holds.
    pub chars_max: Option<u64>,
    /// What stands for a missing value.
    pub default: Option<Value>,
    /// For an array that becomes a child table.
    pub child: Option<ChildRule>,
    /// Byte range of the rule in the spec's text.
    pub span: (usize, usize),
}

/// What becomes of a value that a column cannot hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unfit {
    /// It counts as missing: NULL, or the rule's default. So do values of another
    /// type (a zero date is one), texts longer than `chars_max` or with U+0000,
    /// numbers that are not finite, and dates outside the years 1 to 9999.
    Null,
    /// A text loses its U+0000, and what is beyond `chars_max`.
    Cut,
}

impl Unfit {
    /// Both, with the words of specs.
    pub const WORDS: [(&'static str, Unfit); 2] = [("null", Unfit::Null), ("cut", Unfit::Cut)];
}

/// Where a field's value comes from.
#[derive(Clone, Debug, PartialEq)]
pub enum RuleFrom {
    /// A path of v1.
    Path(Path),
    /// A SQL expression over v1, with the expressions over v2 that give the v1
    /// fields back. `derived = true` (no `back`): v2 clients cannot set it.
    Sql {
        /// The expression.
        sql: String,
        /// v1 path → expression over v2.
        back: Vec<(Path, String)>,
    },
    /// The same value for every record; v1 does not have it.
    Constant(Value),
    /// Only v2 has it; parked beside v1 records.
    TargetOnly,
}

/// How an array becomes a child table.
#[derive(Clone, Debug, PartialEq)]
pub struct ChildRule {
    /// The child table.
    pub table: String,
    /// For an array of documents: rules from each element's fields.
    pub fields: Vec<FieldRule>,
    /// For an array of scalars: the column that holds the element (it is the
    /// only one of `fields`, whose `from` is then not used).
    pub scalar: Option<String>,
}

/// What happens to fields that no rule names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unmapped {
    /// They are kept in this residue column.
    KeepIn(String),
    /// A record that has any is refused.
    Refuse,
}

/// What must be true before steps forward.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gates {
    /// Mismatches of the last verification.
    pub mismatches_max: u64,
    /// The longest pause of writes in a cutover or rollback, ms.
    pub pause_ms_max: u64,
    /// Shadow reads compared before the ramp may start.
    pub shadow_reads_min: u64,
    /// Dirty keys left when a cutover may start.
    pub backlog_max: u64,
}

/// How gently background work goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// Parallel backfill workers.
    pub workers: usize,
    /// The time that one chunk's write should take, ms; chunks grow and shrink to meet it.
    pub chunk_ms_target: u64,
    /// Foreground write latency (p99, ms) above which the backfill slows down.
    pub foreground_ms_max: u64,
    /// The p99 of clients' requests while background work goes on, in percent of
    /// what it is without, above which the work slows down; `None`: not looked at.
    pub foreground_percent_max: Option<u32>,
    /// The part of the time that background work may be writing, percent.
    pub duty_percent_max: u8,
    /// Sessions that may wait for locks of ours; background work rests while there are more.
    pub lock_waits_max: u64,
    /// How far a store's slowest replica may be behind, ms; background work
    /// rests while it is further.
    pub replica_lag_ms_max: u64,
}

impl Default for Gates {
    fn default() -> Gates {
        Gates { mismatches_max: 0, pause_ms_max: 300, shadow_reads_min: 0, backlog_max: 1_000 }
    }
}

impl Pace {
    /// Of work that clients shall not notice: a half more than usual, so that
    /// chance does not make it twice.
    pub fn unnoticed() -> Pace {
        Pace { foreground_percent_max: Some(150), ..Pace::default() }
    }
}

impl Default for Pace {
    fn default() -> Pace {
        Pace {
            workers: 2,
            chunk_ms_target: 50,
            foreground_ms_max: 100,
            foreground_percent_max: None,
            duty_percent_max: 90,
            lock_waits_max: 2,
            replica_lag_ms_max: 10_000,
        }
    }
}

/// One problem of a spec.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The stable code, for example `spec/unknown-key`.
    pub code: &'static str,
    /// What was found and what was expected.
    pub message: String,
    /// Byte range in the text.
    pub span: (usize, usize),
    /// What the reader can do.
    pub hint: Option<String>,
}

/// Reads a spec. `env` answers the environment's variables for `${NAME}`.
/// Every problem is returned at once, in the order of the text.
pub fn parse(text: &str, env: &dyn Fn(&str) -> Option<String>) -> Result<Migration, Vec<Problem>> {
    let mut reader = read::Reader::new(text, env);
    let migration = reader.root().and_then(|root| stores::read_spec(&mut reader, root));
    reader.finish(migration)
}

/// As [`parse`], for who can do with a `move` only.
pub fn parse_move(text: &str, env: &dyn Fn(&str) -> Option<String>) -> Result<Spec, Vec<Problem>> {
    match parse(text, env)? {
        Migration::Move(spec) => Ok(spec),
        other => Err(vec![not_a_move(text, &other)]),
    }
}

fn not_a_move(text: &str, found: &Migration) -> Problem {
    Problem {
        code: "spec/kind",
        message: format!("this is for migrations of kind `move`; this one is a `{}`", found.kind().name()),
        span: locate(text, &["kind"]),
        hint: None,
    }
}
