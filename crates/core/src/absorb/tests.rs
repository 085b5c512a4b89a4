//! The two shapes of one record, moved and unmoved, and lists stitched from both stores.

use super::*;
use crate::spec;

fn shapes(more: &str) -> Shapes {
    let text = format!(
        r#"
migration = "bob"
kind = "absorb"
entity = "users"
[source]
url = "sqlite:bob.db"
table = "users"
key = "id"
[source.columns]
id = "int"
email = "text"
first = "text"
last = "text"
note = "text"
[target]
url = "sqlite:alice.db"
table = "people"
key = "id"
[fields]
id = {{ sql = '''concat('bob-', id)''', type = "text", back = {{ id = '''cast(substring(id from 5) as bigint)''' }} }}
email = {{ from = "email", type = "text", unique = true }}
name = {{ sql = '''first || ' ' || last''', type = "text", back = {{ first = '''split_part(name, ' ', 1)''', last = '''split_part(name, ' ', 2)''' }} }}
[require]
manager = {{ type = "text" }}
{more}"#
    );
    match spec::parse(&text, &|_| None) {
        Ok(spec::Migration::Absorb(spec)) => Shapes::compile(&spec).unwrap(),
        Ok(other) => panic!("{other:?}"),
        Err(problems) => panic!("{}", spec::render_problems("spec", &text, &problems)),
    }
}

fn bob(first: &str) -> Image {
    Image::of(
        [
            ("id", Value::Int(7)),
            ("email", "b@x".into()),
            ("first", first.into()),
            ("last", "Stone".into()),
            ("note", "vip".into()),
        ]
        .into_iter()
        .collect(),
    )
}

#[test]
fn a_record_goes_there_and_back_with_what_the_target_cannot_hold() {
    let shapes = shapes("");
    // "Mary Ann" does not come back through the rules; the source's row remembers it.
    for first in ["Mary", "Mary Ann"] {
        let row = bob(first);
        let parted = shapes.forward(&row).unwrap();
        assert!(!parted.v2.contains(REST));
        assert_eq!(parted.v2.get("id"), Some(&Value::text("bob-7")));
        assert_eq!(parted.v2.get("manager"), Some(&Value::Null));
        assert_eq!(shapes.lacks(&parted.v2), ["manager"]);
        let mut v2 = parted.v2.clone();
        v2.set("manager", "m1");
        assert!(shapes.lacks(&v2).is_empty());
        v2.set("email", "new@x");
        let origin = Origin { key: Key::single(7i64), changed: vec![], merged: None };
        let back = shapes.together(&row, &v2, &origin).unwrap();
        let mut expect = row.record.clone();
        expect.set("email", "new@x");
        assert_eq!(back.record, expect, "{first}");
        assert_eq!(shapes.forward(&back).unwrap().v2, v2, "the manager is parked and comes back");
    }
}

#[test]
fn the_flag_and_our_notes_never_show_in_a_record() {
    let shapes = shapes("");
    let some = Some(Stamp::new(2, 41));
    for (home, left, returning) in [(Home::Source, None, None), (Home::Target, some, None), (Home::Target, some, some)]
    {
        let held = Held { v1: bob("Mary"), home, left, returning };
        let row = shapes.row(held.clone());
        assert_eq!(row.record.get("migrated"), Some(&Value::Bool(home == Home::Target)));
        assert_eq!(shapes.held(row), held);
    }
}

#[test]
fn an_origin_is_read_as_it_was_written() {
    let changed = vec![("email".to_owned(), Value::text("b@x"), Value::Null)];
    for changed in [vec![], changed] {
        let origin = Origin { key: Key::composite(vec![Value::Int(7), "a".into()]), changed, merged: None };
        assert_eq!(Origin::of(&origin.parked()), Some(origin));
    }
    assert_eq!(Origin::of(&Document::new()), None);
}

#[test]
fn a_conflict_changes_the_value_and_the_way_back_undoes_it() {
    let check = |rule: &str, landed: Value| {
        let shapes = shapes(&format!("[conflicts]\nemail = {rule}"));
        let row = bob("Mary");
        let mut v2 = shapes.forward(&row).unwrap().v2;
        v2.set("manager", "m1");
        let (changed, what) = shapes.settle_conflict("email", &v2).unwrap().unwrap();
        assert_eq!(changed.get("email"), Some(&landed));
        let origin = Origin { key: Key::single(7i64), changed: vec![what], merged: None };
        assert_eq!(shapes.together(&row, &changed, &origin).unwrap().record, row.record);
        // A value that somebody has set since then is not undone.
        let mut later = changed.clone();
        later.set("email", "own@x");
        assert_eq!(shapes.together(&row, &later, &origin).unwrap().record.get("email"), Some(&"own@x".into()));
    };
    check("\"keep-target\"", Value::Null);
    check("{ keep_both = '''concat('bob+', email)''' }", "bob+b@x".into());
    assert_eq!(shapes("[conflicts]\nemail = \"refuse\"").settle_conflict("email", &Document::new()), Ok(None));
    assert_eq!(shapes("").settle_conflict("email", &Document::new()), Ok(None));
}

#[test]
fn versions_of_the_two_stores_are_never_the_same() {
    let stamp = Stamp::new(2, 5);
    assert_ne!(version(Home::Source, stamp), version(Home::Target, stamp));
    assert_eq!(version(Home::Source, stamp), stamp);
}
