//! What a rule says of its column: its type in the store's own words, what it
//! refers to, what becomes of values that it does not hold.

use super::Unfit;
use super::fields::read_path;
use super::read::{Reader, Section};
use crate::path::Step;
use crate::shape::Reference;

/// Whether a text can stand for a type: words, numbers and balanced brackets,
/// and between quotes (a label, an odd name) whatever cannot end them.
fn names_a_type(text: &str) -> bool {
    let mut depth = 0_u32;
    let mut quote = None;
    for c in text.chars() {
        match (quote, c) {
            (Some(open), c) if c == open => quote = None,
            (Some(_), c) if c.is_control() || c == '\\' => return false,
            (Some(_), _) => {}
            (None, '"' | '\'') => quote = Some(c),
            (None, '(') => depth += 1,
            (None, ')') => match depth.checked_sub(1) {
                Some(left) => depth = left,
                None => return false,
            },
            (None, c) if c.is_alphanumeric() || matches!(c, ' ' | '_' | ',' | '.' | '[' | ']') => {}
            (None, _) => return false,
        }
    }
    !text.trim().is_empty() && depth == 0 && quote.is_none()
}

/// A type in the store's own words. It stands in `CREATE TABLE` as it is, so
/// that nothing but a type may stand in it.
pub(super) fn read_native(reader: &mut Reader<'_>, section: &mut Section<'_>) -> Option<String> {
    let item = section.take("native")?;
    let text = reader.text(&item)?;
    let is_type = names_a_type(&text);
    if !is_type {
        let message = format!("{text:?} cannot be a column's type");
        let hint = "a type in the store's own words, for example varchar(40), numeric(12,2), enum('a','b')".to_owned();
        reader.problem("spec/native", item.span(), message, Some(hint));
        return None;
    }
    Some(text)
}

/// `table.column`, where names that need it stand in double quotes.
pub(super) fn read_references(reader: &mut Reader<'_>, section: &mut Section<'_>) -> Option<Reference> {
    let item = section.take("references")?;
    let text = reader.text(&item)?;
    let path = read_path(reader, &text, item.span())?;
    if let [Step::Field(table), Step::Field(column)] = path.steps() {
        return Some(Reference { table: table.clone(), column: column.clone() });
    }
    let hint = "a table of the target and its column, for example references = \"users.id\"".to_owned();
    reader.problem("spec/references", item.span(), format!("{text:?} names no column of a table"), Some(hint));
    None
}

/// What becomes of what the column does not hold.
pub(super) fn read_unfit(reader: &mut Reader<'_>, section: &mut Section<'_>) -> Option<Unfit> {
    let item = section.take("unfit")?;
    let text = reader.text(&item)?;
    let found = Unfit::WORDS.into_iter().find(|(word, _)| *word == text);
    if found.is_none() {
        let hint = "\"null\": it counts as missing; \"cut\": a text loses U+0000 and what is beyond chars_max";
        let message = format!("{text:?} is nothing that can become of an unfit value");
        reader.problem("spec/unfit", item.span(), message, Some(hint.to_owned()));
    }
    found.map(|(_, unfit)| unfit)
}

/// A column of more characters than this has no bound that anybody means.
const CHARS_MAX_MAX: u64 = 1 << 32;

/// The most characters that the column holds.
pub(super) fn read_chars_max(reader: &mut Reader<'_>, section: &mut Section<'_>) -> Option<u64> {
    let item = section.take("chars_max")?;
    reader.number(&item, 1, CHARS_MAX_MAX, "characters")
}
