//! What one side's columns hold and the other side's do not, by their
//! declarations.

use super::columns::column_of;
use super::{Finding, Weight};
use crate::path::Step;
use crate::shape::FieldType;
use crate::spec::{FieldRule, LayoutSpec, RuleFrom, Spec};
use crate::store::{Bounds, Declarations, InspectedColumn, Inspection};

/// Labels told of an enumeration: enough to see what is missing.
const LABELS_TOLD_MAX: usize = 5;

/// A field that takes one column of the source as it is.
pub(super) struct Pair<'a> {
    pub(super) rule: &'a FieldRule,
    pub(super) source: &'a InspectedColumn,
    pub(super) target: Option<&'a InspectedColumn>,
    /// Whether the field may be without a value.
    nullable: bool,
}

/// The root's fields that come from one column each.
pub(super) fn pairs<'a>(spec: &'a Spec, source: &'a Inspection, target: Option<&'a Inspection>) -> Vec<Pair<'a>> {
    if !matches!(spec.source.layout, LayoutSpec::Rows { .. }) {
        return Vec::new();
    }
    let table = |look: &'a Inspection, name: &str| look.tables.iter().find(|t| t.name.eq_ignore_ascii_case(name));
    let Some(from) = table(source, &spec.source.table) else { return Vec::new() };
    let to = target.and_then(|look| table(look, &spec.target.table));
    let pair = |rule: &'a FieldRule| {
        let RuleFrom::Path(path) = &rule.from else { return None };
        let [Step::Field(name)] = path.steps() else { return None };
        let target = to.and_then(|table| column_of(table, &rule.name));
        let nullable = !rule.required && rule.default.is_none() && !spec.target.key.contains(&rule.name);
        Some(Pair { rule, source: column_of(from, name)?, target, nullable })
    };
    spec.fields.iter().filter(|rule| rule.child.is_none()).filter_map(pair).collect()
}

/// Checks what one side holds and the other does not.
pub(super) fn check(pairs: &[Pair<'_>], target: Option<&Inspection>, findings: &mut Vec<Finding>) {
    let mut narrower_back: Vec<&str> = Vec::new();
    for pair in pairs {
        let bounds = bounds_of(pair, target);
        for (code, what) in narrower(&pair.source.bounds, &bounds) {
            if is_chosen(pair.rule, code) {
                continue;
            }
            let message = format!("`{}`: the source's {} {what}", pair.rule.name, pair.source.declared);
            let mut finding = Finding::new(code, Weight::Hazard, message).at(&["fields", &pair.rule.name]);
            finding.hint = Some(hint_for(code).to_owned());
            findings.push(finding);
        }
        if pair.target.is_some() && !narrower(&bounds, &pair.source.bounds).is_empty() {
            narrower_back.push(&pair.rule.name);
        }
        if pair.nullable && !pair.source.nullable && pair.target.is_none_or(|t| t.nullable) {
            let message = format!(
                "the source's column `{}` takes no NULL, and v2 clients may leave `{}` without a value",
                pair.source.name, pair.rule.name
            );
            findings.push(
                Finding::new("plan/null-back", Weight::Hazard, message)
                    .hint("after the cutover such records could not be followed in the source: say required = true")
                    .at(&["fields", &pair.rule.name]),
            );
        }
    }
    if !narrower_back.is_empty() {
        let message = format!("the target holds more than the source in: {}", narrower_back.join(", "));
        findings.push(
            Finding::new("plan/narrower-back", Weight::Note, message)
                .hint("after the cutover, what only the target holds becomes dead letters of the way back"),
        );
    }
}

/// What the target's column refuses: the one that is there, or as far as it is
/// known of one that the start makes.
fn bounds_of(pair: &Pair<'_>, target: Option<&Inspection>) -> Bounds {
    if let Some(column) = pair.target {
        return column.bounds.clone();
    }
    let native = pair.rule.native.as_deref();
    of_new(native, pair.rule.ty, target)
}

/// What a column refuses that the start makes, as far as it is known before.
pub(super) fn of_new(native: Option<&str>, ty: FieldType, target: Option<&Inspection>) -> Bounds {
    let Some(look) = target else { return Bounds::default() };
    let mut bounds = match (native, look.declarations) {
        (Some(native), Declarations::Bind) => of_native(native),
        _ => Bounds::default(),
    };
    if ty == FieldType::Text {
        bounds.refuses_nul = look.text.refuses_nul;
    }
    bounds
}

/// The bounds that a type says of itself in words that all SQL stores share.
pub(super) fn of_native(native: &str) -> Bounds {
    let lower = native.trim().to_ascii_lowercase();
    let (name, rest) = lower.split_once('(').unwrap_or((&lower, ""));
    let numbers: Vec<u64> = rest
        .trim_end_matches(|c| c != ')')
        .trim_end_matches(')')
        .split(',')
        .filter_map(|n| n.trim().parse().ok())
        .collect();
    let unsigned = lower.contains(" unsigned");
    let int = |bits: u32| {
        let high = u64::MAX >> (64 - bits);
        Some(if unsigned { (0, high) } else { (i64::MIN >> (64 - bits), high >> 1) })
    };
    let mut bounds = Bounds::default();
    match (name.trim().split(' ').next().unwrap_or_default(), numbers.as_slice()) {
        ("varchar" | "character" | "char" | "nvarchar" | "nchar", [chars]) => bounds.chars_max = Some(*chars),
        ("numeric" | "decimal", [digits, more @ ..]) => {
            let number = |n: u64| u32::try_from(n).unwrap_or(u32::MAX);
            let scale = more.first().copied().unwrap_or(0);
            bounds.digits = Some((number(*digits), i32::try_from(scale).unwrap_or(i32::MAX)));
        }
        ("tinyint", _) => bounds.integers = int(8),
        ("mediumint", _) => bounds.integers = int(24),
        ("smallint" | "int2", _) => bounds.integers = int(16),
        ("int" | "integer" | "int4", _) => bounds.integers = int(32),
        ("bigint" | "int8", _) => bounds.integers = int(64),
        _ => {}
    }
    bounds
}

/// Whether the spec says what becomes of values beyond this bound.
fn is_chosen(rule: &FieldRule, code: &str) -> bool {
    rule.unfit.is_some()
        && matches!(code, "plan/length" | "plan/nul")
        && (code == "plan/nul" || rule.chars_max.is_some())
}

fn hint_for(code: &str) -> &'static str {
    match code {
        "plan/length" => {
            "records with longer values are refused; say what becomes of them: chars_max = N, unfit = \"cut\" or \"null\""
        }
        "plan/nul" => {
            "records with U+0000 are refused; say what becomes of it: unfit = \"cut\" removes it, unfit = \"null\" drops the value"
        }
        "plan/charset" => {
            "records with other characters are refused; give the target's column a character set of all of Unicode"
        }
        _ => "records beyond it are refused by name; `plan --thorough` counts them; a wider column takes them",
    }
}

