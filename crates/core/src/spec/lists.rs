//! `[lists]` of an `absorb`: in which orders clients ask for lists, and how text
//! is ordered in them.

use super::FieldRule;
use super::read::{Reader, Section};
use crate::query::{Collation, OrderTerm};

/// What a spec says of lists.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Lists {
    /// The orders that clients use, over v2, each as it is written; those that
    /// a store cannot give by an index are told when the migration is planned.
    pub orders: Vec<(String, Vec<OrderTerm>)>,
    /// How text is ordered.
    pub collation: Collation,
}

/// Reads `[lists]`.
pub(super) fn read_lists(reader: &mut Reader<'_>, root: &mut Section<'_>, fields: &[FieldRule]) -> Lists {
    let Some(mut section) = root.take("lists").and_then(|item| reader.section(item, "[lists]")) else {
        return Lists::default();
    };
    let collation = match section.take("collation") {
        None => Collation::default(),
        Some(item) => {
            let word = reader.text(&item).unwrap_or_default();
            let known = Collation::WORDS.into_iter().find(|(known, _)| *known == word);
            if known.is_none() {
                let hint = "\"binary\": by the bytes of UTF-8; \"unicode\": by Unicode's root collation".to_owned();
                reader.problem("spec/collation", item.span(), format!("unknown collation `{word}`"), Some(hint));
            }
            known.map_or(Collation::default(), |(_, collation)| collation)
        }
    };
    let mut orders = Vec::new();
    for (text, span) in section.take("orders").and_then(|item| reader.texts(&item)).unwrap_or_default() {
        let Some(mut terms) = OrderTerm::parse_all(&text) else {
            let hint = "as in the query string: orders = [\"last.desc.nullslast,id\"]".to_owned();
            reader.problem("spec/order", span, format!("{text:?} is no order"), Some(hint));
            continue;
        };
        for term in &mut terms {
            term.collation = collation;
            if !fields.iter().any(|field| field.name == term.path.root()) {
                let message = format!("{text:?} orders by `{}`, which is no field of v2", term.path.root());
                reader.problem("spec/field", span, message, None);
            }
        }
        orders.push((text, terms));
    }
    section.refuse_rest(reader);
    Lists { orders, collation }
}
