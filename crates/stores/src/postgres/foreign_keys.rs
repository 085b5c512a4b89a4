//! Foreign keys at the end of a migration: first every row is looked at, then
//! they are added, with short locks.

use shearwater_core::Key;
use shearwater_core::error::{StoreError, StoreErrorKind, StoreResult};
use shearwater_core::shape::References;

use super::capture::patiently;
use super::error::Failure;
use super::names::{list, qualified, quoted};
use super::record::cells_of;
use super::session::{Session, get};
use super::tables::Tables;
use crate::relational::record_key_columns;
use crate::relational::reference::{breaks, refused as refused_reference};

/// Keys told of rows that break a foreign key: enough to see what they have in common.
const OFFENDERS_MAX: usize = 5;

/// Columns that refer to others, and where they stand.
struct Wanted<'a> {
    table: &'a str,
    asked: References,
}

/// Makes the layout's foreign keys hold; the statements that ran.
pub(super) async fn constrain(session: &Session, tables: &Tables) -> StoreResult<Vec<String>> {
    let references = tables.tree.layout.references();
    let wanted: Vec<Wanted<'_>> = references.into_iter().map(|(table, asked)| Wanted { table, asked }).collect();
    // All of them before the first one is added: the target stays as it was.
    for one in &wanted {
        one.check(session, tables).await?;
    }
    let mut ran = Vec::new();
    for one in &wanted {
        if one.there(session, tables).await?.is_none() {
            let add = one.add(tables);
            patiently(session, || session.batch(&add)).await?;
            ran.push(add);
        }
        if let Some(There { name, holds: Holds::ForNewRows }) = one.there(session, tables).await? {
            let table = qualified(&tables.schema, one.table);
            let validate = format!("ALTER TABLE {table} VALIDATE CONSTRAINT {}", quoted(&name));
            // It reads every row: no bound on its time but the caller's.
            let unbounded = format!("SET LOCAL statement_timeout = 0; {validate}");
            patiently(session, || session.batch(&unbounded)).await.map_err(|error| one.named(error))?;
            ran.push(validate);
        }
    }
    Ok(ran)
}

/// A foreign key that the server has.
struct There {
    name: String,
    holds: Holds,
}

/// For which rows it is known to hold.
#[derive(PartialEq, Eq)]
enum Holds {
    ForAllRows,
    ForNewRows,
}

impl Wanted<'_> {
    async fn check(&self, session: &Session, tables: &Tables) -> Result<(), Failure> {
        let key = match self.table == tables.name() {
            true => tables.tree.key.clone(),
            false => record_key_columns(&tables.tree.key),
        };
        let key: Vec<String> = (key.iter().zip(&tables.facts.key))
            .map(|(name, column)| column.native.read(&format!("r.{}", quoted(name))))
            .collect();
        let sql = format!(
            "SELECT {} FROM {} r WHERE {} LIMIT {}",
            key.join(", "),
            qualified(&tables.schema, self.table),
            breaks(&self.asked, &qualified(&tables.schema, &self.asked.table), quoted),
            OFFENDERS_MAX + 1,
        );
        let rows = session.rows(&sql, &[]).await?;
        let offenders = rows.iter().map(|row| tables.key_from_cells(&cells_of(row, 0, key.len())?));
        let offenders = offenders.collect::<StoreResult<Vec<Key>>>()?;
        if offenders.is_empty() {
            return Ok(());
        }
        let told: Vec<String> = offenders.iter().take(OFFENDERS_MAX).map(Key::to_text).collect();
        let more = if offenders.len() > OFFENDERS_MAX { " and more" } else { "" };
        Err(self.refused(&format!("; keys of such records: {}{more}", told.join(", "))).into())
    }

    fn refused(&self, which: &str) -> StoreError {
        refused_reference(self.table, &self.asked, which)
    }

    /// A row that came after the look at all of them.
    fn named(&self, error: StoreError) -> StoreError {
        match error.kind {
            StoreErrorKind::Refused { .. } => self.refused(""),
            _ => error,
        }
    }

    fn add(&self, tables: &Tables) -> String {
        format!(
            "ALTER TABLE {} ADD FOREIGN KEY ({}) REFERENCES {} ({}) NOT VALID",
            qualified(&tables.schema, self.table),
            list(&self.asked.columns),
            qualified(&tables.schema, &self.asked.table),
            list(&self.asked.others),
        )
    }

    async fn there(&self, session: &Session, tables: &Tables) -> Result<Option<There>, Failure> {
        let names = "ARRAY(SELECT a.attname::text FROM unnest(c.conkey) WITH ORDINALITY k(num, n) \
                     JOIN pg_attribute a ON a.attrelid = c.conrelid AND a.attnum = k.num ORDER BY k.n)";
        let others = names.replace("conkey", "confkey").replace("conrelid", "confrelid");
        let sql = format!(
            "SELECT c.conname::text, c.convalidated FROM pg_constraint c WHERE c.contype = 'f' \
             AND c.conrelid = to_regclass($1) AND c.confrelid = to_regclass($3) AND {names} = $2 AND {others} = $4 \
             ORDER BY c.convalidated DESC LIMIT 1"
        );
        let table = qualified(&tables.schema, self.table);
        let other = qualified(&tables.schema, &self.asked.table);
        let rows = session.rows(&sql, &[&table, &self.asked.columns, &other, &self.asked.others]).await?;
        let Some(row) = rows.first() else { return Ok(None) };
        let holds = if get(row, 1)? { Holds::ForAllRows } else { Holds::ForNewRows };
        Ok(Some(There { name: get(row, 0)?, holds }))
    }
}
