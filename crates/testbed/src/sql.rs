//! SQL in the words of each kind of server, and running it without being async:
//! each call has a thread and a connection of its own.

use mysql_async::prelude::Queryable;
use tokio_postgres::SimpleQueryMessage;

use crate::Outcome;
use crate::options::Privileges;

/// The kinds of server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Postgres,
    Mariadb,
}

impl Kind {
    pub(crate) fn scheme(self) -> &'static str {
        match self {
            Kind::Postgres => "postgres",
            Kind::Mariadb => "mysql",
        }
    }

    pub(crate) fn own_database(self) -> &'static str {
        match self {
            Kind::Postgres => "postgres",
            Kind::Mariadb => "mysql",
        }
    }

    /// The signal after which the server ends in order without waiting for its clients.
    pub(crate) fn stop_signal(self) -> &'static str {
        match self {
            Kind::Postgres => "INT",
            Kind::Mariadb => "TERM",
        }
    }

    /// `name` is made by us: letters, digits and underscores.
    pub(crate) fn create_database(self, name: &str, clauses: &str) -> String {
        match self {
            Kind::Postgres => format!("CREATE DATABASE \"{name}\" TEMPLATE template0 {clauses}"),
            Kind::Mariadb => format!("CREATE DATABASE `{name}` {clauses}"),
        }
    }

    /// The statements, run in `database`, that make an account whose password is its name.
    pub(crate) fn make_account(self, name: &str, database: &str, privileges: Privileges) -> Vec<String> {
        let mut statements = vec![match self {
            Kind::Postgres => format!("CREATE ROLE \"{name}\" LOGIN PASSWORD '{name}'"),
            Kind::Mariadb => format!("CREATE USER `{name}`@'%' IDENTIFIED BY '{name}'"),
        }];
        statements.extend(match self {
            Kind::Postgres => postgres_grants(name, database, privileges),
            Kind::Mariadb => mariadb_grants(name, database, privileges),
        });
        statements
    }
}

fn postgres_grants(name: &str, database: &str, privileges: Privileges) -> Vec<String> {
    let rows = |what: &str| {
        vec![
            format!("GRANT {what} ON ALL TABLES IN SCHEMA public TO \"{name}\""),
            format!("GRANT USAGE, SELECT ON ALL SEQUENCES IN SCHEMA public TO \"{name}\""),
        ]
    };
    match privileges {
        Privileges::Owner => vec![
            format!("ALTER DATABASE \"{database}\" OWNER TO \"{name}\""),
            format!("ALTER SCHEMA public OWNER TO \"{name}\""),
        ],
        Privileges::Rows => rows("SELECT, INSERT, UPDATE, DELETE"),
        Privileges::ReadOnly => rows("SELECT"),
        Privileges::Nothing => Vec::new(),
    }
}

fn mariadb_grants(name: &str, database: &str, privileges: Privileges) -> Vec<String> {
    let what = match privileges {
        Privileges::Owner => "ALL",
        Privileges::Rows => "SELECT, INSERT, UPDATE, DELETE",
        Privileges::ReadOnly => "SELECT",
        // Without any privilege there the server refuses the database itself.
        Privileges::Nothing => "CREATE TEMPORARY TABLES",
    };
    vec![format!("GRANT {what} ON `{database}`.* TO `{name}`@'%'")]
}

impl Privileges {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Privileges::Owner => "owner",
            Privileges::Rows => "rows",
            Privileges::ReadOnly => "reader",
            Privileges::Nothing => "nobody",
        }
    }
}

/// Rows of a query, each value as text.
type Rows = Vec<Vec<Option<String>>>;

/// Runs statements one after another, each by itself.
pub(crate) fn run(url: &str, statements: &[&str]) -> Outcome<()> {
    let statements: Vec<String> = statements.iter().map(|&statement| statement.to_owned()).collect();
    ask(url, statements).map(drop)
}

/// The rows that a query answers.
pub(crate) fn rows(url: &str, query: &str) -> Outcome<Rows> {
    ask(url, vec![query.to_owned()])
}

/// Blocking inside of an async runtime is refused by tokio, so this blocks on
/// a thread that has a runtime of its own.
fn ask(url: &str, statements: Vec<String>) -> Outcome<Rows> {
    let url = url.to_owned();
    let work = move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|e| e.to_string())?;
        runtime.block_on(async {
            match url.starts_with("mysql:") {
                true => ask_mariadb(&url, &statements).await,
                false => ask_postgres(&url, &statements).await,
            }
        })
    };
    std::thread::spawn(work).join().map_err(|_| "the thread that runs SQL panicked".to_owned())?
}

async fn ask_postgres(url: &str, statements: &[String]) -> Outcome<Rows> {
    let told = |e: tokio_postgres::Error| match e.as_db_error() {
        Some(error) => format!("{error}"),
        None => format!("{e}: {:?}", std::error::Error::source(&e).map(ToString::to_string)),
    };
    let (client, connection) = tokio_postgres::connect(url, tokio_postgres::NoTls).await.map_err(told)?;
    let connection = tokio::spawn(connection);
    let mut rows = Rows::new();
    for statement in statements {
        for message in client.simple_query(statement).await.map_err(told)? {
            if let SimpleQueryMessage::Row(row) = message {
                rows.push((0..row.len()).map(|at| row.get(at).map(ToOwned::to_owned)).collect());
            }
        }
    }
    drop(client);
    let _ = connection.await;
    Ok(rows)
}

async fn ask_mariadb(url: &str, statements: &[String]) -> Outcome<Rows> {
    let options = mysql_async::Opts::from_url(url).map_err(|e| e.to_string())?;
    let mut connection = mysql_async::Conn::new(options).await.map_err(|e| e.to_string())?;
    let mut rows = Rows::new();
    for statement in statements {
        let answer: Vec<mysql_async::Row> = connection.query(statement).await.map_err(|e| e.to_string())?;
        rows.extend(answer.into_iter().map(|row| row.unwrap().iter().map(text).collect()));
    }
    connection.disconnect().await.map_err(|e| e.to_string())?;
    Ok(rows)
}

/// What the text protocol sent: bytes or NULL.
fn text(value: &mysql_async::Value) -> Option<String> {
    match value {
        mysql_async::Value::NULL => None,
        mysql_async::Value::Bytes(bytes) => Some(String::from_utf8_lossy(bytes).into_owned()),
        other => Some(other.as_sql(true)),
    }
}
