//! Dates and times, in the ranges of the stores rather than of a calendar crate.
//!
//! Texts are ISO 8601 in the form of RFC 3339: `2024-02-29`, `23:59:59.5`,
//! `2024-02-29T12:00:00`, `2024-02-29T12:00:00Z`. Years outside 0000–9999 are
//! printed with a sign and at least six digits (`+012024-01-01`, `-000043-03-15`
//! for 44 BC); PostgreSQL's ` BC` at the end is read too. The infinities are
//! `infinity` and `-infinity`. What a microsecond cannot hold (a seventh
//! fraction digit that is not zero, a leap second) is refused, never rounded.

mod read;

use std::fmt;
use std::str::FromStr;

use read::{OUT_OF_RANGE, OffsetForm, Reader};

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

/// Why a text is no date or time that we hold exactly.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct TemporalError(pub &'static str);

const MICROS_PER_SECOND: i64 = 1_000_000;
const MICROS_PER_DAY: i64 = 86_400 * MICROS_PER_SECOND;

impl Date {
    /// The date of a proleptic Gregorian year (0 is 1 BC), month and day; `None`
    /// when there is no such day or it is beyond the range.
    pub fn from_ymd(year: i64, month: u8, day: u8) -> Option<Date> {
        if !(1..=12).contains(&month) || day == 0 || day > days_in_month(year, month) || year.abs() > 10_000_000 {
            return None;
        }
        i32::try_from(days_from_civil(year, month, day)).ok().map(Date::Days)
    }

    /// Year (0 is 1 BC), month and day; `None` for the infinities.
    pub fn to_ymd(self) -> Option<(i64, u8, u8)> {
        match self {
            Date::Days(days) => Some(civil_from_days(i64::from(days))),
            Date::Infinity | Date::NegInfinity => None,
        }
    }
}

impl Time {
    /// 24:00:00, the highest time.
    pub const MAX: Time = Time { micros: MICROS_PER_DAY };

    /// A time from microseconds since midnight, when it is one.
    pub fn from_micros(micros: i64) -> Option<Time> {
        (0..=MICROS_PER_DAY).contains(&micros).then_some(Time { micros })
    }
}

impl Instant {
    /// An instant from milliseconds since 1970-01-01T00:00:00Z, when it is in range.
    pub fn from_millis(millis: i64) -> Option<Instant> {
        millis.checked_mul(1_000).map(Instant::Micros)
    }

    /// Reads RFC 3339, and beside it the offsets `-0700` and `-07` that older
    /// tools write.
    pub fn parse_lenient(text: &str) -> Result<Instant, TemporalError> {
        read::instant(text, OffsetForm::Iso)
    }
}

/// Days from 1970-01-01 by the era method: 400-year eras that begin in March.
fn days_from_civil(year: i64, month: u8, day: u8) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let month_from_march = (i64::from(month) + 9) % 12;
    let day_of_year = (153 * month_from_march + 2) / 5 + i64::from(day) - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

fn civil_from_days(days: i64) -> (i64, u8, u8) {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = (day_of_year - (153 * month_from_march + 2) / 5 + 1) as u8;
    let month = (if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 }) as u8;
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, month, day)
}

fn days_in_month(year: i64, month: u8) -> u8 {
    match month {
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

impl FromStr for Date {
    type Err = TemporalError;

    fn from_str(text: &str) -> Result<Date, TemporalError> {
        match text {
            "infinity" => return Ok(Date::Infinity),
            "-infinity" => return Ok(Date::NegInfinity),
            _ => {}
        }
        let (text, bc) = read::split_bc(text);
        let mut reader = Reader::new(text);
        let days = reader.date(bc)?;
        reader.end()?;
        i32::try_from(days).map(Date::Days).map_err(|_| OUT_OF_RANGE)
    }
}

impl FromStr for Time {
    type Err = TemporalError;

    fn from_str(text: &str) -> Result<Time, TemporalError> {
        let mut reader = Reader::new(text);
        let micros = reader.time()?;
        reader.end()?;
        Ok(Time { micros })
    }
}

impl FromStr for LocalTimestamp {
    type Err = TemporalError;

    fn from_str(text: &str) -> Result<LocalTimestamp, TemporalError> {
        match text {
            "infinity" => return Ok(LocalTimestamp::Infinity),
            "-infinity" => return Ok(LocalTimestamp::NegInfinity),
            _ => {}
        }
        let (text, bc) = read::split_bc(text);
        let mut reader = Reader::new(text);
        let micros = read::timestamp(&mut reader, bc)?;
        reader.end()?;
        i64::try_from(micros).map(LocalTimestamp::Micros).map_err(|_| OUT_OF_RANGE)
    }
}

/// Reads RFC 3339, with signed years and the infinities beside it.
impl FromStr for Instant {
    type Err = TemporalError;

    fn from_str(text: &str) -> Result<Instant, TemporalError> {
        read::instant(text, OffsetForm::Rfc3339)
    }
}

fn write_date(f: &mut fmt::Formatter<'_>, days: i64) -> fmt::Result {
    let (year, month, day) = civil_from_days(days);
    match year {
        0..=9999 => write!(f, "{year:04}-{month:02}-{day:02}"),
        _ => write!(f, "{year:+07}-{month:02}-{day:02}"),
    }
}

fn write_time(f: &mut fmt::Formatter<'_>, micros: i64) -> fmt::Result {
    let (seconds, fraction) = (micros / MICROS_PER_SECOND, micros % MICROS_PER_SECOND);
    write!(f, "{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60)?;
    match fraction {
        0 => Ok(()),
        _ if fraction % 1_000 == 0 => write!(f, ".{:03}", fraction / 1_000),
        _ => write!(f, ".{fraction:06}"),
    }
}

fn write_timestamp(f: &mut fmt::Formatter<'_>, micros: i64) -> fmt::Result {
    write_date(f, micros.div_euclid(MICROS_PER_DAY))?;
    f.write_str("T")?;
    write_time(f, micros.rem_euclid(MICROS_PER_DAY))
}

impl fmt::Display for Date {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Date::NegInfinity => f.write_str("-infinity"),
            Date::Infinity => f.write_str("infinity"),
            Date::Days(days) => write_date(f, i64::from(*days)),
        }
    }
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_time(f, self.micros)
    }
}

impl fmt::Display for LocalTimestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LocalTimestamp::NegInfinity => f.write_str("-infinity"),
            LocalTimestamp::Infinity => f.write_str("infinity"),
            LocalTimestamp::Micros(micros) => write_timestamp(f, *micros),
        }
    }
}

/// RFC 3339 in UTC, with `Z`; no fraction, three or six digits of it.
impl fmt::Display for Instant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Instant::NegInfinity => f.write_str("-infinity"),
            Instant::Infinity => f.write_str("infinity"),
            Instant::Micros(micros) => {
                write_timestamp(f, *micros)?;
                f.write_str("Z")
            }
        }
    }
}
