//! Which number a text is, and how decimals and floats compare exactly.

use std::cmp::Ordering;
use std::io::Write as _;

use super::decimal::{DecimalError, Normal};
use super::{Decimal, Value};

/// Significant digits that every binary64 float in the normal range keeps: a
/// text of so many digits is the shortest text of its nearest float.
const DIGITS_ALWAYS_KEPT: usize = 15;

/// Significant digits of the longest shortest text of a binary64 float.
const DIGITS_SHORTEST_MAX: usize = 17;

/// The value of a JSON number: a float when the shortest text of the nearest
/// float denotes the same number, else a decimal with the text's scale.
/// Integers that fit have been read before.
pub(super) fn classify(text: &str) -> Result<Value, DecimalError> {
    if !text.bytes().any(|b| matches!(b, b'.' | b'e' | b'E')) {
        return text.parse().map(Value::Decimal);
    }
    let nearest: f64 = text.parse().map_err(|_| DecimalError("expected a number"))?;
    match Significant::of(text) {
        Some(written) if written.is_text_of(nearest) => Ok(Value::Float(nearest)),
        _ => text.parse().map(Value::Decimal),
    }
}

/// The significant digits of a number's text and its exponent, without zeros at
/// either end; on the stack, because every float of a record passes here.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Significant {
    digits: [u8; DIGITS_SHORTEST_MAX],
    count: usize,
    /// Of `0.d₁d₂d₃…`; 0 for zero.
    exponent: i64,
}

impl Significant {
    /// `None` for a text of more digits than a float's shortest text has.
    fn of(text: &str) -> Option<Significant> {
        let mut digits = [0; DIGITS_SHORTEST_MAX];
        let (mut count, mut zeros) = (0, 0);
        let (mut exponent, mut is_fraction) = (0_i64, false);
        for (at, byte) in text.bytes().enumerate() {
            match byte {
                b'.' => is_fraction = true,
                b'e' | b'E' => {
                    exponent += text[at + 1..].parse::<i64>().ok()?;
                    break;
                }
                b'0' if count == 0 => exponent -= i64::from(is_fraction),
                b'0' => {
                    zeros += 1;
                    exponent += i64::from(!is_fraction);
                }
                b'1'..=b'9' => {
                    count += zeros;
                    zeros = 0;
                    *digits.get_mut(count)? = byte - b'0';
                    count += 1;
                    exponent += i64::from(!is_fraction);
                }
                _ => {}
            }
        }
        Some(Significant { digits, count, exponent: if count == 0 { 0 } else { exponent } })
    }

    /// Whether the shortest text of a float, the nearest to this number, denotes
    /// exactly this number.
    fn is_text_of(&self, x: f64) -> bool {
        let magnitude = x.abs();
        if self.count <= DIGITS_ALWAYS_KEPT && magnitude > 1e-290 && magnitude < 1e290 {
            return true;
        }
        // The longest shortest text in this form is `-1.7976931348623157e-308`.
        let mut buffer = [0_u8; 32];
        let mut rest = buffer.as_mut_slice();
        if !x.is_finite() || write!(rest, "{x:e}").is_err() {
            return false;
        }
        let unused = rest.len();
        let shortest = std::str::from_utf8(&buffer[..buffer.len() - unused]).ok().and_then(Significant::of);
        shortest.as_ref() == Some(self)
    }
}

/// The highest float that is not above the decimal, and whether it equals it.
pub(super) fn floor_f64(decimal: &Decimal) -> (f64, bool) {
    let nearest = decimal.nearest_f64();
    let Some(normal) = decimal.normal() else { return (nearest, true) };
    match compare_to_f64(&normal, nearest) {
        Ordering::Equal => (nearest, true),
        Ordering::Greater => (nearest, false),
        Ordering::Less => (nearest.next_down(), false),
    }
}

/// Compares a finite decimal with a float that is not NaN.
fn compare_to_f64(decimal: &Normal<'_>, x: f64) -> Ordering {
    if x == f64::INFINITY {
        return Ordering::Less;
    }
    if x == f64::NEG_INFINITY {
        return Ordering::Greater;
    }
    compare_small(decimal, x).unwrap_or_else(|| {
        let exact = Decimal::from_f64(x);
        exact.normal().map_or(Ordering::Equal, |exact| decimal.compare(&exact))
    })
}

/// The comparison in 128-bit integers, where both sides fit: the decimal is
/// `m / 10^s`, the float `f * 2^e`.
fn compare_small(decimal: &Normal<'_>, x: f64) -> Option<Ordering> {
    if decimal.digits.len() > 19 {
        return None;
    }
    let mut left = i128::from(decimal.digits.iter().fold(0_u64, |n, d| n * 10 + u64::from(*d)));
    if decimal.negative {
        left = -left;
    }
    let (fraction, exponent) = parts(x);
    let mut right = i128::from(fraction);
    match decimal.digits.len() as i64 - decimal.exponent {
        scale @ 0..=38 => right = right.checked_mul(10_i128.checked_pow(scale as u32)?)?,
        scale @ -38..=-1 => left = left.checked_mul(10_i128.checked_pow(scale.unsigned_abs() as u32)?)?,
        _ => return None,
    }
    match exponent {
        0..=126 => right = right.checked_mul(1_i128.checked_shl(exponent as u32)?)?,
        -126..=-1 => left = left.checked_mul(1_i128.checked_shl(exponent.unsigned_abs())?)?,
        _ => return None,
    }
    Some(left.cmp(&right))
}

/// A finite float as `fraction * 2^exponent`, the fraction odd or zero.
fn parts(x: f64) -> (i64, i32) {
    let bits = x.to_bits();
    let biased = ((bits >> 52) & 0x7ff) as i32;
    let mantissa = (bits & ((1 << 52) - 1)) as i64;
    let (fraction, exponent) = if biased == 0 { (mantissa, -1074) } else { (mantissa | 1 << 52, biased - 1075) };
    if fraction == 0 {
        return (0, 0);
    }
    let shift = fraction.trailing_zeros();
    let odd = fraction >> shift;
    (if x.is_sign_negative() { -odd } else { odd }, exponent + shift as i32)
}

/// The float of which this decimal is a text of 17 significant digits, as many
/// tools write floats (0.1 as `0.10000000000000001`).
pub(super) fn as_double(decimal: &Decimal) -> Option<f64> {
    let nearest = decimal.nearest_f64();
    if !nearest.is_finite() {
        return None;
    }
    let written: Decimal = format!("{nearest:.16e}").parse().ok()?;
    let has_fraction = matches!(decimal, Decimal::Finite { scale, .. } if *scale != 0);
    (has_fraction && written.compare(decimal) == Ordering::Equal).then_some(nearest)
}
