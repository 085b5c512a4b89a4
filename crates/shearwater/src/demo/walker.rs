//! Walkers go through lists page by page by their `Link`s, in several orders,
//! while records are written and move; the checker counts what they were shown.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use shearwater_engine::records::Shape;

use super::dice::Dice;
use super::history::{Act, Among, BUCKETS, History, Seen, SortFields, Walk};
use super::stage::Stage;
use super::traffic::{BY_LAST_NAME, BY_SCORE, Witness};
use super::wire::{Wire, Wish};

/// Records in a page: large, because a walk over all records is to end while
/// the migration is still in the phase.
const PAGE_RECORDS: usize = 1_000;

/// The rest between two walks: lists are dear, and there is other traffic.
const REST: Duration = Duration::from_millis(50);

/// What lists are ordered by: the query's text and the fields.
type Order = (&'static str, SortFields);

const V1_ORDERS: &[Order] = &[
    ("_id", SortFields::NONE),
    ("joined.desc", SortFields::NONE),
    ("email", SortFields::NONE),
    ("score.desc.nullslast,_id", BY_SCORE),
];

const V2_ORDERS: &[Order] = &[
    ("id", SortFields::NONE),
    ("last_name.asc.nullsfirst,id", BY_LAST_NAME),
    ("joined", SortFields::NONE),
    ("score.nullsfirst", BY_SCORE),
    ("email.desc", SortFields::NONE),
];

/// One walker.
pub struct Walker {
    orders: &'static [Order],
    stage: Arc<Stage>,
    dice: Dice,
    wire: Wire,
    history: History,
}

impl Walker {
    /// A walker of a shape.
    pub fn new(shape: Shape, address: SocketAddr, stage: Arc<Stage>) -> Walker {
        let (orders, stream) = match shape {
            Shape::V1 => (V1_ORDERS, 500),
            Shape::V2 => (V2_ORDERS, 501),
        };
        let dice = Dice::new(stage.seed, stream);
        Walker { orders, dice, wire: Wire::new(address, shape, stage.clone()), stage, history: History::default() }
    }

    /// Walks until the stage stops.
    pub async fn run(mut self) -> Witness {
        while !self.stage.stopping() {
            let (order, fields) = *self.dice.pick(self.orders);
            let among = match self.dice.percent(25) {
                true => Among::All,
                false => Among::Bucket(self.dice.below(BUCKETS as usize) as u32),
            };
            self.walk(order, fields, among).await;
            tokio::time::sleep(REST).await;
        }
        Witness { history: self.history, timed: self.wire.timed }
    }

    /// Walks a list to its end; a walk that the end of the demo cuts short is
    /// not judged.
    async fn walk(&mut self, order: &str, fields: SortFields, among: Among) {
        let mut path = format!("{}?order={order}&limit={PAGE_RECORDS}", self.wire.list_path());
        if let Among::Bucket(bucket) = among {
            path.push_str(&format!("&bucket=eq.{bucket}"));
        }
        let begun_ns = self.stage.now_ns();
        let mut keys = Vec::new();
        loop {
            let Some(told) = self.wire.ask(Wish::page(path)).await else { return };
            if told.status != 200 && told.status != 206 {
                return self.wire.unexpected("page", &told);
            }
            let Some(records) = self.wire.records(&told) else { return };
            for record in &records {
                let (Some(key), Some(version)) = (self.wire.key(record), self.wire.version(record)) else { return };
                keys.push(key);
                self.history.ops.push(told.op(key, Act::Saw(Seen::Version(version))));
                self.wire.looks("list", key, version, record);
            }
            match told.next {
                Some(next) if !self.stage.stopping() => path = next,
                Some(_) => return,
                None => {
                    let (_, ended_ns) = told.times();
                    self.history.walks.push(Walk { among, order: fields, begun_ns, ended_ns, keys });
                    return;
                }
            }
        }
    }
}
