//! The API described in OpenAPI 3.1, made from the mappings and from the same
//! tables that the gateway works by.

use std::sync::Arc;

use serde_json::{Map, Value, json};
use shearwater_core::limits::{BODY_BYTES_MAX, BULK_RECORDS_MAX, LIST_RECORDS_DEFAULT, LIST_RECORDS_MAX};
use shearwater_core::shape::{ChildShape, ColumnShape, FieldType, Layout};
use shearwater_engine::records::Shape;
use shearwater_engine::serve::{Requests, WriteRefusal};

use super::entity::{Entity, Version};
use super::filter::operator_names;
use super::problem::{PROBLEM_TYPES, TYPE_PREFIX};
use super::query::OFFSET_RECORDS_MAX;
use super::usage;

/// The description of all served entities.
pub fn document(entities: &[Arc<Entity>]) -> Value {
    let (mut paths, mut schemas) = (Map::new(), Map::new());
    schemas.insert("problem".into(), problem_schema());
    for entity in entities {
        for shape in [Shape::V1, Shape::V2] {
            let version = entity.version(shape);
            let name = schema_name(&entity.name, shape);
            schemas.insert(name.clone(), record_schema(&version.layout));
            let refusals = entity.serve.refusals();
            let several = refused(collection(version, &name), refusals.iter());
            paths.insert(version.path.clone(), several);
            let of_one = refusals.iter().filter(|refusal| refusal.requests == Requests::All);
            paths.insert(format!("{}/{{key}}", version.path), refused(record(version, &name), of_one));
        }
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Shearwater gateway",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "v1 is the source's shape, v2 the target's; both are served in every phase.",
        },
        "paths": paths,
        "components": {
            "schemas": schemas,
            "responses": { "problem": {
                "description": "A problem document (RFC 9457)",
                "content": { "application/problem+json": { "schema": reference("problem") } },
            } },
            "parameters": parameters(),
            "securitySchemes": { "bearer": { "type": "http", "scheme": "bearer" } },
        },
        "security": [{ "bearer": [] }, {}],
    })
}

fn schema_name(entity: &str, shape: Shape) -> String {
    format!("{}.{entity}", usage::version(shape))
}

fn reference(schema: &str) -> Value {
    json!({ "$ref": format!("#/components/schemas/{schema}") })
}

fn parameter(name: &str) -> Value {
    json!({ "$ref": format!("#/components/parameters/{name}") })
}

/// A record of a layout. A document may have any field.
fn record_schema(layout: &Layout) -> Value {
    match layout {
        Layout::Document(document) => json!({
            "type": "object",
            "properties": document.key.iter().map(|name| (name.clone(), json!({}))).collect::<Map<_, _>>(),
            "required": document.key,
            "additionalProperties": true,
        }),
        Layout::Rows(table) => {
            let mut schema = object_schema(&table.columns, &table.children, table.residue.as_deref());
            schema["required"] = json!(table.key);
            schema
        }
    }
}

fn object_schema(columns: &[ColumnShape], children: &[ChildShape], residue: Option<&str>) -> Value {
    let mut properties: Map<_, _> = columns.iter().map(|column| (column.name.clone(), column_schema(column))).collect();
    for child in children {
        let items = object_schema(&child.columns, &child.children, child.residue.as_deref());
        properties.insert(child.field.clone(), json!({ "type": "array", "items": items }));
    }
    if let Some(residue) = residue {
        properties.insert(
            residue.to_owned(),
            json!({
                "type": "object", "description": "fields that no rule of the mapping names",
            }),
        );
    }
    json!({ "type": "object", "properties": properties, "additionalProperties": false })
}

fn column_schema(column: &ColumnShape) -> Value {
    let (name, format) = match column.ty {
        FieldType::Bool => ("boolean", None),
        FieldType::Int => ("integer", None),
        FieldType::Float => ("number", Some("double")),
        FieldType::Decimal => ("number", Some("decimal")),
        FieldType::Text => ("string", None),
        FieldType::Bytes => ("object", Some("tagged-bytes")),
        FieldType::Date => ("string", Some("date")),
        FieldType::Time => ("string", Some("time")),
        FieldType::Timestamp => ("string", Some("date-time-local")),
        FieldType::Instant => ("string", Some("date-time")),
        FieldType::Uuid => ("string", Some("uuid")),
        FieldType::Json => return json!({ "description": "any JSON" }),
        FieldType::Extended => return json!({ "description": "a store's own type, as tagged JSON" }),
    };
    let mut schema = match column.nullable {
        true => json!({ "type": [name, "null"] }),
        false => json!({ "type": name }),
    };
    if let Some(format) = format {
        schema["format"] = json!(format);
    }
    schema
}

