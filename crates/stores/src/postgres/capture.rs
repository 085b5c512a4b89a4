//! The sidecar: installing and removing it, the fence, the marks.

use std::time::Duration;

use async_trait::async_trait;
use shearwater_core::error::{StoreError, StoreErrorKind, StoreResult};
use shearwater_core::store::{Capture, DirtyMark, Fence, Role};
use shearwater_core::{Key, Stamp};

use super::Postgres;
use super::cell::Cell;
use super::error::{Failure, no_sidecar};
use super::facts::check_key;
use super::names::{SIDECAR_SCHEMA, literal, mark_key_columns, quoted};
use super::record::{cells_of, stamp_of, stored_number};
use super::session::{Session, get};
use super::tables::Tables;
use super::triggers::{self, ANNOUNCEMENT, LOCK_CLASS};
use crate::relational::page::Finds;

/// The format of the sidecar's tables; another one is refused.
const SIDECAR_FORMAT: i32 = 1;

/// The number under which installing and removing sidecars take turns.
const LOCK_OF_ALL: i32 = 0;

/// Waiting for the writers that are under way, ms, one try after the other:
/// while a try waits, new writers wait behind it, so the first ones are short.
const DRAIN_TRIES_MS: [u32; 6] = [50, 100, 200, 500, 1_000, 2_000];

/// Between two such tries, ms: writers that waited get through.
const DRAIN_PAUSE_MS: u64 = 20;

/// How transactions of ours that write begin.
pub(super) const BEGIN: &str = "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE";

/// Tables that all sidecars of a database share.
const SHARED: [(&str, &str); 3] = [
    (
        "state",
        "id int4 GENERATED ALWAYS AS IDENTITY UNIQUE, tbl text COLLATE \"C\" PRIMARY KEY, format int4 NOT NULL, \
         role text NOT NULL, epoch int8 NOT NULL, token text NOT NULL",
    ),
    (
        "idempotency",
        "tbl text COLLATE \"C\" NOT NULL, key bytea NOT NULL, request_hash text NOT NULL, answer bytea NOT NULL, \
         epoch int8, counter int8, at_ms int8 NOT NULL, PRIMARY KEY (tbl, key)",
    ),
    (
        "checkpoints",
        "tbl text COLLATE \"C\" NOT NULL, run bytea NOT NULL, range int8 NOT NULL, body bytea NOT NULL, \
         PRIMARY KEY (tbl, run, range)",
    ),
];

/// The role as the state table and the triggers spell it.
fn role_word(role: Role) -> &'static str {
    match role {
        Role::Authority => "authority",
        Role::Follower => "follower",
        Role::Closed => "closed",
    }
}

fn role_of(word: &str) -> StoreResult<Role> {
    match word {
        "authority" => Ok(Role::Authority),
        "follower" => Ok(Role::Follower),
        "closed" => Ok(Role::Closed),
        other => Err(StoreError::new(StoreErrorKind::Sidecar, format!("the sidecar holds an unknown role {other:?}"))),
    }
}

/// A failure that means: no sidecar.
pub(super) fn absent(tables: &Tables, failure: Failure) -> Failure {
    match failure.is_absent_table() {
        true => failure.told_as(no_sidecar(tables.name())),
        false => failure,
    }
}

/// The two statements that admit a transaction of ours: the first takes the
/// fence's lock in shared mode, the second, on a newer snapshot, reads the
/// fence and says the token.
pub(super) fn admission() -> [String; 2] {
    [
        format!("SELECT pg_advisory_xact_lock_shared({LOCK_CLASS}, id) FROM {SIDECAR_SCHEMA}.state WHERE tbl = $1"),
        format!(
            "SELECT role, epoch, format, set_config({}, token, true) FROM {SIDECAR_SCHEMA}.state WHERE tbl = $1",
            literal(ANNOUNCEMENT)
        ),
    ]
}

/// The fence in the answer of the second statement of [`admission`].
pub(super) fn admitted(tables: &Tables, row: Option<&tokio_postgres::Row>) -> StoreResult<Fence> {
    let row = row.ok_or_else(|| no_sidecar(tables.name()))?;
    check_format(tables, get(row, 2)?)?;
    Ok(Fence { role: role_of(get(row, 0)?)?, epoch: get::<i64>(row, 1)?.unsigned_abs() })
}

