//! Named places at which a debug build dies on demand, so that tests can kill
//! the process at every durable step: `SHEARWATER_FAILPOINT=name` or `name:N`
//! for the N-th time that the place is reached.

/// Every failpoint that the engine has, in the order of a migration's life.
pub const FAILPOINTS: &[&str] = &[
    "journal-before",
    "journal-after",
    "capture-provisioned",
    "capture-source-installed",
    "capture-target-installed",
    "enter-acknowledged",
    "fence-one-set",
    "fences-set",
    "backfill-chunk-read",
    "backfill-chunk-applied",
    "backfill-letter-buried",
    "backfill-checkpointed",
    "follow-applied",
    "follow-buried",
    "follow-cleared",
    "repair-applied",
    "repair-foreign-cleared",
    "switch-closed",
    "switch-drained",
    "switch-opened",
    "constrain-target",
    "remove-source",
    "remove-target",
    "absorb-deactivation-noted",
    "absorb-spared",
    "absorb-undoing",
    "absorb-undone",
    "absorb-flag-added",
    "absorb-claimed",
    "absorb-keys-installed",
    "absorb-keys-assigned",
    "absorb-departed",
    "absorb-landed",
    "absorb-letter-buried",
    "absorb-cleared",
    "absorb-staged",
    "absorb-held",
    "absorb-given-up",
    "absorb-flag-removed",
    "absorb-claims-ended",
    "request-begun",
    "request-performed",
    "request-finished",
];

/// Those of a `require`, beside `journal-before`, `journal-after`,
/// `backfill-checkpointed` and those of requests.
pub const REQUIRE_FAILPOINTS: &[&str] = &["alter-journalled", "alter-made", "require-acknowledged", "require-filled"];

/// The environment's variable that names the failpoint.
pub const FAILPOINT_ENV: &str = "SHEARWATER_FAILPOINT";

/// Aborts the process if the environment asks for it here. Does nothing in a
/// release build.
#[cfg(debug_assertions)]
pub fn hit(name: &'static str) {
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU64, Ordering};

    static WANTED: OnceLock<Option<(String, u64)>> = OnceLock::new();
    static HITS: AtomicU64 = AtomicU64::new(0);

    debug_assert!(
        FAILPOINTS.contains(&name) || REQUIRE_FAILPOINTS.contains(&name),
        "failpoint {name} is not in the table"
    );
    let wanted = WANTED.get_or_init(|| std::env::var(FAILPOINT_ENV).ok().map(|text| parse(&text)));
    if let Some((wanted, nth)) = wanted
        && wanted == name
        && HITS.fetch_add(1, Ordering::SeqCst) + 1 == *nth
    {
        std::process::abort();
    }
}

/// Aborts the process if the environment asks for it here. Does nothing in a
/// release build.
#[cfg(not(debug_assertions))]
pub fn hit(_name: &'static str) {}

/// `name` or `name:N`; an N that is no number counts as 1.
#[cfg(any(debug_assertions, test))]
fn parse(text: &str) -> (String, u64) {
    match text.split_once(':') {
        Some((name, nth)) => (name.to_owned(), nth.parse().unwrap_or(1)),
        None => (text.to_owned(), 1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn name_and_count_are_read() {
        for (text, expect) in [("a", ("a", 1)), ("a:3", ("a", 3)), ("a:x", ("a", 1))] {
            let (name, nth) = parse(text);
            assert_eq!((name.as_str(), nth), expect, "{text}");
        }
    }

    #[test]
    fn names_are_unique() {
        let mut names = [FAILPOINTS, REQUIRE_FAILPOINTS].concat();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), FAILPOINTS.len() + REQUIRE_FAILPOINTS.len());
    }
}
