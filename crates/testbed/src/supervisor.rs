//! A small shell beside each server. It starts and ends the server on our
//! word, and when the pipe from the test process closes, because that process
//! ended in whatever way, it ends the server by its process id and removes its
//! folder. It leads a process group of its own, so that an interrupt at the
//! terminal reaches it as the end of the test process and not by itself.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::{Mutex, PoisonError};

use crate::Outcome;

/// Words come in on stdin, each is answered by itself when it is done.
/// `$1` is the folder, `$2` the signal that asks the server to stop, the rest
/// is the server's command. A killed server's children are killed with it, as
/// when a machine dies.
const SCRIPT: &str = r#"
folder=$1; stop_signal=$2; shift 2
pid=
family() { echo $pid; cat /proc/$pid/task/$pid/children 2>/dev/null; }
kill_now() {
    [ -n "$pid" ] || return 0
    kill -KILL $(family) 2>/dev/null
    wait $pid 2>/dev/null
    pid=
}
while read -r word; do
    case $word in
        start) [ -n "$pid" ] || { "$@" </dev/null >>"$folder/log" 2>&1 & pid=$!; } ;;
        kill) kill_now ;;
        stop) [ -z "$pid" ] || { kill -$stop_signal $pid 2>/dev/null; wait $pid 2>/dev/null; pid=; } ;;
        freeze) kill -STOP $(family) 2>/dev/null ;;
        thaw) kill -CONT $(family) 2>/dev/null ;;
        alive) case $(sed 's/.*) //' /proc/${pid:-none}/stat 2>/dev/null) in ''|Z*) word=dead ;; esac ;;
    esac
    echo "$word"
done
kill_now
rm -rf "$folder"
"#;

/// A server's supervisor. Dropping it ends the server and waits for that.
#[derive(Debug)]
pub(crate) struct Supervisor {
    child: Child,
    ends: Mutex<Option<Ends>>,
}

#[derive(Debug)]
struct Ends {
    words: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Supervisor {
    /// A supervisor for a server that is not started yet.
    pub(crate) fn begin(folder: &Path, stop_signal: &str, command: &[String]) -> Outcome<Supervisor> {
        let mut child = Command::new("sh")
            .args(["-c", SCRIPT, "testbed"])
            .arg(folder)
            .arg(stop_signal)
            .args(command)
            .current_dir(folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .map_err(|e| format!("sh: {e}"))?;
        let (Some(words), Some(answers)) = (child.stdin.take(), child.stdout.take()) else {
            return Err("sh has no pipes".to_owned());
        };
        let ends = Ends { words, answers: BufReader::new(answers) };
        Ok(Supervisor { child, ends: Mutex::new(Some(ends)) })
    }

    /// Says a word and waits until it is done; answers the answer.
    pub(crate) fn say(&self, word: &str) -> Outcome<String> {
        let mut ends = self.ends.lock().unwrap_or_else(PoisonError::into_inner);
        let ends = ends.as_mut().ok_or("the server's supervisor has ended")?;
        let mut answer = String::new();
        writeln!(ends.words, "{word}")
            .and_then(|()| ends.answers.read_line(&mut answer))
            .map_err(|e| format!("the server's supervisor does not answer: {e}"))?;
        Ok(answer.trim_end().to_owned())
    }
}

impl Drop for Supervisor {
    fn drop(&mut self) {
        // Closing the pipe is the word that ends everything.
        self.ends.lock().unwrap_or_else(PoisonError::into_inner).take();
        let _ = self.child.wait();
    }
}
