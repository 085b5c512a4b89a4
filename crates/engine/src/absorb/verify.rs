//! Verification of an absorb: each record lives in exactly one store, can be
//! shown in both shapes, and comes back as it is.

use std::time::Instant;

use shearwater_core::Key;
use shearwater_core::absorb::{Home, Origin};
use shearwater_core::lifecycle::VerifyTotals;
use shearwater_core::lifecycle::absorb::State;
use shearwater_core::store::Side;

use super::Carrier;
use super::place::Place;
use crate::ledger::Halt;
use crate::records::Shape;

impl Carrier {
    /// Looks at every record in both stores; `go_on` is asked before each batch.
    pub async fn verify(&self, state: &State, go_on: impl Fn() -> Result<(), Halt>) -> Result<VerifyTotals, Halt> {
        let began = Instant::now();
        let mut totals = VerifyTotals::default();
        for home in [Home::Source, Home::Target] {
            let mut after = None;
            loop {
                go_on()?;
                let keys = self.next_in(home, after).await?;
                let Some(last) = keys.last().cloned() else { break };
                after = Some(last);
                for key in &keys {
                    self.verify_one(state, key, &mut totals).await?;
                }
            }
        }
        totals.elapsed_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
        Ok(totals)
    }

    async fn verify_one(&self, state: &State, key: &Key, totals: &mut VerifyTotals) -> Result<(), Halt> {
        totals.compared += 1;
        let shapes = &self.setup.shapes;
        match self.locate(state, Shape::V1, key).await? {
            Place::Source { held, .. } => match shapes.forward(&held.v1) {
                Ok(_) => {
                    let target_key = self.target_key(key).await?;
                    let found = self.setup.target.fetch(&target_key).await.map_err(Halt::store(Side::Target))?;
                    let origin = found.image.and_then(|image| Origin::of(&image.parked));
                    totals.extra += u64::from(origin.is_some_and(|origin| origin.key == *key));
                }
                Err(_) => totals.refused += 1,
            },
            Place::Target { held, found, origin, .. } => {
                let Some(image) = &found.image else { return Ok(()) };
                let there = shapes.together(&held.v1, &image.record, &origin).and_then(|v1| shapes.forward(&v1));
                match there {
                    Ok(again) => {
                        let differs = origin.changed.is_empty() && again.v2 != image.record;
                        totals.different += u64::from(differs);
                    }
                    Err(_) => totals.refused += 1,
                }
            }
            Place::Deleted { .. } | Place::Nowhere { .. } | Place::Own { .. } => {}
        }
        Ok(())
    }
}
