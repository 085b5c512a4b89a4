//! Runs the real binary in a directory of its own and writes down what a
//! person would see.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// Wide enough that no table wraps: where it wraps depends on timings.
const COLUMNS: &str = "400";

/// A directory, and what was done in it.
pub struct Transcript {
    pub directory: tempfile::TempDir,
    text: String,
}

impl Transcript {
    pub fn new() -> Transcript {
        Transcript { directory: tempfile::tempdir().unwrap(), text: String::new() }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path(name), text).unwrap();
    }

    pub fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).unwrap()
    }

    /// The binary, ready to be run here.
    pub fn command(&self, line: &str) -> Command {
        command_in(self.directory.path(), line)
    }

    /// Runs a command line and notes it with its answer; answers the exit code.
    pub fn run(&mut self, line: &str) -> i32 {
        let output = self.command(line).output().unwrap();
        let code = output.status.code().unwrap_or(-1);
        self.text.push_str(&format!("$ shearwater {line}\n"));
        self.text.push_str(&self.scrubbed(&output));
        if code != 0 {
            self.text.push_str(&format!("[exit {code}]\n"));
        }
        self.text.push('\n');
        code
    }

    /// Runs a command that must succeed.
    pub fn ok(&mut self, line: &str) {
        let code = self.run(line);
        assert_eq!(code, 0, "{}", self.text);
    }

    /// Runs a command that must succeed, with standard output into a file.
    pub fn ok_into(&mut self, line: &str, file: &str) {
        let output = self.command(line).output().unwrap();
        assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
        std::fs::write(self.path(file), output.stdout).unwrap();
        self.text.push_str(&format!("$ shearwater {line} > {file}\n\n"));
    }

    /// Runs a command that must fail so.
    pub fn fails(&mut self, line: &str, code: i32) {
        let found = self.run(line);
        assert_eq!(found, code, "{}", self.text);
    }

    /// Standard output of a command that must succeed, as JSON; not noted.
    pub fn json(&self, line: &str) -> serde_json::Value {
        let output = self.command(line).output().unwrap();
        assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// A line between commands.
    pub fn say(&mut self, what: &str) {
        self.text.push_str(&format!("# {what}\n"));
    }

    fn scrubbed(&self, output: &Output) -> String {
        let directory = self.directory.path().display().to_string();
        let both = [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes).into_owned());
        // Whether work is slow enough for a line of progress is the machine's affair.
        let is_progress = |line: &&str| line.contains(" records (") && line.contains(" %), ");
        let both = both.concat().replace(&directory, "[DIR]");
        both.lines().filter(|line| !is_progress(line)).map(|line| scrub(line) + "\n").collect()
    }

    /// Compares everything noted with the snapshot.
    pub fn check(self, snapshot: &str) {
        insta::with_settings!({ omit_expression => true, prepend_module_to_snapshot => false }, {
            insta::assert_snapshot!(snapshot, self.text);
        });
    }
}

pub fn command_in(directory: &Path, line: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_shearwater"));
    command.current_dir(directory).args(line.split_whitespace()).env("COLUMNS", COLUMNS).env("NO_COLOR", "1");
    for variable in ["SHEARWATER_JOURNAL", "SHEARWATER_GATEWAY_TOKEN", "SHEARWATER_CONTROL_TOKEN", "RUST_LOG"] {
        command.env_remove(variable);
    }
    command
}

/// The day in a word on which a test is run; those of test data are in other
/// centuries, or before.
fn day(word: &str) -> Option<&str> {
    let is_day = |text: &[u8]| {
        let is_form = text
            .iter()
            .enumerate()
            .all(|(at, c)| (*c == b'-', c.is_ascii_digit()) == (at == 4 || at == 7, at != 4 && at != 7));
        is_form && text.starts_with(b"20") && (b'2'..b'9').contains(&text[2]) && text > b"2026".as_slice()
    };
    let at = word.as_bytes().windows(10).position(is_day)?;
    word.get(at..at + 10)
}

/// Takes out what differs from run to run: times, rates, sizes, names of
/// members and runs; and the spaces that line them up.
fn scrub(line: &str) -> String {
    const UNITS: [&str; 9] = ["ms", "s", "B", "KiB", "MiB", "records/s", "min", "h", "µs"];
    let is_number = |word: &str| !word.is_empty() && word.chars().all(|c| c.is_ascii_digit() || c == '.' || c == ',');
    let is_member = |word: &str| {
        word.split_once('-').is_some_and(|(_, id)| id.len() == 12 && id.chars().all(|c| c.is_ascii_hexdigit()))
    };
    let is_moment = |word: &str| word.len() == 24 && word.ends_with('Z') && word.as_bytes()[10] == b'T';
    let indent = line.len() - line.trim_start().len();
    let words: Vec<&str> = line.trim_start().split(' ').collect();
    let mut out: Vec<String> = Vec::new();
    let mut gap = false;
    for (at, word) in words.iter().enumerate() {
        if word.is_empty() {
            gap = true;
            continue;
        }
        if gap {
            out.push(String::new());
            gap = false;
        }
        let unit = words.get(at + 1).map_or("", |next| next.trim_end_matches([',', ';', '.']));
        out.push(match word {
            word if is_number(word) && UNITS.contains(&unit) => "[N]".to_owned(),
            word if is_number(word) && unit == "%" && words.get(at + 2) == Some(&"more:") => "[N]".to_owned(),
            word if is_member(word) => "[MEMBER]".to_owned(),
            word if is_moment(word) => "[WHEN]".to_owned(),
            word if day(word).is_some() => word.replace(day(word).unwrap_or_default(), "[DAY]"),
            word => (*word).to_owned(),
        });
    }
    let text = out.join(" ");
    format!("{}{}", " ".repeat(indent), text.trim_end())
}
