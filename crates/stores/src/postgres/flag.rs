//! A flag of ours in the user's table: a column with a constant default, which
//! rewrites nothing, under a short lock; an index built beside the writers.
//! The column's comment says that it is ours.

use async_trait::async_trait;
use shearwater_core::Key;
use shearwater_core::error::{StoreError, StoreErrorKind, StoreResult};
use shearwater_core::shape::Layout;
use shearwater_core::store::{Flagged, Flags, must_be_own};

use super::Postgres;
use super::capture::patiently;
use super::error::Failure;
use super::names::{RESERVED_PREFIX, literal, qualified, quoted};
use super::session::{Session, WAITS, get};

/// What says that a column is ours.
const COMMENT: &str = "added by shearwater; removed when the migration is over";

/// The longest name of an index: the server keeps 63 bytes.
const INDEX_NAME_BYTES_MAX: usize = 63;

struct Flag<'a> {
    session: &'a Session,
    schema: &'a str,
    table: &'a str,
    flag: &'a str,
    key: &'a [String],
}

/// Whether the column is there, and whose it is.
#[derive(PartialEq, Eq)]
enum Column {
    Absent,
    Ours,
    Foreign,
}

impl Flag<'_> {
    fn qualified(&self) -> String {
        qualified(self.schema, self.table)
    }

    fn index(&self) -> String {
        let name = format!("{RESERVED_PREFIX}{}_flag", self.table);
        match name.len() <= INDEX_NAME_BYTES_MAX {
            true => name,
            false => format!("{RESERVED_PREFIX}{:016x}_flag", Key::single(self.table).hash()),
        }
    }

    async fn column(&self) -> Result<Column, Failure> {
        let sql = "SELECT coalesce(col_description(attrelid, attnum), '') FROM pg_attribute \
                   WHERE attrelid = to_regclass($1) AND attname = $2 AND NOT attisdropped";
        let rows = self.session.rows(sql, &[&self.qualified(), &self.flag]).await?;
        Ok(match rows.first() {
            None => Column::Absent,
            Some(row) if get::<String>(row, 0)? == COMMENT => Column::Ours,
            Some(_) => Column::Foreign,
        })
    }

    /// Whether the index is there and whole: one whose building was cut is not used, and is in the way.
    async fn index_is_valid(&self) -> Result<Option<bool>, Failure> {
        let sql = "SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass($1)";
        let name = qualified(self.schema, &self.index());
        let rows = self.session.rows(sql, &[&name]).await?;
        Ok(rows.first().map(|row| get(row, 0)).transpose()?)
    }

    async fn add(&self) -> StoreResult<Vec<String>> {
        let mut ran = Vec::new();
        let (table, flag) = (self.qualified(), quoted(self.flag));
        match self.column().await? {
            Column::Ours => {}
            Column::Foreign => {
                let what = format!("table {:?} has a column {:?} already, which is not ours", self.table, self.flag);
                return Err(StoreError::new(StoreErrorKind::Unsupported, what)
                    .with_hint("name the flag otherwise in the spec: [source] flag = \"moved_to_us\""));
            }
            Column::Absent => {
                let add = format!("ALTER TABLE {table} ADD COLUMN {flag} boolean NOT NULL DEFAULT false");
                let ours = format!("{add}; COMMENT ON COLUMN {table}.{flag} IS {}", literal(COMMENT));
                patiently(self.session, || self.session.batch(&ours)).await?;
                ran.push(add);
            }
        }
        let index = self.index();
        match self.index_is_valid().await? {
            Some(true) => return Ok(ran),
            Some(false) => {
                let drop = format!("DROP INDEX CONCURRENTLY {}", qualified(self.schema, &index));
                self.concurrently(&drop).await?;
                ran.push(drop);
            }
            None => {}
        }
        let key: Vec<String> = self.key.iter().map(|name| quoted(name)).collect();
        let build = format!("CREATE INDEX CONCURRENTLY {} ON {table} ({flag}, {})", quoted(&index), key.join(", "));
        self.concurrently(&build).await?;
        ran.push(build);
        Ok(ran)
    }

    async fn remove(&self) -> StoreResult<Vec<String>> {
        let mut ran = Vec::new();
        if self.column().await? != Column::Ours {
            return Ok(ran);
        }
        if self.index_is_valid().await?.is_some() {
            let drop = format!("DROP INDEX CONCURRENTLY {}", qualified(self.schema, &self.index()));
            self.concurrently(&drop).await?;
            ran.push(drop);
        }
        let drop = format!("ALTER TABLE {} DROP COLUMN {}", self.qualified(), quoted(self.flag));
        patiently(self.session, || self.session.batch(&drop)).await?;
        ran.push(drop);
        Ok(ran)
    }

    /// A statement that waits for writers without making anybody wait, so it
    /// has no bound on its time; no transaction may be around it.
    async fn concurrently(&self, sql: &str) -> Result<(), Failure> {
        self.session.batch("SET statement_timeout = 0").await?;
        self.session.batch("SET lock_timeout = 0").await?;
        let done = self.session.batch(sql).await;
        self.session.batch(WAITS).await?;
        done
    }
}

impl Postgres {
    /// Its flags, where the layout has columns.
    pub(super) fn own_flags(&self) -> Option<&dyn Flags> {
        match &self.tree.layout {
            Layout::Rows(_) => Some(self),
            Layout::Document(_) => None,
        }
    }
}

#[async_trait]
impl Flags for Postgres {
    async fn count_flagged(&self, flag: &str, flagged: Flagged) -> StoreResult<u64> {
        let session = self.pool.lease().await?;
        let table = qualified(self.pool.schema(), self.tree.layout.table());
        let sql = format!("SELECT count(*) FROM {table} WHERE {} = $1", quoted(flag));
        let row = session.one(&sql, &[&(flagged == Flagged::Yes)]).await?;
        Ok(get::<i64>(&row, 0)?.unsigned_abs())
    }

    async fn drop_own_table(&self) -> StoreResult<()> {
        let table = self.tree.layout.table();
        must_be_own(table)?;
        let session = self.pool.lease().await?;
        Ok(session.batch(&format!("DROP TABLE IF EXISTS {}", qualified(self.pool.schema(), table))).await?)
    }

    async fn add_flag(&self, flag: &str) -> StoreResult<Vec<String>> {
        let session = self.pool.lease().await?;
        let (table, key) = (self.tree.layout.table(), self.tree.key.as_slice());
        Flag { session: &session, schema: self.pool.schema(), table, flag, key }.add().await
    }

    async fn remove_flag(&self, flag: &str) -> StoreResult<Vec<String>> {
        let session = self.pool.lease().await?;
        let (table, key) = (self.tree.layout.table(), self.tree.key.as_slice());
        Flag { session: &session, schema: self.pool.schema(), table, flag, key }.remove().await
    }
}
