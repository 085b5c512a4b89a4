//! Looking at a schema without changing it.

use async_trait::async_trait;
use shearwater_core::error::StoreResult;
use shearwater_core::shape::FieldType;
use shearwater_core::store::{Bounds, ForeignKey, Form, Inspect, InspectedColumn, InspectedTable, Inspection};

use super::Postgres;
use super::error::Failure;
use super::facts::{Column, columns_of};
use super::names::{literal, qualified, quoted};
use super::native::{Collation, Wire};
use super::scan::estimate_table;
use super::session::{Session, get};

/// What is there.
pub(super) async fn inspect(session: &Session, schema: &str) -> StoreResult<Inspection> {
    let row = session.one("SELECT current_setting('server_version')", &[]).await?;
    let product = format!("PostgreSQL {}", get::<String>(&row, 0)?);
    let mut inspection = Inspection {
        product,
        tables: Vec::new(),
        hazards: server_hazards(session).await?,
        text: Bounds { refuses_nul: true, ..Bounds::default() },
        ..Inspection::default()
    };
    let sql = "SELECT c.oid, c.relname::text, c.relkind::text FROM pg_class c \
               JOIN pg_namespace n ON n.oid = c.relnamespace \
               WHERE n.nspname = $1 AND c.relkind IN ('r', 'p', 'v', 'm', 'f') AND NOT c.relispartition ORDER BY 2";
    for row in session.rows(sql, &[&schema]).await? {
        let (oid, name, kind): (u32, String, String) = (get(&row, 0)?, get(&row, 1)?, get(&row, 2)?);
        let what = match kind.as_str() {
            "v" | "m" => Some("is a view: it has no rows of its own and cannot be moved"),
            "f" => Some("is a foreign table: its writes cannot be captured"),
            _ => None,
        };
        if let Some(what) = what {
            inspection.hazards.push(format!("{name:?} {what}"));
            continue;
        }
        if !may_read(session, oid).await? {
            inspection.hazards.push(format!("table {name:?}: the user in the URL may not read it"));
            continue;
        }
        let mut table = inspect_table(session, schema, oid, &name).await?;
        table.hazards = table_hazards(session, schema, oid, &kind, &table).await?;
        inspection.tables.push(table);
    }
    Ok(inspection)
}

async fn may_read(session: &Session, oid: u32) -> Result<bool, Failure> {
    Ok(get(&session.one("SELECT has_table_privilege($1::oid, 'SELECT')", &[&oid]).await?, 0)?)
}

async fn inspect_table(session: &Session, schema: &str, oid: u32, name: &str) -> Result<InspectedTable, Failure> {
    let columns = columns_of(session, schema, name).await?;
    let sql = "SELECT i.indisprimary, ARRAY(SELECT a.attname::text FROM unnest(i.indkey[0:i.indnkeyatts - 1]) \
               WITH ORDINALITY k(n, at) JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.n ORDER BY k.at) \
               FROM pg_index i WHERE i.indrelid = $1 AND i.indisunique AND i.indisvalid AND i.indpred IS NULL \
               AND i.indexprs IS NULL ORDER BY i.indexrelid";
    let (mut key, mut unique) = (Vec::new(), Vec::new());
    for row in session.rows(sql, &[&oid]).await? {
        match get::<bool>(&row, 0)? {
            true => key = get(&row, 1)?,
            false => unique.push(get(&row, 1)?),
        }
    }
    Ok(InspectedTable {
        name: name.to_owned(),
        form: Form::Columns,
        columns: (columns.iter()).map(|column| inspected(schema, name, column, &key)).collect(),
        key,
        unique,
        foreign_keys: foreign_keys(session, oid).await?,
        hazards: Vec::new(),
        estimate: estimate_table(session, oid, &qualified(schema, name)).await?,
    })
}

fn inspected(schema: &str, table: &str, column: &Column, key: &[String]) -> InspectedColumn {
    let native = &column.native;
    let ty = native.wire.field_type();
    InspectedColumn {
        name: column.name.clone(),
        declared: native.declared.clone(),
        nullable: column.nullable,
        default: column.default.clone(),
        generated: column.generated,
        identity: column.identity,
        // Of the first column of the key we do it ourselves.
        renumber: (column.identity && !(key.first() == Some(&column.name) && column.sequence.is_some()))
            .then(|| renumber(schema, table, &column.name)),
        ty: Some(match native.labels.is_empty() && !native.base.ends_with(".citext") {
            true => ty,
            false => FieldType::Text,
        }),
        bounds: bounds(column),
        collation: (native.collation != Collation::Bytes).then(|| column.collation.clone()).flatten(),
        folds: native.collation == Collation::Folding,
    }
}

