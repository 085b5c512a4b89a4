//! Rules of the house, as a program.

use std::path::Path;
use std::process::Command;

use crate::{architecture, licences};

/// Whether to look or to mend.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Report what is wrong.
    Check,
    /// Write the generated parts of ARCHITECTURE.md, then check.
    Write,
}

/// A Rust file of the tree.
pub struct Source {
    /// Its path from the root, with `/`.
    pub path: String,
    /// Its text.
    pub text: String,
}

/// Words of other vocabularies that must not name a file (STYLE: one word for each thing).
const FILE_NAMES_REFUSED: &[&str] = &["utils", "util", "common", "helpers", "helper", "types", "manager", "misc"];

/// What core must not touch: it is pure.
const CORE_REFUSED: &[&str] = &[
    "std::fs",
    "std::net",
    "std::process",
    "std::thread",
    "SystemTime",
    "Instant::now",
    "tokio",
    "rusqlite",
    "std::env",
];

/// Which workspace crates a crate may depend on (development dependencies aside).
const EDGES: &[(&str, &[&str])] = &[
    ("core", &[]),
    ("engine", &["shearwater-core"]),
    ("stores", &["shearwater-core"]),
    ("shearwater", &["shearwater-core", "shearwater-engine", "shearwater-stores"]),
    // Servers for tests: knows nothing of the product, and only tests know it.
    ("testbed", &[]),
];

/// Checks all rules, or writes what can be written first.
pub fn run(root: &Path, mode: Mode) -> Result<(), String> {
    let sources = sources(root)?;
    let path = root.join("ARCHITECTURE.md");
    let text = std::fs::read_to_string(&path).map_err(|e| format!("ARCHITECTURE.md: {e}"))?;
    let fresh = architecture::rewrite(&text, &architecture::generated(&sources))?;
    let mut findings = Vec::new();
    if fresh != text {
        match mode {
            Mode::Write => std::fs::write(&path, &fresh).map_err(|e| format!("ARCHITECTURE.md: {e}"))?,
            Mode::Check => findings.push(
                "ARCHITECTURE.md: its code map or phase table is not the tree's; run cargo xtask tidy --write".into(),
            ),
        }
    }
    findings.extend(architecture::missing_tests(&fresh, &sources));
    findings.extend(sources.iter().flat_map(file_findings));
    findings.extend(edge_findings(root)?);
    findings.extend(licences::check(root)?);
    if findings.is_empty() { Ok(()) } else { Err(format!("tidy:\n  {}", findings.join("\n  "))) }
}

/// Every Rust file that git tracks.
fn sources(root: &Path) -> Result<Vec<Source>, String> {
    let output = Command::new("git")
        .args(["ls-files", "*.rs"])
        .current_dir(root)
        .output()
        .map_err(|e| format!("git ls-files: {e}"))?;
    let list = String::from_utf8_lossy(&output.stdout);
    let mut sources = Vec::new();
    for path in list.lines().filter(|path| root.join(path).exists()) {
        let text = std::fs::read_to_string(root.join(path)).map_err(|e| format!("{path}: {e}"))?;
        sources.push(Source { path: path.to_owned(), text });
    }
    if sources.is_empty() {
        return Err("git tracks no Rust file here".to_owned());
    }
    Ok(sources)
}

fn file_findings(source: &Source) -> Vec<String> {
    let mut findings = Vec::new();
    let mut found = |what: String| findings.push(format!("{}: {what}", source.path));
    let stem = Path::new(&source.path).file_stem().and_then(|s| s.to_str()).unwrap_or_default();
    if FILE_NAMES_REFUSED.contains(&stem) {
        found(format!("a file named {stem:?} says nothing of what is in it"));
    }
    if source.path.contains("/src/") && !source.text.starts_with("//!") {
        found("begins with no //! that says what it is".into());
    }
    for (number, line) in source.text.lines().enumerate() {
        let code = line.split("//").next().unwrap_or_default();
        let mut refuse = |word: &str, why: &str| {
            if code.contains(word) {
                found(format!("line {}: {why}", number + 1));
            }
        };
        if source.path.starts_with("xtask/") {
            continue;
        }
        refuse("#[ignore", "an ignored test tells nothing");
        refuse("todo!(", "unfinished");
        refuse("unimplemented!(", "unfinished");
        refuse("unsafe {", "unsafe is forbidden");
        if source.path.starts_with("crates/core/src/") {
            for word in CORE_REFUSED {
                refuse(word, &format!("core is pure: {word} does not belong here"));
            }
        }
    }
    findings
}

fn edge_findings(root: &Path) -> Result<Vec<String>, String> {
    let mut findings = Vec::new();
    for (name, allowed) in EDGES {
        let path = root.join("crates").join(name).join("Cargo.toml");
        let text = std::fs::read_to_string(&path).map_err(|e| format!("{}: {e}", path.display()))?;
        let mut section = "";
        for line in text.lines() {
            if line.starts_with('[') {
                section = line;
            }
            let dependency = line.split(['.', ' ', '=']).next().unwrap_or_default();
            if section == "[dependencies]" && dependency.starts_with("shearwater") && !allowed.contains(&dependency) {
                findings.push(format!("crates/{name}: must not depend on {dependency}"));
            }
        }
    }
    Ok(findings)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(path: &str, text: &str, expected: &[&str]) {
        let found = file_findings(&Source { path: path.into(), text: text.into() });
        assert_eq!(found.len(), expected.len(), "{path}: {found:?}");
        for (finding, part) in found.iter().zip(expected) {
            assert!(finding.contains(part), "{finding:?} says nothing of {part:?}");
        }
    }

    #[test]
    fn finds_what_the_rules_refuse() {
        check("crates/core/src/a.rs", "//! A.\n", &[]);
        check("crates/core/src/a.rs", "use x;\n", &["no //!"]);
        check("crates/core/src/utils.rs", "//! A.\n", &["utils"]);
        check("crates/core/src/a.rs", "//! A.\nlet t = SystemTime::now();\n", &["core is pure"]);
        check("crates/engine/src/a.rs", "//! A.\nlet t = SystemTime::now();\n", &[]);
        check("crates/engine/tests/a.rs", "#[ignore]\n", &["ignored"]);
        check("crates/engine/src/a.rs", "//! A.\ntodo!()\n", &["unfinished"]);
        check("crates/engine/src/a.rs", "//! A.\n// todo!() in a comment\n", &[]);
    }
}
