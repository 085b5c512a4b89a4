//! The demo's result: figures, what each is measured over, and the verdict.

use comfy_table::{CellAlignment, ContentArrangement, Table, presets};
use serde::Serialize;

/// Columns of the table: it fits a terminal of this width.
const TABLE_COLUMNS: u16 = 100;

/// Percentiles of a time in milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Pauses {
    /// Half of the samples are at most this long.
    pub p50: f64,
    /// 99 of 100 samples are at most this long.
    pub p99: f64,
    /// The longest sample.
    pub max: f64,
    /// How many samples there are.
    pub samples: u64,
}

/// Percentiles of a latency in milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Latency {
    /// Half of the requests took at most this long.
    pub p50: f64,
    /// 99 of 100 requests took at most this long.
    pub p99: f64,
}

/// One step of the migration under load.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct StepReport {
    /// Its name.
    pub step: String,
    /// Requests that began in it (a request and its repetitions after 503 count once).
    pub requests: u64,
    /// Latency of reads by key that began in it, ms.
    pub read_latency_ms: Latency,
    /// Latency of writes that began in it, ms.
    pub write_latency_ms: Latency,
}

/// The result of a demo. Every count from `errors` to `unchecked_keys` must be 0.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct DemoReport {
    /// The kind of the source's store.
    pub source: String,
    /// The kind of the target's store.
    pub target: String,
    /// Records in the legacy store at the beginning.
    pub records: u64,
    /// HTTP requests sent by all clients and walkers, repetitions included.
    pub requests: u64,
    /// Outcomes that no rule of the API explains: a status that the request
    /// cannot have, a broken connection, an answer that cannot be read, a
    /// repeated request answered otherwise, a request that was refused with
    /// 503 for 15 s, a direct write that failed other than by the fence.
    pub errors: u64,
    /// Acknowledged writes that are gone: a read showed nothing where no
    /// delete explains it, a write succeeded whose condition an acknowledged
    /// write had made false, or an older version was left at the end.
    pub lost: u64,
    /// Records that were seen, changed or left after an acknowledged delete
    /// with nobody having made them again.
    pub resurrected: u64,
    /// Reads (by key or in a list) that showed an older version of a record
    /// than was acknowledged or shown before they began.
    pub backwards_reads: u64,
    /// Records that a walk of a list showed twice though their place in its
    /// order did not change while it went on.
    pub list_repeats: u64,
    /// Records that a walk left out though they were there from its beginning
    /// to its end at an unchanged place.
    pub list_gaps: u64,
    /// Records that differ: found by the engine's verifications, between the
    /// stores at the end, between what two clients were shown of one version,
    /// between what a client sent and was answered, or that nobody wrote.
    pub mismatches: u64,
    /// Dead letters in the journal before `complete`.
    pub dead_letters: u64,
    /// Direct writes that the source accepted while the target was the
    /// authority, or refused while the source was it. Tries during a change of
    /// authority are not counted.
    pub fence_violations: u64,
    /// Keys whose history is too entangled to be judged.
    pub unchecked_keys: u64,
    /// Direct writes into the source, behind the gateway's back, that were accepted.
    pub direct_writes: u64,
    /// Direct writes that the fence refused while the target was the authority.
    pub direct_refused: u64,
    /// Requests sent again after 503.
    pub retries: u64,
    /// Writes whose outcome the client never learned.
    pub unknown_outcomes: u64,
    /// Lists walked to their end.
    pub walks: u64,
    /// Changes of authority that the engine gave up because of its budget.
    pub switches_aborted: u64,
    /// Records of the first backfill divided by its time, clients working meanwhile.
    pub backfill_records_per_s: f64,
    /// The pauses of the two cutovers, ms. Samples: of every write that was on
    /// its way at any moment between the journal's `SwitchBegan` and `Opened`,
    /// its whole latency as its client saw it (repetitions after 503 included);
    /// and for each cutover the engine's own interval from closing the old
    /// authority to opening the new one.
    pub cutover_pause_ms: Pauses,
    /// The same for the rollback.
    pub rollback_pause_ms: Pauses,
    /// Latency of reads by key over the whole demo, at the client, ms.
    pub read_latency_ms: Latency,
    /// Latency of writes over the whole demo, at the client, pauses included, ms.
    pub write_latency_ms: Latency,
    /// The seed: the same one gives the same data and choices.
    pub seed: u64,
    /// From the making of the legacy store to the verdict.
    pub duration_s: f64,
    /// The steps in their order.
    pub steps: Vec<StepReport>,
    /// The first findings, each a sentence, without values of records.
    pub findings: Vec<String>,
}

