//! Our own backfill, through the real binary, with its peak memory and the time
//! that it took of the cores.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::pairs::Place;

/// How often a process's memory is looked at.
const LOOK: Duration = Duration::from_millis(50);

pub struct Done {
    /// By the engine's own totals: the copying alone.
    pub backfill_per_s: f64,
    /// By the wall clock around `shearwater start`.
    pub command_per_s: f64,
    pub verified_per_s: f64,
    pub peak_mib: f64,
    /// Of the cores, by our process alone, for the whole command.
    pub cpu_us_each: f64,
}

/// The binary of another build, to compare it with this one in the same place.
const OTHER_BINARY: &str = "SHEARWATER_BINARY";

/// A clock tick as `/proc` counts them, µs.
const TICK_US: f64 = 10_000.0;

pub fn backfill(place: &Place, records: u64) -> Done {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("bench.toml"), &place.spec).unwrap();
    let started = shearwater(directory.path(), &["start", "bench.toml", "--json"]);
    let report = last_json(&started.output);
    assert_eq!(report["changed"], records, "{report}");
    let verified = shearwater(directory.path(), &["verify", "--json"]);
    let report_of_verify = last_json(&verified.output);
    assert_eq!(report_of_verify["mismatches"], 0, "{report_of_verify}");
    let per_s = |ms: f64| records as f64 * 1_000.0 / ms.max(1.0);
    Done {
        backfill_per_s: per_s(report["elapsed_ms"].as_f64().unwrap()),
        command_per_s: per_s(started.took.as_secs_f64() * 1_000.0),
        verified_per_s: per_s(report_of_verify["report"]["elapsed_ms"].as_f64().unwrap()),
        peak_mib: started.peak_mib,
        cpu_us_each: started.cpu_us / records as f64,
    }
}

/// A command that ended well.
pub struct Ran {
    pub took: Duration,
    pub cpu_us: f64,
    pub peak_mib: f64,
    pub output: String,
}

fn shearwater(directory: &Path, words: &[&str]) -> Ran {
    let binary = std::env::var(OTHER_BINARY).unwrap_or_else(|_| env!("CARGO_BIN_EXE_shearwater").to_owned());
    let mut command = Command::new(binary);
    command.current_dir(directory).args(words);
    ran(command).unwrap_or_else(|error| panic!("shearwater {words:?}: {error}"))
}

/// Runs a command to its end; an error says what it said.
pub fn ran(mut command: Command) -> Result<Ran, String> {
    let (began, cpu_before_us) = (Instant::now(), cpu_of_children_us());
    let (out, err) = (tempfile::NamedTempFile::new().unwrap(), tempfile::NamedTempFile::new().unwrap());
    command.stdin(Stdio::null()).stdout(out.reopen().unwrap()).stderr(err.reopen().unwrap());
    let mut child = command.spawn().map_err(|error| error.to_string())?;
    let mut peak_mib: f64 = 0.0;
    let status = loop {
        if let Some(status) = child.try_wait().map_err(|error| error.to_string())? {
            break status;
        }
        peak_mib = peak_mib.max(memory_mib(child.id()));
        std::thread::sleep(LOOK);
    };
    let took = began.elapsed();
    let read = |file: &tempfile::NamedTempFile| std::fs::read_to_string(file.path()).unwrap_or_default();
    match status.success() {
        true => Ok(Ran { took, cpu_us: cpu_of_children_us() - cpu_before_us, peak_mib, output: read(&out) }),
        false => Err(format!("{status}: {}{}", read(&out), read(&err))),
    }
}

/// What children that have ended took of the cores, µs.
fn cpu_of_children_us() -> f64 {
    let own = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // After the name, which may hold blanks: state is the third field, the children's times are the 16th and 17th.
    let fields = own.rsplit_once(')').map_or("", |(_, rest)| rest).split_whitespace();
    fields.skip(13).take(2).filter_map(|ticks| ticks.parse::<f64>().ok()).sum::<f64>() * TICK_US
}

/// The peak memory of a process and its children, MiB.
fn memory_mib(process: u32) -> f64 {
    let own = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let line = own.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|rest| rest.trim().trim_end_matches("kB").trim().parse::<f64>().ok());
    let children = std::fs::read_to_string(format!("/proc/{process}/task/{process}/children")).unwrap_or_default();
    let of_children: f64 = children.split_whitespace().filter_map(|id| id.parse().ok()).map(memory_mib).sum();
    kib.unwrap_or(0.0) / 1_024.0 + of_children
}

fn last_json(output: &str) -> Value {
    let line = output.lines().rev().find(|line| line.starts_with('{'));
    line.and_then(|line| serde_json::from_str(line).ok())
        .or_else(|| serde_json::from_str(output).ok())
        .unwrap_or_else(|| panic!("no JSON in {output}"))
}
