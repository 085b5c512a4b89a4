//! A process that dies at a failpoint: this test binary itself, which runs one
//! test with what that reads in its environment.

/// Set in such a process, and in one that goes on after it.
pub const CHILD_ENV: &str = "SHEARWATER_TEST_CHILD";

/// Runs a test by its path until it ends or dies; whether it got to its end.
#[cfg(debug_assertions)]
pub fn run(test: &str, given: &[(&str, &std::ffi::OsStr)], failpoint: Option<&str>) -> bool {
    use std::process::{Command, Stdio};

    use shearwater_engine::failpoint::FAILPOINT_ENV;

    let mut child = Command::new(std::env::current_exe().unwrap());
    child.args(["--exact", test, "--nocapture"]).envs(given.iter().copied()).env(CHILD_ENV, "yes");
    child.stdout(Stdio::null()).stderr(Stdio::null());
    if let Some(failpoint) = failpoint {
        child.env(FAILPOINT_ENV, failpoint);
    }
    child.status().unwrap().success()
}
