//! Project chores: `cargo xtask test | tidy [--write] | bench`.
#![allow(clippy::print_stdout, clippy::print_stderr)]

mod architecture;
mod bench;
mod licences;
mod test;
mod tidy;

use std::path::PathBuf;
use std::process::ExitCode;

/// The folder that holds the workspace.
fn root() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = match words.as_slice() {
        ["test", rest @ ..] => test::run(&root(), rest),
        ["tidy"] => tidy::run(&root(), tidy::Mode::Check),
        ["tidy", "--write"] => tidy::run(&root(), tidy::Mode::Write),
        ["bench", rest @ ..] => bench::run(&root(), rest),
        _ => Err("usage: cargo xtask test [--quick] | tidy [--write] | bench".to_owned()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("{message}");
            ExitCode::FAILURE
        }
    }
}
