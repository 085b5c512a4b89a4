//! Which values the new field may have: its type, a decimal's digits, a text's
//! declared set. One declaration for the gateway, the column, the check that the
//! store is given, and verification.

use crate::mapping::cast;
use crate::shape::FieldType;
use crate::value::{Decimal, Value};

/// Digits of a decimal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Digits {
    /// In all.
    pub precision: u32,
    /// After the point, of which each value has exactly so many.
    pub scale: u32,
}

impl Digits {
    /// The highest whole number that fits; `None`: every 64-bit integer does.
    pub fn whole_max(self) -> Option<i64> {
        10_i64.checked_pow(self.precision.saturating_sub(self.scale)).map(|power| power - 1)
    }
}

/// Which values a field may have.
#[derive(Clone, Debug, PartialEq)]
pub struct Domain {
    /// Its type.
    pub ty: FieldType,
    /// Of a decimal.
    pub digits: Option<Digits>,
    /// The only values of a text; empty: any.
    pub values: Vec<String>,
}

/// Why a value is none of the field's. Tells no value of a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Misfit {
    /// Of another type.
    Type(String),
    /// Of the type, but not among its values.
    Value(String),
}

impl Misfit {
    /// In words.
    pub fn told(&self) -> &str {
        match self {
            Misfit::Type(told) | Misfit::Value(told) => told,
        }
    }
}

impl Domain {
    /// Every value of a type.
    pub fn of(ty: FieldType) -> Domain {
        Domain { ty, digits: None, values: Vec::new() }
    }

    /// The value in the one form in which the field holds it: a decimal with all
    /// of its digits after the point. Nothing is rounded or cut.
    ///
    /// # Errors
    /// Null, another type, and what is not among the field's values.
    pub fn canonical(&self, value: &Value) -> Result<Value, Misfit> {
        let value = match (self.ty, value) {
            (FieldType::Decimal, Value::Decimal(_) | Value::Int(_) | Value::UInt(_)) => self.decimal(value)?,
            (ty, value) if !value.is_null() && cast::fits(value, ty) => value.clone(),
            (ty, value) => {
                return Err(Misfit::Type(format!("found {} where {} was expected", value.type_name(), ty.name())));
            }
        };
        if let Value::Text(text) = &value
            && !self.values.is_empty()
            && !self.values.contains(text)
        {
            return Err(Misfit::Value(format!("the field has one of the declared values: {}", self.values.join(", "))));
        }
        Ok(value)
    }

    /// Whether a value is one of the field's, in its one form.
    pub fn takes(&self, value: &Value) -> bool {
        self.canonical(value).is_ok_and(|found| found == *value)
    }

    fn decimal(&self, value: &Value) -> Result<Value, Misfit> {
        let decimal = match value {
            Value::Int(n) => Decimal::from_int(i128::from(*n)),
            Value::UInt(n) => Decimal::from_int(i128::from(*n)),
            Value::Decimal(decimal) => decimal.clone(),
            other => return Err(Misfit::Type(format!("found {} where decimal was expected", other.type_name()))),
        };
        let Some(Digits { precision, scale }) = self.digits else { return Ok(Value::Decimal(decimal)) };
        let beyond = |what: &str| Err(Misfit::Value(format!("the field is decimal({precision}, {scale}): {what}")));
        let Decimal::Finite { negative, digits, scale: found } = &decimal else {
            return beyond("it holds neither NaN nor an infinity");
        };
        if *negative && decimal.is_zero() {
            return beyond("it holds no negative zero");
        }
        let mut digits: Vec<u8> = digits.clone();
        let mut found = i64::from(*found);
        let wanted = i64::from(scale);
        while found > wanted && digits.len() > 1 && digits.last() == Some(&0) {
            digits.pop();
            found -= 1;
        }
        if decimal.is_zero() {
            (digits, found) = (vec![0], wanted);
        }
        if found > wanted {
            return beyond("the number has more digits after the point");
        }
        let room = i64::from(precision) - (digits.len() as i64 - found + wanted);
        if room < 0 && !decimal.is_zero() {
            return beyond("the number has more digits");
        }
        if !decimal.is_zero() {
            // No more zeros than the precision has digits.
            digits.resize(digits.len() + usize::try_from(wanted - found).unwrap_or(0), 0);
        }
        let scale = i32::try_from(wanted).unwrap_or(i32::MAX);
        Ok(Value::Decimal(Decimal::Finite { negative: *negative, digits, scale }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decimal(text: &str) -> Value {
        Value::Decimal(text.parse().unwrap())
    }

    #[test]
    fn a_decimal_has_all_its_digits_or_is_refused() {
        let digits = Some(Digits { precision: 5, scale: 2 });
        let domain = Domain { ty: FieldType::Decimal, digits, values: Vec::new() };
        let check = |given: Value, expect: Option<&str>| {
            let found = domain.canonical(&given);
            assert_eq!(found.clone().ok(), expect.map(decimal), "{given:?}: {found:?}");
            assert_eq!(domain.takes(&given), expect.is_some_and(|expect| given == decimal(expect)), "{given:?}");
        };
        check(decimal("1.5"), Some("1.50"));
        check(decimal("1.50"), Some("1.50"));
        check(decimal("-1.5000"), Some("-1.50"));
        check(decimal("0"), Some("0.00"));
        check(decimal("0.000"), Some("0.00"));
        check(decimal("0e5"), Some("0.00"));
        check(decimal("1e2"), Some("100.00"));
        check(decimal("0.01"), Some("0.01"));
        check(Value::Int(-999), Some("-999.00"));
        check(decimal("999.99"), Some("999.99"));
        for beyond in ["1.005", "1000", "1e3", "1e2000000000", "0.001", "-0.0", "NaN", "Infinity"] {
            check(decimal(beyond), None);
        }
        check(Value::UInt(u64::MAX), None);
        check(Value::Float(1.5), None);
        check(Value::text("1.50"), None);
        assert_eq!(Digits { precision: 5, scale: 2 }.whole_max(), Some(999));
        assert_eq!(Digits { precision: 30, scale: 2 }.whole_max(), None);
    }

    #[test]
    fn a_declared_set_is_the_only_one_and_messages_tell_no_value_of_a_record() {
        let domain = Domain { ty: FieldType::Text, digits: None, values: vec!["active".into(), "blocked".into()] };
        assert!(domain.takes(&Value::text("active")));
        for other in ["Active", "active ", "", "secret"] {
            let told = domain.canonical(&Value::text(other)).unwrap_err();
            assert!(matches!(told, Misfit::Value(_)) && told.told().contains("active, blocked"), "{told:?}");
            assert!(!told.told().contains("secret"));
        }
        assert!(matches!(domain.canonical(&Value::Null), Err(Misfit::Type(_))));
        assert!(matches!(domain.canonical(&Value::Int(1)), Err(Misfit::Type(_))));
        let any = Domain::of(FieldType::Date);
        assert!(!any.takes(&Value::Null) && !any.takes(&Value::text("2020-01-01")));
        assert!(Domain::of(FieldType::Json).takes(&Value::Array(vec![])));
    }
}
