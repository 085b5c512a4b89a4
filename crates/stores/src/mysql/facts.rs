//! What the database's schema says about tables: columns, indexes, the server.

use std::collections::HashMap;

use shearwater_core::error::{StoreError, StoreErrorKind, StoreResult};

use super::cell::Cell;
use super::names::RESERVED_PREFIX;
use super::native::{Column, Declared, KEY_TEXT_COMMENT, Kind};
use super::session::{Session, bind, number_of, text_of};

/// The two servers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Family {
    /// MariaDB.
    MariaDb,
    /// MySQL.
    MySql,
}

/// The server.
#[derive(Clone, Debug)]
pub(super) struct Server {
    /// Which of the two.
    pub(super) family: Family,
    /// Its version, as it says it.
    pub(super) version: String,
    /// Whether table names are told apart by case.
    pub(super) names: TableNames,
}

/// How the server compares names of tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TableNames {
    /// Letter by letter.
    Exact,
    /// Without case.
    Folded,
}

/// The oldest versions whose statements this connector uses.
const MARIADB_MIN: (u32, u32) = (10, 5);
const MYSQL_MIN: (u32, u32) = (8, 0);

impl Server {
    /// Asks; refuses a server that is too old.
    pub(super) async fn look(session: &mut Session) -> StoreResult<Server> {
        let rows = session.script("asking for the version", "SELECT VERSION(), @@lower_case_table_names").await?;
        let row = rows.first().map(Vec::as_slice).unwrap_or_default();
        let version = row.first().and_then(text_of).unwrap_or_default();
        let names = match row.get(1).and_then(number_of) {
            Some(0) => TableNames::Exact,
            _ => TableNames::Folded,
        };
        let family = if version.to_ascii_lowercase().contains("mariadb") { Family::MariaDb } else { Family::MySql };
        // Old MariaDB servers say 5.5.5- before their own version.
        let plain = version.strip_prefix("5.5.5-").unwrap_or(&version);
        let mut numbers = plain.split(['.', '-']).map(|part| part.parse::<u32>().unwrap_or(0));
        let found = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
        let (name, min) = match family {
            Family::MariaDb => ("MariaDB", MARIADB_MIN),
            Family::MySql => ("MySQL", MYSQL_MIN),
        };
        if found < min {
            return Err(StoreError::new(
                StoreErrorKind::Unsupported,
                format!("{name} {version} is too old; {}.{} or later is needed", min.0, min.1),
            )
            .with_hint("move the server to a version that still gets fixes first"));
        }
        Ok(Server { family, version, names })
    }

    /// Its name and version, for people.
    pub(super) fn product(&self) -> String {
        match self.family {
            Family::MariaDb => format!("MariaDB {}", self.version),
            Family::MySql => format!("MySQL {}", self.version),
        }
    }

    /// A collation that tells all texts apart and orders them by code point.
    pub(super) fn exact_collation(&self) -> &'static str {
        match self.family {
            Family::MariaDb => "utf8mb4_nopad_bin",
            Family::MySql => "utf8mb4_0900_bin",
        }
    }
}

/// The name of a table as the schema spells it; `None`: there is none.
pub(super) async fn spelled(session: &mut Session, server: &Server, table: &str) -> StoreResult<Option<String>> {
    let rows = session
        .rows(
            "looking for the table",
            "SELECT table_name FROM information_schema.tables WHERE table_schema = DATABASE() AND table_name = ?",
            bind([&Cell::text(table)]),
        )
        .await?;
    let names: Vec<String> = rows.iter().filter_map(|row| row.first().and_then(text_of)).collect();
    if let Some(name) = names.iter().find(|name| *name == table) {
        return Ok(Some(name.clone()));
    }
    let folded = |name: &&String| name.to_lowercase() == table.to_lowercase();
    Ok(match server.names {
        TableNames::Exact => None,
        TableNames::Folded => names.iter().find(folded).cloned(),
    })
}

/// Refuses what keeps no transactions: a table of another engine, a view.
pub(super) async fn check_engine(session: &mut Session, table: &str) -> StoreResult<()> {
    let sql =
        "SELECT table_type, engine FROM information_schema.tables WHERE table_schema = DATABASE() AND table_name = ?";
    let rows = session.rows("looking at the table", sql, bind([&Cell::text(table)])).await?;
    let text = |at: usize| rows.first().and_then(|row| row.get(at)).and_then(text_of).unwrap_or_default();
    let (ty, engine) = (text(0), text(1));
    let refused = |what: String, hint: &str| Err(StoreError::new(StoreErrorKind::Unsupported, what).with_hint(hint));
    match (ty.as_str(), engine.as_str()) {
        ("BASE TABLE", "InnoDB") => Ok(()),
        ("BASE TABLE", _) => refused(
            format!("table {table:?} is kept by {engine}, which has no transactions"),
            "convert it first: ALTER TABLE … ENGINE=InnoDB",
        ),
        _ => refused(format!("{table:?} is no table that takes triggers"), "name the table that it reads from"),
    }
}

const COLUMNS: &str = "SELECT c.table_name, c.column_name, c.data_type, c.column_type, c.character_maximum_length, \
     c.character_octet_length, c.numeric_precision, c.numeric_scale, c.datetime_precision, c.is_nullable, \
     c.column_default, c.extra, c.character_set_name, c.collation_name, c.column_comment, c.generation_expression \
     FROM information_schema.columns c WHERE c.table_schema = DATABASE() AND \
     (? IS NULL OR c.table_name = ?) ORDER BY c.table_name, c.ordinal_position";

