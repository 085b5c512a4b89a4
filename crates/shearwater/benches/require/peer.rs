//! Another tool that adds a required field without downtime: reshape, where it
//! is installed (`cargo install reshape`).

use std::process::{Command, Stdio};
use std::time::Instant;

use super::{FILL, Kind, filled};
use shearwater_testbed::Postgres;

/// Names the program when it is not on the path.
const VARIABLE: &str = "BENCH_RESHAPE";

/// Rows per second of its whole `migration start`, which adds the column and its
/// triggers and fills it. `None`: it is not there.
pub async fn rows_per_s(server: &Postgres, kind: Kind, rows: u64) -> Option<f64> {
    let program = std::env::var(VARIABLE).unwrap_or_else(|_| "reshape".to_owned());
    Command::new(&program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().ok()?;
    let (url, client) = filled(server, kind, rows).await;
    let place = tempfile::tempdir().unwrap();
    std::fs::create_dir(place.path().join("migrations")).unwrap();
    let migration = format!(
        "[[actions]]\ntype = \"add_column\"\ntable = \"users\"\nup = \"{FILL}\"\n\n[actions.column]\nname = \"status\"\n\
         type = \"TEXT\"\nnullable = false\n"
    );
    std::fs::write(place.path().join("migrations/1_status.toml"), migration).unwrap();
    let began = Instant::now();
    let output = Command::new(&program).args(["migration", "start", "--url", &url]).current_dir(place.path()).output();
    let took = began.elapsed();
    let output = output.unwrap();
    assert!(output.status.success(), "{output:?}");
    let left = "SELECT count(*) FROM migration_1_status.users WHERE status IS NULL";
    assert_eq!(client.query_one(left, &[]).await.unwrap().get::<_, i64>(0), 0, "it has filled them");
    Some(rows as f64 / took.as_secs_f64())
}
