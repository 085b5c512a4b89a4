//! Decimal128: 34 digits and an exponent in sixteen bytes, as BSON has it
//! (IEEE 754, the binary integer form).

use shearwater_core::value::Decimal;

/// What is added to an exponent.
const BIAS: i32 = 6_176;

/// The highest biased exponent.
const BIASED_MAX: i32 = 12_287;

/// The highest coefficient has 34 digits.
const DIGITS_MAX: usize = 34;

const SIGN: u128 = 1 << 127;
const INFINITY: u128 = 0b11110 << 122;
const NAN: u128 = 0b11111 << 122;

/// The decimal of sixteen bytes; `None`: they are another writing of what has a
/// canonical one (a NaN with a sign or a payload, a coefficient that is too large).
pub(super) fn from_bytes(bytes: [u8; 16]) -> Option<Decimal> {
    let bits = u128::from_le_bytes(bytes);
    match bits & !SIGN {
        NAN if bits & SIGN == 0 => return Some(Decimal::NaN),
        INFINITY if bits & SIGN == 0 => return Some(Decimal::Infinity),
        INFINITY => return Some(Decimal::NegInfinity),
        _ => {}
    }
    // Two ones at the top announce a form whose coefficients are all too large.
    let coefficient = bits & ((1 << 113) - 1);
    if bits >> 125 & 0b11 == 0b11 || coefficient >= 10u128.pow(DIGITS_MAX as u32) {
        return None;
    }
    let biased = i32::try_from(bits >> 113 & 0x3fff).ok()?;
    let digits = coefficient.to_string().bytes().map(|b| b - b'0').collect();
    Some(Decimal::Finite { negative: bits & SIGN != 0, digits, scale: BIAS - biased })
}

/// The sixteen bytes of a decimal; `None`: it has more digits or another
/// exponent than there is room for.
pub(super) fn to_bytes(decimal: &Decimal) -> Option<[u8; 16]> {
    let bits = match decimal {
        Decimal::NaN => NAN,
        Decimal::Infinity => INFINITY,
        Decimal::NegInfinity => INFINITY | SIGN,
        Decimal::Finite { negative, digits, scale } => {
            let biased = BIAS.checked_sub(*scale).filter(|biased| (0..=BIASED_MAX).contains(biased))?;
            if digits.len() > DIGITS_MAX {
                return None;
            }
            let coefficient = digits.iter().fold(0u128, |n, digit| n * 10 + u128::from(*digit));
            let sign = if *negative { SIGN } else { 0 };
            sign | u128::try_from(biased).ok()? << 113 | coefficient
        }
    };
    Some(bits.to_le_bytes())
}

#[cfg(test)]
mod tests {
    use mongodb::bson::Decimal128;

    use super::*;

    #[test]
    fn decimals_there_and_back_as_the_driver_prints_them() {
        let check = |text: &str, shown: &str| {
            let decimal: Decimal = text.parse().unwrap();
            let bytes = to_bytes(&decimal).unwrap();
            assert_eq!(from_bytes(bytes), Some(decimal), "{text}");
            assert_eq!(Decimal128::from_bytes(bytes).to_string(), shown, "{text}");
        };
        check("0", "0");
        check("-0", "-0");
        check("0.0000", "0.0000");
        check("-1.10", "-1.10");
        check("1e3", "1E+3");
        check("NaN", "NaN");
        check("Infinity", "Infinity");
        check("-Infinity", "-Infinity");
        check("9999999999999999999999999999999999", "9999999999999999999999999999999999");
        check("1e-6176", "1E-6176");
        check("1e6111", "1E+6111");
    }

    #[test]
    fn what_has_no_room_is_told() {
        for text in ["10000000000000000000000000000000000", "1e-6177", "1e6112"] {
            assert_eq!(to_bytes(&text.parse().unwrap()), None, "{text}");
        }
        for bits in [NAN | SIGN, NAN | 1, INFINITY | 1, 0b11 << 125, 10u128.pow(34)] {
            assert_eq!(from_bytes(bits.to_le_bytes()), None, "{bits:x}");
        }
    }
}
