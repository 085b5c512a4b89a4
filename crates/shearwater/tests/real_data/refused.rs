//! What is no JSON: refused with file, place and hint, and nothing written.

use std::process::Output;

use crate::given::parsing_suite;
use crate::walk::Place;

/// Files without any text hold no records, and that is no error.
const EMPTY: [&str; 2] = ["n_structure_no_data", "n_single_space"];

/// A store with a record in it.
fn with_store() -> Place {
    let place = Place::new();
    place.write("first.jsonl", b"{\"v\":\"kept\"}\n");
    place.ok(&arguments("first.jsonl", "held.db"));
    place
}

fn arguments<'a>(file: &'a str, store: &'a str) -> [&'a str; 8] {
    let url = if store == "held.db" { "sqlite:held.db" } else { "sqlite:new.db" };
    ["import", file, "--into", url, "--table", "t", "--synthesize-key", "n"]
}

/// What stands in every refusal: the file, the place in it, and what to do.
fn assert_told(name: &str, file: &str, output: &Output) {
    assert_eq!(output.status.code(), Some(3), "{name}: {}", String::from_utf8_lossy(&output.stderr));
    assert!(output.stdout.is_empty(), "{name}");
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(told.contains(file), "{name}: no file in {told}");
    assert!(told.contains("line ") || told.contains("element "), "{name}: no place in {told}");
    assert!(told.contains("hint: "), "{name}: no hint in {told}");
}

#[test]
fn every_broken_file_is_refused_and_nothing_is_written() {
    let place = with_store();
    let mut refused = 0;
    for (name, content) in parsing_suite("n_").into_iter().filter(|(name, _)| !EMPTY.contains(&name.as_str())) {
        place.write("broken.json", &content);
        let before = place.files();
        // Into a store that is there, and into one that is not: by turns, for time.
        let store = if refused % 2 == 0 { "held.db" } else { "new.db" };
        let output = place.run(&arguments("broken.json", store));
        assert_told(&name, "broken.json", &output);
        assert!(place.files() == before, "{name}: something was written");
        refused += 1;
    }
    assert!(refused > 180, "only {refused}");
    assert_eq!(place.ok(&["export", "sqlite:held.db", "--table", "t", "--key", "n"]), b"{\"v\":\"kept\",\"n\":1}\n");
}

#[test]
fn a_file_without_text_holds_no_records() {
    for (name, content) in parsing_suite("n_").into_iter().filter(|(name, _)| EMPTY.contains(&name.as_str())) {
        let place = with_store();
        place.write("empty.json", &content);
        assert_eq!(place.json(&arguments("empty.json", "held.db"))["read"], 0, "{name}");
        let held = place.ok(&["export", "sqlite:held.db", "--table", "t", "--key", "n"]);
        assert_eq!(held, b"{\"v\":\"kept\",\"n\":1}\n", "{name}");
    }
}

/// The broken texts as values of records, one in a line, each behind a good record.
fn lines() -> (Vec<Vec<u8>>, Vec<Vec<u8>>) {
    let one_line = |content: &Vec<u8>| !content.iter().any(|byte| [b'\n', b'\r'].contains(byte));
    let bad: Vec<Vec<u8>> = parsing_suite("n_")
        .into_iter()
        .filter(|(_, content)| one_line(content))
        .map(|(_, content)| [b"{\"v\":", content.as_slice(), b"}"].concat())
        .collect();
    let good = (0..bad.len()).map(|number| format!("{{\"v\":[{number}]}}").into_bytes()).collect();
    (good, bad)
}

#[test]
fn broken_records_are_told_by_line_and_can_be_kept_aside() {
    let (good, bad) = lines();
    assert!(bad.len() > 170, "only {}", bad.len());
    let place = with_store();
    let both: Vec<Vec<u8>> = good.iter().zip(&bad).flat_map(|(good, bad)| [good.clone(), bad.clone()]).collect();
    place.write("mixed.jsonl", &both.join(&b"\n"[..]));
    let before = place.files();

    let output = place.run(&arguments("mixed.jsonl", "new.db"));
    assert_told("mixed", "mixed.jsonl", &output);
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(told.contains(&format!("{} of {} records", bad.len(), both.len())), "{told}");
    for line in (2..=40).step_by(2) {
        let place = format!("  line {line}: ");
        assert!(told.lines().any(|told| told.starts_with(&place) && told.contains(" at byte ")), "{place} in {told}");
    }
    assert!(place.files() == before, "something was written");

    let skipping = [&arguments("mixed.jsonl", "new.db")[..], &["--skip-bad", "aside.jsonl"]].concat();
    let answer = place.json(&skipping);
    assert_eq!((&answer["imported"], &answer["skipped"]), (&good.len().into(), &bad.len().into()), "{answer}");
    let aside = place.read("aside.jsonl");
    assert!(aside == [bad.join(&b"\n"[..]), b"\n".to_vec()].concat(), "kept as they stood");
    let imported = place.ok(&["export", "sqlite:new.db", "--table", "t", "--key", "n"]);
    let values: Vec<Vec<u8>> = good.iter().enumerate().map(|(at, good)| numbered(good, 2 * at + 1)).collect();
    assert!(imported == [values.join(&b"\n"[..]), b"\n".to_vec()].concat(), "the good ones are in, with their lines");
}

/// A record with its line as its key.
fn numbered(record: &[u8], line: usize) -> Vec<u8> {
    [&record[..record.len() - 1], format!(",\"n\":{line}}}").as_bytes()].concat()
}
