//! Undoing deactivations as a step of the migration: while records go back one
//! by one and others move, every member reads lists so that neither is missed.

use std::collections::BTreeMap;

use shearwater_core::lifecycle::absorb::{State, Step};

use super::Leading;
use crate::absorb::deactivations::Entry;
use crate::absorb::undo::Undoing;
use crate::failpoint;
use crate::ledger::Halt;

impl Leading<'_> {
    /// Report: what came of each, counted, and which of them stay.
    pub(super) async fn undo(&mut self, state: &State, keys: Option<&[String]>) -> Result<serde_json::Value, Halt> {
        if !state.undoes() {
            let message =
                format!("deactivations are undone in prepare, lazy and drain, and this is {}", state.phase.name());
            return Err(Halt::refused("phase/not-possible", message, "a rollback takes every record back"));
        }
        let listed = self.carrier.listed(keys).await?;
        let unlisted = keys.unwrap_or_default().iter().filter(|key| !listed.contains_key(*key)).cloned().collect();
        let mut done = Undoing { unlisted, ..Undoing::default() };
        if !listed.is_empty() {
            self.carrier.spare(listed.keys().cloned()).await?;
            self.go_both_ways().await?;
            let state = self.state();
            let undone = self.undo_all(&state, &listed, &mut done).await;
            if let Err(halt @ (Halt::Stopped | Halt::Lost)) = undone {
                // Whoever leads next goes on.
                return Err(halt);
            }
            self.step(Step::Reactivated { records: done.undone }).await?;
            undone?;
        }
        serde_json::to_value(done).map_err(|error| Halt::Broken(error.to_string()))
    }

    /// While records go back one by one and others move, lists must read so
    /// (H10); after a rollback none is in the target.
    async fn go_both_ways(&mut self) -> Result<(), Halt> {
        let state = self.state();
        if !state.moves_forward() {
            return Ok(());
        }
        if !state.undoing {
            self.step(Step::Undoing { epoch: state.epoch + 1 }).await?;
        }
        failpoint::hit("absorb-undoing");
        let epoch = self.state().epoch;
        self.acknowledged(epoch).await?;
        self.raise_fences(epoch).await
    }

    async fn undo_all(
        &self,
        state: &State,
        listed: &BTreeMap<String, Vec<Entry>>,
        done: &mut Undoing,
    ) -> Result<(), Halt> {
        for (key, entries) in listed {
            self.go_on()?;
            done.add(key, self.carrier.undo(state, key, entries).await?);
            failpoint::hit("absorb-undone");
        }
        Ok(())
    }
}
