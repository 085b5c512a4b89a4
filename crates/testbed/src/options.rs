//! What a test asks of a server of its own.

/// Where a server's binaries come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// The system's package.
    System,
    /// PostgreSQL 17 from the package cache (PostgreSQL only).
    Postgres17,
    /// PostgreSQL 18 from the package cache (PostgreSQL only).
    Postgres18,
}

/// What an account made by [`crate::Server::account`] may do in one database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Privileges {
    /// Everything in this database, nothing on the server: the usual role of
    /// an application's migrations. Never a superuser.
    Owner,
    /// Reads and writes rows of the tables that are there now; makes none.
    Rows,
    /// Reads rows of the tables that are there now.
    ReadOnly,
    /// Connects, and sees nothing.
    Nothing,
}

/// Whether the machine's crash would lose data. A killed process loses none in
/// either: the difference is what the server's own flushes cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flushes {
    Off,
    On,
}

/// Whether a server offers TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tls {
    Off,
    On,
}

/// How to start a server.
#[derive(Clone, Debug)]
pub struct Options {
    pub(crate) version: Version,
    pub(crate) settings: Vec<(String, String)>,
    pub(crate) flushes: Flushes,
    pub(crate) tls: Tls,
}

impl Options {
    /// The system's version, durable, without TLS.
    pub fn new() -> Options {
        Options { version: Version::System, settings: Vec::new(), flushes: Flushes::On, tls: Tls::Off }
    }

    /// Another version.
    pub fn version(mut self, version: Version) -> Options {
        self.version = version;
        self
    }

    /// A server setting, after ours and so above them, for example
    /// `("max_connections", "20")`.
    pub fn setting(mut self, name: &str, value: &str) -> Options {
        self.settings.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Does without flushes to disk: faster, for servers that no test kills.
    pub fn never_killed(mut self) -> Options {
        self.flushes = Flushes::Off;
        self
    }

    /// Offers TLS with a fresh certificate for `localhost` and 127.0.0.1, whose
    /// authority is in the file [`crate::Server::ca_file`].
    pub fn tls(mut self) -> Options {
        self.tls = Tls::On;
        self
    }
}

impl Default for Options {
    fn default() -> Options {
        Options::new()
    }
}
