//! A program's own connection to a server, in plain SQL: what it asks for, and
//! how it is answered.

use mysql_async::prelude::Queryable;
use tokio_postgres::error::SqlState;
use tokio_postgres::{NoTls, SimpleQueryMessage};

/// What the fence's trigger raises, as PostgreSQL and MariaDB name it.
const CLOSED_SQLSTATE: &str = "SW001";
const CLOSED_ERRNO: u16 = 31_990;

/// Deadlock, lock wait timeout, record changed.
const RACES: [u16; 3] = [1213, 1205, 1020];

/// Why a transaction was not acknowledged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Not {
    /// The fence refused it.
    Closed,
    /// A deadlock or another race: nothing was done.
    Raced,
    /// The connection broke before the commit was asked for.
    Cut,
    /// The connection broke while the commit was answered: nobody knows.
    InDoubt,
    /// A statement did not change exactly one row, so nothing was committed:
    /// how many each changed.
    Missed(Vec<u64>),
    /// Something that no program should see.
    Wrong(String),
}

/// A connection.
pub enum Door {
    Postgres(tokio_postgres::Client),
    MariaDb(Box<mysql_async::Conn>),
}

impl Door {
    /// Connects.
    pub async fn open(url: &str) -> Result<Door, String> {
        if url.starts_with("mysql:") {
            let options = mysql_async::Opts::from_url(url).unwrap();
            let door = mysql_async::Conn::new(options).await.map_err(|e| e.to_string())?;
            return Ok(Door::MariaDb(Box::new(door)));
        }
        let (client, connection) = tokio_postgres::connect(url, NoTls).await.map_err(|e| e.to_string())?;
        tokio::spawn(connection);
        Ok(Door::Postgres(client))
    }

    /// Runs statements in one transaction, each of which must change one row.
    pub async fn transact(&mut self, statements: &[String]) -> Result<(), Not> {
        self.one("BEGIN").await?;
        let mut changed = Vec::new();
        for statement in statements {
            match self.one(statement).await {
                Ok(rows) => changed.push(rows),
                Err(not) => {
                    let _ = self.one("ROLLBACK").await;
                    return Err(not);
                }
            }
        }
        if changed.iter().any(|rows| *rows != 1) {
            let _ = self.one("ROLLBACK").await;
            return Err(Not::Missed(changed));
        }
        match self.one("COMMIT").await {
            Ok(_) => Ok(()),
            Err(Not::Cut) => Err(Not::InDoubt),
            Err(not) => Err(not),
        }
    }

    async fn one(&mut self, statement: &str) -> Result<u64, Not> {
        match self {
            Door::Postgres(client) => {
                let answer = client.simple_query(statement).await.map_err(postgres_not)?;
                let changed = answer.iter().filter_map(|message| match message {
                    SimpleQueryMessage::CommandComplete(rows) => Some(*rows),
                    _ => None,
                });
                Ok(changed.sum())
            }
            Door::MariaDb(conn) => {
                conn.query_drop(statement).await.map_err(mariadb_not)?;
                Ok(conn.affected_rows())
            }
        }
    }

    /// Pairs of integers that a query answers.
    pub async fn pairs(&mut self, query: &str) -> Result<Vec<(i64, i64)>, Not> {
        match self {
            Door::Postgres(client) => {
                let rows = client.query(query, &[]).await.map_err(postgres_not)?;
                Ok(rows.iter().map(|row| (row.get(0), row.get(1))).collect())
            }
            Door::MariaDb(conn) => conn.query(query).await.map_err(mariadb_not),
        }
    }
}

fn postgres_not(error: tokio_postgres::Error) -> Not {
    let Some(told) = error.as_db_error() else { return Not::Cut };
    match told.code() {
        code if code.code() == CLOSED_SQLSTATE => Not::Closed,
        code if *code == SqlState::T_R_DEADLOCK_DETECTED => Not::Raced,
        code if *code == SqlState::T_R_SERIALIZATION_FAILURE => Not::Raced,
        // The server is shutting down, has crashed or starts; somebody ended the session.
        code if code.code().starts_with("57P") => Not::Cut,
        _ => Not::Wrong(told.to_string()),
    }
}

fn mariadb_not(error: mysql_async::Error) -> Not {
    match error {
        mysql_async::Error::Server(told) if told.code == CLOSED_ERRNO => Not::Closed,
        mysql_async::Error::Server(told) if RACES.contains(&told.code) => Not::Raced,
        // Killed, shutting down, connection lost while querying.
        mysql_async::Error::Server(told) if [1927, 1053, 1317, 1152].contains(&told.code) => Not::Cut,
        mysql_async::Error::Server(told) => Not::Wrong(told.to_string()),
        _ => Not::Cut,
    }
}
