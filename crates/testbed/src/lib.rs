//! Real servers for tests, each on a free loopback port and in a folder of its
//! own, which end when the test process ends, however it ends.
//!
//! ```no_run
//! let url = shearwater_testbed::postgres().database("users"); // shared server, fresh database
//! let own = shearwater_testbed::Mariadb::start(shearwater_testbed::Options::new());
//! own.kill(); // SIGKILL; the data and the port stay
//! own.start_again();
//! ```
//!
//! A test without its server has failed, so everything here panics with what
//! was wrong and what to do. Functions block; they may be called inside and
//! outside of an async runtime.
#![allow(clippy::panic)]

use std::sync::OnceLock;

mod account;
mod cache;
mod client;
mod dynamodb;
mod install;
mod mariadb;
mod mongodb;
mod options;
mod postgres;
mod server;
mod sql;
mod supervisor;
mod tls;
mod wheels;

pub use dynamodb::DynamoDb;
pub use install::install;
pub use mariadb::Mariadb;
pub use mongodb::{Access, Mongodb, Topology};
pub use options::{Options, Privileges, Version};
pub use postgres::Postgres;
pub use server::Server;

/// The PostgreSQL server of this test process (the version of the system's
/// packages), started at the first call. It is shared and never stopped: a test
/// that stops, kills or reconfigures starts its own.
pub fn postgres() -> &'static Postgres {
    static SHARED: OnceLock<Postgres> = OnceLock::new();
    SHARED.get_or_init(|| Postgres::start(Options::new().never_killed()))
}

/// The MariaDB server of this test process; as [`postgres`].
pub fn mariadb() -> &'static Mariadb {
    static SHARED: OnceLock<Mariadb> = OnceLock::new();
    SHARED.get_or_init(|| Mariadb::start(Options::new().never_killed()))
}

/// The DynamoDB Local of this test process, its tables in memory; as [`postgres`].
pub fn dynamodb() -> &'static DynamoDb {
    static SHARED: OnceLock<DynamoDb> = OnceLock::new();
    SHARED.get_or_init(DynamoDb::start_in_memory)
}

/// The MongoDB server of this test process, a replica set of one; as [`postgres`].
pub fn mongodb() -> &'static Mongodb {
    static SHARED: OnceLock<Mongodb> = OnceLock::new();
    SHARED.get_or_init(|| Mongodb::start(Topology::Single))
}

/// What went wrong, for the person who runs the tests.
type Outcome<T> = Result<T, String>;

/// Fails the test that needs the server.
fn must<T>(outcome: Outcome<T>) -> T {
    match outcome {
        Ok(value) => value,
        Err(why) => panic!("testbed: {why}"),
    }
}
