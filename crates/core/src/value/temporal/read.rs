//! Reading the texts of dates and times, digit by digit.

use super::{Instant, MICROS_PER_DAY, MICROS_PER_SECOND, TemporalError, days_from_civil, days_in_month};

/// Which offsets are read.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum OffsetForm {
    /// `+07:00` only.
    Rfc3339,
    /// Also `+0700` and `+07`.
    Iso,
}

/// A place in a text that is being read.
pub(super) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(super) fn new(text: &'a str) -> Reader<'a> {
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

    pub(super) fn end(&self) -> Result<(), TemporalError> {
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
    pub(super) fn date(&mut self, bc: bool) -> Result<i64, TemporalError> {
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
    pub(super) fn time(&mut self) -> Result<i64, TemporalError> {
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

/// Splits off PostgreSQL's ` BC`.
pub(super) fn split_bc(text: &str) -> (&str, bool) {
    text.strip_suffix(" BC").map_or((text, false), |rest| (rest, true))
}

pub(super) fn timestamp(reader: &mut Reader<'_>, bc: bool) -> Result<i128, TemporalError> {
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

pub(super) fn instant(text: &str, form: OffsetForm) -> Result<Instant, TemporalError> {
    match text {
        "infinity" => return Ok(Instant::Infinity),
        "-infinity" => return Ok(Instant::NegInfinity),
        _ => {}
    }
    let (text, bc) = split_bc(text);
    let mut reader = Reader::new(text);
    let local = timestamp(&mut reader, bc)?;
    let offset = reader.offset(form)?;
    reader.end()?;
    let micros = local - i128::from(offset) * i128::from(MICROS_PER_SECOND);
    i64::try_from(micros).map(Instant::Micros).map_err(|_| OUT_OF_RANGE)
}

pub(super) const OUT_OF_RANGE: TemporalError = TemporalError("outside the range that can be held");
