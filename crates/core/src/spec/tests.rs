//! A good spec, and one broken part at a time: what is told, and where.

use super::*;
use crate::path::Path;

/// Everything that the format has, once.
const GOOD: &str = r#"migration = "users-to-tables"
kind = "move"
entity = "users"

[source]
url = "sqlite:${LEGACY}"
table = "users"
key = "_id"

[target]
url = "sqlite:new.db?sync=full"
table = "people"
key = ["id"]

[fields]
id = { from = "_id", type = "int", required = true }
email = { type = "text", unique = true, default = "nobody@example.org" }
city = "address.city"
zip = { from = "address.zip", type = "text", cast = true }
full_name = { sql = '''first || ' ' || last''', back = { first = '''split_part(full_name, ' ', 1)''', last = '''split_part(full_name, ' ', 2)''' }, type = "text" }
shout = { sql = '''upper(nick)''', derived = true, type = "text" }
origin = { value = "legacy", type = "text" }
score = { target_only = true, type = "decimal", default = "1.10" }
tags = { table = "user_tags", scalar = "tag", type = "text" }

[fields.addresses]
from = "addresses"
table = "user_addresses"
[fields.addresses.fields]
street = "street"
house = { from = "no", type = "int" }

[unmapped]
keep_in = "rest"

[gates]
mismatches_max = 3
pause_ms_max = 250

[pace]
workers = 4
duty_percent_max = 50
"#;

const ROWS: &str = r#"migration = "rows"
kind = "move"
entity = "users"
[source]
url = "sqlite:old.db"
table = "users"
key = "id"
residue = "more"
[source.columns]
id = "int"
email = { type = "text", required = true, unique = true }
tags = { table = "old_tags", scalar = "tag", type = "text" }
addresses = { table = "old_addresses", fields = { street = "text" } }
[target]
url = "sqlite:new.db"
table = "users"
key = "id"
layout = "document"
document = "body"
[fields]
id = { type = "int" }
email = { type = "text" }
[unmapped]
refuse = true
"#;

fn environment(name: &str) -> Option<String> {
    (name == "LEGACY").then(|| "secret-place.db".to_owned())
}

fn good(text: &str) -> Spec {
    parse_move(text, &environment)
        .unwrap_or_else(|problems| panic!("{}", render_problems("spec.toml", text, &problems)))
}

/// Breaks `base` by replacing one part for each case; the snapshot has what is told.
fn check(snapshot: &str, base: &str, cases: &[(&str, &str, &str)]) {
    let mut told = String::new();
    for (reason, part, broken) in cases {
        assert!(base.contains(part), "{reason}: the base has no {part:?}");
        let text = base.replacen(part, broken, 1);
        let problems = parse(&text, &environment).expect_err(reason);
        told.push_str(&format!("=== {reason}\n{}\n", render_problems("spec.toml", &text, &problems)));
    }
    assert!(!told.contains("secret-place"), "a secret got into the output");
    insta::with_settings!({ omit_expression => true, prepend_module_to_snapshot => false }, {
        insta::assert_snapshot!(snapshot, told);
    });
}

fn path(text: &str) -> Path {
    Path::parse(text).unwrap()
}

