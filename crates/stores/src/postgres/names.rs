//! Names in SQL, and those of the sidecar.

use shearwater_core::Key;

/// What every name of ours on a user's table begins with.
pub(super) const RESERVED_PREFIX: &str = "_shearwater_";

/// The schema of the sidecars.
pub(super) const SIDECAR_SCHEMA: &str = "_shearwater";

/// Bytes of a sidecar's base name: the server keeps 63 of a name, and the
/// longest ending takes 12.
const BASE_BYTES_MAX: usize = 50;

/// Bytes that stay of a long name before its hash.
const BASE_BYTES_KEPT: usize = 32;

/// A name in SQL, whatever it holds.
pub(super) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A text in SQL.
pub(super) fn literal(text: &str) -> String {
    // E'' would read backslashes; the setting standard_conforming_strings is pinned.
    format!("'{}'", text.replace('\'', "''"))
}

/// Quoted names with commas between them.
pub(super) fn list(names: &[String]) -> String {
    names.iter().map(|n| quoted(n)).collect::<Vec<_>>().join(", ")
}

/// A table in its schema.
pub(super) fn qualified(schema: &str, table: &str) -> String {
    format!("{}.{}", quoted(schema), quoted(table))
}

/// `k0`, `k1`, …: a key's columns in the sidecar.
pub(super) fn mark_key_columns(parts: usize) -> Vec<String> {
    (0..parts).map(|at| format!("k{at}")).collect()
}

/// The names of one table's sidecar.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SidecarNames {
    /// What identifies it in the shared tables: schema and table.
    pub(super) tbl: String,
    base: String,
}

impl SidecarNames {
    /// Of a user's table.
    pub(super) fn of(schema: &str, table: &str) -> SidecarNames {
        // Quoted, so that a point in a name is no border.
        let tbl = qualified(schema, table);
        let plain = format!("{schema}.{table}");
        let is_plain = plain.len() <= BASE_BYTES_MAX && !schema.contains('.') && !table.contains('.');
        let base = match is_plain {
            true => plain,
            false => {
                let kept = (0..=BASE_BYTES_KEPT.min(plain.len())).rev().find(|at| plain.is_char_boundary(*at));
                format!("{}~{:016x}", &plain[..kept.unwrap_or(0)], Key::single(tbl.as_str()).hash())
            }
        };
        SidecarNames { tbl, base }
    }

    fn named(&self, ending: &str) -> String {
        format!("{}{ending}", self.base)
    }

    /// The table of stamps and marks.
    pub(super) fn marks(&self) -> String {
        qualified(SIDECAR_SCHEMA, &self.named("_marks"))
    }

    /// The index of dirty marks, without its schema.
    pub(super) fn dirty_index(&self) -> String {
        quoted(&self.named("_dirty"))
    }

    /// The index of marks with something parked, without its schema.
    pub(super) fn parked_index(&self) -> String {
        quoted(&self.named("_parked"))
    }

    /// The table of foreign writes.
    pub(super) fn foreign(&self) -> String {
        qualified(SIDECAR_SCHEMA, &self.named("_foreign"))
    }

    /// The sequence of counters.
    pub(super) fn counter(&self) -> String {
        qualified(SIDECAR_SCHEMA, &self.named("_counter"))
    }

    /// The function that a table's row triggers run: 0 is the root, then the child tables.
    pub(super) fn row_function(&self, table: usize) -> String {
        qualified(SIDECAR_SCHEMA, &self.named(&format!("_row{table}")))
    }

    /// The function that a table's TRUNCATE trigger runs.
    pub(super) fn truncate_function(&self, table: usize) -> String {
        qualified(SIDECAR_SCHEMA, &self.named(&format!("_cut{table}")))
    }

    /// The table of keys whose value of a new field somebody chose.
    pub(super) fn chosen(&self) -> String {
        qualified(SIDECAR_SCHEMA, &self.named("_chosen"))
    }

    /// The table of checkpoints of a new field's backfill.
    pub(super) fn fills(&self) -> String {
        qualified(SIDECAR_SCHEMA, &self.named("_fills"))
    }

    /// The table of moments at which somebody left a new field out.
    pub(super) fn outdated(&self) -> String {
        qualified(SIDECAR_SCHEMA, &self.named("_outdated"))
    }

    /// The function that fills a new field.
    pub(super) fn fill_function(&self) -> String {
        qualified(SIDECAR_SCHEMA, &self.named("_fill"))
    }

    /// The function that notes a chosen value.
    pub(super) fn note_function(&self) -> String {
        qualified(SIDECAR_SCHEMA, &self.named("_note"))
    }

    /// Every name of this sidecar in its schema, without the schema.
    pub(super) fn own(&self, tables: usize) -> Vec<String> {
        let mut names =
            ["_marks", "_dirty", "_parked", "_foreign", "_counter"].map(|ending| self.named(ending)).to_vec();
        for table in 0..tables {
            names.push(self.named(&format!("_row{table}")));
            names.push(self.named(&format!("_cut{table}")));
        }
        names
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sidecar_names_fit_and_differ() {
        let long = "a".repeat(63);
        let tables = [
            ("public", "users"),
            ("public", "user's \"x\""),
            ("a", "b.c"),
            ("a.b", "c"),
            ("public", long.as_str()),
            ("public", &long[..62]),
            ("ключ", "ключключключключключключключключ"),
        ];
        let names: Vec<SidecarNames> = tables.iter().map(|(schema, table)| SidecarNames::of(schema, table)).collect();
        for (n, name) in names.iter().enumerate() {
            assert!(name.own(9).iter().all(|own| own.len() <= 63), "{name:?}");
            assert!(names[..n].iter().all(|other| other.base != name.base), "{name:?}");
        }
        assert_eq!(names[0].marks(), "\"_shearwater\".\"public.users_marks\"");
        assert_eq!(names[1].foreign(), "\"_shearwater\".\"public.user's \"\"x\"\"_foreign\"");
    }
}
