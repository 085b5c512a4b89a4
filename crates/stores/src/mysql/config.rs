//! The URL of a MySQL or MariaDB store.

use std::time::Duration;

use mysql_async::{Opts, OptsBuilder, SslOpts};
use percent_encoding::percent_decode_str;
use shearwater_core::error::{StoreError, StoreErrorKind, StoreResult};
use url::{Host, Url};

/// Connections of one store unless the URL says otherwise: the scans of a
/// backfill, the reconciler and some tens of clients' requests; a server's own
/// limit is 151 for everybody.
const CONNECTIONS_DEFAULT: usize = 16;

/// Connections of one store at most: more only wait for each other.
const CONNECTIONS_MAX: usize = 256;

/// The port of both servers.
const PORT: u16 = 3306;

/// Prepared statements kept per connection: a layout uses about forty, and
/// each size of a batch is one of its own.
const STATEMENTS_MAX: usize = 128;

/// How long an idle peer may be silent before the system looks whether it is
/// still there, ms.
const KEEPALIVE_MS: u64 = 30_000;

/// Where and how to connect.
#[derive(Clone, Debug)]
pub(super) struct Config {
    /// With the database selected.
    pub(super) opts: Opts,
    /// The database.
    pub(super) database: String,
    /// The server and the database as messages name them: no password.
    pub(super) place: String,
    /// Connections at most.
    pub(super) connections: usize,
    /// The server's replicas whose lag is watched, with the same account.
    pub(super) replicas: Vec<Config>,
}

/// How the connection is encrypted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Tls {
    /// Not at all.
    Off,
    /// With a certificate that is checked.
    On,
    /// With any certificate.
    Unchecked,
}

impl Config {
    /// Reads `mysql://USER:PASSWORD@HOST:PORT/DATABASE[?connections=N&tls=on|off|unchecked&tls_ca=FILE&socket=FILE
    /// &replica=HOST:PORT…]`; `mariadb:` is the same.
    pub(super) fn parse(text: &str) -> StoreResult<Config> {
        let url = Url::parse(text).map_err(|e| bad(format!("the URL cannot be read: {e}")))?;
        if !matches!(url.scheme(), "mysql" | "mariadb") {
            return Err(bad("the URL begins with neither mysql: nor mariadb:"));
        }
        let (host, is_local) = match url.host() {
            None => return Err(bad("the URL names no host")),
            // A URL of an unknown scheme keeps an address as a name.
            Some(Host::Domain(name)) => {
                let name = decoded(name, "host")?;
                let local = name.eq_ignore_ascii_case("localhost") || name.parse().is_ok_and(is_loopback);
                (name, local)
            }
            Some(Host::Ipv4(address)) => (address.to_string(), address.is_loopback()),
            Some(Host::Ipv6(address)) => (address.to_string(), address.is_loopback()),
        };
        let database = decoded(url.path().strip_prefix('/').unwrap_or_default(), "database")?;
        if database.is_empty() || database.contains('/') {
            return Err(bad("the URL must name one database after the host"));
        }
        let user = decoded(url.username(), "user")?;
        if user.is_empty() {
            return Err(bad("the URL names no user"));
        }
        let password = url.password().map(|p| decoded(p, "password")).transpose()?;
        let port = url.port().unwrap_or(PORT);
        let more = Parameters::read(&url)?;
        let tls = more.tls.unwrap_or(if is_local || more.socket.is_some() { Tls::Off } else { Tls::On });
        let place = match &more.socket {
            Some(socket) => format!("{socket}/{database}"),
            None => format!("{host}:{port}/{database}"),
        };
        let opts = OptsBuilder::default()
            .ip_or_hostname(host)
            .tcp_port(port)
            .user(Some(user))
            .pass(password)
            .db_name(Some(database.clone()))
            .prefer_socket(false)
            .socket(more.socket)
            .stmt_cache_size(STATEMENTS_MAX)
            .tcp_keepalive(Some(Duration::from_millis(KEEPALIVE_MS)))
            .ssl_opts(ssl(tls, more.tls_ca)?);
        let opts = Opts::from(opts);
        let replicas = more.replicas.into_iter().map(|(host, port)| replica(&opts, host, port)).collect();
        let connections = more.connections.unwrap_or(CONNECTIONS_DEFAULT);
        Ok(Config { opts, database, place, connections, replicas })
    }

    /// The same server without a database selected.
    pub(super) fn server(&self) -> Opts {
        OptsBuilder::from_opts(self.opts.clone()).db_name(None::<String>).into()
    }
}

/// A replica of a server: reached as that is, but for the place.
fn replica(opts: &Opts, host: String, port: u16) -> Config {
    let place = format!("{host}:{port}");
    let opts = OptsBuilder::from_opts(opts.clone()).ip_or_hostname(host).tcp_port(port).db_name(None::<String>);
    let opts = opts.socket(None::<String>).into();
    Config { opts, database: String::new(), place, connections: 1, replicas: Vec::new() }
}

fn is_loopback(address: std::net::IpAddr) -> bool {
    address.is_loopback()
}

fn decoded(text: &str, what: &str) -> StoreResult<String> {
    let text = percent_decode_str(text).decode_utf8().map_err(|_| bad(format!("the {what} is not UTF-8")))?;
    if text.contains('\0') {
        return Err(bad(format!("the {what} holds U+0000")));
    }
    Ok(text.into_owned())
}

/// What stands after the question mark.
#[derive(Default)]
struct Parameters {
    connections: Option<usize>,
    tls: Option<Tls>,
    tls_ca: Option<String>,
    socket: Option<String>,
    replicas: Vec<(String, u16)>,
}