#[test]
fn a_spec_with_everything_is_read_in_its_order() {
    let spec = good(GOOD);
    assert_eq!(spec.source.url, "sqlite:secret-place.db");
    assert_eq!(spec.source.shown_url, "sqlite:${LEGACY}");
    assert_eq!(spec.source.layout, LayoutSpec::Document { column: "doc".into() });
    assert_eq!(spec.target.layout, LayoutSpec::Rows { columns: vec![], residue: None });
    let names: Vec<&str> = spec.fields.iter().map(|field| field.name.as_str()).collect();
    assert_eq!(names, ["id", "email", "city", "zip", "full_name", "shout", "origin", "score", "tags", "addresses"]);
    let field = |name: &str| spec.fields.iter().find(|field| field.name == name).unwrap();
    assert_eq!(field("email").from, RuleFrom::Path(path("email")));
    assert_eq!(field("email").default, Some(Value::text("nobody@example.org")));
    assert!(field("email").unique && !field("email").required && field("id").required);
    assert_eq!((field("city").ty, &field("city").from), (FieldType::Json, &RuleFrom::Path(path("address.city"))));
    assert!(field("zip").cast);
    let RuleFrom::Sql { back, .. } = &field("full_name").from else { panic!("not sql") };
    assert_eq!(back[0].0, path("first"));
    assert_eq!(field("shout").from, RuleFrom::Sql { sql: "upper(nick)".into(), back: vec![] });
    assert_eq!(field("origin").from, RuleFrom::Constant(Value::text("legacy")));
    assert_eq!(field("score").from, RuleFrom::TargetOnly);
    let tags = field("tags").child.as_ref().unwrap();
    assert_eq!((tags.table.as_str(), tags.scalar.as_deref()), ("user_tags", Some("tag")));
    assert_eq!((tags.fields[0].name.as_str(), tags.fields[0].ty), ("tag", FieldType::Text));
    let addresses = field("addresses").child.as_ref().unwrap();
    assert_eq!(addresses.fields[1].from, RuleFrom::Path(path("no")));
    assert_eq!(spec.unmapped, Unmapped::KeepIn("rest".into()));
    assert_eq!(spec.gates, Gates { mismatches_max: 3, pause_ms_max: 250, ..Gates::default() });
    assert_eq!(spec.pace, Pace { workers: 4, duty_percent_max: 50, ..Pace::default() });
}

#[test]
fn a_source_of_rows_declares_its_columns() {
    let spec = good(ROWS);
    let LayoutSpec::Rows { columns, residue } = &spec.source.layout else { panic!("not rows") };
    assert_eq!(residue.as_deref(), Some("more"));
    assert_eq!(columns[0].ty, FieldType::Int);
    assert!(columns[1].required && columns[1].unique);
    assert_eq!(columns[3].child.as_ref().unwrap().fields[0].ty, FieldType::Text);
    assert_eq!(spec.target.layout, LayoutSpec::Document { column: "body".into() });
    assert_eq!(spec.unmapped, Unmapped::Refuse);
}

#[test]
fn what_is_left_out_has_its_default() {
    let text = ROWS.replace("[unmapped]\nrefuse = true\n", "");
    let spec = good(&text);
    assert_eq!(spec.unmapped, Unmapped::KeepIn("extra".into()));
    assert_eq!((spec.gates, spec.pace), (Gates::default(), Pace::default()));
}

#[test]
fn constants_are_exact_values_of_their_type() {
    use crate::value::{Date, Decimal, Instant, LocalTimestamp, Time};
    let cases = [
        ("int", "0x10", Value::Int(16)),
        ("int", "-9223372036854775808", Value::Int(i64::MIN)),
        ("float", "1e3", Value::Float(1000.0)),
        ("float", "-0.0", Value::Float(-0.0)),
        ("bool", "true", Value::Bool(true)),
        ("decimal", "\"-0012.340\"", {
            Value::Decimal(Decimal::Finite { negative: true, digits: vec![1, 2, 3, 4, 0], scale: 3 })
        }),
        ("decimal", "\"0.00\"", Value::Decimal(Decimal::Finite { negative: false, digits: vec![0], scale: 2 })),
        ("bytes", "\"AAEC\"", Value::Bytes(vec![0, 1, 2])),
        ("date", "1969-12-31", Value::Date(Date::Days(-1))),
        ("time", "12:30:00.25", Value::Time(Time { micros: 45_000_250_000 })),
        ("timestamp", "1970-01-02T00:00:01", Value::Local(LocalTimestamp::Micros(86_401_000_000))),
        ("instant", "1970-01-01T02:00:00+02:00", Value::Instant(Instant::Micros(0))),
        ("json", "[1, \"a\", { b = true }]", {
            let inner: crate::Document = [("b", true)].into_iter().collect();
            Value::Array(vec![Value::Int(1), Value::text("a"), Value::Document(inner)])
        }),
    ];
    for (ty, written, expected) in cases {
        let text = GOOD.replace(
            r#"origin = { value = "legacy", type = "text" }"#,
            &format!("origin = {{ value = {written}, type = \"{ty}\" }}"),
        );
        let spec = good(&text);
        let field = spec.fields.iter().find(|field| field.name == "origin").unwrap();
        assert_eq!(field.from, RuleFrom::Constant(expected), "{ty} {written}");
    }
}

