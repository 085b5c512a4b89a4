//! Rows from PostgreSQL to PostgreSQL as they are.

use std::sync::Arc;

use shearwater_core::shape::{FieldType, Layout, TableShape};
use shearwater_core::store::{Applied, Checkpoint, CheckpointStep, Chunk, ChunkMax, Put, Role, ScanRange, Store};
use shearwater_core::verbatim::{Column, RowChunk, Way};
use shearwater_core::{Key, Stamp};

use crate::place::{column, direct, fence, key, made, open, put, rows};

const ALL: ChunkMax = ChunkMax { records: 100_000, bytes: 64 * 1024 * 1024 };
const WHOLE: ScanRange = ScanRange { id: 0, low: None, high: None };

fn asked(names: &[(&str, FieldType)]) -> Vec<Column> {
    let one = |(at, (name, ty)): (usize, &(&str, FieldType))| Column {
        name: (*name).to_owned(),
        ty: *ty,
        required: at == 0,
        chars_max: None,
    };
    names.iter().enumerate().map(one).collect()
}

fn account_columns() -> Vec<Column> {
    asked(&[("id", FieldType::Int), ("n", FieldType::Int), ("name", FieldType::Text)])
}

fn checkpoint(read: u64) -> Checkpoint {
    Checkpoint { run: "r".into(), range: 0, cursor: None, done: false, read, changed: 0, dead: 0, bytes: 0 }
}

fn step(read: u64) -> CheckpointStep {
    CheckpointStep { from: checkpoint(0), to: checkpoint(read) }
}

async fn read(store: &Arc<dyn Store>, columns: &[Column]) -> RowChunk {
    store.verbatim().unwrap().read_rows(columns, &WHOLE, None, ALL).await.unwrap()
}

async fn form(store: &Arc<dyn Store>, columns: &[Column], way: Way) -> Option<String> {
    store.verbatim().unwrap().form(columns, way).await.unwrap()
}

async fn scanned(store: &Arc<dyn Store>) -> Chunk {
    store.scan(&WHOLE, None, ALL).await.unwrap()
}

/// Two databases with accounts: a source that is the authority, and its follower.
async fn pair(name: &str) -> (String, Arc<dyn Store>, String, Arc<dyn Store>) {
    let server = shearwater_testbed::postgres();
    let (from, to) = (server.database(name), server.database(name));
    let (source, target) = (made(&from, Role::Authority).await, made(&to, Role::Follower).await);
    (from, source, to, target)
}

const TYPES: &[(&str, &str, FieldType)] = &[
    ("id", "integer PRIMARY KEY", FieldType::Int),
    ("small", "smallint", FieldType::Int),
    ("large", "bigint", FieldType::Int),
    ("flag", "boolean", FieldType::Bool),
    ("real4", "real", FieldType::Float),
    ("real8", "double precision", FieldType::Float),
    ("amount", "numeric", FieldType::Decimal),
    ("price", "numeric(12,3)", FieldType::Decimal),
    ("words", "text", FieldType::Text),
    ("short", "varchar(40)", FieldType::Text),
    ("raw", "bytea", FieldType::Bytes),
    ("day", "date", FieldType::Date),
    ("hour", "time", FieldType::Time),
    ("local", "timestamp", FieldType::Timestamp),
    ("moment", "timestamptz", FieldType::Instant),
    ("tag", "uuid", FieldType::Uuid),
];

const VALUES: &str = "INSERT INTO things VALUES \
    (1, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL), \
    (2, -32768, -9223372036854775808, true, '-0', 'NaN', 'NaN', -0.001, E'\\u0001 \\'\"\\\\', ' x ', '\\x00ff', \
     '4714-11-24 BC', '24:00', '-infinity', 'infinity', 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'), \
    (3, 32767, 9223372036854775807, false, '3.4e38', '5e-324', '1e-400', 999999999.999, '', '', '', \
     'infinity', '00:00:00.000001', '0001-01-01 BC', '1900-01-01 00:00Z', '00000000-0000-0000-0000-000000000000'), \
    (4, 0, 0, true, 0, '-infinity', 1e300, 0, repeat('ü', 70000), 'ü', decode(repeat('00ff', 40000), 'hex'), \
     '5874897-12-31', '12:00', '2024-02-29 12:34:56.789012', '294247-01-10 04:00:54Z', gen_random_uuid())";