fn check_format(tables: &Tables, format: i32) -> StoreResult<()> {
    if format == SIDECAR_FORMAT {
        return Ok(());
    }
    Err(StoreError::new(
        StoreErrorKind::Sidecar,
        format!("table {:?}: its sidecar has format {format}, this program knows {SIDECAR_FORMAT}", tables.name()),
    )
    .with_hint("use the version of this program that began the migration"))
}

async fn read_fence(session: &Session, tables: &Tables) -> Result<Option<Fence>, Failure> {
    let sql = format!("SELECT role, epoch, format FROM {SIDECAR_SCHEMA}.state WHERE tbl = $1");
    match session.rows(&sql, &[&tables.names.tbl]).await {
        Ok(rows) if rows.is_empty() => Ok(None),
        Ok(rows) => Ok(Some(admitted(tables, rows.first())?)),
        Err(failure) if failure.is_absent_table() => Ok(None),
        Err(failure) => Err(failure),
    }
}

/// Runs `work` in a transaction that may have to wait for other programs'
/// transactions: short tries, with pauses in which those that wait get through.
pub(super) async fn patiently<T, F>(session: &Session, work: impl Fn() -> F) -> StoreResult<T>
where
    F: Future<Output = Result<T, Failure>>,
{
    let mut last = None;
    for wait_ms in DRAIN_TRIES_MS {
        let result: Result<T, Failure> = session
            .transaction(BEGIN, async {
                session
                    .batch(&format!("SET LOCAL lock_timeout = {wait_ms}; SET LOCAL synchronous_commit = on"))
                    .await?;
                work().await
            })
            .await;
        match result {
            Ok(done) => return Ok(done),
            Err(failure) if failure.is_lock_timeout() || failure.is_race() => last = Some(failure.error),
            Err(failure) => return Err(failure.error),
        }
        tokio::time::sleep(Duration::from_millis(DRAIN_PAUSE_MS)).await;
    }
    Err(last.unwrap_or_else(|| super::session::unexpected("nothing was tried")))
}

async fn lock_all(session: &Session) -> Result<(), Failure> {
    session.batch(&format!("SELECT pg_advisory_xact_lock({LOCK_CLASS}, {LOCK_OF_ALL})")).await
}

async fn install(session: &Session, tables: &Tables, fence: Fence, finds: Finds) -> Result<(), Failure> {
    lock_all(session).await?;
    if read_fence_here(session, tables).await?.is_some() {
        return Ok(());
    }
    check_key(session, &tables.schema, &tables.tree, &tables.facts).await?;
    session.batch(&format!("CREATE SCHEMA IF NOT EXISTS {SIDECAR_SCHEMA}")).await?;
    for (name, columns) in SHARED {
        session.batch(&format!("CREATE TABLE IF NOT EXISTS {SIDECAR_SCHEMA}.{name} ({columns})")).await?;
    }
    let keys = mark_key_columns(tables.facts.key.len());
    let pairs = keys.iter().zip(&tables.facts.key);
    let declared: String = pairs.map(|(k, column)| format!("{k} {} NOT NULL, ", column.native.mark_type())).collect();
    let keys = keys.join(", ");
    let names = &tables.names;
    session
        .batch(&format!(
            "CREATE TABLE {marks} ({declared}epoch int8 NOT NULL, counter int8 NOT NULL, dirty bool NOT NULL, \
             parked text, PRIMARY KEY ({keys})); \
             CREATE INDEX {dirty} ON {marks} (epoch, counter) WHERE dirty; \
             CREATE TABLE {foreign} ({declared}PRIMARY KEY ({keys})); \
             CREATE SEQUENCE {counter} AS int8",
            marks = names.marks(),
            dirty = names.dirty_index(),
            foreign = names.foreign(),
            counter = names.counter(),
        ))
        .await?;
    if finds == Finds::Parked {
        let (index, marks) = (names.parked_index(), names.marks());
        session.batch(&format!("CREATE INDEX {index} ON {marks} ({keys}) WHERE parked IS NOT NULL")).await?;
    }
    let token = uuid::Uuid::new_v4().simple().to_string();
    let insert = format!(
        "INSERT INTO {SIDECAR_SCHEMA}.state (tbl, format, role, epoch, token) VALUES ($1, $2, $3, $4, $5) RETURNING id"
    );
    let epoch = stored_number(fence.epoch)?;
    let row = session.one(&insert, &[&names.tbl, &SIDECAR_FORMAT, &role_word(fence.role), &epoch, &token]).await?;
    for sql in triggers::create(tables, get(&row, 0)?, &token) {
        session.batch(&sql).await?;
    }
    Ok(())
}

