//! Loading whole SQL scripts with the server's own client: dumps have commands
//! and data that only it reads.

use std::io::Write as _;
use std::process::{Command, Stdio};

use crate::server::Server;
use crate::{Outcome, install, must};

impl Server {
    /// Runs a script in the database at `url` with `psql` or `mariadb`; fails at
    /// its first error.
    pub fn load(&self, url: &str, script: &[u8]) {
        must(load(url, script));
    }
}

fn load(url: &str, script: &[u8]) -> Outcome<()> {
    let (name, mut client) = client(url)?;
    client.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = client.spawn().map_err(|e| format!("{name}: {e}"))?;
    let script = script.to_vec();
    let input = child.stdin.take();
    let writer = std::thread::spawn(move || input.map(|mut input| input.write_all(&script)));
    let output = child.wait_with_output().map_err(|e| format!("{name}: {e}"))?;
    let _ = writer.join();
    match output.status.success() {
        true => Ok(()),
        false => Err(format!("{name}: {}: {}", output.status, String::from_utf8_lossy(&output.stderr))),
    }
}

fn client(url: &str) -> Outcome<(&'static str, Command)> {
    let find = |name: &'static str| install::program(name).ok_or_else(|| format!("there is no {name}"));
    if url.starts_with("postgres") {
        let mut psql = Command::new(find("psql")?);
        psql.args(["--no-psqlrc", "--quiet", "--set", "ON_ERROR_STOP=1", "--dbname", url]);
        return Ok(("psql", psql));
    }
    // scheme://user:password@host:port/database
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let (login, place) = rest.split_once('@').unwrap_or(("root", rest));
    let (user, password) = login.split_once(':').unwrap_or((login, ""));
    let (place, database) = place.split_once('/').unwrap_or((place, ""));
    let (host, port) = place.split_once(':').unwrap_or((place, "3306"));
    let mut mariadb = Command::new(find("mariadb")?);
    mariadb.args([
        "--no-defaults",
        "--protocol=tcp",
        "--default-character-set=utf8mb4",
        "--host",
        host,
        "--port",
        port,
    ]);
    mariadb.args(["--user", user, database.split('?').next().unwrap_or_default()]).env("MYSQL_PWD", password);
    Ok(("mariadb", mariadb))
}
