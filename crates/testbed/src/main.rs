//! `testbed install` gets what tests need; `testbed postgres|mariadb|mongodb|dynamodb`
//! runs a throw-away server until its stdin ends.
#![allow(clippy::print_stdout, clippy::print_stderr)]

use std::process::ExitCode;

use shearwater_testbed::{DynamoDb, Mariadb, Mongodb, Options, Postgres, Topology, install};

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let done = match words.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["install"] => install(),
        ["postgres"] => hold(&Postgres::start(Options::new()).database("test")),
        ["mariadb"] => hold(&Mariadb::start(Options::new()).database("test")),
        ["dynamodb"] => hold(&DynamoDb::start().database("test")),
        ["mongodb"] => hold(&Mongodb::start(Topology::Single).database("test")),
        _ => Err("usage: testbed install | postgres | mariadb | mongodb | dynamodb".to_owned()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("{why}");
            ExitCode::FAILURE
        }
    }
}

/// Tells the URL and waits for the end of stdin.
fn hold(url: &str) -> Result<(), String> {
    println!("{url}");
    std::io::copy(&mut std::io::stdin(), &mut std::io::sink()).map(drop).map_err(|e| e.to_string())
}
