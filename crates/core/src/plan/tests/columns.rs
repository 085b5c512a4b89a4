//! Columns of tables against columns of tables: types, bounds, what a store
//! fills in by itself.

use super::*;
use crate::store::{Bounds, Declarations};

const ROWS: &str = r#"migration = "m"
kind = "move"
entity = "items"
[source]
url = "sqlite:old.db"
table = "items"
key = "id"
[source.columns]
id = "int"
v = "text"
[target]
url = "sqlite:new.db"
table = "items"
key = "id"
[fields]
id = { type = "int" }
v = { type = "text" }
[unmapped]
keep_in = "extra"
"#;

/// A column of a type, in the store's words and in ours.
fn of(declared: &str, ty: impl Into<Option<FieldType>>, bounds: Bounds) -> InspectedColumn {
    InspectedColumn { declared: declared.into(), ty: ty.into(), bounds, ..column("v") }
}

fn text(bounds: Bounds) -> InspectedColumn {
    of("text", FieldType::Text, bounds)
}

fn items(v: InspectedColumn) -> Inspection {
    let mut items = table("items", &["id"], &["id"], 0);
    items.columns.push(v);
    store(vec![items])
}

fn with_extra(mut look: Inspection) -> Inspection {
    look.tables[0].columns.push(column("extra"));
    look
}

/// The spec with `v` of this type on both sides.
fn of_type(ty: FieldType) -> String {
    ROWS.replace("\"text\"", &format!("\"{}\"", ty.name()))
}

/// The findings about `v`, moved as a type from one column to the other.
fn moved(ty: FieldType, source: InspectedColumn, target: InspectedColumn) -> Vec<String> {
    let spec = of_type(ty);
    found(&spec, &items(source), Some(&with_extra(items(target))))
}

/// What is found when the source has no bounds and the target these, and the other way round.
fn bounded(ty: FieldType, source: Bounds, target: Bounds) -> Vec<String> {
    moved(ty, of("old", ty, source), of("new", ty, target))
}

#[test]
fn a_field_must_be_of_the_columns_type() {
    use FieldType::*;
    let free = Bounds::default;
    let to = |ty, column| moved(ty, of("x", ty, free()), of("y", column, free()));
    let nothing: Vec<String> = vec![];
    assert_eq!(to(Text, Text), nothing);
    assert_eq!(to(Timestamp, Text), nothing, "as core prints it");
    assert_eq!(to(Int, Decimal), nothing);
    assert_eq!(to(Extended, Json), nothing, "with its tag");
    assert_eq!(to(Extended, Date), ["hazard plan/type"], "what a store's own calendar has beyond ours");
    assert_eq!(to(Decimal, Float), ["hazard plan/type"]);
    assert_eq!(to(Bool, Int), ["hazard plan/type"]);
    assert_eq!(to(Text, Int), ["problem plan/type"]);
    assert_eq!(to(Bytes, Text), ["problem plan/type"]);
    assert_eq!(to(Instant, Timestamp), ["problem plan/type"]);
    assert_eq!(moved(Text, of("odd", None, free()), text(free())), ["problem plan/type"]);
    assert_eq!(moved(Text, text(free()), of("odd", None, free())), ["problem plan/type"]);
    assert_eq!(moved(Int, text(free()), of("int", Int, free())), ["problem plan/type"], "the source's own");
}

