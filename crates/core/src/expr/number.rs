//! Arithmetic that is exact or an error.

use std::cmp::Ordering;

use super::{Arithmetic, EvalError, Unfit};
use crate::mapping::cast::decimal_to_float;
use crate::value::{Decimal, Value};

/// Digits that a quotient of decimals may have after the point beyond those of
/// its operands; a quotient that needs more is refused, not rounded.
const QUOTIENT_DIGITS_MAX: u32 = 30;

fn error(message: impl Into<String>) -> EvalError {
    EvalError(message.into())
}

/// A number on the way through an operator.
enum Number<'a> {
    Int(i128),
    Float(f64),
    Decimal(&'a Decimal),
}

fn number(value: &Value) -> Result<Number<'_>, EvalError> {
    match value {
        Value::Int(n) => Ok(Number::Int(i128::from(*n))),
        Value::UInt(n) => Ok(Number::Int(i128::from(*n))),
        Value::Float(x) => Ok(Number::Float(*x)),
        Value::Decimal(decimal) => Ok(Number::Decimal(decimal)),
        other => Err(error(format!("found {} where a number was expected", other.type_name()))),
    }
}

/// An integer in the range of a value.
pub(super) fn integer(n: i128) -> Result<Value, EvalError> {
    let value = i64::try_from(n).map(Value::Int).or_else(|_| u64::try_from(n).map(Value::from_u64));
    value.map_err(|_| error("the integer is out of range"))
}

fn float(number: &Number<'_>) -> Result<f64, EvalError> {
    match number {
        Number::Float(x) => Ok(*x),
        Number::Int(n) if n.unsigned_abs() <= 1 << 53 => Ok(*n as f64),
        Number::Int(_) => Err(error("the integer does not fit a float exactly")),
        Number::Decimal(decimal) => {
            decimal_to_float(decimal).ok_or_else(|| error("the decimal does not fit a float exactly"))
        }
    }
}

/// Digits and scale of a decimal, as far as they fit.
fn scaled(number: &Number<'_>) -> Result<(i128, i32), EvalError> {
    match number {
        Number::Int(n) => Ok((*n, 0)),
        Number::Decimal(Decimal::Finite { negative, digits, scale }) => {
            let whole = Decimal::Finite { negative: *negative, digits: digits.clone(), scale: 0 };
            let n = whole.to_i128().ok_or_else(too_many_digits)?;
            if *scale >= 0 { Ok((n, *scale)) } else { Ok((shifted(n, scale.unsigned_abs())?, 0)) }
        }
        Number::Decimal(_) | Number::Float(_) => Err(error("found a decimal that is not finite")),
    }
}

fn too_many_digits() -> EvalError {
    error("the decimal has too many digits for arithmetic")
}

fn shifted(n: i128, places: u32) -> Result<i128, EvalError> {
    10i128.checked_pow(places).and_then(|power| n.checked_mul(power)).ok_or_else(too_many_digits)
}

fn decimal(n: i128, scale: i32) -> Value {
    match Decimal::from_int(n) {
        Decimal::Finite { negative, digits, .. } => Value::Decimal(Decimal::Finite { negative, digits, scale }),
        other => Value::Decimal(other),
    }
}

/// `a op b`.
pub(super) fn arithmetic(op: Arithmetic, a: &Value, b: &Value) -> Result<Value, EvalError> {
    let (a, b) = (number(a)?, number(b)?);
    match (&a, &b) {
        (Number::Int(a), Number::Int(b)) => integer(of_integers(op, *a, *b)?),
        (Number::Float(_), _) | (_, Number::Float(_)) => of_floats(op, float(&a)?, float(&b)?).map(Value::Float),
        _ => of_decimals(op, scaled(&a)?, scaled(&b)?),
    }
}

