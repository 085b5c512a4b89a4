//! Dates and times, in the ranges of the stores rather than of a calendar crate.
//!
//! Texts are ISO 8601 in the form of RFC 3339: `2024-02-29`, `23:59:59.5`,
//! `2024-02-29T12:00:00`, `2024-02-29T12:00:00Z`. Years outside 0000–9999 are
//! printed with a sign and at least six digits (`+012024-01-01`, `-000043-03-15`
//! for 44 BC); PostgreSQL's ` BC` at the end is read too. The infinities are
//! `infinity` and `-infinity`. What a microsecond cannot hold (a seventh
//! fraction digit that is not zero, a leap second) is refused, never rounded.

use std::fmt;
use std::str::FromStr;

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
        parse_instant(text, OffsetForm::Iso)
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

/// A place in a text that is being read.
struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    fn new(text: &'a str) -> Reader<'a> {
        Reader { rest: text.as_bytes() }
    }

    fn take(&mut self, byte: u8) -> bool {
        let found = self.rest.first() == Some(&byte);
        if found {
            self.rest = &self.rest[1..];
        }
        found
    }

    fn expect(&mut self, byte: u8, error: &'static str) -> Result<(), TemporalError> {
        if self.take(byte) { Ok(()) } else { Err(TemporalError(error)) }
    }

    /// Exactly two digits.
    fn two(&mut self, error: &'static str) -> Result<u8, TemporalError> {
        match self.rest {
            [a @ b'0'..=b'9', b @ b'0'..=b'9', rest @ ..] => {
                self.rest = rest;
                Ok((a - b'0') * 10 + (b - b'0'))
            }
            _ => Err(TemporalError(error)),
        }
    }

    fn digits(&mut self) -> &'a [u8] {
        let count = self.rest.iter().take_while(|b| b.is_ascii_digit()).count();
        let (digits, rest) = self.rest.split_at(count);
        self.rest = rest;
        digits
    }

    fn end(&self) -> Result<(), TemporalError> {
        if self.rest.is_empty() { Ok(()) } else { Err(TemporalError("something follows the end of the value")) }
    }

    /// `YYYY`, or a sign and six to nine digits.
    fn year(&mut self) -> Result<i64, TemporalError> {
        const FORM: TemporalError = TemporalError("expected a year of four digits, or a sign and at least six");
        let negative = self.rest.first() == Some(&b'-');
        let signed = negative || self.rest.first() == Some(&b'+');
        if signed {
            self.rest = &self.rest[1..];
        }
        let digits = self.digits();
        let allowed = if signed { 6..=9 } else { 4..=4 };
        if !allowed.contains(&digits.len()) {
            return Err(FORM);
        }
        let year = digits.iter().fold(0_i64, |n, b| n * 10 + i64::from(b - b'0'));
        match (negative, year) {
            (true, 0) => Err(TemporalError("there is no year -000000")),
            (true, year) => Ok(-year),
            (false, year) => Ok(year),
        }
    }

    /// Days since 1970-01-01, `bc` telling whether the year counts from 1 BC.
    fn date(&mut self, bc: bool) -> Result<i64, TemporalError> {
        let mut year = self.year()?;
        if bc {
            if year < 1 {
                return Err(TemporalError("a year before Christ is 1 or higher"));
            }
            year = 1 - year;
        }
        self.expect(b'-', "expected `-` after the year")?;
        let month = self.two("expected a month of two digits")?;
        self.expect(b'-', "expected `-` after the month")?;
        let day = self.two("expected a day of two digits")?;
        if !(1..=12).contains(&month) || day == 0 || day > days_in_month(year, month) {
            return Err(TemporalError("there is no such day in the calendar"));
        }
        Ok(days_from_civil(year, month, day))
    }

    /// Microseconds since midnight; 24:00:00 is a full day.
    fn time(&mut self) -> Result<i64, TemporalError> {
        let hour = i64::from(self.two("expected an hour of two digits")?);
        self.expect(b':', "expected `:` after the hour")?;
        let minute = i64::from(self.two("expected a minute of two digits")?);
        self.expect(b':', "expected `:` after the minute")?;
        let second = i64::from(self.two("expected a second of two digits")?);
        let fraction = if self.take(b'.') { self.fraction()? } else { 0 };
        if second == 60 {
            return Err(TemporalError("a leap second cannot be held"));
        }
        let micros = ((hour * 60 + minute) * 60 + second) * MICROS_PER_SECOND + fraction;
        if minute > 59 || second > 59 || micros > MICROS_PER_DAY {
            return Err(TemporalError("there is no such time of day"));
        }
        Ok(micros)
    }

    fn fraction(&mut self) -> Result<i64, TemporalError> {
        let digits = self.digits();
        if digits.is_empty() {
            return Err(TemporalError("expected digits after the point"));
        }
        if digits.iter().skip(6).any(|b| *b != b'0') {
            return Err(TemporalError("finer than a microsecond"));
        }
        Ok((0..6).fold(0, |n, i| n * 10 + digits.get(i).map_or(0, |b| i64::from(b - b'0'))))
    }

    /// Seconds east of UTC.
    fn offset(&mut self, form: OffsetForm) -> Result<i64, TemporalError> {
        const ERROR: &str = "expected `Z` or an offset such as `+02:00`";
        if self.take(b'Z') || self.take(b'z') {
            return Ok(0);
        }
        let sign = match self.rest.first() {
            Some(b'+') => 1,
            Some(b'-') => -1,
            _ => return Err(TemporalError(ERROR)),
        };
        self.rest = &self.rest[1..];
        let hours = i64::from(self.two(ERROR)?);
        let minutes = match form {
            OffsetForm::Iso if self.rest.is_empty() => 0,
            OffsetForm::Iso => {
                self.take(b':');
                i64::from(self.two(ERROR)?)
            }
            OffsetForm::Rfc3339 => {
                self.expect(b':', ERROR)?;
                i64::from(self.two(ERROR)?)
            }
        };
        if hours > 23 || minutes > 59 {
            return Err(TemporalError("there is no such offset"));
        }
        Ok(sign * (hours * 3600 + minutes * 60))
    }
}

