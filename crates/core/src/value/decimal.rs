//! Decimals of any precision.

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

/// A decimal number: sign, digits, scale; also NaN and the infinities, which
/// PostgreSQL's `numeric` has. The scale is kept: `1.0` and `1.00` differ.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Decimal {
    /// `(-1)^negative * digits * 10^-scale`; digits are 0–9 without leading
    /// zeros (one `0` for zero). The scale may be negative (`1e3` is 1, -3).
    Finite {
        /// Whether the sign is minus.
        negative: bool,
        /// Decimal digits, most significant first, each 0–9.
        digits: Vec<u8>,
        /// Digits after the decimal point.
        scale: i32,
    },
    /// Not a number.
    NaN,
    /// Positive infinity.
    Infinity,
    /// Negative infinity.
    NegInfinity,
}

/// Why a text is no decimal.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct DecimalError(pub &'static str);

/// Zeros that plain notation may show between the point and the first digit;
/// beyond it [`Decimal`] prints an exponent, so that a short text such as
/// `1e-2000000000` can never unfold into gigabytes.
const LEADING_ZEROS_PRINTED_MAX: usize = 24;

/// A finite decimal as `±0.d₁d₂d₃… × 10^exponent` with `d₁ ≠ 0` and no zeros at
/// the end; zero has no digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Normal<'a> {
    pub(super) negative: bool,
    pub(super) digits: &'a [u8],
    pub(super) exponent: i64,
}

impl Decimal {
    /// A whole number, scale 0.
    pub fn from_int(n: i128) -> Decimal {
        let digits = n.unsigned_abs().to_string().bytes().map(|b| b - b'0').collect();
        Decimal::Finite { negative: n < 0, digits, scale: 0 }
    }

    /// The exact value of a float, all its binary digits unfolded (0.1 becomes
    /// 0.1000000000000000055…), without zeros at the end of a fraction.
    pub fn from_f64(x: f64) -> Decimal {
        if x.is_nan() {
            return Decimal::NaN;
        }
        if x.is_infinite() {
            return if x > 0.0 { Decimal::Infinity } else { Decimal::NegInfinity };
        }
        // 1,074 fraction digits hold the smallest subnormal exactly.
        let text = format!("{x:.1074}");
        let text = text.trim_end_matches('0').trim_end_matches('.');
        parse_finite(text).unwrap_or(Decimal::NaN)
    }

    /// The float nearest to the value, ties to even; infinite when it is
    /// beyond the range.
    pub fn nearest_f64(&self) -> f64 {
        match self {
            Decimal::NaN => f64::NAN,
            Decimal::Infinity => f64::INFINITY,
            Decimal::NegInfinity => f64::NEG_INFINITY,
            Decimal::Finite { negative, digits, scale } => {
                let mut text = String::with_capacity(digits.len() + 16);
                if *negative {
                    text.push('-');
                }
                text.extend(digits.iter().map(|d| char::from(b'0' + d)));
                text.push_str(&format!("e{}", -i64::from(*scale)));
                text.parse().unwrap_or(f64::NAN)
            }
        }
    }

    /// The value as an integer, when it is one in range: `2.00` is 2, `2.5` is none.
    pub fn to_i128(&self) -> Option<i128> {
        let normal = self.normal()?;
        if normal.digits.is_empty() {
            return Some(0);
        }
        if normal.exponent < normal.digits.len() as i64 || normal.exponent > 39 {
            return None;
        }
        let mut n: i128 = 0;
        for place in 0..normal.exponent as usize {
            let digit = i128::from(normal.digits.get(place).copied().unwrap_or(0));
            n = n.checked_mul(10)?;
            n = if normal.negative { n.checked_sub(digit)? } else { n.checked_add(digit)? };
        }
        Some(n)
    }

    /// Whether the value is zero, of either sign and any scale.
    pub fn is_zero(&self) -> bool {
        self.normal().is_some_and(|n| n.digits.is_empty())
    }

    /// Compares the numbers, not the scales: `1.0` and `1.00` are equal, as are
    /// `0` and `-0`; NaN equals itself and is above everything, as in PostgreSQL.
    pub fn compare(&self, other: &Decimal) -> Ordering {
        match (self.normal(), other.normal()) {
            (Some(a), Some(b)) => a.compare(&b),
            _ => self.rank().cmp(&other.rank()),
        }
    }

    /// Place among the non-finite: -∞, finite, ∞, NaN.
    fn rank(&self) -> u8 {
        match self {
            Decimal::NegInfinity => 0,
            Decimal::Finite { .. } => 1,
            Decimal::Infinity => 2,
            Decimal::NaN => 3,
        }
    }