#[test]
fn text_that_is_no_toml() {
    check(
        "toml",
        GOOD,
        &[
            ("an unclosed text", "kind = \"move\"", "kind = \"move"),
            ("a key twice", "kind = \"move\"", "kind = \"move\"\nkind = \"move\""),
            ("no value", "entity = \"users\"", "entity ="),
            ("two at once", "kind = \"move\"\nentity = \"users\"", "kind = move!\nentity = 'users"),
        ],
    );
}

#[test]
fn unknown_keys_say_what_was_probably_meant() {
    check(
        "unknown_key",
        GOOD,
        &[
            ("at the top", "entity = \"users\"", "entity = \"users\"\nentitty = \"users\""),
            ("in the source", "table = \"users\"", "tabel = \"users\""),
            ("columns in the target", "table = \"people\"", "table = \"people\"\ncolumns = {}"),
            ("in a field", "unique = true", "uniq = true"),
            ("in a child's field", "type = \"int\" }\n\n[unmapped]", "typ = \"int\" }\n\n[unmapped]"),
            ("in the gates", "mismatches_max", "mismatch_max"),
            ("in the pace", "workers", "threads"),
            ("in unmapped", "keep_in = \"rest\"", "keepin = \"rest\""),
        ],
    );
}

#[test]
fn values_of_the_wrong_type() {
    check(
        "type",
        GOOD,
        &[
            ("a number for a name", "migration = \"users-to-tables\"", "migration = 7"),
            ("a number in the key", "key = [\"id\"]", "key = [\"id\", 7]"),
            ("an empty key", "key = [\"id\"]", "key = []"),
            ("a boolean for the key", "key = [\"id\"]", "key = true"),
            ("a number for a field", "city = \"address.city\"", "city = 12"),
            ("a text for a flag", "unique = true", "unique = \"yes\""),
            ("a text for a number", "workers = 4", "workers = \"4\""),
            ("a path that is a list", "from = \"address.zip\"", "from = [\"address\", \"zip\"]"),
            ("an unknown field type", "type = \"int\", required", "type = \"bigint\", required"),
            ("a misspelt field type", "type = \"int\", required", "type = \"itn\", required"),
            ("no such field type", "type = \"int\", required", "type = \"polygon\", required"),
        ],
    );
}

#[test]
fn sections_that_are_no_tables() {
    let base = GOOD.replace("[unmapped]\nkeep_in = \"rest\"\n", "");
    check("type_of_section", &base, &[("a text for a section", "entity", "unmapped = \"rest\"\nentity")]);
}

#[test]
fn parts_that_are_missing() {
    check(
        "missing",
        GOOD,
        &[
            ("the migration", "migration = \"users-to-tables\"\n", ""),
            ("the kind", "kind = \"move\"\n", ""),
            ("the entity", "entity = \"users\"\n", ""),
            ("a URL", "url = \"sqlite:${LEGACY}\"\n", ""),
            ("a table", "table = \"people\"\n", ""),
            ("a key", "key = \"_id\"\n", ""),
            (
                "the rows of a child",
                "table = \"user_tags\", scalar = \"tag\", type = \"text\"",
                "table = \"user_tags\"",
            ),
            (
                "the way back",
                ", back = { first = '''split_part(full_name, ' ', 1)''', last = '''split_part(full_name, ' ', 2)''' }",
                "",
            ),
        ],
    );
    check(
        "missing_sections",
        "migration = \"m\"\nkind = \"move\"\nentity = \"e\"\n",
        &[("all sections", "kind", "kind")],
    );
    check(
        "missing_fields",
        GOOD,
        &[("an empty list of fields", &GOOD[GOOD.find("[fields]").unwrap()..], "[fields]\n")],
    );
    check(
        "missing_columns",
        ROWS,
        &[(
            "a source of rows without columns",
            &ROWS[ROWS.find("residue").unwrap()..ROWS.find("[target]").unwrap()],
            "layout = \"rows\"\n",
        )],
    );
}

