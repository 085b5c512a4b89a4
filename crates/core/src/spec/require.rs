//! The spec of a `require`: a new required field on a live table.

use super::fields::{check_name, read_type};
use super::literal::constant;
use super::read::{Item, Reader, Section, Span};
use super::stores::{Head, Which, read_pace, read_store};
use super::{Pace, StoreSpec};
use crate::domain::{Digits, Domain};
use crate::fill;
use crate::shape::FieldType;
use crate::value::Value;
use toml::de::DeValue;

/// A checked spec of a `require`.
#[derive(Clone, Debug, PartialEq)]
pub struct RequireSpec {
    /// The migration's name.
    pub migration: String,
    /// The entity's name in the gateway's paths.
    pub entity: String,
    /// The one store.
    pub store: StoreSpec,
    /// The new field.
    pub field: NewField,
    /// When the old shape may end.
    pub contract: Contract,
    /// What must be true before steps forward.
    pub gates: RequireGates,
    /// How gently background work goes.
    pub pace: Pace,
}

/// The new field.
#[derive(Clone, Debug, PartialEq)]
pub struct NewField {
    /// Its name, which is also the column's.
    pub name: String,
    /// Which values it has.
    pub domain: Domain,
    /// The column's type in the store's own words; `None`: the connector chooses.
    pub native: Option<String>,
    /// What records without it get.
    pub value: ValueSpec,
    /// Byte range of the section's header.
    pub span: Span,
}

/// What records without the field get.
#[derive(Clone, Debug, PartialEq)]
pub enum ValueSpec {
    /// The same value for each.
    Constant(Value),
    /// A SQL expression over the record.
    Sql {
        /// The expression.
        sql: String,
        /// What stands for NULL.
        fallback: Option<Value>,
    },
}

/// When the old shape may end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Contract {
    /// How long no v1 write may have been seen, hours.
    pub outdated_writes_quiet_hours: u64,
}

impl Default for Contract {
    fn default() -> Contract {
        // A day: programs that run once a night are seen.
        Contract { outdated_writes_quiet_hours: 24 }
    }
}

/// What must be true before steps forward.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequireGates {
    /// Records whose value nobody chose and that is not the fill's either.
    pub mismatches_max: u64,
    /// How far a standby may be behind when a lock is asked for, ms: its
    /// readers wait for the lock too.
    pub standby_lag_ms_max: u64,
}

impl Default for RequireGates {
    fn default() -> RequireGates {
        RequireGates { mismatches_max: 0, standby_lag_ms_max: 1_000 }
    }
}

/// Digits of a decimal: what MariaDB and DynamoDB hold at most.
const PRECISION_MAX: u64 = 38;

/// Digits of a decimal after the point: as many as are written without an exponent.
const SCALE_MAX: u64 = 24;

/// Values of a declared set: beyond that it is a table of its own, and each is
/// told in every check and message.
const VALUES_MAX: usize = 100;

/// Characters of a declared value: what every store can hold in an index.
const VALUE_CHARS_MAX: usize = 100;

/// Longer than a year nobody waits for silence.
const QUIET_HOURS_MAX: u64 = 24 * 366;

/// Reads the whole spec of a `require`; its head was read already.
pub(super) fn read_spec(reader: &mut Reader<'_>, mut root: Section<'_>, head: Head) -> Option<RequireSpec> {
    let Head { migration, entity } = head;
    let (store, _) = read_store(reader, &mut root, "store", Which::Target);
    let field = match root.take("field") {
        Some(item) => read_field(reader, item),
        None => {
            let hint = "add:\n[field]\nname = \"status\"\ntype = \"text\"\nvalue = \"ACTIVE\"".to_owned();
            reader.problem("spec/missing", root.span, "the spec has no [field]", Some(hint));
            None
        }
    };
    let contract = read_contract(reader, &mut root);
    let gates = read_gates(reader, &mut root);
    let pace = read_pace(reader, &mut root, Pace::unnoticed());
    root.refuse_rest(reader);
    let field = field?;
    if store.key.contains(&field.name) {
        let message = format!("`{}` is the new field, and in the key", field.name);
        let hint = "a record has its key before it has the new field".to_owned();
        reader.problem("spec/conflict", field.span, message, Some(hint));
    }
    Some(RequireSpec { migration, entity, store, field, contract, gates, pace })
}

