//! ARCHITECTURE.md against the tree: its code map and its phase table are made
//! from the code, and every test that its invariants name exists.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use shearwater_core::lifecycle::PHASES;

use crate::tidy::Source;

/// The parts of ARCHITECTURE.md that are made from the code, by marker name.
pub fn generated(sources: &[Source]) -> BTreeMap<&'static str, String> {
    BTreeMap::from([("code map", code_map(sources)), ("phase table", phase_table())])
}

/// One line for each file: its path and the first sentence of its `//!`.
fn code_map(sources: &[Source]) -> String {
    let mut map = String::from("| file | what it is |\n|---|---|\n");
    for source in sources.iter().filter(|s| s.path.contains("/src/")) {
        let _ = writeln!(map, "| `{}` | {} |", source.path, first_sentence(&source.text));
    }
    map
}

fn first_sentence(text: &str) -> String {
    let mut sentence = String::new();
    for line in text.lines().take_while(|l| l.starts_with("//!")) {
        let line = line.trim_start_matches("//!").trim();
        if line.is_empty() && !sentence.is_empty() {
            break;
        }
        if !sentence.is_empty() {
            sentence.push(' ');
        }
        sentence.push_str(line);
    }
    let end = sentence.find(". ").map_or(sentence.len(), |at| at + 1);
    sentence[..end].trim_end_matches('.').replace('|', "\\|")
}

/// The phase table as the lifecycle has it.
fn phase_table() -> String {
    let mut table = String::from(
        "| phase | authority | what is written before it is entered | what a crash here leaves | how it resumes | ways open |\n|---|---|---|---|---|---|\n",
    );
    for info in &PHASES {
        let ways: Vec<String> = info.ways.iter().map(|way| format!("{} → `{}`", way.command, way.to)).collect();
        let ways = if ways.is_empty() { "none".to_owned() } else { ways.join("; ") };
        let cells = [info.authority, info.before, info.crash, info.resume, &ways].map(|cell| cell.replace('|', "\\|"));
        let _ = writeln!(table, "| `{}` | {} |", info.name, cells.join(" | "));
    }
    table
}

/// Replaces each generated part; an error when a marker is missing.
pub fn rewrite(text: &str, parts: &BTreeMap<&'static str, String>) -> Result<String, String> {
    let mut text = text.to_owned();
    for (name, part) in parts {
        let (open, close) =
            (format!("<!-- {name}: made by cargo xtask tidy --write -->\n"), format!("<!-- end of {name} -->"));
        let begin = text.find(&open).ok_or(format!("ARCHITECTURE.md: no marker {open:?}"))? + open.len();
        let end = begin + text[begin..].find(&close).ok_or(format!("ARCHITECTURE.md: no marker {close:?}"))?;
        text.replace_range(begin..end, part);
    }
    Ok(text)
}

/// Tests named in ARCHITECTURE.md (`tests: `a`, `b``) that are not in the tree.
pub fn missing_tests(architecture: &str, sources: &[Source]) -> Vec<String> {
    let mut missing = Vec::new();
    for line in architecture.lines().filter(|l| l.contains("held by ")) {
        let names = line.rsplit("held by ").next().unwrap_or_default();
        for name in names.split('`').skip(1).step_by(2) {
            let needle = format!("fn {name}(");
            if !sources.iter().any(|s| s.text.contains(&needle)) {
                missing.push(format!("ARCHITECTURE.md: no test is named {name:?}"));
            }
        }
    }
    missing
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_sentence_ends_at_its_full_stop() {
        assert_eq!(first_sentence("//! One. Two.\n//!\n//! Three."), "One");
        assert_eq!(first_sentence("//! One\n//! more; and.\n\nuse x;"), "One more; and");
    }

    #[test]
    fn rewrite_replaces_between_markers_and_misses_none() {
        let parts = BTreeMap::from([("code map", "NEW\n".to_owned())]);
        let text = "a\n<!-- code map: made by cargo xtask tidy --write -->\nold\n<!-- end of code map -->\nb";
        let expected = "a\n<!-- code map: made by cargo xtask tidy --write -->\nNEW\n<!-- end of code map -->\nb";
        assert_eq!(rewrite(text, &parts).unwrap(), expected);
        assert!(rewrite("nothing", &parts).is_err());
    }

    #[test]
    fn a_named_test_must_exist() {
        let sources = [Source { path: "crates/a/src/x.rs".into(), text: "fn there() {}".into() }];
        let text = "1. It holds; held by `there`, `gone`\n";
        assert_eq!(missing_tests(text, &sources), ["ARCHITECTURE.md: no test is named \"gone\""]);
    }
}
