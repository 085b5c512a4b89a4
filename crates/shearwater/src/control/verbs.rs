//! The verbs as data: what each is called, what it takes, which command it is.

use serde_json::Value;
use shearwater_core::journal::Command;

/// One verb.
pub struct Verb {
    /// Its name in paths, the same as in the CLI.
    pub name: &'static str,
    /// The fields of its body, each with what it takes.
    pub takes: &'static [(&'static str, &'static str)],
    /// What it does.
    pub what: &'static str,
    command: fn(&Value) -> Result<Command, String>,
}

/// All verbs.
pub const VERBS: &[Verb] = &[
    plain("advance", "to the next phase, if the gates are open", |_| Ok(Command::Advance)),
    Verb {
        name: "ramp",
        takes: &[("percent", "0 to 100")],
        what: "reads of this part of the keys come from the target",
        command: ramp,
    },
    plain("rollback", "back to the source, from any phase before complete", |_| Ok(Command::Rollback)),
    plain("withdraw", "gives the migration up in planned, removing the sidecars", |_| Ok(Command::Withdraw)),
    plain("complete", "finishes, removing the sidecars; the last exit is behind", |_| Ok(Command::Complete)),
    plain("backfill", "runs the backfill again", |_| Ok(Command::Backfill)),
    plain("verify", "compares every record of both stores", |_| Ok(Command::Verify)),
    Verb {
        name: "repair",
        takes: &[("dry_run", "true or false; true when it is left out")],
        what: "repairs what the last verification found",
        command: repair,
    },
    plain("pause", "lets background work rest", |_| Ok(Command::Pause)),
    plain("resume", "lets background work go on", |_| Ok(Command::Resume)),
    plain("retry-dead-letters", "tries the dead letters again", |_| Ok(Command::RetryDeadLetters)),
    Verb {
        name: "undo-deactivations",
        takes: &[("keys", "the v1 keys as a list of texts, or \"all\"")],
        what: "takes records of an absorb that were deactivated back, as they were",
        command: undo,
    },
];

const fn plain(name: &'static str, what: &'static str, command: fn(&Value) -> Result<Command, String>) -> Verb {
    Verb { name, takes: &[], what, command }
}

fn ramp(body: &Value) -> Result<Command, String> {
    match body.get("percent").and_then(Value::as_u64).map(u8::try_from) {
        Some(Ok(percent)) if percent <= 100 => Ok(Command::Ramp { percent }),
        _ => Err("percent: expected a whole number from 0 to 100".into()),
    }
}

/// Writes only when it is told to.
fn repair(body: &Value) -> Result<Command, String> {
    match body.get("dry_run") {
        None => Ok(Command::Repair { dry_run: true }),
        Some(Value::Bool(dry_run)) => Ok(Command::Repair { dry_run: *dry_run }),
        Some(_) => Err("dry_run: expected true or false".into()),
    }
}

/// All of them only when it is told to.
fn undo(body: &Value) -> Result<Command, String> {
    let expected = || "keys: expected a list of texts, or \"all\"".to_owned();
    let keys = match body.get("keys") {
        Some(Value::String(word)) if word == "all" => None,
        Some(Value::Array(keys)) if !keys.is_empty() => {
            let text = |key: &Value| key.as_str().map(str::to_owned).ok_or_else(expected);
            Some(keys.iter().map(text).collect::<Result<Vec<String>, String>>()?)
        }
        _ => return Err(expected()),
    };
    Ok(Command::UndoDeactivations { keys })
}

/// The command of a verb with its body; an empty body is an empty object.
pub fn command(name: &str, body: &[u8]) -> Result<Command, Refused> {
    let Some(verb) = VERBS.iter().find(|verb| verb.name == name) else { return Err(Refused::NoSuchVerb) };
    let body = match body.trim_ascii() {
        [] => Value::Object(Default::default()),
        text => serde_json::from_slice(text).map_err(|error| Refused::Body(format!("the body is no JSON: {error}")))?,
    };
    let Some(fields) = body.as_object() else { return Err(Refused::Body("the body is no JSON object".into())) };
    if let Some(unknown) = fields.keys().find(|field| !verb.takes.iter().any(|(name, _)| name == field)) {
        return Err(Refused::Body(format!("{name} takes no field {unknown:?}")));
    }
    (verb.command)(&body).map_err(Refused::Body)
}

/// Why a verb is not understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refused {
    /// There is none of this name.
    NoSuchVerb,
    /// Its body is wrong.
    Body(String),
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(name: &str, body: &str, expect: Result<Command, &str>) {
        let found = command(name, body.as_bytes()).map_err(|refused| match refused {
            Refused::NoSuchVerb => "no such verb".to_owned(),
            Refused::Body(detail) => detail,
        });
        assert_eq!(found, expect.map_err(str::to_owned), "{name} {body}");
    }

    #[test]
    fn verbs_are_commands() {
        check("advance", "", Ok(Command::Advance));
        check("advance", " {} ", Ok(Command::Advance));
        check("ramp", r#"{"percent": 25}"#, Ok(Command::Ramp { percent: 25 }));
        check("ramp", r#"{"percent": 101}"#, Err("percent: expected a whole number from 0 to 100"));
        check("ramp", r#"{"percent": "25"}"#, Err("percent: expected a whole number from 0 to 100"));
        check("ramp", "", Err("percent: expected a whole number from 0 to 100"));
        check("repair", "", Ok(Command::Repair { dry_run: true }));
        check("repair", r#"{"dry_run": false}"#, Ok(Command::Repair { dry_run: false }));
        check("repair", r#"{"dry_run": 0}"#, Err("dry_run: expected true or false"));
        let undo = |keys: Option<&[&str]>| {
            let keys = keys.map(|keys| keys.iter().map(|key| (*key).to_owned()).collect());
            Ok(Command::UndoDeactivations { keys })
        };
        let expected = "keys: expected a list of texts, or \"all\"";
        check("undo-deactivations", r#"{"keys": ["17", "a,b"]}"#, undo(Some(&["17", "a,b"])));
        check("undo-deactivations", r#"{"keys": "all"}"#, undo(None));
        for wrong in ["", r#"{"keys": []}"#, r#"{"keys": [17]}"#, r#"{"keys": "some"}"#] {
            check("undo-deactivations", wrong, Err(expected));
        }
        check("complete", r#"{"force": true}"#, Err("complete takes no field \"force\""));
        check("advance", "[]", Err("the body is no JSON object"));
        check("explode", "", Err("no such verb"));
        assert!(matches!(command("advance", b"{"), Err(Refused::Body(_))));
    }

    #[test]
    fn every_verb_has_its_own_name() {
        let mut names: Vec<_> = VERBS.iter().map(|verb| verb.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), VERBS.len());
    }
}
