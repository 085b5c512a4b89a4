//! What `plan` reads, what refuses a store with a hint, and how we weigh on it.

use std::collections::HashSet;

use shearwater_core::error::{StoreError, StoreErrorKind};
use shearwater_core::shape::{FieldType, Layout, Reference};
use shearwater_core::store::{Applied, ForeignKey, Role};
use shearwater_stores::Create;
use shearwater_testbed::{Options, Postgres, Privileges};

use crate::place::{accounts, change, column, direct, fence, key, made, open, place, put, rows, until, waiting, write};

const SCHEMA: &str = "CREATE TABLE owners (id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY, \
     mail varchar(40) NOT NULL DEFAULT 'x' UNIQUE, twice integer GENERATED ALWAYS AS (1 * 2) STORED, \
     price numeric(8,3), folded text COLLATE ci, sorted text COLLATE \"C\", n bigserial); \
     CREATE TABLE pets (a bigint, b text, owner integer REFERENCES owners ON DELETE CASCADE, PRIMARY KEY (a, b)); \
     CREATE TABLE loose (x integer); CREATE VIEW seen AS SELECT 1 AS one; \
     CREATE TABLE secret (id integer PRIMARY KEY); ALTER TABLE secret ENABLE ROW LEVEL SECURITY; \
     CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'; \
     CREATE TRIGGER touches BEFORE UPDATE ON owners FOR EACH ROW EXECUTE FUNCTION touch(); \
     CREATE PUBLICATION p FOR TABLE owners; INSERT INTO owners (mail) SELECT 'm' || n FROM generate_series(1, 5) n";

#[tokio::test]
async fn inspection_tells_what_is_there() {
    let server = shearwater_testbed::postgres();
    let url = server.database("inspected");
    let client = direct(&url).await;
    let folding = "CREATE COLLATION ci (provider = icu, locale = 'und-u-ks-level2', deterministic = false)";
    client.batch_execute(folding).await.unwrap();
    client.batch_execute(SCHEMA).await.unwrap();
    let seen = shearwater_stores::inspect(&url).await.unwrap();
    assert!(seen.product.starts_with("PostgreSQL 1") && seen.text.refuses_nul, "{}", seen.product);
    let table = |name: &str| seen.tables.iter().find(|t| t.name == name).unwrap();
    let owners = table("owners");
    assert_eq!(
        (owners.key.as_slice(), owners.unique.as_slice()),
        (&["id".to_owned()][..], &[vec!["mail".to_owned()]][..])
    );
    assert_eq!((owners.estimate.records, owners.estimate.exact), (5, true));
    let column = |name: &str| owners.columns.iter().find(|c| c.name == name).unwrap();
    assert!(column("id").identity && column("n").identity && column("twice").generated);
    assert_eq!(column("id").bounds.integers, Some((i64::from(i32::MIN), i32::MAX as u64)));
    assert_eq!(
        (column("mail").declared.as_str(), column("mail").bounds.chars_max),
        ("character varying(40)", Some(40))
    );
    assert!(!column("mail").nullable && column("mail").default.is_some() && column("price").nullable);
    assert_eq!((column("price").ty, column("price").bounds.digits), (Some(FieldType::Decimal), Some((8, 3))));
    assert!(column("folded").folds && column("folded").collation.is_some() && column("sorted").collation.is_none());
    // The statement for the numbering is one that works; of the key we do it ourselves.
    client.batch_execute("INSERT INTO owners (n, mail) VALUES (70, 'z')").await.unwrap();
    assert_eq!(column("id").renumber, None);
    client.batch_execute(column("n").renumber.as_deref().unwrap()).await.unwrap();
    let next = client.query_one("INSERT INTO owners (mail) VALUES ('next') RETURNING n", &[]).await.unwrap();
    assert_eq!(next.get::<_, i64>(0), 71);
    let pets = table("pets");
    assert_eq!(pets.key, ["a", "b"]);
    let (columns, references) = (vec!["owner".to_owned()], vec!["id".to_owned()]);
    let name = "pets_owner_fkey".to_owned();
    assert_eq!(pets.foreign_keys, [ForeignKey { name, columns, table: "owners".into(), references, cascades: true }]);
    for (name, says) in [("owners", "touches"), ("owners", "published"), ("loose", "no key")] {
        assert!(table(name).hazards.iter().any(|hazard| hazard.contains(says)), "{name}: {:?}", table(name).hazards);
    }
    assert!(seen.hazards.iter().any(|hazard| hazard.contains("\"seen\" is a view")), "{:?}", seen.hazards);

    let reader = shearwater_stores::inspect(&server.account(&url, Privileges::ReadOnly)).await.unwrap();
    let secret = reader.tables.iter().find(|t| t.name == "secret").unwrap();
    for says in ["row-level security", "INSERT, UPDATE and DELETE", "TRIGGER", "does not own"] {
        assert!(secret.hazards.iter().any(|hazard| hazard.contains(says)), "{says}: {:?}", secret.hazards);
    }
    assert!(reader.hazards.iter().any(|hazard| hazard.contains("CREATE")), "{:?}", reader.hazards);
    let nobody = shearwater_stores::inspect(&server.account(&url, Privileges::Nothing)).await.unwrap();
    assert!(nobody.tables.is_empty() && nobody.hazards.iter().any(|hazard| hazard.contains("may not read")));
}

