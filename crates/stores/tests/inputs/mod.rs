//! What conformance runs are fed with, whatever the store.

use std::path::PathBuf;

/// The file of naughty strings.
pub fn naughty_strings() -> Vec<String> {
    let data = std::env::var_os("SHEARWATER_DATA")
        .map_or_else(|| PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/data")), PathBuf::from);
    let file = data.join("nasty/naughty-strings/blns.json");
    let text = std::fs::read(&file)
        .unwrap_or_else(|e| panic!("{}: {e}; set SHEARWATER_DATA to the folder of the data sets", file.display()));
    serde_json::from_slice(&text).unwrap()
}

/// A seed, told, or taken from `SHEARWATER_SEED` to see a failure again.
pub fn seed() -> u64 {
    let seed = match std::env::var("SHEARWATER_SEED") {
        Ok(seed) => seed.parse().unwrap(),
        Err(_) => std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_micros() as u64,
    };
    println!("SHEARWATER_SEED={seed}");
    seed
}
