//! Looking at a database without changing it: its collections, what is odd about
//! them, and the fields of some of their documents.

use async_trait::async_trait;
use futures::TryStreamExt;
use mongodb::bson::{Bson, Document, RawDocumentBuf, doc};
use shearwater_core::Value;
use shearwater_core::error::{StoreError, StoreErrorKind, StoreResult};
use shearwater_core::shape::FieldType;
use shearwater_core::store::{Declarations, Estimate, Form, Inspect, InspectedColumn, InspectedTable, Inspection};

use super::error::{code, failure};
use super::raw::Elements;
use super::record::RESERVED;
use super::session::{Server, Topology};
use super::tombstone::UniquePath;
use super::value;
use super::{MongoDb, Validated};

/// Documents whose fields are looked at, for the names that `init` and `plan`
/// show; the census of `init` reads all of them.
const SAMPLE_DOCUMENTS: i64 = 200;

/// Fields named in all.
const FIELDS_MAX: usize = 256;

/// A collection as the server lists it.
pub(super) struct Collection {
    name: String,
    kind: String,
    options: Document,
}

impl Collection {
    /// What it was made with, and what was changed of that since.
    pub(super) fn options(&self) -> &Document {
        &self.options
    }

    /// Refuses what is no collection of documents that can be read and written one by one.
    pub(super) fn check(&self) -> StoreResult<()> {
        let refuse = |what: &str, hint: &str| {
            let what = format!("MongoDB: {:?} is {what}", self.name);
            Err(StoreError::new(StoreErrorKind::Unsupported, what).with_hint(hint))
        };
        if self.kind == "view" {
            return refuse("a view", "name the collection that it shows");
        }
        if self.kind == "timeseries" {
            return refuse("a time-series collection", "its documents cannot be changed one by one");
        }
        if self.options.get_bool("capped").unwrap_or(false) {
            return refuse("a capped collection", "it drops documents by itself; convert it to an ordinary one first");
        }
        if self.options.contains_key("clusteredIndex") {
            return refuse("a clustered collection", "it has no index of _id to go along; copy it to an ordinary one");
        }
        Ok(())
    }
}

fn failed(error: mongodb::error::Error) -> StoreError {
    failure("looking at the database", &error).of_a_repeatable().error
}

async fn collections(server: &Server, condition: Document) -> StoreResult<Vec<Collection>> {
    let found = server.database().run_cursor_command(doc! { "listCollections": 1, "filter": condition }).await;
    let found: Vec<Document> = found.map_err(failed)?.try_collect().await.map_err(failed)?;
    let text = |one: &Document, name: &str| one.get_str(name).unwrap_or_default().to_owned();
    let options = |one: &Document| one.get_document("options").cloned().unwrap_or_default();
    Ok(found
        .iter()
        .map(|one| Collection { name: text(one, "name"), kind: text(one, "type"), options: options(one) })
        .collect())
}

/// The collection of this name.
pub(super) async fn collection(server: &Server, name: &str) -> StoreResult<Option<Collection>> {
    Ok(collections(server, doc! { "name": name }).await?.pop())
}

/// Whether the collection has a validator.
pub(super) async fn validated(server: &Server, name: &str) -> StoreResult<Validated> {
    let has = collection(server, name).await?.is_some_and(|found| found.options.contains_key("validator"));
    Ok(if has { Validated::Yes } else { Validated::No })
}

pub(super) async fn indexes(server: &Server, name: &str) -> StoreResult<Vec<Document>> {
    match server.database().run_cursor_command(doc! { "listIndexes": name }).await {
        Ok(cursor) => cursor.try_collect().await.map_err(failed),
        Err(error) => match failure("looking at indexes", &error) {
            missing if missing.code == code::NAMESPACE_NOT_FOUND => Ok(Vec::new()),
            failed => Err(failed.of_a_repeatable().error),
        },
    }
}

