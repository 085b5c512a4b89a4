//! The backfill of documents with one child table, in a process of its own.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use rusqlite::{Connection, params};
use serde_json::{Value, json};
use shearwater_core::journal::Command as Verb;
use shearwater_core::lifecycle::{BackfillState, BackfillTotals};
use shearwater_engine::run;

use crate::demo::DemoError;
use crate::demo::house::{House, Plan};

/// How long a command may take.
const COMMAND_MAX: Duration = Duration::from_secs(600);

/// How often the backfill's end is looked for.
const POLL: Duration = Duration::from_millis(20);

/// Users with a few fields and their addresses in a child table.
const SPEC: &str = r#"
migration = "bench"
kind      = "move"
entity    = "users"
[source]
url   = "sqlite:PLACE/legacy.db"
table = "users"
key   = "_id"
[target]
url   = "sqlite:PLACE/users.db"
table = "users"
key   = "id"
[fields]
id        = { from = "_id", type = "text" }
email     = { from = "email", type = "text" }
name      = { from = "name", type = "text" }
score     = { from = "score", type = "float" }
visits    = { from = "visits", type = "int" }
joined    = { from = "joined", type = "instant" }
addresses = { from = "addresses", table = "user_addresses", fields = { street = { from = "street", type = "text" }, city = { from = "city", type = "text" }, zip = { from = "zip", type = "text" } } }
[unmapped]
keep_in = "extra"
"#;

/// What a backfill did.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Backfilled {
    /// Its rate, by the engine's own totals.
    pub records_per_s: f64,
    /// The process's peak memory, MiB.
    pub peak_mib: f64,
    /// The rate of the verification after it.
    pub verified_per_s: f64,
}

/// The spec for stores in a directory.
pub fn spec_in(place: &Path) -> String {
    SPEC.replace("PLACE", &place.display().to_string())
}

/// Makes the documents.
pub fn make_documents(place: &Path, records: u32) -> Result<(), DemoError> {
    let mut connection = Connection::open(place.join("legacy.db"))?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.execute_batch("CREATE TABLE users (_id PRIMARY KEY NOT NULL, doc TEXT NOT NULL)")?;
    let transaction = connection.transaction()?;
    {
        let mut insert = transaction.prepare("INSERT INTO users VALUES (?1, ?2)")?;
        for n in 0..records {
            let id = format!("u-{n:08}");
            insert.execute(params![id, document(&id, n).to_string()])?;
        }
    }
    transaction.commit()?;
    Ok(())
}

fn document(id: &str, n: u32) -> Value {
    let address =
        |m: u32| json!({ "street": format!("Harbour Road {}", n % 200 + m), "city": "Lisboa", "zip": "1100-201" });
    json!({
        "_id": id,
        "email": format!("user{n}@mail.example"),
        "name": format!("Maria Ivanova {n}"),
        "score": f64::from(n % 1_000) / 7.0,
        "visits": n % 977,
        "joined": { "@instant": "2021-03-04T05:06:07Z" },
        "addresses": (0..=n % 3).map(address).collect::<Vec<_>>(),
    })
}

/// Runs the backfill in a child of this process.
pub fn in_a_process(place: &Path, records: u32) -> Result<Backfilled, DemoError> {
    make_documents(place, records)?;
    let program = std::env::current_exe()?;
    let output =
        Command::new(program).arg("backfill").arg(place).arg(records.to_string()).stderr(Stdio::inherit()).output()?;
    if !output.status.success() {
        return Err(DemoError("the backfill's process failed".to_owned()));
    }
    let read: Value = serde_json::from_slice(&output.stdout).map_err(|error| DemoError(error.to_string()))?;
    let figure = |name: &str| read[name].as_f64().unwrap_or_default();
    Ok(Backfilled {
        records_per_s: figure("records_per_s"),
        peak_mib: figure("peak_mib"),
        verified_per_s: figure("verified_per_s"),
    })
}

/// The child's part: prints its figures as JSON.
pub async fn in_this_process(place: &Path, records: u32) -> Result<(), DemoError> {
    use std::io::Write;
    let house = House::open(Plan::plain(place, &spec_in(place))).await?;
    let totals = backfilled(&house).await?;
    if totals.changed != u64::from(records) {
        return Err(DemoError(format!("{} of {records} records arrived", totals.changed)));
    }
    let peak_mib = peak_mib()?;
    command(&house, Verb::Verify).await?;
    let verified = house.member.view().state.verified.map(|(_, totals)| totals).unwrap_or_default();
    if verified.mismatches() > 0 {
        return Err(DemoError(format!("{} mismatches", verified.mismatches())));
    }
    house.close().await;
    let per_s = |count: u64, ms: u64| count as f64 * 1_000.0 / ms.max(1) as f64;
    let figures = json!({
        "records_per_s": per_s(totals.read, totals.elapsed_ms),
        "peak_mib": peak_mib,
        "verified_per_s": per_s(verified.compared, verified.elapsed_ms),
    });
    writeln!(std::io::stdout(), "{figures}")?;
    Ok(())
}

/// Starts the migration and waits for its backfill.
pub async fn backfilled(house: &House) -> Result<BackfillTotals, DemoError> {
    command(house, Verb::Advance).await?;
    loop {
        if let BackfillState::Done { totals, .. } = &house.member.view().state.backfill {
            return Ok(*totals);
        }
        tokio::time::sleep(POLL).await;
    }
}

/// Does a command.
pub async fn command(house: &House, verb: Verb) -> Result<(), DemoError> {
    let done = run::ask(&house.setup, verb, COMMAND_MAX).await?;
    done.map(drop).map_err(|refusal| DemoError(format!("{}: {}", refusal.code, refusal.message)))
}

/// This process's peak resident memory, as the kernel counts it.
fn peak_mib() -> Result<f64, DemoError> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|rest| rest.trim().trim_end_matches("kB").trim().parse::<f64>().ok());
    kib.map(|kib| kib / 1_024.0).ok_or_else(|| DemoError("the kernel does not tell the peak memory".to_owned()))
}
