//! What outdated clients and other programs on the collection must know.

use mongodb::bson::{Document as Query, doc};
use shearwater_core::error::{StoreError, StoreErrorKind, StoreResult};

use super::super::error::failure;
use super::super::inspect;
use super::super::record::RESERVED;
use super::validator::{self, Rules};
use super::{Evolving, fill};

/// Documents that the fill is tried on.
const SAMPLE_DOCUMENTS: u64 = 1_000;

/// How many documents have the field, be it null.
pub(super) async fn have_field(of: &Evolving) -> StoreResult<u64> {
    let server = &of.inner.server;
    let collection = server.collection(&of.inner.records.table);
    let count = collection.count_documents(doc! { &of.field.name: { "$exists": true } });
    server.count(count).await.map_err(|e| failure("counting documents", &e).of_a_repeatable().error)
}

/// What to know of the collection, each a sentence.
pub(super) async fn told(of: &Evolving) -> StoreResult<Vec<String>> {
    let (table, name) = (&of.inner.records.table, &of.field.name);
    refuse_ours(of).await?;
    let before = validator::before(of).await?;
    refuse_closed(of, &before)?;
    let mut told = vec![
        format!(
            "MongoDB has no triggers: what a program writes past the gateway without {name} has none; the backfill and \
             `verify` find it, and from enforce on the server refuses it (121, DocumentValidationFailure)"
        ),
        format!(
            "a program that reads {table} itself, and not through the gateway, finds no {name} in a document until the \
             backfill has come by"
        ),
        format!(
            "a program that replaces whole documents, with what it read before the backfill, takes {name} out again; from \
             enforce on it is refused"
        ),
        "the validator comes and goes with collMod, which waits for open transactions on the collection, and everybody \
         behind it: it gives up after milliseconds and tries again"
            .to_owned(),
        "a program that writes with bypassDocumentValidation is not held up by any validator".to_owned(),
        "contract ends the write default in the gateway, where it is; the server changes nothing".to_owned(),
    ];
    told.extend(of_rules(&before));
    let had = match of.own.is_there(&of.inner).await? {
        true => of.own.had_field(&of.inner).await?,
        false => have_field(of).await?,
    };
    if had > 0 {
        told.push(format!(
            "{had} documents have {name} already, and keep it; a rollback to planned takes out only what the backfill has \
             put there and nobody has changed since"
        ));
    }
    told.extend(of_sample(of).await?);
    told.extend(of_indexes(of).await?);
    Ok(told)
}

/// Documents with our reserved field belong to another migration, or to what one has left.
async fn refuse_ours(of: &Evolving) -> StoreResult<()> {
    let failed = |e| failure("looking at documents", &e).of_a_repeatable().error;
    let collection = of.inner.server.collection(&of.inner.records.table);
    let found = collection.find_one(doc! { RESERVED: { "$exists": true } });
    match found.await.map_err(failed)? {
        None => Ok(()),
        Some(_) => {
            let what =
                format!("MongoDB: documents of {} have a field {RESERVED}, which is ours", of.inner.records.table);
            Err(StoreError::new(StoreErrorKind::Unsupported, what)
                .with_hint("finish or withdraw the other migration of this collection first"))
        }
    }
}

/// A validator that takes no further fields would refuse every fill.
fn refuse_closed(of: &Evolving, before: &Rules) -> StoreResult<()> {
    let name = &of.field.name;
    let schema = before.validator().and_then(|validator| validator.get_document("$jsonSchema").ok());
    let closed = schema.is_some_and(|schema| {
        let named = schema.get_document("properties").is_ok_and(|properties| properties.contains_key(name));
        schema.get_bool("additionalProperties").is_ok_and(|allowed| !allowed) && !named
    });
    if !closed || !before.refuses() {
        return Ok(());
    }
    let what = format!("MongoDB: the validator of {} takes no field that it does not name", of.inner.records.table);
    Err(StoreError::new(StoreErrorKind::Unsupported, what)
        .with_hint(format!("let it take {name} (not required), with collMod, then this command again")))
}

fn of_rules(before: &Rules) -> Vec<String> {
    let mut told = Vec::new();
    if before.validator().is_none() {
        return told;
    }
    let (level, action) = (before.level(), before.action());
    told.push(format!(
        "there is a validator (validationLevel {level}, validationAction {action}): ours comes beside it, under the same \
         level and action, and a rollback puts it back as it is"
    ));
    if !before.refuses() {
        told.push(
            "as that validator is set, the server refuses nothing: after enforce it logs, at most, a document without the \
             field, and the gateway alone sees to it"
                .to_owned(),
        );
    } else if level == "moderate" {
        told.push(
            "as validationLevel is moderate, an update of a document that breaks the validator already is not looked at, so \
             it may take the field out"
                .to_owned(),
        );
    }
    told
}

/// Documents that the fill cannot be made from stop the backfill.
async fn of_sample(of: &Evolving) -> StoreResult<Vec<String>> {
    let part = fill::Walk { low: "", high: "", after: None, documents_max: SAMPLE_DOCUMENTS };
    let found = fill::walk(of, &part).await?;
    let refused = found.iter().filter(|raw| fill::due(of, raw).is_err()).count();
    Ok(match refused {
        0 => Vec::new(),
        refused => vec![format!(
            "of {} documents looked at, {refused} have values that the fill cannot be made from; the backfill stops at the \
             first such document and names it",
            found.len()
        )],
    })
}

async fn of_indexes(of: &Evolving) -> StoreResult<Vec<String>> {
    let indexes: Vec<Query> = inspect::indexes(&of.inner.server, &of.inner.records.table).await?;
    let name = &of.field.name;
    let is_on = |index: &&Query| index.get_document("key").is_ok_and(|key| key.contains_key(name));
    let on: Vec<&str> = indexes.iter().filter(is_on).filter_map(|index| index.get_str("name").ok()).collect();
    Ok(match on.as_slice() {
        [] => Vec::new(),
        on => {
            vec![format!("indexes on {name} are kept up by the backfill, which is slower with them: {}", on.join(", "))]
        }
    })
}
