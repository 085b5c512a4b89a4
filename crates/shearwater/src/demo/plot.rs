//! What the demo is played with: the spec, and the places of the two stores.

use std::path::Path;

use shearwater_core::shape::FieldType;
use shearwater_core::store::Form;
use shearwater_stores::{form, has_type};

/// The spec as users can read it; the demo's differs in the places of the two
/// stores and in its gate on the pause.
pub const SPEC: &str = include_str!("../../../../examples/users-move.toml");

/// The variable that holds the source's URL, for the command line and in the spec.
pub const SOURCE_VARIABLE: &str = "SHEARWATER_DEMO_SOURCE";

/// The variable that holds the target's URL.
pub const TARGET_VARIABLE: &str = "SHEARWATER_DEMO_TARGET";

/// Where a store is.
#[derive(Clone)]
pub struct Place {
    /// Its URL.
    pub url: String,
    /// How the spec writes it. A URL that was given may hold a password, so
    /// the spec, which goes into the journal, only refers to it.
    in_spec: String,
}

impl Place {
    /// A SQLite file.
    pub fn file(path: &Path) -> Place {
        let url = format!("sqlite:{}", path.display());
        // In a TOML basic string, backslashes and quotes are escaped.
        Place { in_spec: url.replace('\\', "\\\\").replace('"', "\\\""), url }
    }

    /// The same with parameters of its URL, as `?sync=normal`.
    pub fn with(self, parameters: &str) -> Place {
        Place { url: format!("{}{parameters}", self.url), in_spec: format!("{}{parameters}", self.in_spec) }
    }

    /// How a spec writes it, inside quotes.
    pub fn in_spec(&self) -> &str {
        &self.in_spec
    }

    /// A URL that was given.
    pub fn given(url: &str, variable: &str) -> Place {
        Place { url: url.to_owned(), in_spec: format!("${{{variable}}}") }
    }
}

/// Where the two stores are.
#[derive(Clone)]
pub struct Places {
    /// The legacy store.
    pub source: Place,
    /// The new one.
    pub target: Place,
}

impl Places {
    /// What the spec's references stand for.
    pub fn variable(&self, name: &str) -> Option<String> {
        match name {
            SOURCE_VARIABLE => Some(self.source.url.clone()),
            TARGET_VARIABLE => Some(self.target.url.clone()),
            _ => None,
        }
    }

    /// The spec, with this name and this gate on the pause. What the source
    /// has no type for, its programs write otherwise: such fields are cast. A
    /// target of documents takes shape v2 as it is; what it has no type for is
    /// of any type.
    pub fn spec(&self, migration: &str, pause_ms_max: u64) -> String {
        let mut spec = SPEC.to_owned();
        if form(&self.target.url) == Ok(Form::Documents) {
            spec = in_documents(&spec);
            for (ty, word) in [(FieldType::Instant, "instant"), (FieldType::Float, "float")] {
                if has_type(&self.target.url, ty) == Ok(false) {
                    spec = spec.replace(&format!("type = \"{word}\" }}"), "type = \"json\" }");
                }
            }
        }
        if has_type(&self.source.url, FieldType::Instant) == Ok(false) {
            // Its maps have no order but that of their names.
            let (street, city) =
                (r#"street = { from = "street", type = "text" }"#, r#"city = { from = "city", type = "text" }"#);
            spec = spec.replace(&format!("{street}, {city}"), &format!("{city}, {street}"));
        }
        for (ty, word) in [(FieldType::Instant, "instant"), (FieldType::Float, "float")] {
            if has_type(&self.source.url, ty) == Ok(false) {
                spec = spec.replace(&format!("type = \"{word}\" }}"), &format!("type = \"{word}\", cast = true }}"));
            }
        }
        spec.replace("migration = \"users-move\"", &format!("migration = \"{migration}\""))
            .replace("pause_ms_max     = 300", &format!("pause_ms_max     = {pause_ms_max}"))
            .replace("\"sqlite:legacy.db\"", &format!("\"{}\"", self.source.in_spec))
            .replace("\"sqlite:users.db\"", &format!("\"{}\"", self.target.in_spec))
    }
}

/// The spec for a target that holds documents: what is a table of its own in
/// columns stands in the record as it is.
fn in_documents(spec: &str) -> String {
    let line = |line: &str| match line.split_once(" = ") {
        Some((name, rule)) if rule.contains("table = ") => {
            format!("{name} = {{ from = \"{}\", type = \"json\" }}\n", name.trim())
        }
        _ if line == "key   = \"id\"" => format!("{line}\nlayout = \"document\"\n"),
        _ => format!("{line}\n"),
    };
    spec.lines().map(line).collect()
}

#[cfg(test)]
mod tests {
    use shearwater_core::mapping::Mapping;
    use shearwater_core::spec;
    use shearwater_core::store::{Image, Side};

    use super::super::history::{KeyId, Version};
    use super::super::people;
    use super::*;

    fn mapping() -> Mapping {
        let source = Place::file(Path::new("some \"odd\\ place/legacy.db"));
        let target = Place::given("postgres://me:s3cret@localhost/app", TARGET_VARIABLE);
        let places = Places { source, target };
        let text = places.spec("mine", 250);
        assert!(!text.contains("s3cret"), "{text}");
        let spec = spec::parse_move(&text, &|name| places.variable(name))
            .unwrap_or_else(|problems| panic!("{}", spec::render_problems("users-move.toml", &text, &problems)));
        assert_eq!((spec.migration.as_str(), spec.gates.pause_ms_max), ("mine", 250));
        assert_eq!(spec.source.url, "sqlite:some \"odd\\ place/legacy.db");
        assert_eq!(spec.target.url, places.target.url);
        Mapping::compile(&spec).unwrap()
    }

    #[test]
    fn every_person_maps_there_and_back_exactly() {
        let mapping = mapping();
        for n in 0..3_000 {
            let person = people::person(1, KeyId(n), &people::key_text(n), Version(0));
            let v1 = Image::of(person);
            let v2 = mapping.forward(&v1).unwrap_or_else(|e| panic!("{e}: {:?}", v1.record));
            assert_eq!(mapping.reverse(&v2).unwrap(), v1);
            let key = mapping.key_of(Side::Target, &v2).unwrap();
            assert_eq!(key, shearwater_core::Key::single(people::key_text(n)));
        }
    }
}
