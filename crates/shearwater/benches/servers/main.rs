//! `cargo xtask bench servers [--quick] [--json]`: backfills between real
//! servers, each beside its limit (COPY of the very rows that it wrote, from
//! memory) and beside other programs that move the same table, all in one run.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr)]

mod limit;
mod ours;
mod pairs;
mod peers;

use std::io::Write;

use shearwater::bench::sheet::{Goal, Line, Sheet};

use pairs::Pair;

/// Backfill against the limit, records per second.
const LIMIT_RATIO_MIN: f64 = 0.7;

/// A backfill must not be slower than another program's copy.
const PEER_RATIO_MIN: f64 = 1.0;

/// Peak memory of our process, MiB, whatever the number of records.
const MEMORY_MIB_MAX: f64 = 256.0;

/// What the sheet does not say.
const LIMITS: &str = "Servers, our process and the peers share this machine's cores and disk; servers flush as they \
do in production. The limit is COPY (binary) of the rows that the backfill wrote, out of memory into fresh tables of \
the same definition, one connection, no triggers. Ours and the peers are timed as whole commands: ours plans, \
installs capture and verifies each record's way back while it copies, the peers copy a table that stands still.";

#[tokio::main]
async fn main() {
    let words: Vec<String> = std::env::args().skip(1).filter(|word| word != "--bench").collect();
    let quick = words.iter().any(|word| word == "--quick");
    let sizes: &[u64] = if quick { &[20_000] } else { &[100_000, 1_000_000] };
    let mut sheet = Sheet::default();
    for &records in sizes {
        for pair in pairs::ALL {
            measure(&mut sheet, pair, records).await;
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

async fn measure(sheet: &mut Sheet, pair: &Pair, records: u64) {
    let name = pair.name;
    eprintln!("bench: {name}, {records} records");
    let place = pair.place(records).await;
    let done = ours::backfill(&place, records);
    let limit = limit::copy_per_s(&place, records).await;
    let what = format!("{name}, {records}: backfill, records/s");
    sheet.add(Line::ratio(&what, done.backfill_per_s, "COPY from memory", limit, LIMIT_RATIO_MIN));
    let what = format!("{name}, {records}: whole command, records/s");
    for peer in peers::all(&place, records).await {
        let against = format!("{} ({:.0} MiB)", peer.name, peer.peak_mib);
        sheet.add(Line::ratio(&what, done.command_per_s, &against, peer.records_per_s, PEER_RATIO_MIN));
    }
    let what = format!("{name}, {records}: peak memory of ours, MiB");
    sheet.add(Line::figure(&what, done.peak_mib, Goal::AtMost(MEMORY_MIB_MAX)));
    let what = format!("{name}, {records}: verification, records/s");
    sheet.add(Line::figure(&what, done.verified_per_s, Goal::None));
}
