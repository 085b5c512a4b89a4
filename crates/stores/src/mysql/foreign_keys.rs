//! Foreign keys at the end of a migration.
//!
//! Adding one with its check would copy the table while nobody writes it. So
//! it is added unchecked, which takes no time and holds for every write from
//! then on, and the rows that were there are looked at before and afterwards.

use shearwater_core::Key;
use shearwater_core::error::{StoreError, StoreErrorKind, StoreResult};
use shearwater_core::shape::References;
use shearwater_core::store::ForeignKey;

use super::facts::{self, Server};
use super::names::{list, quoted};
use super::native::Column;
use super::session::{Session, text_of};
use super::tables::Tables;
use crate::relational::reference::{breaks, refused};

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
    for (table, asked) in tables.tree.layout.references() {
        wanted.push(Wanted::look(session, tables, table, asked).await?);
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
    asked: References,
}

impl Wanted {
    async fn look(session: &mut Session, tables: &Tables, table: &str, asked: References) -> StoreResult<Wanted> {
        let server = &tables.server;
        let child = tables.children.iter().find(|child| child.child.shape.table == table);
        let key = child.map_or(&tables.key, |child| &child.record_key).clone();
        let (table, columns) = columns_of(session, server, table, &asked.columns).await?;
        let (other, others) = columns_of(session, server, &asked.table, &asked.others).await?;
        let names = |columns: &[Column]| columns.iter().map(|column| column.name.clone()).collect::<Vec<_>>();
        let asked = References { columns: names(&columns), table: other, others: names(&others) };
        let unique = facts::unique_indexes(session, Some(&asked.table)).await?;
        let is_these =
            |index: &[String]| index.len() == asked.others.len() && asked.others.iter().all(|o| index.contains(o));
        if !unique.iter().any(|index| is_these(&index.columns)) {
            let what = format!("table {:?}: {:?} is not unique, so nothing can refer to it", asked.table, asked.others);
            return Err(
                StoreError::new(StoreErrorKind::Unsupported, what).with_hint("make it unique, or refer to the key")
            );
        }
        if let Some((column, other)) = columns.iter().zip(&others).find(|(column, other)| !is_comparable(column, other))
        {
            let what = format!(
                "table {table:?}: column {:?} is {} and refers to a column that is {}: the types must be equal",
                column.name, column.declared, other.declared
            );
            return Err(StoreError::new(StoreErrorKind::Unsupported, what).with_hint("give both fields the same type"));
        }
        Ok(Wanted { table, key, asked })
    }

    /// Refuses rows that refer to rows that are not there.
    async fn check(&self, session: &mut Session, tables: &Tables) -> StoreResult<()> {
        let sql = format!(
            "SELECT {} FROM {} r WHERE {} LIMIT {}",
            self.key.iter().map(|k| k.read("r.")).collect::<Vec<_>>().join(", "),
            quoted(&self.table),
            breaks(&self.asked, &quoted(&self.asked.table), quoted),
            OFFENDERS_MAX + 1,
        );
        let rows = session.rows("checking a foreign key", &sql, Vec::new()).await?;
        if rows.is_empty() {
            return Ok(());
        }
        let keys = rows.iter().take(OFFENDERS_MAX).map(|row| tables.tree.key_from_cells(tables, row));
        let keys: Vec<String> = keys.map(|key| key.map(|key| Key::to_text(&key))).collect::<StoreResult<_>>()?;
        let more = if rows.len() > OFFENDERS_MAX { " and more" } else { "" };
        let which = format!("; keys of such records: {}{more}", keys.join(", "));
        Err(refused(&self.table, &self.asked, &which))
    }

    /// The name of the foreign key that says this; `None`: there is none.
    async fn there(&self, session: &mut Session) -> StoreResult<Option<String>> {
        let is_this = |key: &ForeignKey| {
            key.columns == self.asked.columns && key.table == self.asked.table && key.references == self.asked.others
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
            list(&self.asked.columns),
            quoted(&self.asked.table),
            list(&self.asked.others)
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

async fn columns_of(
    session: &mut Session,
    server: &Server,
    table: &str,
    names: &[String],
) -> StoreResult<(String, Vec<Column>)> {
    let missing = |what: String| {
        StoreError::new(StoreErrorKind::NotFound, format!("MySQL: {what}")).with_hint("move the other table first")
    };
    let Some(name) = facts::spelled(session, server, table).await? else {
        return Err(missing(format!("there is no table {table:?}, to which a foreign key refers")));
    };
    let columns: Vec<Column> =
        facts::columns(session, server, Some(&name)).await?.into_iter().map(|(_, c)| c).collect();
    let find = |column: &String| {
        let found = columns.iter().find(|c| c.name.to_lowercase() == column.to_lowercase());
        found.cloned().ok_or_else(|| missing(format!("table {name:?} has no column {column:?}")))
    };
    let found = names.iter().map(find).collect::<StoreResult<Vec<_>>>()?;
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
