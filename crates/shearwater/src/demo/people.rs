//! The legacy users: documents as years of applications leave them behind.
//! Names are nested, arrays are missing or null or empty, an age is a number
//! here and a text there, notes hold whatever people typed.

use shearwater_core::value::{Date, Instant};
use shearwater_core::{Document, Value};

use super::dice::Dice;
use super::history::{BUCKETS, KeyId, Version};

const FIRST: &[&str] = &[
    "Ada",
    "Bjørn",
    "Chloé",
    "Dmitri",
    "Élodie",
    "Fatima",
    "Grace",
    "Hiroshi",
    "İpek",
    "Jürgen",
    "Kwame",
    "Łucja",
    "María",
    "Nguyễn",
    "Olga",
    "Þóra",
    "Quinn",
    "Renée",
    "Søren",
    "Tāne",
    "Uxía",
    "Véronique",
    "Wei",
    "Ximena",
    "Yara",
    "Zoë",
    "明",
    "さくら",
    "محمد",
    "שרה",
];

const LAST: &[&str] = &[
    "Adeyemi",
    "Brown",
    "Çelik",
    "Dvořák",
    "Eriksson",
    "Fernández",
    "García",
    "Hoang",
    "Ivanova",
    "Jansen",
    "Kowalski",
    "Lopez",
    "MacDonald",
    "Nakamura",
    "O'Neil",
    "Papadopoulos",
    "Quispe",
    "Rossi",
    "Šimić",
    "Tanaka",
    "Ueda",
    "van Dijk",
    "Wójcik",
    "Xu",
    "Yılmaz",
    "Zhang",
    "von der Heide",
    "Null",
    "de la Cruz",
];

const CITIES: &[&str] = &["Lisboa", "Reykjavík", "東京", "São Paulo", "Köln", "New York", "Kraków", "Nairobi", "Xi'an"];

const STREETS: &[&str] = &["Harbour Road", "Kirkegata", "Rua das Flores", "Calle Mayor", "High Street", "Hauptstraße"];

const TAGS: &[&str] = &["beta", "early-adopter", "vip", "newsletter", "öffentlich", "", "a,b", "tag with space", "🏷"];

/// Texts that break careless programs.
const ODD: &[&str] = &[
    "",
    " leading and trailing ",
    "line one\nline two\ttabbed",
    "quote \" and ' and ` and \\",
    "'; DROP TABLE users; --",
    "{\"@instant\": \"not one\"}",
    "null",
    "e\u{301}galement (combining)",
    "\u{202e}right to left\u{202c}",
    "zero\u{200b}width\u{feff}",
    "👩‍👩‍👧‍👦 family",
    "\u{1}\u{7f} control",
    "ﬁ ligature, ß, İi, ǅ",
    "%s %d {} ${HOME} <script>alert(1)</script>",
    "\u{10ffff}\u{fffd}",
];

/// The key of the n-th user. Most are tidy; some are what other systems made.
pub fn key_text(n: u32) -> String {
    match n % 97 {
        3 => format!("ключ-{n}"),
        17 => format!("a/b c-{n}"),
        29 => format!("100%+&?#-{n}"),
        41 => format!("😀{n}"),
        53 => format!("it's \"{n}\""),
        61 => format!("comma,{n}\\"),
        71 => format!("{n}"),
        _ => format!("u-{n:07}"),
    }
}

/// The bucket that a key falls into; a field that nobody changes.
pub fn bucket(key: KeyId) -> Value {
    Value::Int(i64::from(key.0 % BUCKETS))
}

/// A user in shape v1, the same for the same seed and key.
pub fn person(seed: u64, key: KeyId, key_text: &str, version: Version) -> Document {
    let dice = &mut Dice::new(seed, 0x5EED_0000_0000 + u64::from(key.0));
    let mut user = Document::new();
    user.set("_id", key_text);
    user.set("v", i64::from(version.0));
    user.set("bucket", bucket(key));
    user.set("email", format!("user{}@{}.example", key.0, dice.pick(&["mail", "post", "näh"])));
    user.set("name", name(dice));
    user.set("joined", instant(dice));
    if let Some(score) = score(dice) {
        user.set("score", score);
    }
    user.set("balance", balance(dice));
    if let Some(age) = age(dice) {
        user.set("age", age);
    }
    if dice.percent(60) {
        user.set("plan", *dice.pick(&["free", "pro", "team"]));
    }
    if dice.percent(40) {
        user.set("notes", *dice.pick(ODD));
    }
    if let Some(tags) = tags(dice) {
        user.set("tags", tags);
    }
    if let Some(addresses) = addresses(dice) {
        user.set("addresses", addresses);
    }
    if dice.percent(20) {
        user.set("legacy", legacy(dice));
    }
    user
}

fn name(dice: &mut Dice) -> Value {
    let (first, last) = (*dice.pick(FIRST), *dice.pick(LAST));
    match dice.below(50) {
        0 => Value::text(format!("{first} {last}")),
        1 => Value::Null,
        2 => Value::Document(Document::from_iter([("last", last)])),
        3 => Value::Document(Document::from_iter([("first", first), ("middle", "Q."), ("last", last)])),
        _ => Value::Document(Document::from_iter([("first", first), ("last", last)])),
    }
}

fn instant(dice: &mut Dice) -> Value {
    // From 1965 to 2024: some of the oldest accounts have impossible birthdays.
    let seconds = dice.below(1_850_000_000) as i64 - 150_000_000;
    Value::Instant(Instant::Micros(seconds * 1_000_000 + (dice.below(1_000) * 1_000) as i64))
}