fn check(error: &StoreError, kind: &StoreErrorKind, says: &str) {
    assert_eq!(error.kind, *kind, "{error:?}");
    assert!(error.message.contains(says), "{says}: {error:?}");
    assert!(error.hint.as_ref().is_some_and(|hint| hint.len() > 10), "{error:?}");
    assert!(!format!("{error:?}").contains("s3cret"), "{error:?}");
}

#[tokio::test]
async fn what_cannot_be_opened_is_told_with_a_hint() {
    let server = shearwater_testbed::postgres();
    let url = server.database("refused");
    direct(&url)
        .await
        .batch_execute("CREATE TABLE loose (id bigint, n bigint); CREATE TABLE texts (id text PRIMARY KEY)")
        .await
        .unwrap();
    let fails = async |url: &str, layout: Layout| match shearwater_stores::open(url, layout, Create::Never).await {
        Ok(store) => store.install(fence(Role::Authority, 1)).await.unwrap_err(),
        Err(error) => error,
    };
    let port = server.port();
    let closed = "postgres://u:s3cret@127.0.0.1:1/d";
    check(&fails(closed, accounts()).await, &StoreErrorKind::Unavailable, "127.0.0.1:1/d");
    let wrong = format!("postgres://testbed:s3cret@127.0.0.1:{port}/postgres");
    check(&fails(&wrong, accounts()).await, &StoreErrorKind::Denied, "password");
    let absent = format!("postgres://testbed:testbed@127.0.0.1:{port}/nowhere");
    check(&fails(&absent, accounts()).await, &StoreErrorKind::NotFound, "does not exist");
    check(&fails(&url, accounts()).await, &StoreErrorKind::NotFound, "no table \"accounts\"");
    let schema = format!("{url}?schema=other");
    check(&fails(&schema, accounts()).await, &StoreErrorKind::NotFound, "schema \"other\"");
    let int = |name: &str| column(name, FieldType::Int);
    let loose = rows("loose", &["id"], vec![int("id"), int("n")]);
    check(&fails(&url, loose).await, &StoreErrorKind::NotFound, "no PRIMARY KEY");
    check(&fails(&url, rows("texts", &["id"], vec![int("id"), int("n")])).await, &StoreErrorKind::NotFound, "\"n\"");
    let bytes = rows("texts", &["id"], vec![column("id", FieldType::Bytes)]);
    check(&fails(&url, bytes).await, &StoreErrorKind::NotFound, "does not hold bytes");
    let reader = server.account(&url, Privileges::ReadOnly);
    let texts = rows("texts", &["id"], vec![column("id", FieldType::Text)]);
    check(&fails(&reader, texts.clone()).await, &StoreErrorKind::Denied, "permission denied");
    let nobody = server.account(&url, Privileges::Nothing);
    let error = open(&nobody, texts).await.fetch(&shearwater_core::Key::single("a")).await.unwrap_err();
    check(&error, &StoreErrorKind::Denied, "permission denied");
}

#[tokio::test]
async fn writers_that_do_not_wait_for_their_commit_are_a_hazard() {
    // The shared server does not wait for its disk.
    let server = Postgres::start(Options::new());
    let url = server.database("hasty");
    let hazard = async || {
        let seen = shearwater_stores::inspect(&url).await.unwrap();
        seen.hazards.iter().any(|hazard| hazard.contains("synchronous_commit"))
    };
    assert!(!hazard().await);
    let name = url.rsplit('/').next().unwrap();
    let hasty = format!("ALTER DATABASE \"{name}\" SET synchronous_commit = off");
    direct(&url).await.batch_execute(&hasty).await.unwrap();
    assert!(hazard().await);
}

#[tokio::test]
async fn a_standby_is_read_and_never_written_and_its_lag_is_seen() {
    let server = Postgres::start(Options::new().never_killed());
    let url = server.database("replicated");
    let store = made(&url, Role::Authority).await;
    let replica = server.replica();
    let admin = direct(&url).await;
    until(&admin, "SELECT count(*) = 1 FROM pg_stat_replication WHERE state = 'streaming'").await;
    let name = url.rsplit('/').next().unwrap();
    let standby = replica.url().rsplit_once('/').map(|(server, _)| format!("{server}/{name}")).unwrap();
    let reader = open(&standby, accounts()).await;
    let error = reader.write(write(vec![change(1, 1, "a")], "k")).await.unwrap_err();
    check(&error, &StoreErrorKind::Denied, "recovery");
    let seen = shearwater_stores::inspect(&standby).await.unwrap();
    assert!(seen.hazards.iter().any(|hazard| hazard.contains("standby")), "{:?}", seen.hazards);
    let vitals = store.vitals().unwrap();
    assert!(vitals.load().await.unwrap().replica_lag_ms < 60_000);
    // A replica that takes the log and does not replay it.
    direct(&standby).await.batch_execute("SELECT pg_wal_replay_pause()").await.unwrap();
    let begun = std::time::Instant::now();
    loop {
        store.write(write(vec![change(1, 1, "a")], &format!("{:?}", begun.elapsed()))).await.unwrap();
        if vitals.load().await.unwrap().replica_lag_ms >= 200 {
            break;
        }
        assert!(begun.elapsed().as_secs() < 60, "the lag is not seen");
    }
}

