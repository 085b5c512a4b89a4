//! Values of expressions over a record.

use std::borrow::Cow;
use std::cmp::Ordering;

use super::functions::{Function, Nulls};
use super::number::{self, Rounding};
use super::{EvalError, Kind, Node, Unfit};
use crate::mapping::cast;
use crate::shape::FieldType;
use crate::value::{Document, Instant, Value};

type Result<T> = std::result::Result<T, EvalError>;
type Found<'a> = Cow<'a, Value>;

static NULL: Value = Value::Null;

fn null<'a>() -> Found<'a> {
    Cow::Borrowed(&NULL)
}

fn error<T>(message: impl Into<String>) -> Result<T> {
    Err(EvalError(message.into()))
}

fn unexpected<T>(found: &Value, wanted: &str) -> Result<T> {
    error(format!("found {} where {wanted} was expected", found.type_name()))
}

/// The value of a node, borrowed from the record or the expression where possible.
pub(super) fn value<'a>(node: &'a Node, record: &'a Document, unfit: Unfit) -> Result<Found<'a>> {
    let of = |node: &'a Node| value(node, record, unfit);
    match &node.kind {
        Kind::Literal(literal) => Ok(Cow::Borrowed(literal)),
        Kind::Field(path) => Ok(path.get(record).map_or_else(null, Cow::Borrowed)),
        Kind::Negate(a) => not_null(of(a)?, |value| number::fitting(number::negate(value), &[value], unfit)),
        Kind::Not(a) => Ok(truth(known(of(a)?.as_ref())?.map(|b| !b))),
        Kind::And(a, b) => match known(of(a)?.as_ref())? {
            Some(false) => Ok(truth(Some(false))),
            left => Ok(truth(match (left, known(of(b)?.as_ref())?) {
                (_, Some(false)) => Some(false),
                (Some(true), right) => right,
                _ => None,
            })),
        },
        Kind::Or(a, b) => match known(of(a)?.as_ref())? {
            Some(true) => Ok(truth(Some(true))),
            left => Ok(truth(match (left, known(of(b)?.as_ref())?) {
                (_, Some(true)) => Some(true),
                (Some(false), right) => right,
                _ => None,
            })),
        },
        Kind::Arithmetic(op, a, b) => {
            let (a, b) = (of(a)?, of(b)?);
            if a.is_null() || b.is_null() {
                return Ok(null());
            }
            number::fitting(number::arithmetic(*op, &a, &b), &[&a, &b], unfit).map(Cow::Owned)
        }
        Kind::Join(a, b) => {
            let (a, b) = (of(a)?, of(b)?);
            match (&*a, &*b) {
                (Value::Null, Value::Null | Value::Text(_)) | (Value::Text(_), Value::Null) => Ok(null()),
                (Value::Text(a), Value::Text(b)) => Ok(text([a.as_str(), b.as_str()].concat())),
                (Value::Null | Value::Text(_), other) | (other, _) => unexpected(other, "text"),
            }
        }
        Kind::Compare(op, a, b) => Ok(truth(compare(of(a)?.as_ref(), of(b)?.as_ref())?.map(|order| op.holds(order)))),
        Kind::IsNull(a) => Ok(truth(Some(of(a)?.is_null()))),
        Kind::In(a, list) => {
            let a = of(a)?;
            let mut answer = Some(false);
            for item in list {
                match compare(&a, of(item)?.as_ref())? {
                    Some(Ordering::Equal) => return Ok(truth(Some(true))),
                    Some(_) => {}
                    None => answer = None,
                }
            }
            Ok(truth(answer))
        }
        Kind::Between(a, low, high) => {
            let a = of(a)?;
            let above = compare(&a, of(low)?.as_ref())?.map(Ordering::is_ge);
            let below = compare(&a, of(high)?.as_ref())?.map(Ordering::is_le);
            Ok(truth(match (above, below) {
                (Some(false), _) | (_, Some(false)) => Some(false),
                (Some(true), Some(true)) => Some(true),
                _ => None,
            }))
        }
        Kind::Like(a, pattern, escape) => {
            let (a, pattern) = (of(a)?, of(pattern)?);
            match (&*a, &*pattern) {
                (Value::Text(text), Value::Text(pattern)) => Ok(truth(Some(like(text, pattern, *escape)?))),
                (Value::Null | Value::Text(_), Value::Null) | (Value::Null, Value::Text(_)) => Ok(null()),
                (Value::Null | Value::Text(_), other) | (other, _) => unexpected(other, "text"),
            }
        }
        Kind::Case { operand, branches, otherwise } => {
            let operand = operand.as_deref().map(of).transpose()?;
            for (when, then) in branches {
                let when = of(when)?;
                let is_chosen = match &operand {
                    Some(operand) => compare(operand, &when)? == Some(Ordering::Equal),
                    None => known(&when)? == Some(true),
                };
                if is_chosen {
                    return of(then);
                }
            }
            otherwise.as_deref().map_or_else(|| Ok(null()), of)
        }
        Kind::Cast(a, ty) => not_null(of(a)?, |value| convert(value, *ty, unfit)),
        Kind::Call(function, arguments) => {
            let arguments = arguments.iter().map(of).collect::<Result<Vec<_>>>()?;
            if function.signature().nulls == Nulls::Spread && arguments.iter().any(|argument| argument.is_null()) {
                return Ok(null());
            }
            if unfit == Unfit::Null && function.counts_characters() && arguments.iter().any(|a| is_cut_short(a)) {
                return Ok(null());
            }
            call(*function, arguments)
        }
    }
}

