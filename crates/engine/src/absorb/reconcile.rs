//! The source's marks, taken care of: moves that were left on their way are
//! finished, marks of plain writes are cleared, and rows that a program wrote
//! after their record had moved are told of, because nobody reads them.

use shearwater_core::absorb::{Home, Origin};
use shearwater_core::lifecycle::absorb::State;
use shearwater_core::store::{DirtyMark, Fetched};
use shearwater_core::{Key, Stamp};

use super::{Carrier, Fault};
use crate::failpoint;

/// Marks looked at at once.
const MARKS_READ_MAX: usize = 500;

/// The code of a row that was written after its record had moved.
pub const STRAY: &str = "absorb/stray";

impl Carrier {
    /// One round over marks up to a stamp: younger ones most likely belong to a
    /// client's request that is about to finish its own move. Answers the
    /// youngest mark that it saw.
    pub async fn reconcile(&self, state: &State, up_to: Stamp) -> Result<Stamp, Fault> {
        let source = self.setup.source().await.map_err(Fault::source)?;
        let mut after = None;
        let mut youngest = up_to;
        loop {
            let marks = source.dirty(after, MARKS_READ_MAX).await.map_err(Fault::source)?;
            youngest = marks.last().map_or(youngest, |mark| mark.stamp.max(youngest));
            let due: Vec<Key> = marks.iter().filter(|mark| mark.stamp <= up_to).map(|mark| mark.key.clone()).collect();
            let mut plain = Vec::new();
            for row in source.fetch_many(&due).await.map_err(Fault::source)? {
                if let Some(mark) = self.reconcile_one(state, row).await? {
                    plain.push(mark);
                }
            }
            if !plain.is_empty() {
                source.clear(plain).await.map_err(Fault::source)?;
                failpoint::hit("absorb-cleared");
            }
            match marks.last() {
                Some(last) if marks.len() == MARKS_READ_MAX => after = Some(last.stamp),
                _ => return Ok(youngest),
            }
        }
    }

    /// Finishes what is on its way with one row; the mark that is then left to clear.
    async fn reconcile_one(&self, state: &State, row: Fetched) -> Result<Option<DirtyMark>, Fault> {
        if !row.dirty {
            return Ok(None);
        }
        let stamp = super::carry::stamp_of(&row);
        let mark = DirtyMark { key: row.key.clone(), stamp };
        let home = row.image.clone().map(|image| self.setup.shapes.held(image).home);
        match home {
            Some(Home::Source) => Ok(Some(mark)),
            Some(Home::Target) => {
                self.settle(state.epoch, &row.key).await?;
                let source = self.setup.source().await.map_err(Fault::source)?;
                let now = source.fetch(&row.key).await.map_err(Fault::source)?;
                if !now.dirty || super::carry::stamp_of(&now) != stamp {
                    return Ok(None);
                }
                let why = "the source's row was written after its record had moved; the target's record stands";
                self.bury(&row.key, stamp, STRAY, why).await?;
                Ok(Some(mark))
            }
            None => {
                if self.lives_in_target(state, &row.key).await? {
                    let why = "the source's row was deleted after its record had moved; the target's record stands";
                    self.bury(&row.key, stamp, STRAY, why).await?;
                }
                Ok(Some(mark))
            }
        }
    }

    async fn lives_in_target(&self, state: &State, key: &Key) -> Result<bool, Fault> {
        let Some(target_key) = self.known_target_key(state, key).await? else { return Ok(false) };
        let found = self.setup.target.fetch(&target_key).await.map_err(Fault::target)?;
        let origin = found.image.and_then(|image| Origin::of(&image.parked));
        Ok(origin.is_some_and(|origin| origin.key == *key))
    }
}