/// Names of the collection's indexes.
pub(super) async fn index_names(server: &Server, name: &str) -> StoreResult<Vec<String>> {
    let all = indexes(server, name).await?;
    Ok(all.iter().filter_map(|index| index.get_str("name").ok()).map(str::to_owned).collect())
}

fn is_unique(index: &Document) -> bool {
    index.get_bool("unique").unwrap_or(false)
}

fn keys_of(index: &Document) -> Vec<String> {
    index.get_document("key").map(|key| key.keys().cloned().collect()).unwrap_or_default()
}

/// The first field of each unique index.
pub(super) async fn unique_paths(server: &Server, name: &str) -> StoreResult<Vec<UniquePath>> {
    let all = indexes(server, name).await?;
    let firsts = all.iter().filter(|index| is_unique(index)).filter_map(|index| keys_of(index).into_iter().next());
    Ok(firsts.map(|first| first.split('.').map(str::to_owned).collect()).collect())
}

/// Rough size, by the collection's own counters.
pub(super) async fn estimate(server: &Server, name: &str) -> StoreResult<Estimate> {
    let stages = [doc! { "$collStats": { "storageStats": {} } }];
    let found = server.collection(name).aggregate(stages).with_type::<Document>().await;
    let found: Vec<Document> = match found {
        Ok(cursor) => cursor.try_collect().await.map_err(failed)?,
        Err(error) => match failure("looking at a collection", &error) {
            missing if missing.code == code::NAMESPACE_NOT_FOUND => Vec::new(),
            failed => return Err(failed.of_a_repeatable().error),
        },
    };
    let stats = found.first().and_then(|found| found.get_document("storageStats").ok());
    let number = |name: &str| match stats.and_then(|stats| stats.get(name)) {
        Some(Bson::Int32(n)) => u64::try_from(*n).unwrap_or(0),
        Some(Bson::Int64(n)) => u64::try_from(*n).unwrap_or(0),
        Some(Bson::Double(n)) => *n as u64,
        _ => 0,
    };
    Ok(Estimate { records: number("count"), exact: false, bytes: number("size") })
}