fn problem_schema() -> Value {
    let types: Vec<_> = PROBLEM_TYPES.iter().map(|row| format!("{TYPE_PREFIX}{}", row.slug)).collect();
    json!({
        "type": "object",
        "required": ["type", "title", "status", "detail", "code", "message", "details", "hint"],
        "properties": {
            "type": { "type": "string", "format": "uri", "enum": types },
            "title": { "type": "string" },
            "status": { "type": "integer" },
            "detail": { "type": "string" },
            "code": { "type": "string", "description": "the cause's own code, else PostgREST's or PostgreSQL's" },
            "message": { "type": "string" },
            "details": { "type": ["string", "null"] },
            "hint": { "type": ["string", "null"] },
            "field": { "type": "string" },
            "retry_after_ms": { "type": "integer" },
        },
    })
}

/// Parameters that several operations take.
fn parameters() -> Value {
    let query = |name: &str, description: String, schema: Value| json!({ "name": name, "in": "query", "required": false, "description": description, "schema": schema });
    let header = |name: &str, description: &str| json!({ "name": name, "in": "header", "required": false, "description": description, "schema": { "type": "string" } });
    let operators = operator_names().collect::<Vec<_>>().join(", ");
    let text = json!({ "type": "string" });
    json!({
        "key": { "name": "key", "in": "path", "required": true, "schema": { "type": "string" },
            "description": "the key, percent-encoded; the values of a composite key are parted by commas" },
        "select": query("select", "fields of the answer: a,b,alias:c,nested->x,list(a,b)".into(), text.clone()),
        "order": query("order", "a.desc.nullslast,b; ties are broken by the key".into(), text.clone()),
        "limit": query("limit", "records in the page".into(),
            json!({ "type": "integer", "minimum": 0, "maximum": LIST_RECORDS_MAX, "default": LIST_RECORDS_DEFAULT })),
        "offset": query("offset", "records before the page, all of which are read; it repeats or loses records while others write, \
            which after does not".into(), json!({ "type": "integer", "minimum": 0, "maximum": OFFSET_RECORDS_MAX, "default": 0 })),
        "on_conflict": query("on_conflict", "with Prefer: resolution; the fields of the key, by which records are told apart".into(), text.clone()),
        "Range": header("Range", "records of the page, as 0-24 or 25-; instead of limit and offset"),
        "after": query("after", "a page token, taken from the Link header with rel=\"next\"".into(), text.clone()),
        "columns": query("columns", "the fields that the records of an insert may have".into(), text.clone()),
        "and": query("and", "(a.eq.1,or(b.gt.2,c.is.null))".into(), text.clone()),
        "or": query("or", "(a.eq.1,b.gt.2)".into(), text.clone()),
        "filter": { "name": "filter", "in": "query", "required": false, "style": "form", "explode": true,
            "description": format!("field=operator.value; the operators are {operators}, each also after not."),
            "schema": { "type": "object", "additionalProperties": { "type": "string" } } },
        "If-Match": header("If-Match", "only if the record has one of these versions, or * for any"),
        "If-None-Match": header("If-None-Match", "reads: 304 for these versions; writes: * creates only"),
        "Idempotency-Key": header("Idempotency-Key", "the same request with the same key is done once. Before the start of the migration and after its end \
            no store has a place for the key: then the answer says Idempotency-Kept: false, and a retry is a new request \
            (a new record without a key of its own still gets the same key, so that it is refused instead of made twice)"),
        "Prefer": header("Prefer", "return=minimal|headers-only|representation; lists: count=exact (within ten seconds), count=planned (the store's \
            estimate, without a filter), count=estimated, handling=lenient (records that the shape cannot show, which fail \
            the page otherwise, are left out and told in Left-Out); inserts: resolution=merge-duplicates|ignore-duplicates"),
    })
}

fn answer(description: &str) -> Value {
    json!({ "description": description })
}

fn answer_of(description: &str, schema: Value) -> Value {
    json!({ "description": description, "content": { "application/json": { "schema": schema } } })
}

/// An operation with its answers and the problems that it can end in.
fn operation(summary: String, parameters: &[&str], answers: &[(&str, Value)], problems: &[u16]) -> Value {
    let mut responses: Map<_, _> =
        answers.iter().map(|(status, answer)| ((*status).to_owned(), answer.clone())).collect();
    for status in problems.iter().chain(&[400, 401, 500, 503]) {
        responses.insert(status.to_string(), json!({ "$ref": "#/components/responses/problem" }));
    }
    let parameters: Vec<_> = parameters.iter().map(|name| parameter(name)).collect();
    json!({ "summary": summary, "parameters": parameters, "responses": responses })
}

fn with_body(mut operation: Value, media_type: &str, schema: Value) -> Value {
    operation["requestBody"] = json!({
        "required": true,
        "description": format!("at most {BODY_BYTES_MAX} bytes"),
        "content": { media_type: { "schema": schema } },
    });
    operation
}

