//! What the plan says of lists: which orders a store gives only by reading every
//! record, and the index that each would need.

use std::sync::Arc;

use shearwater_core::absorb::stitch::Ask;
use shearwater_core::limits::LIST_RECORDS_DEFAULT;
use shearwater_core::path::Path;
use shearwater_core::query::{Collation, Filter, OrderTerm};
use shearwater_core::store::{Among, ListPlan, Reads, Side, Store};
use shearwater_engine::absorb::list::asked_of;
use shearwater_engine::records::Shape;

use super::AbsorbFile;
use crate::cli::exit::{Failure, Outcome};

/// The sentences about lists, for both stores.
pub async fn hazards(spec: &AbsorbFile, source: &Arc<dyn Store>, target: &Arc<dyn Store>) -> Outcome<Vec<String>> {
    let mut hazards = Vec::new();
    let declared = &spec.spec.lists.orders;
    for (name, side, store) in [("source", Side::Source, source), ("target", Side::Target, target)] {
        if declared.is_empty() {
            hazards.extend(undeclared(spec, name, side, store.as_ref()).await?);
        }
        for (text, order) in declared {
            let plan = plan_of(spec, side, store.as_ref(), order).await?;
            hazards.extend(plan.and_then(|plan| told(spec, name, text, &plan)));
        }
    }
    if spec.spec.lists.collation == Collation::Unicode {
        hazards.push(
            "lists ordered by text read every record for a page: no store's own collation is known to be this \
             program's, so it sorts them itself ([lists] collation = \"binary\" lets the stores' indexes do it)"
                .to_owned(),
        );
    }
    Ok(hazards)
}

/// How a store would answer a list of v2; `None`: it does not tell.
async fn plan_of(spec: &AbsorbFile, side: Side, store: &dyn Store, order: &[OrderTerm]) -> Outcome<Option<ListPlan>> {
    let order = spec.shapes.collated(Side::Target, order);
    let ask = Ask { filter: Filter::All, order, after: None, limit: LIST_RECORDS_DEFAULT };
    let (Some(query), is_exact) = asked_of(&spec.shapes, side, Shape::V2, &ask) else { return Ok(None) };
    if query.order.is_empty() && !is_exact {
        let steps = vec!["the rules compute what the order is by".to_owned()];
        return Ok(Some(ListPlan { reads: Reads::Everything, steps, index: None }));
    }
    store.explain(&query, Among::All).await.map_err(Failure::from)
}

fn told(spec: &AbsorbFile, name: &str, text: &str, plan: &ListPlan) -> Option<String> {
    if plan.reads == Reads::Page || spec.spec.lists.collation == Collation::Unicode {
        return None;
    }
    Some(match &plan.index {
        Some(index) => format!("{name}: a page of a list by {text:?} reads every record; the index it needs: {index}"),
        None => format!("{name}: a page of a list by {text:?} reads every record, and no index would change that"),
    })
}

/// One sentence about the orders by one field each.
async fn undeclared(spec: &AbsorbFile, name: &str, side: Side, store: &dyn Store) -> Outcome<Option<String>> {
    let mut slow = Vec::new();
    for field in spec.spec.base.fields.iter().filter(|field| field.child.is_none()) {
        let order = [OrderTerm::by(Path::field(&field.name))];
        if plan_of(spec, side, store, &order).await?.is_some_and(|plan| plan.reads == Reads::Everything) {
            slow.push(field.name.as_str());
        }
    }
    if slow.is_empty() || spec.spec.lists.collation == Collation::Unicode {
        return Ok(None);
    }
    Ok(Some(format!(
        "{name}: a page of a list by {} reads every record; [lists] orders = [\"…\"] with those that clients use \
         tells which index each needs",
        slow.join(", ")
    )))
}