/// What was seen of a field.
struct Field {
    name: String,
    seen: u64,
    nulls: u64,
    types: Vec<(&'static str, u64)>,
}

impl Field {
    fn column(self, sampled: u64) -> InspectedColumn {
        let types: Vec<String> = self.types.iter().map(|(name, count)| format!("{name} ({count})")).collect();
        InspectedColumn {
            name: self.name,
            declared: format!("{} of {sampled} documents: {}", self.seen, types.join(", ")),
            nullable: self.seen < sampled || self.nulls > 0,
            ty: Some(FieldType::Json),
            ..InspectedColumn::default()
        }
    }
}

async fn fields(server: &Server, name: &str) -> StoreResult<Vec<InspectedColumn>> {
    let collection = server.collection(name);
    let sample: Vec<RawDocumentBuf> =
        collection.find(doc! {}).limit(SAMPLE_DOCUMENTS).await.map_err(failed)?.try_collect().await.map_err(failed)?;
    let mut fields: Vec<Field> = Vec::new();
    for raw in &sample {
        let Ok(elements) = Elements::of(raw.as_bytes()) else { continue };
        for (name, element) in elements.filter_map(Result::ok).filter(|(name, _)| *name != RESERVED) {
            let value = value::value(element).unwrap_or(Value::Null);
            let at = match fields.iter().position(|field| field.name == name) {
                Some(at) => at,
                None if fields.len() == FIELDS_MAX => continue,
                None => {
                    fields.push(Field { name: name.to_owned(), seen: 0, nulls: 0, types: Vec::new() });
                    fields.len() - 1
                }
            };
            let field = &mut fields[at];
            field.seen += 1;
            field.nulls += u64::from(value.is_null());
            match field.types.iter_mut().find(|(known, _)| *known == value.type_name()) {
                Some((_, count)) => *count += 1,
                None => field.types.push((value.type_name(), 1)),
            }
        }
    }
    if !fields.iter().any(|field| field.name == "_id") {
        fields.insert(0, Field { name: "_id".to_owned(), seen: 0, nulls: 0, types: Vec::new() });
    }
    let sampled = sample.len() as u64;
    let mut columns: Vec<InspectedColumn> = fields.into_iter().map(|field| field.column(sampled)).collect();
    columns.iter_mut().filter(|column| column.name == "_id").for_each(|column| column.nullable = false);
    Ok(columns)
}

/// What is odd about a collection, each a sentence.
fn hazards_of(found: &Collection, indexes: &[Document]) -> Vec<String> {
    let mut hazards = vec![
        "programs that write this collection past the gateway are not captured: what they change is found when the \
         record is read next, or by `verify`, and their deletions by `verify` alone"
            .to_owned(),
        "while the migration runs, a deleted record stays as a document with nothing but its `_id`, the fields of \
         unique indexes and `_shearwater.g`, which other programs see"
            .to_owned(),
    ];
    if found.options.contains_key("validator") {
        hazards.push("it has a validator: what that refuses becomes a dead letter where this store follows".to_owned());
        let strict = found.options.get_document("validator").is_ok_and(|validator| {
            let schema = validator.get_document("$jsonSchema");
            schema.is_ok_and(|schema| schema.get_bool("additionalProperties").is_ok_and(|allowed| !allowed))
        });
        if strict {
            hazards.push(
                "its validator refuses additional fields, so also our `_shearwater`: allow it there for the time of \
                 the migration"
                    .to_owned(),
            );
        }
    }
    if found.options.contains_key("collation") {
        hazards.push("it has a collation, so keys that differ may be one `_id` to it; they are refused".to_owned());
    }
    for index in indexes {
        let (name, keys) = (index.get_str("name").unwrap_or_default(), keys_of(index).join(", "));
        if index.contains_key("expireAfterSeconds") {
            hazards.push(format!(
                "index `{name}` lets documents expire; what the server deletes by itself is not captured: drop it for \
                 the time of the migration"
            ));
        }
        if is_unique(index) {
            hazards.push(format!("index `{name}` keeps ({keys}) unique; the other store should do so too"));
        }
    }
    hazards
}

async fn table(server: &Server, found: &Collection) -> StoreResult<InspectedTable> {
    let indexes = indexes(server, &found.name).await?;
    let unique = indexes.iter().filter(|index| is_unique(index)).map(keys_of).collect();
    let mut hazards = hazards_of(found, &indexes);
    if let Err(error) = found.check() {
        hazards.insert(0, error.message);
    }
    Ok(InspectedTable {
        name: found.name.clone(),
        form: Form::Documents,
        columns: fields(server, &found.name).await?,
        key: vec!["_id".to_owned()],
        unique,
        hazards,
        estimate: estimate(server, &found.name).await?,
        ..InspectedTable::default()
    })
}

/// Looks at a whole database.
pub(super) async fn inspect(server: &Server) -> StoreResult<Inspection> {
    let mut inspection = Inspection {
        product: format!("MongoDB {}", server.version),
        declarations: Declarations::Hint,
        covers: shearwater_core::store::Covers::Gateway,
        ..Inspection::default()
    };
    let mut found = collections(server, doc! {}).await?;
    found.sort_by(|a, b| a.name.cmp(&b.name));
    for one in &found {
        let ours = one.name.starts_with(RESERVED) || one.name.starts_with("system.");
        if !ours && one.kind == "collection" {
            inspection.tables.push(table(server, one).await?);
        }
    }
    if server.topology == Topology::Standalone {
        inspection.hazards.push(
            "this is a standalone server, which has no transactions: a write of several changes at once is refused, and \
             what it loses with its disk is lost. A replica set of one takes them: start mongod with --replSet NAME \
             and run rs.initiate() once"
                .to_owned(),
        );
    }
    Ok(inspection)
}

#[async_trait]
impl Inspect for MongoDb {
    async fn inspect(&self) -> StoreResult<Inspection> {
        inspect(&self.0.server).await
    }
}
