//! The URL of a SQLite store.

use std::path::PathBuf;

use shearwater_core::error::{StoreError, StoreErrorKind, StoreResult};

/// How far a commit has to get before it is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sync {
    /// On the disk: an answered write survives a power cut.
    Full,
    /// In the operating system: an answered write survives our crash, and the
    /// file stays sound after a power cut.
    Normal,
}

/// What a URL says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Config {
    /// The database file.
    pub(super) path: PathBuf,
    /// Durability of commits.
    pub(super) sync: Sync,
}

impl Config {
    /// Reads `sqlite:PATH[?sync=full|normal]`; `sqlite://PATH` is the same.
    pub(super) fn parse(url: &str) -> StoreResult<Config> {
        let rest = url.strip_prefix("sqlite:").ok_or_else(|| bad("the URL does not begin with sqlite:"))?;
        let (path, parameters) = match rest.split_once('?') {
            Some((path, parameters)) => (path, parameters),
            None => (rest, ""),
        };
        let path = path.strip_prefix("//").unwrap_or(path);
        if path.is_empty() {
            return Err(bad("the URL names no file"));
        }
        if path == ":memory:" || path.contains('\0') {
            return Err(bad("the store must be a file, because several connections read and write it"));
        }
        let mut config = Config { path: PathBuf::from(path), sync: Sync::Full };
        for parameter in parameters.split('&').filter(|p| !p.is_empty()) {
            config.sync = match parameter {
                "sync=full" => Sync::Full,
                "sync=normal" => Sync::Normal,
                other => {
                    let name = other.split('=').next().unwrap_or(other);
                    return Err(bad(format!("the URL has a parameter {name:?} that SQLite stores do not take")));
                }
            };
        }
        Ok(config)
    }

    /// The file as messages name it.
    pub(super) fn place(&self) -> String {
        self.path.display().to_string()
    }
}

fn bad(what: impl std::fmt::Display) -> StoreError {
    StoreError::new(StoreErrorKind::Unsupported, format!("SQLite store: {what}"))
        .with_hint("write sqlite:PATH, or sqlite:PATH?sync=normal")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls() {
        let check = |url: &str, path: &str, sync: Sync| {
            assert_eq!(Config::parse(url), Ok(Config { path: path.into(), sync }), "{url}");
        };
        check("sqlite:a.db", "a.db", Sync::Full);
        check("sqlite:./dir with space/a.db", "./dir with space/a.db", Sync::Full);
        check("sqlite:/abs/a.db?sync=normal", "/abs/a.db", Sync::Normal);
        check("sqlite:///abs/a.db?sync=full", "/abs/a.db", Sync::Full);
        check("sqlite:a.db?sync=normal&sync=full", "a.db", Sync::Full);
    }

    #[test]
    fn refused_urls() {
        let check = |url: &str, says: &str| {
            let error = Config::parse(url).unwrap_err();
            assert_eq!(error.kind, StoreErrorKind::Unsupported, "{url}");
            assert!(error.message.contains(says), "{url}: {error}");
            assert!(error.hint.is_some(), "{url}");
        };
        check("postgres://h/d", "does not begin with sqlite:");
        check("sqlite:", "names no file");
        check("sqlite:?sync=full", "names no file");
        check("sqlite::memory:", "must be a file");
        check("sqlite:a.db?sync=off", "\"sync\"");
        check("sqlite:a.db?mode=ro", "\"mode\"");
    }
}
