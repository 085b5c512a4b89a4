//! The pairs of stores, and the tables that are moved between them.

use mongodb::bson::{Document, doc};
use mysql_async::prelude::Queryable;
use shearwater_stores::outsider::Collection;
use shearwater_testbed::{DynamoDb, Mariadb, Mongodb, Options, Postgres, Topology};

/// From where; the way is to PostgreSQL.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Postgres,
    Mariadb,
    Documents,
    Mongodb,
    Dynamodb,
}

impl Kind {
    fn has_children(self) -> bool {
        matches!(self, Kind::Documents | Kind::Mongodb | Kind::Dynamodb)
    }
}

/// Servers of the benchmark's own: they flush, and have the memory of a small machine.
pub struct Servers {
    postgres: Postgres,
    mariadb: Mariadb,
    mongodb: Mongodb,
    dynamodb: DynamoDb,
}

impl Servers {
    pub fn start() -> Servers {
        let postgres = Options::new().setting("shared_buffers", "256MB").setting("max_wal_size", "4GB");
        let mariadb = Options::new().setting("innodb_buffer_pool_size", "256M");
        Servers {
            postgres: Postgres::start(postgres),
            mariadb: Mariadb::start(mariadb),
            mongodb: Mongodb::start(Topology::Single),
            dynamodb: DynamoDb::start(),
        }
    }
}

/// One pair of stores.
pub struct Pair {
    pub name: &'static str,
    pub kind: Kind,
}

pub const ALL: &[Pair] = &[
    Pair { name: "PostgreSQL to PostgreSQL", kind: Kind::Postgres },
    Pair { name: "MariaDB to PostgreSQL", kind: Kind::Mariadb },
    Pair { name: "documents to PostgreSQL with a child table", kind: Kind::Documents },
    Pair { name: "MongoDB to PostgreSQL with a child table", kind: Kind::Mongodb },
    Pair { name: "DynamoDB to PostgreSQL with a child table", kind: Kind::Dynamodb },
];

/// Two databases with a filled source.
pub struct Place {
    pub kind: Kind,
    pub source: String,
    pub target: String,
    /// An empty database of the target's server for the peers.
    pub spare: String,
    pub spec: String,
    /// The target's tables, the root first.
    pub tables: &'static [&'static str],
}

impl Pair {
    pub async fn place(&self, servers: &Servers, records: u64) -> Place {
        let (target, spare) = (servers.postgres.database("target"), servers.postgres.database("spare"));
        let (source, source_spec, fields) = match self.kind {
            Kind::Postgres => {
                let source = servers.postgres.database("source");
                fill_postgres(&source, TABLE, &rows(records)).await;
                (source, COLUMNS.replace("JOINED", "instant"), FIELDS.replace("JOINED", "instant"))
            }
            Kind::Mariadb => {
                let source = servers.mariadb.database("source");
                fill_mariadb(&source, records).await;
                (source, COLUMNS.replace("JOINED", "timestamp"), FIELDS.replace("JOINED", "timestamp"))
            }
            Kind::Documents => {
                let source = servers.postgres.database("source");
                fill_postgres(&source, DOCUMENTS, &documents(records)).await;
                (source, DOCUMENT_LAYOUT.to_owned(), DOCUMENT_FIELDS.to_owned())
            }
            Kind::Mongodb => {
                let source = servers.mongodb.database("source");
                fill_mongodb(&source, records).await;
                (source, DOCUMENT_LAYOUT.to_owned(), DOCUMENT_FIELDS.to_owned())
            }
            Kind::Dynamodb => {
                let source = servers.dynamodb.database("source");
                fill_dynamodb(&source, records).await;
                (source, DOCUMENT_LAYOUT.to_owned(), ITEM_FIELDS.to_owned())
            }
        };
        let key = if self.kind.has_children() { "_id" } else { "id" };
        let spec = format!(
            "migration = \"bench\"\nkind = \"move\"\nentity = \"users\"\n\
             [source]\nurl = \"{source}\"\ntable = \"users\"\nkey = \"{key}\"\n{source_spec}\n\
             [target]\nurl = \"{target}\"\ntable = \"users\"\nkey = \"id\"\n{fields}\n\
             [pace]\nduty_percent_max = 100\nforeground_ms_max = 60000\n"
        );
        let tables: &[&str] = match self.kind {
            Kind::Documents | Kind::Mongodb | Kind::Dynamodb => &["users", "user_addresses"],
            Kind::Postgres | Kind::Mariadb => &["users"],
        };
        Place { kind: self.kind, source, target, spare, spec, tables }
    }
}

const COLUMNS: &str = "[source.columns]\nid = { type = \"int\", required = true }\nemail = \"text\"\nname = \"text\"\n\
                       score = \"float\"\nvisits = \"int\"\njoined = \"JOINED\"\nnotes = \"text\"\n";

const FIELDS: &str = r#"[fields]
id     = { from = "id", type = "int" }
email  = { from = "email", type = "text" }
name   = { from = "name", type = "text" }
score  = { from = "score", type = "float" }
visits = { from = "visits", type = "int" }
joined = { from = "joined", type = "JOINED" }
notes  = { from = "notes", type = "text" }
[unmapped]
refuse = true
"#;

const DOCUMENT_LAYOUT: &str = "layout = \"document\"\n";

const DOCUMENT_FIELDS: &str = r#"[fields]
id        = { from = "_id", type = "text" }
email     = { from = "email", type = "text" }
name      = { from = "name", type = "text" }
score     = { from = "score", type = "float" }
visits    = { from = "visits", type = "int" }
addresses = { from = "addresses", table = "user_addresses", fields = { street = { from = "street", type = "text" }, city = { from = "city", type = "text" }, zip = { from = "zip", type = "text" } } }
[unmapped]
keep_in = "extra"
"#;