fn not_null<'a>(value: Found<'a>, f: impl Fn(&Value) -> Result<Value>) -> Result<Found<'a>> {
    if value.is_null() { Ok(null()) } else { f(&value).map(Cow::Owned) }
}

fn truth<'a>(answer: Option<bool>) -> Found<'a> {
    answer.map_or_else(null, |b| Cow::Owned(Value::Bool(b)))
}

fn text<'a>(text: impl Into<String>) -> Found<'a> {
    Cow::Owned(Value::Text(text.into()))
}

fn known(value: &Value) -> Result<Option<bool>> {
    match value {
        Value::Null => Ok(None),
        Value::Bool(b) => Ok(Some(*b)),
        other => unexpected(other, "bool"),
    }
}

/// The order of two values of one kind; `None` when one is null.
fn compare(a: &Value, b: &Value) -> Result<Option<Ordering>> {
    Ok(Some(match (a, b) {
        (Value::Null, _) | (_, Value::Null) => return Ok(None),
        (Value::Bool(a), Value::Bool(b)) => a.cmp(b),
        (Value::Text(a), Value::Text(b)) => a.as_bytes().cmp(b.as_bytes()),
        (Value::Bytes(a), Value::Bytes(b)) => a.cmp(b),
        (Value::Date(a), Value::Date(b)) => a.cmp(b),
        (Value::Time(a), Value::Time(b)) => a.cmp(b),
        (Value::Local(a), Value::Local(b)) => a.cmp(b),
        (Value::Instant(a), Value::Instant(b)) => a.cmp(b),
        (Value::Uuid(a), Value::Uuid(b)) => a.cmp(b),
        (
            Value::Int(_) | Value::UInt(_) | Value::Float(_) | Value::Decimal(_),
            Value::Int(_) | Value::UInt(_) | Value::Float(_) | Value::Decimal(_),
        ) => number::compare(a, b)?,
        (a, b) => return error(format!("{} cannot be compared with {}", a.type_name(), b.type_name())),
    }))
}

/// Whether stores see the beginning of a text only.
fn is_cut_short(value: &Value) -> bool {
    matches!(value, Value::Text(text) if text.contains('\0'))
}

/// CAST: as [`cast::exact`], and numbers may be written in any way that reads.
/// Where it is total only their one form does, and the rest is NULL.
fn convert(value: &Value, ty: FieldType, unfit: Unfit) -> Result<Value> {
    if unfit == Unfit::Null && ty != FieldType::Text {
        let converted = cast::exact(value, ty).filter(|converted| !matches!(converted, Value::UInt(_)));
        return Ok(converted.unwrap_or(Value::Null));
    }
    let converted = cast::exact(value, ty).or_else(|| match (value, ty) {
        (Value::Text(text), FieldType::Int) => {
            text.parse::<i64>().map(Value::Int).or_else(|_| text.parse::<u64>().map(Value::from_u64)).ok()
        }
        (Value::Text(text), FieldType::Float) => text.parse::<f64>().ok().filter(|x| x.is_finite()).map(Value::Float),
        (Value::Text(text), FieldType::Decimal) => text.parse().ok().map(Value::Decimal),
        (Value::Text(text), FieldType::Uuid) => crate::value::Uuid::parse_str(text).ok().map(Value::Uuid),
        _ => None,
    });
    match converted {
        Some(converted) => Ok(converted),
        None => error(format!("found {} that does not convert to {} exactly", value.type_name(), ty.name())),
    }
}