/// As [`read_fence`], inside a transaction, which a table that is not there would end.
async fn read_fence_here(session: &Session, tables: &Tables) -> Result<Option<Fence>, Failure> {
    match state_exists(session).await? {
        true => read_fence(session, tables).await,
        false => Ok(None),
    }
}

async fn state_exists(session: &Session) -> Result<bool, Failure> {
    let sql = format!("SELECT to_regclass('{SIDECAR_SCHEMA}.state') IS NOT NULL");
    Ok(get(&session.one(&sql, &[]).await?, 0)?)
}

async fn remove(session: &Session, tables: &Tables) -> Result<(), Failure> {
    lock_all(session).await?;
    for sql in triggers::remove(tables) {
        session.batch(&sql).await?;
    }
    let names = &tables.names;
    session
        .batch(&format!(
            "DROP TABLE IF EXISTS {}, {}; DROP SEQUENCE IF EXISTS {}",
            names.marks(),
            names.foreign(),
            names.counter()
        ))
        .await?;
    if !state_exists(session).await? {
        return Ok(());
    }
    for (name, _) in SHARED {
        session.run(&format!("DELETE FROM {SIDECAR_SCHEMA}.{name} WHERE tbl = $1"), &[&names.tbl]).await?;
    }
    let others = session.one(&format!("SELECT count(*) FROM {SIDECAR_SCHEMA}.state"), &[]).await?;
    if get::<i64>(&others, 0)? == 0 {
        let shared: Vec<String> = SHARED.iter().map(|(name, _)| format!("{SIDECAR_SCHEMA}.{name}")).collect();
        session.batch(&format!("DROP TABLE {}; DROP SCHEMA {SIDECAR_SCHEMA}", shared.join(", "))).await?;
    }
    Ok(())
}

async fn set_fence(session: &Session, tables: &Tables, expect: Fence, new: Fence) -> Result<Fence, Failure> {
    let lock = format!("SELECT pg_advisory_xact_lock({LOCK_CLASS}, id) FROM {SIDECAR_SCHEMA}.state WHERE tbl = $1");
    let locked = session.rows(&lock, &[&tables.names.tbl]).await.map_err(|failure| absent(tables, failure))?;
    if locked.is_empty() {
        return Err(no_sidecar(tables.name()).into());
    }
    let update =
        format!("UPDATE {SIDECAR_SCHEMA}.state SET role = $2, epoch = $3 WHERE tbl = $1 AND role = $4 AND epoch = $5");
    let (old_epoch, new_epoch) = (stored_number(expect.epoch)?, stored_number(new.epoch)?);
    let (old_role, new_role) = (role_word(expect.role), role_word(new.role));
    session.run(&update, &[&tables.names.tbl, &new_role, &new_epoch, &old_role, &old_epoch]).await?;
    if new.role == Role::Authority {
        super::numbering::go_on(session, tables).await?;
    }
    let now = read_fence(session, tables).await?;
    Ok(now.ok_or_else(|| no_sidecar(tables.name()))?)
}

async fn names_there(session: &Session, tables: &Tables) -> Result<Vec<String>, Failure> {
    let mut names = tables.names.own(tables.tree.children.len() + 1);
    let others = match state_exists(session).await? {
        true => {
            let sql = format!("SELECT count(*) FROM {SIDECAR_SCHEMA}.state WHERE tbl <> $1");
            get::<i64>(&session.one(&sql, &[&tables.names.tbl]).await?, 0)? > 0
        }
        false => false,
    };
    if !others {
        names.extend(SHARED.iter().map(|(name, _)| (*name).to_owned()));
    }
    let mut user_tables = vec![tables.tree.layout.table().to_owned()];
    user_tables.extend(tables.tree.children.iter().map(|child| child.shape.table.clone()));
    let sql = "SELECT relname::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
               WHERE n.nspname = $1 AND relname = ANY($2) \
               UNION ALL SELECT proname::text FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace \
               WHERE n.nspname = $1 AND proname = ANY($2) \
               UNION ALL SELECT tgname || ' on ' || c.relname FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid \
               JOIN pg_namespace n ON n.oid = c.relnamespace \
               WHERE NOT tgisinternal AND n.nspname = $3 AND c.relname = ANY($4) AND starts_with(tgname, '_shearwater_') \
               ORDER BY 1";
    let rows = session.rows(sql, &[&SIDECAR_SCHEMA, &names, &tables.schema, &user_tables]).await?;
    Ok(rows.iter().map(|row| get(row, 0)).collect::<StoreResult<_>>()?)
}

