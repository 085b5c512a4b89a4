//! Proposed specs by example, each of which must be read and compiled; and the
//! order of tables.

use super::*;
use crate::mapping::Mapping;
use crate::shape::FieldType;
use crate::spec::{FieldRule, Spec, Unmapped, parse_move};
use crate::store::{Bounds, Estimate, ForeignKey, Form, InspectedColumn, InspectedTable};

fn column(name: &str, declared: &str, ty: FieldType) -> InspectedColumn {
    InspectedColumn { name: name.into(), declared: declared.into(), ty: Some(ty), ..InspectedColumn::default() }
}

fn nullable(column: InspectedColumn) -> InspectedColumn {
    InspectedColumn { nullable: true, ..column }
}

fn refers(column: &str, table: &str, other: &str) -> ForeignKey {
    ForeignKey {
        columns: vec![column.into()],
        table: table.into(),
        references: vec![other.into()],
        ..ForeignKey::default()
    }
}

/// A table with every oddity once.
fn film() -> InspectedTable {
    InspectedTable {
        form: Form::Columns,
        name: "film".into(),
        columns: vec![
            InspectedColumn { identity: true, ..column("film_id", "integer", FieldType::Int) },
            column("title", "character varying(255)", FieldType::Text),
            nullable(column("odd \"name\".x", "text", FieldType::Text)),
            nullable(InspectedColumn { default: Some("'G'".into()), ..column("rating", "rating", FieldType::Text) }),
            nullable(column("fulltext", "tsvector", FieldType::Extended)),
            column("language_id", "smallint", FieldType::Int),
            nullable(column("original_id", "smallint", FieldType::Int)),
            InspectedColumn { generated: true, ..column("length_h", "integer", FieldType::Int) },
            nullable(InspectedColumn {
                collation: Some("NOCASE".into()),
                folds: true,
                ..column("slug", "text", FieldType::Text)
            }),
        ],
        key: vec!["film_id".into()],
        unique: vec![vec!["slug".into()], vec!["title".into(), "rating".into()]],
        foreign_keys: vec![
            ForeignKey { cascades: true, ..refers("language_id", "language", "language_id") },
            refers("original_id", "elsewhere", "id"),
            ForeignKey { columns: vec!["title".into(), "rating".into()], ..refers("title", "titles", "t") },
        ],
        hazards: vec!["table \"film\": the trigger \"x\" also runs".into()],
        estimate: Estimate { records: 1_000, exact: false, bytes: 0 },
    }
}

fn proposed(table: &InspectedTable, target: Option<&InspectedTable>) -> String {
    let native = |column: &InspectedColumn| column.bounds.chars_max.map(|n| format!("varchar({n})"));
    let proposal = Proposal {
        migration: "film-move".into(),
        entity: "film".into(),
        source_url: "sqlite:old.db".into(),
        key: table.key.clone(),
        target_url: "sqlite:new.db".into(),
        target_form: Form::Columns,
        target_table: target.map_or(&table.name, |target| &target.name).clone(),
        target,
        native: &native,
        other: &|table, column| (table == "language").then(|| [table.to_owned(), column.to_owned()]),
    };
    propose(table, &proposal)
}

fn read(text: &str) -> Spec {
    let spec = parse_move(text, &|_| None).unwrap_or_else(|problems| panic!("{problems:?}\n{text}"));
    Mapping::compile(&spec).unwrap();
    spec
}

fn rule<'s>(spec: &'s Spec, name: &str) -> &'s FieldRule {
    spec.fields.iter().find(|field| field.name == name).unwrap()
}

#[test]
fn a_table_with_every_oddity() {
    let mut film = film();
    film.columns[1].bounds = Bounds { chars_max: Some(255), ..Bounds::default() };
    let text = proposed(&film, None);
    read(&text);
    insta::with_settings!({ omit_expression => true, prepend_module_to_snapshot => false }, {
        insta::assert_snapshot!("film", text);
    });
}

#[test]
fn keys_of_several_columns() {
    let mut table = film();
    table.key = vec!["language_id".into(), "film_id".into()];
    let spec = read(&proposed(&table, None));
    assert_eq!((&spec.source.key, &spec.target.key), (&table.key, &table.key));
    assert!(!rule(&spec, "film_id").required, "a key is required anyway");
    assert!(rule(&spec, "title").required && !rule(&spec, "slug").required);
    assert!(rule(&spec, "slug").unique && !rule(&spec, "title").unique);
}

