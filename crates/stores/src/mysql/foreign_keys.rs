//! Foreign keys at the end of a migration.
//!
//! Adding one with its check would copy the table while nobody writes it. So
//! it is added unchecked, which takes no time and holds for every write from
//! then on, and the rows that were there are looked at before and afterwards.

use shearwater_core::Key;
use shearwater_core::error::{StoreError, StoreErrorKind, StoreResult};
use shearwater_core::shape::{ColumnShape, Reference};
use shearwater_core::store::ForeignKey;

use super::facts::{self, Server};
use super::names::quoted;
use super::native::Column;
use super::session::{Session, text_of};
use super::tables::Tables;

/// Keys told of rows that break a foreign key: enough to see what they have in common.
const OFFENDERS_MAX: usize = 5;

/// The foreign keys of all tables, each with its table's name.
pub(super) async fn all(session: &mut Session) -> StoreResult<Vec<(String, ForeignKey)>> {
    let sql = "SELECT k.table_name, k.constraint_name, k.column_name, k.referenced_table_name, k.referenced_column_name, \
               r.update_rule, r.delete_rule FROM information_schema.key_column_usage k \
               JOIN information_schema.referential_constraints r ON r.constraint_schema = k.constraint_schema \
               AND r.constraint_name = k.constraint_name AND r.table_name = k.table_name \
               WHERE k.table_schema = DATABASE() AND k.referenced_table_name IS NOT NULL \
               ORDER BY k.table_name, k.constraint_name, k.ordinal_position";
    let rows = session.rows("reading foreign keys", sql, Vec::new()).await?;
    let mut found: Vec<(String, ForeignKey)> = Vec::new();
    for row in &rows {
        let text = |at: usize| row.get(at).and_then(text_of).unwrap_or_default();
        let (table, name) = (text(0), text(1));
        if !matches!(found.last(), Some((last, key)) if *last == table && key.name == name) {
            let acts = |rule: &str| matches!(rule, "CASCADE" | "SET NULL" | "SET DEFAULT");
            let cascades = acts(&text(5)) || acts(&text(6));
            found.push((table, ForeignKey { name, table: text(3), cascades, ..ForeignKey::default() }));
        }
        if let Some((_, key)) = found.last_mut() {
            key.columns.push(text(2));
            key.references.push(text(4));
        }
    }
    Ok(found)
}

/// Makes the layout's foreign keys hold; the statements run.
pub(super) async fn constrain(session: &mut Session, tables: &Tables) -> StoreResult<Vec<String>> {
    let mut wanted = Vec::new();
    for (table, column, other) in tables.tree.layout.references() {
        wanted.push(Wanted::look(session, tables, table, column, other).await?);
    }
    for one in &wanted {
        one.check(session, tables).await?;
    }
    let mut ran = Vec::new();
    for one in &wanted {
        ran.extend(one.add(session, tables).await?);
    }
    Ok(ran)
}

/// A foreign key that shall hold, in the names of the schema.
struct Wanted {
    table: String,
    /// The columns of the record's key in that table.
    key: Vec<Column>,
    column: String,
    other: String,
    other_column: String,
}

impl Wanted {
    async fn look(
        session: &mut Session,
        tables: &Tables,
        table: &str,
        column: &ColumnShape,
        other: &Reference,
    ) -> StoreResult<Wanted> {
        let server = &tables.server;
        let child = tables.children.iter().find(|child| child.child.shape.table == table);
        let key = child.map_or(&tables.key, |child| &child.record_key).clone();
        let (table, column) = column_of(session, server, table, &column.name).await?;
        let (other, other_column) = column_of(session, server, &other.table, &other.column).await?;
        let unique = facts::unique_indexes(session, Some(&other)).await?;
        if !unique.iter().any(|index| index.columns == [other_column.name.as_str()]) {
            let what =
                format!("table {other:?}: column {:?} is not unique, so nothing can refer to it", other_column.name);
            return Err(
                StoreError::new(StoreErrorKind::Unsupported, what).with_hint("make it unique, or refer to the key")
            );
        }
        if !is_comparable(&column, &other_column) {
            let what = format!(
                "table {table:?}: column {:?} is {} and refers to a column that is {}: the types must be equal",
                column.name, column.declared, other_column.declared
            );
            return Err(StoreError::new(StoreErrorKind::Unsupported, what).with_hint("give both fields the same type"));
        }
        Ok(Wanted { table, key, column: column.name, other, other_column: other_column.name })
    }

