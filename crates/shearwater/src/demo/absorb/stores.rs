//! Bob's and Alice's files: how they are made, and what is left in the end.

use std::collections::HashMap;
use std::path::Path;

use rusqlite::{Connection, params};

use super::super::DemoError;
use super::super::history::{KeyId, Version};

/// The spec of the demo.
pub fn spec(place: &Path) -> String {
    let place = place.display();
    format!(
        r#"migration = "users-absorb"
kind = "absorb"
entity = "users"
[source]
url = "sqlite:{place}/bob.db?sync=normal"
table = "users"
key = "id"
[source.columns]
id = "int"
email = "text"
first_name = "text"
last_name = "text"
city = "text"
v = "int"
vip = "bool"
[target]
url = "sqlite:{place}/alice.db?sync=normal"
table = "people"
key = "id"
[fields]
id = {{ sql = '''concat('bob-', id)''', type = "text", back = {{ id = '''cast(substring(id from 5) as bigint)''' }} }}
email = {{ from = "email", type = "text", unique = true }}
name = {{ sql = '''first_name || ' ' || last_name''', type = "text", back = {{ first_name = '''split_part(name, ' ', 1)''', last_name = '''split_part(name, ' ', 2)''' }} }}
city = {{ from = "city", type = "text" }}
v = {{ from = "v", type = "int" }}
[require]
manager = {{ type = "text" }}
"#
    )
}

fn failed(error: rusqlite::Error) -> DemoError {
    DemoError(format!("SQLite: {error}"))
}

/// A connection as a program has it that has never heard of us.
pub fn connect(path: &Path) -> Result<Connection, DemoError> {
    let connection = Connection::open(path).map_err(failed)?;
    connection.busy_timeout(std::time::Duration::from_secs(10)).map_err(failed)?;
    connection.pragma_update(None, "journal_mode", "WAL").map_err(failed)?;
    connection.pragma_update(None, "synchronous", "NORMAL").map_err(failed)?;
    Ok(connection)
}

/// Makes both stores: Bob's users, and some people of Alice's own.
pub fn make(place: &Path, records: u32) -> Result<(), DemoError> {
    let mut bob = connect(&place.join("bob.db"))?;
    bob.execute_batch(
        "CREATE TABLE users (id INTEGER PRIMARY KEY, email TEXT, first_name TEXT NOT NULL, last_name TEXT NOT NULL, \
         city TEXT, v INTEGER NOT NULL, vip INTEGER NOT NULL DEFAULT 0); CREATE INDEX users_email ON users (email)",
    )
    .map_err(failed)?;
    let tx = bob.transaction().map_err(failed)?;
    for n in 0..records {
        tx.execute(
            "INSERT INTO users VALUES (?1, ?2, ?3, ?4, ?5, 0, ?6)",
            params![
                n,
                (n % 11 != 0).then(|| format!("u{:05}@bob.example", n * 7 % records.max(1))),
                format!("First{}", n % 13),
                format!("Last{:04}", n % 97),
                (n % 5 != 0).then(|| format!("city {}", n % 7)),
                n % 2,
            ],
        )
        .map_err(failed)?;
    }
    tx.commit().map_err(failed)?;
    connect(&place.join("alice.db"))?
        .execute_batch(
            "CREATE TABLE people (id TEXT PRIMARY KEY, email TEXT UNIQUE, name TEXT NOT NULL, city TEXT, v INTEGER, \
             manager TEXT NOT NULL) WITHOUT ROWID; \
             INSERT INTO people VALUES ('alice-1', 'a1@alice.example', 'Alice One', 'city 1', NULL, 'boss'), \
             ('alice-2', 'a2@alice.example', 'Alice Two', NULL, NULL, 'boss')",
        )
        .map_err(failed)
}

/// One write of Alice's own program; whether there was a record to write.
pub fn write_directly(alice: &Connection, key: KeyId, version: u32) -> Result<bool, DemoError> {
    let id = format!("bob-{}", key.0);
    let changed = alice.execute("UPDATE people SET v = ?2 WHERE id = ?1", params![id, version]).map_err(failed)?;
    Ok(changed == 1)
}

/// The version of each of Bob's users that Alice's store holds.
pub fn left(place: &Path) -> Result<HashMap<u32, Version>, DemoError> {
    let alice = connect(&place.join("alice.db"))?;
    let mut statement = alice.prepare("SELECT id, v FROM people WHERE id LIKE 'bob-%'").map_err(failed)?;
    let row = |row: &rusqlite::Row<'_>| Ok((row.get::<_, String>(0)?, row.get::<_, u32>(1)?));
    let mut found = HashMap::new();
    for row in statement.query_map([], row).map_err(failed)? {
        let (id, version) = row.map_err(failed)?;
        if let Some(key) = id.strip_prefix("bob-").and_then(|id| id.parse().ok()) {
            found.insert(key, Version(version));
        }
    }
    Ok(found)
}