impl Postgres {
    /// Runs a statement of the sidecar; its absence is told as such.
    async fn sidecar_rows(
        &self,
        tables: &Tables,
        sql: &str,
        bound: &[&(dyn tokio_postgres::types::ToSql + Sync)],
    ) -> StoreResult<Vec<tokio_postgres::Row>> {
        let session = self.pool.lease().await?;
        Ok(session.rows(sql, bound).await.map_err(|failure| absent(tables, failure))?)
    }
}

impl Postgres {
    async fn install_finding(&self, fence: Fence, finds: Finds) -> StoreResult<()> {
        self.forget();
        let session = self.pool.lease().await?;
        let tables = self.tables_with(&session).await?;
        patiently(&session, || install(&session, &tables, fence, finds)).await
    }
}

#[async_trait]
impl Capture for Postgres {
    async fn provision(&self) -> StoreResult<Vec<String>> {
        let session = self.pool.lease().await?;
        let ran =
            session.transaction(BEGIN, super::provision::provision(&session, &self.tree, self.pool.schema())).await?;
        self.forget();
        let tables = self.tables_with(&session).await?;
        check_key(&session, &tables.schema, &tables.tree, &tables.facts).await?;
        Ok(ran)
    }

    async fn constrain(&self) -> StoreResult<Vec<String>> {
        let session = self.pool.lease().await?;
        let tables = self.tables_with(&session).await?;
        super::foreign_keys::constrain(&session, &tables).await
    }

    async fn install(&self, fence: Fence) -> StoreResult<()> {
        self.install_finding(fence, Finds::Keys).await
    }

    async fn install_for_parked(&self, fence: Fence) -> StoreResult<()> {
        self.install_finding(fence, Finds::Parked).await
    }

    async fn remove(&self) -> StoreResult<()> {
        let session = self.pool.lease().await?;
        let tables = self.tables_with(&session).await?;
        patiently(&session, || remove(&session, &tables)).await
    }

    async fn fence(&self) -> StoreResult<Option<Fence>> {
        let session = self.pool.lease().await?;
        let tables = self.tables_with(&session).await?;
        Ok(read_fence(&session, &tables).await?)
    }

    async fn set_fence(&self, expect: Fence, new: Fence) -> StoreResult<Fence> {
        let session = self.pool.lease().await?;
        let tables = self.tables_with(&session).await?;
        patiently(&session, || set_fence(&session, &tables, expect, new)).await
    }

    async fn dirty(&self, after: Option<Stamp>, marks_max: usize) -> StoreResult<Vec<DirtyMark>> {
        let tables = self.tables().await?;
        let after = after.unwrap_or(Stamp::ZERO);
        let sql = format!(
            "SELECT {}, m.epoch, m.counter FROM {} m WHERE m.dirty AND (m.epoch, m.counter) > ($1, $2) \
             ORDER BY m.epoch, m.counter LIMIT $3",
            tables.mark_keys(),
            tables.names.marks(),
        );
        let limit = i64::try_from(marks_max).unwrap_or(i64::MAX);
        let (epoch, counter) = (stored_number(after.epoch)?, stored_number(after.counter)?);
        let rows = self.sidecar_rows(&tables, &sql, &[&epoch, &counter, &limit]).await?;
        let parts = tables.facts.key.len();
        rows.iter()
            .map(|row| {
                let key = tables.key_from_cells(&cells_of(row, 0, parts)?)?;
                Ok(DirtyMark { key, stamp: stamp_of(get(row, parts)?, get(row, parts + 1)?) })
            })
            .collect()
    }

    async fn dirty_count(&self) -> StoreResult<u64> {
        let tables = self.tables().await?;
        let sql = format!("SELECT count(*) FROM {} m WHERE m.dirty", tables.names.marks());
        let rows = self.sidecar_rows(&tables, &sql, &[]).await?;
        rows.first().map_or(Ok(0), |row| get::<i64>(row, 0).map(i64::unsigned_abs))
    }

