//! A `require` checked against the table as it is: both shapes, the compiled
//! fill, and what the store is asked for.

use crate::evolve::Wanted;
use crate::fill::{Fill, FillError};
use crate::shape::{ColumnShape, DocumentLayout, FieldType, Layout, TableShape};
use crate::spec::RequireSpec;
use crate::store::{Covers, Form, InspectedColumn, InspectedTable, Inspection};

/// What a spec comes to with its table.
#[derive(Clone, Debug)]
pub struct Required {
    /// The shape of outdated clients.
    pub v1: Layout,
    /// The shape with the field.
    pub v2: Layout,
    /// What records without it get.
    pub fill: Fill,
    /// What the store is asked for.
    pub wanted: Wanted,
    /// What to know of the table, each a sentence.
    pub hazards: Vec<String>,
}

/// Checks a spec against what the store has.
///
/// # Errors
/// `require/no-table`, `require/key`, `require/column`, and those of [`Fill::compile`].
pub fn required(spec: &RequireSpec, inspection: &Inspection) -> Result<Required, FillError> {
    let table = table_of(spec, inspection)?;
    // Stores whose own writers nobody captures are those that declare no columns.
    if table.form == Form::Documents || inspection.covers == Covers::Gateway {
        return of_documents(spec, table);
    }
    let mut hazards = Vec::new();
    let mut columns = Vec::new();
    for column in &table.columns {
        if column.name == spec.field.name {
            continue;
        }
        if column.generated {
            hazards.push(format!("column {} is computed by the store: the gateway does not show it", column.name));
            continue;
        }
        columns.push(shape_of(column)?);
    }
    let key = key_of(spec, table, &columns)?;
    let fill = Fill::compile(&spec.field, &columns)?;
    let mut with_field = columns.clone();
    with_field.push(ColumnShape {
        name: spec.field.name.clone(),
        ty: spec.field.domain.ty,
        nullable: false,
        unique: false,
        native: spec.field.native.clone(),
        references: None,
    });
    let layout = |columns: Vec<ColumnShape>| {
        Layout::Rows(TableShape {
            table: table.name.clone(),
            key: spec.store.key.clone(),
            columns,
            children: Vec::new(),
            residue: None,
            extras: Default::default(),
        })
    };
    hazards.extend(table.hazards.iter().cloned());
    let wanted = Wanted {
        table: table.name.clone(),
        key,
        column: spec.field.name.clone(),
        native: spec.field.native.clone(),
        fill: fill.clone(),
    };
    Ok(Required { v1: layout(columns), v2: layout(with_field), fill, wanted, hazards })
}

/// Documents have one layout in both shapes: the field is in them or not.
fn of_documents(spec: &RequireSpec, table: &InspectedTable) -> Result<Required, FillError> {
    check_key(spec, table)?;
    if spec.field.native.is_some() {
        return Err(FillError {
            code: "require/column",
            message: format!("`{}` holds documents, whose fields have no declared type", table.name),
            hint: "take `native` out of [field]".to_owned(),
        });
    }
    let fill = Fill::of_documents(&spec.field, &spec.store.key)?;
    let layout = Layout::Document(DocumentLayout {
        table: table.name.clone(),
        key: spec.store.key.clone(),
        document: "doc".to_owned(),
    });
    let wanted = Wanted {
        table: table.name.clone(),
        key: spec.store.key.iter().map(|name| (name.clone(), FieldType::Json)).collect(),
        column: spec.field.name.clone(),
        native: None,
        fill: fill.clone(),
    };
    // What is told of the collection is of captured writes, of which there are none here.
    Ok(Required { v1: layout.clone(), v2: layout, fill, wanted, hazards: Vec::new() })
}

fn table_of<'i>(spec: &RequireSpec, inspection: &'i Inspection) -> Result<&'i InspectedTable, FillError> {
    inspection.tables.iter().find(|table| table.name == spec.store.table).ok_or_else(|| {
        let known: Vec<&str> = inspection.tables.iter().map(|table| table.name.as_str()).collect();
        FillError {
            code: "require/no-table",
            message: format!("there is no table `{}`", spec.store.table),
            hint: format!("tables: {}", known.join(", ")),
        }
    })
}

fn shape_of(column: &InspectedColumn) -> Result<ColumnShape, FillError> {
    let Some(ty) = column.ty else {
        return Err(FillError {
            code: "require/column",
            message: format!("column `{}` of type {} cannot be read exactly", column.name, column.declared),
            hint: "a table of a required field has columns that its connector reads".to_owned(),
        });
    };
    Ok(ColumnShape {
        name: column.name.clone(),
        ty,
        nullable: column.nullable,
        unique: false,
        native: None,
        references: None,
    })
}

/// The key must be the table's own: a row is found, and noted, by it.
fn check_key(spec: &RequireSpec, table: &InspectedTable) -> Result<(), FillError> {
    let is_unique = |names: &[String]| {
        names.len() == spec.store.key.len() && names.iter().all(|name| spec.store.key.contains(name))
    };
    if !is_unique(&table.key) {
        return Err(FillError {
            code: "require/key",
            message: format!("`{}` is not the primary key of `{}`", spec.store.key.join(", "), table.name),
            hint: format!("the primary key: {}", table.key.join(", ")),
        });
    }
    Ok(())
}

fn key_of(
    spec: &RequireSpec,
    table: &InspectedTable,
    columns: &[ColumnShape],
) -> Result<Vec<(String, FieldType)>, FillError> {
    check_key(spec, table)?;
    spec.store
        .key
        .iter()
        .map(|name| {
            let found = columns.iter().find(|column| column.name == *name);
            found.map(|column| (name.clone(), column.ty)).ok_or_else(|| FillError {
                code: "require/key",
                message: format!("the key column `{name}` is not there"),
                hint: "check `key` in [store]".to_owned(),
            })
        })
        .collect()
}
