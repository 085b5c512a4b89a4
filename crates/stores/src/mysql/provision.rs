//! The tables that `provision` makes: types that hold every value of a field's
//! type exactly, unless the spec names a type of the server.
//!
//! What the server's own types cannot hold of the value model (NaN and the
//! infinities in `DOUBLE`; decimals of any scale; years beyond 9999 and
//! infinities; 24:00:00 with its fraction) decides for text columns; who wants
//! the server's types says so in the spec, and values that do not fit are then
//! refused by name.

use shearwater_core::Value;
use shearwater_core::error::{StoreError, StoreErrorKind, StoreResult};
use shearwater_core::shape::{ColumnShape, FieldType, Layout, TableShape, WhenOmitted};

use super::facts::Server;
use super::names::{list, literal, quoted};
use super::native::{INDEX_BYTES_MAX, KEY_TEXT_COMMENT};
use crate::relational::{Tree, plain_text, record_key_columns};

/// Bytes of one character of UTF-8 at most.
const CHAR_BYTES_MAX: u64 = 4;

/// Bytes of a child row's own key: 32 hex digits.
const CHILD_ID_BYTES: u64 = 32;

/// Bytes of a number in a key.
const NUMBER_BYTES: u64 = 8;

/// Characters of the text of a number or a time, with room: the longest is 33.
const SCALAR_CHARS: u64 = 40;

/// Where a column stands, which decides how long its texts may be.
#[derive(Clone, Copy)]
enum Role {
    /// In no index.
    Plain,
    /// In an index that may take this many characters of it.
    Indexed(u64),
}

/// What makes the statements.
struct Provision<'a> {
    server: &'a Server,
    tree: &'a Tree,
}

/// The statements that make the tables of a layout, each with its table's name.
pub(super) fn create_statements(server: &Server, tree: &Tree) -> StoreResult<Vec<(String, String)>> {
    let provision = Provision { server, tree };
    match &tree.layout {
        Layout::Document(document) => {
            let chars = INDEX_BYTES_MAX / CHAR_BYTES_MAX / document.key.len().max(1) as u64;
            let collation = server.exact_collation();
            let mut parts: Vec<String> = document
                .key
                .iter()
                .map(|name| {
                    let comment = literal(KEY_TEXT_COMMENT);
                    let ty = format!("VARCHAR({chars}) CHARACTER SET utf8mb4 COLLATE {collation}");
                    format!("{} {ty} NOT NULL COMMENT {comment}", quoted(name))
                })
                .collect();
            parts.push(format!("{} {} NOT NULL", quoted(&document.document), provision.long_text()));
            parts.push(format!("PRIMARY KEY ({})", list(&document.key)));
            Ok(vec![(document.table.clone(), provision.table(&document.table, &parts))])
        }
        Layout::Rows(shape) => provision.rows(shape),
    }
}

