//! Bob's and Alice's stores, of any two kinds: how they are made, and what is
//! left in the end.

use std::collections::HashMap;
use std::sync::Arc;

use shearwater_core::error::StoreResult;
use shearwater_core::query::{Filter, ListQuery, keyset_of};
use shearwater_core::shape::Layout;
use shearwater_core::store::{Change, Expect, Form, Image, Store, Write};
use shearwater_core::value::Instant;
use shearwater_core::{Document, Key, Value};
use shearwater_engine::absorb::Setup;
use shearwater_stores::outsider::{Collection, Outsider};
use shearwater_stores::{Create, open_outsider};

use super::super::DemoError;
use super::super::history::{KeyId, Version};
use super::super::plot::Places;

/// Bob's table.
const USERS: &str = "users";

/// Alice's table.
const PEOPLE: &str = "people";

/// Records written at once while the stores are filled.
const FILL_RECORDS: usize = 500;

/// Records of one page when Alice's store is read in the end.
const LEFT_RECORDS: usize = 1_000;

/// The two databases, as programs have them that have never heard of us.
pub struct Estate {
    source: Box<dyn Outsider>,
    target: Box<dyn Outsider>,
}

/// When users were seen who count as inactive: in 2001; microseconds since 1970.
const LONG_AGO: i64 = 1_000_000_000_000_000;

/// When the others were: in 2033, which stays within ten years for long.
const SEEN: i64 = 2_000_000_000_000_000;

/// The name of the key in Bob's shape: documents call it otherwise.
pub fn key_name(places: &Places) -> &'static str {
    match shearwater_stores::form(&places.source.url) {
        Ok(Form::Documents) => "_id",
        _ => "id",
    }
}

/// The spec of the demo.
pub fn spec(places: &Places, migration: &str) -> String {
    let key = key_name(places);
    let columns = match key {
        "id" => {
            "[source.columns]\nid = \"int\"\nemail = \"text\"\nfirst_name = \"text\"\nlast_name = \"text\"\n\
             city = \"text\"\nv = \"int\"\nvip = \"bool\"\nlast_seen = \"instant\"\n"
        }
        _ => "layout = \"document\"\n",
    };
    format!(
        r#"migration = "{migration}"
kind = "absorb"
entity = "users"
[source]
url = "{source}"
table = "{USERS}"
key = "{key}"
{columns}[target]
url = "{target}"
table = "{PEOPLE}"
key = "id"
[fields]
id = {{ sql = '''concat('bob-', {key})''', type = "text", back = {{ {key} = '''cast(substring(id from 5) as bigint)''' }} }}
email = {{ from = "email", type = "text", unique = true }}
name = {{ sql = '''first_name || ' ' || last_name''', type = "text", back = {{ first_name = '''split_part(name, ' ', 1)''', last_name = '''split_part(name, ' ', 2)''' }} }}
city = {{ from = "city", type = "text" }}
v = {{ from = "v", type = "int" }}
[require]
manager = {{ type = "text" }}
[stragglers]
activity = "last_seen"
deactivate_after_days = 3650
deactivate = {{ manager = "nobody" }}
per_day_max = 1000000
"#,
        source = places.source.in_spec(),
        target = places.target.in_spec(),
    )
}

/// A connection of Bob's or Alice's own program.
pub async fn program(url: &str, table: &str) -> Result<Box<dyn Outsider>, DemoError> {
    let collection = Collection { table: table.to_owned(), key: "id".to_owned(), document: "doc".to_owned() };
    Ok(open_outsider(url, collection).await?)
}

/// A connection of Alice's own program.
pub async fn alice(places: &Places) -> Result<Box<dyn Outsider>, DemoError> {
    program(&places.target.url, PEOPLE).await
}

impl Estate {
    /// Connects; refuses databases in which the demo would meet other tables.
    pub async fn open(places: &Places) -> Result<Estate, DemoError> {
        let mut source = program(&places.source.url, USERS).await.map_err(|e| e.within("source"))?;
        let mut target = alice(places).await.map_err(|e| e.within("target"))?;
        super::super::estate::free(&mut *source, "source", &[USERS, PEOPLE]).await?;
        super::super::estate::free(&mut *target, "target", &[USERS, PEOPLE]).await?;
        Ok(Estate { source, target })
    }

    /// Makes both stores: Bob's users, and some people of Alice's own.
    pub async fn make(&mut self, places: &Places, layouts: [&Layout; 2], records: u32) -> Result<(), DemoError> {
        let [source, target] = layouts.map(Layout::clone);
        let source = made(&places.source.url, constrained(source)).await?;
        let key = key_name(places);
        let users: Vec<Document> = (0..records).map(|n| user(key, n)).collect();
        fill(source.as_ref(), key, users).await?;
        let target = made(&places.target.url, constrained(target)).await?;
        if self.source.tables().await?.iter().any(|table| table == PEOPLE) {
            return Err(DemoError("source and target are one database; the demo needs two".to_owned()));
        }
        fill(target.as_ref(), "id", vec![own("alice-1", "One", Some("city 1")), own("alice-2", "Two", None)]).await
    }