#[test]
fn names_that_cannot_be() {
    let long = format!("{} = \"address.city\"", "x".repeat(64));
    check(
        "name",
        GOOD,
        &[
            ("a migration with capitals", "users-to-tables", "Users to tables"),
            ("an entity that is a path", "entity = \"users\"", "entity = \"users/all\""),
            ("an empty table", "table = \"people\"", "table = \"\""),
            ("a control character", "table = \"people\"", "table = \"peo\\u0007ple\""),
            ("longer than stores take", "city = \"address.city\"", &long),
            ("a table of ours", "table = \"people\"", "table = \"_Shearwater_people\""),
            ("a field of ours", "city = \"address.city\"", "\"@fix\" = \"address.city\""),
            ("a column of ours in a child", "street = \"street\"", "id = \"street\""),
            ("a key column of ours in a child", "scalar = \"tag\"", "scalar = \"record_id\""),
        ],
    );
}

#[test]
fn names_that_stand_twice() {
    check(
        "duplicate",
        GOOD,
        &[
            ("a field in other letter case", "city = \"address.city\"", "city = \"address.city\"\nCity = \"x\""),
            ("a key field", "key = [\"id\"]", "key = [\"id\", \"id\"]"),
            ("the residue and a field", "keep_in = \"rest\"", "keep_in = \"email\""),
            ("the residue and a child's field", "keep_in = \"rest\"", "keep_in = \"street\""),
            ("two children in one table", "table = \"user_addresses\"", "table = \"User_Tags\""),
            ("a child in the root's table", "table = \"user_addresses\"", "table = \"people\""),
        ],
    );
    check(
        "duplicate_stores",
        ROWS,
        &[
            ("both stores the same table", "new.db", "old.db"),
            ("the same with options", "new.db", "./old.db?sync=normal"),
            ("the residue of the source", "residue = \"more\"", "residue = \"email\""),
        ],
    );
}

#[test]
fn keys_that_are_no_fields() {
    check(
        "key",
        GOOD,
        &[
            ("misspelt", "key = [\"id\"]", "key = [\"idd\"]"),
            ("nothing like it", "key = [\"id\"]", "key = [\"primary\"]"),
            ("an array", "key = [\"id\"]", "key = [\"id\", \"tags\"]"),
            ("a constant", "key = [\"id\"]", "key = [\"origin\"]"),
            ("target-only", "key = [\"id\"]", "key = [\"score\"]"),
        ],
    );
    check(
        "key_of_rows",
        ROWS,
        &[
            ("not among the source's columns", "key = \"id\"\nresidue", "key = \"uid\"\nresidue"),
            ("a field from no column", "email = { type = \"text\" }", "email = { from = \"emial\", type = \"text\" }"),
        ],
    );
}

#[test]
fn paths_that_are_none() {
    check(
        "path",
        GOOD,
        &[
            ("an empty path", "city = \"address.city\"", "city = \"\""),
            ("an open bracket", "city = \"address.city\"", "city = \"address[0\""),
            ("a dot at the end", "from = \"address.zip\"", "from = \"address.\""),
            ("in back", "back = { first =", "back = { \"first.\" ="),
        ],
    );
    check(
        "ambiguous",
        GOOD,
        &[
            ("one path for two fields", "city = \"address.city\"", "city = \"address.zip\""),
            ("a path inside another", "city = \"address.city\"", "city = \"address\""),
        ],
    );
}

#[test]
fn expressions_point_into_the_file() {
    check(
        "sql",
        GOOD,
        &[
            ("not closed", "'''upper(nick)'''", "'''upper(nick'''"),
            ("an unknown function", "'''upper(nick)'''", "'''uper(nick)'''"),
            ("a statement", "'''upper(nick)'''", "'''SELECT 1'''"),
            ("over several lines", "'''upper(nick)'''", "\"\"\"upper(\n  nick) +* 2\"\"\""),
            ("derived and with a way back", "derived = true", "derived = true, back = { nick = '''lower(shout)''' }"),
            ("a way back that gives nothing", "derived = true", "back = {}"),
            ("a way back from an unknown field", "split_part(full_name, ' ', 1)", "split_part(fullname, ' ', 1)"),
        ],
    );
}