/// A result of numbers; where it is total, NULL for what is none, and for an
/// integer beyond the range of a column.
pub(super) fn fitting(result: Result<Value, EvalError>, operands: &[&Value], unfit: Unfit) -> Result<Value, EvalError> {
    if unfit == Unfit::Refused {
        return result;
    }
    match result {
        Ok(Value::UInt(_)) => Ok(Value::Null),
        // What is no number is a mistake of the record's, not of the sum's.
        Err(_) if operands.iter().all(|operand| number(operand).is_ok()) => Ok(Value::Null),
        other => other,
    }
}

fn of_integers(op: Arithmetic, a: i128, b: i128) -> Result<i128, EvalError> {
    let result = match op {
        Arithmetic::Add => a.checked_add(b),
        Arithmetic::Subtract => a.checked_sub(b),
        Arithmetic::Multiply => a.checked_mul(b),
        Arithmetic::Divide | Arithmetic::Remainder if b == 0 => return Err(error("division by zero")),
        Arithmetic::Divide => a.checked_div(b),
        Arithmetic::Remainder => a.checked_rem(b),
    };
    result.ok_or_else(|| error("the integer is out of range"))
}

fn of_floats(op: Arithmetic, a: f64, b: f64) -> Result<f64, EvalError> {
    let result = match op {
        Arithmetic::Add => a + b,
        Arithmetic::Subtract => a - b,
        Arithmetic::Multiply => a * b,
        Arithmetic::Divide if b == 0.0 => return Err(error("division by zero")),
        Arithmetic::Divide => a / b,
        Arithmetic::Remainder => return Err(error("found float where % takes int or decimal")),
    };
    match result.is_finite() || !(a.is_finite() && b.is_finite()) {
        true => Ok(result),
        false => Err(error("the float is out of range")),
    }
}

fn of_decimals(op: Arithmetic, (a, a_scale): (i128, i32), (b, b_scale): (i128, i32)) -> Result<Value, EvalError> {
    let scale = a_scale.max(b_scale);
    let aligned = |n: i128, own: i32| shifted(n, scale.abs_diff(own));
    let checked = |n: Option<i128>| n.ok_or_else(too_many_digits);
    match op {
        Arithmetic::Add => Ok(decimal(checked(aligned(a, a_scale)?.checked_add(aligned(b, b_scale)?))?, scale)),
        Arithmetic::Subtract => Ok(decimal(checked(aligned(a, a_scale)?.checked_sub(aligned(b, b_scale)?))?, scale)),
        Arithmetic::Multiply => {
            let scale = a_scale.checked_add(b_scale).ok_or_else(too_many_digits)?;
            Ok(decimal(checked(a.checked_mul(b))?, scale))
        }
        Arithmetic::Divide | Arithmetic::Remainder if b == 0 => Err(error("division by zero")),
        Arithmetic::Remainder => Ok(decimal(checked(aligned(a, a_scale)?.checked_rem(aligned(b, b_scale)?))?, scale)),
        Arithmetic::Divide => {
            let (a, b) = (aligned(a, a_scale)?, aligned(b, b_scale)?);
            for digits in 0..=QUOTIENT_DIGITS_MAX {
                let Ok(a) = shifted(a, digits) else { break };
                if a % b == 0 {
                    return Ok(decimal(a / b, i32::try_from(digits).unwrap_or(0)));
                }
            }
            Err(error("the quotient of the decimals is not exact; CAST(… AS float) allows rounding"))
        }
    }
}

/// Compares numbers of any kind by value; NaN equals itself and is the highest.
pub(super) fn compare(a: &Value, b: &Value) -> Result<Ordering, EvalError> {
    Ok(match (number(a)?, number(b)?) {
        (Number::Int(a), Number::Int(b)) => a.cmp(&b),
        (Number::Decimal(a), Number::Decimal(b)) => a.compare(b),
        (Number::Int(a), Number::Decimal(b)) => Decimal::from_int(a).compare(b),
        (Number::Decimal(a), Number::Int(b)) => a.compare(&Decimal::from_int(b)),
        (Number::Float(a), Number::Float(b)) => floats(a, b),
        (Number::Float(a), b) => float_with(a, &b),
        (a, Number::Float(b)) => float_with(b, &a).reverse(),
    })
}

