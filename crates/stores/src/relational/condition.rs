//! How a filter becomes a condition: a condition is one that every matching
//! record fulfils, so it may only keep a server from reading rows in vain.
//! [`Filter::matches`] still decides, unless all of the filter could be said as
//! it is. What a store can say of one column is its own matter.

use shearwater_core::Value;
use shearwater_core::path::Path;
use shearwater_core::query::{CompareOp, Filter, IsWhat, Literal};
use shearwater_core::shape::{ColumnShape, Layout};

/// Whether a condition says what the filter says, or only what it implies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pushed {
    /// All of it.
    Exactly,
    /// A part; the records are looked at again.
    Partly,
}

impl Pushed {
    fn and(self, other: Pushed) -> Pushed {
        if self == Pushed::Exactly { other } else { Pushed::Partly }
    }
}

/// A condition, and how much of the filter it says.
pub(crate) type Condition = (String, Pushed);

/// What one store can say of one column. Values that it binds stand in the
/// order of the conditions.
pub(crate) trait Terms {
    /// A bound value.
    type Cell;

    /// The values that are bound.
    fn bound(&mut self) -> &mut Vec<Self::Cell>;

    /// The value there is, or is not, one of the literals (for `Eq`), or is beside
    /// the only one.
    fn compare(&mut self, path: &Path, op: CompareOp, literals: &[Literal]) -> Option<Condition>;

    /// The value there is null, true or false.
    fn is(&mut self, path: &Path, what: IsWhat) -> Option<Condition>;
}

/// What every record that matches fulfils; `None`: the store can say nothing of it.
pub(crate) fn implied(terms: &mut impl Terms, filter: &Filter) -> Option<Condition> {
    let before = terms.bound().len();
    let found = match filter {
        Filter::All | Filter::Like { .. } => None,
        Filter::Not(part) => match implied(terms, part) {
            Some((condition, Pushed::Exactly)) => Some((format!("NOT ({condition})"), Pushed::Exactly)),
            _ => None,
        },
        Filter::And(parts) => {
            let each: Vec<Option<Condition>> = parts.iter().map(|part| implied(terms, part)).collect();
            let pushed = |one: &Option<Condition>| one.as_ref().map_or(Pushed::Partly, |(_, pushed)| *pushed);
            let pushed = each.iter().fold(Pushed::Exactly, |all, one| all.and(pushed(one)));
            joined(each.into_iter().flatten().collect(), " AND ", pushed)
        }
        Filter::Or(parts) => {
            let each: Option<Vec<Condition>> = parts.iter().map(|part| implied(terms, part)).collect();
            each.and_then(|each| {
                let pushed = each.iter().fold(Pushed::Exactly, |all, (_, pushed)| all.and(*pushed));
                joined(each, " OR ", pushed)
            })
        }
        Filter::Compare { path, op, literal } => terms.compare(path, *op, std::slice::from_ref(literal)),
        Filter::In { path, literals } if !literals.is_empty() => terms.compare(path, CompareOp::Eq, literals),
        Filter::In { .. } => None,
        Filter::Is { path, what } => terms.is(path, *what),
    };
    if found.is_none() {
        terms.bound().truncate(before);
    }
    found
}

fn joined(parts: Vec<Condition>, by: &str, pushed: Pushed) -> Option<Condition> {
    let parts: Vec<String> = parts.into_iter().map(|(condition, _)| condition).collect();
    (!parts.is_empty()).then(|| (format!("({})", parts.join(by)), pushed))
}

/// The sign of an operator, which is not `Eq`: that one is an `IN`.
pub(crate) fn sign(op: CompareOp) -> Option<&'static str> {
    match op {
        CompareOp::Eq => None,
        CompareOp::Neq => Some("<>"),
        CompareOp::Gt => Some(">"),
        CompareOp::Gte => Some(">="),
        CompareOp::Lt => Some("<"),
        CompareOp::Lte => Some("<="),
    }
}

/// The key field of a document's layout, when that is all that is compared, for
/// equality: of the document itself no column says anything.
pub(crate) fn document_key<'l>(layout: &'l Layout, path: &Path, op: CompareOp) -> Option<&'l str> {
    let Layout::Document(layout) = layout else { return None };
    match (path.steps().len(), layout.key.as_slice(), op) {
        (1, [name], CompareOp::Eq) if name == path.root() => Some(name),
        _ => None,
    }
}

/// The column of the root that a path is.
pub(crate) fn root_column<'l>(layout: &'l Layout, path: &Path) -> Option<&'l ColumnShape> {
    let Layout::Rows(shape) = layout else { return None };
    shape.columns.iter().find(|column| path.steps().len() == 1 && column.name == path.root())
}