impl Provision<'_> {
    fn table(&self, name: &str, parts: &[String]) -> String {
        format!(
            "CREATE TABLE {} ({}) ENGINE=InnoDB ROW_FORMAT=DYNAMIC DEFAULT CHARACTER SET utf8mb4 COLLATE {}",
            quoted(name),
            parts.join(", "),
            self.server.exact_collation()
        )
    }

    fn long_text(&self) -> String {
        format!("LONGTEXT CHARACTER SET utf8mb4 COLLATE {}", self.server.exact_collation())
    }

    fn rows(&self, shape: &TableShape) -> StoreResult<Vec<(String, String)>> {
        let mut keys = Vec::with_capacity(shape.key.len());
        let room = self.key_chars(shape);
        for name in &shape.key {
            let column = shape.columns.iter().find(|c| c.name == *name);
            let ty = match column {
                Some(column) => self.type_of(column, Role::Indexed(room))?,
                None => self.type_for(FieldType::Text, Role::Indexed(room)),
            };
            keys.push(ty);
        }
        let mut parts = Vec::new();
        for (name, ty) in
            shape.key.iter().zip(&keys).filter(|(name, _)| !shape.columns.iter().any(|c| c.name == **name))
        {
            parts.push(format!("{} {ty} NOT NULL", quoted(name)));
        }
        for column in &shape.columns {
            parts.push(match shape.key.iter().position(|name| *name == column.name) {
                Some(at) if shape.extras.identity.as_ref() == Some(&column.name) => {
                    format!("{} {} NOT NULL AUTO_INCREMENT", quoted(&column.name), keys[at])
                }
                Some(at) => format!("{} {} NOT NULL", quoted(&column.name), keys[at]),
                None => self.column(column, room_together(shape, &column.name))?,
            });
            if let (Some(part), Some((_, omitted))) =
                (parts.last_mut(), shape.extras.defaults.iter().find(|(name, _)| *name == column.name))
            {
                part.push_str(&format!(" DEFAULT {}", default_of(column, omitted)?));
            }
        }
        parts.extend(shape.extras.unique.iter().map(|columns| format!("UNIQUE KEY ({})", list(columns))));
        parts.extend(shape.residue.iter().map(|name| format!("{} {}", quoted(name), self.long_text())));
        parts.push(format!("PRIMARY KEY ({})", list(&shape.key)));
        let mut statements = vec![(shape.table.clone(), self.table(&shape.table, &parts))];
        for child in &self.tree.children {
            let record_key = record_key_columns(&shape.key);
            let mut parts: Vec<String> =
                record_key.iter().zip(&keys).map(|(name, ty)| format!("{} {ty} NOT NULL", quoted(name))).collect();
            let id = "CHAR(32) CHARACTER SET ascii COLLATE ascii_bin NOT NULL";
            parts.push(format!("`id` {id}"));
            parts.extend(child.parent.map(|_| format!("`parent_id` {id}")));
            parts.push("`position` BIGINT NOT NULL".to_owned());
            for column in &child.shape.columns {
                parts.push(self.column(column, None)?);
            }
            parts.extend(child.shape.residue.iter().map(|name| format!("{} {}", quoted(name), self.long_text())));
            parts.push(format!("PRIMARY KEY ({}, `id`)", list(&record_key)));
            statements.push((child.shape.table.clone(), self.table(&child.shape.table, &parts)));
        }
        Ok(statements)
    }

    /// Characters that each text of the key may have, so that the key fits the
    /// index of a child table together with the element's own key.
    fn key_chars(&self, shape: &TableShape) -> u64 {
        let is_number = |name: &&String| {
            let column = shape.columns.iter().find(|c| c.name == **name);
            column.is_some_and(|c| matches!(c.ty, FieldType::Int | FieldType::Bool))
        };
        let numbers = shape.key.iter().filter(is_number).count() as u64;
        let texts = (shape.key.len() as u64 - numbers).max(1);
        (INDEX_BYTES_MAX - CHILD_ID_BYTES - numbers * NUMBER_BYTES) / CHAR_BYTES_MAX / texts
    }

    /// `room`: characters that an index of several columns leaves for it.
    fn column(&self, column: &ColumnShape, room: Option<u64>) -> StoreResult<String> {
        let is_indexed = column.unique || column.references.is_some();
        let role = match room {
            Some(chars) => Role::Indexed(chars),
            None if is_indexed => Role::Indexed(INDEX_BYTES_MAX / CHAR_BYTES_MAX),
            None => Role::Plain,
        };
        let null = if column.nullable { "NULL" } else { "NOT NULL" };
        let unique = if column.unique { " UNIQUE" } else { "" };
        Ok(format!("{} {} {null}{unique}", quoted(&column.name), self.type_of(column, role)?))
    }

    fn type_of(&self, column: &ColumnShape, role: Role) -> StoreResult<String> {
        match &column.native {
            None => Ok(self.type_for(column.ty, role)),
            Some(words) if is_type(words) => Ok(words.clone()),
            Some(_) => Err(StoreError::new(
                StoreErrorKind::Unsupported,
                format!("field {:?}: its native type is no type of the server", column.name),
            )
            .with_hint("write one type as in CREATE TABLE, for example varchar(40) or decimal(10,2)")),
        }
    }

    fn type_for(&self, ty: FieldType, role: Role) -> String {
        let collation = self.server.exact_collation();
        let text = |chars: u64| format!("VARCHAR({chars}) CHARACTER SET utf8mb4 COLLATE {collation}");
        match (ty, role) {
            (FieldType::Bool, _) => "TINYINT(1)".to_owned(),
            (FieldType::Int, _) => "BIGINT".to_owned(),
            (FieldType::Bytes, Role::Plain) => "LONGBLOB".to_owned(),
            (FieldType::Bytes, Role::Indexed(chars)) => format!("VARBINARY({})", chars * CHAR_BYTES_MAX),
            (
                FieldType::Float
                | FieldType::Date
                | FieldType::Time
                | FieldType::Timestamp
                | FieldType::Instant
                | FieldType::Uuid,
                _,
            ) => text(SCALAR_CHARS),
            (FieldType::Decimal | FieldType::Text | FieldType::Json | FieldType::Extended, Role::Plain) => {
                self.long_text()
            }
            (FieldType::Decimal | FieldType::Text | FieldType::Json | FieldType::Extended, Role::Indexed(chars)) => {
                text(chars)
            }
        }
    }
}

