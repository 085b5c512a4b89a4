//! What must be different in each record: kept so by the source, by nobody, or
//! by a collation that takes different texts for equal.

use super::*;

const UNIQUE: &str = r#"migration = "m"
kind = "move"
entity = "users"
[source]
url = "sqlite:old.db"
table = "users"
key = "login"
[source.columns]
login = "text"
email = "text"
[target]
url = "sqlite:new.db"
table = "users"
key = "login"
[fields]
login = { type = "text" }
email = { from = "email", type = "text", unique = true }
"#;

fn users() -> Inspection {
    store(vec![table("users", &["login", "email"], &["login"], 9)])
}

/// A target whose columns of these names fold letter case and more.
fn folding(names: &[&str]) -> Inspection {
    let mut users = table("users", &["login", "email", "extra"], &["login"], 0);
    users.columns.iter_mut().for_each(|column| column.folds = names.contains(&column.name.as_str()));
    store(vec![users])
}

/// The findings after these logins and addresses went by, with what they say.
fn after(source: &Inspection, target: Option<&Inspection>, records: &[(&str, Option<&str>)]) -> Vec<Finding> {
    let (spec, mapping) = compiled(UNIQUE);
    let mut sample = Sample::new(&spec, &mapping, source, target);
    for (login, email) in records {
        let email = email.map_or(Value::Null, Value::text);
        let record: Document = [("login", Value::text(*login)), ("email", email)].into_iter().collect();
        assert!(sample.add(&mapping, &Image::of(record)).is_some());
    }
    let plan = plan(&spec, &mapping, source, target, &sample, None);
    plan.findings.into_iter().filter(|finding| finding.weight != Weight::Note).collect()
}

fn codes(findings: &[Finding]) -> Vec<String> {
    findings.iter().map(|finding| format!("{} {}", finding.weight.word(), finding.code)).collect()
}

#[test]
fn what_the_source_keeps_unique_need_not_be_said() {
    assert_eq!(codes(&after(&users(), None, &[])), ["hazard plan/unique"]);
    let mut kept = users();
    kept.tables[0].unique.push(vec!["EMAIL".into()]);
    assert!(after(&kept, None, &[]).is_empty());
    let mut wider = users();
    wider.tables[0].unique.push(vec!["email".into(), "login".into()]);
    assert_eq!(codes(&after(&wider, None, &[])), ["hazard plan/unique"], "one over more columns does not keep it");
}

#[test]
fn a_unique_key_of_the_target_counts_too() {
    let spec = UNIQUE.replace(", unique = true", "");
    let mut target = folding(&[]);
    assert_eq!(found(&spec, &users(), Some(&target)), Vec::<String>::new());
    target.tables[0].unique.push(vec!["email".into()]);
    assert_eq!(found(&spec, &users(), Some(&target)), ["hazard plan/unique"]);
    target.tables[0].unique[0].push("login".into());
    assert_eq!(found(&spec, &users(), Some(&target)), Vec::<String>::new(), "the source's key keeps it");
}

#[test]
fn what_is_cut_may_be_the_same_afterwards() {
    let mut source = users();
    source.tables[0].unique.push(vec!["email".into()]);
    assert_eq!(found(UNIQUE, &source, None), Vec::<String>::new());
    let cut = UNIQUE.replace("unique = true", "unique = true, chars_max = 3, unfit = \"cut\"");
    assert_eq!(found(&cut, &source, None), ["hazard plan/unique"]);
}

#[test]
fn records_that_clash_are_told_by_key_and_not_by_value() {
    let records = [("a", Some("x@y")), ("b", Some("x@y")), ("c", None), ("d", None), ("e", Some("X@y"))];
    let findings = after(&users(), None, &records);
    assert_eq!(codes(&findings), ["hazard plan/not-unique", "hazard plan/unique"]);
    assert!(findings[0].message.starts_with("1 of the records") && findings[0].message.ends_with("their keys: b"));
    assert!(!findings[0].message.contains("x@y"), "a row value was told");
    let many: Vec<String> = (0..50).map(|n| format!("k{n}")).collect();
    let many: Vec<(&str, Option<&str>)> = many.iter().map(|key| (key.as_str(), Some("same"))).collect();
    let told = &after(&users(), None, &many)[0].message;
    assert!(told.starts_with("49 of") && told.ends_with("k1, k2, k3, k4, k5"), "{told}");
}

#[test]
fn a_collation_that_folds_keys_makes_two_records_one() {
    let target = folding(&["login"]);
    let collation = ["hazard plan/collation", "hazard plan/unique"];
    assert_eq!(codes(&after(&users(), Some(&target), &[("ann", None), ("bob", None)])), collation);
    for (one, other) in [("ann", "ANN"), ("ann", "ann  "), ("José", "jose"), ("é", "e\u{301}")] {
        let findings = after(&users(), Some(&target), &[(one, None), (other, None)]);
        assert_eq!(codes(&findings), ["problem plan/not-unique", "hazard plan/unique"], "{one:?} {other:?}");
    }
    assert_eq!(codes(&after(&users(), None, &[("ann", None), ("ANN", None)])), ["hazard plan/unique"]);
}

#[test]
fn a_collation_that_folds_a_unique_column_is_a_hazard() {
    let mut source = users();
    source.tables[0].unique.push(vec!["email".into()]);
    let target = folding(&["email"]);
    assert_eq!(codes(&after(&source, Some(&target), &[("a", Some("x"))])), ["hazard plan/collation"]);
    let findings = after(&source, Some(&target), &[("a", Some("x")), ("b", Some("X"))]);
    assert_eq!(codes(&findings), ["hazard plan/not-unique"]);
}