/// A literal as the keys of a document that it may be equal to: a text, and an
/// integer. `None`: it may be equal to others.
pub(crate) fn text_and_integer(literal: &Literal) -> Option<(String, Option<i64>)> {
    match literal {
        Literal::Typed(Value::Text(text)) | Literal::Untyped(text) => Some((text.clone(), plain_integer(text)?)),
        Literal::Typed(Value::Int(n)) => Some((n.to_string(), Some(*n))),
        Literal::Typed(_) => None,
    }
}

/// The integer that a text says; `None` inside when it says no number at all,
/// and outside when it might be another writing of one.
pub(crate) fn plain_integer(text: &str) -> Option<Option<i64>> {
    if let Ok(n) = text.parse::<i64>() {
        return (n.to_string() == *text).then_some(Some(n));
    }
    let maybe_number = text.trim_start().starts_with(|c: char| c.is_ascii_digit() || matches!(c, '+' | '-' | '.'))
        || matches!(text.to_ascii_lowercase().as_str(), "nan" | "inf" | "infinity");
    (!maybe_number).then_some(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Says `name op` of columns that begin with `x`, and binds a value for each
    /// literal; of those with `y` it says a part, of others nothing.
    #[derive(Default)]
    struct Sayer(Vec<String>);

    impl Terms for Sayer {
        type Cell = String;

        fn bound(&mut self) -> &mut Vec<String> {
            &mut self.0
        }

        fn compare(&mut self, path: &Path, op: CompareOp, literals: &[Literal]) -> Option<Condition> {
            self.0.extend(literals.iter().map(|literal| format!("{literal:?}")));
            let pushed = match path.root().chars().next()? {
                'x' => Pushed::Exactly,
                'y' => Pushed::Partly,
                _ => return None,
            };
            Some((format!("{} {}", path.root(), sign(op).unwrap_or("IN")), pushed))
        }

        fn is(&mut self, path: &Path, _: IsWhat) -> Option<Condition> {
            (path.root() == "x").then(|| ("x IS".to_owned(), Pushed::Exactly))
        }
    }

    fn eq(name: &str) -> Filter {
        let literal = Literal::Untyped("1".to_owned());
        Filter::Compare { path: Path::field(name), op: CompareOp::Eq, literal }
    }

    fn said(filter: &Filter) -> (Option<Condition>, usize) {
        let mut sayer = Sayer::default();
        (implied(&mut sayer, filter), sayer.0.len())
    }

    #[test]
    fn a_condition_says_no_more_than_the_filter_implies() {
        let exactly = |text: &str| Some((text.to_owned(), Pushed::Exactly));
        let partly = |text: &str| Some((text.to_owned(), Pushed::Partly));
        let not = |part: Filter| Filter::Not(Box::new(part));
        for (filter, expected, bound) in [
            (Filter::All, None, 0),
            (eq("x"), exactly("x IN"), 1),
            (eq("z"), None, 0),
            (Filter::In { path: Path::field("x"), literals: vec![] }, None, 0),
            (not(eq("x")), exactly("NOT (x IN)"), 1),
            (not(eq("y")), None, 0),
            (not(eq("z")), None, 0),
            (Filter::And(vec![eq("x"), eq("z"), eq("x2")]), partly("(x IN AND x2 IN)"), 2),
            (Filter::And(vec![eq("x"), eq("y")]), partly("(x IN AND y IN)"), 2),
            (Filter::And(vec![eq("z")]), None, 0),
            (Filter::Or(vec![eq("x"), eq("x2")]), exactly("(x IN OR x2 IN)"), 2),
            (Filter::Or(vec![eq("x"), eq("y")]), partly("(x IN OR y IN)"), 2),
            (Filter::Or(vec![eq("x"), eq("z")]), None, 0),
            (Filter::Or(vec![]), None, 0),
            (not(Filter::And(vec![eq("x"), eq("z")])), None, 0),
            (Filter::Is { path: Path::field("x"), what: IsWhat::Null }, exactly("x IS"), 0),
        ] {
            assert_eq!(said(&filter), (expected, bound), "{filter:?}");
        }
    }

    #[test]
    fn a_text_that_may_be_another_writing_of_a_number_is_no_key() {
        for (text, expected) in [
            ("7", Some(Some(7))),
            ("-7", Some(Some(-7))),
            ("a7", Some(None)),
            ("", Some(None)),
            ("07", None),
            ("+7", None),
            ("7.0", None),
            ("1e3", None),
            ("Infinity", None),
            ("99999999999999999999", None),
        ] {
            assert_eq!(plain_integer(text), expected, "{text:?}");
        }
        assert_eq!(text_and_integer(&Literal::Typed(Value::Int(3))), Some(("3".to_owned(), Some(3))));
        assert_eq!(text_and_integer(&Literal::Typed(Value::Bool(true))), None);
    }
}