    async fn clear(&self, marks: Vec<DirtyMark>) -> StoreResult<u64> {
        let tables = self.tables().await?;
        let mut keys = Vec::new();
        let (mut epochs, mut counters) = (Vec::new(), Vec::new());
        for mark in &marks {
            keys.push(tables.key_to_cells(&mark.key)?);
            epochs.push(stored_number(mark.stamp.epoch)?);
            counters.push(stored_number(mark.stamp.counter)?);
        }
        let on = matching_marks(&tables);
        let next = tables.facts.key.len() + 1;
        // A mark that is locked is being written again, so clearing it would be void.
        let columns = mark_key_columns(tables.facts.key.len()).join(", ");
        let sql = format!(
            "UPDATE {marks} SET dirty = false WHERE ctid IN (SELECT m.ctid FROM {marks} m JOIN unnest({arrays}, \
             ${next}::int8[], ${}::int8[]) q({columns}, epoch, counter) ON {on} AND m.epoch = q.epoch \
             AND m.counter = q.counter WHERE m.dirty FOR UPDATE OF m SKIP LOCKED)",
            next + 1,
            marks = tables.names.marks(),
            arrays = arrays_of_keys(&tables),
        );
        let arrays = tables.key_arrays(&keys.iter().map(Vec::as_slice).collect::<Vec<&[Cell]>>());
        let mut bound: Vec<&(dyn tokio_postgres::types::ToSql + Sync)> = Vec::new();
        for array in &arrays {
            bound.push(array);
        }
        bound.push(&epochs);
        bound.push(&counters);
        let session = self.pool.lease().await?;
        Ok(session.run(&sql, &bound).await.map_err(|failure| absent(&tables, failure))?)
    }

    async fn foreign(&self, keys_max: usize) -> StoreResult<Vec<Key>> {
        let tables = self.tables().await?;
        let keys = mark_key_columns(tables.facts.key.len()).join(", ");
        let sql = format!("SELECT {} FROM {} m ORDER BY {keys} LIMIT $1", tables.mark_keys(), tables.names.foreign());
        let limit = i64::try_from(keys_max).unwrap_or(i64::MAX);
        let rows = self.sidecar_rows(&tables, &sql, &[&limit]).await?;
        let parts = tables.facts.key.len();
        rows.iter().map(|row| tables.key_from_cells(&cells_of(row, 0, parts)?)).collect()
    }

    async fn clear_foreign(&self, keys: Vec<Key>) -> StoreResult<u64> {
        let tables = self.tables().await?;
        let cells = keys.iter().map(|key| tables.key_to_cells(key)).collect::<StoreResult<Vec<_>>>()?;
        let sql = format!(
            "DELETE FROM {} m USING unnest({}) q({}) WHERE {}",
            tables.names.foreign(),
            arrays_of_keys(&tables),
            mark_key_columns(tables.facts.key.len()).join(", "),
            matching_marks(&tables),
        );
        let arrays = tables.key_arrays(&cells.iter().map(Vec::as_slice).collect::<Vec<&[Cell]>>());
        let bound: Vec<&(dyn tokio_postgres::types::ToSql + Sync)> = arrays.iter().map(|array| array as _).collect();
        let session = self.pool.lease().await?;
        Ok(session.run(&sql, &bound).await.map_err(|failure| absent(&tables, failure))?)
    }

    async fn sidecar_names(&self) -> StoreResult<Vec<String>> {
        let session = self.pool.lease().await?;
        let tables = self.tables_with(&session).await?;
        Ok(names_there(&session, &tables).await?)
    }
}

/// `$1::type[], …`: the arrays of [`Tables::key_arrays`].
fn arrays_of_keys(tables: &Tables) -> String {
    let arrays: Vec<String> = (tables.facts.key.iter().enumerate())
        .map(|(at, column)| format!("${}::{}[]", at + 1, column.native.wire.sql()))
        .collect();
    arrays.join(", ")
}

/// The marks `m` of the given keys `q`.
fn matching_marks(tables: &Tables) -> String {
    let parts: Vec<String> = (tables.facts.key.iter().enumerate())
        .map(|(at, column)| {
            format!(
                "m.{} = {}",
                quoted(&format!("k{at}")),
                column.native.to_mark(&column.native.bind(&format!("q.k{at}")))
            )
        })
        .collect();
    parts.join(" AND ")
}