/// The columns of one table, or of all, each with its table's name.
pub(super) async fn columns(
    session: &mut Session,
    server: &Server,
    table: Option<&str>,
) -> StoreResult<Vec<(String, Column)>> {
    let wanted = table.map_or(Cell::Null, Cell::text);
    let rows = session.rows("reading columns", COLUMNS, bind([&wanted, &wanted])).await?;
    let mut columns: Vec<(String, Column)> = rows.iter().filter_map(|row| column(row)).collect();
    if let Some(table) = table {
        columns.retain(|(name, _)| name == table);
    }
    if server.family == Family::MariaDb {
        let checks = session
            .rows(
                "reading checks",
                "SELECT table_name, check_clause FROM information_schema.check_constraints \
                 WHERE constraint_schema = DATABASE() AND check_clause LIKE 'json_valid(%'",
                Vec::new(),
            )
            .await?;
        for row in checks {
            let [table, clause] = [row.first(), row.get(1)].map(|cell| cell.and_then(text_of).unwrap_or_default());
            let named = |(name, column): &&mut (String, Column)| {
                *name == table && clause == format!("json_valid({})", super::names::quoted(&column.name))
            };
            if let Some((_, column)) = columns.iter_mut().find(named) {
                column.is_json = true;
            }
        }
    }
    Ok(columns)
}

fn column(row: &[Cell]) -> Option<(String, Column)> {
    let text = |at: usize| row.get(at).and_then(text_of);
    let number = |at: usize| row.get(at).and_then(number_of);
    let (data_type, declared) = (text(2)?, text(3)?);
    let kind = Kind::of(&Declared {
        data_type: &data_type,
        column_type: &declared,
        chars: number(4),
        bytes: number(5),
        digits: number(6),
        scale: number(7),
        fraction: number(8),
    });
    let extra = text(11).unwrap_or_default().to_ascii_lowercase();
    let generated = extra.contains("virtual generated")
        || extra.contains("stored generated")
        || text(15).is_some_and(|expression| !expression.is_empty());
    let column = Column {
        name: text(1)?,
        declared,
        type_name: data_type.to_ascii_lowercase(),
        kind,
        nullable: text(9).as_deref() == Some("YES"),
        default: text(10).filter(|default| !default.eq_ignore_ascii_case("null")),
        generated,
        identity: extra.contains("auto_increment"),
        charset: text(12),
        collation: text(13),
        is_json: false,
        is_key_text: text(14).as_deref() == Some(KEY_TEXT_COMMENT),
    };
    Some((text(0)?, column))
}

/// A unique index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct UniqueIndex {
    /// Its table.
    pub(super) table: String,
    /// Its name; `PRIMARY` for the primary key.
    pub(super) name: String,
    /// Its columns.
    pub(super) columns: Vec<String>,
}

impl UniqueIndex {
    /// Whether it is the primary key.
    pub(super) fn is_primary(&self) -> bool {
        self.name == "PRIMARY"
    }
}

/// Unique indexes over whole columns, of one table or of all. One over the
/// beginning of a column, or over an expression, identifies nothing.
pub(super) async fn unique_indexes(session: &mut Session, table: Option<&str>) -> StoreResult<Vec<UniqueIndex>> {
    let wanted = table.map_or(Cell::Null, Cell::text);
    let rows = session
        .rows(
            "reading indexes",
            "SELECT table_name, index_name, column_name, sub_part FROM information_schema.statistics \
             WHERE table_schema = DATABASE() AND (? IS NULL OR table_name = ?) AND non_unique = 0 \
             ORDER BY table_name, index_name, seq_in_index",
            bind([&wanted, &wanted]),
        )
        .await?;
    let mut indexes: Vec<UniqueIndex> = Vec::new();
    let mut partial: Vec<(String, String)> = Vec::new();
    for row in &rows {
        let text = |at: usize| row.get(at).and_then(text_of);
        let (Some(table), Some(name)) = (text(0), text(1)) else { continue };
        match (text(2), row.get(3)) {
            (Some(column), Some(Cell::Null)) => match indexes.last_mut() {
                Some(last) if last.table == table && last.name == name => last.columns.push(column),
                _ => indexes.push(UniqueIndex { table, name, columns: vec![column] }),
            },
            _ => partial.push((table, name)),
        }
    }
    indexes.retain(|index| !partial.iter().any(|(table, name)| index.table == *table && index.name == *name));
    if let Some(table) = table {
        indexes.retain(|index| index.table == table);
    }
    Ok(indexes)
}

/// The columns that lead an index, each with one such index.
pub(super) async fn leading_columns(session: &mut Session, table: &str) -> StoreResult<HashMap<String, String>> {
    let rows = session
        .rows(
            "reading indexes",
            "SELECT column_name, index_name FROM information_schema.statistics WHERE table_schema = DATABASE() \
             AND table_name = ? AND seq_in_index = 1 AND sub_part IS NULL AND column_name IS NOT NULL",
            bind([&Cell::text(table)]),
        )
        .await?;
    let pair = |row: &Vec<Cell>| Some((text_of(row.first()?)?, text_of(row.get(1)?)?));
    Ok(rows.iter().filter_map(pair).collect())
}

/// Names of the database's tables for a hint, without ours.
pub(super) async fn tables_there(session: &mut Session) -> StoreResult<String> {
    let rows = session
        .rows(
            "listing tables",
            "SELECT table_name FROM information_schema.tables WHERE table_schema = DATABASE() ORDER BY table_name",
            Vec::new(),
        )
        .await?;
    let names = rows.iter().filter_map(|row| row.first().and_then(text_of));
    let names: Vec<String> = names.filter(|name| !name.starts_with(RESERVED_PREFIX)).take(20).collect();
    Ok(if names.is_empty() {
        "the database has no tables".to_owned()
    } else {
        format!("its tables are {}", names.join(", "))
    })
}