    pub(super) fn normal(&self) -> Option<Normal<'_>> {
        let Decimal::Finite { negative, digits, scale } = self else { return None };
        let leading = digits.iter().take_while(|d| **d == 0).count();
        let trailing = digits[leading..].iter().rev().take_while(|d| **d == 0).count();
        let exponent = digits.len() as i64 - leading as i64 - i64::from(*scale);
        Some(Normal { negative: *negative, digits: &digits[leading..digits.len() - trailing], exponent })
    }
}

impl Normal<'_> {
    pub(super) fn compare(&self, other: &Normal<'_>) -> Ordering {
        match (self.sign(), other.sign()) {
            (1, 1) => self.compare_magnitude(other),
            (-1, -1) => other.compare_magnitude(self),
            (a, b) => a.cmp(&b),
        }
    }

    fn compare_magnitude(&self, other: &Normal<'_>) -> Ordering {
        match (self.digits.is_empty(), other.digits.is_empty()) {
            (true, true) => Ordering::Equal,
            (true, false) => Ordering::Less,
            (false, true) => Ordering::Greater,
            (false, false) => self.exponent.cmp(&other.exponent).then_with(|| self.digits.cmp(other.digits)),
        }
    }

    /// -1, 0 or 1.
    fn sign(&self) -> i8 {
        match (self.digits.is_empty(), self.negative) {
            (true, _) => 0,
            (false, true) => -1,
            (false, false) => 1,
        }
    }
}

/// Reads `-12.50`, `1.5E+400`, `NaN`, `Infinity`, `-Infinity`; a leading `+` and
/// leading zeros are allowed, a bare point is not.
impl FromStr for Decimal {
    type Err = DecimalError;

    fn from_str(text: &str) -> Result<Decimal, DecimalError> {
        match text {
            "NaN" => Ok(Decimal::NaN),
            "Infinity" => Ok(Decimal::Infinity),
            "-Infinity" => Ok(Decimal::NegInfinity),
            _ => parse_finite(text),
        }
    }
}

fn parse_finite(text: &str) -> Result<Decimal, DecimalError> {
    const FORM: DecimalError = DecimalError("expected digits with an optional sign, fraction and exponent");
    let (negative, unsigned) = match text.as_bytes().first() {
        Some(b'-') => (true, &text[1..]),
        Some(b'+') => (false, &text[1..]),
        _ => (false, text),
    };
    let (mantissa, exponent) = match unsigned.find(['e', 'E']) {
        Some(at) => (&unsigned[..at], parse_exponent(&unsigned[at + 1..])?),
        None => (unsigned, 0),
    };
    let (whole, fraction) = match mantissa.split_once('.') {
        Some((_, "")) => return Err(FORM),
        Some(parts) => parts,
        None => (mantissa, ""),
    };
    if whole.is_empty() || !whole.bytes().chain(fraction.bytes()).all(|b| b.is_ascii_digit()) {
        return Err(FORM);
    }
    let mut digits: Vec<u8> =
        whole.bytes().chain(fraction.bytes()).map(|b| b - b'0').skip_while(|digit| *digit == 0).collect();
    if digits.is_empty() {
        digits.push(0);
    }
    let scale =
        i32::try_from(fraction.len() as i64 - exponent).map_err(|_| DecimalError("the exponent is out of range"))?;
    Ok(Decimal::Finite { negative, digits, scale })
}

fn parse_exponent(text: &str) -> Result<i64, DecimalError> {
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return Err(DecimalError("expected digits in the exponent"));
    }
    match text.parse::<i64>() {
        Ok(exponent) if exponent.unsigned_abs() < 1 << 40 => Ok(exponent),
        _ => Err(DecimalError("the exponent is out of range")),
    }
}

