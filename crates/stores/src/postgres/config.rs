//! The URL of a PostgreSQL store.

use std::path::PathBuf;
use std::time::Duration;

use percent_encoding::percent_decode_str;
use shearwater_core::error::{StoreError, StoreErrorKind, StoreResult};

/// Connections that one store keeps when its URL does not say: enough for
/// requests, the reconciler and a few backfill workers at once, and few beside
/// a server's usual hundred.
const CONNECTIONS_DEFAULT: usize = 12;

/// Connections that a URL may ask for: beyond it a server spends its time on
/// switching between them.
const CONNECTIONS_MAX: usize = 200;

/// Waiting for a connection to be made, s: longer than a restart of the server
/// is not worth waiting for inside one call.
const CONNECT_S_MAX: u64 = 10;

/// A peer that does not acknowledge is taken for gone after this time, s.
const SILENCE_S_MAX: u64 = 30;

/// How the connection is protected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Tls {
    /// Not at all.
    Off,
    /// Encrypted where the server can; for a server on the same machine.
    Prefer,
    /// Encrypted, whoever the server is.
    Encrypted,
    /// Encrypted, and the server's certificate must be for its name.
    Verified {
        /// A file of PEM certificates to trust; `None`: the public ones.
        roots: Option<PathBuf>,
    },
}

/// What a URL says.
#[derive(Clone, Debug)]
pub(super) struct Config {
    /// Everything that the driver needs, the password included.
    pub(super) driver: tokio_postgres::Config,
    /// Protection of the connection.
    pub(super) tls: Tls,
    /// The schema of the user's tables.
    pub(super) schema: String,
    /// Connections at most.
    pub(super) connections: usize,
    place: String,
}

impl Config {
    /// Reads `postgres://[USER[:PASSWORD]@]HOST[:PORT]/DATABASE[?…]`.
    pub(super) fn parse(url: &str) -> StoreResult<Config> {
        let parsed = url::Url::parse(url).map_err(|e| bad(format!("the URL cannot be read: {e}")))?;
        let database = decoded(parsed.path().trim_start_matches('/'))?;
        if database.is_empty() {
            return Err(bad("the URL names no database"));
        }
        let mut driver = tokio_postgres::Config::new();
        driver.dbname(&database);
        driver.user(match parsed.username() {
            "" => std::env::var("USER").unwrap_or_else(|_| "postgres".to_owned()),
            user => decoded(user)?,
        });
        if let Some(password) = parsed.password() {
            driver.password(decoded(password)?);
        }
        let mut settings = Settings::default();
        for (name, value) in parsed.query_pairs() {
            settings.take(&name, value.into_owned())?;
        }
        let host = match (settings.host.take(), parsed.host_str()) {
            (Some(host), _) => host,
            (None, Some(host)) => decoded(host.trim_start_matches('[').trim_end_matches(']'))?,
            (None, None) => return Err(bad("the URL names no host")),
        };
        driver.host(&host).port(parsed.port().unwrap_or(5_432));
        driver.application_name("shearwater");
        driver.connect_timeout(Duration::from_secs(CONNECT_S_MAX));
        driver.keepalives_idle(Duration::from_secs(SILENCE_S_MAX));
        driver.tcp_user_timeout(Duration::from_secs(SILENCE_S_MAX));
        let tls = settings.tls(is_local(&host))?;
        driver.ssl_mode(match tls {
            Tls::Off => tokio_postgres::config::SslMode::Disable,
            Tls::Prefer => tokio_postgres::config::SslMode::Prefer,
            Tls::Encrypted | Tls::Verified { .. } => tokio_postgres::config::SslMode::Require,
        });
        Ok(Config {
            place: format!("{host}:{}/{database}", parsed.port().unwrap_or(5_432)),
            driver,
            tls,
            schema: settings.schema.unwrap_or_else(|| "public".to_owned()),
            connections: settings.connections.unwrap_or(CONNECTIONS_DEFAULT),
        })
    }

    /// The database as messages name it: no user, no password.
    pub(super) fn place(&self) -> &str {
        &self.place
    }
}

#[derive(Default)]
struct Settings {
    host: Option<String>,
    sslmode: Option<String>,
    roots: Option<PathBuf>,
    schema: Option<String>,
    connections: Option<usize>,
}