#[test]
fn a_target_that_is_there_already() {
    let mut target = InspectedTable { name: "Films".into(), ..InspectedTable::default() };
    target.columns = vec![
        column("FilmId", "bigint", FieldType::Int),
        column("TITLE", "text", FieldType::Text),
        column("rating", "text", FieldType::Text),
        column("Fulltext", "text", FieldType::Text),
        nullable(column("language_id", "text", FieldType::Text)),
        column("Slug", "text", FieldType::Text),
    ];
    let text = proposed(&film(), Some(&target));
    let spec = read(&text);
    assert_eq!((spec.target.table.as_str(), &spec.target.key[..]), ("Films", &["FilmId".to_owned()][..]));
    let title = rule(&spec, "TITLE");
    assert!(title.required && title.native.is_none() && title.references.is_none());
    let language = rule(&spec, "language_id");
    assert!(language.cast && language.ty == FieldType::Text, "smallint in the source, text in the target");
    assert_eq!(spec.unmapped, Unmapped::KeepIn("extra".into()), "so that the number comes back");
    assert!(text.contains("no column for original_id"), "{text}");
    assert!(!rule(&spec, "Slug").unique, "the table says so itself");
}

#[test]
fn a_column_that_nothing_reads_is_named() {
    let mut table = film();
    table.columns[1].ty = None;
    let text = proposed(&table, None);
    read(&text);
    assert!(text.contains("# character varying(255): nothing reads all of its values exactly"), "{text}");
}

#[test]
fn whatever_a_store_says_stays_a_comment() {
    let mut table = film();
    table.columns[3].default = Some("'a\nmigration = \"x\"'".into());
    table.columns[3].declared = "enum('a\r\n')".into();
    table.hazards.push("a\nb".into());
    assert_eq!(read(&proposed(&table, None)).migration, "film-move");
}

/// Tables as `name: others that they refer to`.
fn check_order(tables: &[&str], order: &[&str], circles: &[&[&str]]) {
    let tables: Vec<InspectedTable> = tables
        .iter()
        .map(|line| {
            let (name, others) = line.split_once(':').unwrap();
            let foreign_keys = others.split_whitespace().map(|other| refers("x", other, "id")).collect();
            InspectedTable { name: name.into(), foreign_keys, ..InspectedTable::default() }
        })
        .collect();
    let all: Vec<&InspectedTable> = tables.iter().collect();
    let found = in_order(&all);
    let names: Vec<&str> = found.places.iter().map(|place| tables[*place].name.as_str()).collect();
    assert_eq!(names, order, "{tables:?}");
    assert_eq!(found.circles, circles, "{tables:?}");
}

#[test]
fn tables_stand_behind_those_that_they_refer_to() {
    check_order(&["a:", "b:"], &["a", "b"], &[]);
    check_order(&["a:b", "b:"], &["b", "a"], &[]);
    check_order(
        &["track:album genre", "album:artist", "genre:", "artist:"],
        &["genre", "artist", "album", "track"],
        &[],
    );
    check_order(&["employee:employee", "a:EMPLOYEE"], &["employee", "a"], &[]);
    check_order(&["a:elsewhere"], &["a"], &[]);
    check_order(
        &["staff:store", "store:staff", "address:", "rental:staff"],
        &["address", "staff", "store", "rental"],
        &[&["staff", "store"]],
    );
    check_order(&["z:b", "b:c", "c:d", "d:b"], &["b", "z", "d", "c"], &[&["b", "c", "d"]]);
    check_order(&["a:b", "b:a", "c:d", "d:c"], &["a", "b", "c", "d"], &[&["a", "b"], &["c", "d"]]);
}

#[test]
fn columns_that_belong_together_are_made_for_the_target() {
    let mut table = film();
    table.foreign_keys.push(ForeignKey {
        columns: vec!["title".into(), "language_id".into()],
        references: vec!["name".into(), "language_id".into()],
        ..refers("title", "language", "name")
    });
    let spec = read(&proposed(&table, None));
    let together = &spec.target.together;
    assert_eq!(together.unique, [["title", "rating"]]);
    let key = crate::shape::References {
        columns: vec!["title".into(), "language_id".into()],
        table: "language".into(),
        others: vec!["name".into(), "language_id".into()],
    };
    assert_eq!(together.foreign_keys, std::slice::from_ref(&key));
    let omitted = crate::shape::WhenOmitted::Value("G".into());
    assert_eq!(rule(&spec, "rating").when_omitted, Some(omitted.clone()));
    assert!(rule(&spec, "film_id").identity);
    let crate::shape::Layout::Rows(shape) = Mapping::compile(&spec).unwrap().target().clone() else { panic!() };
    assert_eq!(shape.extras.identity.as_deref(), Some("film_id"));
    assert_eq!((shape.extras.defaults, shape.extras.foreign_keys), (vec![("rating".to_owned(), omitted)], vec![key]));
    // A table that is there keeps what it has.
    let existing = read(&proposed(&table, Some(&film())));
    assert_eq!(existing.target.together.unique, Vec::<Vec<String>>::new());
    assert!(existing.fields.iter().all(|field| !field.identity && field.when_omitted.is_none()));
}