/// `%` stands for any run of characters, `_` for one.
fn like(text: &str, pattern: &str, escape: Option<char>) -> Result<bool> {
    #[derive(PartialEq)]
    enum Part {
        Run,
        One,
        Exactly(char),
    }
    let mut parts = Vec::with_capacity(pattern.len());
    let mut characters = pattern.chars();
    while let Some(character) = characters.next() {
        parts.push(match character {
            c if Some(c) == escape => match characters.next() {
                Some(next) => Part::Exactly(next),
                None => return error("the LIKE pattern ends with its escape character"),
            },
            '%' => Part::Run,
            '_' => Part::One,
            c => Part::Exactly(c),
        });
    }
    let text: Vec<char> = text.chars().collect();
    let (mut at, mut part) = (0, 0);
    // Where to go on when what follows the last run does not fit: one character later.
    let mut again: Option<(usize, usize)> = None;
    while at < text.len() {
        match parts.get(part) {
            Some(Part::Run) => {
                again = Some((at, part + 1));
                part += 1;
            }
            Some(Part::One) => (at, part) = (at + 1, part + 1),
            Some(Part::Exactly(c)) if *c == text[at] => (at, part) = (at + 1, part + 1),
            _ => match again {
                Some((from, after)) => {
                    again = Some((from + 1, after));
                    (at, part) = (from + 1, after);
                }
                None => return Ok(false),
            },
        }
    }
    Ok(parts[part..].iter().all(|part| *part == Part::Run))
}

/// Arguments are checked for null before where the function does not see nulls.
fn call<'a>(function: Function, mut arguments: Vec<Found<'a>>) -> Result<Found<'a>> {
    let at = |place: usize| arguments.get(place).map_or(&NULL, |argument| &**argument);
    match function {
        Function::Coalesce => {
            let first = arguments.iter().position(|argument| !argument.is_null());
            return Ok(first.map_or_else(null, |first| arguments.swap_remove(first)));
        }
        Function::NullIf => {
            return match compare(at(0), at(1))? {
                Some(Ordering::Equal) => Ok(null()),
                _ => Ok(arguments.swap_remove(0)),
            };
        }
        Function::Greatest => return extreme(arguments, Ordering::Greater),
        Function::Least => return extreme(arguments, Ordering::Less),
        _ => {}
    }
    Ok(Cow::Owned(match function {
        Function::Coalesce | Function::NullIf | Function::Greatest | Function::Least => Value::Null,
        Function::Abs => number::absolute(at(0))?,
        Function::Ceil => number::round(at(0), Rounding::Up, 0)?,
        Function::Floor => number::round(at(0), Rounding::Down, 0)?,
        Function::Round => {
            let places = if arguments.len() > 1 { int(at(1))? } else { 0 };
            number::round(at(0), Rounding::Nearest, places)?
        }
        Function::ToEpochMs => match at(0) {
            Value::Instant(Instant::Micros(micros)) if micros % 1_000 == 0 => Value::Int(micros / 1_000),
            Value::Instant(Instant::Micros(_)) => return error("the instant has parts of a millisecond"),
            Value::Instant(_) => return error("found an infinite instant, which has no milliseconds"),
            other => return unexpected(other, "instant"),
        },
        Function::FromEpochMs => match Instant::from_millis(int(at(0))?) {
            Some(instant) => Value::Instant(instant),
            None => return error("the milliseconds are beyond the range of an instant"),
        },
        Function::Concat => {
            let mut joined = String::new();
            for argument in arguments.iter().filter(|argument| !argument.is_null()) {
                match cast::exact(argument, FieldType::Text) {
                    Some(Value::Text(part)) => joined.push_str(&part),
                    _ => return unexpected(argument, "a scalar with a text"),
                }
            }
            Value::Text(joined)
        }
        Function::Length => Value::from_u64(string(at(0))?.chars().count() as u64),
        Function::Lower => Value::Text(string(at(0))?.to_lowercase()),
        Function::Upper => Value::Text(string(at(0))?.to_uppercase()),
        Function::Ltrim => Value::text(trimmed(at(0), arguments.get(1), Ends::Start)?),
        Function::Rtrim => Value::text(trimmed(at(0), arguments.get(1), Ends::End)?),
        Function::Trim => Value::text(trimmed(at(0), arguments.get(1), Ends::Both)?),
        Function::Position => {
            let (part, whole) = (string(at(0))?, string(at(1))?);
            let place = whole.find(part).map_or(0, |byte| whole[..byte].chars().count() + 1);
            Value::from_u64(place as u64)
        }
        Function::Replace => {
            let (whole, from, to) = (string(at(0))?, string(at(1))?, string(at(2))?);
            Value::Text(if from.is_empty() { whole.to_owned() } else { whole.replace(from, to) })
        }
        Function::SplitPart => split_part(string(at(0))?, string(at(1))?, int(at(2))?)?,
        Function::Substring => {
            let length = if arguments.len() > 2 { Some(int(at(2))?) } else { None };
            substring(string(at(0))?, int(at(1))?, length)?
        }
        Function::Left => {
            let (whole, n) = (string(at(0))?, int(at(1))?);
            let count = from_end(whole, n);
            Value::Text(whole.chars().take(count).collect())
        }
        Function::Right => {
            let (whole, n) = (string(at(0))?, int(at(1))?);
            let skipped = whole.chars().count() - from_end(whole, n);
            Value::Text(whole.chars().skip(skipped).collect())
        }
    }))
}

