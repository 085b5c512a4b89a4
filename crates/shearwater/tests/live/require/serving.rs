//! The program on a store: one process that serves, commands beside it, and
//! waiting until everybody who talks to it has done some more.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;

/// Commands on a store, with a spec of their own.
pub struct Program {
    pub url: String,
    place: tempfile::TempDir,
}

impl Program {
    pub fn on(url: &str, spec: &str) -> Program {
        let place = tempfile::tempdir().unwrap();
        std::fs::write(place.path().join("status.toml"), spec).unwrap();
        Program { url: url.to_owned(), place }
    }

    /// The answer of a command that succeeds.
    pub fn run(&self, args: &[&str]) -> Value {
        let output = tokio::task::block_in_place(|| binary(self.place.path(), &self.url, args).output().unwrap());
        assert!(output.status.success(), "{args:?}: {output:?}");
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// Has a command done, which leads to a phase.
    pub fn go(&self, args: &[&str], phase: &str) {
        let began = Instant::now();
        let told = self.run(args);
        println!("{args:?}: {told} in {:?}", began.elapsed());
        assert_eq!(self.run(&["status"])["phase"], phase, "{told}");
    }

    /// Serves until it is dropped.
    pub fn serve(&self) -> Serving {
        let args = ["serve", "status.toml", "--gateway", "127.0.0.1:0", "--control", "127.0.0.1:0"];
        let mut child = binary(self.place.path(), &self.url, &args).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        let told: Value = serde_json::from_str(&line).unwrap();
        Serving { child, gateway: told["gateway"].as_str().unwrap().to_owned() }
    }
}

/// A process that serves.
pub struct Serving {
    child: Child,
    pub gateway: String,
}

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn binary(place: &Path, url: &str, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_shearwater"));
    command.args(args).arg("--json").env("STORE", url).env("RUST_LOG", "error").current_dir(place);
    command
}

/// Waits until everybody has done so many turns more, and nobody ended for something wrong.
pub async fn more_turns(turns: &[Arc<AtomicU64>], more: u64, has_ended: impl Fn() -> bool) {
    let wanted: Vec<u64> = turns.iter().map(|turns| turns.load(Ordering::Relaxed) + more).collect();
    let began = Instant::now();
    while turns.iter().zip(&wanted).any(|(turns, wanted)| turns.load(Ordering::Relaxed) < *wanted) {
        assert!(!has_ended(), "somebody has ended early for something wrong");
        assert!(began.elapsed() < Duration::from_secs(60), "the traffic stands still");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
