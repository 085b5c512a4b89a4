//! PostgREST's dialect of query strings.

use percent_encoding::percent_decode_str;
use ring::digest;
use shearwater_core::limits::{LIST_RECORDS_DEFAULT, LIST_RECORDS_MAX};
use shearwater_core::query::{Filter, OrderTerm};
use shearwater_core::shape::Layout;

use super::field_path::{self, Scan};
use super::fields;
use super::filter::FilterReader;
use super::problem::{Kind, Problem};
use super::select::{self, Select};

/// Terms of one order: each makes every sort key longer.
pub const ORDER_TERMS_MAX: usize = 8;

/// Records before a page that is asked for by offset: they are all read and
/// thrown away, so the last of many pages costs as much as all of them.
pub const OFFSET_RECORDS_MAX: u64 = 10_000;

/// Parameters of one request, before they are looked at one by one.
pub const PARAMETERS_MAX: usize = 256;

/// What a query string asks for.
#[derive(Clone, Debug, PartialEq)]
pub struct Query {
    /// Which records.
    pub filter: Filter,
    /// In which order; the key breaks ties.
    pub order: Vec<OrderTerm>,
    /// Records in the page; `None` when the client names no limit.
    pub limit: Option<usize>,
    /// Records that stand before the page.
    pub offset: u64,
    /// Which fields.
    pub select: Option<Select>,
    /// The sealed place to go on from.
    pub after: Option<String>,
    /// The fields that the records of an insert may have.
    pub columns: Option<Vec<String>>,
    /// Whether an insert names what tells records apart; it can only be their key.
    pub on_conflict: Option<OnConflict>,
    /// A hash of the filter as it was asked, to bind page tokens to it.
    pub filter_hash: [u8; 16],
    /// The order as it was asked, to bind page tokens to it.
    pub order_text: String,
}

/// `on_conflict` with the fields of the key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OnConflict;

impl Query {
    /// Records in the page.
    pub fn page_records(&self) -> usize {
        self.limit.unwrap_or(LIST_RECORDS_DEFAULT)
    }

    /// Refuses the parameters that only a list has.
    pub fn not_a_list(&self) -> Result<(), Problem> {
        let found = match self {
            Query { limit: Some(_), .. } => "limit",
            Query { offset: 1.., .. } => "offset",
            Query { after: Some(_), .. } => "after",
            Query { order, .. } if !order.is_empty() => "order",
            _ => return Ok(()),
        };
        Err(unknown_parameter(found, "it belongs to a list"))
    }

    /// Refuses the parameters that only an insert has.
    pub fn not_an_insert(&self) -> Result<(), Problem> {
        match self {
            Query { columns: Some(_), .. } => Err(unknown_parameter("columns", "it belongs to an insert")),
            Query { on_conflict: Some(_), .. } => Err(unknown_parameter("on_conflict", "it belongs to an insert")),
            _ => Ok(()),
        }
    }

    /// Refuses everything but `select`, for a request about one record.
    pub fn one_record(&self) -> Result<(), Problem> {
        self.not_a_list()?;
        match self {
            Query { filter, .. } if *filter != Filter::All => {
                Err(Problem::new(Kind::UnknownParameter, "a request about one record takes no filter")
                    .hint("make it conditional with If-Match, or filter the list"))
            }
            _ => self.not_an_insert(),
        }
    }
}

fn unknown_parameter(name: &str, why: &str) -> Problem {
    Problem::new(Kind::UnknownParameter, format!("{name} has no meaning here: {why}"))
}

/// The decoded parameters of a query string, in order.
pub fn parameters(raw: &str) -> Result<Vec<(String, String)>, Problem> {
    let decode = |text: &str| {
        let spaced = text.replace('+', " ");
        match percent_decode_str(&spaced).decode_utf8() {
            Ok(text) => Ok(text.into_owned()),
            Err(_) => Err(Problem::new(Kind::BadQuery, "the query string is not UTF-8 after percent-decoding")),
        }
    };
    let pairs = raw.split('&').filter(|pair| !pair.is_empty());
    let mut decoded = Vec::new();
    for pair in pairs {
        if decoded.len() == PARAMETERS_MAX {
            return Err(Problem::new(Kind::BadQuery, format!("more than {PARAMETERS_MAX} parameters")));
        }
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        decoded.push((decode(name)?, decode(value)?));
    }
    Ok(decoded)
}

