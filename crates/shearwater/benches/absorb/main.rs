//! `cargo xtask bench absorb [--quick] [--records N] [--json]`: a page of a
//! stitched list beside the same page of each store alone, at the first page and
//! deep in the list, and a lazy move beside the writes that it is made of.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr)]

mod pages;
mod stand;

use std::io::Write;

use shearwater::bench::sheet::{Goal, Line, Sheet};

use self::pages::{Depth, moves, page};
use self::stand::{Kind, Stand};

/// Records of both stores together.
const RECORDS: u32 = 1_000_000;

/// The same for a look.
const RECORDS_QUICK: u32 = 20_000;

/// What a stitched page, and a lazy move, may take above what they are made of, ms.
const ABOVE_MS_MAX: f64 = 1.0;

/// Times each thing is measured.
const SAMPLES: usize = 300;

/// The same for a look.
const SAMPLES_QUICK: usize = 60;

/// Which stores records go from and to.
const PAIRS: [(&str, Kind, Kind); 2] =
    [("SQLite into SQLite", Kind::Sqlite, Kind::Sqlite), ("MariaDB into PostgreSQL", Kind::Mariadb, Kind::Postgres)];

const LIMITS: &str = "Stores and our process share this machine's cores and disk. Half of the records live in the \
source, half are the target's own (scope = \"all\"), turn by turn in the list's order; pages of 50, in this process, \
without HTTP. A store's own page is the same page asked of its connector alone, through the sidecar. All medians, ms.";

#[tokio::main]
async fn main() {
    let words: Vec<String> = std::env::args().skip(1).filter(|word| word != "--bench").collect();
    let has = |name: &str| words.iter().any(|word| word == name);
    let given = words.iter().position(|word| word == "--records").and_then(|at| words.get(at + 1));
    let records = match given {
        Some(number) => number.replace('_', "").parse().expect("--records takes a number"),
        None if has("--quick") => RECORDS_QUICK,
        None => RECORDS,
    };
    let samples = if has("--quick") { SAMPLES_QUICK } else { SAMPLES };
    let mut sheet = Sheet::default();
    for (pair, source, target) in PAIRS {
        eprintln!("bench: {pair}, {records} records");
        let stand = Stand::open(source, target, records).await;
        for order in ["", "email", "email.desc"] {
            for depth in [Depth::First, Depth::Deep] {
                let seen = page(&stand, order, depth, samples).await;
                let by = if order.is_empty() { "the key" } else { order };
                let what = format!("{pair}: page {} by {by}", depth.page(records));
                sheet.add(Line::figure(&format!("{what}, source alone"), seen.source_ms, Goal::None));
                sheet.add(Line::figure(&format!("{what}, target alone"), seen.target_ms, Goal::None));
                sheet.add(Line::figure(&format!("{what}, stitched"), seen.stitched_ms, Goal::None));
                let above = seen.stitched_ms - seen.source_ms.max(seen.target_ms);
                sheet.add(Line::figure(&format!("{what}, above the slower"), above, Goal::AtMost(ABOVE_MS_MAX)));
            }
        }
        let seen = moves(&stand, samples).await;
        sheet.add(Line::figure(&format!("{pair}: an update in the source"), seen.source_ms, Goal::None));
        sheet.add(Line::figure(&format!("{pair}: an update in the target"), seen.target_ms, Goal::None));
        sheet.add(Line::figure(&format!("{pair}: an update that moves"), seen.stitched_ms, Goal::None));
        let above = seen.stitched_ms - seen.source_ms - seen.target_ms;
        sheet.add(Line::figure(&format!("{pair}: the move above both"), above, Goal::AtMost(ABOVE_MS_MAX)));
        stand.close().await;
    }
    let text = match has("--json") {
        true => sheet.json().to_string() + "\n",
        false => format!("{}\n{LIMITS}\n", sheet.table()),
    };
    std::io::stdout().write_all(text.as_bytes()).unwrap();
    if sheet.missed() > 0 {
        eprintln!("{} goals were missed", sheet.missed());
        std::process::exit(1);
    }
}
