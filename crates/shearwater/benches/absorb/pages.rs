//! Medians of pages and of updates, measured turn by turn.

use std::time::Instant;

use shearwater_core::query::{Filter, Keyset, ListQuery, OrderTerm};
use shearwater_core::{Document, Key, Value};
use shearwater_engine::Serve;
use shearwater_engine::records::{ClientChange, Condition, Edit, ListAsk, Shape};

use crate::stand::{Stand, email};

/// Records of a page.
const PAGE: u32 = 50;

/// The deep page.
const PAGES_DEEP: u32 = 10_000;

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Depth {
    First,
    Deep,
}

impl Depth {
    /// The page's number.
    pub fn page(self, records: u32) -> u32 {
        match self {
            Depth::First => 1,
            Depth::Deep => PAGES_DEEP.min(records / PAGE - 2),
        }
    }
}

/// Medians, ms.
pub struct Seen {
    pub source_ms: f64,
    pub target_ms: f64,
    pub stitched_ms: f64,
}

fn median(mut samples: Vec<f64>) -> f64 {
    samples.sort_by(f64::total_cmp);
    samples[samples.len() / 2]
}

async fn timed<T>(samples: &mut Vec<f64>, work: impl Future<Output = T>) -> T {
    let began = Instant::now();
    let done = work.await;
    samples.push(began.elapsed().as_secs_f64() * 1_000.0);
    done
}

/// One page in all three ways.
pub async fn page(stand: &Stand, order: &str, depth: Depth, samples: usize) -> Seen {
    let order = if order.is_empty() { Vec::new() } else { OrderTerm::parse_all(order).unwrap() };
    let falls = order.first().is_some_and(|term| term.descending);
    let passed = (depth.page(stand.records) - 1) * PAGE;
    let after = passed.checked_sub(1).map(|last| {
        let n = if falls { stand.records - 1 - last } else { last };
        let values = order.iter().map(|_| Value::text(email(n))).collect();
        Keyset { values, key: Key::single(i64::from(n)) }
    });
    let limit = PAGE as usize;
    let query = ListQuery { filter: Filter::All, order: order.clone(), after: after.clone(), limit };
    let ask = ListAsk { shape: Shape::V2, filter: Filter::All, order, after, limit };
    let (mut source, mut target, mut stitched) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..samples {
        let pages = [
            timed(&mut source, stand.source.list(&query)).await.unwrap(),
            timed(&mut target, stand.target.list(&query)).await.unwrap(),
        ];
        let page = timed(&mut stitched, stand.served.list(ask.clone())).await.unwrap();
        assert!(page.records.len() == limit && pages.iter().all(|page| page.records.len() == limit));
    }
    Seen { source_ms: median(source), target_ms: median(target), stitched_ms: median(stitched) }
}

/// An update of a record that stays in the source, of one of the target, and one that moves.
pub async fn moves(stand: &Stand, samples: usize) -> Seen {
    let patch = async |n: u32, field: &str| {
        let value = Value::text(format!("new of {n}"));
        let edit = Edit::MergePatch([(field, value)].into_iter().collect::<Document>());
        let change = ClientChange { key: Key::single(i64::from(n)), edit, condition: Condition::None };
        stand.served.write(Shape::V2, vec![change], None).await.unwrap();
    };
    let (mut source, mut target, mut moved) = (Vec::new(), Vec::new(), Vec::new());
    for at in 0..u32::try_from(samples).unwrap() {
        timed(&mut source, patch(4 * at, "name")).await;
        timed(&mut target, patch(4 * at + 1, "name")).await;
        timed(&mut moved, patch(4 * at + 2, "manager")).await;
    }
    Seen { source_ms: median(source), target_ms: median(target), stitched_ms: median(moved) }
}