impl Settings {
    fn take(&mut self, name: &str, value: String) -> StoreResult<()> {
        match name {
            "host" => self.host = Some(value),
            "sslmode" => self.sslmode = Some(value),
            "sslrootcert" => self.roots = Some(PathBuf::from(value)),
            "schema" if value.is_empty() => return Err(bad("the URL's schema is empty")),
            "schema" => self.schema = Some(value),
            "connections" => {
                self.connections = match value.parse() {
                    Ok(n) if (2..=CONNECTIONS_MAX).contains(&n) => Some(n),
                    _ => return Err(bad(format!("connections must be a number from 2 to {CONNECTIONS_MAX}"))),
                }
            }
            other => return Err(bad(format!("the URL has a parameter {other:?} that PostgreSQL stores do not take"))),
        }
        Ok(())
    }

    /// Without a word in the URL, a server on another machine must prove who it
    /// is, and one on this machine need not.
    fn tls(&mut self, is_local: bool) -> StoreResult<Tls> {
        let roots = self.roots.take();
        Ok(match self.sslmode.as_deref() {
            Some("disable") => Tls::Off,
            Some("prefer") => Tls::Prefer,
            Some("require") if roots.is_none() => Tls::Encrypted,
            Some("require" | "verify-ca" | "verify-full") => Tls::Verified { roots },
            Some(other) => {
                return Err(bad(format!(
                    "sslmode {other:?} is not known; disable, prefer, require and verify-full are"
                )));
            }
            None if is_local && roots.is_none() => Tls::Prefer,
            None => Tls::Verified { roots },
        })
    }
}

fn is_local(host: &str) -> bool {
    host.starts_with('/')
        || host == "localhost"
        || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

fn decoded(part: &str) -> StoreResult<String> {
    match percent_decode_str(part).decode_utf8() {
        Ok(text) if !text.contains('\0') => Ok(text.into_owned()),
        _ => Err(bad("a part of the URL is no valid text")),
    }
}

fn bad(what: impl std::fmt::Display) -> StoreError {
    StoreError::new(StoreErrorKind::Unsupported, format!("PostgreSQL store: {what}")).with_hint(
        "write postgres://USER:PASSWORD@HOST:PORT/DATABASE, and after a question mark sslmode, sslrootcert, \
         schema, connections",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls() {
        let config = Config::parse("postgres://me:s%40cret@127.0.0.1:5433/app?schema=sales&connections=5").unwrap();
        assert_eq!(config.driver.get_user(), Some("me"));
        assert_eq!(config.driver.get_password(), Some(&b"s@cret"[..]));
        assert_eq!(config.driver.get_dbname(), Some("app"));
        assert_eq!(config.driver.get_ports(), [5_433]);
        assert_eq!((config.schema.as_str(), config.connections), ("sales", 5));
        assert_eq!(config.place(), "127.0.0.1:5433/app");
        assert_eq!(Config::parse("postgresql://h/d").unwrap().schema, "public");
    }

    #[test]
    fn who_must_prove_itself() {
        let check = |url: &str, expect: Tls| assert_eq!(Config::parse(url).unwrap().tls, expect, "{url}");
        check("postgres://localhost/d", Tls::Prefer);
        check("postgres://[::1]/d", Tls::Prefer);
        check("postgres://ignored/d?host=/var/run/postgresql", Tls::Prefer);
        check("postgres://db.example/d", Tls::Verified { roots: None });
        check("postgres://db.example/d?sslmode=require", Tls::Encrypted);
        check("postgres://db.example/d?sslmode=disable", Tls::Off);
        check("postgres://localhost/d?sslmode=verify-full", Tls::Verified { roots: None });
        check("postgres://localhost/d?sslrootcert=ca.pem", Tls::Verified { roots: Some("ca.pem".into()) });
    }

    #[test]
    fn refused_urls() {
        let check = |url: &str, says: &str| {
            let error = Config::parse(url).unwrap_err();
            assert_eq!(error.kind, StoreErrorKind::Unsupported, "{url}");
            assert!(error.message.contains(says), "{url}: {error}");
            assert!(!error.message.contains("s3cret"), "{url}: {error}");
            assert!(error.hint.is_some(), "{url}");
        };
        check("postgres://u:s3cret@h", "no database");
        check("postgres:///d", "no host");
        check("postgres://u:s3cret@h/d?sslmode=maybe", "sslmode \"maybe\"");
        check("postgres://u:s3cret@h/d?connections=1", "from 2 to");
        check("postgres://u:s3cret@h/d?pool=1", "\"pool\"");
        check("postgres://u:s3cret@h:port/d", "cannot be read");
        check("postgres://h/d%00", "no valid text");
    }
}
