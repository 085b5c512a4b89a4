//! Where an absorb stands: moved and remaining records, how fast they go, when
//! none will be left, and what stands in the way.

use serde::{Deserialize, Serialize};
use shearwater_core::absorb::{Home, Shapes};
use shearwater_core::journal::Journal;
use shearwater_core::lifecycle::absorb::{Census, Phase, State};
use shearwater_core::lifecycle::{Lifecycle, Status, VerifyTotals};
use shearwater_core::query::{Filter, Keyset, ListQuery};
use shearwater_core::spec::{FieldRule, RuleFrom};
use shearwater_core::store::{Fetched, Flagged};

use super::carry::now_ms;
use super::{BATCH, Carrier, Fault, Setup};
use crate::ledger::{Halt, fold};
use crate::member::View;

/// The note with samples of what remains.
const PACE_NOTE: &str = "absorb-pace";

/// Between two samples, ms.
const SAMPLE_EVERY_MS: i64 = 60_000;

/// Samples kept: a week of minutes would be too many to read for one line of
/// status, a day of them says how it goes.
const SAMPLES_MAX: usize = 1_440;

/// How many records live where.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// In the target.
    pub moved: u64,
    /// In the source.
    pub remaining: u64,
}

/// What remained at a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sample {
    /// When, ms since 1970.
    pub at_ms: i64,
    /// Records in the source.
    pub remaining: u64,
}

/// Where it stands.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// The migration's name.
    pub migration: String,
    /// `absorb`.
    pub kind: &'static str,
    /// The phase.
    pub phase: &'static str,
    /// The phase that is being entered.
    pub entering: Option<&'static str>,
    /// What the phase is for.
    pub what: &'static str,
    /// The epoch.
    pub epoch: u64,
    /// What stands beside the phase.
    pub status: Status,
    /// How many records live where; `None` before the preparation and after the end.
    pub counts: Option<Counts>,
    /// Records that move in an hour, by the samples of the last day.
    pub moved_per_hour: Option<f64>,
    /// When none will be left at that rate, ms since 1970.
    pub drained_at_ms: Option<i64>,
    /// The census of the preparation.
    pub census: Option<Census>,
    /// The oldest activity among those that remain: key and time, as JSON.
    pub oldest: Option<(String, serde_json::Value)>,
    /// Stragglers deactivated today.
    pub deactivated_today: u64,
    /// Dead letters.
    pub dead_letters: u64,
    /// The last verification.
    pub verified: Option<VerifyTotals>,
    /// Where one can go from here: command and phase.
    pub ways: Vec<(&'static str, &'static str)>,
    /// The last entry.
    pub seq: u64,
}

impl Carrier {
    /// How many records live where.
    pub async fn counts(&self) -> Result<Counts, Fault> {
        let source = self.setup.source().await.map_err(Fault::source)?;
        let flag = self.setup.shapes.flag();
        if let Some(flags) = source.flags() {
            let count = async |flagged| flags.count_flagged(flag, flagged).await.map_err(Fault::source);
            return Ok(Counts { moved: count(Flagged::Yes).await?, remaining: count(Flagged::No).await? });
        }
        Ok(Counts { moved: self.count_in(Home::Target).await?, remaining: self.count_in(Home::Source).await? })
    }

    /// Where documents carry their flag, they are counted one page after the other.
    async fn count_in(&self, home: Home) -> Result<u64, Fault> {
        let (mut count, mut after) = (0, None);
        loop {
            let keys = self.next_in(home, after).await?;
            count += keys.len() as u64;
            match keys.into_iter().last() {
                Some(last) => after = Some(last),
                None => return Ok(count),
            }
        }
    }

    /// Records of the source beside which something stands that only v2 has,
    /// given by nobody but its clients: it goes when the sidecar goes.
    pub async fn beside(&self) -> Result<u64, Fault> {
        let (rules, shapes) = (&self.setup.spec.base, &self.setup.shapes);
        // What is looked up can be looked up again.
        let is_looked_up = |name: &str| {
            shapes.joins().fields.iter().any(|field| field.field == name)
                || shapes.references().iter().any(|reference| reference.rule().field == name)
        };
        let is_given = |rule: &&FieldRule| {
            rule.from == RuleFrom::TargetOnly && !rules.target.key.contains(&rule.name) && !is_looked_up(&rule.name)
        };
        let fields: Vec<&str> = rules.fields.iter().filter(is_given).map(|rule| rule.name.as_str()).collect();
        let source = self.setup.source().await.map_err(Fault::source)?;
        let (mut count, mut after) = (0, None);
        loop {
            let query = ListQuery { filter: Filter::All, order: vec![], after, limit: BATCH };
            let page = source.list_parked(&query).await.map_err(Fault::source)?;
            after = page.records.last().map(|last| Keyset { values: vec![], key: last.key.clone() });
            let has_some = |found: &&Fetched| {
                let parked = found.image.as_ref().map(|image| &image.parked);
                parked.is_some_and(|parked| {
                    fields.iter().any(|field| parked.get(field).is_some_and(|value| !value.is_null()))
                        || Shapes::has_strays(parked)
                })
            };
            count += page.records.iter().filter(has_some).count() as u64;
            if !page.more || after.is_none() {
                return Ok(count);
            }
        }
    }

