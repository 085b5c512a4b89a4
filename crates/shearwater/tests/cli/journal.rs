//! Where the journal is: a file or a database, from the flag or the
//! environment, and never a password in what is shown.

use shearwater_testbed::postgres;

use crate::transcript::Transcript;
use crate::walk::{SPEC, imported};

#[test]
fn a_migration_whose_journal_is_on_a_server() {
    let url = postgres().database("journal");
    let t = imported();
    t.write("users.toml", SPEC);
    let run = |line: &str| t.command(line).env("SHEARWATER_JOURNAL", &url).output().unwrap();
    let absent = run("status");
    let told = String::from_utf8_lossy(&absent.stderr).into_owned();
    assert_eq!(absent.status.code(), Some(4), "{told}");
    assert!(told.contains("there is no journal in postgres://") && told.contains("shearwater start"), "{told}");
    for line in ["start users.toml", "verify", "advance", "status", "history"] {
        let output = run(line);
        assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
    }
    let events = postgres().rows(&url, "SELECT count(*) FROM shearwater_journal.entry");
    assert!(events[0][0].as_ref().unwrap().parse::<u32>().unwrap() > 5, "{events:?}");
    // The flag is above the environment, and nothing was made beside the spec.
    assert_eq!(run("status --journal ./shearwater.journal").status.code(), Some(4));
    assert!(!t.path("shearwater.journal").exists());
}

#[test]
fn a_password_is_never_shown() {
    let t = Transcript::new();
    let wrong = postgres().database("wrong").replace("testbed:testbed@", "testbed:s3cret@");
    let cases = [
        (wrong.as_str(), 4, "check the user and the password"),
        ("postgres://me:s3cret@127.0.0.1:1/app", 4, "the server runs"),
        ("postgres://me:s3cret@127.0.0.1", 2, "no database"),
        ("postgres://me:s3cret@host:port/app", 2, "cannot be read"),
        ("mysql://me:s3cret@127.0.0.1/app", 2, "not mysql://"),
    ];
    for (place, code, says) in cases {
        for (line, variable) in [(format!("status --journal {place}"), ""), ("--json status".to_owned(), place)] {
            let output = t.command(&line).env("SHEARWATER_JOURNAL", variable).output().unwrap();
            let told = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
            assert_eq!(output.status.code(), Some(code), "{told}");
            assert!(told.contains(says), "{told:?} says nothing of {says:?}");
            assert!(!told.contains("s3cret"), "{told}");
        }
    }
    let help = t.command("status --help").env("SHEARWATER_JOURNAL", &wrong).output().unwrap();
    assert!(!String::from_utf8_lossy(&help.stdout).contains("s3cret"));
}
