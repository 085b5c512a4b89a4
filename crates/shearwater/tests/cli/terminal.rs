//! Commands that take their time: what a terminal shows, what a file gets, and
//! what Ctrl-C leaves.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::transcript::{Transcript, command_in};
use crate::walk::SPEC;

/// How long anything here may take before the test fails.
const PATIENCE: Duration = Duration::from_secs(60);

/// So many records that a backfill at one percent of its pace can be looked at.
const RECORDS: usize = 2_000;

/// A migration whose backfill takes seconds.
fn slow() -> Transcript {
    let mut t = Transcript::new();
    let people: String = (0..RECORDS)
        .map(|n| format!("{{\"_id\":{n},\"name\":\"n{n}\",\"email\":null,\"tags\":[],\"addresses\":[]}}\n"))
        .collect();
    t.write("users.jsonl", &people);
    t.write("users.toml", &format!("{SPEC}\n[pace]\nduty_percent_max = 1\nchunk_ms_target = 1\n"));
    t.ok("import users.jsonl --into sqlite:legacy.db --table users --key _id");
    t
}

/// Waits until the journal says that the backfill has copied something.
fn copied_something(t: &Transcript) {
    let began = Instant::now();
    while began.elapsed() < PATIENCE {
        let output = t.command("status --json").output().unwrap();
        let status: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
        if status["progress"]["done"].as_u64().is_some_and(|done| done > 0) {
            return;
        }
    }
    panic!("the backfill never began");
}

fn interrupt(child: &Child) {
    let sent = Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert!(sent.success());
}

fn rest_of(child: &mut Child) -> (String, String) {
    let (mut out, mut err) = (String::new(), String::new());
    child.stdout.take().unwrap().read_to_string(&mut out).unwrap();
    child.stderr.take().unwrap().read_to_string(&mut err).unwrap();
    (out, err)
}

#[test]
fn ctrl_c_stops_a_start_which_goes_on_when_it_is_run_again() {
    let mut t = slow();
    let mut start = t.command("start users.toml").stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    copied_something(&t);
    interrupt(&start);
    let (out, err) = rest_of(&mut start);
    assert_eq!(start.wait().unwrap().code(), Some(130), "{out}{err}");
    assert!(err.contains("nothing is lost") && err.contains("run the same command again"), "{err}");
    assert!(!err.contains('\u{1b}'), "no terminal, no escapes: {err:?}");
    let left = t.json("status --json");
    assert_eq!((&left["phase"], &left["backfill"]["state"]), (&"dual-write".into(), &"running".into()));
    t.ok("start users.toml");
    let done = t.json("status --json");
    assert_eq!(done["backfill"]["totals"]["read"], RECORDS, "{done}");
    assert_eq!(done["backfill"]["totals"]["changed"], RECORDS, "counted once over both processes: {done}");
    t.ok("verify");
}

#[test]
fn a_terminal_shows_a_bar_and_a_file_gets_none() {
    let t = slow();
    let binary = env!("CARGO_BIN_EXE_shearwater");
    // `script` gives the program a terminal of its own.
    let mut command = command_in(t.directory.path(), "");
    let inside = Command::new("script")
        .args(["-qefc", &format!("{binary} start users.toml"), "/dev/null"])
        .current_dir(t.directory.path())
        .envs(command.env("TERM", "xterm").get_envs().filter_map(|(name, value)| Some((name, value?))))
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let shown = String::from_utf8_lossy(&inside.stdout);
    assert!(inside.status.success(), "{shown}");
    let bar = shown.split(['\r', '\n']).find(|line| line.contains("backfill:") && line.contains(" %"));
    let bar = bar.unwrap_or_else(|| panic!("no bar in {shown:?}"));
    assert!(bar.contains("records/s"), "{bar:?}");
    assert!(shown.contains("\u{1b}["), "it is drawn in place: {shown:?}");
    assert!(shown.contains("is in dual-write"), "the answer comes after it: {shown:?}");
}

#[test]
fn status_is_watched_until_ctrl_c() {
    let mut t = Transcript::new();
    t.write("users.jsonl", crate::walk::PEOPLE);
    t.write("users.toml", SPEC);
    t.ok("import users.jsonl --into sqlite:legacy.db --table users --key _id");
    t.ok("start users.toml");
    let mut watch = t.command("status --watch --json").stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(watch.stdout.take().unwrap()).lines();
    let mut phase_shown = || -> String {
        let line = lines.next().expect("it goes on").unwrap();
        let status: serde_json::Value = serde_json::from_str(&line).unwrap();
        status["phase"].as_str().unwrap().to_owned()
    };
    assert_eq!(phase_shown(), "dual-write");
    t.ok("verify");
    t.ok("advance");
    let began = Instant::now();
    while phase_shown() != "shadow-read" {
        assert!(began.elapsed() < PATIENCE, "it never showed the next phase");
    }
    interrupt(&watch);
    let began = Instant::now();
    while lines.next().is_some() {
        assert!(began.elapsed() < PATIENCE, "it did not stop");
    }
    assert_eq!(watch.wait().unwrap().code(), Some(0));
}
