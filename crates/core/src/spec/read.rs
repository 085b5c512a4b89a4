//! Reading TOML with places: sections that know which keys were asked for, and
//! the list of problems that grows while reading goes on.

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::Problem;

/// Byte range in the spec's text.
pub(super) type Span = (usize, usize);

/// A spec is written by people; a larger one is some other file.
const SPEC_BYTES_MAX: usize = 1024 * 1024;

/// The text, the environment, and the problems found so far.
pub(super) struct Reader<'t> {
    pub(super) text: &'t str,
    pub(super) env: &'t dyn Fn(&str) -> Option<String>,
    problems: Vec<Problem>,
}

/// One key with its value.
pub(super) struct Item<'t> {
    pub(super) key: String,
    pub(super) key_span: Span,
    pub(super) value: Spanned<DeValue<'t>>,
}

impl Item<'_> {
    /// The place of the value.
    pub(super) fn span(&self) -> Span {
        span_of(&self.value)
    }
}

/// A table whose keys are taken one by one; what is left over is unknown.
pub(super) struct Section<'t> {
    pub(super) span: Span,
    /// As messages name it, for example `[source]`.
    pub(super) place: String,
    items: Vec<Item<'t>>,
    asked: Vec<&'static str>,
}

pub(super) fn span_of<T>(value: &Spanned<T>) -> Span {
    (value.span().start, value.span().end)
}

impl<'t> Section<'t> {
    pub(super) fn new(table: DeTable<'t>, span: Span, place: impl Into<String>) -> Section<'t> {
        let mut items: Vec<Item<'t>> = table
            .into_iter()
            .map(|(key, value)| Item { key_span: span_of(&key), key: key.into_inner().into_owned(), value })
            .collect();
        // The table is sorted by name; people wrote it in an order that means something.
        items.sort_by_key(|item| (item.key_span, item.span()));
        Section { span, place: place.into(), items, asked: Vec::new() }
    }

    /// Takes a key out, and remembers it as one that is known here.
    pub(super) fn take(&mut self, key: &'static str) -> Option<Item<'t>> {
        self.asked.push(key);
        let at = self.items.iter().position(|item| item.key == key)?;
        Some(self.items.remove(at))
    }

    /// Whether a key is there, without taking it.
    pub(super) fn has(&self, key: &str) -> bool {
        self.items.iter().any(|item| item.key == key)
    }

    /// All that is left, for sections whose keys are the user's names.
    pub(super) fn take_all(&mut self) -> Vec<Item<'t>> {
        std::mem::take(&mut self.items)
    }

    /// Reports what was not asked for.
    pub(super) fn refuse_rest(self, reader: &mut Reader<'_>) {
        for item in &self.items {
            let hint = match did_you_mean(&item.key, &self.asked) {
                Some(name) => format!("did you mean `{name}`?"),
                None => format!("known here: {}", self.asked.join(", ")),
            };
            reader.problem(
                "spec/unknown-key",
                item.key_span,
                format!("unknown key `{}` in {}", item.key, self.place),
                Some(hint),
            );
        }
    }
}

impl<'t> Reader<'t> {
    pub(super) fn new(text: &'t str, env: &'t dyn Fn(&str) -> Option<String>) -> Reader<'t> {
        Reader { text, env, problems: Vec::new() }
    }

    /// Notes a problem; reading goes on.
    pub(super) fn problem(&mut self, code: &'static str, span: Span, message: impl Into<String>, hint: Option<String>) {
        self.problems.push(Problem { code, message: message.into(), span, hint });
    }

