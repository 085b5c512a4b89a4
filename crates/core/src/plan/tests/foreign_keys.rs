//! Foreign keys that are there, that are asked for, and that cascade.

use super::*;
use crate::store::ForeignKey;

const ORDERS: &str = r#"migration = "m"
kind = "move"
entity = "orders"
[source]
url = "sqlite:old.db"
table = "orders"
key = "id"
[source.columns]
id = "int"
user_id = "text"
[target]
url = "sqlite:new.db"
table = "orders"
key = "id"
[fields]
id = { type = "int" }
user_id = { from = "user_id", type = "text", required = true }
"#;

fn orders() -> InspectedTable {
    table("orders", &["id", "user_id"], &["id"], 0)
}

fn key(other: &str, column: &str) -> ForeignKey {
    ForeignKey {
        columns: vec!["user_id".into()],
        table: other.into(),
        references: vec![column.into()],
        ..ForeignKey::default()
    }
}

fn messages(spec: &str, target: &Inspection) -> String {
    let (spec, mapping) = compiled(spec);
    let source = store(vec![orders()]);
    let plan = plan(&spec, &mapping, &source, Some(target), &Sample::new(&spec, &mapping, &source, Some(target)), None);
    plan.findings.iter().map(|finding| finding.message.as_str()).collect::<Vec<_>>().join("\n")
}

#[test]
fn foreign_keys_of_the_target_impose_an_order() {
    let mut there = table("orders", &["id", "user_id", "extra"], &["id"], 0);
    there.foreign_keys.push(key("users", "login"));
    let mut target = store(vec![there, table("users", &["login"], &["login"], 0)]);
    let source = store(vec![orders()]);
    assert_eq!(found(ORDERS, &source, Some(&target)), ["hazard plan/foreign-key"]);
    assert!(messages(ORDERS, &target).contains("has no rows yet: move `users` first"));
    target.tables[1].estimate.records = 5;
    assert!(messages(ORDERS, &target).contains("has rows already"));
    target.tables[0].foreign_keys[0].table = "orders".into();
    assert!(messages(ORDERS, &target).contains("of the same table"));
    target.tables[0].foreign_keys[0].columns = vec!["extra".into()];
    assert_eq!(found(ORDERS, &source, Some(&target)), Vec::<String>::new(), "a column that no rule writes");
}

#[test]
fn what_a_field_refers_to_must_be_there_and_unique() {
    let spec = ORDERS.replace("required = true", "required = true, references = \"users.login\"");
    let source = store(vec![orders()]);
    let users = |key: &[&str]| store(vec![table("users", &["login", "id"], key, 1)]);
    assert_eq!(found(&spec, &source, Some(&users(&["login"]))), Vec::<String>::new());
    assert_eq!(found(&spec, &source, Some(&users(&["id"]))), ["problem plan/references"], "not unique");
    assert_eq!(found(&spec, &source, Some(&users(&["login", "id"]))), ["problem plan/references"], "not alone");
    let mut other_type = users(&["login"]);
    other_type.tables[0].columns[0].ty = Some(FieldType::Int);
    assert_eq!(found(&spec, &source, Some(&other_type)), ["problem plan/references"]);
    let no_column = store(vec![table("users", &["id"], &["id"], 1)]);
    assert_eq!(found(&spec, &source, Some(&no_column)), ["problem plan/references"]);
    assert_eq!(found(&spec, &source, Some(&store(vec![]))), ["hazard plan/references"], "it may come later");
    assert_eq!(found(&spec, &source, None), ["hazard plan/references"]);
}

#[test]
fn cascades_of_the_source_are_told() {
    let mut source = store(vec![orders()]);
    source.tables[0].foreign_keys.push(key("users", "login"));
    assert_eq!(found(ORDERS, &source, None), Vec::<String>::new());
    source.tables[0].foreign_keys[0].cascades = true;
    assert_eq!(found(ORDERS, &source, None), ["hazard plan/cascade"]);
}
