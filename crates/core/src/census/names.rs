//! Names of columns and tables made from names of fields.

use std::collections::HashSet;

/// As the spec allows: what is longer, PostgreSQL would cut.
const NAME_BYTES_MAX: usize = 63;

/// Names taken in one table, or among tables; letter case does not tell them apart.
#[derive(Debug, Default)]
pub(super) struct Taken(HashSet<String>);

impl Taken {
    /// With names that are taken from the start.
    pub fn with<'n>(names: impl IntoIterator<Item = &'n str>) -> Taken {
        Taken(names.into_iter().map(str::to_lowercase).collect())
    }

    /// The name itself when it is free, else with a number.
    pub fn free(&mut self, name: &str) -> String {
        let mut found = shortened(name, NAME_BYTES_MAX).to_owned();
        let mut number = 2;
        while !self.0.insert(found.to_lowercase()) {
            let suffix = format!("_{number}");
            found = shortened(name, NAME_BYTES_MAX - suffix.len()).to_owned() + &suffix;
            number += 1;
        }
        found
    }
}

fn shortened(name: &str, bytes_max: usize) -> &str {
    let mut end = name.len().min(bytes_max);
    while !name.is_char_boundary(end) {
        end -= 1;
    }
    &name[..end]
}

/// `pageCount` and `page count` become `page_count`; what is no letter, digit or
/// underscore gives way to an underscore.
pub(super) fn snake(name: &str) -> String {
    let mut out = String::with_capacity(name.len() + 4);
    let mut before = None;
    let mut characters = name.chars().peekable();
    while let Some(c) = characters.next() {
        let starts_word = c.is_uppercase()
            && before.is_some_and(|b: char| {
                b.is_lowercase()
                    || b.is_numeric()
                    || (b.is_uppercase() && characters.peek().is_some_and(|next| next.is_lowercase()))
            });
        let is_plain = c.is_alphanumeric() || c == '_';
        if (starts_word || !is_plain) && !out.is_empty() && !out.ends_with('_') {
            out.push('_');
        }
        if is_plain {
            out.extend(c.to_lowercase().filter(|c| c.is_alphanumeric() || *c == '_'));
        }
        before = Some(c);
    }
    let out = out.trim_end_matches('_');
    match out.chars().next() {
        None => "field".to_owned(),
        Some(c) if c.is_numeric() => format!("f_{out}"),
        _ if out.starts_with("_shearwater") => format!("own{out}"),
        _ => out.to_owned(),
    }
}

/// As [`snake`], for a column of a child table, which has columns of its own.
pub(super) fn in_child(name: &str) -> String {
    match name {
        "id" | "parent_id" | "position" => format!("own_{name}"),
        _ if name.starts_with("record_") => format!("own_{name}"),
        _ => name.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_become_plain() {
        let check = |name: &str, expected: &str| assert_eq!(snake(name), expected, "{name}");
        check("pageCount", "page_count");
        check("HTTPStatus", "http_status");
        check("follower#", "follower");
        check("odd name", "odd_name");
        check("", "field");
        check("@fix", "fix");
        check("2nd", "f_2nd");
        check("_id", "_id");
        check("Straße", "straße");
        check("a\u{0}b", "a_b");
        check("_shearwater_x", "own_shearwater_x");
    }

    #[test]
    fn names_that_are_taken_get_a_number() {
        let mut taken = Taken::with(["extra"]);
        assert_eq!(taken.free("a"), "a");
        assert_eq!(taken.free("A"), "A_2");
        assert_eq!(taken.free("extra"), "extra_2");
        let long = "é".repeat(40);
        assert!(taken.free(&long).len() <= 63);
        assert!(taken.free(&long).ends_with("_2"));
    }
}
