//! How a command ends: the documented exit codes, and failures as people and
//! programs read them.

use serde_json::{Value, json};
use shearwater_core::error::{StoreError, StoreErrorKind};
use shearwater_core::journal::{JournalError, Refusal};
use shearwater_engine::ledger::{Halt, side_name};

/// The exit codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// Done.
    Done,
    /// It failed, or a gate or the lifecycle refused it.
    Failed,
    /// The command line is wrong.
    Usage,
    /// The spec or the input has problems.
    Problems,
    /// A store or the journal cannot be reached, opened or used.
    Store,
    /// Records differ.
    Mismatches,
    /// Stopped by Ctrl-C; run the command again to go on.
    Interrupted,
}

/// Every exit code with its meaning, for help and manual.
pub const EXITS: [(Exit, &str); 7] = [
    (Exit::Done, "done"),
    (Exit::Failed, "failed, or refused by a gate or in this phase"),
    (Exit::Usage, "the command line is wrong"),
    (Exit::Problems, "the spec, the plan or the input has problems; nothing was written"),
    (Exit::Store, "a store or the journal cannot be reached, opened or used"),
    (Exit::Mismatches, "records differ"),
    (Exit::Interrupted, "interrupted; the same command goes on where it stopped"),
];

impl Exit {
    /// The process's exit status.
    pub fn code(self) -> u8 {
        match self {
            Exit::Done => 0,
            Exit::Failed => 1,
            Exit::Usage => 2,
            Exit::Problems => 3,
            Exit::Store => 4,
            Exit::Mismatches => 5,
            Exit::Interrupted => 130,
        }
    }
}

/// The exit codes as text, for `--help` and the manual.
pub fn exits_text() -> String {
    let mut text = String::from("Exit codes:\n");
    for (exit, meaning) in EXITS {
        text.push_str(&format!("  {:>3}  {meaning}\n", exit.code()));
    }
    text
}

/// A command that did not do what was asked.
#[derive(Clone, Debug, PartialEq)]
pub struct Failure {
    /// The exit code.
    pub exit: Exit,
    /// The stable code, for example `store/not-found`.
    pub code: String,
    /// What was found and where, and what was expected.
    pub message: String,
    /// What the reader can do.
    pub hint: Option<String>,
    /// More, for programs.
    pub detail: Option<Box<Value>>,
}

/// The result of a command's step.
pub type Outcome<T> = Result<T, Failure>;

impl Failure {
    /// A failure with this code.
    pub fn new(exit: Exit, code: impl Into<String>, message: impl Into<String>) -> Failure {
        Failure { exit, code: code.into(), message: message.into(), hint: None, detail: None }
    }

    /// The same with a hint.
    pub fn hint(mut self, hint: impl Into<String>) -> Failure {
        self.hint = Some(hint.into());
        self
    }

    /// The same with the place in front of the message.
    pub fn within(mut self, place: &str) -> Failure {
        self.message = format!("{place}: {}", self.message);
        self
    }

    /// A file that cannot be read or written.
    pub fn file(doing: &str, path: &std::path::Path, error: &std::io::Error) -> Failure {
        let failure =
            Failure::new(Exit::Problems, "file/unusable", format!("cannot {doing} {}: {error}", path.display()));
        match error.kind() {
            std::io::ErrorKind::NotFound => failure.hint("check the path; it is relative to the current directory"),
            std::io::ErrorKind::PermissionDenied => failure.hint("check the permissions of the file and its directory"),
            _ => failure,
        }
    }

    /// As text for a person.
    pub fn text(&self) -> String {
        let hint = self.hint.as_ref().map_or(String::new(), |hint| format!("\n hint: {hint}"));
        // Whoever made a message of several lines has headed it already.
        match self.message.starts_with("error") {
            true => format!("{}{hint}\n", self.message.trim_end()),
            false => format!("error[{}]: {}{hint}\n", self.code, self.message),
        }
    }

