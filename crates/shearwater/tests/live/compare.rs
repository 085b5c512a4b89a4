//! Comparing tables by plain SQL, independently of our own verification.

use std::collections::BTreeMap;

use shearwater_testbed::Server;

/// A query on one server: the key first, then what must be equal.
pub struct Query<'a> {
    pub server: &'a Server,
    pub url: &'a str,
    pub sql: String,
}

type Rows = BTreeMap<String, Vec<Option<String>>>;

impl Query<'_> {
    /// The rows by key; a key twice is a failure.
    pub fn rows(&self) -> Rows {
        let rows = self.server.rows(self.url, &self.sql);
        let count = rows.len();
        let rows: Rows = rows.into_iter().map(|mut row| (row.remove(0).unwrap(), row)).collect();
        assert_eq!(rows.len(), count, "a key is there twice: {}", self.sql);
        rows
    }
}

/// Fails with the first differences.
#[track_caller]
pub fn assert_same(when: &str, source: &Rows, target: &Rows) {
    assert!(!source.is_empty(), "{when}: the source has no rows");
    let mut differing = Vec::new();
    for (key, row) in source {
        match target.get(key) {
            Some(other) if other == row => {}
            other => differing.push(format!("key {key}: source {row:?}, target {other:?}")),
        }
    }
    let extra = target.iter().filter(|(key, _)| !source.contains_key(*key));
    differing.extend(extra.map(|(key, row)| format!("key {key}: only in the target {row:?}")));
    let count = differing.len();
    differing.truncate(10);
    assert!(count == 0, "{when}: {count} rows differ of {} and {}: {differing:#?}", source.len(), target.len());
    println!("{when}: {} rows are the same", source.len());
}
