//! MariaDB: data made once for each version, copied for each server.

use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::account::{self, done};
use crate::options::{Flushes, Options, Tls, Version};
use crate::server::{ADMIN, Server, free_port, try_starts};
use crate::sql::Kind;
use crate::{Outcome, cache, install, must, tls};

/// The system account that Debian's package makes for its servers.
const ACCOUNT: &str = "mysql";

/// What every server is started with: a row binlog that says everything, text
/// as Debian's configuration has it, small memory.
const SETTINGS: &[(&str, &str)] = &[
    ("bind-address", "127.0.0.1"),
    ("skip-name-resolve", "1"),
    ("server-id", "1"),
    ("log-bin", "binlog"),
    ("binlog-format", "ROW"),
    ("binlog-row-metadata", "FULL"),
    ("character-set-server", "utf8mb4"),
    ("collation-server", "utf8mb4_general_ci"),
    ("max-connections", "200"),
    ("innodb-buffer-pool-size", "64M"),
    ("innodb-log-file-size", "16M"),
];

/// A MariaDB server; see [`Server`] for what can be done with it. Its URLs are
/// `mysql://…`.
#[derive(Debug)]
pub struct Mariadb {
    server: Server,
}

impl Deref for Mariadb {
    type Target = Server;

    fn deref(&self) -> &Server {
        &self.server
    }
}

impl Mariadb {
    /// Starts a server of the test's own.
    pub fn start(options: Options) -> Mariadb {
        must(Mariadb::try_start(options))
    }

    fn try_start(options: Options) -> Outcome<Mariadb> {
        if options.version != Version::System {
            return Err(format!("MariaDB has no version {:?} here", options.version));
        }
        install::system_packages()?;
        let mariadbd = install::program("mariadbd").ok_or("no MariaDB after its installation")?;
        let template = template(&mariadbd)?;
        let server = try_starts(|| {
            let folder = cache::run_folder(ACCOUNT)?;
            cache::copy(&template, &folder.join("data"))?;
            begin(&mariadbd, folder, &options)
        })?;
        Ok(Mariadb { server })
    }
}

fn begin(mariadbd: &Path, folder: PathBuf, options: &Options) -> Outcome<Server> {
    if options.tls == Tls::On {
        tls::make_certificate(&folder)?;
    }
    let accounts = format!(
        "DELETE FROM mysql.global_priv WHERE User='';\nFLUSH PRIVILEGES;\n\
         CREATE USER IF NOT EXISTS '{ADMIN}'@'%' IDENTIFIED BY '{ADMIN}';\n\
         GRANT ALL ON *.* TO '{ADMIN}'@'%' WITH GRANT OPTION;\n"
    );
    let init = folder.join("accounts.sql");
    std::fs::write(&init, accounts).map_err(|e| format!("{}: {e}", init.display()))?;
    // A server that starts removes what it takes for its own left-overs there.
    let temporary = folder.join("tmp");
    std::fs::create_dir_all(&temporary).map_err(|e| format!("{}: {e}", temporary.display()))?;
    account::give(&folder, ACCOUNT)?;
    let port = free_port()?;
    let command = command(mariadbd, &folder, port, options);
    Server::begin(Kind::Mariadb, folder, port, options.tls, &command)
}

fn command(mariadbd: &Path, folder: &Path, port: u16, options: &Options) -> Vec<String> {
    let mut words = account::prefix(ACCOUNT);
    words.extend([mariadbd.display().to_string(), "--no-defaults".to_owned()]);
    let mut set = |name: &str, value: &str| words.push(format!("--{name}={value}"));
    let file = |name: &str| folder.join(name).display().to_string();
    set("datadir", &file("data"));
    set("tmpdir", &file("tmp"));
    set("port", &port.to_string());
    set("socket", &file("socket"));
    set("pid-file", &file("pid"));
    set("init-file", &file("accounts.sql"));
    for (name, value) in SETTINGS {
        set(name, value);
    }
    if options.flushes == Flushes::Off {
        set("innodb-flush-log-at-trx-commit", "0");
        set("sync-binlog", "0");
        set("innodb-flush-method", "nosync");
        set("sync-frm", "0");
    } else {
        set("innodb-flush-log-at-trx-commit", "1");
        set("sync-binlog", "1");
    }
    if options.tls == Tls::On {
        set("ssl-ca", &file("ca.pem"));
        set("ssl-cert", &file("server.pem"));
        set("ssl-key", &file("server.key"));
    }
    for (name, value) in &options.settings {
        set(name, value);
    }
    words
}

/// The data as the installation program leaves them, made once for each version.
fn template(mariadbd: &Path) -> Outcome<PathBuf> {
    let version = Command::new(mariadbd).arg("--version").output().map_err(|e| format!("mariadbd: {e}"))?;
    let text = String::from_utf8_lossy(&version.stdout).into_owned();
    let version = text.split_whitespace().skip_while(|word| *word != "Ver").nth(1).unwrap_or("unknown");
    cache::entry(&format!("data-mariadb-{version}"), |entry| {
        let folder = cache::run_folder(ACCOUNT)?;
        let made = install_db(&folder).and_then(|()| cache::copy(&folder.join("data"), entry));
        let _ = std::fs::remove_dir_all(&folder);
        made
    })
}

fn install_db(folder: &Path) -> Outcome<()> {
    let program = install::program("mariadb-install-db").ok_or("there is no mariadb-install-db")?;
    let mut install = Command::new(program);
    install.args(["--no-defaults", "--auth-root-authentication-method=normal", "--skip-test-db"]);
    install.arg("--innodb-log-file-size=16M").arg(format!("--datadir={}", folder.join("data").display()));
    if account::is_root() {
        install.arg(format!("--user={ACCOUNT}"));
    }
    done(install.current_dir(folder), "mariadb-install-db")
}