fn read_field(reader: &mut Reader<'_>, item: Item<'_>) -> Option<NewField> {
    let mut section = reader.section(item, "[field]")?;
    let span = section.span;
    let name = match section.take("name") {
        Some(item) => {
            let name = reader.text(&item)?;
            check_name(reader, "field", &name, item.span());
            Some(name)
        }
        None => {
            reader.missing(&section, "name", "\"status\"");
            None
        }
    };
    let ty = match section.take("type") {
        Some(item) => {
            let ty = read_type(reader, &item);
            if ty == Some(FieldType::Extended) {
                let message = "a required field of a store's own type is not in this version";
                let hint = "types: bool, int, float, decimal, text, bytes, date, time, timestamp, instant, uuid, json";
                reader.problem("spec/type", item.span(), message, Some(hint.to_owned()));
            }
            ty
        }
        None => {
            reader.missing(&section, "type", "\"text\"");
            None
        }
    };
    let domain = read_domain(reader, &mut section, ty.unwrap_or(FieldType::Text));
    let native = read_native(reader, &mut section, &domain);
    let value = match section.take("value") {
        Some(item) => read_value(reader, item, &domain),
        None => {
            reader.missing(&section, "value", "\"ACTIVE\"");
            None
        }
    };
    section.refuse_rest(reader);
    ty?;
    Some(NewField { name: name?, domain, native, value: value?, span })
}

/// The column's type; a decimal's is said by its digits.
fn read_native(reader: &mut Reader<'_>, section: &mut Section<'_>, domain: &Domain) -> Option<String> {
    let span = section.span;
    let native = super::column::read_native(reader, section)?;
    if domain.ty == FieldType::Decimal {
        let hint = "take `native` out: the column has the digits of `precision` and `scale`".to_owned();
        reader.problem("spec/conflict", span, "a decimal says its digits, and its column's type too", Some(hint));
    }
    Some(native)
}

/// The type, and what narrows it.
fn read_domain(reader: &mut Reader<'_>, section: &mut Section<'_>, ty: FieldType) -> Domain {
    let mut domain = Domain::of(ty);
    if ty == FieldType::Decimal {
        let mut digits = |key: &'static str, example: &str, low: u64, high: u64| match section.take(key) {
            Some(item) => reader.number(&item, low, high, "digits").and_then(|n| u32::try_from(n).ok()),
            None => {
                reader.missing(section, key, example);
                None
            }
        };
        let precision = digits("precision", "12", 1, PRECISION_MAX);
        let scale = digits("scale", "2", 0, SCALE_MAX);
        if let (Some(precision), Some(scale)) = (precision, scale) {
            if scale > precision {
                let message = format!("{scale} digits after the point are more than {precision} in all");
                reader.problem("spec/range", section.span, message, None);
            }
            domain.digits = Some(Digits { precision, scale });
        }
    }
    if let Some(item) = section.take("values") {
        let span = item.span();
        let texts = reader.texts(&item).unwrap_or_default();
        let problem = match texts.as_slice() {
            _ if ty != FieldType::Text => Some("`values` narrows a text".to_owned()),
            [] => Some("no value is declared".to_owned()),
            texts if texts.len() > VALUES_MAX => Some(format!("more than {VALUES_MAX} values are declared")),
            _ => None,
        };
        if let Some(message) = problem {
            let hint = "values = [\"active\", \"blocked\"]".to_owned();
            reader.problem("spec/values", span, message, Some(hint));
        }
        for (text, span) in texts {
            let wrong = match text.as_str() {
                text if domain.values.iter().any(|known| known == text) => Some("is declared twice".to_owned()),
                text if text.contains('\0') => Some("holds U+0000, which not every store can".to_owned()),
                text if text.chars().count() > VALUE_CHARS_MAX => {
                    Some(format!("is longer than {VALUE_CHARS_MAX} characters"))
                }
                _ => None,
            };
            match wrong {
                Some(wrong) => reader.problem("spec/values", span, format!("{text:?} {wrong}"), None),
                None => domain.values.push(text),
            }
        }
    }
    domain
}

