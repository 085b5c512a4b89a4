//! What a page reads: proven by each store's own plan.

use shearwater_core::query::{Filter, ListQuery, OrderTerm, keyset_of};
use shearwater_core::store::{Among, ListPlan, Reads};

use crate::place::{KINDS, Kind, Place, by, down};

/// More than are read and sorted for a page.
const MANY: usize = 2_100;
const PEOPLE: usize = 6_000;

fn ask(order: Vec<OrderTerm>) -> ListQuery {
    ListQuery { filter: Filter::All, order, after: None, limit: 50 }
}

async fn plan(place: &Place, order: Vec<OrderTerm>, among: Among) -> ListPlan {
    let store = place.again().await;
    store.explain(&ask(order), among).await.unwrap().unwrap()
}

/// Whether a step of the plan reads all of the table, in the store's words.
fn reads_all_people(kind: Kind, plan: &ListPlan) -> bool {
    plan.steps.iter().any(|step| match kind {
        Kind::Sqlite => step == "SCAN r",
        Kind::Postgres => step.contains("Seq Scan on people"),
        Kind::Mariadb => step.contains(" r ALL"),
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_came_from_elsewhere_is_listed_without_reading_the_rest() {
    for kind in KINDS {
        let place = Place::new(kind, PEOPLE).await;
        // Before the rows are written: PostgreSQL does not use an index that is
        // younger than versions of rows which somebody may still see.
        place.run("CREATE INDEX people_n ON people (n)");
        place.park((0..30).map(|at| at * 200 + 5)).await;
        for order in [vec![], vec![down("id")], vec![by("email")], vec![by("city"), down("n")]] {
            let plan = plan(&place, order.clone(), Among::Parked).await;
            assert!(plan.reads == Reads::Page && !reads_all_people(kind, &plan), "{kind:?} {order:?} {plan:?}");
            assert!(plan.steps.iter().any(|step| step.to_lowercase().contains("parked")), "{kind:?} {plan:?}");
            let page = place.store.list_parked(&ask(order)).await.unwrap();
            assert!(page.records.len() == 30 && !page.more, "{kind:?} {}", page.records.len());
        }
        place.park(0..MANY).await;
        place.gather_statistics();
        for order in [vec![], vec![down("id")]] {
            let plan = plan(&place, order.clone(), Among::Parked).await;
            assert!(plan.reads == Reads::Page && !reads_all_people(kind, &plan), "{kind:?} {order:?} {plan:?}");
        }
        let by_n = plan(&place, vec![by("n")], Among::Parked).await;
        assert!(by_n.reads == Reads::Page && !reads_all_people(kind, &by_n), "{kind:?} {by_n:?}");
        walks_are_whole(&place).await;
    }
}

/// Every order gives each of them once, page by page.
async fn walks_are_whole(place: &Place) {
    let store = place.again().await;
    let parked = MANY + (0..30).filter(|at| at * 200 + 5 >= MANY).count();
    for order in [vec![], vec![down("id")], vec![by("n")], vec![by("email")], vec![by("city"), down("n")]] {
        let (mut found, mut after) = (Vec::new(), None);
        loop {
            let query = ListQuery { after, limit: 500, ..ask(order.clone()) };
            let page = store.list_parked(&query).await.unwrap();
            found.extend(page.records.iter().map(|fetched| fetched.key.clone()));
            let last = page.records.last().filter(|_| page.more);
            let Some(last) = last else { break };
            after = Some(keyset_of(&order, &last.key, &last.image.as_ref().unwrap().record));
        }
        let listed = found.len();
        found.sort();
        found.dedup();
        assert_eq!((listed, found.len()), (parked, parked), "{:?} {order:?}", place.kind);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_order_without_an_index_names_the_one_it_needs() {
    for kind in KINDS {
        for among in [Among::All, Among::Parked] {
            let place = Place::new(kind, PEOPLE).await;
            let term = if among == Among::All { by("n") } else { down("email") };
            let without = plan(&place, vec![term.clone()], Among::All).await;
            let index = without.index.clone().unwrap_or_default();
            assert!(without.reads == Reads::Everything && index.contains(term.path.root()), "{kind:?} {without:?}");
            // The statement works, and is enough.
            place.run(&index);
            if among == Among::Parked {
                place.park(0..MANY).await;
            }
            let with = plan(&place, vec![term], among).await;
            assert!(with.reads == Reads::Page && with.index.is_none(), "{kind:?} {with:?}");
            assert!(kind == Kind::Postgres || !reads_all_people(kind, &with), "{kind:?} {with:?}");
        }
    }
}

/// Falling by a column, rising by key within its ties, with pages that end
/// inside them: no sort of the whole table, no repeat, no gap.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_falling_order_reads_the_index_from_behind() {
    for kind in KINDS {
        let place = Place::new(kind, 1_500).await;
        // Before the rows are written again, as above.
        place.run("CREATE INDEX people_n ON people (n)");
        place.run("UPDATE people SET n = NULL WHERE id < 'p00100'");
        place.run("UPDATE people SET n = n - n % 7 WHERE id < 'p00900'");
        place.run("UPDATE people SET n = 3 WHERE id >= 'p00900' AND id < 'p01200'");
        place.gather_statistics();
        let store = place.again().await;
        for nulls_first in [true, false] {
            let order = vec![OrderTerm { nulls_first, ..down("n") }];
            let plan = store.explain(&ask(order.clone()), Among::All).await.unwrap().unwrap();
            let sorts = plan.steps.iter().any(|step| step.contains("filesort"));
            assert!(plan.reads == Reads::Page && !sorts, "{kind:?} {plan:?}");
            for limit in [50, 400, 1_500] {
                let (mut found, mut after) = (Vec::new(), None);
                loop {
                    let page = store.list(&ListQuery { after, limit, ..ask(order.clone()) }).await.unwrap();
                    let last = page.records.last().filter(|_| page.more);
                    after = last.map(|last| keyset_of(&order, &last.key, &last.image.as_ref().unwrap().record));
                    let place = |one: &shearwater_core::store::Fetched| {
                        shearwater_core::query::sort_bytes_of(&order, &one.key, &one.image.as_ref().unwrap().record)
                    };
                    found.extend(page.records.iter().map(place));
                    if after.is_none() {
                        break;
                    }
                }
                assert!(found.len() == 1_500 && found.is_sorted(), "{kind:?} {limit}: {}", found.len());
            }
        }
    }
}