impl DemoReport {
    /// The counts that must be 0, with their names.
    pub fn must_be_zero(&self) -> [(&'static str, u64); 10] {
        [
            ("errors", self.errors),
            ("lost", self.lost),
            ("resurrected", self.resurrected),
            ("backwards_reads", self.backwards_reads),
            ("list_repeats", self.list_repeats),
            ("list_gaps", self.list_gaps),
            ("mismatches", self.mismatches),
            ("dead_letters", self.dead_letters),
            ("fence_violations", self.fence_violations),
            ("unchecked_keys", self.unchecked_keys),
        ]
    }

    /// Whether everything that must be 0 is.
    pub fn passed(&self) -> bool {
        self.must_be_zero().iter().all(|(_, count)| *count == 0)
    }

    /// One line of JSON.
    pub fn json(&self) -> Result<String, serde_json::Error> {
        serde_json::to_string(self)
    }

    /// The tables, at most 100 columns wide, and the verdict.
    pub fn text(&self) -> String {
        let mut out = String::new();
        out.push_str(&self.step_table().to_string());
        out.push_str("\n\n");
        out.push_str(&self.figure_table().to_string());
        out.push('\n');
        for finding in &self.findings {
            out.push_str(&format!("  ! {finding}\n"));
        }
        out.push_str(&self.verdict());
        out
    }

    fn verdict(&self) -> String {
        let wrong: Vec<String> =
            self.must_be_zero().iter().filter(|(_, n)| *n > 0).map(|(name, n)| format!("{name} {n}")).collect();
        if wrong.is_empty() {
            return format!(
                "\nNothing lost, nothing back from the dead, no read backwards, no list with repeats or gaps;\n\
                 the stores are equal. From {} to {}, back, and there again in {:.1} s (seed {}).\n",
                self.source, self.target, self.duration_s, self.seed
            );
        }
        format!("\nFAILED from {} to {}: {} (seed {})\n", self.source, self.target, wrong.join(", "), self.seed)
    }

    fn step_table(&self) -> Table {
        let mut table = table(&["step", "requests", "read p50 ms", "read p99 ms", "write p50 ms", "write p99 ms"]);
        for step in &self.steps {
            table.add_row(vec![
                step.step.clone(),
                step.requests.to_string(),
                ms(step.read_latency_ms.p50),
                ms(step.read_latency_ms.p99),
                ms(step.write_latency_ms.p50),
                ms(step.write_latency_ms.p99),
            ]);
        }
        table
    }

    fn figure_table(&self) -> Table {
        let mut table = table(&["what", "figure", "what", "figure"]);
        let pauses = |p: &Pauses| format!("{} / {} / {}", ms(p.p50), ms(p.p99), ms(p.max));
        let latency = |l: &Latency| format!("{} / {}", ms(l.p50), ms(l.p99));
        let mut left: Vec<(String, String)> =
            self.must_be_zero().iter().map(|(name, n)| (name.replace('_', " "), n.to_string())).collect();
        let right = [
            ("records", self.records.to_string()),
            ("requests", self.requests.to_string()),
            ("direct writes (refused)", format!("{} ({})", self.direct_writes, self.direct_refused)),
            ("lists walked", self.walks.to_string()),
            ("sent again after 503", self.retries.to_string()),
            ("backfill records/s", format!("{:.0}", self.backfill_records_per_s)),
            ("cutover pause p50 / p99 / max ms", pauses(&self.cutover_pause_ms)),
            ("rollback pause p50 / p99 / max ms", pauses(&self.rollback_pause_ms)),
            ("read p50 / p99 ms", latency(&self.read_latency_ms)),
            ("write p50 / p99 ms", latency(&self.write_latency_ms)),
        ];
        left.resize(right.len(), Default::default());
        for ((a, b), (c, d)) in left.into_iter().zip(right) {
            table.add_row(vec![a, b, c.to_owned(), d]);
        }
        table
    }
}

fn table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::UTF8_HORIZONTAL_ONLY);
    table.set_content_arrangement(ContentArrangement::Dynamic).set_width(TABLE_COLUMNS).set_header(header.to_vec());
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