#[test]
fn what_the_target_does_not_hold_is_told() {
    use FieldType::*;
    let chars = |n| Bounds { chars_max: Some(n), ..Bounds::default() };
    let bytes = |n| Bounds { bytes_max: Some(n), ..Bounds::default() };
    let digits = |d, s| Bounds { digits: Some((d, s)), ..Bounds::default() };
    let ints = |low, high| Bounds { integers: Some((low, high)), ..Bounds::default() };
    let fraction = |n| Bounds { fraction_digits: Some(n), ..Bounds::default() };
    let labels = |l: &[&str]| Bounds { labels: Some(l.iter().map(|l| (*l).to_owned()).collect()), ..Bounds::default() };
    let int4 = || ints(i64::from(i32::MIN), i32::MAX as u64);
    let nothing: Vec<String> = vec![];
    let free = Bounds::default;
    for (reason, ty, source, target, expect) in [
        ("a text of any length", Text, free(), chars(40), "hazard plan/length"),
        ("a longer text", Text, chars(41), chars(40), "hazard plan/length"),
        ("as long", Text, chars(40), chars(40), ""),
        ("shorter", Text, chars(39), chars(40), ""),
        ("bytes that all characters fit in", Text, chars(10), bytes(40), ""),
        ("bytes that they may not fit in", Text, chars(11), bytes(40), "hazard plan/length"),
        ("a longer blob", Bytes, free(), bytes(255), "hazard plan/length"),
        ("any precision", Decimal, free(), digits(10, 2), "hazard plan/precision"),
        ("more digits before the point", Decimal, digits(12, 2), digits(10, 2), "hazard plan/precision"),
        ("more digits after it", Decimal, digits(10, 3), digits(10, 2), "hazard plan/precision"),
        ("fewer of both", Decimal, digits(5, 1), digits(10, 2), ""),
        ("integers as decimals", Int, int4(), digits(9, 0), "hazard plan/precision"),
        ("integers as longer decimals", Int, int4(), digits(10, 0), ""),
        ("any integer", Int, free(), int4(), "hazard plan/range"),
        ("unsigned", Int, ints(0, u32::MAX.into()), int4(), "hazard plan/range"),
        ("smaller", Int, ints(0, 255), int4(), ""),
        ("decimals as integers", Int, digits(10, 0), int4(), "hazard plan/range"),
        ("microseconds", Timestamp, free(), fraction(3), "hazard plan/fraction"),
        ("milliseconds", Timestamp, fraction(3), fraction(3), ""),
        ("any label", Text, free(), labels(&["a"]), "hazard plan/labels"),
        ("a label more", Text, labels(&["a", "b"]), labels(&["b", "c"]), "hazard plan/labels"),
        ("a label less", Text, labels(&["b"]), labels(&["b", "c"]), ""),
    ] {
        let expect: Vec<String> = [expect.to_owned()].into_iter().filter(|e| !e.is_empty()).collect();
        assert_eq!(bounded(ty, source, target), expect, "{reason}");
    }
    let refuses = || Bounds { refuses_nul: true, ..Bounds::default() };
    assert_eq!(bounded(Text, free(), refuses()), ["hazard plan/nul"]);
    assert_eq!(bounded(Text, refuses(), refuses()), nothing);
    let latin = || Bounds { charset: Some("iso-8859-1".into()), ..Bounds::default() };
    assert_eq!(bounded(Text, free(), latin()), ["hazard plan/charset"]);
    assert_eq!(bounded(Text, latin(), latin()), nothing);
    assert_eq!(bounded(Text, latin(), free()), nothing);
}

#[test]
fn a_choice_in_the_spec_ends_the_finding() {
    let target = with_extra(items(text(Bounds { chars_max: Some(3), refuses_nul: true, ..Bounds::default() })));
    let with = |rule: &str| {
        let spec = ROWS.replace("v = { type = \"text\" }", rule);
        found(&spec, &items(text(Bounds::default())), Some(&target))
    };
    let text = "from = \"v\", type = \"text\"";
    assert_eq!(with(&format!("v = {{ {text} }}")), ["hazard plan/length", "hazard plan/nul"]);
    assert_eq!(with(&format!("v = {{ {text}, unfit = \"cut\" }}")), ["hazard plan/length"]);
    assert_eq!(with(&format!("v = {{ {text}, unfit = \"null\", chars_max = 3 }}")), Vec::<String>::new());
}

#[test]
fn bounds_of_a_table_that_the_start_makes() {
    let source = items(text(Bounds::default()));
    let mut target = store(vec![]);
    let native = |native: &str| {
        let rule = format!("v = {{ from = \"v\", type = \"text\", native = \"{native}\" }}");
        ROWS.replace("v = { type = \"text\" }", &rule)
    };
    assert_eq!(found(&native("text"), &source, Some(&target)), Vec::<String>::new());
    assert_eq!(found(&native("varchar(40)"), &source, Some(&target)), ["hazard plan/length"]);
    target.declarations = Declarations::Hint;
    assert_eq!(found(&native("varchar(40)"), &source, Some(&target)), Vec::<String>::new(), "words alone bind nothing");
    assert_eq!(found(&native("varchar(40)"), &source, None), Vec::<String>::new());
    target.text.refuses_nul = true;
    assert_eq!(found(ROWS, &source, Some(&target)), ["hazard plan/nul"]);
    for (native, expect) in [
        ("numeric(10,2)", Bounds { digits: Some((10, 2)), ..Bounds::default() }),
        ("DECIMAL(5)", Bounds { digits: Some((5, 0)), ..Bounds::default() }),
        ("character varying(7)", Bounds { chars_max: Some(7), ..Bounds::default() }),
        ("int", Bounds { integers: Some((-2_147_483_648, 2_147_483_647)), ..Bounds::default() }),
        ("int(10) unsigned", Bounds { integers: Some((0, 4_294_967_295)), ..Bounds::default() }),
        ("bigint", Bounds { integers: Some((i64::MIN, i64::MAX as u64)), ..Bounds::default() }),
        ("tinyint", Bounds { integers: Some((-128, 127)), ..Bounds::default() }),
        ("timestamptz", Bounds::default()),
    ] {
        assert_eq!(bounds::of_native(native), expect, "{native}");
    }
}

#[test]
fn columns_that_take_no_null() {
    let strict = || InspectedColumn { nullable: false, ..text(Bounds::default()) };
    let free = || text(Bounds::default());
    assert_eq!(moved(FieldType::Text, free(), strict()), ["hazard plan/nullable"]);
    let filled = InspectedColumn { default: Some("''".into()), ..strict() };
    assert_eq!(moved(FieldType::Text, free(), filled), Vec::<String>::new());
    assert_eq!(moved(FieldType::Text, strict(), free()), ["hazard plan/null-back"]);
}

