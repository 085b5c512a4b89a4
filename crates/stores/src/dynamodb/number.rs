//! Numbers as DynamoDB keeps them: at most 38 significant digits, between
//! 10^-130 and 10^126, written out plainly, without zeros at the end of a
//! fraction.

use shearwater_core::Value;
use shearwater_core::value::Decimal;

/// Significant digits.
const DIGITS_MAX: usize = 38;

/// Powers of ten of the first digit.
const EXPONENT_MIN: i64 = -130;
const EXPONENT_MAX: i64 = 125;

/// The number's one form here: no zeros at the end of a fraction, no exponent,
/// no negative zero. `None` for what is no number.
pub(super) fn canonical(decimal: &Decimal) -> Option<Decimal> {
    let Decimal::Finite { negative, digits, scale } = decimal else { return None };
    let (mut digits, mut scale) = (digits.clone(), i64::from(*scale));
    if digits.iter().all(|digit| *digit == 0) {
        return Some(Decimal::from_int(0));
    }
    while scale > 0 && digits.last() == Some(&0) {
        digits.pop();
        scale -= 1;
    }
    if scale < 0 {
        // Beyond the range it is refused before it is written out.
        if digits.len() as i64 - scale > EXPONENT_MAX + 1 {
            return None;
        }
        digits.resize(digits.len() + usize::try_from(-scale).ok()?, 0);
        scale = 0;
    }
    Some(Decimal::Finite { negative: *negative, digits, scale: i32::try_from(scale).ok()? })
}

/// The number as DynamoDB's text, or why it cannot hold it.
pub(super) fn text(decimal: &Decimal) -> Result<String, &'static str> {
    let Decimal::Finite { digits, scale, .. } = decimal else { return Err("DynamoDB has no NaN and no infinity") };
    let leading = digits.iter().take_while(|digit| **digit == 0).count();
    let trailing = digits[leading..].iter().rev().take_while(|digit| **digit == 0).count();
    let significant = digits.len() - leading - trailing;
    if significant > DIGITS_MAX {
        return Err("has more than 38 significant digits");
    }
    let first = (digits.len() - leading) as i64 - i64::from(*scale) - 1;
    if significant > 0 && !(EXPONENT_MIN..=EXPONENT_MAX).contains(&first) {
        return Err("is outside DynamoDB's range of 1E-130 to 9.9E+125");
    }
    match canonical(decimal) {
        Some(decimal) => Ok(plain(&decimal)),
        None => Err("is outside DynamoDB's range of 1E-130 to 9.9E+125"),
    }
}

/// Plain notation, however many zeros it takes.
fn plain(decimal: &Decimal) -> String {
    let Decimal::Finite { negative, digits, scale } = decimal else { return decimal.to_string() };
    let scale = usize::try_from(*scale).unwrap_or(0);
    let mut out = String::with_capacity(digits.len() + scale + 3);
    if *negative {
        out.push('-');
    }
    let digit = |d: &u8| char::from(b'0' + d);
    let whole = digits.len().saturating_sub(scale);
    match whole {
        0 => out.push('0'),
        whole => out.extend(digits[..whole].iter().map(digit)),
    }
    if scale > 0 {
        out.push('.');
        out.extend(std::iter::repeat_n('0', scale.saturating_sub(digits.len())));
        out.extend(digits[whole..].iter().map(digit));
    }
    out
}

/// The value of a number's text: an int where it is one in range, else a decimal.
pub(super) fn value(text: &str) -> Option<Value> {
    if let Ok(n) = text.parse::<i64>() {
        return Some(Value::Int(n));
    }
    if let Ok(n) = text.parse::<u64>() {
        return Some(Value::from_u64(n));
    }
    let decimal = canonical(&text.parse().ok()?)?;
    Some(of_decimal(decimal))
}

/// The value of a canonical decimal.
fn of_decimal(decimal: Decimal) -> Value {
    let int = match &decimal {
        Decimal::Finite { scale: 0, .. } => decimal.to_i128(),
        _ => None,
    };
    match int {
        Some(n) if i64::try_from(n).is_ok() => Value::Int(n as i64),
        Some(n) if u64::try_from(n).is_ok() => Value::from_u64(n as u64),
        _ => Value::Decimal(decimal),
    }
}

/// Whether a decimal comes back as it is.
pub(super) fn is_natural(decimal: &Decimal) -> bool {
    text(decimal).is_ok() && canonical(decimal).is_some_and(|kept| of_decimal(kept) == Value::Decimal(decimal.clone()))
}

/// The decimal that a float's shortest text shows; `None` for what is not finite.
pub(super) fn of_float(x: f64) -> Option<Decimal> {
    if x.is_finite() { format!("{x:e}").parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decimal(text: &str) -> Decimal {
        text.parse().unwrap()
    }

    #[test]
    fn texts_are_plain_and_short() {
        let check = |given: &str, expect: &str| assert_eq!(text(&decimal(given)).as_deref(), Ok(expect), "{given}");
        check("1.50", "1.5");
        check("-0.0", "0");
        check("1e3", "1000");
        check("0.000001", "0.000001");
        check("-12.345e-10", "-0.0000000012345");
        check("12345678901234567890123456789012345678", "12345678901234567890123456789012345678");
        check("0.12345678901234567890123456789012345678000", "0.12345678901234567890123456789012345678");
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        for (given, expect) in [
            ("123456789012345678901234567890123456789", "38"),
            ("1e126", "range"),
            ("1e2000000000", "range"),
            ("1e-131", "range"),
            ("NaN", "NaN"),
            ("Infinity", "NaN"),
        ] {
            assert!(text(&decimal(given)).unwrap_err().contains(expect), "{given}");
        }
        assert!(text(&decimal("9.9e125")).is_ok() && text(&decimal("1e-130")).is_ok());
    }

    #[test]
    fn values_come_back_where_they_are_natural() {
        for (given, natural) in [("1.5", true), ("1.50", false), ("5", false), ("1e3", false), ("-0", false)] {
            assert_eq!(is_natural(&decimal(given)), natural, "{given}");
        }
        assert!(is_natural(&decimal("12345678901234567890123456789012345678")));
        assert_eq!(value("5"), Some(Value::Int(5)));
        assert_eq!(value("18446744073709551615"), Some(Value::from_u64(u64::MAX)));
        assert_eq!(value("1E+5"), Some(Value::Int(100_000)));
        assert_eq!(value("1.5"), Some(Value::Decimal(decimal("1.5"))));
        assert_eq!(value("x"), None);
        assert_eq!(of_float(0.1).map(|d| text(&d)), Some(Ok("0.1".to_owned())));
        assert_eq!(of_float(f64::NAN), None);
    }
}