/// Characters that a column may have beside the others of its widest index.
fn room_together(shape: &TableShape, name: &String) -> Option<u64> {
    let lists = shape.extras.unique.iter().chain(shape.extras.foreign_keys.iter().map(|key| &key.columns));
    let widest = lists.filter(|columns| columns.contains(name)).map(Vec::len).max()?;
    Some(INDEX_BYTES_MAX / CHAR_BYTES_MAX / widest as u64)
}

/// A column's default as an expression.
fn default_of(column: &ColumnShape, omitted: &WhenOmitted) -> StoreResult<String> {
    let value = match omitted {
        WhenOmitted::Value(value) => value,
        WhenOmitted::Now => return now_of(column),
    };
    Ok(match value {
        Value::Bool(b) => u8::from(*b).to_string(),
        Value::Int(_) | Value::UInt(_) => plain_text(value),
        Value::Bytes(bytes) => format!("x'{}'", bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>()),
        value => literal(&plain_text(value)),
    })
}

/// The time now, to as many digits as the column keeps. A text column would
/// hold the server's way of writing it, which is not ours.
fn now_of(column: &ColumnShape) -> StoreResult<String> {
    let words = column.native.as_deref().unwrap_or_default().to_ascii_lowercase();
    let digits = ["datetime", "timestamp"].iter().find_map(|ty| words.strip_prefix(ty));
    let digits = digits.map(|rest| rest.trim()).filter(|rest| rest.is_empty() || rest.starts_with('('));
    digits.map(|digits| format!("CURRENT_TIMESTAMP{digits}")).ok_or_else(|| {
        let what =
            format!("field {:?}: its default is the time now, and its column is no time of the server's", column.name);
        StoreError::new(StoreErrorKind::Unsupported, what)
            .with_hint("give it a type of the server: native = \"datetime(6)\"")
    })
}

/// Whether words can be a type and nothing more: what stands in quotes is free
/// but for backslashes, outside of them are words, numbers, commas, brackets.
fn is_type(words: &str) -> bool {
    let (mut quoted, mut depth) = (false, 0_i32);
    for c in words.chars() {
        match c {
            '\'' => quoted = !quoted,
            '\\' | '\0' => return false,
            _ if quoted => {}
            '(' => depth += 1,
            ')' if depth > 0 => depth -= 1,
            ',' if depth > 0 => {}
            c if c.is_ascii_alphanumeric() || c == '_' || c == ' ' => {}
            _ => return false,
        }
    }
    !quoted && depth == 0 && words.starts_with(|c: char| c.is_ascii_alphabetic())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_and_what_is_more_than_a_type() {
        for words in ["bigint unsigned", "decimal(10,2)", "enum('a','it''s; --')", "varchar(40) CHARACTER SET latin1"] {
            assert!(is_type(words), "{words}");
        }
        for words in [
            "",
            "int, b int",
            "int) engine=x",
            "int; drop table t",
            "int -- x",
            "int /* */",
            "enum('a\\')",
            "enum('a)",
            "`int`",
            "int default (1",
        ] {
            assert!(!is_type(words), "{words}");
        }
    }
}