    /// Refuses rows that refer to rows that are not there.
    async fn check(&self, session: &mut Session, tables: &Tables) -> StoreResult<()> {
        let sql = format!(
            "SELECT {} FROM {} r WHERE r.{column} IS NOT NULL AND NOT EXISTS \
             (SELECT 1 FROM {} o WHERE o.{} = r.{column}) LIMIT {}",
            self.key.iter().map(|k| k.read("r.")).collect::<Vec<_>>().join(", "),
            quoted(&self.table),
            quoted(&self.other),
            quoted(&self.other_column),
            OFFENDERS_MAX + 1,
            column = quoted(&self.column),
        );
        let rows = session.rows("checking a foreign key", &sql, Vec::new()).await?;
        if rows.is_empty() {
            return Ok(());
        }
        let keys = rows.iter().take(OFFENDERS_MAX).map(|row| tables.tree.key_from_cells(tables, row));
        let keys: Vec<String> = keys.map(|key| key.map(|key| Key::to_text(&key))).collect::<StoreResult<_>>()?;
        let more = if rows.len() > OFFENDERS_MAX { " and more" } else { "" };
        Err(StoreError::new(
            StoreErrorKind::Refused { field: Some(self.column.clone()) },
            format!(
                "table {:?}: column {:?} refers to rows that are not in {:?}; keys of such records: {}{more}",
                self.table,
                self.column,
                self.other,
                keys.join(", ")
            ),
        )
        .with_hint("move the other table first, or mend these records; then complete again"))
    }

    /// The name of the foreign key that says this; `None`: there is none.
    async fn there(&self, session: &mut Session) -> StoreResult<Option<String>> {
        let is_this = |key: &ForeignKey| {
            key.columns == [self.column.as_str()]
                && key.table == self.other
                && key.references == [self.other_column.as_str()]
        };
        let found = all(session).await?.into_iter().find(|(table, key)| *table == self.table && is_this(key));
        Ok(found.map(|(_, key)| key.name))
    }

    async fn add(&self, session: &mut Session, tables: &Tables) -> StoreResult<Option<String>> {
        if self.there(session).await?.is_some() {
            return Ok(None);
        }
        let alter = format!("ALTER TABLE {}", quoted(&self.table));
        let sql = format!(
            "{alter} ADD FOREIGN KEY ({}) REFERENCES {} ({})",
            quoted(&self.column),
            quoted(&self.other),
            quoted(&self.other_column)
        );
        unchecked(session, "adding a foreign key", &format!("{sql}, ALGORITHM=INPLACE")).await?;
        let checked = self.check(session, tables).await;
        if checked.is_err()
            && let Some(name) = self.there(session).await?
        {
            unchecked(session, "dropping a foreign key", &format!("{alter} DROP FOREIGN KEY {}", quoted(&name)))
                .await?;
        }
        checked.map(|()| Some(sql))
    }
}

async fn unchecked(session: &mut Session, doing: &str, sql: &str) -> StoreResult<()> {
    session.script(doing, "SET foreign_key_checks = 0").await?;
    let done = session.script(doing, sql).await;
    session.script(doing, "SET foreign_key_checks = 1").await?;
    done.map(|_| ()).map_err(StoreError::from)
}

async fn column_of(session: &mut Session, server: &Server, table: &str, column: &str) -> StoreResult<(String, Column)> {
    let missing = |what: String| {
        StoreError::new(StoreErrorKind::NotFound, format!("MySQL: {what}")).with_hint("move the other table first")
    };
    let Some(name) = facts::spelled(session, server, table).await? else {
        return Err(missing(format!("there is no table {table:?}, to which a foreign key refers")));
    };
    let columns = facts::columns(session, server, Some(&name)).await?;
    let found = columns.into_iter().map(|(_, c)| c).find(|c| c.name.to_lowercase() == column.to_lowercase());
    let found = found.ok_or_else(|| missing(format!("table {name:?} has no column {column:?}")))?;
    Ok((name, found))
}

/// Whether the server lets one column refer to the other: the same type, and of
/// texts the same collation, but for their lengths.
fn is_comparable(column: &Column, other: &Column) -> bool {
    let has_length = column.charset.is_some() || matches!(column.kind, super::native::Kind::Bytes(_));
    column.type_name == other.type_name
        && column.collation == other.collation
        && (has_length || column.declared == other.declared)
}