    /// As an object for a program.
    pub fn json(&self) -> Value {
        let mut error = json!({
            "code": self.code,
            "message": self.message,
            "hint": self.hint,
            "exit": self.exit.code(),
        });
        if let (Some(detail), Some(error)) = (&self.detail, error.as_object_mut()) {
            error.insert("detail".to_owned(), detail.as_ref().clone());
        }
        json!({ "error": error })
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Failure {
        let exit = match error.kind {
            StoreErrorKind::Unavailable
            | StoreErrorKind::NotFound
            | StoreErrorKind::Denied
            | StoreErrorKind::Full
            | StoreErrorKind::Corrupt
            | StoreErrorKind::Sidecar => Exit::Store,
            StoreErrorKind::OutcomeUnknown
            | StoreErrorKind::FenceClosed
            | StoreErrorKind::EpochStale { .. }
            | StoreErrorKind::ExpectFailed { .. }
            | StoreErrorKind::Refused { .. }
            | StoreErrorKind::IdempotencyReused
            | StoreErrorKind::Unsupported => Exit::Failed,
        };
        Failure { hint: error.hint.clone(), ..Failure::new(exit, error.code(), error.message) }
    }
}

impl From<JournalError> for Failure {
    fn from(error: JournalError) -> Failure {
        let (exit, code, hint) = match &error {
            JournalError::Conflict { .. } => (Exit::Failed, "journal/conflict", "run the command again"),
            JournalError::Unknown(_) => {
                (Exit::Failed, "journal/unknown", "`shearwater start SPEC` writes a migration down")
            }
            JournalError::Exists(_) => {
                (Exit::Failed, "journal/exists", "name the migration otherwise, or use another --journal")
            }
            JournalError::Newer { .. } => (Exit::Store, "journal/newer", "use the newer Shearwater that wrote it"),
            JournalError::Unavailable(_) => (
                Exit::Store,
                "journal/unavailable",
                "check the path given with --journal, its permissions and the disk",
            ),
            JournalError::Absent(_) => (
                Exit::Store,
                "journal/absent",
                "`shearwater start SPEC` makes one; or name another with --journal PLACE",
            ),
            JournalError::Server { hint, .. } => (Exit::Store, "journal/unavailable", hint.as_str()),
            JournalError::Damaged(_) => {
                (Exit::Store, "journal/damaged", "is this file a journal? restore it from a copy if it was one")
            }
        };
        let hint = hint.to_owned();
        Failure::new(exit, code, error.to_string()).hint(hint)
    }
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Failure {
        Failure { hint: refusal.hint, ..Failure::new(Exit::Failed, refusal.code, refusal.message) }
    }
}

impl From<Halt> for Failure {
    fn from(halt: Halt) -> Failure {
        let again = "run the same command again to go on";
        match halt {
            Halt::Journal(error) => error.into(),
            Halt::Store { side, error } => Failure::from(error).within(side_name(side)),
            Halt::OneStore(error) => Failure::from(error).within("store"),
            Halt::Refused(refusal) => refusal.into(),
            Halt::Illegal(illegal) => Failure::new(Exit::Failed, "phase/not-possible", illegal.to_string())
                .hint("`shearwater status` says what is next"),
            Halt::Lost | Halt::Stopped => Failure::new(Exit::Failed, "engine/stopped", halt.to_string()).hint(again),
            Halt::Broken(_) => Failure::new(Exit::Failed, "engine/broken", halt.to_string()).hint(again),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_have_code_hint_and_exit_in_both_forms() {
        let full = StoreError::new(StoreErrorKind::Full, "the disk is full").with_hint("make room");
        let failure = Failure::from(full).within("target sqlite:x.db");
        assert_eq!(failure.text(), "error[store/full]: target sqlite:x.db: the disk is full\n hint: make room\n");
        assert_eq!(failure.json()["error"]["exit"], 4);
        assert_eq!(failure.json()["error"]["hint"], "make room");
        let refused = StoreError::new(StoreErrorKind::Refused { field: None }, "no");
        assert_eq!(Failure::from(refused).exit, Exit::Failed);
        let newer = JournalError::Newer { found: 9, known: 1 };
        assert_eq!((Failure::from(newer).exit, Exit::Store.code()), (Exit::Store, 4));
    }
}