/// Nothing happens where the column owns no sequence.
fn renumber(schema: &str, table: &str, column: &str) -> String {
    let (table, name) = (qualified(schema, table), quoted(column));
    format!(
        "SELECT setval(pg_get_serial_sequence({}, {}), coalesce(max({name}), 1), max({name}) IS NOT NULL) FROM {table}",
        literal(&table),
        literal(column),
    )
}

fn bounds(column: &Column) -> Bounds {
    let native = &column.native;
    let mut bounds = Bounds {
        chars_max: native.chars_max.map(|n| n as u64),
        digits: native.digits.map(|(precision, scale)| (precision.unsigned_abs(), scale)),
        ..Bounds::default()
    };
    match &native.wire {
        Wire::Int2 => bounds.integers = Some((i64::from(i16::MIN), i16::MAX as u64)),
        Wire::Int4 => bounds.integers = Some((i64::from(i32::MIN), i32::MAX as u64)),
        Wire::Int8 => bounds.integers = Some((i64::MIN, i64::MAX as u64)),
        Wire::Oid => bounds.integers = Some((0, u64::from(u32::MAX))),
        Wire::Time | Wire::Timestamp | Wire::Instant => bounds.fraction_digits = Some(native.fraction_digits as u8),
        Wire::Text | Wire::Blank | Wire::Server | Wire::Jsonb => bounds.refuses_nul = true,
        _ => {}
    }
    if !native.labels.is_empty() {
        bounds.labels = Some(native.labels.clone());
    }
    bounds
}

async fn foreign_keys(session: &Session, oid: u32) -> Result<Vec<ForeignKey>, Failure> {
    let names = "ARRAY(SELECT a.attname::text FROM unnest(%) WITH ORDINALITY k(n, at) \
                 JOIN pg_attribute a ON a.attrelid = @ AND a.attnum = k.n ORDER BY k.at)";
    let of = |columns: &str, table: &str| names.replace('%', columns).replace('@', table);
    let sql = format!(
        "SELECT c.conname::text, {}, f.relname::text, {}, \
         c.confdeltype IN ('c', 'n', 'd') OR c.confupdtype IN ('c', 'n', 'd') \
         FROM pg_constraint c JOIN pg_class f ON f.oid = c.confrelid WHERE c.conrelid = $1 AND c.contype = 'f' ORDER BY 1",
        of("c.conkey", "c.conrelid"),
        of("c.confkey", "c.confrelid"),
    );
    let rows = session.rows(&sql, &[&oid]).await?;
    let read = rows.iter().map(|row| {
        Ok(ForeignKey {
            name: get(row, 0)?,
            columns: get(row, 1)?,
            table: get(row, 2)?,
            references: get(row, 3)?,
            cascades: get(row, 4)?,
        })
    });
    Ok(read.collect::<StoreResult<_>>()?)
}

async fn server_hazards(session: &Session) -> Result<Vec<String>, Failure> {
    let sql = "SELECT pg_is_in_recovery(), current_setting('fsync') = 'on', \
               (SELECT reset_val FROM pg_settings WHERE name = 'synchronous_commit') = 'off', current_setting('default_transaction_read_only') = 'on', \
               has_database_privilege(current_database(), 'CREATE'), \
               (SELECT count(*) FROM pg_subscription_rel r JOIN pg_class c ON c.oid = r.srrelid), \
               EXISTS (SELECT 1 FROM pg_stat_replication r WHERE r.state IS NULL), \
               EXISTS (SELECT 1 FROM pg_db_role_setting s, unnest(s.setconfig) one \
                       WHERE one = 'synchronous_commit=off' AND s.setdatabase IN (0, \
                       (SELECT oid FROM pg_database WHERE datname = current_database())))";
    // What a subscription feeds may be seen by administrators only.
    let row = match session.one(sql, &[]).await {
        Ok(row) => row,
        Err(_) => {
            session
                .one(
                    &sql.replace("pg_subscription_rel r JOIN pg_class c ON c.oid = r.srrelid", "pg_class WHERE false"),
                    &[],
                )
                .await?
        }
    };
    let mut hazards = Vec::new();
    let mut note = |holds: bool, what: &str| {
        if holds {
            hazards.push(what.to_owned());
        }
    };
    note(get(&row, 0)?, "the server is a standby: it can be read, but takes no writes and no capture");
    note(!get::<bool>(&row, 1)?, "fsync is off: an answered write may be lost with the machine's power");
    note(
        get(&row, 2)? || get(&row, 7)?,
        "synchronous_commit is off, here or for some users: when the server breaks down, a write that was answered and \
         followed may be lost here and stand in the other store; verify after such a crash",
    );
    note(get(&row, 3)?, "default_transaction_read_only is on for this user: its own sessions cannot write");
    note(
        !get::<bool>(&row, 4)?,
        "the user in the URL may not CREATE in this database: the sidecar's schema cannot be made",
    );
    note(
        get::<i64>(&row, 5)? > 0,
        "a subscription feeds tables of this database: what it applies is captured row by row",
    );
    note(
        get(&row, 6)?,
        "the user in the URL may not see how far the replicas are behind: GRANT pg_monitor, or watch them by hand",
    );
    Ok(hazards)
}