/// Reads a query string for a layout's fields.
pub fn read(layout: &Layout, raw: &str) -> Result<Query, Problem> {
    let parameters = parameters(raw)?;
    let mut query = Query {
        filter: Filter::All,
        order: Vec::new(),
        limit: None,
        offset: 0,
        select: None,
        after: None,
        columns: None,
        on_conflict: None,
        filter_hash: [0; 16],
        order_text: String::new(),
    };
    let (mut filters, mut filter_texts, mut seen) = (Vec::new(), Vec::new(), Vec::new());
    let mut reader = FilterReader::new(layout);
    for (name, value) in &parameters {
        let name = name.as_str();
        if matches!(name, "select" | "order" | "limit" | "offset" | "after" | "columns" | "on_conflict") {
            if seen.contains(&name) {
                return Err(Problem::new(Kind::BadQuery, format!("{name} stands twice")));
            }
            seen.push(name);
        }
        match name {
            "select" if value.is_empty() => {}
            "select" => query.select = Some(select::read(layout, value)?),
            "order" => {
                query.order = order(layout, value)?;
                query.order_text.clone_from(value);
            }
            "limit" => query.limit = Some(limit(value)?),
            "offset" => query.offset = offset(value)?,
            "after" => query.after = Some(value.clone()),
            "columns" => query.columns = Some(columns(layout, value)?),
            "on_conflict" => query.on_conflict = Some(on_conflict(layout, value)?),
            _ => {
                filters.push(match name {
                    "and" | "or" | "not.and" | "not.or" => reader.tree(name, value)?,
                    _ => reader.parameter(name, value)?,
                });
                filter_texts.push((name, value.as_str()));
            }
        }
    }
    if query.offset > 0 && query.after.is_some() {
        return Err(Problem::new(
            Kind::BadQuery,
            "offset and after exclude each other: both say where the page begins",
        ));
    }
    query.filter = match filters.len() {
        0 => Filter::All,
        1 => filters.remove(0),
        _ => Filter::And(filters),
    };
    query.filter_hash = filter_hash(filter_texts);
    Ok(query)
}

/// A hash that does not depend on the order of the parameters.
fn filter_hash(mut filters: Vec<(&str, &str)>) -> [u8; 16] {
    filters.sort_unstable();
    let mut context = digest::Context::new(&digest::SHA256);
    for text in filters.into_iter().flat_map(|(name, value)| [name, value]) {
        context.update(&(text.len() as u64).to_be_bytes());
        context.update(text.as_bytes());
    }
    let mut hash = [0; 16];
    hash.copy_from_slice(&context.finish().as_ref()[..16]);
    hash
}

fn limit(value: &str) -> Result<usize, Problem> {
    match value.parse() {
        Ok(limit) => limit_within(limit),
        Err(_) => Err(Problem::new(Kind::BadQuery, "limit is not a whole number from 0")),
    }
}

/// Records in a page, when they are not too many.
pub fn limit_within(limit: u64) -> Result<usize, Problem> {
    match usize::try_from(limit) {
        Ok(limit) if limit <= LIST_RECORDS_MAX => Ok(limit),
        _ => Err(Problem::new(
            Kind::BadQuery,
            format!("limit is above {LIST_RECORDS_MAX}, the most that one page holds"),
        )
        .hint("follow the Link header with rel=\"next\" to the next page")),
    }
}

fn offset(value: &str) -> Result<u64, Problem> {
    match value.parse() {
        Ok(offset) => offset_within(offset),
        Err(_) => Err(Problem::new(Kind::BadQuery, "offset is not a whole number from 0")),
    }
}

/// An offset that is not too far: all records before it are read.
pub fn offset_within(offset: u64) -> Result<u64, Problem> {
    match offset {
        0..=OFFSET_RECORDS_MAX => Ok(offset),
        _ => Err(Problem::new(Kind::OffsetUnsupported, format!("the offset is above {OFFSET_RECORDS_MAX}"))
            .hint("follow the Link header with rel=\"next\": it reaches any page, and loses none while others write")),
    }
}