    /// The whole file as a section. A text that is no TOML is reported as that
    /// only: what could be read of it would give misleading problems.
    pub(super) fn root(&mut self) -> Option<Section<'t>> {
        if self.text.len() > SPEC_BYTES_MAX {
            let message = format!("the file has {} bytes; a spec has at most {SPEC_BYTES_MAX}", self.text.len());
            self.problem("spec/toml", (0, 0), message, Some("is this a spec?".to_owned()));
            return None;
        }
        let (table, errors) = DeTable::parse_recoverable(self.text);
        for error in &errors {
            let span = error.span().map_or((0, 0), |span| (span.start, span.end));
            self.problem("spec/toml", span, format!("this is not TOML: {}", error.message()), None);
        }
        errors.is_empty().then(|| Section::new(table.into_inner(), (0, 0), "the spec"))
    }

    /// The result: the spec, or all problems in the order of the text.
    pub(super) fn finish<T>(mut self, spec: Option<T>) -> Result<T, Vec<Problem>> {
        self.problems.sort_by_key(|problem| problem.span);
        self.problems.dedup();
        match spec {
            Some(spec) if self.problems.is_empty() => Ok(spec),
            _ => Err(self.problems),
        }
    }

    fn wrong_type(&mut self, item: &Item<'_>, expected: &str) {
        let message = format!("`{}` must be {expected}, found {}", item.key, shown_type(item.value.get_ref()));
        self.problem("spec/type", item.span(), message, None);
    }

    /// Reports that a key is not there.
    pub(super) fn missing(&mut self, section: &Section<'_>, key: &str, example: &str) {
        let message = format!("{} has no `{key}`", section.place);
        self.problem("spec/missing", section.span, message, Some(format!("add, for example: {key} = {example}")));
    }

    pub(super) fn text(&mut self, item: &Item<'_>) -> Option<String> {
        match item.value.get_ref() {
            DeValue::String(text) => Some(text.to_string()),
            _ => {
                self.wrong_type(item, "a text");
                None
            }
        }
    }

    pub(super) fn flag(&mut self, item: &Item<'_>) -> Option<bool> {
        match item.value.get_ref() {
            DeValue::Boolean(flag) => Some(*flag),
            _ => {
                self.wrong_type(item, "true or false");
                None
            }
        }
    }

    /// A whole number from `low` to `high`, in `unit`.
    pub(super) fn number(&mut self, item: &Item<'_>, low: u64, high: u64, unit: &str) -> Option<u64> {
        let DeValue::Integer(number) = item.value.get_ref() else {
            self.wrong_type(item, &format!("a whole number of {unit}"));
            return None;
        };
        match u64::from_str_radix(number.as_str(), number.radix()) {
            Ok(n) if (low..=high).contains(&n) => Some(n),
            _ => {
                let message = format!("`{}` must be from {low} to {high} {unit}, found {}", item.key, number.as_str());
                self.problem("spec/range", item.span(), message, None);
                None
            }
        }
    }

    /// One text or an array of texts, each with its place.
    pub(super) fn texts(&mut self, item: &Item<'_>) -> Option<Vec<(String, Span)>> {
        let values = match item.value.get_ref() {
            DeValue::String(text) => return Some(vec![(text.to_string(), item.span())]),
            DeValue::Array(values) => values,
            _ => {
                self.wrong_type(item, "a text or an array of texts");
                return None;
            }
        };
        let mut texts = Vec::new();
        for value in values.iter() {
            match value.get_ref() {
                DeValue::String(text) => texts.push((text.to_string(), span_of(value))),
                other => {
                    let message = format!("`{}` must hold texts only, found {}", item.key, shown_type(other));
                    self.problem("spec/type", span_of(value), message, None);
                }
            }
        }
        if values.is_empty() {
            self.problem("spec/type", item.span(), format!("`{}` is empty", item.key), None);
        }
        Some(texts)
    }

    pub(super) fn section<'v>(&mut self, item: Item<'v>, place: impl Into<String>) -> Option<Section<'v>> {
        if !matches!(item.value.get_ref(), DeValue::Table(_)) {
            self.wrong_type(&item, "a table");
            return None;
        }
        // A table under its own header has no useful place of its own.
        let written_inline = self.text[item.value.span()].starts_with('{');
        let span = if written_inline { item.span() } else { item.key_span };
        match item.value.into_inner() {
            DeValue::Table(table) => Some(Section::new(table, span, place)),
            _ => None,
        }
    }

    /// Where a piece of a text value stands in the file. Exact for text written
    /// without escapes (as literal strings are); else the whole value.
    pub(super) fn within(&self, value: Span, content: &str, piece: Span) -> Span {
        match self.text.get(value.0..value.1).and_then(|raw| raw.find(content)) {
            Some(offset) if !content.is_empty() => (value.0 + offset + piece.0, value.0 + offset + piece.1),
            _ => value,
        }
    }
}

/// A TOML type as messages name it.
pub(super) fn shown_type(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a text",
        DeValue::Integer(_) => "an integer",
        DeValue::Float(_) => "a float",
        DeValue::Boolean(_) => "a boolean",
        DeValue::Datetime(_) => "a date or time",
        DeValue::Array(_) => "an array",
        DeValue::Table(_) => "a table",
    }
}

/// The known name that was probably meant: the closest within a third of its letters.
pub fn did_you_mean<'a>(found: &str, known: &[&'a str]) -> Option<&'a str> {
    let found = found.to_lowercase();
    known
        .iter()
        .map(|name| (distance(&found, &name.to_lowercase()), *name))
        .filter(|(distance, name)| *distance <= (name.chars().count() / 3).max(1))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, name)| name)
}

/// Edits (insert, delete, replace, swap of neighbours) from one text to the other.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut rows = vec![(0..=b.len()).collect::<Vec<usize>>()];
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let replace = rows[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut best = replace.min(rows[i - 1][j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(rows[i - 2][j - 2] + 1);
            }
            row.push(best);
        }
        rows.push(row);
    }
    rows[a.len()][b.len()]
}

/// Where a value stands in a spec's text, by its keys, for example
/// `["source", "table"]`: the value's byte range, or that of the deepest table
/// on the way that is there. For problems found after parsing.
pub fn locate(text: &str, keys: &[&str]) -> (usize, usize) {
    let (root, _) = DeTable::parse_recoverable(text);
    let mut table = root.get_ref();
    let mut place = (0, 0);
    for key in keys {
        let Some((name, value)) = table.iter().find(|(name, _)| name.get_ref() == key) else { break };
        match value.get_ref() {
            DeValue::Table(inner) => {
                place = span_of(name);
                table = inner;
            }
            _ => return span_of(value),
        }
    }
    place
}