/// Which offsets are read.
#[derive(Clone, Copy, PartialEq, Eq)]
enum OffsetForm {
    /// `+07:00` only.
    Rfc3339,
    /// Also `+0700` and `+07`.
    Iso,
}

/// Splits off PostgreSQL's ` BC`.
fn split_bc(text: &str) -> (&str, bool) {
    text.strip_suffix(" BC").map_or((text, false), |rest| (rest, true))
}

fn parse_timestamp(reader: &mut Reader<'_>, bc: bool) -> Result<i128, TemporalError> {
    let days = reader.date(bc)?;
    if !(reader.take(b'T') || reader.take(b't') || reader.take(b' ')) {
        return Err(TemporalError("expected `T` between date and time"));
    }
    let micros = reader.time()?;
    if micros == MICROS_PER_DAY {
        return Err(TemporalError("24:00:00 belongs to the next day"));
    }
    Ok(i128::from(days) * i128::from(MICROS_PER_DAY) + i128::from(micros))
}

fn parse_instant(text: &str, form: OffsetForm) -> Result<Instant, TemporalError> {
    match text {
        "infinity" => return Ok(Instant::Infinity),
        "-infinity" => return Ok(Instant::NegInfinity),
        _ => {}
    }
    let (text, bc) = split_bc(text);
    let mut reader = Reader::new(text);
    let local = parse_timestamp(&mut reader, bc)?;
    let offset = reader.offset(form)?;
    reader.end()?;
    let micros = local - i128::from(offset) * i128::from(MICROS_PER_SECOND);
    i64::try_from(micros).map(Instant::Micros).map_err(|_| OUT_OF_RANGE)
}

const OUT_OF_RANGE: TemporalError = TemporalError("outside the range that can be held");

impl FromStr for Date {
    type Err = TemporalError;

    fn from_str(text: &str) -> Result<Date, TemporalError> {
        match text {
            "infinity" => return Ok(Date::Infinity),
            "-infinity" => return Ok(Date::NegInfinity),
            _ => {}
        }
        let (text, bc) = split_bc(text);
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
        let (text, bc) = split_bc(text);
        let mut reader = Reader::new(text);
        let micros = parse_timestamp(&mut reader, bc)?;
        reader.end()?;
        i64::try_from(micros).map(LocalTimestamp::Micros).map_err(|_| OUT_OF_RANGE)
    }
}

/// Reads RFC 3339, with signed years and the infinities beside it.
impl FromStr for Instant {
    type Err = TemporalError;

    fn from_str(text: &str) -> Result<Instant, TemporalError> {
        parse_instant(text, OffsetForm::Rfc3339)
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