impl Parameters {
    fn read(url: &Url) -> StoreResult<Parameters> {
        let mut found = Parameters::default();
        for (name, value) in url.query_pairs() {
            match (&*name, &*value) {
                ("connections", count) => {
                    let count = count.parse().ok().filter(|n| (2..=CONNECTIONS_MAX).contains(n));
                    found.connections =
                        Some(count.ok_or_else(|| bad(format!("connections must be 2 to {CONNECTIONS_MAX}")))?);
                }
                ("tls", "on") => found.tls = Some(Tls::On),
                ("tls", "off") => found.tls = Some(Tls::Off),
                ("tls", "unchecked") => found.tls = Some(Tls::Unchecked),
                ("tls", _) => return Err(bad("tls must be on, off or unchecked")),
                ("tls_ca", file) if !file.is_empty() => found.tls_ca = Some(file.to_owned()),
                ("socket", file) if !file.is_empty() => found.socket = Some(file.to_owned()),
                ("replica", place) => {
                    let split = place.rsplit_once(':').map(|(host, port)| (host.to_owned(), port.parse().ok()));
                    match split {
                        Some((host, Some(port))) if !host.is_empty() => found.replicas.push((host, port)),
                        _ => return Err(bad("replica must be HOST:PORT")),
                    }
                }
                (other, _) => return Err(bad(format!("the URL has a parameter {other:?} that is not known"))),
            }
        }
        Ok(found)
    }
}

fn ssl(tls: Tls, ca: Option<String>) -> StoreResult<Option<SslOpts>> {
    if tls != Tls::On && ca.is_some() {
        return Err(bad("tls_ca is given, but certificates are not checked"));
    }
    Ok(match tls {
        Tls::Off => None,
        Tls::On => {
            let roots = ca.into_iter().map(|file| std::path::PathBuf::from(file).into());
            Some(SslOpts::default().with_root_certs(roots.collect()))
        }
        Tls::Unchecked => {
            Some(SslOpts::default().with_danger_accept_invalid_certs(true).with_danger_skip_domain_validation(true))
        }
    })
}

fn bad(what: impl std::fmt::Display) -> StoreError {
    StoreError::new(StoreErrorKind::Unsupported, format!("MySQL store: {what}"))
        .with_hint("write mysql://USER:PASSWORD@HOST:PORT/DATABASE, percent-encoded where needed")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls() {
        let check = |url: &str, place: &str, connections: usize, encrypted: bool| {
            let config = Config::parse(url).unwrap_or_else(|e| panic!("{url}: {e}"));
            assert_eq!((config.place.as_str(), config.connections), (place, connections), "{url}");
            assert_eq!(config.opts.ssl_opts().is_some(), encrypted, "{url}");
            assert!(!config.opts.prefer_socket(), "{url}");
        };
        check("mysql://u:p@localhost/shop", "localhost:3306/shop", 16, false);
        check("mariadb://u@127.0.0.1:3307/shop?connections=4", "127.0.0.1:3307/shop", 4, false);
        check("mysql://u@[::1]:3307/shop", "::1:3307/shop", 16, false);
        check("mysql://u@db.example/shop", "db.example:3306/shop", 16, true);
        check("mysql://u@db.example/shop?tls=off", "db.example:3306/shop", 16, false);
        check("mysql://u@localhost/shop?tls=unchecked", "localhost:3306/shop", 16, true);
        check("mysql://u@h/shop?socket=%2Frun%2Fs", "/run/s/shop", 16, false);
        let odd = Config::parse("mysql://a%40b:p%2F%3A@h/with%20space").unwrap();
        assert_eq!((odd.opts.user(), odd.opts.pass()), (Some("a@b"), Some("p/:")));
        assert_eq!(odd.database, "with space");
        assert!(!odd.place.contains("p/:"), "no password in messages");
        let watched = Config::parse("mysql://a:b@h/d?replica=r1:3307&replica=r2:3308&socket=%2Fs").unwrap();
        let places: Vec<&str> = watched.replicas.iter().map(|replica| replica.place.as_str()).collect();
        assert_eq!(places, ["r1:3307", "r2:3308"]);
        assert_eq!((watched.replicas[0].opts.user(), watched.replicas[0].opts.socket()), (Some("a"), None));
    }

    #[test]
    fn refused_urls() {
        let check = |url: &str, says: &str| {
            let error = Config::parse(url).unwrap_err();
            assert_eq!(error.kind, StoreErrorKind::Unsupported, "{url}");
            assert!(error.message.contains(says), "{url}: {error}");
            assert!(!error.message.contains("secret") && error.hint.is_some(), "{url}: {error}");
        };
        check("postgres://u:secret@h/d", "neither mysql:");
        check("mysql:///shop", "no host");
        check("mysql://u:secret@h", "one database");
        check("mysql://u:secret@h/", "one database");
        check("mysql://u:secret@h/a/b", "one database");
        check("mysql://h/shop", "no user");
        check("mysql://u:secret@h/shop?connections=1", "connections must be");
        check("mysql://u:secret@h/shop?connections=x", "connections must be");
        check("mysql://u:secret@h/shop?tls=maybe", "tls must be");
        check("mysql://u:secret@h/shop?tls=off&tls_ca=x", "not checked");
        check("mysql://u:secret@h/shop?charset=x", "\"charset\"");
        check("mysql://u:secret@h/shop?replica=r", "replica must be");
        check("mysql://u:secret@h/a%00b", "U+0000");
        check("mysql://u:secret@h:x/shop", "cannot be read");
    }
}