fn ms(ms: f64) -> String {
    format!("{ms:.2}")
}

/// The value below which `percent` of the sorted samples lie (nearest rank).
pub fn percentile(sorted_ns: &[u64], percent: f64) -> f64 {
    if sorted_ns.is_empty() {
        return 0.0;
    }
    let rank = (percent / 100.0 * sorted_ns.len() as f64).ceil() as usize;
    sorted_ns[rank.clamp(1, sorted_ns.len()) - 1] as f64 / 1e6
}

/// Latency of samples in nanoseconds, in any order.
pub fn latency(mut samples_ns: Vec<u64>) -> Latency {
    samples_ns.sort_unstable();
    Latency { p50: percentile(&samples_ns, 50.0), p99: percentile(&samples_ns, 99.0) }
}

/// Pauses of samples in nanoseconds, in any order.
pub fn pauses(mut samples_ns: Vec<u64>) -> Pauses {
    samples_ns.sort_unstable();
    Pauses {
        p50: percentile(&samples_ns, 50.0),
        p99: percentile(&samples_ns, 99.0),
        max: percentile(&samples_ns, 100.0),
        samples: samples_ns.len() as u64,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_nearest_ranks() {
        let check = |samples: &[u64], percent, expect: f64| {
            let nanos: Vec<u64> = samples.iter().map(|ms| ms * 1_000_000).collect();
            assert_eq!(percentile(&nanos, percent), expect, "{samples:?} {percent}");
        };
        check(&[], 50.0, 0.0);
        check(&[7], 50.0, 7.0);
        check(&[7], 99.0, 7.0);
        check(&[1, 2], 50.0, 1.0);
        check(&[1, 2, 3, 4], 99.0, 4.0);
        let hundred: Vec<u64> = (1..=100).collect();
        check(&hundred, 99.0, 99.0);
        check(&hundred, 100.0, 100.0);
    }

    #[test]
    fn any_count_that_must_be_zero_fails_the_demo() {
        assert!(DemoReport::default().passed());
        for at in 0..DemoReport::default().must_be_zero().len() {
            let mut report = DemoReport::default();
            *[
                &mut report.errors,
                &mut report.lost,
                &mut report.resurrected,
                &mut report.backwards_reads,
                &mut report.list_repeats,
                &mut report.list_gaps,
                &mut report.mismatches,
                &mut report.dead_letters,
                &mut report.fence_violations,
                &mut report.unchecked_keys,
            ][at] = 1;
            assert!(!report.passed(), "{:?}", report.must_be_zero()[at]);
            assert!(report.text().contains("FAILED"));
        }
    }

    #[test]
    fn the_tables_fit_a_terminal() {
        let big = Pauses { p50: 123_456.78, p99: 123_456.78, max: 123_456.78, samples: 1 };
        let report =
            DemoReport { cutover_pause_ms: big, rollback_pause_ms: big, requests: u64::MAX, ..Default::default() };
        for line in report.step_table().to_string().lines().chain(report.figure_table().to_string().lines()) {
            assert!(line.chars().count() <= usize::from(TABLE_COLUMNS), "{line}");
        }
    }

    #[test]
    fn json_is_one_line_with_the_documented_names() {
        let json = DemoReport::default().json().unwrap();
        assert!(!json.contains('\n'));
        let read: serde_json::Value = serde_json::from_str(&json).unwrap();
        for name in [
            "records",
            "requests",
            "errors",
            "lost",
            "resurrected",
            "backwards_reads",
            "list_repeats",
            "list_gaps",
            "mismatches",
            "dead_letters",
            "backfill_records_per_s",
            "seed",
            "duration_s",
        ] {
            assert!(read[name].is_number(), "{name}");
        }
        for (name, part) in [
            ("cutover_pause_ms", "max"),
            ("rollback_pause_ms", "p99"),
            ("read_latency_ms", "p50"),
            ("write_latency_ms", "p99"),
        ] {
            assert!(read[name][part].is_number(), "{name}.{part}");
        }
    }
}