fn floats(a: f64, b: f64) -> Ordering {
    a.partial_cmp(&b).unwrap_or_else(|| a.is_nan().cmp(&b.is_nan()))
}

/// A decimal such as 0.1 means the float that shows as it; others compare exactly.
fn float_with(a: f64, b: &Number<'_>) -> Ordering {
    match (float(b), b) {
        (Ok(b), _) => floats(a, b),
        (Err(_), Number::Decimal(b)) => Decimal::from_f64(a).compare(b),
        (Err(_), Number::Int(b)) => Decimal::from_f64(a).compare(&Decimal::from_int(*b)),
        (Err(_), Number::Float(b)) => floats(a, *b),
    }
}

pub(super) fn negate(value: &Value) -> Result<Value, EvalError> {
    match number(value)? {
        Number::Int(n) => integer(-n),
        Number::Float(x) => Ok(Value::Float(-x)),
        Number::Decimal(Decimal::NaN) => Ok(Value::Decimal(Decimal::NaN)),
        Number::Decimal(Decimal::Infinity) => Ok(Value::Decimal(Decimal::NegInfinity)),
        Number::Decimal(Decimal::NegInfinity) => Ok(Value::Decimal(Decimal::Infinity)),
        Number::Decimal(d @ Decimal::Finite { negative, digits, scale }) => Ok(Value::Decimal(Decimal::Finite {
            negative: !negative && !d.is_zero(),
            digits: digits.clone(),
            scale: *scale,
        })),
    }
}

pub(super) fn absolute(value: &Value) -> Result<Value, EvalError> {
    match number(value)? {
        Number::Int(n) => integer(n.abs()),
        Number::Float(x) => Ok(Value::Float(x.abs())),
        Number::Decimal(Decimal::Finite { negative: true, .. } | Decimal::NegInfinity) => negate(value),
        Number::Decimal(_) => Ok(value.clone()),
    }
}

/// Which way to a number with fewer digits.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Rounding {
    Down,
    Up,
    /// Floats: ties to even; decimals: ties away from zero, as in PostgreSQL.
    Nearest,
}

/// Rounds to `places` digits after the point; floats and integers to none only.
pub(super) fn round(value: &Value, rounding: Rounding, places: i64) -> Result<Value, EvalError> {
    let number = number(value)?;
    if places != 0 && !matches!(number, Number::Decimal(_)) {
        return Err(error(format!("found {} where rounding to a number of digits takes decimal", value.type_name())));
    }
    match number {
        Number::Int(_) => Ok(value.clone()),
        Number::Float(x) => Ok(Value::Float(match rounding {
            Rounding::Down => x.floor(),
            Rounding::Up => x.ceil(),
            Rounding::Nearest => x.round_ties_even(),
        })),
        Number::Decimal(_) => {
            let (n, scale) = scaled(&number)?;
            let places = i32::try_from(places).ok().filter(|places| places.abs() < 1_000);
            let places = places.ok_or_else(|| error("the number of digits is out of range"))?;
            let Some(surplus) = scale.checked_sub(places).filter(|surplus| *surplus > 0) else {
                return Ok(decimal(shifted(n, places.abs_diff(scale))?, places));
            };
            let Some(power) = 10i128.checked_pow(surplus.unsigned_abs()) else { return Err(too_many_digits()) };
            let (quotient, rest) = (n.div_euclid(power), n.rem_euclid(power));
            let is_up = match rounding {
                Rounding::Down => false,
                Rounding::Up => rest > 0,
                Rounding::Nearest if n >= 0 => rest >= power - rest,
                Rounding::Nearest => rest > power - rest,
            };
            let n = quotient + i128::from(is_up);
            if places >= 0 {
                return Ok(decimal(n, places));
            }
            Ok(decimal(shifted(n, places.unsigned_abs())?, 0))
        }
    }
}
