//! The journal: in a file beside one process's stores, or on a server that
//! processes on several machines share. Both mean the same.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use shearwater_core::journal::{Journal, JournalError};

use crate::Create;

mod postgres;
mod sqlite;

pub use postgres::JournalServer;
pub use sqlite::{Clock, JournalFile};

/// Where a journal is. Shown without the user and the password of its URL.
#[derive(Clone, PartialEq, Eq)]
pub enum JournalPlace {
    /// A file.
    File(PathBuf),
    /// A database's URL, as it was given.
    Server(String),
}

impl JournalPlace {
    /// Reads a path or `postgres://…`.
    pub fn parse(text: &str) -> Result<JournalPlace, String> {
        match text.split_once("://") {
            Some(("postgres" | "postgresql", _)) => {
                postgres::place_of(text).map_err(|error| error.to_string())?;
                Ok(JournalPlace::Server(text.to_owned()))
            }
            // The scheme only: the rest of a URL may hold a password.
            Some((scheme, _)) => Err(format!(
                "a journal is a file or a PostgreSQL database, not {scheme}://…; give PATH or postgres://…"
            )),
            None if text.is_empty() => Err("the journal's path is empty".to_owned()),
            None => Ok(JournalPlace::File(PathBuf::from(text))),
        }
    }
}

impl fmt::Display for JournalPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            JournalPlace::File(path) => write!(f, "{}", path.display()),
            JournalPlace::Server(url) => match postgres::place_of(url) {
                Ok(place) => write!(f, "postgres://{place}"),
                Err(_) => write!(f, "postgres://…"),
            },
        }
    }
}

impl fmt::Debug for JournalPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// An open journal, for any number of migrations.
#[derive(Clone)]
pub struct JournalStore(Kind);

#[derive(Clone)]
enum Kind {
    File(JournalFile),
    Server(JournalServer),
}

impl From<JournalFile> for JournalStore {
    fn from(file: JournalFile) -> JournalStore {
        JournalStore(Kind::File(file))
    }
}

impl JournalStore {
    /// Opens a journal; [`JournalError::Absent`] when there is none and `create`
    /// does not say that it may be made. A server's database is never made.
    pub async fn open(place: &JournalPlace, create: Create) -> Result<JournalStore, JournalError> {
        Ok(JournalStore(match place {
            JournalPlace::File(path) => {
                Kind::File(JournalFile::open(Path::new(path), create == Create::IfMissing).await?)
            }
            JournalPlace::Server(url) => Kind::Server(JournalServer::open(url, create).await?),
        }))
    }

    /// Writes a new migration down: its first entry is `Created`.
    pub async fn create(&self, migration: &str, spec: &str, actor: &str) -> Result<Arc<dyn Journal>, JournalError> {
        match &self.0 {
            Kind::File(file) => file.create(migration, spec, actor).await,
            Kind::Server(server) => server.create(migration, spec, actor).await,
        }
    }

    /// One migration's journal.
    pub async fn migration(&self, name: &str) -> Result<Arc<dyn Journal>, JournalError> {
        match &self.0 {
            Kind::File(file) => file.migration(name).await,
            Kind::Server(server) => server.migration(name).await,
        }
    }

    /// The names of the migrations, oldest first.
    pub async fn names(&self) -> Result<Vec<String>, JournalError> {
        match &self.0 {
            Kind::File(file) => file.names().await,
            Kind::Server(server) => server.names().await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_read_and_shown_without_secrets() {
        let shown = |text: &str| JournalPlace::parse(text).map(|place| format!("{place} {place:?}"));
        assert_eq!(shown("./a.journal").unwrap(), "./a.journal ./a.journal");
        assert_eq!(
            shown("postgres://me:s3cret@db.example:6/app").unwrap(),
            "postgres://db.example:6/app postgres://db.example:6/app"
        );
        for bad in ["", "mysql://me:s3cret@h/d", "postgres://me:s3cret@h", "postgres://me:s3cret@h/d?sslmode=maybe"] {
            let why = shown(bad).unwrap_err();
            assert!(!why.contains("s3cret") && !why.is_empty(), "{bad}: {why}");
        }
    }
}
