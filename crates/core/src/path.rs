//! Paths into a record: `address.city`, `address.coord[0]`, `"odd.name".x`.

use std::fmt;
use std::str::FromStr;

use crate::value::{Document, Value};

/// One step of a path.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Step {
    /// Into a document's field.
    Field(String),
    /// Into an array's element, counted from 0.
    Index(usize),
}

/// A path of at least one step; the first is a field.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Path(Vec<Step>);

/// A text that is no path.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is no path: {why}")]
pub struct PathError {
    /// The text.
    pub text: String,
    /// What is wrong with it.
    pub why: String,
}

impl Path {
    /// A path of one field.
    pub fn field(name: impl Into<String>) -> Path {
        Path(vec![Step::Field(name.into())])
    }

    /// A path from its steps; `None` when there is none or the first is no field.
    pub fn from_steps(steps: Vec<Step>) -> Option<Path> {
        matches!(steps.first(), Some(Step::Field(_))).then_some(Path(steps))
    }

    /// The steps.
    pub fn steps(&self) -> &[Step] {
        &self.0
    }

    /// The name of the first field.
    pub fn root(&self) -> &str {
        match &self.0[0] {
            Step::Field(name) => name,
            Step::Index(_) => unreachable!("a path begins with a field"),
        }
    }

    /// Parses `a.b[0]`. A name of letters (of any script), digits, `_`, `$`,
    /// `@` and `-` that begins with neither a digit nor `-` stands as it is;
    /// any other stands in double quotes, with `""` for a quote.
    pub fn parse(text: &str) -> Result<Path, PathError> {
        let error = |why: &str| PathError { text: text.to_owned(), why: why.to_owned() };
        let mut steps = Vec::new();
        let mut rest = text;
        loop {
            let (name, after) = read_name(rest).map_err(error)?;
            steps.push(Step::Field(name));
            rest = after;
            while let Some(after) = rest.strip_prefix('[') {
                let (index, after) = read_index(after).map_err(error)?;
                steps.push(Step::Index(index));
                rest = after;
            }
            match rest.strip_prefix('.') {
                Some(after) => rest = after,
                None if rest.is_empty() => return Ok(Path(steps)),
                None => return Err(error("expected `.` or `[` after a step; other names stand in double quotes")),
            }
        }
    }

    /// This path and one more step.
    pub fn then(&self, step: Step) -> Path {
        let mut steps = self.0.clone();
        steps.push(step);
        Path(steps)
    }

    /// The value at this path, or `None` when any step is missing.
    pub fn get<'a>(&self, document: &'a Document) -> Option<&'a Value> {
        let mut steps = self.0.iter();
        let Some(Step::Field(name)) = steps.next() else { return None };
        let mut value = document.get(name)?;
        for step in steps {
            value = match (step, value) {
                (Step::Field(name), Value::Document(d)) => d.get(name)?,
                (Step::Index(i), Value::Array(a)) => a.get(*i)?,
                _ => return None,
            };
        }
        Some(value)
    }
}

fn begins_name(c: char) -> bool {
    c.is_alphabetic() || matches!(c, '_' | '$' | '@')
}

fn continues_name(c: char) -> bool {
    begins_name(c) || c.is_ascii_digit() || c == '-'
}

/// A name at the beginning of the text, and what follows it.
fn read_name(text: &str) -> Result<(String, &str), &'static str> {
    if let Some(quoted) = text.strip_prefix('"') {
        return read_quoted(quoted);
    }
    if !text.starts_with(begins_name) {
        return Err("expected a field name; other names stand in double quotes");
    }
    let end = text.find(|c| !continues_name(c)).unwrap_or(text.len());
    Ok((text[..end].to_owned(), &text[end..]))
}

fn read_quoted(mut text: &str) -> Result<(String, &str), &'static str> {
    let mut name = String::new();
    loop {
        let (run, after) = text.split_once('"').ok_or("a double quote is not closed")?;
        name.push_str(run);
        match after.strip_prefix('"') {
            Some(after) => {
                name.push('"');
                text = after;
            }
            None => return Ok((name, after)),
        }
    }
}

