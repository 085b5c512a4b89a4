//! Every dependency's licence is one that MIT OR Apache-2.0 software can ship with.

use std::path::Path;
use std::process::Command;

/// Licences that ask for no more than a notice.
const PERMISSIVE: &[&str] = &[
    "MIT",
    "MIT-0",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "CC0-1.0",
    "CDLA-Permissive-2.0",
    "ISC",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
    "0BSD",
];

/// The packages whose licence expression has no permissive choice.
pub fn check(root: &Path) -> Result<Vec<String>, String> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--locked"])
        .current_dir(root)
        .output()
        .map_err(|e| format!("cargo metadata: {e}"))?;
    if !output.status.success() {
        return Err(format!("cargo metadata: {}", String::from_utf8_lossy(&output.stderr)));
    }
    let metadata: serde_json::Value =
        serde_json::from_slice(&output.stdout).map_err(|e| format!("cargo metadata: {e}"))?;
    let packages = metadata["packages"].as_array().ok_or("cargo metadata: no packages")?;
    let mut findings = Vec::new();
    for package in packages {
        let name = package["name"].as_str().unwrap_or("?");
        match package["license"].as_str() {
            Some(expression) if permits(expression) => {}
            Some(expression) => findings.push(format!("{name}: licence {expression:?} is not on the list")),
            None => findings.push(format!("{name}: declares no licence")),
        }
    }
    Ok(findings)
}

/// Whether an SPDX expression can be satisfied by permissive licences alone.
/// (`OR` binds weaker than `AND`; one level of brackets, as crates write it.)
fn permits(expression: &str) -> bool {
    let flat = expression.replace('/', " OR ");
    if let Some(open) = flat.find('(')
        && let Some(close) = flat[open..].find(')').map(|at| open + at)
    {
        let inner = if permits(&flat[open + 1..close]) { "MIT" } else { "REFUSED" };
        return permits(&format!("{}{inner}{}", &flat[..open], &flat[close + 1..]));
    }
    flat.split(" OR ").any(|choice| choice.split(" AND ").all(|licence| PERMISSIVE.contains(&licence.trim())))
}

#[cfg(test)]
mod tests {
    use super::permits;

    #[test]
    fn reads_spdx_expressions() {
        for (expression, expected) in [
            ("MIT", true),
            ("MIT OR Apache-2.0", true),
            ("MIT/Apache-2.0", true),
            ("GPL-3.0", false),
            ("GPL-2.0 OR MIT", true),
            ("MIT AND GPL-2.0", false),
            ("(MIT OR Apache-2.0) AND Unicode-3.0", true),
            ("(GPL-2.0 OR LGPL-2.1) AND MIT", false),
            ("Apache-2.0 WITH LLVM-exception OR Apache-2.0 OR MIT", true),
        ] {
            assert_eq!(permits(expression), expected, "{expression}");
        }
    }
}