#[tokio::test]
async fn every_value_of_the_types_that_pass_is_the_same_there() {
    let server = shearwater_testbed::postgres();
    let (from, to) = (server.database("as_they_are"), server.database("as_they_are"));
    let declared: Vec<String> = TYPES.iter().map(|(name, sql, _)| format!("{name} {sql}")).collect();
    let sql = format!("CREATE TABLE things ({})", declared.join(", "));
    for url in [&from, &to] {
        direct(url).await.batch_execute(&sql).await.unwrap();
    }
    let (source_side, target_side) = (direct(&from).await, direct(&to).await);
    source_side.batch_execute(VALUES).await.unwrap();
    source_side.batch_execute("INSERT INTO things (id, local) VALUES (5, '294276-12-31 23:59:59')").await.unwrap();
    let layout = || rows("things", &["id"], TYPES.iter().map(|(name, _, ty)| column(name, *ty)).collect());
    let (source, target) = (open(&from, layout()).await, open(&to, layout()).await);
    source.install(fence(Role::Authority, 1)).await.unwrap();
    target.install(fence(Role::Follower, 1)).await.unwrap();
    let columns = asked(&TYPES.iter().map(|(name, _, ty)| (*name, *ty)).collect::<Vec<_>>());
    assert!(form(&source, &columns, Way::Out).await.is_some());
    assert_eq!(form(&source, &columns, Way::Out).await, form(&target, &columns, Way::In).await);

    let chunk = read(&source, &columns).await;
    assert_eq!(chunk.rows.count, 4);
    let late = chunk.others.iter().map(|one| one.as_ref().unwrap_err().key.clone()).collect::<Vec<_>>();
    assert_eq!(late, [Some(Key::single(5_i64))], "a time that we cannot read is no row that passes");
    let decoded = source.verbatim().unwrap().decode(&chunk.rows).await.unwrap();
    let ordinary = scanned(&source).await.records;
    assert_eq!(decoded.len(), 4);
    for (decoded, ordinary) in decoded.iter().zip(&ordinary) {
        assert_eq!(format!("{decoded:?}"), format!("{ordinary:?}"));
    }

    let rows_in = target.verbatim().unwrap();
    let put = rows_in.put_rows(1, &columns, &chunk.rows, vec![], &step(4)).await.unwrap().unwrap();
    assert_eq!(put.changed, 4);
    assert_eq!(target.checkpoints("r").await.unwrap(), [Checkpoint { changed: 4, ..checkpoint(4) }]);
    let all = "SELECT array_agg(t::text ORDER BY id) FROM things t WHERE id < 5";
    let text = async |side: &tokio_postgres::Client| side.query_one(all, &[]).await.unwrap().get::<_, Vec<String>>(0);
    assert_eq!(text(&source_side).await, text(&target_side).await);
}

#[tokio::test]
async fn what_has_a_stamp_goes_beside_the_rows_or_keeps_them_out() {
    let (from, source, _, target) = pair("beside").await;
    let client = direct(&from).await;
    client.batch_execute("INSERT INTO accounts SELECT n, n, 'n' || n FROM generate_series(1, 20) n").await.unwrap();
    let chunk = read(&source, &account_columns()).await;
    assert_eq!((chunk.rows.count, chunk.others.len()), (0, 20), "all were written under capture");
    source.remove().await.unwrap();
    source.install(fence(Role::Authority, 1)).await.unwrap();
    client.batch_execute("UPDATE accounts SET n = 70 WHERE id = 7; DELETE FROM accounts WHERE id = 20").await.unwrap();
    let chunk = read(&source, &account_columns()).await;
    assert_eq!((chunk.rows.count, chunk.others.len()), (18, 1));
    let beside = chunk.others[0].as_ref().unwrap();
    assert!(beside.key == key(7) && beside.stamp.unwrap() > Stamp::ZERO, "{beside:?}");

    // A newer content of 3, and the end of 5, came by the live way first.
    let stamped = |id, n| Put { stamp: Stamp::new(1, 1_000), ..put(id, n, &format!("n{id}")) };
    let tombstone = Put { image: None, ..stamped(5, 0) };
    target.apply(1, vec![stamped(3, 33), tombstone], None).await.unwrap();
    let seventh = Put { stamp: beside.stamp.unwrap(), ..put(7, 70, "n7") };
    let rows_in = target.verbatim().unwrap();
    let columns = account_columns();
    let done = rows_in.put_rows(1, &columns, &chunk.rows, vec![seventh], &step(19)).await.unwrap().unwrap();
    assert_eq!((done.changed, done.answers), (16, vec![Applied::Changed]));
    assert_eq!(target.checkpoints("r").await.unwrap(), [Checkpoint { changed: 17, ..checkpoint(19) }]);
    let found = scanned(&target).await.records.into_iter().map(|one| one.unwrap().key).collect::<Vec<_>>();
    assert_eq!(found, (1..20).filter(|id| *id != 5).map(key).collect::<Vec<_>>());
    for (id, n) in [(3, 33_i64), (4, 4), (7, 70)] {
        let record = target.fetch(&key(id)).await.unwrap().image.unwrap().record;
        assert_eq!(record.get("n"), Some(&n.into()), "{id}");
    }
}