    /// Keeps a sample of what remains, once in a while.
    pub async fn sample(&self) -> Result<(), Fault> {
        let mut samples = samples(self.setup.journal.as_ref()).await?;
        let now = now_ms();
        if samples.last().is_some_and(|last| now - last.at_ms < SAMPLE_EVERY_MS) {
            return Ok(());
        }
        samples.push(Sample { at_ms: now, remaining: self.counts().await?.remaining });
        let from = samples.len().saturating_sub(SAMPLES_MAX);
        let text = serde_json::to_string(&samples[from..]).unwrap_or_default();
        Ok(self.setup.journal.set_note(PACE_NOTE, &text).await?)
    }
}

async fn samples(journal: &dyn Journal) -> Result<Vec<Sample>, Fault> {
    let text = journal.note(PACE_NOTE).await?;
    Ok(text.and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default())
}

/// Records in an hour, and when none will be left; `None` while nothing is
/// known, or nothing moves.
pub fn forecast(samples: &[Sample], now: Sample) -> (Option<f64>, Option<i64>) {
    const HOUR_MS: f64 = 3_600_000.0;
    // Less than a minute says nothing about an hour.
    let is_old = |first: &&Sample| now.at_ms.saturating_sub(first.at_ms) >= SAMPLE_EVERY_MS;
    let Some(first) = samples.first().filter(is_old) else { return (None, None) };
    let moved = first.remaining.saturating_sub(now.remaining) as f64;
    let rate = moved / ((now.at_ms - first.at_ms) as f64 / HOUR_MS);
    if rate <= 0.0 {
        return (Some(0.0), None);
    }
    let left_ms = now.remaining as f64 / rate * HOUR_MS;
    (Some(rate), Some(now.at_ms.saturating_add(left_ms.min(i64::MAX as f64) as i64)))
}

/// The report, from the journal and the stores.
pub async fn report(setup: &Setup) -> Result<Report, Halt> {
    let view = fold(setup.journal.as_ref(), View::<State>::initial()).await?;
    let state = &view.state;
    let carrier = Carrier { setup: setup.clone(), without: None };
    let counts = if state.uses_sidecars() { Some(carrier.counts().await?) } else { None };
    let (mut moved_per_hour, mut drained_at_ms, mut oldest) = (None, None, None);
    if let Some(counts) = counts {
        let now = Sample { at_ms: now_ms(), remaining: counts.remaining };
        (moved_per_hour, drained_at_ms) = forecast(&samples(setup.journal.as_ref()).await?, now);
        oldest = carrier.oldest().await?.map(|(key, value)| {
            let text = shearwater_core::value::json::to_string(&value);
            (key.to_text(), serde_json::from_str(&text).unwrap_or_default())
        });
    }
    let info = state.effective_phase().info();
    Ok(Report {
        migration: setup.journal.migration().to_owned(),
        kind: "absorb",
        phase: state.phase.name(),
        entering: state.entering.map(Phase::name),
        what: info.what,
        epoch: state.epoch(),
        status: state.status.clone(),
        counts,
        moved_per_hour,
        drained_at_ms,
        census: state.census.clone(),
        oldest,
        deactivated_today: carrier.today().await?.len() as u64,
        dead_letters: setup.journal.dead_letter_count().await?,
        verified: state.verified.map(|(_, totals)| totals),
        ways: info.ways.iter().map(|(command, to)| (*command, to.name())).collect(),
        seq: view.seq,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_forecast_needs_movement() {
        let at = |hours: i64, remaining| Sample { at_ms: hours * 3_600_000, remaining };
        assert_eq!(forecast(&[], at(1, 5)), (None, None));
        let soon = Sample { at_ms: 59_999, remaining: 50 };
        assert_eq!(forecast(&[at(0, 100)], soon), (None, None));
        assert_eq!(forecast(&[at(0, 100)], at(2, 100)), (Some(0.0), None));
        // 50 records in two hours: the other 50 take two more.
        assert_eq!(forecast(&[at(0, 100)], at(2, 50)), (Some(25.0), Some(4 * 3_600_000)));
        // Records that came in do not make the rate negative.
        assert_eq!(forecast(&[at(0, 100)], at(2, 120)), (Some(0.0), None));
    }
}