/// `on_conflict=id`: the names of the key's fields, in any order.
fn on_conflict(layout: &Layout, value: &str) -> Result<OnConflict, Problem> {
    let (mut names, mut key) = (columns(layout, value)?, layout.key_fields().to_vec());
    names.sort_unstable();
    key.sort_unstable();
    match names == key {
        true => Ok(OnConflict),
        false => Err(Problem::new(
            Kind::UnknownParameter,
            format!("on_conflict={value} is not served: records are told apart by their key only"),
        )
        .hint(format!("leave it out, or name {}", layout.key_fields().join(",")))),
    }
}

/// `a.desc.nullslast,b`. As in PostgREST nulls are last when ascending and
/// first when descending, unless the term says otherwise.
fn order(layout: &Layout, value: &str) -> Result<Vec<OrderTerm>, Problem> {
    let mut scan = Scan::new(value);
    let mut terms = Vec::new();
    loop {
        let mut segments = scan.segments()?;
        let (mut direction, mut nulls) = (None, None);
        while let Some(word) = segments.last().and_then(|segment| segment.word()) {
            match word {
                "nullsfirst" if nulls.is_none() && direction.is_none() => nulls = Some(true),
                "nullslast" if nulls.is_none() && direction.is_none() => nulls = Some(false),
                "asc" if direction.is_none() => direction = Some(false),
                "desc" if direction.is_none() => direction = Some(true),
                _ => break,
            }
            segments.pop();
        }
        let path = field_path::path(segments)?;
        fields::scalar(layout, &path)?;
        let descending = direction.unwrap_or(false);
        terms.push(OrderTerm { descending, nulls_first: nulls.unwrap_or(descending), ..OrderTerm::by(path) });
        if terms.len() > ORDER_TERMS_MAX {
            return Err(scan.problem(&format!("more than {ORDER_TERMS_MAX} terms of an order")));
        }
        if scan.at_end() {
            return Ok(terms);
        }
        if !scan.eat(",") {
            return Err(scan.problem("expected a comma").hint("for example order=last.desc.nullslast,id"));
        }
    }
}

