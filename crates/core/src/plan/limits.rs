//! Records against what the target's columns hold: the data's own answer where
//! the declarations only say that something may not fit.

use super::bounds::of_new;
use super::columns::column_of;
use crate::shape::{ChildShape, ColumnShape, Layout};
use crate::store::{Bounds, Inspection};
use crate::value::{Decimal, Document, Instant, LocalTimestamp, Value};

/// What the columns of the target hold.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Limits {
    columns: Vec<Limit>,
    children: Vec<(String, Limits)>,
}

#[derive(Clone, Debug, PartialEq)]
struct Limit {
    name: String,
    bounds: Bounds,
    nullable: bool,
}

impl Limits {
    /// Of the tables that are there, and of those that the start makes as far
    /// as their types say.
    pub(super) fn of(layout: &Layout, look: Option<&Inspection>) -> Limits {
        match layout {
            Layout::Document(_) => Limits::default(),
            Layout::Rows(shape) => of_table(&shape.table, &shape.columns, &shape.children, look),
        }
    }

    /// The first value of a record that does not fit: its field, and why,
    /// without the value.
    pub(super) fn misfit(&self, record: &Document) -> Option<(String, String)> {
        for limit in &self.columns {
            let why = match record.get(&limit.name) {
                None | Some(Value::Null) if !limit.nullable => {
                    Some("found nothing where the column takes no NULL".to_owned())
                }
                None => None,
                Some(value) => misfit(&limit.bounds, value).map(|why| format!("found {why}")),
            };
            if let Some(why) = why {
                return Some((limit.name.clone(), why));
            }
        }
        self.children.iter().find_map(|(field, limits)| {
            let Some(Value::Array(elements)) = record.get(field) else { return None };
            elements.iter().enumerate().find_map(|(at, element)| {
                let Value::Document(element) = element else { return None };
                limits.misfit(element).map(|(path, why)| (format!("{field}[{at}].{path}"), why))
            })
        })
    }
}

fn of_table(table: &str, columns: &[ColumnShape], children: &[ChildShape], look: Option<&Inspection>) -> Limits {
    let there = look.and_then(|look| look.tables.iter().find(|t| t.name.eq_ignore_ascii_case(table)));
    let limit = |column: &ColumnShape| match there.map(|table| column_of(table, &column.name)) {
        Some(Some(found)) => Limit {
            name: column.name.clone(),
            bounds: found.bounds.clone(),
            nullable: found.nullable || found.default.is_some(),
        },
        Some(None) => Limit { name: column.name.clone(), bounds: Bounds::default(), nullable: true },
        None => Limit {
            name: column.name.clone(),
            bounds: of_new(column.native.as_deref(), column.ty, look),
            nullable: column.nullable,
        },
    };
    Limits {
        columns: columns.iter().map(limit).collect(),
        children: children
            .iter()
            .map(|child| (child.field.clone(), of_table(&child.table, &child.columns, &child.children, look)))
            .collect(),
    }
}

/// Why a value is beyond bounds; `None`: it is not, as far as can be told here.
fn misfit(bounds: &Bounds, value: &Value) -> Option<String> {
    match value {
        Value::Text(text) => text_misfit(bounds, text),
        Value::Bytes(bytes) => {
            bounds.bytes_max.filter(|max| bytes.len() as u64 > *max).map(|max| format!("more than {max} bytes"))
        }
        Value::Int(n) => integer_misfit(bounds, i128::from(*n)),
        Value::UInt(n) => integer_misfit(bounds, i128::from(*n)),
        Value::Decimal(decimal) => decimal_misfit(bounds, decimal),
        Value::Time(time) => fraction_misfit(bounds, time.micros),
        Value::Local(LocalTimestamp::Micros(micros)) | Value::Instant(Instant::Micros(micros)) => {
            fraction_misfit(bounds, *micros)
        }
        Value::Null
        | Value::Bool(_)
        | Value::Float(_)
        | Value::Date(_)
        | Value::Local(_)
        | Value::Instant(_)
        | Value::Uuid(_)
        | Value::Array(_)
        | Value::Document(_)
        | Value::Extended(_) => None,
    }
}

fn text_misfit(bounds: &Bounds, text: &str) -> Option<String> {
    if let Some(labels) = &bounds.labels
        && !labels.iter().any(|label| label == text)
    {
        return Some("a text that is none of the column's labels".to_owned());
    }
    if let Some(max) = bounds.chars_max
        && text.len() as u64 > max
        && text.chars().count() as u64 > max
    {
        return Some(format!("a text of more than {max} characters"));
    }
    if let Some(max) = bounds.bytes_max.filter(|max| text.len() as u64 > *max) {
        return Some(format!("a text of more than {max} bytes"));
    }
    if bounds.refuses_nul && text.contains('\0') {
        return Some("a text with U+0000".to_owned());
    }
    let charset = bounds.charset.as_deref()?;
    let last = last_of(charset)?;
    text.chars().any(|c| c > last).then(|| format!("a text with characters beyond {charset}"))
}

/// The last character of the sets that are a beginning of Unicode; others are
/// not judged here.
fn last_of(charset: &str) -> Option<char> {
    match charset {
        "ascii" | "us-ascii" => Some('\u{7f}'),
        "iso-8859-1" => Some('\u{ff}'),
        "utf8mb3" | "ucs2" => Some('\u{ffff}'),
        _ => None,
    }
}

fn integer_misfit(bounds: &Bounds, n: i128) -> Option<String> {
    if let Some((low, high)) = bounds.integers
        && !(i128::from(low)..=i128::from(high)).contains(&n)
    {
        return Some(format!("an integer outside {low} to {high}"));
    }
    decimal_misfit(bounds, &Decimal::from_int(n))
}

fn decimal_misfit(bounds: &Bounds, decimal: &Decimal) -> Option<String> {
    let (digits, scale) = bounds.digits?;
    let text = decimal.to_string();
    let plain = text.trim_start_matches(['-', '+']);
    if !plain.bytes().all(|b| b.is_ascii_digit() || b == b'.') {
        return Some(format!("a number that {digits} digits cannot say"));
    }
    let (whole, fraction) = plain.split_once('.').unwrap_or((plain, ""));
    let whole = whole.trim_start_matches('0').len();
    let fits = i64::try_from(whole).unwrap_or(i64::MAX) <= i64::from(digits) - i64::from(scale)
        && i64::try_from(fraction.trim_end_matches('0').len()).unwrap_or(i64::MAX) <= i64::from(scale.max(0));
    (!fits).then(|| format!("a number of more than {digits} digits, {scale} of them after the point"))
}

fn fraction_misfit(bounds: &Bounds, micros: i64) -> Option<String> {
    let digits = bounds.fraction_digits.filter(|digits| *digits < 6)?;
    let step = 10_i64.pow(6 - u32::from(digits));
    (micros % step != 0).then(|| format!("more than {digits} digits of a second's fraction"))
}
