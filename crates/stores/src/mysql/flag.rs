//! A flag of ours in the user's table: a column that the server adds without
//! rewriting the table, hidden from `SELECT *` and from inserts that name no
//! columns, and an index built while others write. The column's comment says
//! that it is ours.

use async_trait::async_trait;
use shearwater_core::error::{StoreError, StoreErrorKind, StoreResult};
use shearwater_core::shape::Layout;
use shearwater_core::store::{Flagged, Flags, must_be_own};

use super::facts::{Server, spelled};
use super::names::{list, literal, own_name, quoted};
use super::session::{Session, bind, number_of, text_of};
use super::{Inner, MySql};
use crate::mysql::cell::Cell;

/// What says that a column is ours.
const COMMENT: &str = "added by shearwater; removed when the migration is over";

struct Flag<'a> {
    session: &'a mut Session,
    table: String,
    flag: &'a str,
    key: &'a [String],
}

impl Flag<'_> {
    /// The comment of the column, if it is there.
    async fn comment(&mut self) -> StoreResult<Option<String>> {
        let sql = "SELECT column_comment FROM information_schema.columns \
                   WHERE table_schema = DATABASE() AND table_name = ? AND column_name = ?";
        let cells = [Cell::text(&self.table), Cell::text(self.flag)];
        let rows = self.session.rows("looking for the flag", sql, bind(&cells)).await?;
        Ok(rows.first().and_then(|row| row.first()).map(|cell| text_of(cell).unwrap_or_default()))
    }

    async fn has_index(&mut self) -> StoreResult<bool> {
        let sql = "SELECT index_name FROM information_schema.statistics \
                   WHERE table_schema = DATABASE() AND table_name = ? AND index_name = ?";
        let cells = [Cell::text(&self.table), Cell::text(own_name(&self.table, "flag"))];
        Ok(!self.session.rows("looking for the flag's index", sql, bind(&cells)).await?.is_empty())
    }

    async fn run(&mut self, ran: &mut Vec<String>, sql: String) -> StoreResult<()> {
        self.session.script("changing the flag", &sql).await?;
        ran.push(sql);
        Ok(())
    }

    async fn add(&mut self) -> StoreResult<Vec<String>> {
        let mut ran = Vec::new();
        let (table, flag) = (quoted(&self.table), quoted(self.flag));
        match self.comment().await? {
            Some(comment) if comment == COMMENT => {}
            Some(_) => {
                let what = format!("table {:?} has a column {:?} already, which is not ours", self.table, self.flag);
                return Err(StoreError::new(StoreErrorKind::Unsupported, what)
                    .with_hint("name the flag otherwise in the spec: [source] flag = \"moved_to_us\""));
            }
            None => {
                let add = format!(
                    "ALTER TABLE {table} ADD COLUMN {flag} TINYINT(1) NOT NULL DEFAULT 0 INVISIBLE COMMENT {}, \
                     ALGORITHM=INSTANT",
                    literal(COMMENT)
                );
                self.run(&mut ran, add).await?;
            }
        }
        if !self.has_index().await? {
            let name = quoted(&own_name(&self.table, "flag"));
            let build = format!(
                "ALTER TABLE {table} ADD INDEX {name} ({flag}, {}), ALGORITHM=INPLACE, LOCK=NONE",
                list(self.key)
            );
            self.run(&mut ran, build).await?;
        }
        Ok(ran)
    }

    async fn remove(&mut self) -> StoreResult<Vec<String>> {
        let mut ran = Vec::new();
        if self.comment().await?.as_deref() != Some(COMMENT) {
            return Ok(ran);
        }
        let table = quoted(&self.table);
        if self.has_index().await? {
            let name = quoted(&own_name(&self.table, "flag"));
            self.run(&mut ran, format!("ALTER TABLE {table} DROP INDEX {name}, ALGORITHM=INPLACE, LOCK=NONE")).await?;
        }
        // Where the server cannot do it at once it rebuilds the table beside the writers.
        let drop = format!("ALTER TABLE {table} DROP COLUMN {}, LOCK=NONE", quoted(self.flag));
        self.run(&mut ran, drop).await?;
        Ok(ran)
    }
}

/// What is to be done with the flag.
#[derive(Clone, Copy)]
enum Wish {
    Add,
    Remove,
}

async fn change(inner: &Inner, flag: &str, wish: Wish) -> StoreResult<Vec<String>> {
    let Layout::Rows(shape) = &inner.layout else { return Ok(Vec::new()) };
    let mut session = inner.pool.session().await?;
    let server = Server::look(&mut session).await?;
    let table = spelled(&mut session, &server, &shape.table).await?.unwrap_or_else(|| shape.table.clone());
    let mut flag = Flag { session: &mut session, table, flag, key: &shape.key };
    let ran = match wish {
        Wish::Add => flag.add().await,
        Wish::Remove => flag.remove().await,
    };
    inner.forget();
    ran
}

impl MySql {
    /// Its flags, where the layout has columns.
    pub(super) fn own_flags(&self) -> Option<&dyn Flags> {
        match &self.0.layout {
            Layout::Rows(_) => Some(self),
            Layout::Document(_) => None,
        }
    }
}

#[async_trait]
impl Flags for MySql {
    async fn count_flagged(&self, flag: &str, flagged: Flagged) -> StoreResult<u64> {
        let mut session = self.0.pool.session().await?;
        let (table, flag) = (quoted(self.0.layout.table()), quoted(flag));
        let sql = format!("SELECT count(*) FROM {table} WHERE {flag} = {}", u8::from(flagged == Flagged::Yes));
        let rows = session.rows("counting flags", &sql, Vec::new()).await?;
        Ok(rows.first().and_then(|row| row.first()).and_then(number_of).unwrap_or_default())
    }

    async fn drop_own_table(&self) -> StoreResult<()> {
        let table = self.0.layout.table();
        must_be_own(table)?;
        let mut session = self.0.pool.session().await?;
        session.script("dropping our table", &format!("DROP TABLE IF EXISTS {}", quoted(table))).await?;
        Ok(())
    }

    async fn add_flag(&self, flag: &str) -> StoreResult<Vec<String>> {
        let (inner, flag) = (self.0.clone(), flag.to_owned());
        MySql::to_the_end(async move { change(&inner, &flag, Wish::Add).await }).await
    }

    async fn remove_flag(&self, flag: &str) -> StoreResult<Vec<String>> {
        let (inner, flag) = (self.0.clone(), flag.to_owned());
        MySql::to_the_end(async move { change(&inner, &flag, Wish::Remove).await }).await
    }
}
