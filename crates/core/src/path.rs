//! Paths into a record: `address.city`, `address.coord[0]`, `"odd.name".x`.

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

    /// Parses `a.b[0]`; a name that is not `[A-Za-z_$@][A-Za-z0-9_$@-]*` or a
    /// non-ASCII letter run stands in double quotes, with `""` for a quote.
    pub fn parse(_text: &str) -> Result<Path, PathError> {
        todo!()
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