/// What a value of the first bounds can be that the second refuse, as
/// `takes … , the target …`.
fn narrower(source: &Bounds, target: &Bounds) -> Vec<(&'static str, String)> {
    let mut found = Vec::new();
    let up_to = |n: Option<u64>, what: &str| {
        n.map_or(format!("takes any number of {what}"), |n| format!("takes up to {n} {what}"))
    };
    if let Some(max) = target.chars_max.filter(|max| source.chars_max.or(source.bytes_max).is_none_or(|n| n > *max)) {
        found.push(("plan/length", format!("{}, the target {max}", up_to(source.chars_max, "characters"))));
    }
    let source_bytes = source.bytes_max.or(source.chars_max.map(|chars| chars.saturating_mul(UTF8_BYTES_MAX)));
    if let Some(max) =
        target.bytes_max.filter(|max| target.chars_max.is_none() && source_bytes.is_none_or(|n| n > *max))
    {
        found.push(("plan/length", format!("{}, the target {max}", up_to(source_bytes, "bytes"))));
    }
    found.extend(precision(source, target));
    found.extend(range(source, target));
    if let Some(digits) =
        target.fraction_digits.filter(|digits| source.fraction_digits.unwrap_or(MICROS_DIGITS) > *digits)
    {
        let own = source.fraction_digits.unwrap_or(MICROS_DIGITS);
        found.push(("plan/fraction", format!("keeps {own} digits of a second's fraction, the target {digits}")));
    }
    found.extend(labels(source, target));
    if target.refuses_nul && !source.refuses_nul {
        found.push(("plan/nul", "takes U+0000 in texts, the target does not".to_owned()));
    }
    if let Some(charset) = target.charset.as_ref().filter(|charset| source.charset.as_ref() != Some(charset)) {
        found.push(("plan/charset", format!("takes characters that the target's {charset} does not have")));
    }
    found
}

/// Digits before the point.
fn whole((digits, scale): (u32, i32)) -> i64 {
    i64::from(digits) - i64::from(scale)
}

fn precision(source: &Bounds, target: &Bounds) -> Option<(&'static str, String)> {
    let limit @ (digits, scale) = target.digits?;
    let after = format!("{digits} digits, {scale} of them after the point");
    let what = match (source.digits, source.integers) {
        (Some(own), _) if whole(own) <= whole(limit) && own.1 <= scale => return None,
        (Some((digits, scale)), _) => {
            format!("takes {digits} digits, {scale} of them after the point, the target {after}")
        }
        (None, Some((low, high))) => {
            let longest = low.unsigned_abs().max(high).to_string().len();
            if i64::try_from(longest).is_ok_and(|longest| longest <= whole(limit)) {
                return None;
            }
            format!("takes {low} to {high}, the target {after}")
        }
        (None, None) => format!("takes numbers of any precision, the target {after}"),
    };
    Some(("plan/precision", what))
}

fn range(source: &Bounds, target: &Bounds) -> Option<(&'static str, String)> {
    let (low, high) = target.integers?;
    let own = source.integers.map(|(low, high)| (i128::from(low), i128::from(high))).or_else(|| {
        let digits = u32::try_from(whole(source.digits?)).unwrap_or(0);
        let most = 10_i128.checked_pow(digits)? - 1;
        Some((-most, most))
    });
    let what = match own {
        Some((l, h)) if l >= i128::from(low) && h <= i128::from(high) => return None,
        Some((l, h)) => format!("takes {l} to {h}, the target {low} to {high}"),
        None => format!("has no bounds, the target takes {low} to {high}"),
    };
    Some(("plan/range", what))
}

fn labels(source: &Bounds, target: &Bounds) -> Option<(&'static str, String)> {
    let labels = target.labels.as_ref()?;
    let Some(own) = &source.labels else {
        return Some(("plan/labels", "takes any value, the target's only its own labels".to_owned()));
    };
    let lacking: Vec<&str> = own.iter().filter(|label| !labels.contains(label)).map(String::as_str).collect();
    if lacking.is_empty() {
        return None;
    }
    let told = lacking.iter().take(LABELS_TOLD_MAX).copied().collect::<Vec<_>>().join(", ");
    Some(("plan/labels", format!("has {} labels that the target lacks, among them: {told}", lacking.len())))
}

/// The longest character of UTF-8, bytes.
const UTF8_BYTES_MAX: u64 = 4;

/// Digits of a second's fraction that the value model has.
const MICROS_DIGITS: u8 = 6;
