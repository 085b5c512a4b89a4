//! Help, manual, completions, schema: made from one definition.

use crate::transcript::Transcript;

#[test]
fn help_names_every_command_and_every_exit_code() {
    let mut t = Transcript::new();
    t.ok("--help");
    t.ok("start --help");
    t.ok("import --help");
    t.check("help");
}

#[test]
fn the_manual_has_a_page_for_each_command() {
    let t = Transcript::new();
    let written = t.json("man pages --json");
    let pages = written["written"].as_array().unwrap();
    assert!(pages.len() > 20, "{pages:?}");
    for page in pages {
        let text = t.read(page.as_str().unwrap());
        assert!(text.contains(".TH"), "{page}");
        assert!(text.contains("interrupted; the same command goes on"), "{page} has no exit codes");
    }
    let main = t.command("man").output().unwrap();
    assert!(String::from_utf8_lossy(&main.stdout).contains("ramp"));
}

#[test]
fn completions_for_every_shell() {
    let t = Transcript::new();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let output = t.command(&format!("completions {shell}")).output().unwrap();
        assert!(output.status.success());
        assert!(String::from_utf8_lossy(&output.stdout).contains("dead-letters"), "{shell}");
    }
}

#[test]
fn the_schema_is_a_json_schema() {
    let t = Transcript::new();
    let schema = t.json("schema");
    assert_eq!(schema["$schema"], "https://json-schema.org/draft/2020-12/schema");
    let kinds: Vec<_> =
        schema["oneOf"].as_array().unwrap().iter().map(|kind| &kind["properties"]["kind"]["const"]).collect();
    assert_eq!(kinds, ["move", "require", "absorb"]);
    assert_eq!(schema["oneOf"][0]["required"][0], "migration");
}

#[test]
fn a_reader_that_has_seen_enough_is_no_error() {
    let t = Transcript::new();
    let mut child = t.command("man").stdout(std::process::Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    assert_eq!(child.wait().unwrap().code(), Some(0));
}
