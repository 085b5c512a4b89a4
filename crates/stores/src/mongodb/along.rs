//! Along which index a list can be read: one that gives the canonical order, as
//! far as the server can tell now.
//!
//! That is the index of `_id` for a list by key, and for one by a field an index
//! that begins with the field and `_id`, which breaks ties. It is proven for each
//! page: no collation, no array was ever in it, nothing stray is in it
//! ([`super::bracket`]), and the `_id`s are all in one bracket. Each of these is a
//! question that the index answers without reading records.

use mongodb::bson::{Bson, Document, doc};
use mongodb::options::Hint;
use shearwater_core::error::StoreResult;
use shearwater_core::query::ListQuery;
use shearwater_core::store::{ListPlan, Reads};

use super::bracket::{Bracket, odd_decimals, outside, stray};
use super::condition::{besides, field};
use super::error::failure;
use super::inspect::{collection, indexes};
use super::key::ID;
use super::raw::{Element, find as find_in, ty};
use super::record::RESERVED;
use super::scan::{by_id_index, no_tombstones};
use super::{Inner, value};
use crate::relational::page::Direction;

/// Records that are all read for a page where an index finds them by the filter:
/// it costs less than to pass over those between them.
const FILTERED_READ_MAX: u64 = 1_000;

/// An index, and how to go along it.
#[derive(Debug)]
pub(super) struct Along {
    /// Whose values it orders.
    pub(super) field: String,
    /// What filters call it.
    pub(super) name: String,
    pub(super) hint: Hint,
    pub(super) direction: Direction,
    pub(super) nulls_first: bool,
    /// `None`: no two documents have one value, as in the index of `_id`.
    pub(super) ties: Option<Ties>,
}

/// How documents of one value stand.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ties {
    /// The signs of the index: of the field, of `_id`.
    signs: (i32, i32),
    /// What all `_id`s are.
    pub(super) ids: Bracket,
}

/// Why no index is enough.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Unfit {
    /// There is none on this field.
    Lacks(String),
    /// None would be enough.
    Never(&'static str),
}

impl Along {
    /// The sort in which the index gives the order's direction.
    pub(super) fn sort(&self) -> Document {
        let sign = if self.direction == Direction::Rising { 1 } else { -1 };
        match self.ties {
            None => doc! { &self.field: sign },
            Some(Ties { signs: (of_field, of_id), .. }) => doc! { &self.field: sign, ID: sign * of_field * of_id },
        }
    }

    /// Whether ties come by rising `_id` in that sort.
    pub(super) fn is_straight(&self) -> bool {
        let sign = if self.direction == Direction::Rising { 1 } else { -1 };
        self.ties.is_none_or(|Ties { signs: (of_field, of_id), .. }| sign * of_field * of_id == 1)
    }

    /// The sort in which documents of one value come by rising `_id`.
    pub(super) fn sort_of_ties(&self) -> Document {
        match self.ties {
            None => doc! { &self.field: 1 },
            Some(Ties { signs: (of_field, of_id), .. }) => doc! { &self.field: of_field * of_id, ID: 1 },
        }
    }
}

/// What a list asks of an index.
struct Asked<'a> {
    field: &'a str,
    name: &'a str,
    direction: Direction,
    nulls_first: bool,
}

fn asked<'a>(inner: &'a Inner, query: &'a ListQuery) -> Result<Asked<'a>, Unfit> {
    let key = match inner.records.keys.names() {
        [name] => Some(name.as_str()),
        _ => None,
    };
    let by_key = |name, direction| Asked { field: ID, name, direction, nulls_first: false };
    if !query.is_binary() {
        return Err(Unfit::Never("MongoDB's own order of text is not by its bytes"));
    }
    let Some(term) = query.order.first() else {
        return key.map(|name| by_key(name, Direction::Rising)).ok_or(Unfit::Never("the key has several parts"));
    };
    let direction = if term.descending { Direction::Falling } else { Direction::Rising };
    let Some(name) = field(&term.path) else { return Err(Unfit::Never("the order is by a path into documents")) };
    if Some(name) == key {
        // The place to go on from must be that of its key.
        let is_its = query.after.as_ref().is_none_or(|place| place.values.first() == place.key.values().first());
        return if is_its {
            Ok(by_key(name, direction))
        } else {
            Err(Unfit::Never("the place is that of another key"))
        };
    }
    if query.order.len() > 1 {
        return Err(Unfit::Never("the order is by several fields"));
    }
    if name == ID || name == RESERVED {
        return Err(Unfit::Never("the field is not the record's"));
    }
    Ok(Asked { field: name, name, direction, nulls_first: term.nulls_first })
}