#[tokio::test]
async fn rows_that_do_not_all_go_in_write_nothing() {
    let (from, source, to, target) = pair("nothing").await;
    source.remove().await.unwrap();
    let (client, target_side) = (direct(&from).await, direct(&to).await);
    client.batch_execute("INSERT INTO accounts SELECT n, n, 'n' || n FROM generate_series(1, 20) n").await.unwrap();
    source.install(fence(Role::Authority, 1)).await.unwrap();
    let columns = account_columns();
    let chunk = read(&source, &columns).await;
    assert_eq!(chunk.rows.count, 20);
    let rows_in = target.verbatim().unwrap();
    let mut stricter = columns.clone();
    stricter[2].required = true;
    assert!(rows_in.put_rows(1, &stricter, &chunk.rows, vec![], &step(20)).await.unwrap().is_none(), "another form");
    // The key, a unique value, and what a constraint says.
    for (id, sql) in [
        (12, "INSERT INTO accounts VALUES (12, 1, 'x')"),
        (99, "INSERT INTO accounts VALUES (99, 1, 'n4')"),
        (99, "ALTER TABLE accounts ADD CHECK (n < 20) NOT VALID"),
    ] {
        target_side.batch_execute(sql).await.unwrap();
        let put = rows_in.put_rows(1, &columns, &chunk.rows, vec![put(50, 5, "p")], &step(20)).await.unwrap();
        assert!(put.is_none(), "{sql}: {put:?}");
        let count: i64 = target_side.query_one("SELECT count(*) FROM accounts", &[]).await.unwrap().get(0);
        assert!(count <= 1 && target.checkpoints("r").await.unwrap().is_empty(), "{sql}");
        target_side.execute("DELETE FROM accounts WHERE id = $1", &[&i64::from(id)]).await.unwrap();
    }
    target_side.batch_execute("ALTER TABLE accounts DROP CONSTRAINT accounts_n_check").await.unwrap();
    let stale = rows_in.put_rows(0, &columns, &chunk.rows, vec![], &step(20)).await.unwrap_err();
    assert_eq!(stale.code(), "store/epoch-stale", "{stale}");
    target.set_fence(fence(Role::Follower, 1), fence(Role::Authority, 2)).await.unwrap();
    let closed = rows_in.put_rows(2, &columns, &chunk.rows, vec![], &step(20)).await.unwrap_err();
    assert_eq!(closed.code(), "store/fence-closed", "{closed}");
}

