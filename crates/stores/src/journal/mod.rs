//! The journal in SQLite: one file for any number of migrations.

use std::path::Path;
use std::sync::Arc;

use shearwater_core::journal::{Journal, JournalError};

/// A journal file.
#[derive(Clone)]
pub struct JournalFile {
    _private: (),
}

impl JournalFile {
    /// Opens a journal, or makes it when `create` and there is none.
    pub async fn open(_path: &Path, _create: bool) -> Result<JournalFile, JournalError> {
        todo!()
    }

    /// Writes a new migration down: its first entry is `Created`.
    pub async fn create(&self, _migration: &str, _spec: &str, _actor: &str) -> Result<Arc<dyn Journal>, JournalError> {
        todo!()
    }

    /// One migration's journal.
    pub async fn migration(&self, _name: &str) -> Result<Arc<dyn Journal>, JournalError> {
        todo!()
    }

    /// The names of the migrations, oldest first.
    pub async fn names(&self) -> Result<Vec<String>, JournalError> {
        todo!()
    }
}
