//! PostgreSQL: a cluster made once for each version, copied for each server.

use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::account::{self, done};
use crate::options::{Flushes, Options, Tls};
use crate::server::{ADMIN, Server, free_port, try_starts};
use crate::sql::Kind;
use crate::{Outcome, cache, install, must, tls};

/// The system account that Debian's package makes for its servers.
const ACCOUNT: &str = "postgres";

/// What every server is started with: logical replication and room for it,
/// small memory, nothing but loopback.
const SETTINGS: &[(&str, &str)] = &[
    ("listen_addresses", "127.0.0.1"),
    ("unix_socket_directories", ""),
    ("wal_level", "logical"),
    ("max_connections", "200"),
    ("max_wal_senders", "20"),
    ("max_replication_slots", "20"),
    ("shared_buffers", "32MB"),
    ("logging_collector", "off"),
];

/// A PostgreSQL server; see [`Server`] for what can be done with it.
#[derive(Debug)]
pub struct Postgres {
    server: Server,
    bin: PathBuf,
    options: Options,
}

impl Deref for Postgres {
    type Target = Server;

    fn deref(&self) -> &Server {
        &self.server
    }
}

impl Postgres {
    /// Starts a server of the test's own.
    pub fn start(options: Options) -> Postgres {
        must(Postgres::try_start(options))
    }

    fn try_start(options: Options) -> Outcome<Postgres> {
        let bin = install::postgres_folder(options.version)?;
        let template = template(&bin)?;
        let server = try_starts(|| {
            let folder = cache::run_folder(ACCOUNT)?;
            cache::copy(&template, &folder.join("data"))?;
            begin(&bin, folder, &options)
        })?;
        Ok(Postgres { server, bin, options })
    }

    /// A read-only replica of this server, which streams from it.
    pub fn replica(&self) -> Postgres {
        must(self.try_replica())
    }

    fn try_replica(&self) -> Outcome<Postgres> {
        let server = try_starts(|| {
            let folder = cache::run_folder(ACCOUNT)?;
            // The npm packages have no pg_basebackup; the system's reads every older server only.
            let program = self.bin.join("pg_basebackup");
            let mut words = account::prefix(ACCOUNT);
            words.push(program.display().to_string());
            let mut copy = account::command(&words);
            copy.arg("-D").arg(folder.join("data")).args(["-R", "-X", "stream", "-c", "fast", "-d"]).arg(self.url());
            done(copy.current_dir(&folder), "pg_basebackup")?;
            begin(&self.bin, folder, &self.options)
        })?;
        Ok(Postgres { server, bin: self.bin.clone(), options: self.options.clone() })
    }
}

/// Starts a server on the data in `folder/data`.
fn begin(bin: &Path, folder: PathBuf, options: &Options) -> Outcome<Server> {
    if options.tls == Tls::On {
        tls::make_certificate(&folder)?;
    }
    account::give(&folder, ACCOUNT)?;
    let bin = install::reachable(bin.to_owned(), ACCOUNT, &folder)?;
    let port = free_port()?;
    let command = command(&bin, &folder, port, options);
    Server::begin(Kind::Postgres, folder, port, options.tls, &command)
}

fn command(bin: &Path, folder: &Path, port: u16, options: &Options) -> Vec<String> {
    let mut words = account::prefix(ACCOUNT);
    let text = |path: PathBuf| path.display().to_string();
    words.extend([text(bin.join("postgres")), "-D".into(), text(folder.join("data")), "-p".into(), port.to_string()]);
    let mut set = |name: &str, value: &str| words.extend(["-c".to_owned(), format!("{name}={value}")]);
    for (name, value) in SETTINGS {
        set(name, value);
    }
    if options.flushes == Flushes::Off {
        set("fsync", "off");
        set("full_page_writes", "off");
        set("synchronous_commit", "off");
    }
    if options.tls == Tls::On {
        set("ssl", "on");
        set("ssl_cert_file", &text(folder.join("server.pem")));
        set("ssl_key_file", &text(folder.join("server.key")));
    }
    for (name, value) in &options.settings {
        set(name, value);
    }
    words
}

/// A cluster as `initdb` leaves it, made once for each version.
fn template(bin: &Path) -> Outcome<PathBuf> {
    let version = Command::new(bin.join("postgres")).arg("--version").output();
    let version = version.map_err(|e| format!("{}: {e}", bin.join("postgres").display()))?;
    let version =
        String::from_utf8_lossy(&version.stdout).replace(|c: char| !c.is_ascii_alphanumeric() && c != '.', "-");
    cache::entry(&format!("cluster-{}", version.trim_matches('-')), |entry| {
        let folder = cache::run_folder(ACCOUNT)?;
        let made = initdb(bin, &folder).and_then(|()| cache::copy(&folder.join("data"), entry));
        let _ = std::fs::remove_dir_all(&folder);
        made
    })
}

fn initdb(bin: &Path, folder: &Path) -> Outcome<()> {
    let password = folder.join("password");
    std::fs::write(&password, ADMIN).map_err(|e| format!("{}: {e}", password.display()))?;
    account::give(folder, ACCOUNT)?;
    let bin = install::reachable(bin.to_owned(), ACCOUNT, folder)?;
    let mut words = account::prefix(ACCOUNT);
    words.push(bin.join("initdb").display().to_string());
    let mut initdb = account::command(&words);
    initdb.args(["--encoding=UTF8", "--locale=C.UTF-8", "--auth=scram-sha-256", "--no-sync", "-U", ADMIN]);
    initdb.arg("--pwfile").arg(&password).arg("-D").arg(folder.join("data"));
    done(initdb.current_dir(folder), "initdb")
}