#[tokio::test]
async fn only_equal_types_whose_values_we_all_read_make_a_form() {
    let server = shearwater_testbed::postgres();
    let url = server.database("forms");
    let client = direct(&url).await;
    client
        .batch_execute(
            "CREATE DOMAIN positive AS bigint CHECK (VALUE > 0); \
             CREATE TABLE forms (id bigint PRIMARY KEY, plain text, short varchar(40), doc json, day positive, x numeric)",
        )
        .await
        .unwrap();
    let cases: &[(&str, FieldType, bool, Option<u64>, bool)] = &[
        ("plain", FieldType::Text, false, None, true),
        ("plain", FieldType::Text, false, Some(40), false),
        ("plain", FieldType::Text, true, None, false),
        ("plain", FieldType::Date, false, None, false),
        ("short", FieldType::Text, false, Some(40), true),
        ("short", FieldType::Text, false, Some(39), false),
        ("doc", FieldType::Json, false, None, false),
        ("day", FieldType::Int, false, None, false),
        ("x", FieldType::Decimal, false, None, true),
        ("x", FieldType::Int, false, None, false),
    ];
    for (name, ty, required, chars_max, expected) in cases {
        let store = open(&url, rows("forms", &["id"], vec![column("id", FieldType::Int), column(name, *ty)])).await;
        let mut columns = asked(&[("id", FieldType::Int), (name, *ty)]);
        (columns[1].required, columns[1].chars_max) = (*required, *chars_max);
        let found = form(&store, &columns, Way::Out).await;
        assert_eq!(found.is_some(), *expected, "{name} {ty:?} {required} {chars_max:?}: {found:?}");
    }
    // A trigger of the user's may change what is written, not what is read.
    client
        .batch_execute(
            "CREATE FUNCTION cut_it() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.plain := 'x'; RETURN NEW; END $$; \
             CREATE TRIGGER t BEFORE INSERT ON forms FOR EACH ROW EXECUTE FUNCTION cut_it()",
        )
        .await
        .unwrap();
    let columns = vec![column("id", FieldType::Int), column("plain", FieldType::Text)];
    let store = open(&url, rows("forms", &["id"], columns)).await;
    let columns = asked(&[("id", FieldType::Int), ("plain", FieldType::Text)]);
    assert!(form(&store, &columns, Way::Out).await.is_some());
    assert_eq!(form(&store, &columns, Way::In).await, None);
}

/// The column for what no rule names stays NULL, if the server leaves it so.
#[tokio::test]
async fn a_column_that_no_row_fills_must_stay_null() {
    let url = shearwater_testbed::postgres().database("unfilled");
    let client = direct(&url).await;
    client.batch_execute("CREATE TABLE forms (id bigint PRIMARY KEY, extra json)").await.unwrap();
    let Layout::Rows(shape) = rows("forms", &["id"], vec![column("id", FieldType::Int)]) else { unreachable!() };
    let layout = || Layout::Rows(TableShape { residue: Some("extra".into()), ..shape.clone() });
    let columns = asked(&[("id", FieldType::Int)]);
    assert!(form(&open(&url, layout()).await, &columns, Way::In).await.is_some());
    assert_eq!(form(&open(&url, layout()).await, &columns, Way::Out).await, None);
    for sql in ["ALTER extra SET DEFAULT '{}'", "ALTER extra SET NOT NULL, ALTER extra DROP DEFAULT"] {
        client.batch_execute(&format!("ALTER TABLE forms {sql}")).await.unwrap();
        assert_eq!(form(&open(&url, layout()).await, &columns, Way::In).await, None, "{sql}");
    }
}

/// The table is altered between two reads: nothing passes by the old types.
#[tokio::test]
async fn a_type_that_changes_meanwhile_stops_the_rows() {
    let (from, source, _, target) = pair("altered").await;
    let client = direct(&from).await;
    source.remove().await.unwrap();
    client.batch_execute("INSERT INTO accounts VALUES (1, 1, 'a'), (2, 2, 'b')").await.unwrap();
    source.install(fence(Role::Authority, 1)).await.unwrap();
    let columns = account_columns();
    let before = read(&source, &columns).await;
    client.batch_execute("ALTER TABLE accounts ALTER n TYPE numeric").await.unwrap();
    let after = read(&source, &columns).await;
    assert_eq!((before.rows.count, after.rows.count, after.others.len()), (2, 0, 2));
    assert_ne!(before.rows.form, after.rows.form);
    let mut other = before.rows.clone();
    other.form = "bigint, numeric, text".into();
    let put = target.verbatim().unwrap().put_rows(1, &columns, &other, vec![], &step(2)).await.unwrap();
    assert!(put.is_none(), "{put:?}");
}