/// What stands after `[`: an index and `]`.
fn read_index(text: &str) -> Result<(usize, &str), &'static str> {
    let (digits, after) = text.split_once(']').ok_or("`[` is not closed")?;
    let canonical = digits.bytes().all(|b| b.is_ascii_digit()) && (digits == "0" || !digits.starts_with('0'));
    match digits.parse() {
        Ok(index) if canonical => Ok((index, after)),
        _ => Err("expected an array index, counted from 0"),
    }
}

/// Prints the form that [`Path::parse`] reads.
impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, step) in self.0.iter().enumerate() {
            match step {
                Step::Index(index) => write!(f, "[{index}]")?,
                Step::Field(name) => write_field(f, name, i == 0)?,
            }
        }
        Ok(())
    }
}

fn write_field(f: &mut fmt::Formatter<'_>, name: &str, is_first: bool) -> fmt::Result {
    if !is_first {
        f.write_str(".")?;
    }
    if name.starts_with(begins_name) && name.chars().all(continues_name) {
        f.write_str(name)
    } else {
        write!(f, "\"{}\"", name.replace('"', "\"\""))
    }
}

/// The way to the place where a walk through a record is now; it lives on the
/// stack of the walk and becomes text only for a finding.
pub(crate) enum Trail<'a> {
    Root,
    Field(&'a Trail<'a>, &'a str),
    Index(&'a Trail<'a>, usize),
}

impl fmt::Display for Trail<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Trail::Root => Ok(()),
            Trail::Field(parent, name) => {
                parent.fmt(f)?;
                write_field(f, name, matches!(parent, Trail::Root))
            }
            Trail::Index(parent, index) => {
                parent.fmt(f)?;
                write!(f, "[{index}]")
            }
        }
    }
}

impl FromStr for Path {
    type Err = PathError;

    fn from_str(text: &str) -> Result<Path, PathError> {
        Path::parse(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::value::json;

    #[test]
    fn paths_read_and_print() {
        let check = |text: &str, steps: &[Step]| {
            let path = Path::parse(text).unwrap();
            assert_eq!(path.steps(), steps, "{text}");
            assert_eq!(path.to_string(), text);
        };
        let field = |name: &str| Step::Field(name.to_owned());
        check("a", &[field("a")]);
        check("address.coord[0]", &[field("address"), field("coord"), Step::Index(0)]);
        check("a[10][0].b-2", &[field("a"), Step::Index(10), Step::Index(0), field("b-2")]);
        check("_id.$oid.@x", &[field("_id"), field("$oid"), field("@x")]);
        check("\"odd.name\".x", &[field("odd.name"), field("x")]);
        check("\"\"", &[field("")]);
        check("\"\"\"\"[1]", &[field("\""), Step::Index(1)]);
        check("straße.имя", &[field("straße"), field("имя")]);
        check("\"0\".\"-\".\" \"", &[field("0"), field("-"), field(" ")]);
    }

    #[test]
    fn what_is_no_path_is_refused() {
        let check = |text: &str, expect: &str| {
            let error = Path::parse(text).unwrap_err();
            assert!(error.why.contains(expect), "{text}: {error}");
        };
        check("", "expected a field name");
        check("[0]", "expected a field name");
        check("a.", "expected a field name");
        check("a..b", "expected a field name");
        check("1a", "expected a field name");
        check("a b", "expected `.` or `[`");
        check("\"a", "not closed");
        check("\"a\"b", "expected `.` or `[`");
        check("a[0", "not closed");
        check("a[01]", "expected an array index");
        check("a[+1]", "expected an array index");
        check("a[]", "expected an array index");
        check("a[99999999999999999999]", "expected an array index");
    }

    #[test]
    fn a_path_finds_its_value() {
        let record = json::parse_document(br#"{"a":{"b":[1,{"c":null}]},"":"empty"}"#).unwrap();
        let check = |path: &str, expect: Option<Value>| {
            assert_eq!(Path::parse(path).unwrap().get(&record), expect.as_ref(), "{path}");
        };
        check("a.b[0]", Some(Value::Int(1)));
        check("a.b[1].c", Some(Value::Null));
        check("a.b[2]", None);
        check("a.b.c", None);
        check("a[0]", None);
        check("\"\"", Some("empty".into()));
    }
}
