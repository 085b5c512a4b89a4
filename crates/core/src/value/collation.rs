//! Text in the order that people expect: the root collation of Unicode (CLDR),
//! as sort keys that compare byte by byte.
//!
//! The tables are compiled in, so the order is the same in every process of one
//! version of this program, whatever the stores' collations are.

use std::sync::LazyLock;

use icu_collator::options::{CollatorOptions, Strength};
use icu_collator::{Collator, CollatorBorrowed};

static ROOT: LazyLock<Option<CollatorBorrowed<'static>>> = LazyLock::new(|| {
    let mut options = CollatorOptions::default();
    options.strength = Some(Strength::Tertiary);
    Collator::try_new(Default::default(), options).ok()
});

/// Appends the sort key of a text: letters first, then accents, then case. Texts
/// that differ in none of these have the same one.
pub fn write_sort_key(text: &str, out: &mut Vec<u8>) {
    match ROOT.as_ref() {
        Some(root) => {
            let Ok(()) = root.write_sort_key_to(text, out);
        }
        // The root's tables are part of the program, so this is never reached.
        None => out.extend_from_slice(text.as_bytes()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(text: &str) -> Vec<u8> {
        let mut key = Vec::new();
        write_sort_key(text, &mut key);
        key
    }

    #[test]
    fn letters_then_accents_then_case() {
        assert!(ROOT.is_some());
        let sorted =
            ["", "_", "1", "10", "2", "a", "A", "ä", "Ä", "ab", "b", "résumé", "resumes", "z", "Å\u{30A}", "я"];
        let mut keys: Vec<(Vec<u8>, &str)> = sorted.iter().map(|text| (key(text), *text)).collect();
        keys.sort();
        let order: Vec<&str> = keys.into_iter().map(|(_, text)| text).collect();
        assert_eq!(
            order,
            ["", "_", "1", "10", "2", "a", "A", "Å\u{30A}", "ä", "Ä", "ab", "b", "résumé", "resumes", "z", "я"]
        );
        assert_eq!(key("\u{e9}"), key("e\u{301}"), "canonically equal");
    }
}
