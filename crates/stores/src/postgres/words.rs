//! Types in the server's words for columns of other stores.

use shearwater_core::shape::FieldType;
use shearwater_core::store::InspectedColumn;

use crate::{Origin, Role};

/// What NUMERIC holds when digits are named: in all, and after the point.
const NUMERIC_DIGITS_MAX: (u32, i32) = (1_000, 1_000);

/// The longest VARCHAR.
const VARCHAR_CHARS_MAX: u64 = 10_485_760;

/// A type that holds exactly what the column holds; `None`: the connector's own
/// choice for the field type does. Types that users made are in one database
/// only, so that their columns get a built-in one.
pub(crate) fn words_for(column: &InspectedColumn, origin: Origin, role: Role) -> Option<String> {
    let bounds = &column.bounds;
    match column.ty? {
        FieldType::Int => integer(bounds.integers?),
        FieldType::Decimal => {
            let (digits, scale) = bounds.digits?;
            let fits = digits <= NUMERIC_DIGITS_MAX.0 && (0..=NUMERIC_DIGITS_MAX.1).contains(&scale);
            fits.then(|| format!("numeric({digits},{scale})"))
        }
        FieldType::Text if role == Role::Plain => {
            bounds.chars_max.filter(|chars| *chars <= VARCHAR_CHARS_MAX).map(|chars| format!("varchar({chars})"))
        }
        FieldType::Json | FieldType::Extended if origin == Origin::SameKind => Some(column.declared.clone()),
        FieldType::Bool
        | FieldType::Float
        | FieldType::Text
        | FieldType::Bytes
        | FieldType::Date
        | FieldType::Time
        | FieldType::Timestamp
        | FieldType::Instant
        | FieldType::Uuid
        | FieldType::Json
        | FieldType::Extended => None,
    }
}

/// The smallest type for integers of these bounds.
fn integer((low, high): (i64, u64)) -> Option<String> {
    const TYPES: [(&str, i64, u64); 3] = [
        ("smallint", i16::MIN as i64, i16::MAX as u64),
        ("integer", i32::MIN as i64, i32::MAX as u64),
        ("bigint", i64::MIN, i64::MAX as u64),
    ];
    TYPES.iter().find(|(_, l, h)| *l <= low && *h >= high).map(|(words, ..)| (*words).to_owned())
}

#[cfg(test)]
mod tests {
    use shearwater_core::store::Bounds;

    use super::*;

    fn words(ty: FieldType, bounds: Bounds, origin: Origin, role: Role) -> Option<String> {
        let column = InspectedColumn { ty: Some(ty), declared: "own".into(), bounds, ..InspectedColumn::default() };
        words_for(&column, origin, role)
    }

    #[test]
    fn words_hold_exactly_what_the_column_holds() {
        let check = |ty, bounds, expect: Option<&str>| {
            assert_eq!(words(ty, bounds, Origin::OtherKind, Role::Plain).as_deref(), expect);
        };
        let ints = |low, high| Bounds { integers: Some((low, high)), ..Bounds::default() };
        check(FieldType::Int, ints(0, 255), Some("smallint"));
        check(FieldType::Int, ints(0, 65_535), Some("integer"));
        check(FieldType::Int, ints(0, u64::from(u32::MAX)), Some("bigint"));
        check(FieldType::Int, ints(0, u64::MAX), None);
        check(FieldType::Decimal, Bounds { digits: Some((10, 2)), ..Bounds::default() }, Some("numeric(10,2)"));
        check(FieldType::Decimal, Bounds::default(), None);
        check(FieldType::Text, Bounds { chars_max: Some(40), ..Bounds::default() }, Some("varchar(40)"));
        check(FieldType::Extended, Bounds::default(), None);
        let short = || Bounds { chars_max: Some(40), ..Bounds::default() };
        assert_eq!(words(FieldType::Text, short(), Origin::OtherKind, Role::Indexed), None, "keys compare by bytes");
        let own = words(FieldType::Extended, Bounds::default(), Origin::SameKind, Role::Plain);
        assert_eq!(own.as_deref(), Some("own"));
    }
}
