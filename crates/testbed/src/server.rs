//! A running server, whatever its kind: its databases, its accounts, and what
//! can happen to it.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::options::{Privileges, Tls};
use crate::sql::{self, Kind};
use crate::supervisor::Supervisor;
use crate::{Outcome, must};

/// How long a server may take until it answers. Starts take below a second;
/// recovery after a kill on a busy machine takes longer.
const READY_SECONDS_MAX: u64 = 60;

/// How often a start after a kill is tried: the killed server's memory may
/// outlive it for some milliseconds.
const RESTARTS_MAX: u32 = 20;

/// Name and password of the account that may do everything.
pub(crate) const ADMIN: &str = "testbed";

/// A server on a loopback port. Dropping it ends it and removes its data.
#[derive(Debug)]
pub struct Server {
    kind: Kind,
    folder: PathBuf,
    port: u16,
    tls: Tls,
    databases: AtomicU64,
    supervisor: Supervisor,
}

impl Server {
    /// Starts a server whose data are ready in `folder` and waits until it answers.
    pub(crate) fn begin(kind: Kind, folder: PathBuf, port: u16, tls: Tls, command: &[String]) -> Outcome<Server> {
        let supervisor = Supervisor::begin(&folder, kind.stop_signal(), command)?;
        let server = Server { kind, folder, port, tls, databases: AtomicU64::new(0), supervisor };
        server.supervisor.say("start")?;
        server.wait_ready()?;
        Ok(server)
    }

    /// The URL of the server's own database, for the account that may do everything.
    pub fn url(&self) -> String {
        format!("{}://{ADMIN}:{ADMIN}@127.0.0.1:{}/{}", self.kind.scheme(), self.port, self.kind.own_database())
    }

    /// A fresh, empty database whose name begins with `name`; its URL.
    pub fn database(&self, name: &str) -> String {
        self.database_with(name, "")
    }

    /// As [`Server::database`], with further clauses of `CREATE DATABASE`, for
    /// example a collation.
    pub fn database_with(&self, name: &str, clauses: &str) -> String {
        let name = format!("{name}_{}", self.databases.fetch_add(1, Ordering::Relaxed));
        let create = self.kind.create_database(&name, clauses);
        must(sql::run(&self.url(), &[&create]));
        with_database(&self.url(), &name)
    }

    /// A new account in the database of `url`; the URL for it. It is no superuser.
    pub fn account(&self, url: &str, privileges: Privileges) -> String {
        let database = url.rsplit('/').next().unwrap_or_default();
        let name = format!("{}_{}", privileges.name(), self.databases.fetch_add(1, Ordering::Relaxed));
        let statements = self.kind.make_account(&name, database, privileges);
        let words: Vec<&str> = statements.iter().map(String::as_str).collect();
        must(sql::run(&with_database(&self.url(), database), &words));
        format!("{}://{name}:{name}@127.0.0.1:{}/{database}", self.kind.scheme(), self.port)
    }

    /// Runs SQL with a connection of its own: a writer behind everybody's back.
    pub fn run(&self, url: &str, statements: &[&str]) {
        must(sql::run(url, statements));
    }

    /// The rows that a query answers, each value as the server's text.
    pub fn rows(&self, url: &str, query: &str) -> Vec<Vec<Option<String>>> {
        must(sql::rows(url, query))
    }

    /// The port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The file with the authority that signed the server's certificate.
    pub fn ca_file(&self) -> PathBuf {
        assert_eq!(self.tls, Tls::On, "this server was started without Options::tls");
        self.folder.join("ca.pem")
    }

    /// What the server has logged.
    pub fn log(&self) -> String {
        std::fs::read(self.folder.join("log")).map(|log| String::from_utf8_lossy(&log).into_owned()).unwrap_or_default()
    }

    /// Ends the server in order; its sessions are cut. The data stay.
    pub fn stop(&self) {
        must(self.supervisor.say("stop"));
    }

    /// Kills the server and its children (SIGKILL). The data stay.
    pub fn kill(&self) {
        must(self.supervisor.say("kill"));
    }

    /// Lets the server hang (SIGSTOP): connections stay, nothing is answered.
    pub fn freeze(&self) {
        must(self.supervisor.say("freeze"));
    }

    /// Lets a frozen server go on.
    pub fn thaw(&self) {
        must(self.supervisor.say("thaw"));
    }

    /// Starts the server again on its data and port after [`Server::stop`] or
    /// [`Server::kill`], and waits until it answers.
    pub fn start_again(&self) {
        let mut tries = 0;
        loop {
            must(self.supervisor.say("start"));
            match self.wait_ready() {
                Ok(()) => return,
                Err(why) if tries == RESTARTS_MAX => must(Err(why)),
                Err(_) => tries += 1,
            }
            // Ends what is left of the try, so that the next word starts anew.
            must(self.supervisor.say("kill"));
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn wait_ready(&self) -> Outcome<()> {
        let begun = Instant::now();
        loop {
            let why = match sql::run(&self.url(), &["SELECT 1"]) {
                Ok(()) => return Ok(()),
                Err(why) => why,
            };
            if self.supervisor.say("alive")? == "dead" {
                return Err(format!("the server has ended; its log:\n{}", self.log()));
            }
            if begun.elapsed() > Duration::from_secs(READY_SECONDS_MAX) {
                return Err(format!("the server does not answer ({why}); its log:\n{}", self.log()));
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

/// The same URL with another database.
fn with_database(url: &str, database: &str) -> String {
    let server = url.rsplit_once('/').map_or(url, |(server, _)| server);
    format!("{server}/{database}")
}

/// A port that is free now. Somebody may take it before the server does, so
/// starts are tried more than once.
pub(crate) fn free_port() -> Outcome<u16> {
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).map_err(|e| format!("no free port: {e}"))?;
    listener.local_addr().map(|address| address.port()).map_err(|e| format!("no free port: {e}"))
}

/// Tries a start again when it failed, perhaps for the port that somebody took.
pub(crate) fn try_starts<T>(start: impl Fn() -> Outcome<T>) -> Outcome<T> {
    const STARTS_MAX: u32 = 3;
    let mut tries = 1;
    loop {
        match start() {
            Err(why) if tries == STARTS_MAX => return Err(why),
            Err(_) => tries += 1,
            started => return started,
        }
    }
}
