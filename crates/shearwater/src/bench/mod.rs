//! The bench: each figure beside what it is measured against, in one run on
//! one machine, as ratios with the limits that they must keep.
//!
//! `ratios [--quick] [--json]`. The backfill runs in a process of its own, so
//! that its peak memory is its own.

mod backfill;
mod plain;
mod reads;
pub mod sheet;

use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

use crate::demo::{self, DemoError, DemoOptions, Output};

use self::backfill::Backfilled;
use self::sheet::{Goal, Line, Sheet};

/// Peak memory of a backfill, MiB.
const MEMORY_MIB_MAX: f64 = 128.0;

/// Backfill against plain batches, records per second.
const BACKFILL_RATIO_MIN: f64 = 0.5;

/// A read through the gateway against a bare handler, requests per second.
const READ_RATIO_MIN: f64 = 0.7;

/// Pause of a change of authority, p99, ms.
const PAUSE_MS_MAX: f64 = 50.0;

/// What to run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BenchOptions {
    /// Records of each backfill.
    pub backfills: Vec<u32>,
    /// How long each kind of read is measured, ms.
    pub reads_ms: u64,
    /// Records of the demo.
    pub demo_records: u32,
    /// What to print.
    pub output: Output,
}

impl BenchOptions {
    /// The whole bench: some minutes.
    pub fn whole() -> BenchOptions {
        let backfills = vec![100_000, 1_000_000];
        BenchOptions { backfills, reads_ms: 4_000, demo_records: 20_000, output: Output::Table }
    }

    /// A look: well below a minute.
    pub fn quick() -> BenchOptions {
        BenchOptions { backfills: vec![50_000], reads_ms: 1_000, demo_records: 2_000, output: Output::Table }
    }
}

/// Runs the program of the bench on its command line.
pub fn main(words: Vec<String>) -> ExitCode {
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&error.to_string()),
    };
    let done = runtime.block_on(async {
        match words.as_slice() {
            ["backfill", place, records] => {
                let records = records.parse().map_err(|_| DemoError(format!("{records:?} is no number")))?;
                backfill::in_this_process(Path::new(place), records).await
            }
            options => run(read_options(options)?).await,
        }
    });
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&error.0),
    }
}

fn fail(message: &str) -> ExitCode {
    // A closed standard error is no reason to stop.
    let _ = writeln!(std::io::stderr(), "{message}");
    ExitCode::FAILURE
}

fn read_options(words: &[&str]) -> Result<BenchOptions, DemoError> {
    let mut options = match words.contains(&"--quick") {
        true => BenchOptions::quick(),
        false => BenchOptions::whole(),
    };
    for word in words {
        match *word {
            "--quick" => {}
            "--json" => options.output = Output::Json,
            other => return Err(DemoError(format!("unknown: {other}; usage: ratios [--quick] [--json]"))),
        }
    }
    Ok(options)
}

/// Runs the bench and prints its sheet. An error when a goal is missed.
pub async fn run(options: BenchOptions) -> Result<(), DemoError> {
    let mut sheet = Sheet::default();
    for &records in &options.backfills {
        say(&format!("backfill of {records} records"));
        let directory = tempfile::Builder::new().prefix("shearwater-bench-").tempdir()?;
        let done = backfill::in_a_process(directory.path(), records)?;
        say(&format!("the same rows in plain batches ({:.0} records/s so far)", done.records_per_s));
        let plain = plain::copy(directory.path())?;
        add_backfill(&mut sheet, records, &done, plain);
    }
    say("reads by key");
    for read in reads::measure(options.reads_ms).await? {
        sheet.add(Line::ratio(&read.what, read.gateway_per_s, "a bare handler", read.bare_per_s, READ_RATIO_MIN));
    }
    say("the demo");
    add_demo(&mut sheet, options.demo_records).await?;
    let text = match options.output {
        Output::Json => sheet.json().to_string() + "\n",
        Output::Table => sheet.text(),
        Output::Nothing => String::new(),
    };
    std::io::stdout().write_all(text.as_bytes())?;
    match sheet.missed() {
        0 => Ok(()),
        missed => Err(DemoError(format!("{missed} goals were missed"))),
    }
}

fn add_backfill(sheet: &mut Sheet, records: u32, done: &Backfilled, plain_per_s: f64) {
    let what = format!("backfill of {records}, records/s");
    sheet.add(Line::ratio(&what, done.records_per_s, "plain batches", plain_per_s, BACKFILL_RATIO_MIN));
    let what = format!("peak memory in it, MiB (of {records})");
    sheet.add(Line::figure(&what, done.peak_mib, Goal::AtMost(MEMORY_MIB_MAX)));
    let what = format!("verification of {records}, records/s");
    sheet.add(Line::figure(&what, done.verified_per_s, Goal::None));
}

async fn add_demo(sheet: &mut Sheet, records: u32) -> Result<(), DemoError> {
    let report = demo::run(DemoOptions { records, output: Output::Nothing, ..DemoOptions::default() }).await?;
    for (what, pauses) in [("cutover", report.cutover_pause_ms), ("rollback", report.rollback_pause_ms)] {
        sheet.add(Line::figure(&format!("{what} pause p50, ms"), pauses.p50, Goal::None));
        sheet.add(Line::figure(&format!("{what} pause p99, ms"), pauses.p99, Goal::AtMost(PAUSE_MS_MAX)));
        sheet.add(Line::figure(&format!("{what} pause max, ms"), pauses.max, Goal::None));
    }
    let wrong = report.must_be_zero().iter().map(|(_, count)| count).sum::<u64>();
    sheet.add(Line::figure("findings of the demo", wrong as f64, Goal::AtMost(0.0)));
    Ok(())
}

fn say(line: &str) {
    // A closed standard error is no reason to stop.
    let _ = writeln!(std::io::stderr(), "bench: {line}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_read() {
        assert_eq!(read_options(&[]).unwrap(), BenchOptions::whole());
        let quick = read_options(&["--quick", "--json"]).unwrap();
        assert_eq!(quick, BenchOptions { output: Output::Json, ..BenchOptions::quick() });
        assert!(read_options(&["--fast"]).is_err());
    }
}
