//! `cargo xtask test`: everything that must hold, in the order in which it fails fastest.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use crate::tidy;

/// Runs formatting, tidy, clippy, the installation of the servers that tests need, and all tests. `--quick` leaves clippy out.
pub fn run(root: &Path, arguments: &[&str]) -> Result<(), String> {
    let quick = match arguments {
        [] => false,
        ["--quick"] => true,
        other => return Err(format!("cargo xtask test: {other:?} is not known; the one option is --quick")),
    };
    step("format", || cargo(root, &["fmt", "--all", "--", "--check"]))?;
    step("tidy", || tidy::run(root, tidy::Mode::Check))?;
    if !quick {
        let clippy = ["clippy", "--workspace", "--all-targets", "--quiet", "--", "-D", "warnings"];
        step("clippy", || cargo(root, &clippy))?;
    }
    // Optional: cargo-deny repeats the licence rule and looks at sources, offline.
    if Command::new(env!("CARGO")).args(["deny", "--version"]).output().is_ok_and(|o| o.status.success()) {
        step("deny", || cargo(root, &["deny", "--offline", "check", "licenses", "bans", "sources"]))?;
    }
    step("servers", || cargo(root, &["run", "--quiet", "--package", "shearwater-testbed", "--", "install"]))?;
    let mut passed = 0;
    step("tests", || {
        passed = cargo_test(root)?;
        Ok(())
    })?;
    println!("\n{passed} passed, 0 failed");
    Ok(())
}

fn step(name: &str, work: impl FnOnce() -> Result<(), String>) -> Result<(), String> {
    println!("== {name}");
    let started = Instant::now();
    work().map_err(|why| format!("{name} failed: {why}"))?;
    println!("== {name}: {:.0} s", started.elapsed().as_secs_f32());
    Ok(())
}

fn cargo(root: &Path, arguments: &[&str]) -> Result<(), String> {
    let status = Command::new(env!("CARGO"))
        .args(arguments)
        .current_dir(root)
        .status()
        .map_err(|e| format!("cargo {}: {e}", arguments[0]))?;
    if status.success() { Ok(()) } else { Err(format!("cargo {} ended with {status}", arguments[0])) }
}

/// Runs all tests and counts them: a run in which no test ran has failed.
fn cargo_test(root: &Path) -> Result<u64, String> {
    let mut child = Command::new(env!("CARGO"))
        .args(["test", "--workspace", "--no-fail-fast"])
        .current_dir(root)
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|e| format!("cargo test: {e}"))?;
    let mut passed = 0;
    if let Some(output) = child.stdout.take() {
        for line in BufReader::new(output).lines() {
            let line = line.map_err(|e| format!("cargo test: {e}"))?;
            passed += passed_in(&line);
            println!("{line}");
        }
    }
    let status = child.wait().map_err(|e| format!("cargo test: {e}"))?;
    if !status.success() {
        return Err(format!("cargo test ended with {status}"));
    }
    if passed == 0 {
        return Err("no test ran".to_owned());
    }
    Ok(passed)
}

/// The count in a line such as `test result: ok. 12 passed; 0 failed; …`.
fn passed_in(line: &str) -> u64 {
    line.strip_prefix("test result: ok. ")
        .and_then(|rest| rest.split(' ').next())
        .and_then(|count| count.parse().ok())
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::passed_in;

    #[test]
    fn counts_only_result_lines() {
        assert_eq!(passed_in("test result: ok. 12 passed; 0 failed; 0 ignored"), 12);
        assert_eq!(passed_in("test a::b ... ok"), 0);
        assert_eq!(passed_in("test result: FAILED. 3 passed; 1 failed"), 0);
    }
}
