//! Dead letters, looked at again.

use serde_json::json;
use shearwater_core::Key;
use shearwater_core::journal::DeadLetter;
use shearwater_core::lifecycle::absorb::State;
use shearwater_core::store::Side;

use super::Leading;
use crate::absorb::place::Place;
use crate::absorb::reconcile::STRAY;
use crate::ledger::Halt;
use crate::records::Shape;

impl Leading<'_> {
    /// Looks at every dead letter again: those whose record moves or has moved
    /// by now go, the others stay.
    pub(super) async fn retry(&mut self, state: &State) -> Result<serde_json::Value, Halt> {
        const LETTERS_READ_MAX: usize = 1_000;
        let journal = &self.carrier.setup.journal;
        let parts = self.carrier.setup.shapes.shape(Side::Source).key_fields().len();
        let (mut resolved, mut kept, mut after) = (0_u64, 0_u64, None);
        loop {
            let letters = journal.dead_letters(after.as_deref(), LETTERS_READ_MAX).await?;
            for letter in &letters {
                self.go_on()?;
                let mended = match Key::from_text(&letter.key, parts) {
                    Ok(key) => self.is_mended(state, &key, letter).await?,
                    Err(_) => false,
                };
                if mended && journal.resolve(letter.authority, &letter.key).await? {
                    resolved += 1;
                } else {
                    kept += 1;
                }
            }
            match letters.last() {
                Some(last) if letters.len() == LETTERS_READ_MAX => after = Some(last.key.clone()),
                _ => return Ok(json!({ "resolved": resolved, "kept": kept })),
            }
        }
    }

    /// A stray is taken note of by asking again; a refused record is mended
    /// when it has moved, or nothing would keep it from moving.
    async fn is_mended(&self, state: &State, key: &Key, letter: &DeadLetter) -> Result<bool, Halt> {
        if letter.code == STRAY {
            return Ok(true);
        }
        Ok(match self.carrier.locate(state, Shape::V1, key).await? {
            Place::Source { held, .. } => match self.carrier.setup.shapes.forward(&held.v1) {
                Ok(parted) => {
                    let key = self.carrier.target_key(key).await?;
                    self.carrier.obstacle(&parted.v2, &key).await?.is_none()
                }
                Err(_) => false,
            },
            Place::Target { .. } | Place::Deleted { .. } | Place::Nowhere { .. } | Place::Own { .. } => true,
        })
    }
}
