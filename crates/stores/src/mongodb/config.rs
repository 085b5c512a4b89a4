//! The URL of a MongoDB store: MongoDB's own form, read by its driver.

use std::time::Duration;

use mongodb::options::{ClientOptions, ReadPreference, SelectionCriteria};
use shearwater_core::error::{StoreError, StoreErrorKind, StoreResult};

/// How long an operation waits for a server that can serve it, unless the URL
/// says otherwise: longer than an election with MongoDB's own settings (ten
/// seconds until it begins), shorter than the driver's thirty.
const SELECTION: Duration = Duration::from_secs(15);

/// How long a connection may take to be made, unless the URL says otherwise.
const CONNECT: Duration = Duration::from_secs(5);

/// Connections to each server, unless the URL says otherwise: the scans of a
/// backfill, the reconciler and some tens of clients' requests.
const CONNECTIONS_DEFAULT: u32 = 32;

/// The longest name of a database.
const DATABASE_BYTES_MAX: usize = 63;

/// Where and how to connect.
#[derive(Clone, Debug)]
pub(super) struct Config {
    pub(super) options: ClientOptions,
    pub(super) database: String,
    /// The servers and the database as messages name them: no password.
    pub(super) place: String,
}

impl Config {
    /// Reads `mongodb://USER:PASSWORD@HOST:PORT,…/DATABASE?replicaSet=NAME&…` or
    /// `mongodb+srv://…`.
    pub(super) async fn parse(url: &str) -> StoreResult<Config> {
        // The driver's own messages may repeat parts of the URL.
        let mut options = ClientOptions::parse(url).await.map_err(|error| bad(&reason(&error)))?;
        let database = options.default_database.clone().unwrap_or_default();
        if database.is_empty() || database.len() > DATABASE_BYTES_MAX {
            return Err(bad("it must name one database after the hosts"));
        }
        if matches!(database.as_str(), "admin" | "local" | "config") {
            return Err(bad("it names a database of the server's own"));
        }
        let hosts: Vec<String> = options.hosts.iter().map(ToString::to_string).collect();
        let place = format!("{}/{database}", hosts.join(","));
        // What a secondary says may be older than what was acknowledged.
        options.selection_criteria = Some(SelectionCriteria::ReadPreference(ReadPreference::Primary));
        options.app_name.get_or_insert_with(|| "shearwater".to_owned());
        options.server_selection_timeout.get_or_insert(SELECTION);
        options.connect_timeout.get_or_insert(CONNECT);
        options.max_pool_size.get_or_insert(CONNECTIONS_DEFAULT);
        // The concerns are said with each operation, so that no URL weakens them.
        options.write_concern = None;
        options.read_concern = None;
        Ok(Config { options, database, place })
    }
}

/// What the driver objects to, without the URL's own words.
fn reason(error: &mongodb::error::Error) -> String {
    use mongodb::error::ErrorKind;
    match &*error.kind {
        ErrorKind::DnsResolve { .. } => "its name cannot be resolved".to_owned(),
        ErrorKind::InvalidTlsConfig { .. } => "its TLS options cannot be used (is the CA's file there?)".to_owned(),
        _ => "MongoDB's driver cannot read it".to_owned(),
    }
}

fn bad(what: &str) -> StoreError {
    StoreError::new(StoreErrorKind::Unsupported, format!("MongoDB store: the URL: {what}"))
        .with_hint("write mongodb://USER:PASSWORD@HOST:PORT/DATABASE?replicaSet=NAME, percent-encoded where needed")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn urls() {
        let check = async |url: &str, place: &str| {
            let config = Config::parse(url).await.unwrap_or_else(|e| panic!("{url}: {e}"));
            assert_eq!(config.place, place, "{url}");
            assert_eq!(config.options.selection_criteria, Some(ReadPreference::Primary.into()), "{url}");
        };
        check("mongodb://localhost/shop", "localhost:27017/shop").await;
        check("mongodb://u:p%2F%3A@a:1,b:2/shop?replicaSet=rs0", "a:1,b:2/shop").await;
        check("mongodb://h/shop?readPreference=secondary&w=0", "h:27017/shop").await;
    }

    #[tokio::test]
    async fn refused_urls() {
        let check = async |url: &str, says: &str| {
            let error = Config::parse(url).await.unwrap_err();
            assert_eq!(error.kind, StoreErrorKind::Unsupported, "{url}");
            assert!(error.message.contains(says), "{url}: {error}");
            assert!(!error.message.contains("secret") && error.hint.is_some(), "{url}: {error}");
        };
        check("mongodb://u:secret@h", "one database").await;
        check("mongodb://u:secret@h/", "one database").await;
        check("mongodb://u:secret@h/admin", "server's own").await;
        check("mongodb://u:secret@h:x/shop", "cannot read").await;
        check("mongodb://u:sec:ret@secret@h/shop", "cannot read").await;
        check("postgres://u:secret@h/shop", "cannot read").await;
    }
}