/// The signs of an index that begins with a field and `_id`, and has every document.
fn signs(index: &Document, field: &str) -> Option<(i32, i32)> {
    const LESS: [&str; 4] = ["collation", "partialFilterExpression", "sparse", "hidden"];
    let keys = index.get_document("key").ok()?;
    let mut keys = keys.iter();
    let mut sign = |name: &str| {
        let (found, sign) = keys.next()?;
        let sign = match sign {
            Bson::Int32(n) => f64::from(*n),
            Bson::Int64(n) => *n as f64,
            Bson::Double(x) => *x,
            _ => return None,
        };
        (found == name && sign != 0.0).then_some(if sign > 0.0 { 1 } else { -1 })
    };
    let signs = (sign(field)?, sign(ID)?);
    let is_less = |name: &str| index.get(name).is_some_and(|value| *value != Bson::Boolean(false));
    (!LESS.into_iter().any(is_less)).then_some(signs)
}

fn begins_with(index: &Document, fields: &[&str]) -> bool {
    let first = index.get_document("key").ok().and_then(|key| key.keys().next());
    first.is_some_and(|first| fields.contains(&first.as_str()))
}

/// The index of a list, if one gives its order.
pub(super) async fn of(inner: &Inner, query: &ListQuery) -> StoreResult<Result<Along, Unfit>> {
    let (server, table) = (&inner.server, &inner.records.table);
    let Asked { field, name, direction, nulls_first } = match asked(inner, query) {
        Ok(asked) => asked,
        Err(unfit) => return Ok(Err(unfit)),
    };
    let (found, known) = tokio::try_join!(collection(server, table), indexes(server, table))?;
    if found.is_some_and(|found| found.options().contains_key("collation")) {
        return Ok(Err(Unfit::Never("the collection has a collation, so its texts are not ordered by their bytes")));
    }
    if is_filtered(inner, query, name, &known).await? {
        return Ok(Err(Unfit::Never("the filter has an index of its own, and finds few")));
    }
    let along = |hint, ties| {
        let (field, name) = (field.to_owned(), name.to_owned());
        Along { field, name, hint, direction, nulls_first, ties }
    };
    if field == ID {
        let is_whole = !is_any(inner, &by_id_index(), stray(ID)).await?;
        return Ok(is_whole.then(|| along(by_id_index(), None)).ok_or(Unfit::Never(STRAY)));
    }
    let fit = known.iter().find_map(|index| Some((index.get_str("name").ok()?, signs(index, field)?)));
    let Some((index, signs)) = fit else { return Ok(Err(Unfit::Lacks(field.to_owned()))) };
    let hint = Hint::Name(index.to_owned());
    let strays = doc! { "$and": [no_tombstones(), stray(field)] };
    let (arrays, ids, strays) = tokio::try_join!(has_arrays(inner, index), ids(inner), is_any(inner, &hint, strays))?;
    if arrays || strays {
        return Ok(Err(Unfit::Never(STRAY)));
    }
    let Some(ids) = ids else { return Ok(Err(Unfit::Never("the keys are of several types"))) };
    Ok(Ok(along(hint, Some(Ties { signs, ids }))))
}

/// Whether an index finds few records by what the filter says of other fields.
async fn is_filtered(inner: &Inner, query: &ListQuery, name: &str, known: &[Document]) -> StoreResult<bool> {
    let (conditions, fields) = besides(&query.filter, name);
    if !known.iter().any(|index| begins_with(index, &fields)) {
        return Ok(false);
    }
    let collection = inner.server.collection(&inner.records.table);
    let count = collection.count_documents(doc! { "$and": conditions }).limit(FILTERED_READ_MAX + 1);
    let count = inner.server.count(count).await;
    Ok(count.map_err(|e| failure("listing", &e).of_a_repeatable().error)? <= FILTERED_READ_MAX)
}

const STRAY: &str = "among the values are arrays, documents or other types that MongoDB orders in its own way";

/// Whether a query along an index finds anything.
async fn is_any(inner: &Inner, hint: &Hint, condition: Document) -> StoreResult<bool> {
    let failed = |e| failure("listing", &e).of_a_repeatable().error;
    let collection = inner.server.collection(&inner.records.table);
    let find = collection.find(condition).hint(hint.clone()).limit(1);
    Ok(inner.server.rows(find).await.map_err(failed)?.next().await.map_err(failed)?.is_some())
}

/// Whether the server says that an index has had an array, or does not say.
async fn has_arrays(inner: &Inner, index: &str) -> StoreResult<bool> {
    let find = doc! { "find": &inner.records.table, "filter": {}, "hint": index, "limit": 1 };
    let command = doc! { "explain": find, "verbosity": "queryPlanner" };
    let told = inner.server.database().run_command(command).await;
    let told = told.map_err(|e| failure("asking for a plan", &e).of_a_repeatable().error)?;
    Ok(said(&told, "isMultiKey").and_then(Bson::as_bool).unwrap_or(true))
}

/// The first value of this name, at any depth.
fn said<'a>(told: &'a Document, name: &str) -> Option<&'a Bson> {
    told.get(name).or_else(|| {
        told.values().find_map(|value| match value {
            Bson::Document(inner) => said(inner, name),
            Bson::Array(items) => items.iter().filter_map(Bson::as_document).find_map(|item| said(item, name)),
            _ => None,
        })
    })
}

