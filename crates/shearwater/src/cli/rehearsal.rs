//! Plays every stage of a required field on a copy of some rows, so that the
//! times of a plan are measured where it is to run, and the table is left alone;
//! where no copy is made, a few records are measured as they stand.

use std::time::{Duration, Instant};

use shearwater_core::error::{StoreError, StoreErrorKind, StoreResult};
use shearwater_core::evolve::{Alteration, CopyPlace, Effect, Evolve, FillCheckpoint, Sampled, Stage, Try, Wanted};
use shearwater_core::plan::require::Required;
use shearwater_core::store::Estimate;

use super::scratch::{Place, micros};

/// Rows that are copied at most: enough that a rewrite is more than its fixed
/// cost, few enough for a second or two.
const COPY_ROWS_MAX: u64 = 20_000;

/// Bytes that are copied at most, by what the store says of its table.
const COPY_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// Rows that are copied when the store does not know how many there are.
const COPY_ROWS_BLIND: u64 = 2_000;

/// Nobody else uses the copy; a lock that is not given in a second is somebody's fault.
const PATIENCE: Duration = Duration::from_secs(1);

/// No lock on the copy is waited for by a standby's readers.
const STANDBY_LAG_MS_MAX: u64 = u64::MAX;

/// The order in which every alteration comes once at least.
const ORDER: [Stage; 5] = [Stage::Expand, Stage::Enforce, Stage::Contract, Stage::Back, Stage::Remove];

/// What was measured.
pub(super) struct Rehearsed {
    /// Records of the table: the store's estimate, or by the copy's density.
    pub(super) records: u64,
    copied: u64,
    took: Vec<(Stage, Alteration, Effect, u64)>,
    fill_micros: Option<u64>,
    /// Where no copy is made.
    sampled: Option<Sampled>,
}

impl Rehearsed {
    /// When nothing could be measured.
    pub(super) fn nothing(estimate: Estimate) -> Rehearsed {
        Rehearsed { records: estimate.records, copied: 0, took: Vec::new(), fill_micros: None, sampled: None }
    }

    /// On what the times were measured, for people; `None`: on nothing.
    pub(super) fn how(&self) -> Option<String> {
        match (&self.sampled, self.copied) {
            (Some(sampled), _) => Some(sampled.how.clone()),
            (None, 0) => None,
            (None, copied) => Some(format!(
                "on a copy of {}, which is dropped again",
                crate::render::amount::counted(copied, "record", "records")
            )),
        }
    }

    /// How long an alteration is expected to take in all, ms; `None`: it was not measured.
    pub(super) fn alteration_ms(&self, stage: Stage, what: Alteration, effect: Effect) -> Option<u64> {
        if let Some(sampled) = &self.sampled {
            return match effect {
                Effect::Catalogue => None,
                Effect::Scan => Some(self.of_all(sampled.read_micros, sampled.read)),
                Effect::Fill | Effect::Rewrite | Effect::RewriteAlone => self.fill_ms(),
            };
        }
        let here = self.took.iter().find(|(s, w, e, _)| (*s, *w, *e) == (stage, what, effect));
        let found = here.or_else(|| self.took.iter().find(|(_, w, e, _)| (*w, *e) == (what, effect)));
        found.map(|(_, _, _, micros)| match effect {
            Effect::Catalogue => micros.div_ceil(1_000).max(1),
            Effect::Scan | Effect::Fill | Effect::Rewrite | Effect::RewriteAlone => self.for_all(*micros),
        })
    }

    /// How long the backfill is expected to take without rests, ms.
    pub(super) fn fill_ms(&self) -> Option<u64> {
        match &self.sampled {
            Some(s) => Some(self.of_all(s.read_micros, s.read) + self.of_all(s.write_micros, s.written)),
            None => self.fill_micros.map(|micros| self.for_all(micros)),
        }
    }

    /// What took so long for the copy's rows, for the table's; ms.
    fn for_all(&self, micros: u64) -> u64 {
        self.of_all(micros, self.copied)
    }

    /// What took so long for some records, for the table's; ms.
    fn of_all(&self, micros: u64, records: u64) -> u64 {
        let all = u128::from(micros) * u128::from(self.records) / u128::from(records.max(1));
        u64::try_from(all.div_ceil(1_000)).unwrap_or(u64::MAX).max(1)
    }
}