fn collection(version: &Version, schema: &str) -> Value {
    let (path, one) = (&version.path, reference(schema));
    let list = json!({ "type": "array", "items": one });
    let read: &[&str] = &["filter", "and", "or", "select", "order", "limit", "offset", "after", "Range", "Prefer"];
    let bulk: &[&str] = &["filter", "and", "or", "select", "Idempotency-Key", "Prefer"];
    let get = operation(
        format!("A page of {path}"),
        read,
        &[("200", answer_of("a page; Link leads to the next", list.clone()))],
        &[406, 416, 422],
    );
    let post = operation(
        format!("One new record of {path}, or up to {BULK_RECORDS_MAX}, all or none"),
        &["select", "columns", "on_conflict", "Idempotency-Key", "Prefer"],
        &[
            ("200", answer_of("an upsert that found all of its records there", list.clone())),
            ("201", answer_of("created; Location and ETag for one record", list.clone())),
        ],
        &[409, 413, 415, 422],
    );
    let patch = operation(
        format!("A merge patch of all records of {path} that match, at most {BULK_RECORDS_MAX}, all or none"),
        bulk,
        &[("200", answer_of("changed", list.clone())), ("204", answer("changed"))],
        &[409, 413, 415, 422],
    );
    let delete = operation(
        format!("Deletes all records of {path} that match, at most {BULK_RECORDS_MAX}, all or none"),
        bulk,
        &[("200", answer_of("what was deleted", list.clone())), ("204", answer("deleted"))],
        &[409, 413, 422],
    );
    json!({
        "get": get,
        "post": with_body(post, "application/json", json!({ "oneOf": [one.clone(), list] })),
        "patch": with_body(patch, "application/merge-patch+json", json!({ "type": "object" })),
        "delete": delete,
    })
}

fn record(version: &Version, schema: &str) -> Value {
    let (path, one) = (&version.path, reference(schema));
    let written: &[(&str, Value)] = &[
        ("200", answer_of("the record", one.clone())),
        ("204", answer("done; ETag has the new version, Location the new place of a record that moved")),
    ];
    let with_created: Vec<_> = written.iter().cloned().chain([("201", answer("created"))]).collect();
    let write: &[&str] = &["select", "If-Match", "If-None-Match", "Idempotency-Key", "Prefer"];
    let get = operation(
        format!("One record of {path}"),
        &["select", "If-None-Match"],
        &[
            ("200", answer_of("the record; ETag is its version", one.clone())),
            ("304", answer("the client has this version")),
        ],
        &[404, 406],
    );
    let problems: &[u16] = &[404, 409, 412, 413, 415, 422];
    let put = operation(format!("Makes or replaces a record of {path}"), write, &with_created, problems);
    let patch = operation(format!("A merge patch of a record of {path}"), write, written, problems);
    let delete = operation(format!("Deletes a record of {path}"), write, written, problems);
    json!({
        "parameters": [parameter("key")],
        "get": get,
        "put": with_body(put, "application/json", one),
        "patch": with_body(patch, "application/merge-patch+json", json!({ "type": "object" })),
        "delete": delete,
    })
}

/// A path whose writes end in 422 for reasons of the migration's kind too.
fn refused<'r>(mut path: Value, refusals: impl Iterator<Item = &'r WriteRefusal>) -> Value {
    let codes: Vec<String> = refusals.map(|refusal| format!("`{}`: {}", refusal.code, refusal.what)).collect();
    if codes.is_empty() {
        return path;
    }
    let description = format!("A problem document (RFC 9457). Its code may be one of these. {}", codes.join(". "));
    for method in ["post", "put", "patch", "delete"] {
        if let Some(answer) = path.pointer_mut(&format!("/{method}/responses/422")) {
            answer["description"] = json!(description);
        }
    }
    path
}

#[cfg(test)]
mod tests {
    use super::super::fields::tests::{documents, users};
    use super::*;

    #[test]
    fn rows_are_described_by_their_columns() {
        let schema = record_schema(&users());
        assert_eq!(schema["properties"]["joined"], json!({ "type": ["string", "null"], "format": "date-time" }));
        assert_eq!(schema["properties"]["addresses"]["items"]["properties"]["city"]["type"], json!(["string", "null"]));
        assert_eq!(schema["required"], json!(["id"]));
        assert_eq!(schema["additionalProperties"], json!(false));
    }

    #[test]
    fn documents_are_open() {
        let schema = record_schema(&documents());
        assert_eq!(schema["additionalProperties"], json!(true));
        assert_eq!(schema["required"], json!(["_id"]));
    }

    #[test]
    fn every_reference_leads_somewhere() {
        let document = document(&[]);
        let text = document.to_string();
        for part in text.split("\"#/").skip(1) {
            let pointer = format!("/{}", part.split('"').next().unwrap_or_default());
            assert!(document.pointer(&pointer).is_some(), "{pointer}");
        }
        for name in parameters().as_object().unwrap().keys() {
            assert_eq!(parameter(name)["$ref"], json!(format!("#/components/parameters/{name}")));
        }
    }

    #[test]
    fn all_problems_are_named() {
        let types = problem_schema()["properties"]["type"]["enum"].clone();
        assert_eq!(types.as_array().map(Vec::len), Some(PROBLEM_TYPES.len()));
    }
}
