//! Types in the server's words for columns of other stores.

use shearwater_core::shape::FieldType;
use shearwater_core::store::InspectedColumn;

use crate::{Origin, Role};

/// The longest VARCHAR that is proposed: a row has room for 16 of them, and
/// longer texts stand outside of the row anyway.
const VARCHAR_CHARS_MAX: u64 = 1_000;

/// What DECIMAL holds: digits in all, and after the point.
const DECIMAL_DIGITS_MAX: (u32, i32) = (65, 38);

/// A type that holds exactly what the column holds; `None`: the connector's own
/// choice for the field type does.
pub(crate) fn words_for(column: &InspectedColumn, origin: Origin, role: Role) -> Option<String> {
    let (ty, bounds) = (column.ty?, &column.bounds);
    if origin == Origin::SameKind
        && !matches!(ty, FieldType::Json)
        && (ty != FieldType::Text || bounds.labels.is_some())
    {
        return Some(column.declared.clone());
    }
    match ty {
        FieldType::Int => integer(bounds.integers?),
        FieldType::Decimal => {
            let (digits, scale) = bounds.digits?;
            let fits = digits <= DECIMAL_DIGITS_MAX.0 && (0..=DECIMAL_DIGITS_MAX.1).contains(&scale);
            fits.then(|| format!("decimal({digits},{scale})"))
        }
        FieldType::Text if role == Role::Plain => {
            let chars = bounds.chars_max.filter(|chars| *chars <= VARCHAR_CHARS_MAX)?;
            // This collation is there in both servers; what it takes for equal (blanks
            // at the end) matters in an index only.
            Some(format!("varchar({chars}) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin"))
        }
        FieldType::Float => Some("double".to_owned()),
        FieldType::Date => Some("date".to_owned()),
        FieldType::Time => Some(format!("time({})", bounds.fraction_digits.unwrap_or(MICROS_DIGITS))),
        // TIMESTAMP ends in 2038.
        FieldType::Timestamp | FieldType::Instant => {
            Some(format!("datetime({})", bounds.fraction_digits.unwrap_or(MICROS_DIGITS)))
        }
        FieldType::Bool
        | FieldType::Text
        | FieldType::Bytes
        | FieldType::Uuid
        | FieldType::Json
        | FieldType::Extended => None,
    }
}

/// Digits of a second's fraction.
const MICROS_DIGITS: u8 = 6;

/// The smallest type for integers of these bounds that is common to both sides.
fn integer((low, high): (i64, u64)) -> Option<String> {
    const TYPES: [(&str, i64, u64); 6] = [
        ("smallint", i16::MIN as i64, i16::MAX as u64),
        ("int", i32::MIN as i64, i32::MAX as u64),
        ("bigint", i64::MIN, i64::MAX as u64),
        ("smallint unsigned", 0, u16::MAX as u64),
        ("int unsigned", 0, u32::MAX as u64),
        ("bigint unsigned", 0, u64::MAX),
    ];
    let fits = |(_, l, h): &&(&str, i64, u64)| *l <= low && *h >= high;
    TYPES.iter().find(fits).map(|(words, ..)| (*words).to_owned())
}

#[cfg(test)]
mod tests {
    use shearwater_core::store::Bounds;

    use super::*;

    fn check(ty: FieldType, bounds: Bounds, expect: Option<&str>) {
        let column = InspectedColumn { ty: Some(ty), declared: "own".into(), bounds, ..InspectedColumn::default() };
        assert_eq!(words_for(&column, Origin::OtherKind, Role::Plain).as_deref(), expect, "{column:?}");
    }

    #[test]
    fn words_hold_exactly_what_the_column_holds() {
        let ints = |low, high| Bounds { integers: Some((low, high)), ..Bounds::default() };
        check(FieldType::Int, ints(-32_768, 32_767), Some("smallint"));
        check(FieldType::Int, ints(0, 255), Some("smallint"));
        check(FieldType::Int, ints(0, 65_535), Some("int"));
        check(FieldType::Int, ints(i64::MIN, i64::MAX as u64), Some("bigint"));
        check(FieldType::Int, ints(0, u64::MAX), Some("bigint unsigned"));
        check(FieldType::Int, Bounds::default(), None);
        check(FieldType::Decimal, Bounds { digits: Some((10, 2)), ..Bounds::default() }, Some("decimal(10,2)"));
        check(FieldType::Decimal, Bounds { digits: Some((66, 2)), ..Bounds::default() }, None);
        check(FieldType::Decimal, Bounds { digits: Some((5, -2)), ..Bounds::default() }, None);
        check(FieldType::Decimal, Bounds::default(), None);
        check(FieldType::Timestamp, Bounds { fraction_digits: Some(3), ..Bounds::default() }, Some("datetime(3)"));
        check(FieldType::Instant, Bounds::default(), Some("datetime(6)"));
        check(FieldType::Text, Bounds::default(), None);
        check(FieldType::Text, Bounds { chars_max: Some(1_001), ..Bounds::default() }, None);
        let forty = || Bounds { chars_max: Some(40), ..Bounds::default() };
        check(FieldType::Text, forty(), Some("varchar(40) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin"));
        let text = InspectedColumn { ty: Some(FieldType::Text), bounds: forty(), ..InspectedColumn::default() };
        assert_eq!(words_for(&text, Origin::OtherKind, Role::Indexed), None, "it would take texts for equal");
    }

    #[test]
    fn from_the_same_kind_a_type_stays_as_it_is() {
        let column = |ty, declared: &str| InspectedColumn {
            ty: Some(ty),
            declared: declared.into(),
            ..InspectedColumn::default()
        };
        let words = |ty, declared| words_for(&column(ty, declared), Origin::SameKind, Role::Plain);
        assert_eq!(words(FieldType::Extended, "point").as_deref(), Some("point"));
        assert_eq!(words(FieldType::Int, "mediumint(8) unsigned").as_deref(), Some("mediumint(8) unsigned"));
        assert_eq!(words(FieldType::Text, "varchar(9)"), None, "its collation is not in its words");
    }
}
