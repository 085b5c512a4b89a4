//! `init` for tables of plain columns: one, or all of a store.

use std::path::Path;

use serde_json::json;
use shearwater_core::store::{Form, InspectedColumn, InspectedTable};
use shearwater_core::tables::{Proposal, alike, alike_table, in_order, propose};
use shearwater_stores::Role;

use super::super::exit::{Exit, Failure, Outcome};
use super::{Context, Names, Proposed, Stores, choose_key, document_of, documents, entity_name, write_new};
use crate::render::amount;
use crate::wiring;

/// A spec for a table of plain columns.
pub(super) fn one(stores: &Stores<'_>, table: &InspectedTable, names: Names) -> Outcome<Proposed> {
    // Asked once, so that a URL of an unknown kind is told as such.
    shearwater_stores::native(stores.target_url, stores.source_url, &InspectedColumn::default(), Role::Plain)?;
    let named = names.target_table.as_deref().unwrap_or(&table.name);
    let target_form = shearwater_stores::form(stores.target_url)?;
    let target = stores.target.as_ref().and_then(|look| alike_table(look, named));
    // Documents have no columns to be like, and nothing refers to them.
    let target = target.filter(|_| target_form == Form::Columns);
    let is_indexed = |column: &InspectedColumn| {
        let has = |columns: &Vec<String>| columns.contains(&column.name);
        // What refers to an indexed text is compared with it, and gets an index too.
        has(&names.key) || table.unique.iter().any(has) || table.foreign_keys.iter().any(|key| has(&key.columns))
    };
    let native = |column: &InspectedColumn| {
        let role = if is_indexed(column) { Role::Indexed } else { Role::Plain };
        shearwater_stores::native(stores.target_url, stores.source_url, column, role).ok().flatten()
    };
    let other = |name: &str, column: &str| match stores.target.as_ref().and_then(|look| alike_table(look, name)) {
        _ if target_form == Form::Documents => None,
        _ if name == table.name => Some([named.to_owned(), column.to_owned()]),
        Some(there) => alike(there, column).map(|found| [there.name.clone(), found.name.clone()]),
        None => Some([name.to_owned(), column.to_owned()]),
    };
    let proposal = Proposal {
        migration: names.migration(),
        entity: names.entity.clone(),
        source_url: stores.source_url.to_owned(),
        key: names.key.clone(),
        target_url: stores.target_url.to_owned(),
        target_table: target.map_or(named, |target| target.name.as_str()).to_owned(),
        target_form,
        target,
        native: &native,
        other: &other,
    };
    Ok(Proposed { text: propose(table, &proposal), records: table.estimate.records })
}

/// A table whose spec was written.
struct Written {
    file: String,
    table: String,
    records: u64,
}

/// A spec for every table, into files that are numbered in the order of the
/// foreign keys. Tables for which there is none are named.
pub(super) async fn all(context: &Context, stores: &Stores<'_>, folder: &Path) -> Outcome<Exit> {
    let tables: Vec<&InspectedTable> = stores.source.tables.iter().collect();
    if tables.is_empty() {
        return Err(Failure::new(Exit::Problems, "init/table", "the source has no tables").hint("check the URL"));
    }
    let order = in_order(&tables);
    std::fs::create_dir_all(folder).map_err(|error| Failure::file("make the folder", folder, &error))?;
    let digits = tables.len().to_string().len();
    let (mut written, mut refused): (Vec<Written>, Vec<(String, String)>) = (Vec::new(), Vec::new());
    for (at, place) in order.places.iter().enumerate() {
        let table = tables[*place];
        match proposed(context, stores, table).await {
            Ok((entity, spec)) => {
                let file = folder.join(format!("{:0digits$}-{}.toml", at + 1, entity.to_lowercase()));
                wiring::check_spec("the proposed spec", spec.text.clone(), context.console.colour)?;
                write_new(&file, &spec.text)?;
                let file = file.display().to_string();
                written.push(Written { file, table: table.name.clone(), records: spec.records });
            }
            Err(failure) if failure.exit == Exit::Problems => refused.push((table.name.clone(), failure.message)),
            Err(failure) => return Err(failure),
        }
    }
    context.console.answer(
        &json!({
            "specs": written.iter().map(|w| json!({ "spec": w.file, "table": w.table, "records": w.records })).collect::<Vec<_>>(),
            "circles": order.circles,
            "refused": refused.iter().map(|(table, why)| json!({ "table": table, "message": why })).collect::<Vec<_>>(),
        }),
        &text(&written, &order.circles, &refused),
    )?;
    Ok(if refused.is_empty() { Exit::Done } else { Exit::Problems })
}

async fn proposed(context: &Context, stores: &Stores<'_>, table: &InspectedTable) -> Outcome<(String, Proposed)> {
    let names = Names { key: choose_key(table, &[])?, entity: entity_name(&table.name), target_table: None };
    let entity = names.entity.clone();
    let spec = match document_of(table) {
        Some(document) => documents(context, stores, table, names, document.to_owned(), u64::MAX).await?,
        None => one(stores, table, names)?,
    };
    Ok((entity, spec))
}

fn text(written: &[Written], circles: &[Vec<String>], refused: &[(String, String)]) -> String {
    let mut text = String::new();
    for w in written {
        text.push_str(&format!("{}: table {}, {}\n", w.file, w.table, amount::counted(w.records, "record", "records")));
    }
    for circle in circles {
        text.push_str(&format!(
            "in a circle: {} refer to each other: complete none of them before all are moved\n",
            circle.join(", ")
        ));
    }
    for (table, why) in refused {
        text.push_str(&format!("no spec for {table}: {why}\n"));
    }
    if let Some(first) = written.first() {
        text.push_str(&format!("next: shearwater plan {}\n", first.file));
    }
    text
}
