//! Bad input: a clear error with a hint, the documented exit code, nothing half-written.

use crate::transcript::Transcript;
use crate::walk::{SPEC, imported};

#[test]
fn files_that_are_missing_or_unusable() {
    let mut t = Transcript::new();
    t.fails("plan nothing.toml", 3);
    t.fails("import nothing.jsonl --into sqlite:x.db --table t --key id", 3);
    t.fails("status", 4);
    t.fails("export some-migration", 4);
    t.write("plain.txt", "this is no journal, but a text that somebody wrote\n");
    t.fails("status --journal plain.txt", 4);
    t.fails("status --journal plain.txt/journal", 4);
    t.write("latin.toml", "");
    std::fs::write(t.path("latin.toml"), b"migration = \"caf\xe9\"").unwrap();
    t.fails("plan latin.toml", 3);
    assert!(!t.path("x.db").exists(), "a refused import made a store");
    assert!(!t.path("shearwater.journal").exists(), "a refused command made a journal");
    t.check("bad_files");
}

#[test]
fn specs_with_problems() {
    let mut t = imported();
    t.write("syntax.toml", &SPEC.replace("kind = \"move\"", "kind = \"move"));
    t.fails("plan syntax.toml", 3);
    t.write("many.toml", &SPEC.replace("table = \"users\"\nkey = \"_id\"", "tabel = \"users\"\nkey = 7"));
    t.fails("plan many.toml", 3);
    t.fails("plan many.toml --json", 3);
    t.write("store.toml", &SPEC.replace("sqlite:app.db", "oracle://localhost/app"));
    t.fails("start store.toml", 3);
    t.write("secret.toml", &SPEC.replace("sqlite:app.db", "sqlite:${SHEARWATER_TEST_NOT_SET}"));
    t.fails("start secret.toml", 3);
    assert!(!t.path("shearwater.journal").exists());
    t.check("bad_specs");
}

#[test]
fn stores_that_are_not_what_the_spec_says() {
    let mut t = imported();
    t.write("users.toml", &SPEC.replace("sqlite:legacy.db", "sqlite:nothing.db"));
    t.fails("plan users.toml", 4);
    assert!(!t.path("nothing.db").exists(), "looking at a store made it");
    t.write("users.toml", &SPEC.replace("table = \"users\"\nkey = \"_id\"", "table = \"user\"\nkey = \"_id\""));
    t.fails("plan users.toml", 3);
    t.fails("start users.toml", 3);
    t.write("users.toml", &SPEC.replace("key = \"_id\"", "key = \"id\""));
    t.fails("plan users.toml", 3);
    let source = rusqlite::Connection::open(t.path("legacy.db")).unwrap();
    source
        .execute_batch(
            "CREATE TABLE loose (_id, doc TEXT); INSERT INTO loose VALUES (1, '{\"_id\":1}'), (1, '{\"_id\":1}')",
        )
        .unwrap();
    drop(source);
    t.write("users.toml", &SPEC.replace("table = \"users\"\nkey = \"_id\"", "table = \"loose\"\nkey = \"_id\""));
    t.fails("plan users.toml", 3);
    let target = rusqlite::Connection::open(t.path("app.db")).unwrap();
    target.execute_batch("CREATE TABLE users (id INTEGER PRIMARY KEY, name TEXT, must TEXT NOT NULL); INSERT INTO users VALUES (1, 'x', 'y')").unwrap();
    drop(target);
    t.write("users.toml", SPEC);
    t.fails("start users.toml", 3);
    t.write(
        "garbage.db",
        "this is not a database, whatever its name may say; it is only text, and long enough to be read",
    );
    t.write("users.toml", &SPEC.replace("sqlite:legacy.db", "sqlite:garbage.db"));
    t.fails("plan users.toml", 4);
    assert!(!t.path("shearwater.journal").exists(), "a refused start wrote a migration down");
    t.check("bad_stores");
}

#[test]
fn a_type_that_the_mapping_cannot_hold() {
    let mut t = imported();
    t.write(
        "users.toml",
        &SPEC.replace("name = { from = \"name\", type = \"text\" }", "name = { from = \"name\", type = \"int\" }"),
    );
    t.fails("plan users.toml", 3);
    t.check("bad_types");
}

#[test]
fn a_journal_of_a_newer_version() {
    let mut t = imported();
    t.ok("start users.toml");
    let journal = rusqlite::Connection::open(t.path("shearwater.journal")).unwrap();
    make_newer(&journal);
    drop(journal);
    t.fails("status", 4);
    t.fails("advance --json", 4);
    t.check("newer_journal");
}

/// Raises the version that the journal says it has.
fn make_newer(journal: &rusqlite::Connection) {
    let raised = journal.execute("UPDATE meta SET value = CAST(value + 1 AS TEXT) WHERE name = 'version'", []).unwrap();
    assert_eq!(raised, 1, "the journal keeps its version elsewhere now");
}

#[test]
fn a_port_that_is_taken_and_an_address_that_is_open() {
    let mut t = imported();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let output = t
        .command(&format!("serve users.toml --gateway 127.0.0.1:{port} --control 127.0.0.1:0"))
        .env("RUST_LOG", "off")
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    let told = String::from_utf8_lossy(&output.stderr).replace(&port.to_string(), "PORT");
    t.say(told.lines().filter(|line| !line.starts_with("hazard")).collect::<Vec<_>>().join("\n# ").as_str());
    t.fails("serve --gateway 0.0.0.0:0 --control 127.0.0.1:0", 2);
    t.check("bad_ports");
}

#[test]
fn command_lines_that_are_wrong() {
    let mut t = imported();
    t.fails("advnace", 2);
    t.fails("ramp 150%", 2);
    t.fails("import users.jsonl --into sqlite:x.db --table t", 2);
    t.fails("export sqlite:legacy.db", 2);
    t.fails("ramp many --json", 2);
    t.check("bad_usage");
}

#[test]
fn commands_that_the_phase_does_not_allow() {
    let mut t = imported();
    t.ok("start users.toml");
    t.fails("complete", 1);
    t.fails("withdraw", 1);
    t.fails("ramp 10%", 1);
    t.fails("status --migration other", 1);
    t.fails("export other", 1);
    t.check("bad_phase");
}

/// A directory that cannot be written: the error names it, and nothing starts.
#[cfg(unix)]
#[test]
fn a_directory_that_is_read_only() {
    use std::os::unix::fs::PermissionsExt;
    let mut t = imported();
    let locked = t.path("locked");
    std::fs::create_dir(&locked).unwrap();
    std::fs::set_permissions(&locked, std::fs::Permissions::from_mode(0o555)).unwrap();
    if std::fs::write(locked.join("probe"), "").is_ok() {
        // The superuser may write everywhere; a directory that is not there stands in for it.
        std::fs::remove_file(locked.join("probe")).unwrap();
        std::fs::remove_dir(&locked).unwrap();
    }
    t.fails("start users.toml --journal locked/journal", 4);
    t.write("users.toml", &SPEC.replace("sqlite:app.db", "sqlite:locked/app.db"));
    let code = t.run("start users.toml");
    assert!(code == 3 || code == 4, "exit {code}");
    assert!(!t.path("app.db").exists());
}