#[test]
fn keys_that_contradict_each_other() {
    check(
        "conflict",
        GOOD,
        &[
            ("two origins", "value = \"legacy\"", "value = \"legacy\", from = \"x\""),
            ("back without sql", "{ from = \"address.zip\",", "{ derived = true, from = \"address.zip\","),
            ("scalar without a table", "table = \"user_tags\", ", ""),
            ("fields and scalar", "scalar = \"tag\"", "scalar = \"tag\", fields = { tag = \"x\" }"),
            ("a default for an array", "scalar = \"tag\"", "scalar = \"tag\", default = \"x\""),
            ("a computed array", "{ table = \"user_tags\"", "{ value = \"x\", table = \"user_tags\""),
            ("a type for an array of documents", "from = \"addresses\"", "from = \"addresses\"\ntype = \"text\""),
            ("a cast to nothing", "type = \"text\", cast = true", "cast = true"),
            ("a cast of an expression", "derived = true", "derived = true, cast = true"),
            ("a default for a constant", "value = \"legacy\"", "value = \"legacy\", default = \"x\""),
            (
                "required of nobody",
                "target_only = true, type = \"decimal\", default = \"1.10\"",
                "target_only = true, required = true",
            ),
            ("target_only = false", "target_only = true", "target_only = false"),
            ("keep and refuse", "keep_in = \"rest\"", "keep_in = \"rest\"\nrefuse = true"),
            ("refuse = false", "keep_in = \"rest\"", "refuse = false"),
            ("columns of a document", "key = \"_id\"", "key = \"_id\"\nlayout = \"document\"\nresidue = \"x\""),
            ("a document of rows", "table = \"people\"", "table = \"people\"\nlayout = \"rows\"\ndocument = \"doc\""),
            ("an unknown layout", "table = \"people\"", "table = \"people\"\nlayout = \"row\""),
            ("children in a document", "table = \"people\"", "table = \"people\"\nlayout = \"document\""),
        ],
    );
}

#[test]
fn values_that_do_not_fit() {
    let origin = r#"value = "legacy", type = "text""#;
    check(
        "value",
        GOOD,
        &[
            ("an integer for text", origin, "value = 1, type = \"text\""),
            ("an integer for a float", origin, "value = 1, type = \"float\""),
            ("a float for a decimal", origin, "value = 1.1, type = \"decimal\""),
            ("no decimal", origin, "value = \"1.x\", type = \"decimal\""),
            ("a point without digits", origin, "value = \"1.\", type = \"decimal\""),
            ("no base64", origin, "value = \"?\", type = \"bytes\""),
            ("no UUID", origin, "value = \"67e5\", type = \"uuid\""),
            ("a timestamp for an instant", origin, "value = 2026-01-31T00:00:00, type = \"instant\""),
            ("nanoseconds", origin, "value = 12:00:00.000000001, type = \"time\""),
            ("too large", origin, "value = 18446744073709551616, type = \"int\""),
            ("a default of another type", "default = \"nobody@example.org\"", "default = 3"),
        ],
    );
    check(
        "range",
        GOOD,
        &[
            ("no workers", "workers = 4", "workers = 0"),
            ("a negative number", "workers = 4", "workers = -1"),
            ("more than all of the time", "duty_percent_max = 50", "duty_percent_max = 101"),
            ("a pause of an hour", "pause_ms_max = 250", "pause_ms_max = 3_600_000"),
        ],
    );
}

#[test]
fn stores_that_cannot_be_opened() {
    check(
        "store",
        GOOD,
        &[
            ("misspelt", "sqlite:new.db", "sqlit:new.db"),
            ("no connector for it", "sqlite:new.db", "redis://localhost/app"),
            ("no scheme", "sqlite:new.db?sync=full", "new.db"),
            ("no path", "sqlite:new.db?sync=full", "sqlite:"),
            ("a variable that is not set", "${LEGACY}", "${LEGACY}${PASSWORD}"),
            ("an open variable", "${LEGACY}", "${LEGACY"),
            ("a secret with a bad scheme", "sqlite:${LEGACY}", "${LEGACY}"),
            ("another kind", "kind = \"move\"", "kind = \"require\""),
            ("no such kind", "kind = \"move\"", "kind = \"copy\""),
        ],
    );
}

