//! The commands of each stage as `plan` prints them, with what they take.

use mongodb::bson::{Document, doc};
use shearwater_core::error::StoreResult;
use shearwater_core::evolve::{Alteration, Effect, Evolve as _, FillStatement, Stage, Statement};

use super::super::inspect;
use super::{Evolving, validator};

/// Documents that a search looks at in a millisecond, about: an estimate, not measured.
const SCAN_DOCUMENTS_PER_MS: u64 = 600;

/// Documents that are written in a millisecond, about: an estimate, not measured.
const WRITE_DOCUMENTS_PER_MS: u64 = 30;

/// A document as the shell writes it.
pub(super) fn json(document: &Document) -> String {
    document.to_string()
}

fn run_command(command: &Document) -> String {
    format!("db.runCommand({})", json(command))
}

const NO_LOCK: &str = "none that others wait for";

/// The statements of a stage, from what the collection has now.
pub(super) async fn statements(of: &Evolving, stage: Stage) -> StoreResult<Vec<Statement>> {
    let records = inspect::estimate(&of.inner.server, &of.inner.records.table).await?.records;
    let mut all = Vec::new();
    for what in of.alterations(stage) {
        let (sql, lock, effect) = statement(of, what).await?;
        let expected_ms = match effect {
            Effect::Scan => records.div_ceil(SCAN_DOCUMENTS_PER_MS).max(1),
            Effect::Fill | Effect::Rewrite | Effect::RewriteAlone => records.div_ceil(WRITE_DOCUMENTS_PER_MS).max(1),
            Effect::Catalogue => 1,
        };
        all.push(Statement { what, sql, lock: lock.to_owned(), effect, expected_ms });
    }
    Ok(all)
}

async fn statement(of: &Evolving, what: Alteration) -> StoreResult<(String, &'static str, Effect)> {
    let (table, own, name) = (&of.inner.records.table, &of.own.name, &of.field.name);
    let exclusive = "the collection, for an instant: open transactions on it are waited for, and all wait behind";
    Ok(match what {
        // It counts the documents that have the field, so it reads them all.
        Alteration::AddSidecar => (format!("db.createCollection({own:?})"), NO_LOCK, Effect::Scan),
        Alteration::AddCheck => {
            let rules = validator::before(of).await?.with(&of.field.rule());
            (run_command(&rules.command(table)), exclusive, Effect::Catalogue)
        }
        Alteration::ValidateCheck => {
            let asked = json(&doc! { "$nor": [of.field.rule()] });
            (format!("db.getCollection({table:?}).find({asked})"), NO_LOCK, Effect::Scan)
        }
        Alteration::DropCheck => {
            let rules = validator::before(of).await?;
            (run_command(&rules.command(table)), exclusive, Effect::Catalogue)
        }
        Alteration::DropColumn => {
            let update = json(&doc! { "$unset": { name: "" } });
            let text = format!("db.getCollection({table:?}).updateMany({{_id: {{$in: [a batch]}}}}, {update})");
            (text, "each document, while it is written", Effect::Rewrite)
        }
        Alteration::DropSidecar => (format!("db.getCollection({own:?}).drop()"), NO_LOCK, Effect::Catalogue),
        Alteration::AddColumn
        | Alteration::AddWriteDefault
        | Alteration::AddValues
        | Alteration::ValidateValues
        | Alteration::DropValues
        | Alteration::SetNotNull
        | Alteration::DropWriteDefault
        | Alteration::DropNotNull => (String::new(), NO_LOCK, Effect::Catalogue),
    })
}

/// The update of each document of a batch.
pub(super) fn fill_statement(of: &Evolving) -> FillStatement {
    let (table, name) = (&of.inner.records.table, &of.field.name);
    let made_from = match of.field.inputs.as_slice() {
        [] => String::new(),
        inputs => format!(", {} as they were read", inputs.join(", ")),
    };
    FillStatement {
        sql: format!(
            "db.getCollection({table:?}).updateOne({{_id: the document's, {name}: missing or null{made_from}}}, \
             {{$set: {{{name}: its value}}}})"
        ),
        bounds:
            "in the order of _id over all of its types, up to the last document when the backfill began; the value is \
                 made by this program, and a document that somebody changes meanwhile is left for the next run"
                .to_owned(),
        lock: "each document, while it is written".to_owned(),
    }
}