/// A score; some users have none, for some it is null.
pub fn score(dice: &mut Dice) -> Option<Value> {
    match dice.below(20) {
        0 => None,
        1 => Some(Value::Null),
        2 => Some(Value::Float(-0.0)),
        // As small as every kind of store can hold.
        3 => Some(Value::Float(5e-130)),
        _ => Some(Value::Float(dice.unit() * 100.0)),
    }
}

fn balance(dice: &mut Dice) -> Value {
    match dice.below(30) {
        0 => Value::Int(i64::MIN),
        1 => Value::Int(9_007_199_254_740_993),
        2 => Value::Null,
        _ => Value::Int(dice.below(1_000_000) as i64 - 1_000),
    }
}

fn age(dice: &mut Dice) -> Option<Value> {
    let years = 13 + dice.below(80) as i64;
    match dice.below(10) {
        0 => None,
        1 => Some(Value::Null),
        2 | 3 => Some(Value::text(years.to_string())),
        _ => Some(Value::Int(years)),
    }
}

fn tags(dice: &mut Dice) -> Option<Value> {
    match dice.below(10) {
        0..=2 => None,
        3 => Some(Value::Array(Vec::new())),
        4 => Some(Value::Null),
        _ => Some(Value::Array((0..=dice.below(4)).map(|_| Value::from(*dice.pick(TAGS))).collect())),
    }
}

fn addresses(dice: &mut Dice) -> Option<Value> {
    match dice.below(10) {
        0 | 1 => None,
        2 => Some(Value::Array(Vec::new())),
        _ => Some(Value::Array((0..=dice.below(3)).map(|_| Value::Document(address(dice))).collect())),
    }
}

fn address(dice: &mut Dice) -> Document {
    let mut address = Document::new();
    if !dice.percent(5) {
        address.set("street", format!("{} {}", dice.pick(STREETS), 1 + dice.below(200)));
    }
    address.set("city", *dice.pick(CITIES));
    let zip = 10_000 + dice.below(89_999) as i64;
    address.set("zip", if dice.percent(30) { Value::Int(zip) } else { Value::text(zip.to_string()) });
    if dice.percent(30) {
        let coordinate = |dice: &mut Dice| Value::Float(dice.unit() * 180.0 - 90.0);
        address.set("geo", Value::Array(vec![coordinate(dice), coordinate(dice)]));
    }
    if dice.percent(10) {
        address.set("since", Value::Date(Date::Days(dice.below(20_000) as i32)));
    }
    address
}

/// Fields that no rule names: they live in the residue.
fn legacy(dice: &mut Dice) -> Document {
    let mut legacy = Document::new();
    legacy.set("crm_id", Value::from_u64(u64::MAX - dice.below(1_000) as u64));
    legacy.set("flags", Value::Array(vec![Value::Bool(true), Value::Null, Value::Document(Document::new())]));
    legacy.set(*dice.pick(&["odd.name", "$ref", "with space", "ünï"]), *dice.pick(ODD));
    legacy
}

/// Text for a changed note.
pub fn note(dice: &mut Dice) -> Value {
    match dice.below(3) {
        0 => Value::from(*dice.pick(ODD)),
        1 => Value::text(format!("seen {} times", dice.below(1_000))),
        _ => Value::text("long ".repeat(dice.below(60))),
    }
}

/// Another last name.
pub fn last_name(dice: &mut Dice) -> Value {
    Value::from(*dice.pick(LAST))
}

/// Another plan.
pub fn plan(dice: &mut Dice) -> Value {
    Value::from(*dice.pick(&["free", "pro", "team", "enterprise"]))
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn people_are_repeatable_and_different() {
        let at = |seed, n| person(seed, KeyId(n), &key_text(n), Version(0));
        assert_eq!(at(1, 5), at(1, 5));
        assert_ne!(at(1, 5), at(2, 5));
        assert_ne!(at(1, 5), at(1, 6));
    }

    #[test]
    fn keys_are_unique_and_some_are_odd() {
        let keys: HashSet<String> = (0..20_000).map(key_text).collect();
        assert_eq!(keys.len(), 20_000);
        assert!(keys.iter().any(|key| key.contains('/')) && keys.iter().any(|key| !key.is_ascii()));
    }

    #[test]
    fn every_oddity_occurs_among_a_thousand() {
        let people: Vec<Document> = (0..1_000).map(|n| person(1, KeyId(n), &key_text(n), Version(0))).collect();
        type Oddity = fn(&Document) -> bool;
        let oddities: [(&str, Oddity); 10] = [
            ("no plan", |p| !p.contains("plan")),
            ("age as text", |p| matches!(p.get("age"), Some(Value::Text(_)))),
            ("age as number", |p| matches!(p.get("age"), Some(Value::Int(_)))),
            ("age null", |p| p.get("age") == Some(&Value::Null)),
            ("name as text", |p| matches!(p.get("name"), Some(Value::Text(_)))),
            ("tags empty", |p| p.get("tags") == Some(&Value::Array(vec![]))),
            ("tags null", |p| p.get("tags") == Some(&Value::Null)),
            ("tags missing", |p| !p.contains("tags")),
            ("beyond 2^53", |p| p.get("balance") == Some(&Value::Int(9_007_199_254_740_993))),
            ("minus zero", |p| p.get("score") == Some(&Value::Float(-0.0))),
        ];
        for (name, oddity) in oddities {
            assert!(people.iter().any(oddity), "{name}");
        }
    }
}
