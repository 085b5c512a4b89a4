//! A list in the fields of the store that serves it.

use shearwater_core::path::Path;
use shearwater_core::query::{Filter, Keyset, ListQuery, OrderTerm};
use shearwater_core::store::Side;

use super::{DataPath, ListAsk};

impl DataPath {
    /// The client's list as a query of the serving store's shape, with the same
    /// meaning and the same order; `None` when some path or the key has no
    /// exact counterpart there.
    pub(super) fn translate(&self, ask: &ListAsk, serving: Side, limit: usize) -> Option<ListQuery> {
        if serving == ask.shape.side() {
            let (filter, order, after) = (ask.filter.clone(), ask.order.clone(), ask.after.clone());
            return Some(ListQuery { filter, order, after, limit });
        }
        let across = |path: &Path| match serving {
            Side::Target => self.setup.mapping.path_forward(path),
            Side::Source => self.setup.mapping.path_reverse(path),
        };
        self.keys_are_the_same(serving, &across)?;
        let order = ask
            .order
            .iter()
            .map(|term| Some(OrderTerm { path: across(&term.path)?, ..term.clone() }))
            .collect::<Option<Vec<_>>>()?;
        Some(ListQuery { filter: filter_across(&ask.filter, &across)?, order, after: ask.after.clone(), limit })
    }

    /// The key breaks ties, so a list may be asked of the other store only when
    /// its key holds the same values in the same order.
    fn keys_are_the_same(&self, serving: Side, across: &dyn Fn(&Path) -> Option<Path>) -> Option<()> {
        let mapping = &self.setup.mapping;
        let (asked, served) = match serving {
            Side::Target => (mapping.source(), mapping.target()),
            Side::Source => (mapping.target(), mapping.source()),
        };
        let (asked, served) = (asked.key_fields(), served.key_fields());
        let same = asked.len() == served.len()
            && asked.iter().zip(served).all(|(a, s)| across(&Path::field(a)) == Some(Path::field(s)));
        same.then_some(())
    }
}

fn filter_across(filter: &Filter, across: &dyn Fn(&Path) -> Option<Path>) -> Option<Filter> {
    let all = |filters: &[Filter]| filters.iter().map(|f| filter_across(f, across)).collect::<Option<Vec<_>>>();
    Some(match filter {
        Filter::All => Filter::All,
        Filter::And(filters) => Filter::And(all(filters)?),
        Filter::Or(filters) => Filter::Or(all(filters)?),
        Filter::Not(inner) => Filter::Not(Box::new(filter_across(inner, across)?)),
        Filter::Compare { path, op, literal } => {
            Filter::Compare { path: across(path)?, op: *op, literal: literal.clone() }
        }
        Filter::In { path, literals } => Filter::In { path: across(path)?, literals: literals.clone() },
        Filter::Like { path, pattern, fold_case } => {
            Filter::Like { path: across(path)?, pattern: pattern.clone(), fold_case: *fold_case }
        }
        Filter::Is { path, what } => Filter::Is { path: across(path)?, what: *what },
    })
}

/// Bytes of a place in an order, for comparing records of two stores.
pub(crate) fn place_bytes(order: &[OrderTerm], place: &Keyset) -> Vec<u8> {
    shearwater_core::query::sort_bytes(order, place)
}