fn columns(layout: &Layout, value: &str) -> Result<Vec<String>, Problem> {
    let mut scan = Scan::new(value);
    let mut names = Vec::new();
    loop {
        let path = field_path::path(scan.segments()?)?;
        fields::kind(layout, &path)?;
        if path.steps().len() != 1 {
            return Err(scan.problem("columns takes names of fields, not paths"));
        }
        names.push(path.root().to_owned());
        if scan.at_end() {
            return Ok(names);
        }
        if !scan.eat(",") {
            return Err(scan.problem("expected a comma"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::fields::tests::{documents, users};
    use super::*;
    use proptest::prelude::*;

    fn check_order(text: &str, expect: &[(&str, &str, &str)]) {
        let query = read(&documents(), &format!("order={text}")).unwrap();
        let found: Vec<_> = query
            .order
            .iter()
            .map(|term| {
                let direction = if term.descending { "desc" } else { "asc" };
                let nulls = if term.nulls_first { "first" } else { "last" };
                (field_path::shown(&term.path), direction, nulls)
            })
            .collect();
        let found: Vec<_> = found.iter().map(|(path, d, n)| (path.as_str(), *d, *n)).collect();
        assert_eq!(found, expect, "{text}");
    }

    #[test]
    fn orders_have_the_defaults_of_postgrest() {
        check_order("a", &[("a", "asc", "last")]);
        check_order("a.asc", &[("a", "asc", "last")]);
        check_order("a.desc", &[("a", "desc", "first")]);
        check_order("a.desc.nullslast,b", &[("a", "desc", "last"), ("b", "asc", "last")]);
        check_order("a.nullsfirst", &[("a", "asc", "first")]);
        check_order("address->>city.desc", &[("address.city", "desc", "first")]);
        check_order("address.city.desc", &[("address.city", "desc", "first")]);
        check_order("a.%22desc%22", &[("a.desc", "asc", "last")]);
        check_order("desc", &[("desc", "asc", "last")]);
    }

    fn refuse(raw: &str, kind: Kind, detail: &str) {
        let problem = read(&users(), raw).expect_err(raw);
        assert_eq!((problem.kind, problem.detail.as_str()), (kind, detail), "{raw}");
    }

    #[test]
    fn refusals() {
        refuse("limit=-1", Kind::BadQuery, "limit is not a whole number from 0");
        refuse("limit=1001", Kind::BadQuery, "limit is above 1000, the most that one page holds");
        refuse("limit=1&limit=2", Kind::BadQuery, "limit stands twice");
        refuse("offset=10001", Kind::OffsetUnsupported, "the offset is above 10000");
        refuse("offset=-1", Kind::BadQuery, "offset is not a whole number from 0");
        refuse(
            "offset=1&after=x",
            Kind::BadQuery,
            "offset and after exclude each other: both say where the page begins",
        );
        refuse("nope=eq.1", Kind::UnknownField, "there is no field nope");
        refuse("order=nope", Kind::UnknownField, "there is no field nope");
        refuse("order=addresses", Kind::BadQuery, "addresses is a list");
        refuse(
            "order=age.up",
            Kind::UnknownField,
            "there is no field age.up: age is of type int, which has nothing inside",
        );
        refuse(
            "order=age.desc.asc",
            Kind::UnknownField,
            "there is no field age.desc: age is of type int, which has nothing inside",
        );
        refuse("order=", Kind::BadQuery, "expected a field name at character 1");
        refuse(
            "on_conflict=age",
            Kind::UnknownParameter,
            "on_conflict=age is not served: records are told apart by their key only",
        );
        refuse("age=eq.%ff", Kind::BadQuery, "the query string is not UTF-8 after percent-decoding");
        refuse("columns=age,prefs.x", Kind::BadQuery, "columns takes names of fields, not paths at character 12");
        let terms = ["age"; ORDER_TERMS_MAX + 1].join(",");
        refuse(&format!("order={terms}"), Kind::BadQuery, "more than 8 terms of an order at character 36");
    }

    #[test]
    fn a_whole_query() {
        let query = read(&users(), "age=gte.21&age=lt.65&order=age.desc&limit=50&select=id,age&offset=0").unwrap();
        assert!(matches!(&query.filter, Filter::And(members) if members.len() == 2));
        assert_eq!((query.page_records(), query.order.len()), (50, 1));
        assert_eq!(query.select.map(|select| select.items.len()), Some(2));
        assert_eq!(read(&users(), "").unwrap().filter, Filter::All);
        assert_eq!(read(&users(), "limit=0").unwrap().page_records(), 0);
        assert_eq!(read(&users(), "limit=5&offset=10000").unwrap().offset, 10_000);
        assert_eq!(read(&users(), "on_conflict=id").unwrap().on_conflict, Some(OnConflict));
    }

    #[test]
    fn percent_and_plus_are_decoded() {
        let read = parameters("a=eq.x+y%2Bz&%22b%22=").unwrap();
        assert_eq!(read, [("a".into(), "eq.x y+z".into()), ("\"b\"".into(), String::new())]);
    }

    #[test]
    fn the_hash_is_of_the_filter_only_and_of_no_order() {
        let hash = |raw: &str| read(&users(), raw).unwrap().filter_hash;
        assert_eq!(hash("age=eq.1&id=eq.2"), hash("id=eq.2&age=eq.1&limit=5&order=age"));
        assert_ne!(hash("age=eq.1"), hash("age=eq.2"));
        assert_ne!(hash("id=eq.1"), hash("age=eq.1"));
        assert_ne!(hash("age=eq.1"), hash("age=eq.1&age=eq.1"));
    }

    #[test]
    fn what_a_record_does_not_take() {
        let one = |raw: &str| read(&users(), raw).unwrap().one_record().map_err(|problem| problem.detail);
        assert_eq!(one("select=id"), Ok(()));
        assert_eq!(one("limit=1"), Err("limit has no meaning here: it belongs to a list".into()));
        assert_eq!(one("order=id"), Err("order has no meaning here: it belongs to a list".into()));
        assert_eq!(one("age=eq.1"), Err("a request about one record takes no filter".into()));
        assert_eq!(one("offset=1"), Err("offset has no meaning here: it belongs to a list".into()));
        assert_eq!(one("on_conflict=id"), Err("on_conflict has no meaning here: it belongs to an insert".into()));
        assert_eq!(one("columns=id"), Err("columns has no meaning here: it belongs to an insert".into()));
    }

    proptest! {
        #[test]
        fn no_query_string_panics(raw in ".{0,80}") {
            let _ = read(&users(), &raw);
        }

        #[test]
        fn nothing_of_the_dialect_panics(raw in "(order|select|or|age|columns)=[a-z.,()*:\"%>-]{0,30}") {
            let _ = read(&users(), &raw);
        }
    }
}