#[tokio::test]
async fn who_waits_for_us_is_counted() {
    let (url, store) = place(Role::Follower).await;
    let vitals = store.vitals().unwrap();
    assert_eq!(vitals.load().await.unwrap().lock_waits, 0);
    let (holder, waiter, watcher) = (direct(&url).await, direct(&url).await, direct(&url).await);
    // Our batch has written 1 and waits for 2, which somebody holds; another one waits for us.
    holder.batch_execute("BEGIN; INSERT INTO accounts VALUES (2, 2, 'b')").await.unwrap();
    let applying = tokio::spawn({
        let store = store.clone();
        async move { store.apply(1, vec![put(1, 1, "a"), put(2, 2, "c")], None).await }
    });
    waiting(&watcher, "wait_event_type = 'Lock'").await;
    assert_eq!(vitals.load().await.unwrap().lock_waits, 0, "our own waiting is not others' waiting for us");
    let blocked = tokio::spawn(async move { waiter.batch_execute("INSERT INTO accounts VALUES (1, 5, 'd')").await });
    until(&watcher, "SELECT count(DISTINCT pid) = 2 FROM pg_locks WHERE NOT granted").await;
    assert_eq!(vitals.load().await.unwrap().lock_waits, 1);
    holder.batch_execute("ROLLBACK").await.unwrap();
    assert_eq!(applying.await.unwrap().unwrap(), [Applied::Changed, Applied::Changed]);
    assert!(blocked.await.unwrap().is_err(), "the key was ours");
    assert_eq!(vitals.load().await.unwrap().lock_waits, 0);
}

#[tokio::test]
async fn encrypted_connections_prove_the_server() {
    let server = Postgres::start(Options::new().never_killed().tls());
    let url = server.database("tls");
    direct(&url).await.batch_execute(crate::place::TABLE).await.unwrap();
    let ca = server.ca_file().display().to_string();
    for query in
        [format!("sslmode=verify-full&sslrootcert={ca}"), "sslmode=require".to_owned(), "sslmode=prefer".into()]
    {
        let store = open(&format!("{url}?{query}"), accounts()).await;
        assert_eq!(store.fetch(&key(1)).await.unwrap().image, None, "{query}");
    }
    let unknown = shearwater_stores::open(&format!("{url}?sslmode=verify-full"), accounts(), Create::Never).await;
    let Err(error) = unknown else { panic!("a certificate that nobody signed was taken") };
    check(&error, &StoreErrorKind::Unavailable, "certificate");
}

fn referring(table: &str, to: &str) -> Layout {
    let mut owner = column("owner", FieldType::Int);
    owner.references = Some(Reference { table: to.into(), column: "id".into() });
    rows(table, &["id"], vec![column("id", FieldType::Int), owner])
}

#[tokio::test]
async fn foreign_keys_are_added_when_they_hold() {
    let url = shearwater_testbed::postgres().database("references");
    let client = direct(&url).await;
    client.batch_execute("CREATE TABLE owners (id bigint PRIMARY KEY); INSERT INTO owners VALUES (1)").await.unwrap();
    let store = shearwater_stores::open(&url, referring("pets", "owners"), Create::IfMissing).await.unwrap();
    store.provision().await.unwrap();
    client
        .batch_execute(
            "INSERT INTO pets SELECT n, CASE n WHEN 1 THEN NULL WHEN 2 THEN 1 ELSE n END FROM generate_series(1, 9) n",
        )
        .await
        .unwrap();
    let error = store.constrain().await.unwrap_err();
    check(
        &error,
        &StoreErrorKind::Refused { field: Some("owner".into()) },
        "\"owners\"; keys of such records: 3, 4, 5, 6, 7 and more",
    );
    let constraints = "SELECT count(*) = 0 FROM pg_constraint WHERE contype = 'f'";
    assert!(client.query_one(constraints, &[]).await.unwrap().get::<_, bool>(0), "it was left as it was");
    client.batch_execute("DELETE FROM pets WHERE id > 2").await.unwrap();
    let ran = store.constrain().await.unwrap();
    assert!(ran.len() == 2 && ran[0].contains("NOT VALID") && ran[1].contains("VALIDATE"), "{ran:?}");
    assert_eq!(store.constrain().await.unwrap(), Vec::<String>::new(), "it holds already");
    assert_eq!(crate::place::code(client.batch_execute("INSERT INTO pets VALUES (5, 5)").await), "23503");
    let distinct: HashSet<_> =
        store.inspect().await.unwrap().tables.into_iter().map(|t| t.foreign_keys.len()).collect();
    assert_eq!(distinct, HashSet::from([0, 1]));
}