#[test]
fn what_a_column_is_and_holds() {
    let email = "email = { type = \"text\", native = \"varchar(40)\", chars_max = 40, unfit = \"cut\" }";
    let at = "at = { from = \"addresses\", type = \"extended\", native = \"inet\", references = '\"odd.hosts\".at', unfit = \"null\" }";
    let text = ROWS
        .replace("id = \"int\"", "id = { type = \"int\", native = \"bigint unsigned\" }")
        .replace("[unmapped]\nrefuse = true", "[unmapped]\nkeep_in = \"more\"")
        .replace("email = { type = \"text\" }", &format!("{email}\n{at}"));
    let spec = good(&text);
    let LayoutSpec::Rows { columns, .. } = &spec.source.layout else { panic!("not rows") };
    assert_eq!(columns[0].native.as_deref(), Some("bigint unsigned"));
    let (email, at) = (&spec.fields[1], &spec.fields[2]);
    assert_eq!((email.native.as_deref(), email.chars_max), (Some("varchar(40)"), Some(40)));
    assert_eq!(email.unfit, Some(Unfit::Cut));
    assert_eq!((at.ty, at.native.as_deref(), at.unfit), (FieldType::Extended, Some("inet"), Some(Unfit::Null)));
    let reference = Reference { table: "odd.hosts".into(), column: "at".into() };
    assert_eq!(at.references, Some(reference));
}

#[test]
fn labels_of_a_type_may_hold_what_its_words_may_not() {
    for native in ["enum('PG-13','it''s; (')", "numeric(10, 2)", "\\\"odd-type\\\"[]", "app.mood", "bigint unsigned"] {
        let text = ROWS
            .replace("email = { type = \"text\" }", &format!("email = {{ type = \"text\", native = \"{native}\" }}"));
        assert_eq!(good(&text).fields[1].native.as_deref(), Some(native.replace('\\', "").as_str()));
    }
}

#[test]
fn columns_that_cannot_be_so() {
    let email = "email = { type = \"text\", unique = true, default = \"nobody@example.org\" }";
    check(
        "column",
        GOOD,
        &[
            ("a statement for a type", email, "email = { type = \"text\", native = \"text); DROP TABLE users; --\" }"),
            ("a comment in a type", email, "email = { type = \"text\", native = \"text /* x */\" }"),
            ("an open bracket", email, "email = { type = \"text\", native = \"varchar(40\" }"),
            ("an open quote", email, "email = { type = \"text\", native = \"enum('a)\" }"),
            ("an empty type", email, "email = { type = \"text\", native = \" \" }"),
            ("a number for a type", email, "email = { type = \"text\", native = 40 }"),
            ("a store's type for ours", email, "email = { type = \"inet\" }"),
            ("a constant of a store's own type", email, "email = { value = \"::1\", type = \"extended\" }"),
            ("a table alone", email, "email = { type = \"text\", references = \"people\" }"),
            ("no path", email, "email = { type = \"text\", references = \"people.\" }"),
            ("a schema too", email, "email = { type = \"text\", references = \"app.people.id\" }"),
            ("a word for nothing", email, "email = { type = \"text\", unfit = \"drop\" }"),
            ("no characters", email, "email = { type = \"text\", chars_max = 0 }"),
            ("a cut number", "score = {", "size = { type = \"int\", unfit = \"cut\" }\nscore = {"),
            ("a long number", "score = {", "size = { type = \"int\", chars_max = 4 }\nscore = {"),
            ("a computed one", "derived = true", "derived = true, unfit = \"null\""),
            ("a key", "type = \"int\", required = true", "type = \"int\", unfit = \"null\""),
            (
                "nothing keeps it",
                "keep_in = \"rest\"\n",
                "refuse = true\n[fields.more]\ntype = \"text\"\nunfit = \"cut\"\n",
            ),
            ("on an array", "from = \"addresses\"\n", "from = \"addresses\"\nunfit = \"null\"\nreferences = \"a.b\"\n"),
        ],
    );
}

#[test]
fn what_cannot_belong_together() {
    let email = "email = { type = \"text\", unique = true, default = \"nobody@example.org\" }";
    let table = "table = \"people\"";
    let with = |line: &str| format!("{table}\n{line}");
    let lines = [
        ("no list", "unique_together = \"email\""),
        ("one column", "unique_together = [[\"email\"]]"),
        ("an unknown column", "unique_together = [[\"email\", \"emial\"]]"),
        ("half a foreign key", "foreign_keys = [{ columns = [\"email\", \"score\"], table = \"others\" }]"),
        (
            "two columns to three",
            "foreign_keys = [{ columns = [\"email\", \"score\"], table = \"o\", references = [\"a\", \"b\", \"c\"] }]",
        ),
    ]
    .map(|(name, line)| (name, with(line)));
    let mut cases: Vec<(&str, &str, &str)> = lines.iter().map(|(name, line)| (*name, table, line.as_str())).collect();
    cases.extend([
        ("numbers that are no key", email, "email = { type = \"int\", identity = true }"),
        ("a default of another type", email, "email = { type = \"text\", column_default = 3 }"),
        ("a text that is now", email, "email = { type = \"date\", column_default = \"now\" }"),
    ]);
    check("together", GOOD, &cases);
}

