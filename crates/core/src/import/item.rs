//! The items in a DynamoDB document: one, or the many of a file of its tools.

use crate::value::json::JsonError;
use crate::value::{Document, Value, dynamo_json};

/// What a document holds.
pub(super) enum Items {
    One(Document),
    Many(Vec<Result<Document, BadItem>>),
}

/// An item that cannot be read, as it stands in the file.
pub(super) struct BadItem {
    pub(super) place: String,
    pub(super) item: Value,
    pub(super) error: JsonError,
}

/// The items of a document. An item holds documents only, each of one type, so
/// that a file of the tools, which holds arrays, is never taken for one.
pub(super) fn items_of(document: Document, table: Option<&str>) -> Result<Items, JsonError> {
    if let Some(Value::Array(tables)) = document.get("DataModel") {
        return model(tables, table).map(Items::Many);
    }
    if let Some(Value::Array(items)) = document.get("Items") {
        return Ok(Items::Many(read_all("Items", items)));
    }
    if let (1, Some(Value::Document(requests))) = (document.len(), document.get("RequestItems")) {
        return batch(requests, table).map(Items::Many);
    }
    if document.iter().any(|(_, value)| matches!(value, Value::Array(_))) {
        return batch(&document, table).map(Items::Many);
    }
    // A line of an export is `{"Item": {…}}`; an item may have an attribute of
    // that name, which then holds a type.
    let wrapped = match (document.len(), document.get("Item")) {
        (1, Some(Value::Document(item))) => Some(item.clone()),
        _ => None,
    };
    match (dynamo_json::item(document), wrapped) {
        (Ok(item), _) => Ok(Items::One(item)),
        (Err(_), Some(item)) => dynamo_json::item(item).map(Items::One),
        (Err(e), None) => Err(e),
    }
}

fn read_all(place: &str, items: &[Value]) -> Vec<Result<Document, BadItem>> {
    items.iter().enumerate().map(|(i, item)| read(format!("{place}[{i}]"), item)).collect()
}

fn read(place: String, item: &Value) -> Result<Document, BadItem> {
    let read = match item {
        Value::Document(document) => dynamo_json::item(document.clone()),
        other => Err(JsonError::new(0, format!("found {}, expected an item", other.type_name()))),
    };
    read.map_err(|error| BadItem { place, item: item.clone(), error })
}

/// `{Table: [{"PutRequest": {"Item": {…}}}]}`.
fn batch(document: &Document, table: Option<&str>) -> Result<Vec<Result<Document, BadItem>>, JsonError> {
    let names: Vec<&str> = document.iter().map(|(name, _)| name).collect();
    let name = choose(&names, table)?;
    let Some(Value::Array(requests)) = document.get(name) else {
        return Err(JsonError::new(0, format!("the table {name:?} is no array of requests")));
    };
    let item = |(i, request): (usize, &Value)| {
        let place = format!("{name}[{i}].PutRequest.Item");
        match put_item(request) {
            Some(item) => read(place, item),
            None => {
                let error = JsonError::new(0, "expected {\"PutRequest\": {\"Item\": …}}");
                Err(BadItem { place, item: request.clone(), error })
            }
        }
    };
    Ok(requests.iter().enumerate().map(item).collect())
}

fn put_item(request: &Value) -> Option<&Value> {
    let Value::Document(request) = request else { return None };
    let Some(Value::Document(put)) = request.get("PutRequest") else { return None };
    put.get("Item").filter(|_| request.len() == 1 && put.len() == 1)
}

/// A NoSQL Workbench model: items stand under `TableData`, and under the
/// `TableData` of each facet, where those of the table may stand again.
fn model(tables: &[Value], table: Option<&str>) -> Result<Vec<Result<Document, BadItem>>, JsonError> {
    let tables: Vec<(usize, &str, &Document)> = tables
        .iter()
        .enumerate()
        .filter_map(|(i, table)| match table {
            Value::Document(table) => match table.get("TableName") {
                Some(Value::Text(name)) => Some((i, name.as_str(), table)),
                _ => None,
            },
            _ => None,
        })
        .collect();
    let names: Vec<&str> = tables.iter().map(|(_, name, _)| *name).collect();
    let name = choose(&names, table)?;
    let mut items = Vec::new();
    for (i, _, table) in tables.iter().filter(|(_, n, _)| *n == name) {
        if let Some(Value::Array(data)) = table.get("TableData") {
            items.extend(read_all(&format!("DataModel[{i}].TableData"), data));
        }
        let Some(Value::Array(facets)) = table.get("TableFacets") else { continue };
        for (j, facet) in facets.iter().enumerate() {
            let Value::Document(facet) = facet else { continue };
            let Some(Value::Array(data)) = facet.get("TableData") else { continue };
            for item in read_all(&format!("DataModel[{i}].TableFacets[{j}].TableData"), data) {
                let stands_already = |other: &Result<Document, BadItem>| match (&item, other) {
                    (Ok(item), Ok(other)) => item == other,
                    _ => false,
                };
                if !items.iter().any(stands_already) {
                    items.push(item);
                }
            }
        }
    }
    Ok(items)
}

/// The table that is wanted, or the only one.
fn choose<'a>(names: &[&'a str], wanted: Option<&str>) -> Result<&'a str, JsonError> {
    let list = names.join(", ");
    match (wanted, names) {
        (Some(wanted), names) => names
            .iter()
            .find(|name| **name == wanted)
            .copied()
            .ok_or_else(|| JsonError::new(0, format!("there is no table {wanted:?}; the file holds {list}"))),
        (None, [name]) => Ok(name),
        (None, []) => Err(JsonError::new(0, "the file holds no table")),
        (None, _) => {
            Err(JsonError::new(0, format!("the file holds several tables ({list}); name the one that is wanted")))
        }
    }
}
