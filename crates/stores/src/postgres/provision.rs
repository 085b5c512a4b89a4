//! Making the tables of a layout.

use shearwater_core::error::StoreResult;
use shearwater_core::shape::{ColumnShape, FieldType, Layout};

use super::error::Failure;
use super::names::{list, qualified, quoted};
use super::session::{Session, get};
use super::value::{Place, declared};
use crate::relational::{Tree, record_key_columns};

/// Makes what is not there; the statements that ran.
pub(super) async fn provision(session: &Session, tree: &Tree, schema: &str) -> Result<Vec<String>, Failure> {
    let mut ran = Vec::new();
    let has_schema = "SELECT to_regnamespace($1) IS NOT NULL";
    if !get::<bool>(&session.one(has_schema, &[&quoted(schema)]).await?, 0)? {
        ran.push(format!("CREATE SCHEMA {}", quoted(schema)));
        session.batch(ran.last().map_or("", String::as_str)).await?;
    }
    // Types in the store's own words may be of the user's schema, or of an extension's.
    session.batch(&format!("SET LOCAL search_path = pg_catalog, {}, public", quoted(schema))).await?;
    for (table, sql) in create_statements(tree, schema) {
        let row = session.one("SELECT to_regclass($1) IS NOT NULL", &[&table]).await?;
        if !get::<bool>(&row, 0)? {
            session.batch(&sql).await?;
            ran.push(sql);
        }
    }
    Ok(ran)
}

/// The statements that make the tables of a layout, each with its table.
fn create_statements(tree: &Tree, schema: &str) -> Vec<(String, String)> {
    let root = qualified(schema, tree.layout.table());
    let key_list = list(&tree.key);
    let shape = match &tree.layout {
        Layout::Document(document) => {
            // A text can hold a key's part of any type.
            let keys: String = document
                .key
                .iter()
                .map(|k| format!("{} {} NOT NULL, ", quoted(k), key_type(FieldType::Text)))
                .collect();
            let doc = quoted(&document.document);
            let sql = format!("CREATE TABLE {root} ({keys}{doc} json NOT NULL, PRIMARY KEY ({key_list}))");
            return vec![(root, sql)];
        }
        Layout::Rows(shape) => shape,
    };
    let type_of_key = |name: &String| {
        let column = shape.columns.iter().find(|c| c.name == *name);
        column.map_or_else(|| key_type(FieldType::Text), type_of_key_column)
    };
    let mut parts: Vec<String> = shape
        .columns
        .iter()
        .map(|c| match tree.key.contains(&c.name) {
            true => format!("{} {} NOT NULL", quoted(&c.name), type_of_key_column(c)),
            false => value_column(c),
        })
        .collect();
    parts.extend(shape.residue.iter().map(|r| format!("{} json", quoted(r))));
    parts.push(format!("PRIMARY KEY ({key_list})"));
    let mut statements = vec![(root.clone(), format!("CREATE TABLE {root} ({})", parts.join(", ")))];
    let record_key = record_key_columns(&tree.key);
    for child in &tree.children {
        let table = qualified(schema, &child.shape.table);
        let mut parts: Vec<String> = tree
            .key
            .iter()
            .zip(&record_key)
            .map(|(k, column)| format!("{} {} NOT NULL", quoted(column), type_of_key(k)))
            .collect();
        parts.push("\"id\" text COLLATE \"C\" NOT NULL".to_owned());
        if child.parent.is_some() {
            parts.push("\"parent_id\" text COLLATE \"C\" NOT NULL".to_owned());
        }
        parts.push("\"position\" bigint NOT NULL".to_owned());
        parts.extend(child.shape.columns.iter().map(value_column));
        parts.extend(child.shape.residue.iter().map(|r| format!("{} json", quoted(r))));
        parts.push(format!("PRIMARY KEY ({}, \"id\")", list(&record_key)));
        statements.push((table.clone(), format!("CREATE TABLE {table} ({})", parts.join(", "))));
    }
    statements
}

fn key_type(ty: FieldType) -> String {
    declared(ty, Place::Key).to_owned()
}

fn type_of_key_column(column: &ColumnShape) -> String {
    column.native.clone().unwrap_or_else(|| key_type(column.ty))
}

fn value_column(column: &ColumnShape) -> String {
    let ty = column.native.clone().unwrap_or_else(|| declared(column.ty, Place::Value).to_owned());
    let not_null = if column.nullable { "" } else { " NOT NULL" };
    let unique = if column.unique { " UNIQUE" } else { "" };
    format!("{} {ty}{not_null}{unique}", quoted(&column.name))
}

/// Makes a database that is not there, for [`crate::Create::IfMissing`].
pub(super) async fn create_database(session: &Session, name: &str) -> StoreResult<()> {
    let sql = format!("CREATE DATABASE {} ENCODING 'UTF8' TEMPLATE template0", quoted(name));
    Ok(session.batch(&sql).await?)
}