#[test]
fn every_problem_is_told_at_once() {
    let text = GOOD
        .replace("kind = \"move\"", "kind = \"mvoe\"")
        .replace("table = \"people\"", "tabel = \"people\"")
        .replace("type = \"int\", required", "type = \"integer\", required")
        .replace("workers = 4", "workers = 0");
    let problems = parse(&text, &environment).unwrap_err();
    let codes: Vec<&str> = problems.iter().map(|problem| problem.code).collect();
    assert_eq!(
        codes,
        ["spec/kind", "spec/missing", "spec/unknown-key", "spec/field-type", "spec/range"],
        "in the order of the text"
    );
}

#[test]
fn colours_add_nothing_that_plain_text_does_not_say() {
    let text = GOOD.replace("workers", "wrokers");
    let problems = parse(&text, &environment).unwrap_err();
    let coloured = render_problems_in(Colour::Ansi, "spec.toml", &text, &problems);
    assert!(coloured.contains('\u{1b}'));
    let mut plain = String::new();
    let mut escaped = false;
    for c in coloured.chars() {
        match (escaped, c) {
            (false, '\u{1b}') => escaped = true,
            (false, c) => plain.push(c),
            (true, 'm') => escaped = false,
            (true, _) => {}
        }
    }
    assert_eq!(plain, render_problems("spec.toml", &text, &problems));
}

#[test]
fn a_place_can_be_found_later() {
    let at = |keys: &[&str]| {
        let (start, end) = locate(GOOD, keys);
        &GOOD[start..end]
    };
    assert_eq!(at(&["target", "table"]), "\"people\"");
    assert_eq!(at(&["fields", "zip", "type"]), "\"text\"");
    assert_eq!(at(&["target", "nothing"]), "target");
    assert_eq!(at(&["nothing"]), "");
}

#[test]
fn did_you_mean_takes_what_is_close_only() {
    for (found, known, expected) in [
        ("tabel", vec!["table", "key"], Some("table")),
        ("TABLE", vec!["table"], Some("table")),
        ("kye", vec!["table", "key"], Some("key")),
        ("url", vec!["table", "key"], None),
        ("polygon", vec!["int", "text"], None),
    ] {
        assert_eq!(did_you_mean(found, &known), expected, "{found}");
    }
}

#[test]
fn the_schema_knows_every_key_that_the_reader_knows() {
    let schema = json_schema().to_string();
    for key in [
        "migration",
        "kind",
        "entity",
        "url",
        "table",
        "key",
        "layout",
        "document",
        "columns",
        "residue",
        "from",
        "sql",
        "back",
        "derived",
        "value",
        "target_only",
        "type",
        "cast",
        "required",
        "unique",
        "default",
        "native",
        "references",
        "unfit",
        "chars_max",
        "fields",
        "scalar",
        "keep_in",
        "refuse",
        "mismatches_max",
        "pause_ms_max",
        "shadow_reads_min",
        "backlog_max",
        "workers",
        "chunk_ms_target",
        "foreground_ms_max",
        "duty_percent_max",
        "lock_waits_max",
        "replica_lag_ms_max",
    ] {
        assert!(schema.contains(&format!("\"{key}\":")), "{key} is not in the schema");
    }
}

/// Broken texts of every sort must give problems inside the text, never a panic.
#[test]
fn any_cut_of_a_spec_gives_problems_in_their_place() {
    for base in [GOOD, ROWS] {
        for end in (0..base.len()).filter(|end| base.is_char_boundary(*end)) {
            let text = &base[..end];
            if let Err(problems) = parse(text, &environment) {
                assert!(!problems.is_empty());
                assert!(problems.iter().all(|problem| problem.span.0 <= problem.span.1 && problem.span.1 <= end));
                render_problems("spec.toml", text, &problems);
            }
        }
    }
}
