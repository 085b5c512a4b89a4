//! PostgreSQL's `numeric` in its binary form: four decimal digits to a word.

use bytes::BufMut;
use shearwater_core::value::Decimal;

use super::cell::Bytes;

const NEGATIVE: u16 = 0x4000;
const NAN: u16 = 0xc000;
const INFINITY: u16 = 0xd000;
const NEG_INFINITY: u16 = 0xf000;

/// What the server sends as the scale of an infinity: equal values are equal bytes.
const INFINITY_SCALE: u16 = 32;

/// Digits after the point that `numeric` keeps.
const SCALE_MAX: usize = 16_383;

/// Digits before the point that `numeric` keeps.
const WHOLE_DIGITS_MAX: usize = 131_072;

/// The binary form, or why `numeric` cannot hold the decimal exactly.
pub(super) fn encode(decimal: &Decimal) -> Result<Vec<u8>, String> {
    let (negative, digits, scale) = match decimal {
        Decimal::NaN => return Ok(special(NAN, 0)),
        Decimal::Infinity => return Ok(special(INFINITY, INFINITY_SCALE)),
        Decimal::NegInfinity => return Ok(special(NEG_INFINITY, INFINITY_SCALE)),
        Decimal::Finite { negative, digits, scale } => (*negative, digits.as_slice(), *scale),
    };
    if negative && decimal.is_zero() {
        return Err("numeric has no negative zero".into());
    }
    let places =
        usize::try_from(scale).map_err(|_| "numeric has no negative scale: it would write the zeros out".to_owned())?;
    let whole = digits.len().saturating_sub(places);
    if places > SCALE_MAX || whole > WHOLE_DIGITS_MAX {
        return Err(format!("numeric keeps {WHOLE_DIGITS_MAX} digits before the point and {SCALE_MAX} after it"));
    }
    let (weight, words) = words(digits, whole, places);
    let mut out = Vec::with_capacity(8 + words.len() * 2);
    out.put_u16(words.len() as u16);
    out.put_i16(if words.is_empty() { 0 } else { weight });
    out.put_u16(if negative { NEGATIVE } else { 0 });
    out.put_u16(places as u16);
    words.iter().for_each(|word| out.put_u16(*word));
    Ok(out)
}

fn special(sign: u16, scale: u16) -> Vec<u8> {
    let mut out = vec![0; 8];
    out[4..6].copy_from_slice(&sign.to_be_bytes());
    out[6..8].copy_from_slice(&scale.to_be_bytes());
    out
}

/// The words without zeros at either end, and the weight of the first: its
/// power of ten thousand.
fn words(digits: &[u8], whole: usize, places: usize) -> (i16, Vec<u16>) {
    // Zeros before the digits so that words begin at multiples of four from the point.
    let fill = (4 - whole % 4) % 4 + places.saturating_sub(digits.len());
    let padded = std::iter::repeat_n(0, fill).chain(digits.iter().copied()).collect::<Vec<u8>>();
    let word = |chunk: &[u8]| (0..4).fold(0, |n, at| n * 10 + u16::from(chunk.get(at).copied().unwrap_or(0)));
    let all: Vec<u16> = padded.chunks(4).map(word).collect();
    let first = all.iter().take_while(|w| **w == 0).count();
    let last = all.iter().rposition(|w| *w != 0).map_or(first, |at| at + 1);
    let weight = whole.div_ceil(4) as i64 - 1 - first as i64;
    (weight as i16, all.get(first..last).unwrap_or_default().to_vec())
}

/// The decimal of a binary form.
pub(super) fn decode(raw: &[u8]) -> Result<Decimal, String> {
    let mut bytes = Bytes(raw);
    let count = bytes.i16()?;
    let weight = i64::from(bytes.i16()?);
    let sign = bytes.i16()? as u16;
    let places = i64::from(bytes.i16()?);
    match sign {
        0 | NEGATIVE => {}
        NAN => return Ok(Decimal::NaN),
        INFINITY => return Ok(Decimal::Infinity),
        NEG_INFINITY => return Ok(Decimal::NegInfinity),
        other => return Err(format!("the server's numeric has an unknown sign {other:#x}")),
    }
    let mut digits: Vec<u8> = Vec::with_capacity(count.unsigned_abs() as usize * 4 + 8);
    // Zero words between the point and the first word.
    digits.extend(std::iter::repeat_n(0, (-1 - weight).max(0) as usize * 4));
    for _ in 0..count {
        let word = bytes.i16()?;
        digits.extend([word / 1_000, word / 100 % 10, word / 10 % 10, word % 10].map(|d| d as u8));
    }
    let whole = (weight.max(-1) + 1) as usize * 4;
    digits.resize(whole + places as usize, 0);
    let zeros = digits.iter().take_while(|d| **d == 0).count();
    let digits = if zeros == digits.len() { vec![0] } else { digits.split_off(zeros) };
    Ok(Decimal::Finite { negative: sign == NEGATIVE, digits, scale: places as i32 })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimals_survive() {
        for text in [
            "0",
            "0.0000",
            "1",
            "-1",
            "10",
            "9999",
            "10000",
            "10001",
            "12345678",
            "0.1",
            "0.00001",
            "0.0001",
            "-1.10",
            "1234567890123456789012345678901",
            "0.00000000000000000000000000000001",
            "99990000",
            "100000000.00000001",
            "123.456",
            "-0.5",
            "NaN",
            "Infinity",
            "-Infinity",
            "1000000000000.000",
        ] {
            let decimal: Decimal = text.parse().unwrap();
            let raw = encode(&decimal).unwrap();
            assert_eq!(decode(&raw), Ok(decimal), "{text} {raw:?}");
        }
    }

    #[test]
    fn what_numeric_cannot_hold_is_told() {
        for (text, says) in
            [("-0", "negative zero"), ("-0.00", "negative zero"), ("1e3", "negative scale"), ("1e-20000", "after it")]
        {
            let error = encode(&text.parse().unwrap()).unwrap_err();
            assert!(error.contains(says), "{text}: {error}");
        }
    }
}
