//! The law over every record of every real data set, with rules as a person would write them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod real;

use real::Set;
use shearwater_core::mapping::Mapping;
use shearwater_core::spec;
use shearwater_core::store::{Image, Side};
use shearwater_core::value::Value;

fn mapping(key: &str, target_key: &str, fields: &str) -> Mapping {
    let quoted = |key: &str| format!("{:?}", key.split(',').collect::<Vec<_>>());
    let (key, target_key) = (quoted(key), quoted(target_key));
    let text = format!(
        "migration = \"m\"\nkind = \"move\"\nentity = \"e\"\n\
         [source]\nurl = \"sqlite:a.db\"\ntable = \"t\"\nkey = {key}\n\
         [target]\nurl = \"sqlite:b.db\"\ntable = \"t\"\nkey = {target_key}\n\
         [fields]\n{fields}\n[unmapped]\nkeep_in = \"extra\"\n"
    );
    let spec = spec::parse_move(&text, &|_| None)
        .unwrap_or_else(|problems| panic!("{}", spec::render_problems("spec.toml", &text, &problems)));
    Mapping::compile(&spec).unwrap()
}

/// Checks the law for every record, and for its key. Returns how many needed a residue.
fn check(set: &Set, target_key: &str, fields: &str) -> usize {
    let mapping = mapping(set.key, target_key, fields);
    let mut residues = 0;
    for record in &set.records {
        let v1 = Image::of(record.clone());
        let v2 = mapping.forward(&v1).unwrap_or_else(|error| panic!("{}: {error}", set.name));
        assert_eq!(mapping.reverse(&v2).unwrap(), v1, "{}", set.name);
        let (v1_key, v2_key) = (mapping.key_of(Side::Source, &v1).unwrap(), mapping.key_of(Side::Target, &v2).unwrap());
        assert_eq!(mapping.key_forward(&v1_key).unwrap(), v2_key);
        assert_eq!(mapping.key_reverse(&v2_key).unwrap(), v1_key);
        let in_elements = v2.record.iter().any(|(_, value)| match value {
            Value::Array(rows) => rows.iter().any(|row| matches!(row, Value::Document(row) if row.contains("extra"))),
            _ => false,
        });
        residues += usize::from(v2.record.contains("extra") || in_elements);
    }
    residues
}

#[test]
fn books_with_two_child_tables() {
    let fields = r#"
        id = { from = "_id", type = "text", cast = true, required = true }
        title = { type = "text" }
        isbn = { type = "text" }
        page_count = { from = "pageCount", type = "int" }
        published = { from = "publishedDate", type = "instant" }
        thumbnail = { from = "thumbnailUrl", type = "text" }
        summary = { from = "shortDescription", type = "text" }
        description = { from = "longDescription", type = "text" }
        status = { type = "text" }
        authors = { table = "book_authors", scalar = "author", type = "text" }
        categories = { table = "book_categories", scalar = "category", type = "text" }
    "#;
    assert_eq!(check(&real::books(), "id", fields), 0);
}

#[test]
fn students_scores_are_exact() {
    let fields = r#"
        id = { from = "_id", type = "int", required = true }
        name = { type = "text" }
        scores = { table = "scores", fields = { score = { type = "float" }, type = { type = "text" } } }
    "#;
    assert_eq!(check(&real::students(), "id", fields), 0);
}

#[test]
fn restaurants_positions_and_grades() {
    let fields = r#"
        id = { from = "_id", type = "int", required = true }
        building = { from = "address.building", type = "text" }
        longitude = { from = "address.coord[0]", type = "float" }
        latitude = { from = "address.coord[1]", type = "float" }
        street = { from = "address.street", type = "text" }
        zip = { from = "address.zipcode", type = "text" }
        borough = { type = "text" }
        cuisine = { type = "text" }
        grades = { table = "grades", fields = { date = { type = "instant" }, grade = { type = "text" }, score = { type = "int" } } }
        name = { type = "text" }
        restaurant = { from = "restaurant_id", type = "text" }
    "#;
    let residues = check(&real::restaurants(), "id", fields);
    assert!(residues >= 1, "the floor of file 5 has no rule");
}

#[test]
fn earthquakes_times_and_magnitudes() {
    let fields = r#"
        id = { type = "text", required = true }
        magnitude = { from = "properties.mag", type = "float", cast = true }
        place = { from = "properties.place", type = "text" }
        at = { sql = '''from_epoch_ms(properties.time)''', back = { "properties.time" = '''to_epoch_ms(at)''' }, type = "instant" }
        felt = { from = "properties.felt", type = "int" }
        longitude = { from = "geometry.coordinates[0]", type = "float", cast = true }
        latitude = { from = "geometry.coordinates[1]", type = "float", cast = true }
        depth = { from = "geometry.coordinates[2]", type = "float", cast = true }
    "#;
    check(&real::earthquakes(), "id", fields);
}

#[test]
fn sparse_documents_keep_their_empty_ones() {
    let fields = r#"
        id = { from = "_id", type = "int", required = true }
        line = { type = "int" }
        node = { type = "text" }
        cleaned = { type = "bool" }
        status = { type = "int" }
        age = { type = "float", cast = true }
        tags = { from = "array", table = "tags", scalar = "item", type = "json" }
    "#;
    check(&real::pg_jsonb(), "id", fields);
}

#[test]
fn albums_and_images() {
    let images = r#"
        id = { from = "_id", type = "int", required = true }
        height = { type = "int" }
        width = { type = "int" }
        tags = { table = "image_tags", scalar = "tag", type = "text" }
    "#;
    assert_eq!(check(&real::images(), "id", images), 0);
    let albums = r#"
        id = { from = "_id", type = "int", required = true }
        images = { table = "album_images", scalar = "image", type = "int" }
    "#;
    assert_eq!(check(&real::albums(), "id", albums), 0);
}

#[test]
fn several_entities_in_one_table() {
    let fields = r#"
        pk = { from = "PK", type = "text", required = true }
        sk = { from = "SK", type = "text", required = true }
        name = { type = "text" }
        followers = { from = "\"follower#\"", type = "int", cast = true }
    "#;
    check(&real::dynamodb(), "pk,sk", fields);
}
