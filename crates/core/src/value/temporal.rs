//! Dates and times, in the ranges of the stores rather than of a calendar crate.

/// A calendar date: days since 1970-01-01 (proleptic Gregorian), or one of
/// PostgreSQL's infinities.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Date {
    /// Before every date.
    NegInfinity,
    /// Days since 1970-01-01.
    Days(i32),
    /// After every date.
    Infinity,
}

/// A time of day in microseconds since midnight, 0 to 86,400,000,000
/// (24:00:00 is a value of its own in PostgreSQL).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Time {
    /// Microseconds since midnight.
    pub micros: i64,
}

/// A timestamp without a zone: microseconds since 1970-01-01T00:00:00 on its
/// own clock, or an infinity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LocalTimestamp {
    /// Before every timestamp.
    NegInfinity,
    /// Microseconds since 1970-01-01T00:00:00.
    Micros(i64),
    /// After every timestamp.
    Infinity,
}

/// A point in time: microseconds since 1970-01-01T00:00:00Z, or an infinity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Instant {
    /// Before every instant.
    NegInfinity,
    /// Microseconds since 1970-01-01T00:00:00Z.
    Micros(i64),
    /// After every instant.
    Infinity,
}