/// The bracket of all `_id`s, any where there are none; `None`: they are in several, or in none.
async fn ids(inner: &Inner) -> StoreResult<Option<Bracket>> {
    let failed = |e| failure("listing", &e).of_a_repeatable().error;
    let collection = inner.server.collection(&inner.records.table);
    let first = collection.find(doc! {}).hint(by_id_index()).sort(doc! { ID: 1 }).projection(doc! { ID: 1 }).limit(1);
    let Some(first) = inner.server.rows(first).await.map_err(failed)?.next().await.map_err(failed)? else {
        return Ok(Some(Bracket::Text));
    };
    let Some(bracket) = find_in(first.as_bytes(), ID).and_then(bracket_of) else { return Ok(None) };
    let is_mixed = bracket == Bracket::NotANumber || is_any(inner, &by_id_index(), outside(ID, bracket)).await?;
    Ok((!is_mixed).then_some(bracket))
}

/// The bracket of a value as it stands.
pub(super) fn bracket_of(element: Element<'_>) -> Option<Bracket> {
    value::value(element).ok().and_then(|value| Bracket::of(Some(&value)))
}

/// Whether a value is another writing of a decimal that has a canonical one.
pub(super) fn is_odd(element: Element<'_>) -> bool {
    element.ty == ty::DECIMAL128 && bracket_of(element).is_none()
}

impl Along {
    /// Whether symbols or odd decimals, which an index has among its texts and its
    /// numbers, are in it: among texts that fulfil this. A symbol is looked for in
    /// every key of a text that does, unless a partial index tells. A key is
    /// not looked at: no driver of today makes symbols, and one that is met is told.
    pub(super) async fn has_hidden(&self, inner: &Inner, texts: Option<Vec<Document>>) -> StoreResult<bool> {
        let failed = |e| failure("listing", &e).of_a_repeatable().error;
        let field = self.field.as_str();
        let collection = inner.server.collection(&inner.records.table);
        if let Some(mut symbols) = texts.filter(|_| self.ties.is_some()) {
            symbols.push(doc! { field: { "$type": "symbol" } });
            let find = collection.find(doc! { "$and": symbols }).projection(doc! { field: 1, ID: 0 }).limit(1);
            if inner.server.rows(find).await.map_err(failed)?.next().await.map_err(failed)?.is_some() {
                return Ok(true);
            }
        }
        // With a field that the index lacks: its keys have one NaN for all writings of it.
        let shown = doc! { field: 1, RESERVED: 1 };
        let find = collection.find(doc! { field: odd_decimals() }).hint(self.hint.clone());
        let mut rows = inner.server.rows(find.projection(shown)).await.map_err(failed)?;
        while let Some(raw) = rows.next().await.map_err(failed)? {
            if find_in(raw.as_bytes(), field).is_some_and(is_odd) {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

/// How a list would be answered.
pub(super) async fn explain(inner: &Inner, query: &ListQuery) -> StoreResult<ListPlan> {
    let along = match of(inner, query).await? {
        Ok(along) => along,
        Err(unfit) => {
            let (why, index) = match unfit {
                Unfit::Never(why) => (why.to_owned(), None),
                Unfit::Lacks(field) => {
                    (format!("no index begins with {field} and {ID}"), Some(of_field(&inner.records.table, &field)))
                }
            };
            return Ok(ListPlan { reads: Reads::Everything, steps: vec![why], index });
        }
    };
    let field = along.field.as_str();
    let steps = vec![format!("along the index of {field}, one type after the other")];
    let page = ListPlan { reads: Reads::Page, steps, index: None };
    // Falling, symbols come before the texts among which they are found.
    let only_symbols = doc! { field: { "$type": "symbol" } };
    let is_asked = along.ties.is_some() && along.direction == Direction::Falling;
    let texts = doc! { field: Bracket::Text.test() };
    if !is_asked || !is_any(inner, &along.hint, texts).await? {
        return Ok(page);
    }
    let known = indexes(&inner.server, &inner.records.table).await?;
    let tells =
        |index: &Document| index.get_document("partialFilterExpression").is_ok_and(|only| *only == only_symbols);
    if known.iter().any(|index| tells(index) && begins_with(index, &[field])) {
        return Ok(page);
    }
    let steps = vec![format!("every text of {field} is looked at, for BSON's symbols come before them")];
    Ok(ListPlan { reads: Reads::Everything, steps, index: Some(of_symbols(&inner.records.table, field)) })
}

/// What makes the index of a list by a field, for MongoDB's shell.
fn of_field(table: &str, field: &str) -> String {
    format!("db.getCollection({}).createIndex({{{}: 1, \"{ID}\": 1}})", quoted(table), quoted(field))
}

/// What makes the one that has nothing but symbols: nothing, nearly always.
fn of_symbols(table: &str, field: &str) -> String {
    let (name, table) = (quoted(&format!("{field} that are symbols")), quoted(table));
    let field = quoted(field);
    let only = format!("{{{field}: {{\"$type\": \"symbol\"}}}}");
    format!(
        "db.getCollection({table}).createIndex({{{field}: 1}}, {{\"name\": {name}, \"partialFilterExpression\": {only}}})"
    )
}

fn quoted(name: &str) -> String {
    shearwater_core::value::json::to_string(&shearwater_core::Value::text(name))
}
