//! DynamoDB: Amazon's own DynamoDB Local, which keeps each access key's tables
//! apart, so that an access key is a database here.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::server::{free_port, try_starts};
use crate::supervisor::Supervisor;
use crate::{Outcome, cache, install, must};

/// How long a server may take until it answers: a Java runtime takes two
/// seconds, on a busy machine ten.
const READY_SECONDS_MAX: u64 = 90;

/// How often a start is tried: another process may have taken the port.
const RESTARTS_MAX: u32 = 20;

/// Memory of a server: tests hold little.
const HEAP: &str = "-Xmx512m";

/// Where the tables are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Keeping {
    InMemory,
    OnDisk,
}

/// A DynamoDB Local on a loopback port. Dropping it ends it and removes its data.
#[derive(Debug)]
pub struct DynamoDb {
    folder: PathBuf,
    port: u16,
    databases: AtomicU64,
    supervisor: Supervisor,
}

impl DynamoDb {
    /// Starts a server of the test's own, whose tables survive [`DynamoDb::kill`].
    pub fn start() -> DynamoDb {
        must(DynamoDb::try_start(Keeping::OnDisk))
    }

    /// Starts a server whose tables are in memory.
    pub(crate) fn start_in_memory() -> DynamoDb {
        must(DynamoDb::try_start(Keeping::InMemory))
    }

    fn try_start(keeping: Keeping) -> Outcome<DynamoDb> {
        let java = install::java()?;
        let program = install::dynamodb_folder()?;
        try_starts(|| {
            let folder = cache::own_run_folder()?;
            let port = free_port()?;
            let command = command(&java, &program, &folder, port, keeping)?;
            let supervisor = Supervisor::begin(&folder, "TERM", &command)?;
            let server = DynamoDb { folder, port, databases: AtomicU64::new(0), supervisor };
            server.supervisor.say("start")?;
            server.wait_ready()?;
            Ok(server)
        })
    }

    /// The URL of a fresh database without tables: an access key of its own,
    /// which is the name and a number. Names are letters and digits.
    pub fn database(&self, name: &str) -> String {
        let key = format!("{name}{}", self.databases.fetch_add(1, Ordering::Relaxed));
        format!("dynamodb://127.0.0.1:{}/?tls=off&region=eu-west-1&access_key={key}&secret_key=testbed", self.port)
    }

    /// The port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// What the server has logged.
    pub fn log(&self) -> String {
        std::fs::read(self.folder.join("log")).map(|log| String::from_utf8_lossy(&log).into_owned()).unwrap_or_default()
    }

    /// Kills the server (SIGKILL). The data stay.
    pub fn kill(&self) {
        must(self.supervisor.say("kill"));
    }

    /// Ends the server in order. The data stay.
    pub fn stop(&self) {
        must(self.supervisor.say("stop"));
    }

    /// Lets the server hang (SIGSTOP): connections stay, nothing is answered.
    pub fn freeze(&self) {
        must(self.supervisor.say("freeze"));
    }

    /// Lets a frozen server go on.
    pub fn thaw(&self) {
        must(self.supervisor.say("thaw"));
    }

    /// Starts the server again on its data and port after [`DynamoDb::stop`] or
    /// [`DynamoDb::kill`], and waits until it answers.
    pub fn start_again(&self) {
        let mut tries = 0;
        loop {
            must(self.supervisor.say("start"));
            match self.wait_ready() {
                Ok(()) => return,
                Err(why) if tries == RESTARTS_MAX => must(Err(why)),
                Err(_) => tries += 1,
            }
            must(self.supervisor.say("kill"));
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn wait_ready(&self) -> Outcome<()> {
        let begun = Instant::now();
        while !answers(self.port) {
            if self.supervisor.say("alive")? == "dead" {
                return Err(format!("DynamoDB Local has ended; its log:\n{}", self.log()));
            }
            if begun.elapsed() > Duration::from_secs(READY_SECONDS_MAX) {
                return Err(format!("DynamoDB Local does not answer; its log:\n{}", self.log()));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }
}

fn command(java: &Path, program: &Path, folder: &Path, port: u16, keeping: Keeping) -> Outcome<Vec<String>> {
    let shim = program.join("loopback.so");
    let mut words: Vec<String> = ["env".to_owned(), format!("LD_PRELOAD={}", shim.display())].to_vec();
    words.extend([java.display().to_string(), HEAP.to_owned(), "-XX:TieredStopAtLevel=1".to_owned()]);
    words.push(format!("-Djava.library.path={}", program.join("DynamoDBLocal_lib").display()));
    words.push(format!("-Djava.io.tmpdir={}", folder.display()));
    words.extend(["-jar".to_owned(), program.join("DynamoDBLocal.jar").display().to_string()]);
    words.extend(["-port".to_owned(), port.to_string(), "-disableTelemetry".to_owned()]);
    match keeping {
        Keeping::InMemory => words.push("-inMemory".to_owned()),
        Keeping::OnDisk => {
            let data = folder.join("data");
            std::fs::create_dir_all(&data).map_err(|e| format!("{}: {e}", data.display()))?;
            words.extend(["-dbPath".to_owned(), data.display().to_string()]);
        }
    }
    Ok(words)
}

/// Whether the server answers a request: any answer of HTTP will do, it is
/// the listening that is waited for.
fn answers(port: u16) -> bool {
    let ask = || -> std::io::Result<Vec<u8>> {
        let mut stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        stream.write_all(b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer)?;
        Ok(answer)
    };
    ask().is_ok_and(|answer| answer.starts_with(b"HTTP/1.1 "))
}
