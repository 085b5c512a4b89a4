//! Looking at an account's tables without changing them.

use std::sync::Arc;

use async_trait::async_trait;
use aws_sdk_dynamodb::types::{BillingMode, TableDescription};
use futures::{StreamExt, TryStreamExt, stream};
use shearwater_core::error::{StoreErrorKind, StoreResult};
use shearwater_core::shape::FieldType;
use shearwater_core::store::{
    Bounds, Covers, Declarations, Estimate, Inspect, InspectedColumn, InspectedTable, Inspection,
};

use super::DynamoDb;
use super::config::{Config, KeyType};
use super::error::Effect;
use super::session::Session;
use super::table::{SIDECAR_PREFIX, key_of};

/// The name under which `init` and `plan` see what is beside the key: the whole
/// item is the document.
const DOCUMENT: &str = "doc";

/// What the names of our own tables begin with.
const OURS: [&str; 2] = [SIDECAR_PREFIX, super::evolve::PREFIX];

/// Tables described at a time.
const TABLES_AT_ONCE: usize = 8;

/// Bytes of a text at most: those of an item.
const TEXT_BYTES_MAX: u64 = 400 * 1024;

/// Types that attributes have not: they are written as texts, floats as numbers.
pub(super) const LACKS: [FieldType; 6] =
    [FieldType::Float, FieldType::Date, FieldType::Time, FieldType::Timestamp, FieldType::Instant, FieldType::Uuid];

/// Looks at every table of the account and region: see [`crate::inspect`].
pub(crate) async fn inspect(url: &str) -> StoreResult<Inspection> {
    let config = Config::parse(url)?;
    look(&Arc::new(Session::open(&config))).await
}

#[async_trait]
impl Inspect for DynamoDb {
    async fn inspect(&self) -> StoreResult<Inspection> {
        look(&self.session).await
    }
}

async fn look(session: &Arc<Session>) -> StoreResult<Inspection> {
    let names = tables(session).await?;
    let ours = |name: &String| OURS.iter().any(|prefix| name.starts_with(prefix));
    let described = names.into_iter().filter(|name| !ours(name)).map(|name| async move { table(session, &name).await });
    let found: Vec<Option<InspectedTable>> = stream::iter(described).buffered(TABLES_AT_ONCE).try_collect().await?;
    Ok(Inspection {
        product: format!("DynamoDB ({})", session.place),
        tables: found.into_iter().flatten().collect(),
        hazards: vec![
            "programs that write past the gateway are not stamped: their writes are captured when a record is looked \
             at next, at the latest by a verification, and no fence stops them"
                .to_owned(),
        ],
        text: Bounds { bytes_max: Some(TEXT_BYTES_MAX), ..Bounds::default() },
        declarations: Declarations::Hint,
        lacks: LACKS.to_vec(),
        covers: Covers::Gateway,
    })
}

/// Every table's name.
pub(super) async fn tables(session: &Session) -> StoreResult<Vec<String>> {
    let (mut names, mut after) = (Vec::new(), None::<String>);
    loop {
        let answer = session
            .call("listing tables", Effect::Reads, || {
                session.client.list_tables().set_exclusive_start_table_name(after.clone()).send()
            })
            .await?;
        names.extend(answer.table_names.unwrap_or_default());
        after = answer.last_evaluated_table_name;
        if after.is_none() {
            return Ok(names);
        }
    }
}

/// `None`: it was removed meanwhile.
async fn table(session: &Session, name: &str) -> StoreResult<Option<InspectedTable>> {
    let described = session
        .call("describing a table", Effect::Reads, || session.client.describe_table().table_name(name).send())
        .await;
    let described = match described {
        Ok(answer) => answer.table,
        Err(failed) if failed.error.kind == StoreErrorKind::NotFound => None,
        Err(failed) => return Err(failed.error),
    };
    let Some(described) = described else { return Ok(None) };
    let mut hazards = hazards_of(&described);
    hazards.extend(expiry(session, name).await?);
    let key: Vec<String> = key_of(&described).into_iter().map(|part| part.name).collect();
    Ok(Some(InspectedTable {
        name: name.to_owned(),
        columns: columns_of(&described),
        key,
        hazards,
        estimate: estimate_of(&described),
        ..InspectedTable::default()
    }))
}

fn columns_of(table: &TableDescription) -> Vec<InspectedColumn> {
    let keys = key_of(table).into_iter().map(|part| InspectedColumn {
        name: part.name,
        declared: part.ty.letter().to_owned(),
        ty: Some(match part.ty {
            KeyType::Text => FieldType::Text,
            KeyType::Number => FieldType::Json,
            KeyType::Bytes => FieldType::Bytes,
        }),
        ..InspectedColumn::default()
    });
    let document = InspectedColumn {
        name: DOCUMENT.to_owned(),
        declared: "item".to_owned(),
        ty: Some(FieldType::Json),
        ..InspectedColumn::default()
    };
    keys.chain([document]).collect()
}

/// The size that the store tells; it counts every six hours, tombstones and
/// other entities included.
pub(super) fn estimate_of(table: &TableDescription) -> Estimate {
    let number = |found: Option<i64>| found.and_then(|n| u64::try_from(n).ok()).unwrap_or(0);
    Estimate { records: number(table.item_count), exact: false, bytes: number(table.table_size_bytes) }
}

fn hazards_of(table: &TableDescription) -> Vec<String> {
    let mut hazards = Vec::new();
    let on_demand =
        table.billing_mode_summary().and_then(|mode| mode.billing_mode()) == Some(&BillingMode::PayPerRequest);
    if let (false, Some(capacity)) = (on_demand, table.provisioned_throughput()) {
        let (read, write) = (capacity.read_capacity_units.unwrap_or(0), capacity.write_capacity_units.unwrap_or(0));
        hazards.push(format!(
            "its capacity is provisioned ({read} read and {write} write units per second): give background work a \
             part of it with rcu= and wcu= in the URL"
        ));
    }
    let indexes = table.global_secondary_indexes();
    if !indexes.is_empty() {
        let names: Vec<&str> = indexes.iter().filter_map(|index| index.index_name()).collect();
        hazards.push(format!("its global indexes ({}) are not moved", names.join(", ")));
    }
    if table.stream_specification().is_some_and(|stream| stream.stream_enabled()) {
        hazards.push(
            "it has a stream: whoever reads it sees our attribute `_shearwater` and tombstones while the migration runs"
                .to_owned(),
        );
    }
    if !table.replicas().is_empty() {
        hazards.push("it is a global table: stamps and the fence hold in this region only".to_owned());
    }
    hazards.push("a list whose filter does not name the partition key reads the whole table".to_owned());
    hazards
}

/// A table whose items expire by themselves.
async fn expiry(session: &Session, name: &str) -> StoreResult<Option<String>> {
    let answer = session
        .call("reading the time to live", Effect::Reads, || {
            session.client.describe_time_to_live().table_name(name).send()
        })
        .await?;
    let attribute = answer.time_to_live_description.and_then(|ttl| ttl.attribute_name);
    Ok(attribute.map(|attribute| {
        format!(
            "items expire by their attribute {attribute:?} (TTL): DynamoDB deletes them past the gateway, and the \
             target keeps them until a verification finds them; switch it off while the migration runs"
        )
    }))
}
