//! What outdated clients and other readers of the table must know, and what
//! cannot be done.

use shearwater_core::error::{StoreError, StoreErrorKind, StoreResult};
use shearwater_core::evolve::Wanted;
use shearwater_core::fill::FillClass;

use super::super::session::{Session, get};
use super::sql::Sql;

/// Types whose comparison or text is not that of the value as we read it.
pub(super) async fn check_inputs(session: &Session, sql: &Sql, wanted: &Wanted) -> StoreResult<()> {
    let inputs = wanted.fill.inputs();
    let ask = "SELECT a.attname::text, format_type(a.atttypid, NULL) FROM pg_attribute a \
               WHERE a.attrelid = to_regclass($1) AND a.attname::text = ANY($2) AND NOT a.attisdropped \
               AND a.atttypid NOT IN ('text'::regtype, 'varchar'::regtype, 'int2'::regtype, 'int4'::regtype, \
               'int8'::regtype, 'bool'::regtype, 'date'::regtype, 'time'::regtype, 'timestamp'::regtype, \
               'timestamptz'::regtype, 'uuid'::regtype, 'bytea'::regtype)";
    let rows = session.rows(ask, &[&sql.table, &inputs]).await?;
    for row in &rows {
        let (name, ty): (String, String) = (get(row, 0)?, get(row, 1)?);
        let tested_only = matches!(wanted.fill.type_of_field(&name), Some(ty) if !ty.is_read_by_fills());
        if !tested_only {
            let what =
                format!("PostgreSQL: the fill reads {name:?} of type {ty}: not proven to be the same there as here");
            return Err(StoreError::new(StoreErrorKind::Unsupported, what)
                .with_hint("a fill reads columns of type text, varchar, smallint, integer, bigint, boolean; as they are also date, \
                     time, timestamp, timestamptz, uuid, bytea"));
        }
    }
    Ok(())
}

/// What to know of the table, each a sentence.
pub(super) async fn told(session: &Session, sql: &Sql, schema: &str) -> StoreResult<Vec<String>> {
    let column = &sql.column;
    let mut told = vec![
        format!(
            "prepared `SELECT *` of running programs fails once after {column} is added (\"cached plan must not change \
             result type\"); they prepare again by themselves or reconnect"
        ),
        format!(
            "`INSERT INTO … VALUES (…)` without a list of columns goes on while it gives fewer values than the table has \
             columns; with {column} last it gets the default"
        ),
        match sql.class {
            FillClass::Constant => format!(
                "a program that reads the table itself, and not through the gateway, sees {column} from the moment at \
                 which it is added"
            ),
            FillClass::RowPure => "a program that reads the table itself, and not through the gateway, sees NULL until the \
                                   backfill has ended"
                .to_owned(),
        },
        "COPY and logical replication fire the write default (it is ENABLE ALWAYS); `ALTER TABLE … DISABLE TRIGGER` and \
         restores with --disable-triggers do not"
            .to_owned(),
    ];
    let ask = "SELECT (SELECT count(*) FROM pg_trigger t WHERE t.tgrelid = c.oid AND NOT t.tgisinternal AND t.tgname NOT LIKE '~%shearwater%'), \
               (SELECT count(DISTINCT r.ev_class) FROM pg_depend d JOIN pg_rewrite r ON r.oid = d.objid WHERE d.refobjid = c.oid AND d.classid = 'pg_rewrite'::regclass), \
               (SELECT count(*) FROM pg_publication_tables p WHERE p.schemaname = $2 AND p.tablename = c.relname), \
               (SELECT count(*) FROM pg_stat_replication) FROM pg_class c WHERE c.oid = to_regclass($1)";
    let row = session.one(ask, &[&sql.table, &schema]).await?;
    let counts: [i64; 4] = [get(&row, 0)?, get(&row, 1)?, get(&row, 2)?, get(&row, 3)?];
    let sentences = [
        "triggers on the table, not ours: {n}; ours fires after them",
        "views that read the table: {n}; those with `SELECT *` do not get the new column",
        "publications with the table: {n}; subscribers need the column before it is added here, or their apply stops",
        "standbys that follow: {n}; before each ACCESS EXCLUSIVE lock their lag is looked at, because their readers wait for \
         it too",
    ];
    for (count, sentence) in counts.into_iter().zip(sentences) {
        if count > 0 {
            told.push(sentence.replace("{n}", &count.to_string()));
        }
    }
    Ok(told)
}
