//! `cargo xtask bench [servers|require|absorb] [--quick] [--json]`: the ratios that
//! DESIGN promises, measured side by side by the benches of the `shearwater` crate:
//! `ratios` on the embedded store, `servers` between real ones, `require` the
//! backfill of a new required field, `absorb` stitched lists and lazy moves.

use std::path::Path;
use std::process::Command;

/// Builds the bench optimised and runs it; fails when a goal is missed.
pub fn run(root: &Path, words: &[&str]) -> Result<(), String> {
    let (bench, words) = match words {
        ["servers", rest @ ..] => ("servers", rest),
        ["require", rest @ ..] => ("require", rest),
        ["absorb", rest @ ..] => ("absorb", rest),
        words => ("ratios", words),
    };
    let status = Command::new(env!("CARGO"))
        .args(["bench", "--quiet", "--package", "shearwater", "--bench", bench, "--"])
        .args(words)
        .current_dir(root)
        .status()
        .map_err(|error| format!("cargo bench: {error}"))?;
    if status.success() { Ok(()) } else { Err("bench: a goal was missed, or it could not run (see above)".to_owned()) }
}