/// Prints a text that reads back as the same digits and scale: plain notation
/// where it is short, else an exponent.
impl fmt::Display for Decimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (negative, digits, scale) = match self {
            Decimal::NaN => return f.write_str("NaN"),
            Decimal::Infinity => return f.write_str("Infinity"),
            Decimal::NegInfinity => return f.write_str("-Infinity"),
            Decimal::Finite { negative, digits, scale } => (*negative, digits, *scale),
        };
        let mut out = String::with_capacity(digits.len() + 8);
        if negative {
            out.push('-');
        }
        let digit = |out: &mut String, range: std::ops::Range<usize>| {
            out.extend(digits[range].iter().map(|d| char::from(b'0' + d)));
        };
        let count = digits.len();
        match usize::try_from(scale) {
            Ok(0) => digit(&mut out, 0..count),
            Ok(places) if places < count => {
                digit(&mut out, 0..count - places);
                out.push('.');
                digit(&mut out, count - places..count);
            }
            Ok(places) if places - count <= LEADING_ZEROS_PRINTED_MAX => {
                out.push_str("0.");
                out.extend(std::iter::repeat_n('0', places - count));
                digit(&mut out, 0..count);
            }
            _ => {
                digit(&mut out, 0..1);
                if count > 1 {
                    out.push('.');
                    digit(&mut out, 1..count);
                }
                out.push_str(&format!("E{:+}", count as i64 - 1 - i64::from(scale)));
            }
        }
        f.write_str(&out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finite(negative: bool, digits: &[u8], scale: i32) -> Decimal {
        Decimal::Finite { negative, digits: digits.to_vec(), scale }
    }

    #[test]
    fn texts_read_and_print() {
        let check = |text: &str, expect: Decimal, printed: &str| {
            let read: Decimal = text.parse().unwrap();
            assert_eq!(read, expect, "{text}");
            assert_eq!(read.to_string(), printed, "{text}");
            assert_eq!(printed.parse::<Decimal>().unwrap(), expect, "{printed} read again");
        };
        check("0", finite(false, &[0], 0), "0");
        check("-0.00", finite(true, &[0], 2), "-0.00");
        check("1.10", finite(false, &[1, 1, 0], 2), "1.10");
        check("+007", finite(false, &[7], 0), "7");
        check("1e3", finite(false, &[1], -3), "1E+3");
        check("1.5E+400", finite(false, &[1, 5], -399), "1.5E+400");
        check("0.000001", finite(false, &[1], 6), "0.000001");
        check("-12.345e-40", finite(true, &[1, 2, 3, 4, 5], 43), "-1.2345E-39");
        check("1e-2000000000", finite(false, &[1], 2_000_000_000), "1E-2000000000");
        check("NaN", Decimal::NaN, "NaN");
        check("-Infinity", Decimal::NegInfinity, "-Infinity");
    }

    #[test]
    fn what_is_no_decimal_is_refused() {
        let bad =
            ["", "-", ".", "1.", ".5", "1e", "1e+", "0x1", "1 ", " 1", "1_0", "inf", "nan", "--1", "1.2.3", "1e5.0"];
        for text in bad {
            assert!(text.parse::<Decimal>().is_err(), "{text:?}");
        }
        assert_eq!("1e3000000000".parse::<Decimal>(), Err(DecimalError("the exponent is out of range")));
        assert_eq!("1e99999999999999999999".parse::<Decimal>(), Err(DecimalError("the exponent is out of range")));
    }

    #[test]
    fn numbers_compare_by_value() {
        let rising = [
            "-Infinity",
            "-1e400",
            "-10",
            "-9.99",
            "-0.1",
            "0",
            "1e-400",
            "0.1",
            "0.10000000000000000001",
            "9",
            "10",
            "10.5",
            "1e400",
            "Infinity",
            "NaN",
        ];
        for (i, a) in rising.iter().enumerate() {
            for (j, b) in rising.iter().enumerate() {
                let (a, b): (Decimal, Decimal) = (a.parse().unwrap(), b.parse().unwrap());
                assert_eq!(a.compare(&b), i.cmp(&j), "{a} and {b}");
            }
        }
        let equal = |a: &str, b: &str| {
            assert_eq!(a.parse::<Decimal>().unwrap().compare(&b.parse().unwrap()), Ordering::Equal, "{a} and {b}");
        };
        equal("1.0", "1.00");
        equal("0", "-0.000");
        equal("1e3", "1000");
    }

    #[test]
    fn integers_and_floats_convert_exactly() {
        let int =
            |text: &str, expect: Option<i128>| assert_eq!(text.parse::<Decimal>().unwrap().to_i128(), expect, "{text}");
        int("2.00", Some(2));
        int("-12e2", Some(-1200));
        int("0.5", None);
        int("1e39", None);
        int("170141183460469231731687303715884105727", Some(i128::MAX));
        int("170141183460469231731687303715884105728", None);
        int("-170141183460469231731687303715884105728", Some(i128::MIN));
        int("NaN", None);
        int("0e5", Some(0));
        assert_eq!(Decimal::from_int(-120).to_string(), "-120");
        assert_eq!(Decimal::from_f64(0.1).to_string(), "0.1000000000000000055511151231257827021181583404541015625");
        assert_eq!(Decimal::from_f64(-2.5).to_string(), "-2.5");
        assert_eq!(Decimal::from_f64(300.0).to_string(), "300");
        for x in [0.1, 5e-324, f64::MAX, -1.5e-300, 1e22] {
            assert_eq!(Decimal::from_f64(x).nearest_f64().to_bits(), x.to_bits(), "{x}");
        }
    }
}