/// Measures; the reason when it could not.
pub(super) async fn rehearse(
    url: &str,
    required: &Required,
    evolve: &dyn Evolve,
    estimate: Estimate,
    batch_rows: u64,
) -> Result<Rehearsed, String> {
    let place = Place::of(url, &required.v1).map_err(|error| error.to_string())?;
    let wanted = Wanted { table: place.table().to_owned(), ..required.wanted.clone() };
    let told = |error: StoreError| error.message;
    clear(&place, &wanted).await.map_err(told)?;
    let played = play(&place, &wanted, evolve, estimate, batch_rows).await;
    let cleared = clear(&place, &wanted).await;
    let played = match played {
        Err(error) if error.kind == StoreErrorKind::Unsupported => match evolve.sample().await.map_err(told)? {
            Some(sampled) => Ok(Rehearsed { sampled: Some(sampled), ..Rehearsed::nothing(estimate) }),
            None => Err(error),
        },
        played => played,
    };
    let played = played.map_err(told)?;
    cleared.map_err(told)?;
    Ok(played)
}

async fn play(
    place: &Place,
    wanted: &Wanted,
    evolve: &dyn Evolve,
    estimate: Estimate,
    batch_rows: u64,
) -> StoreResult<Rehearsed> {
    let rows_max = match estimate.bytes.checked_div(estimate.records) {
        Some(row) => (COPY_BYTES_MAX / row.max(1)).clamp(1, COPY_ROWS_MAX),
        None => COPY_ROWS_BLIND,
    };
    let to = CopyPlace { url: place.url().to_owned(), table: place.table().to_owned() };
    let copied = evolve.copy(&to, rows_max).await?;
    let on = shearwater_stores::open_evolve(place.url(), wanted.clone()).await?;
    let bytes = on.estimate().await?.bytes;
    let records = match (copied < rows_max, estimate.records) {
        (true, _) => copied,
        // A table without statistics is as dense as its copy.
        (false, 0) => copied.saturating_mul(estimate.bytes) / bytes.max(1),
        (false, known) => known,
    };
    let mut rehearsed = Rehearsed { records, copied, ..Rehearsed::nothing(estimate) };
    for stage in ORDER {
        let statements = on.statements(stage).await?;
        for what in on.alterations(stage) {
            let heaviest = statements.iter().filter(|s| s.what == what).map(|s| s.effect);
            let effect = heaviest.max_by_key(|effect| *effect != Effect::Catalogue).unwrap_or(Effect::Catalogue);
            let began = Instant::now();
            match on.try_to(what, PATIENCE, STANDBY_LAG_MS_MAX).await? {
                // What rewrites beside others holds its lock at its ends only.
                Try::Made { .. } if effect != Effect::Catalogue => {
                    rehearsed.took.push((stage, what, effect, micros(began)));
                }
                Try::Made { held_micros } if held_micros > 0 => {
                    rehearsed.took.push((stage, what, effect, held_micros));
                }
                Try::Made { .. } => {}
                Try::Busy(_) | Try::Violated(_) => {
                    let message = format!("{} could not be made on the copy", what.name());
                    return Err(StoreError::new(StoreErrorKind::Unavailable, message));
                }
            }
        }
        if stage == Stage::Expand && !on.needs_no_backfill() && copied > 0 {
            rehearsed.fill_micros = Some(fill(on.as_ref(), batch_rows).await?);
        }
    }
    Ok(rehearsed)
}

/// Fills the copy; microseconds.
async fn fill(on: &dyn Evolve, batch_rows: u64) -> StoreResult<u64> {
    let began = Instant::now();
    for range in on.fill_ranges(1).await? {
        let mut at = FillCheckpoint { range: range.id, ..FillCheckpoint::default() };
        while !at.done {
            at = on.fill("plan", &range, &at, batch_rows).await?;
        }
    }
    Ok(micros(began))
}

/// Removes the copy with all that belongs to it, by this process or by one before it.
async fn clear(place: &Place, wanted: &Wanted) -> StoreResult<()> {
    if place.url().starts_with("sqlite:") {
        // Its directory goes with it.
        return Ok(());
    }
    let mut program = place.program().await?;
    if !program.tables().await?.contains(&wanted.table) {
        return Ok(());
    }
    let on = shearwater_stores::open_evolve(place.url(), wanted.clone()).await?;
    for what in on.alterations(Stage::Remove) {
        on.try_to(what, PATIENCE, STANDBY_LAG_MS_MAX).await?;
    }
    program.drop_tables(&[wanted.table.as_str()]).await
}
