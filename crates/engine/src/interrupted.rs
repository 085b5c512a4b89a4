//! The request that is being done, noted beside the journal, so that whoever
//! takes over after a crash does not do it twice. The same for every kind of
//! migration; what the entries since then mean is the kind's own affair.

use serde::{Deserialize, Serialize};
use shearwater_core::journal::{Entry, Journal, JournalError, Request};

use crate::ledger::Halt;

/// The note that names the request being done.
const PERFORMING_NOTE: &str = "performing";

/// Entries looked at to tell what an interrupted request did: a step has fewer.
const ENTRIES_MAX: usize = 100;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Performing {
    request: u64,
    /// The journal's last entry before it began.
    seq: u64,
}

/// What a coordinator before us was doing, until somebody has asked.
pub struct Interrupted(Option<Performing>);

impl Interrupted {
    /// Reads the note.
    pub async fn load(journal: &dyn Journal) -> Result<Interrupted, JournalError> {
        let note = journal.note(PERFORMING_NOTE).await?;
        Ok(Interrupted(note.and_then(|text| serde_json::from_str(&text).ok())))
    }

    /// The entries since this request was begun by a coordinator before us, the
    /// first time that it is asked for; `None`: it was not.
    pub async fn entries_since(
        &mut self,
        journal: &dyn Journal,
        request: &Request,
    ) -> Result<Option<Vec<Entry>>, JournalError> {
        match self.0.take_if(|before| before.request == request.id) {
            Some(before) => Ok(Some(journal.read(before.seq, ENTRIES_MAX).await?)),
            None => Ok(None),
        }
    }
}

/// Notes that a request begins, with the journal's last entry.
pub async fn begins(journal: &dyn Journal, request: &Request, seq: u64) -> Result<(), Halt> {
    let performing = Performing { request: request.id, seq };
    let text = serde_json::to_string(&performing).map_err(|error| Halt::Broken(error.to_string()))?;
    Ok(journal.set_note(PERFORMING_NOTE, &text).await?)
}