async fn table_hazards(
    session: &Session,
    schema: &str,
    oid: u32,
    kind: &str,
    table: &InspectedTable,
) -> Result<Vec<String>, Failure> {
    let name = &table.name;
    let mut hazards = Vec::new();
    if table.key.is_empty() && table.unique.is_empty() {
        hazards.push(format!("table {name:?} has no key: no column identifies its rows"));
    }
    if kind == "p" {
        hazards.push(format!("table {name:?} is partitioned: TRUNCATE of one partition alone is not captured"));
    }
    let sql = "SELECT c.relrowsecurity AND NOT row_security_active(c.oid) IS TRUE, row_security_active(c.oid), \
               EXISTS (SELECT 1 FROM pg_inherits i JOIN pg_class p ON p.oid = i.inhparent WHERE p.relkind = 'r' \
               AND (i.inhparent = c.oid OR i.inhrelid = c.oid)), \
               ARRAY(SELECT t.tgname::text FROM pg_trigger t WHERE t.tgrelid = c.oid AND NOT t.tgisinternal \
               AND NOT starts_with(t.tgname::text, '_shearwater_') ORDER BY 1), \
               ARRAY(SELECT r.rulename::text FROM pg_rewrite r WHERE r.ev_class = c.oid ORDER BY 1), \
               has_table_privilege(c.oid, 'INSERT, UPDATE, DELETE'), has_table_privilege(c.oid, 'TRIGGER'), \
               c.relpersistence = 'u', pg_has_role(c.relowner, 'MEMBER'), \
               EXISTS (SELECT 1 FROM pg_publication_tables p WHERE p.schemaname = $2 AND p.tablename = c.relname) \
               FROM pg_class c WHERE c.oid = $1";
    let row = session.one(sql, &[&oid, &schema]).await?;
    let mut note = |holds: bool, what: &str| {
        if holds {
            hazards.push(format!("table {name:?}: {what}"));
        }
    };
    note(get(&row, 1)?, "row-level security applies to the user in the URL: rows may be hidden from the move");
    note(get(&row, 2)?, "it has or is an inheriting table: rows of one show in the other, uncaptured");
    note(!get::<bool>(&row, 5)?, "the user in the URL may not INSERT, UPDATE and DELETE in it");
    note(!get::<bool>(&row, 6)?, "the user in the URL lacks the privilege TRIGGER on it: capture cannot be installed");
    note(!get::<bool>(&row, 8)?, "the user in the URL does not own it: capture cannot be made to fire ALWAYS");
    note(get(&row, 7)?, "it is UNLOGGED: its rows are gone after a crash of the server");
    note(get(&row, 9)?, "it is published: the follower's writes go to its subscribers too");
    for trigger in get::<Vec<String>>(&row, 3)? {
        note(
            true,
            &format!("the trigger {trigger:?} also runs when Shearwater writes, and may change what was written"),
        );
    }
    for rule in get::<Vec<String>>(&row, 4)? {
        note(true, &format!("the rule {rule:?} may turn a write into another one"));
    }
    for column in table.columns.iter().filter(|column| column.nullable && table.key.contains(&column.name)) {
        note(true, &format!("the key column {:?} may be NULL; such rows are no records", column.name));
    }
    Ok(hazards)
}

#[async_trait]
impl Inspect for Postgres {
    async fn inspect(&self) -> StoreResult<Inspection> {
        let session = self.pool.lease().await?;
        inspect(&session, self.pool.schema()).await
    }
}
