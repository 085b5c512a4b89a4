//! What a column cannot hold although its type could, and what the spec says
//! becomes of it. The value itself comes back through the residue, like what a
//! cast converted.

use std::borrow::Cow;

use crate::spec::{FieldRule, Unfit};
use crate::value::{Date, Decimal, Instant, LocalTimestamp, Value};

/// The bounds that a rule declares for its column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Fit {
    unfit: Option<Unfit>,
    chars_max: Option<u64>,
}

/// Why a value does not fit, for messages.
pub(super) type Why = Cow<'static, str>;

impl Fit {
    pub fn of(rule: &FieldRule) -> Fit {
        Fit { unfit: rule.unfit, chars_max: rule.chars_max }
    }

    /// Whether values may come out of the column otherwise than they went in.
    pub fn changes(self) -> bool {
        self.unfit.is_some()
    }

    /// Characters that a text may have; `None`: any number.
    pub fn chars_max(self) -> Option<u64> {
        self.chars_max
    }

    /// Whether a value that is not of the column's type counts as missing.
    pub fn drops_other_types(self) -> bool {
        self.unfit == Some(Unfit::Null)
    }

    /// The value as the column holds it: `None` when it counts as missing.
    ///
    /// # Errors
    /// It does not fit, and the spec says nothing of what becomes of it.
    pub fn fitted(self, value: Cow<'_, Value>) -> Result<Option<Cow<'_, Value>>, Why> {
        let Some(why) = self.misfit(&value) else { return Ok(Some(value)) };
        match (self.unfit, value.as_ref()) {
            (Some(Unfit::Null), _) => Ok(None),
            (Some(Unfit::Cut), Value::Text(text)) => Ok(Some(Cow::Owned(Value::Text(self.cut(text))))),
            (Some(Unfit::Cut) | None, _) => Err(why),
        }
    }

    /// Why a value of the column's type does not fit; `None`: it does.
    pub fn misfit(self, value: &Value) -> Option<Why> {
        if let (Some(max), Value::Text(text)) = (self.chars_max, value)
            && chars_beyond(text, max).is_some()
        {
            return Some(Cow::Owned(format!("a text of more than {max} characters")));
        }
        match (self.unfit?, value) {
            (_, Value::Text(text)) if text.contains('\0') => Some(Cow::Borrowed("a text with U+0000")),
            (Unfit::Null, value) if is_beyond_plain(value) => {
                Some(Cow::Borrowed("a number that is not finite, or a date outside the years 1 to 9999"))
            }
            _ => None,
        }
    }

    fn cut(self, text: &str) -> String {
        let without_nul = text.replace('\0', "");
        match self.chars_max.and_then(|max| chars_beyond(&without_nul, max)) {
            Some(end) => without_nul[..end].to_owned(),
            None => without_nul,
        }
    }
}

/// Where in the text its first `max` characters end, when there are more.
fn chars_beyond(text: &str, max: u64) -> Option<usize> {
    let max = usize::try_from(max).ok()?;
    if text.len() <= max {
        return None;
    }
    text.char_indices().nth(max).map(|(end, _)| end)
}

/// Whether a scalar is beyond what every SQL store can say.
fn is_beyond_plain(value: &Value) -> bool {
    match value {
        Value::Float(x) => !x.is_finite(),
        Value::Decimal(decimal) => !matches!(decimal, Decimal::Finite { .. }),
        Value::Date(date) => is_beyond_years(*date),
        Value::Local(LocalTimestamp::Micros(micros)) | Value::Instant(Instant::Micros(micros)) => {
            let days = i32::try_from(micros.div_euclid(MICROS_PER_DAY));
            days.map_or(true, |days| is_beyond_years(Date::Days(days)))
        }
        Value::Local(_) | Value::Instant(_) => true,
        Value::Null
        | Value::Bool(_)
        | Value::Int(_)
        | Value::UInt(_)
        | Value::Text(_)
        | Value::Bytes(_)
        | Value::Time(_)
        | Value::Uuid(_)
        | Value::Array(_)
        | Value::Document(_)
        | Value::Extended(_) => false,
    }
}

const MICROS_PER_DAY: i64 = 86_400_000_000;

fn is_beyond_years(date: Date) -> bool {
    date.to_ymd().is_none_or(|(year, _, _)| !(1..=9999).contains(&year))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::mapping::Mapping;
    use crate::mapping::tests::{cast, default, document, forth_and_back, from, mapping, required, scalars, sql};
    use crate::shape::FieldType;
    use crate::store::Image;
    use crate::value::{Document, Extended};

    fn bounded(rule: FieldRule, unfit: Option<Unfit>, chars_max: Option<u64>) -> FieldRule {
        FieldRule { unfit, chars_max, ..rule }
    }

    fn name(unfit: Option<Unfit>, chars_max: Option<u64>) -> Mapping {
        mapping(vec![bounded(from("name", "name", FieldType::Text), unfit, chars_max)])
    }

    fn with(field: &str, value: Value) -> Document {
        [("_id", Value::Int(1)), (field, value)].into_iter().collect()
    }

    /// What the column holds of a value, which must come back as it was.
    fn held(mapping: &Mapping, field: &str, value: impl Into<Value>) -> Value {
        forth_and_back(mapping, &with(field, value.into())).get(field).cloned().unwrap_or(Value::Null)
    }

    #[test]
    fn a_text_is_cut_by_characters_and_comes_back() {
        let cut = name(Some(Unfit::Cut), Some(3));
        assert_eq!(held(&cut, "name", "äöüß"), "äöü".into());
        assert_eq!(held(&cut, "name", "äöü"), "äöü".into());
        assert_eq!(held(&cut, "name", "a\0b\0cd"), "abc".into());
        assert_eq!(held(&name(Some(Unfit::Cut), None), "name", "\0"), "".into());
        // A record that needs no cut needs no residue either.
        let v2 = forth_and_back(&cut, &with("name", "abc".into()));
        assert_eq!(v2, document(&json!({ "id": 1, "name": "abc" })));
    }

    #[test]
    fn what_counts_as_missing_becomes_null_or_the_default() {
        assert_eq!(held(&name(Some(Unfit::Null), Some(3)), "name", "abcd"), Value::Null);
        assert_eq!(held(&name(Some(Unfit::Null), None), "name", "a\0"), Value::Null);
        let day = |rule: FieldRule| mapping(vec![bounded(rule, Some(Unfit::Null), None)]);
        let zero = Extended { store: "mysql".into(), type_name: "date".into(), text: "0000-00-00".into() };
        let born = day(from("born", "born", FieldType::Date));
        assert_eq!(held(&born, "born", Value::Extended(Box::new(zero.clone()))), Value::Null);
        for far in ["infinity", "-infinity", "-000043-03-15", "+012024-01-01"] {
            assert_eq!(held(&born, "born", Value::Date(far.parse().unwrap())), Value::Null, "{far}");
        }
        let last = Value::Date("9999-12-31".parse().unwrap());
        assert_eq!(held(&born, "born", last.clone()), last);
        let epoch = Value::Date("1970-01-01".parse().unwrap());
        let born = day(required(default(from("born", "born", FieldType::Date), epoch.clone())));
        assert_eq!(held(&born, "born", Value::Extended(Box::new(zero))), epoch);
        for (ty, value) in [
            (FieldType::Float, Value::Float(f64::NAN)),
            (FieldType::Decimal, Value::Decimal("NaN".parse().unwrap())),
            (FieldType::Instant, Value::Instant(Instant::Infinity)),
            (FieldType::Timestamp, Value::Local(LocalTimestamp::NegInfinity)),
            (FieldType::Instant, Value::Instant(Instant::Micros(i64::MAX))),
        ] {
            assert_eq!(held(&day(from("x", "x", ty)), "x", value), Value::Null, "{ty:?}");
        }
    }

    #[test]
    fn without_a_choice_it_is_refused_by_name() {
        let refused = |mapping: &Mapping, field: &str, value: Value| {
            let error = mapping.forward(&Image::of(with(field, value))).unwrap_err();
            assert!(!error.message.contains("abcd"), "a row value was told");
            (error.code, error.path)
        };
        assert_eq!(refused(&name(None, Some(3)), "name", "abcd".into()), ("mapping/unfit", "name".to_owned()));
        // Cutting is for texts; what is none is refused all the same.
        assert_eq!(refused(&name(Some(Unfit::Cut), None), "name", 5.into()).0, "mapping/type");
        let empty = mapping(vec![bounded(required(from("born", "born", FieldType::Date)), Some(Unfit::Null), None)]);
        assert_eq!(refused(&empty, "born", "abcd".into()).0, "mapping/required");
    }

    #[test]
    fn what_an_expression_gives_is_refused_by_name_too() {
        let last = sql("last", "upper(name)", &[("name", "lower(last)")], FieldType::Text);
        let mapping = mapping(vec![bounded(last, None, Some(3))]);
        assert_eq!(forth_and_back(&mapping, &with("name", "abc".into())).get("last"), Some(&"ABC".into()));
        let error = mapping.forward(&Image::of(with("name", "abcd".into()))).unwrap_err();
        assert_eq!((error.code, error.path.as_str()), ("mapping/unfit", "last"));
    }

    #[test]
    fn elements_of_arrays_are_fitted_too() {
        let item = bounded(cast(from("tag", "x", FieldType::Text)), Some(Unfit::Cut), Some(1));
        let mapping = mapping(vec![scalars("tags", "tags", item)]);
        let v1 = document(&json!({ "_id": 1, "tags": ["a", "bc"] }));
        let v2 = forth_and_back(&mapping, &v1);
        let Some(Value::Array(rows)) = v2.get("tags") else { panic!("{v2:?}") };
        assert!(matches!(&rows[1], Value::Document(row) if row.get("tag") == Some(&"b".into())), "{rows:?}");
    }

    #[test]
    fn a_v2_client_cannot_write_what_does_not_fit() {
        let mapping = name(Some(Unfit::Cut), Some(3));
        let refused = mapping.settle(&document(&json!({ "id": 1, "name": "abcd" }))).unwrap_err();
        assert_eq!((refused.code, refused.path.as_str()), ("mapping/reverse", "name"));
        let kept = mapping.settle(&document(&json!({ "id": 1, "name": "abc" }))).unwrap();
        assert_eq!(kept.get("name"), Some(&"abc".into()));
    }

    #[test]
    fn a_change_by_a_v2_client_ends_what_was_remembered() {
        let mapping = name(Some(Unfit::Cut), Some(3));
        let mut v2 = mapping.forward(&Image::of(with("name", "abcd".into()))).unwrap();
        v2.record.set("name", "x");
        assert_eq!(mapping.reverse(&v2).unwrap().record, with("name", "x".into()));
    }
}