/// How many characters `left` and `right` take; a negative number leaves out so many.
fn from_end(whole: &str, n: i64) -> usize {
    let count = whole.chars().count();
    let wanted = usize::try_from(n.unsigned_abs()).unwrap_or(usize::MAX);
    if n >= 0 { wanted.min(count) } else { count.saturating_sub(wanted) }
}

fn extreme<'a>(arguments: Vec<Found<'a>>, wanted: Ordering) -> Result<Found<'a>> {
    let mut best: Option<Found<'a>> = None;
    for argument in arguments {
        if argument.is_null() {
            continue;
        }
        best = match best {
            Some(best) if compare(&argument, &best)? != Some(wanted) => Some(best),
            _ => Some(argument),
        };
    }
    Ok(best.unwrap_or_else(null))
}

fn string(value: &Value) -> Result<&str> {
    match value {
        Value::Text(text) => Ok(text),
        other => unexpected(other, "text"),
    }
}

fn int(value: &Value) -> Result<i64> {
    match value {
        Value::Int(n) => Ok(*n),
        Value::UInt(_) => error("the integer is out of range"),
        other => unexpected(other, "int"),
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Ends {
    Start,
    End,
    Both,
}

/// Takes away spaces, or any of the given characters.
fn trimmed<'t>(value: &'t Value, characters: Option<&Found<'_>>, ends: Ends) -> Result<&'t str> {
    let whole = string(value)?;
    let characters = characters.map_or(Ok(" "), |characters| string(characters))?;
    let is_taken = |c: char| characters.contains(c);
    Ok(match ends {
        Ends::Start => whole.trim_start_matches(is_taken),
        Ends::End => whole.trim_end_matches(is_taken),
        Ends::Both => whole.trim_matches(is_taken),
    })
}

/// The n-th part, counted from 1, or from the end when negative; `''` when there is none.
fn split_part(whole: &str, delimiter: &str, n: i64) -> Result<Value> {
    let parts: Vec<&str> = if delimiter.is_empty() { vec![whole] } else { whole.split(delimiter).collect() };
    let wanted = usize::try_from(n.unsigned_abs()).unwrap_or(usize::MAX);
    let place = match n {
        0 => return error("split_part counts from 1, found 0"),
        1.. => Some(wanted - 1),
        _ => parts.len().checked_sub(wanted),
    };
    Ok(Value::text(place.and_then(|place| parts.get(place)).copied().unwrap_or_default()))
}

/// As the SQL standard has it: a start before the text counts toward the length.
fn substring(whole: &str, from: i64, length: Option<i64>) -> Result<Value> {
    if length.is_some_and(|length| length < 0) {
        return error("substring takes no negative length");
    }
    let start = from.saturating_sub(1).max(0);
    let end = length.map(|length| from.saturating_sub(1).saturating_add(length).max(start));
    let characters = whole.chars().skip(usize::try_from(start).unwrap_or(usize::MAX));
    Ok(Value::Text(match end {
        Some(end) => characters.take(usize::try_from(end - start).unwrap_or(usize::MAX)).collect(),
        None => characters.collect(),
    }))
}
