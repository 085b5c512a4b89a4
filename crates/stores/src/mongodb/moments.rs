//! The moments of a replica set that a read must not be behind.
//!
//! A new primary has what was acknowledged, but does not know at first that a
//! majority has it, and answers reads from before. So each read names the latest
//! moment that this process was told of, and the server waits until it knows that
//! moment to be a majority's. What was acknowledged to another process is not
//! among those; but an elected primary has it, so its own last write, as it says
//! when it first calls itself the primary, is a moment too.
//!
//! The driver sends a read to a new primary once it has heard it say so, and what
//! it hears is in our queue before. So whoever has an answer looks once more: if
//! a primary was elected since the read named its moment, and what was answered is
//! from before that primary's, the answer does not count. (A primary that is cut
//! off from the others answers for some seconds, until it knows. No read but a
//! linearizable one, which writes, is safe from that.)

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use mongodb::bson::oid::ObjectId;
use mongodb::bson::{Document, Timestamp};

/// A moment as one number: seconds, then the number within the second.
pub(super) type Moment = u64;

fn moment(timestamp: Timestamp) -> Moment {
    u64::from(timestamp.time) << 32 | u64::from(timestamp.increment)
}

/// What this process was told.
#[derive(Debug, Default)]
pub(super) struct Moments {
    told: AtomicU64,
    /// Where the primary began that was elected last.
    began: AtomicU64,
    elected: Mutex<Option<ObjectId>>,
}

impl Moments {
    /// Notes the moment of an answer.
    pub(super) fn told(&self, at: Option<Timestamp>) {
        if let Some(at) = at {
            self.told.fetch_max(moment(at), Ordering::SeqCst);
        }
    }

    /// Notes what a server says of itself.
    pub(super) fn heard(&self, hello: &Document) {
        let Ok(elected) = hello.get_object_id("electionId") else { return };
        let last = hello.get_document("lastWrite").and_then(|last| last.get_document("opTime"));
        let Ok(at) = last.and_then(|at| at.get_timestamp("ts")) else { return };
        if !hello.get_bool("isWritablePrimary").unwrap_or(false) {
            return;
        }
        let mut known = self.elected.lock().unwrap_or_else(PoisonError::into_inner);
        // Elections are numbered: what an earlier primary says comes too late.
        if known.is_none_or(|known| known < elected) {
            *known = Some(elected);
            self.told.fetch_max(moment(at), Ordering::SeqCst);
            self.began.fetch_max(moment(at), Ordering::SeqCst);
        }
    }

    /// The one to name in a read; none before there is any.
    pub(super) fn latest(&self) -> Option<Timestamp> {
        let told = self.told.load(Ordering::SeqCst);
        (told > 0).then_some(Timestamp { time: (told >> 32) as u32, increment: told as u32 })
    }

    /// Whether an answer from `at` to a read that named `named` may be from before
    /// the primary began that was elected meanwhile.
    pub(super) fn is_before(&self, named: Option<Timestamp>, at: Option<Timestamp>) -> bool {
        let began = self.began.load(Ordering::SeqCst);
        let reaches = |timestamp: Option<Timestamp>| timestamp.is_some_and(|timestamp| moment(timestamp) >= began);
        began > 0 && !reaches(named) && !reaches(at)
    }
}

#[cfg(test)]
mod tests {
    use mongodb::bson::doc;

    use super::*;

    fn at(increment: u32) -> Timestamp {
        Timestamp { time: 7, increment }
    }

    fn hello(term: u8, is_primary: bool, increment: u32) -> Document {
        let mut elected = [0x7f; 12];
        elected[11] = term;
        let last = doc! { "opTime": { "ts": at(increment), "t": i64::from(term) } };
        doc! { "isWritablePrimary": is_primary, "electionId": ObjectId::from_bytes(elected), "lastWrite": last }
    }

    #[test]
    fn an_answer_from_before_a_primary_began_does_not_count() {
        let moments = Moments::default();
        assert_eq!((moments.latest(), moments.is_before(None, None)), (None, false));
        moments.heard(&hello(1, true, 5));
        assert_eq!(moments.latest(), Some(at(5)));
        // What the same primary says later says nothing new.
        moments.heard(&hello(1, true, 9));
        assert_eq!(moments.latest(), Some(at(5)));
        let named = moments.latest();
        moments.told(Some(at(6)));
        assert!(!moments.is_before(named, Some(at(6))));
        moments.heard(&hello(2, false, 30));
        assert!(!moments.is_before(named, Some(at(6))), "not elected yet");
        moments.heard(&hello(2, true, 30));
        assert!(moments.is_before(named, Some(at(29))) && !moments.is_before(named, Some(at(30))));
        assert!(!moments.is_before(moments.latest(), None), "it waited");
        moments.heard(&hello(1, true, 90));
        assert_eq!(moments.latest(), Some(at(30)), "that primary is none any more");
    }
}