/// A constant that is one of the field's values, in the form in which it holds it.
fn read_constant(reader: &mut Reader<'_>, item: &Item<'_>, domain: &Domain) -> Option<Value> {
    let value = constant(reader, item, domain.ty)?;
    match domain.canonical(&value) {
        Ok(value) => Some(value),
        Err(misfit) => {
            let hint = "write one of the field's values, or declare this one too".to_owned();
            reader.problem("spec/value", item.span(), format!("`{}`: {}", item.key, misfit.told()), Some(hint));
            None
        }
    }
}

fn read_value(reader: &mut Reader<'_>, item: Item<'_>, domain: &Domain) -> Option<ValueSpec> {
    // A constant of type json may be a table too; one with `sql` in it is an expression.
    let is_constant = match item.value.get_ref() {
        DeValue::Table(table) => domain.ty == FieldType::Json && !table.iter().any(|(key, _)| key.get_ref() == "sql"),
        _ => true,
    };
    if is_constant {
        return read_constant(reader, &item, domain).map(ValueSpec::Constant);
    }
    let mut section = reader.section(item, "the field's value")?;
    let sql = match section.take("sql") {
        Some(item) => reader.text(&item).map(|sql| (sql, item.span())),
        None => {
            reader.missing(&section, "sql", "'''CASE WHEN active THEN 'ACTIVE' ELSE 'INACTIVE' END'''");
            None
        }
    };
    let fallback = match section.take("fallback") {
        Some(item) => Some(read_constant(reader, &item, domain)?),
        None => None,
    };
    section.refuse_rest(reader);
    let (sql, span) = sql?;
    if let Err(error) = fill::read_expression(&sql) {
        reader.problem(error.code, span, error.message, Some(error.hint));
        return None;
    }
    Some(ValueSpec::Sql { sql, fallback })
}

fn read_contract(reader: &mut Reader<'_>, root: &mut Section<'_>) -> Contract {
    let mut contract = Contract::default();
    let Some(mut section) = root.take("contract").and_then(|item| reader.section(item, "[contract]")) else {
        return contract;
    };
    if let Some(item) = section.take("outdated_writes_quiet_hours")
        && let Some(hours) = reader.number(&item, 0, QUIET_HOURS_MAX, "hours")
    {
        contract.outdated_writes_quiet_hours = hours;
    }
    section.refuse_rest(reader);
    contract
}

fn read_gates(reader: &mut Reader<'_>, root: &mut Section<'_>) -> RequireGates {
    let mut gates = RequireGates::default();
    let Some(mut section) = root.take("gates").and_then(|item| reader.section(item, "[gates]")) else { return gates };
    // A standby that is further behind is no standby that anybody reads.
    const LAG_MS_MAX: u64 = 86_400_000;
    let numbers = [
        ("mismatches_max", &mut gates.mismatches_max, 0, i64::MAX as u64, "mismatches"),
        ("standby_lag_ms_max", &mut gates.standby_lag_ms_max, 1, LAG_MS_MAX, "ms"),
    ];
    for (key, slot, low, high, unit) in numbers {
        if let Some(number) = section.take(key).and_then(|item| reader.number(&item, low, high, unit)) {
            *slot = number;
        }
    }
    section.refuse_rest(reader);
    gates
}

#[cfg(test)]
#[path = "require_tests.rs"]
mod tests;