#[test]
fn what_a_store_fills_in_by_itself() {
    let computed = || InspectedColumn { generated: true, ..text(Bounds::default()) };
    let free = || text(Bounds::default());
    assert_eq!(moved(FieldType::Text, computed(), free()), ["problem plan/generated"]);
    assert_eq!(moved(FieldType::Text, free(), computed()), ["problem plan/generated"]);
    let mut source = items(free());
    source.tables[0].columns.push(InspectedColumn { name: "w".into(), ..computed() });
    let target = with_extra(items(free()));
    assert_eq!(found(ROWS, &source, Some(&target)), Vec::<String>::new(), "it is left out, and nothing is lost");
    let mut numbered = target;
    numbered.tables[0].columns[0].identity = true;
    assert_eq!(found(ROWS, &items(free()), Some(&numbered)), Vec::<String>::new());
    numbered.tables[0].columns[0].renumber = Some("SELECT setval('items_id_seq', 7)".into());
    assert_eq!(found(ROWS, &items(free()), Some(&numbered)), ["hazard plan/identity"]);
    let (spec, mapping) = compiled(ROWS);
    let look = items(free());
    let sample = Sample::new(&spec, &mapping, &look, Some(&numbered));
    let plan = plan(&spec, &mapping, &look, Some(&numbered), &sample, None);
    let told = plan.findings.iter().find(|finding| finding.code == "plan/identity").unwrap();
    assert!(told.hint.as_ref().unwrap().ends_with("SELECT setval('items_id_seq', 7)"), "the statement: {told:?}");
}

/// What becomes of a value in a column of these bounds: why it is refused.
fn misfit(ty: FieldType, bounds: Bounds, value: Value) -> Option<String> {
    let (spec, mapping) = compiled(&of_type(ty));
    let (source, target) = (items(of("x", ty, Bounds::default())), with_extra(items(of("y", ty, bounds))));
    let mut sample = Sample::new(&spec, &mapping, &source, Some(&target));
    let record: Document = [("id", Value::Int(1)), ("v", value)].into_iter().collect();
    sample.add(&mapping, &Image::of(record));
    sample.refused.first().map(|refused| {
        assert_eq!((refused.code.as_str(), refused.path.as_str()), ("plan/limit", "v"), "{refused:?}");
        refused.message.clone()
    })
}

#[test]
fn records_that_do_not_fit_are_found_in_the_sample() {
    use FieldType::*;
    let short = || Bounds { chars_max: Some(3), ..Bounds::default() };
    assert_eq!(misfit(Text, short(), "äöü".into()), None);
    let why = misfit(Text, short(), "äöüß".into()).unwrap();
    assert!(why.contains("more than 3 characters") && !why.contains("äöüß"), "{why}");
    let money = || Bounds { digits: Some((5, 2)), ..Bounds::default() };
    let number = |text: &str| Value::Decimal(text.parse().unwrap());
    for (value, fits) in [("999.99", true), ("-999.99", true), ("1.10", true), ("1.1000", true), ("0", true)] {
        assert_eq!(misfit(Decimal, money(), number(value)).is_none(), fits, "{value}");
    }
    for value in ["1000", "0.001", "NaN", "12345.6"] {
        assert!(misfit(Decimal, money(), number(value)).is_some(), "{value}");
    }
    let int2 = || Bounds { integers: Some((-32_768, 32_767)), ..Bounds::default() };
    assert_eq!(misfit(Int, int2(), Value::Int(-32_768)), None);
    assert!(misfit(Int, int2(), Value::Int(32_768)).is_some());
    assert!(misfit(Int, int2(), Value::from_u64(u64::MAX)).is_some());
    let labels = || Bounds { labels: Some(vec!["G".into(), "PG".into()]), ..Bounds::default() };
    assert_eq!(misfit(Text, labels(), "PG".into()), None);
    assert!(misfit(Text, labels(), "pg".into()).is_some());
    let no_nul = || Bounds { refuses_nul: true, ..Bounds::default() };
    assert!(misfit(Text, no_nul(), "a\0".into()).is_some());
    let seconds = || Bounds { fraction_digits: Some(0), ..Bounds::default() };
    assert_eq!(misfit(Time, seconds(), Value::Time("10:00:01".parse().unwrap())), None);
    assert!(misfit(Time, seconds(), Value::Time("10:00:01.5".parse().unwrap())).is_some());
    let bytes = || Bounds { bytes_max: Some(1), ..Bounds::default() };
    assert!(misfit(Bytes, bytes(), Value::Bytes(vec![1, 2])).is_some());
    for (charset, fits, too_far) in [("ascii", "a", "é"), ("iso-8859-1", "é", "€"), ("utf8mb3", "€", "😀")] {
        let within = || Bounds { charset: Some(charset.into()), ..Bounds::default() };
        assert_eq!(misfit(Text, within(), fits.into()), None, "{charset}");
        assert!(misfit(Text, within(), too_far.into()).is_some(), "{charset}");
    }
}