/// The same in the order of their names.
const ITEM_FIELDS: &str = r#"[fields]
id        = { from = "_id", type = "text" }
addresses = { from = "addresses", table = "user_addresses", fields = { city = { from = "city", type = "text" }, street = { from = "street", type = "text" }, zip = { from = "zip", type = "text" } } }
email     = { from = "email", type = "text" }
name      = { from = "name", type = "text" }
score     = { from = "score", type = "decimal" }
visits    = { from = "visits", type = "int" }
[unmapped]
keep_in = "extra"
"#;

const TABLE: &str = "CREATE TABLE users (id bigint PRIMARY KEY, email text, name text, score double precision, \
                     visits bigint, joined timestamptz, notes text)";

const DOCUMENTS: &str = "CREATE TABLE users (_id text COLLATE \"C\" PRIMARY KEY, doc json NOT NULL)";

fn rows(records: u64) -> String {
    format!(
        "INSERT INTO users SELECT n, 'user' || n || '@mail.example', 'Maria Ivanova ' || n, (n % 1000) / 7.0, n % 977, \
         timestamptz '2021-03-04 05:06:07Z' + n * interval '1 second', repeat('lorem ', (n % 10)::int) \
         FROM generate_series(1::bigint, {records}) n"
    )
}

fn documents(records: u64) -> String {
    format!(
        "INSERT INTO users SELECT 'u-' || lpad(n::text, 8, '0'), json_build_object('_id', 'u-' || lpad(n::text, 8, '0'), \
         'email', 'user' || n || '@mail.example', 'name', 'Maria Ivanova ' || n, 'score', (n % 1000)::float8 / 7 + 0.5, \
         'visits', n % 977, 'addresses', (SELECT json_agg(json_build_object('street', 'Harbour Road ' || (n % 200 + m), \
         'city', 'Lisboa', 'zip', '1100-201')) FROM generate_series(0, n % 3) m)) \
         FROM generate_series(1::bigint, {records}) n"
    )
}

/// A connection whose other half runs beside us.
pub async fn connect(url: &str) -> tokio_postgres::Client {
    let (client, connection) = tokio_postgres::connect(url, tokio_postgres::NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

async fn fill_postgres(url: &str, table: &str, rows: &str) {
    let client = connect(url).await;
    for sql in [table, rows, "VACUUM ANALYZE users"] {
        client.batch_execute(sql).await.unwrap_or_else(|error| panic!("{sql}: {error}"));
    }
}

/// Documents sent at once.
const DOCUMENTS_SENT: u64 = 5_000;

/// The collection of a MongoDB source.
pub async fn collection<T: Send + Sync>(url: &str) -> mongodb::Collection<T> {
    let client = mongodb::Client::with_uri_str(url).await.unwrap();
    client.default_database().unwrap().collection("users")
}

/// The same documents as in [`documents`].
fn document(n: u64) -> Document {
    let address =
        |m: u64| doc! { "street": format!("Harbour Road {}", n % 200 + m), "city": "Lisboa", "zip": "1100-201" };
    doc! {
        "_id": format!("u-{n:08}"), "email": format!("user{n}@mail.example"), "name": format!("Maria Ivanova {n}"),
        "score": (n % 1000) as f64 / 7.0 + 0.5, "visits": (n % 977) as i64,
        "addresses": (0..=n % 3).map(address).collect::<Vec<_>>(),
    }
}

async fn fill_mongodb(url: &str, records: u64) {
    let users = collection::<Document>(url).await;
    for first in (1..=records).step_by(DOCUMENTS_SENT as usize) {
        let last = records.min(first + DOCUMENTS_SENT - 1);
        users.insert_many((first..=last).map(document)).await.unwrap();
    }
}

/// The same documents as DynamoDB gives them back: by name, its numbers decimals.
fn item(n: u64) -> String {
    let address = |m: u64| format!(r#"{{"city":"Lisboa","street":"Harbour Road {}","zip":"1100-201"}}"#, n % 200 + m);
    let addresses: Vec<String> = (0..=n % 3).map(address).collect();
    format!(
        r#"{{"_id":"u-{n:08}","addresses":[{}],"email":"user{n}@mail.example","name":"Maria Ivanova {n}","score":{{"@decimal":"{}"}},"visits":{}}}"#,
        addresses.join(","),
        (n % 1000) as f64 / 8.0 + 0.0625,
        n % 977
    )
}

async fn fill_dynamodb(url: &str, records: u64) {
    let collection = Collection { table: "users".into(), key: "_id".into(), document: "doc".into() };
    let mut program = shearwater_stores::open_outsider(url, collection).await.unwrap();
    program.make(&mut (1..=records).map(|n| (format!("u-{n:08}"), item(n)))).await.unwrap();
}

async fn fill_mariadb(url: &str, records: u64) {
    let mut connection = mysql_async::Conn::from_url(url).await.unwrap();
    connection
        .query_drop(
            "CREATE TABLE users (id bigint PRIMARY KEY, email varchar(100), name varchar(100), score double, \
             visits bigint, joined datetime(6), notes text) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin",
        )
        .await
        .unwrap();
    connection
        .query_drop(format!(
            "INSERT INTO users SELECT seq, concat('user', seq, '@mail.example'), concat('Maria Ivanova ', seq), \
             (seq % 1000) / 7e0, seq % 977, timestamp('2021-03-04 05:06:07') + interval seq second, \
             repeat('lorem ', seq % 10) FROM seq_1_to_{records}"
        ))
        .await
        .unwrap();
    connection.query_drop("ANALYZE TABLE users").await.unwrap();
    connection.disconnect().await.unwrap();
}