    /// Drops everything that the demo made.
    pub async fn leave_clean(mut self, setup: Option<Setup>) -> Result<(), DemoError> {
        if let Some(setup) = setup {
            setup.plain.remove().await?;
            setup.target.remove().await?;
        }
        self.source.drop_tables(&[USERS]).await?;
        self.target.drop_tables(&[PEOPLE]).await?;
        Ok(())
    }
}

/// As Alice declares her table, and Bob his: the manager is required, and no
/// e-mail stands twice.
fn constrained(mut layout: Layout) -> Layout {
    if let Layout::Rows(table) = &mut layout {
        for column in &mut table.columns {
            column.nullable &= column.name != "manager";
            column.unique |= column.name == "email";
        }
    }
    layout
}

async fn made(url: &str, layout: Layout) -> Result<Arc<dyn Store>, DemoError> {
    let store = shearwater_stores::open(url, layout, Create::IfMissing).await?;
    store.provision().await?;
    Ok(store)
}

async fn fill(store: &dyn Store, key: &str, records: Vec<Document>) -> Result<(), DemoError> {
    for some in records.chunks(FILL_RECORDS.min(store.changes_max())) {
        let change = |record: &Document| {
            let value = record.get(key).cloned().unwrap_or(Value::Null);
            Change { key: Key::single(value), image: Some(Image::of(record.clone())), expect: Expect::Absent }
        };
        let changes = some.iter().map(change).collect();
        store.write(Write { epoch: None, changes, idempotency: None }).await?;
    }
    Ok(())
}

fn user(key: &str, n: u32) -> Document {
    // The digits from behind: in another order than the keys, and each once.
    let turned: String = format!("{n:07}").chars().rev().collect();
    let text = |text: Option<String>| text.map_or(Value::Null, Value::text);
    [
        (key, Value::Int(i64::from(n))),
        ("email", text((!n.is_multiple_of(11)).then(|| format!("u{turned}@bob.example")))),
        ("first_name", Value::text(format!("First{}", n % 13))),
        ("last_name", Value::text(format!("Last{:04}", n % 97))),
        ("city", text((!n.is_multiple_of(5)).then(|| format!("city {}", n % 7)))),
        ("v", Value::Int(0)),
        ("vip", Value::Bool(n % 2 == 1)),
        ("last_seen", Value::Instant(Instant::Micros(if n % 10 == 9 { LONG_AGO } else { SEEN }))),
    ]
    .into_iter()
    .collect()
}

fn own(id: &str, name: &str, city: Option<&str>) -> Document {
    [
        ("id", Value::text(id)),
        ("email", Value::text(format!("{id}@alice.example"))),
        ("name", Value::text(format!("Alice {name}"))),
        ("city", city.map_or(Value::Null, Value::text)),
        ("v", Value::Null),
        ("manager", Value::text("boss")),
    ]
    .into_iter()
    .collect()
}

/// One write of Alice's own program; whether there was a record to write.
pub async fn write_directly(alice: &mut dyn Outsider, key: KeyId, version: u32) -> StoreResult<bool> {
    let statement = format!("UPDATE {PEOPLE} SET v = {version} WHERE id = 'bob-{}'", key.0);
    Ok(alice.execute(&statement).await? == 1)
}

/// The version of each of Bob's users that Alice's store holds.
pub async fn left(target: &dyn Store) -> Result<HashMap<u32, Version>, DemoError> {
    let (mut found, mut after) = (HashMap::new(), None);
    loop {
        let query = ListQuery { filter: Filter::All, order: Vec::new(), after, limit: LEFT_RECORDS };
        let page = target.list(&query).await?;
        let records: Vec<(&Key, &Document)> =
            page.records.iter().filter_map(|one| Some((&one.key, &one.image.as_ref()?.record))).collect();
        for (_, record) in &records {
            let (Some(Value::Text(id)), Some(Value::Int(v))) = (record.get("id"), record.get("v")) else { continue };
            let key = id.strip_prefix("bob-").and_then(|id| id.parse().ok());
            if let (Some(key), Ok(version)) = (key, u32::try_from(*v)) {
                found.insert(key, Version(version));
            }
        }
        after = records.last().filter(|_| page.more).map(|(key, record)| keyset_of(&[], key, record));
        if after.is_none() {
            return Ok(found);
        }
    }
}
