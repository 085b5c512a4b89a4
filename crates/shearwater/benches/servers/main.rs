//! `cargo xtask bench servers [--quick | --records N] [--only WORD] [--json]`: backfills
//! between real servers (those pairs alone whose names hold the word), each beside its limit (COPY of the very rows that it wrote, from
//! memory) and beside other programs that move the same table, all in one run.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr)]

mod limit;
mod ours;
mod pairs;
mod peers;
mod scan;

use std::io::Write;

use shearwater::bench::sheet::{Goal, Line, Sheet};

use pairs::{Kind, Pair, Servers};

/// Backfill against the limit, records per second.
const LIMIT_RATIO_MIN: f64 = 0.7;

/// A backfill must not be slower than another program's copy.
const PEER_RATIO_MIN: f64 = 1.0;

/// Runs of which the medians are told.
const RUNS: usize = 3;

/// Peak memory of our process, MiB, whatever the number of records.
const MEMORY_MIB_MAX: f64 = 256.0;

/// What the sheet does not say.
const LIMITS: &str = "Servers, our process and the peers share this machine's cores and disk; servers flush as they \
do in production. The limit is COPY (binary) of the rows that the backfill wrote, out of memory into fresh tables of \
the same definition, on one connection or two, whichever is faster, no triggers; out of MongoDB and DynamoDB it is the slower of that and of a raw scan of the source (of DynamoDB Local, by plain HTTP, \
strongly consistent, in its largest pages, in one segment or two, whichever is faster). Figures are medians of the runs. \
Ours and the peers are timed as whole commands: ours plans, installs capture and verifies each record's way back \
while it copies, the peers copy a table that stands still, and go first, while the source has no triggers.";

#[tokio::main]
async fn main() {
    let words: Vec<String> = std::env::args().skip(1).filter(|word| word != "--bench").collect();
    // Records, and in how many runs.
    let sizes: Vec<(u64, usize)> = match words.iter().position(|word| word == "--records") {
        Some(at) => vec![(words[at + 1].parse().expect("--records takes a number"), RUNS)],
        None if words.iter().any(|word| word == "--quick") => vec![(20_000, 1)],
        None => vec![(100_000, RUNS), (1_000_000, 1)],
    };
    let only = words.iter().position(|word| word == "--only").map(|at| words[at + 1].clone()).unwrap_or_default();
    let servers = Servers::start();
    let mut sheet = Sheet::default();
    for (records, runs) in sizes {
        for pair in pairs::ALL.iter().filter(|pair| pair.name.contains(&only)) {
            measure(&mut sheet, &servers, pair, records, runs).await;
        }
    }
    let text = match words.iter().any(|word| word == "--json") {
        true => sheet.json().to_string() + "\n",
        false => format!("{}\n{LIMITS}\n", sheet.table()),
    };
    std::io::stdout().write_all(text.as_bytes()).unwrap();
    if sheet.missed() > 0 {
        eprintln!("{} goals were missed", sheet.missed());
        std::process::exit(1);
    }
}

/// What one run found.
struct Run {
    done: ours::Done,
    limit: f64,
    peers: Vec<peers::Peer>,
}

async fn measure(sheet: &mut Sheet, servers: &Servers, pair: &Pair, records: u64, runs: usize) {
    let name = pair.name;
    let mut found: Vec<Run> = Vec::new();
    for run in 1..=runs {
        eprintln!("bench: {name}, {records} records, run {run} of {runs}");
        let place = pair.place(servers, records).await;
        let peers = peers::all(&place, records).await;
        let done = ours::backfill(&place, records);
        let copy = limit::copy_per_s(&place, records).await;
        let limit = match pair.kind {
            Kind::Mongodb => scan::mongodb_per_s(&place, records).await.min(copy),
            Kind::Dynamodb => scan::dynamodb_per_s(&place, records).await.min(copy),
            Kind::Postgres | Kind::Mariadb | Kind::Documents => copy,
        };
        found.push(Run { done, limit, peers });
    }
    let of = |figure: &dyn Fn(&Run) -> f64| median(found.iter().map(figure).collect());
    let what = format!("{name}, {records}: backfill, records/s");
    let (ours, limit) = (of(&|run| run.done.backfill_per_s), of(&|run| run.limit));
    let limited_by = match pair.kind {
        Kind::Mongodb | Kind::Dynamodb => "raw scan or COPY",
        Kind::Postgres | Kind::Mariadb | Kind::Documents => "COPY from memory",
    };
    sheet.add(Line::ratio(&what, ours, limited_by, limit, LIMIT_RATIO_MIN));
    let what = format!("{name}, {records}: whole command, records/s");
    let ours = of(&|run| run.done.command_per_s);
    for peer in &found[0].peers {
        let runs = || found.iter().flat_map(|run| &run.peers).filter(|other| other.name == peer.name);
        let theirs = median(runs().map(|other| other.records_per_s).collect());
        let peak_mib = median(runs().map(|other| other.peak_mib).collect());
        sheet.add(Line::ratio(&what, ours, &format!("{} ({peak_mib:.0} MiB)", peer.name), theirs, PEER_RATIO_MIN));
    }
    let what = format!("{name}, {records}: peak memory of ours, MiB");
    let peak_mib = found.iter().map(|run| run.done.peak_mib).fold(0.0, f64::max);
    sheet.add(Line::figure(&what, peak_mib, Goal::AtMost(MEMORY_MIB_MAX)));
    let what = format!("{name}, {records}: of the cores by ours, µs for each record");
    sheet.add(Line::figure(&what, of(&|run| run.done.cpu_us_each), Goal::None));
    let what = format!("{name}, {records}: verification, records/s");
    sheet.add(Line::figure(&what, of(&|run| run.done.verified_per_s), Goal::None));
}

/// The middle one; of two, the lower.
fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures[(figures.len() - 1) / 2]
}
