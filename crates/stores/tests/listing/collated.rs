//! Text in the order of Unicode's root collation: the same from every store,
//! whatever its own collation is.

use shearwater_core::query::{Collation, Filter, ListQuery, OrderTerm, keyset_of};
use shearwater_core::store::{Among, Change, Expect, Image, Reads, Write};
use shearwater_core::{Document, Key, Value};

use crate::inputs;
use crate::place::{KINDS, Place, by, down};

/// A list's keys, each with the value that it is ordered by.
type Listed = Vec<(Key, Option<Value>)>;

/// Characters of a text that every store's column takes.
const CHARS_MAX: usize = 100;

fn record(id: &str, email: Option<&str>, at: usize) -> Document {
    let email = email.map_or(Value::Null, Value::text);
    let n = Value::Int(i64::try_from(at % 3).unwrap());
    [("id", Value::text(id)), ("email", email), ("city", Value::text("x")), ("n", n)].into_iter().collect()
}

/// Every text of a list, page by page.
async fn walk(place: &Place, order: &[OrderTerm]) -> Vec<(Key, Option<Value>)> {
    let (mut found, mut after) = (Vec::new(), None);
    loop {
        let query = ListQuery { filter: Filter::All, order: order.to_vec(), after, limit: 37 };
        let page = place.store.list(&query).await.unwrap();
        let last = page.records.last().filter(|_| page.more);
        after = last.map(|last| keyset_of(order, &last.key, &last.image.as_ref().unwrap().record));
        found.extend(page.records.into_iter().map(|one| (one.key, one.image.unwrap().record.remove("email"))));
        if after.is_none() {
            return found;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn naughty_strings_have_one_order_in_every_store() {
    let mut texts = inputs::naughty_strings();
    texts.extend(["e\u{301}", "\u{e9}", "E", "e", "resume", "résumé", "Resume"].map(str::to_owned));
    let turn = usize::try_from(inputs::seed()).unwrap() % texts.len();
    texts.rotate_left(turn);
    texts.retain(|text| text.chars().count() <= CHARS_MAX && !text.contains('\0'));
    assert!(texts.len() > 300, "{}", texts.len());
    let unicode = |term: OrderTerm| OrderTerm { collation: Collation::Unicode, ..term };
    let orders = [vec![unicode(by("email"))], vec![unicode(down("email"))], vec![by("n"), unicode(by("email"))]];
    let mut told: Vec<Vec<Listed>> = Vec::new();
    for kind in KINDS {
        let place = Place::new(kind, 7).await;
        let image = |(at, text): (usize, &String)| {
            let id = format!("t{at:04}");
            let image = Some(Image::of(record(&id, Some(text), at)));
            Change { key: Key::single(id), image, expect: Expect::Absent }
        };
        let changes = texts.iter().enumerate().map(image).collect();
        place.store.write(Write { epoch: Some(1), changes, idempotency: None }).await.unwrap();
        let mut walks = Vec::new();
        for order in &orders {
            walks.push(walk(&place, order).await);
            let query = ListQuery { filter: Filter::All, order: order.clone(), after: None, limit: 10 };
            let plan = place.store.explain(&query, Among::All).await.unwrap().unwrap();
            assert_eq!((plan.reads, plan.index), (Reads::Everything, None), "no store's own order is taken for it");
        }
        assert_eq!(walks[0].len(), texts.len() + 7);
        told.push(walks);
    }
    assert!(told.windows(2).all(|pair| pair[0] == pair[1]), "the stores' lists differ");
    // It is that order, and not the one by bytes: `e`, `E`, `é` stand together before `resume`.
    let first: Vec<&Value> = told[0][0].iter().filter_map(|(_, text)| text.as_ref()).collect();
    let place_of = |text: &str| first.iter().position(|value| **value == Value::text(text)).unwrap();
    let sorted = ["e", "E", "e\u{301}", "\u{e9}", "resume", "Resume", "résumé"].map(place_of);
    assert!(sorted.is_sorted(), "{sorted:?}");
}
