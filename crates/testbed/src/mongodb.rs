//! MongoDB: a real mongod, alone, as a replica set of one, or as a set of three.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use mongodb::bson::{Document, doc};
use mongodb::options::ClientOptions;
use mongodb::{Client, Database};

use crate::server::{ADMIN, free_port};
use crate::supervisor::Supervisor;
use crate::{Outcome, cache, must, wheels};

/// The replica set's name.
const SET: &str = "testbed";

/// How long a server may take until it answers, and a set until it has a
/// primary and its secondaries have caught up.
const READY_SECONDS_MAX: u64 = 30;

/// How long one question of ours waits for a server.
const QUESTION: Duration = Duration::from_secs(2);

/// mongod runs as whoever runs the tests; it refuses nobody.
const ACCOUNT: &str = "root";

/// What every server is started with: nothing but loopback, small memory, and
/// the commands with which a test makes a server fail on cue.
const SETTINGS: &[&str] = &[
    "--bind_ip",
    "127.0.0.1",
    "--nounixsocket",
    "--oplogSize",
    "100",
    "--wiredTigerCacheSizeGB",
    "0.25",
    "--setParameter",
    "diagnosticDataCollectionEnabled=false",
    "--setParameter",
    "enableTestCommands=1",
];

/// How many servers, and how they stand together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Topology {
    /// One server without a replica set: no transactions.
    Standalone,
    /// A replica set of one.
    Single,
    /// A replica set of three; one may be lost.
    Three,
}

/// Who may connect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Everybody, without a password.
    Open,
    /// Accounts only: see [`Mongodb::account`].
    Accounts,
}

/// One or three servers. Dropping it ends them and removes their data.
#[derive(Debug)]
pub struct Mongodb {
    nodes: Vec<Node>,
    topology: Topology,
    access: Access,
    databases: AtomicU64,
}

/// One server of a [`Mongodb`].
#[derive(Debug)]
struct Node {
    port: u16,
    folder: PathBuf,
    supervisor: Supervisor,
}

impl Mongodb {
    /// Starts servers of the test's own.
    pub fn start(topology: Topology) -> Mongodb {
        must(Mongodb::try_start(topology, Access::Open))
    }

    /// As [`Mongodb::start`], with accounts.
    pub fn start_with_accounts(topology: Topology) -> Mongodb {
        must(Mongodb::try_start(topology, Access::Accounts))
    }

    fn try_start(topology: Topology, access: Access) -> Outcome<Mongodb> {
        let bin = wheels::mongod_folder()?;
        let count = if topology == Topology::Three { 3 } else { 1 };
        let nodes = (0..count).map(|_| Node::begin(&bin, topology, access)).collect::<Outcome<Vec<_>>>()?;
        let server = Mongodb { nodes, topology, access, databases: AtomicU64::new(0) };
        for node in &server.nodes {
            node.wait_ready()?;
        }
        if topology != Topology::Standalone {
            server.initiate()?;
            server.wait_primary()?;
        }
        if access == Access::Accounts {
            let user = doc! { "createUser": ADMIN, "pwd": ADMIN, "roles": ["root"] };
            ask(&server.nodes[0].direct_url(""), "admin", user)?;
        }
        Ok(server)
    }

    fn initiate(&self) -> Outcome<()> {
        let members: Vec<Document> = (0i32..)
            .zip(&self.nodes)
            .map(|(id, node)| doc! { "_id": id, "host": format!("127.0.0.1:{}", node.port) })
            .collect();
        // A test waits for elections: they are as quick as heartbeats allow.
        let settings = doc! { "electionTimeoutMillis": 1_000, "heartbeatIntervalMillis": 200 };
        let config = doc! { "_id": SET, "members": members, "settings": settings };
        ask(&self.nodes[0].direct_url(""), "admin", doc! { "replSetInitiate": config }).map(drop)
    }

    /// Waits until there is a primary that takes writes and, in a set whose
    /// servers all run, until everybody follows it.
    fn wait_primary(&self) -> Outcome<()> {
        let begun = Instant::now();
        while self.find_primary().is_none() || !self.all_follow() {
            if begun.elapsed() > Duration::from_secs(READY_SECONDS_MAX) {
                let told: Vec<String> = self.nodes.iter().map(|node| format!("{:?}", node.hello())).collect();
                return Err(format!("the replica set has no primary: {}", told.join("; ")));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    fn find_primary(&self) -> Option<usize> {
        self.nodes
            .iter()
            .position(|node| node.is_alive() && node.hello().is_ok_and(|hello| says(&hello, "isWritablePrimary")))
    }

    fn all_follow(&self) -> bool {
        let follows = |hello: Document| says(&hello, "isWritablePrimary") || says(&hello, "secondary");
        self.nodes.iter().filter(|node| node.is_alive()).all(|node| node.hello().is_ok_and(follows))
    }

    /// The primary's number: 0 to 2; waits for one.
    pub fn primary(&self) -> usize {
        must(self.wait_primary());
        self.find_primary().unwrap_or_default()
    }

    /// The URL of a fresh database whose name begins with `name`; with accounts
    /// it is for the one that may do everything.
    pub fn database(&self, name: &str) -> String {
        let name = format!("{name}_{}", self.databases.fetch_add(1, Ordering::Relaxed));
        match self.access {
            Access::Open => self.url("", &name, ""),
            Access::Accounts => self.url(&format!("{ADMIN}:{ADMIN}@"), &name, "authSource=admin"),
        }
    }

    /// A new account with these roles in the database of `url`, for example
    /// `readWrite`; the URL for it.
    pub fn account(&self, url: &str, roles: &[&str]) -> String {
        let database = database_of(url);
        let name = format!("user_{}", self.databases.fetch_add(1, Ordering::Relaxed));
        let roles: Vec<Document> = roles.iter().map(|role| doc! { "role": *role, "db": database.as_str() }).collect();
        self.run(url, doc! { "createUser": &name, "pwd": &name, "roles": roles });
        self.url(&format!("{name}:{name}@"), &database, "")
    }

    fn url(&self, login: &str, database: &str, more: &str) -> String {
        let hosts: Vec<String> = self.nodes.iter().map(|node| format!("127.0.0.1:{}", node.port)).collect();
        let set = format!("replicaSet={SET}");
        let words = [if self.topology == Topology::Standalone { "" } else { &set }, more];
        let words: Vec<&str> = words.into_iter().filter(|word| !word.is_empty()).collect();
        let mark = if words.is_empty() { "" } else { "?" };
        format!("mongodb://{login}{}/{database}{mark}{}", hosts.join(","), words.join("&"))
    }

    /// Runs a command in the database of `url`, with a connection of its own; the answer.
    pub fn run(&self, url: &str, command: Document) -> Document {
        must(ask(url, &database_of(url), command))
    }

    /// Runs a command in the database `admin` of one server.
    pub fn run_on(&self, node: usize, command: Document) -> Document {
        let login = if self.access == Access::Accounts { format!("{ADMIN}:{ADMIN}@") } else { String::new() };
        must(ask(&self.nodes[node].direct_url(&login), "admin", command))
    }

    /// The port of the first server on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.nodes[0].port
    }

    /// What a server has logged.
    pub fn log(&self, node: usize) -> String {
        self.nodes[node].log()
    }

    /// Kills one server (SIGKILL). The data stay.
    pub fn kill_node(&self, node: usize) {
        must(self.nodes[node].supervisor.say("kill"));
    }

    /// Kills the primary, `node`, once it has written what no other server has: a
    /// write that the primary alone acknowledged is lost.
    pub fn kill_node_ahead(&self, node: usize) {
        let others = || (0..self.nodes.len()).filter(|other| *other != node);
        let follow = |mode: &str| {
            let stop = doc! { "configureFailPoint": "stopReplProducer", "mode": mode };
            others().for_each(|other| drop(self.run_on(other, stop.clone())));
        };
        follow("alwaysOn");
        let begun = Instant::now();
        while !must(self.nodes[node].hello().map(|hello| is_ahead(&hello))) {
            let waited = begun.elapsed() < Duration::from_secs(READY_SECONDS_MAX);
            must(if waited { Ok(()) } else { Err("nobody writes to the primary".to_owned()) });
        }
        self.kill_node(node);
        follow("off");
    }

    /// Lets one server hang (SIGSTOP): connections stay, nothing is answered.
    pub fn freeze_node(&self, node: usize) {
        must(self.nodes[node].supervisor.say("freeze"));
    }

    /// Lets a frozen server go on.
    pub fn thaw_node(&self, node: usize) {
        must(self.nodes[node].supervisor.say("thaw"));
    }

    /// Starts a killed server again on its data and port, and waits until the
    /// set has a primary and all follow.
    pub fn start_node(&self, node: usize) {
        must(self.nodes[node].supervisor.say("start"));
        must(self.nodes[node].wait_ready());
        if self.topology != Topology::Standalone {
            must(self.wait_primary());
        }
    }

    /// Kills all servers (SIGKILL). The data stay.
    pub fn kill(&self) {
        (0..self.nodes.len()).for_each(|node| self.kill_node(node));
    }

    /// Ends all servers in order. The data stay.
    pub fn stop(&self) {
        self.nodes.iter().for_each(|node| drop(must(node.supervisor.say("stop"))));
    }

    /// Starts all servers again, and waits until they answer.
    pub fn start_again(&self) {
        self.nodes.iter().for_each(|node| drop(must(node.supervisor.say("start"))));
        self.nodes.iter().for_each(|node| must(node.wait_ready()));
        if self.topology != Topology::Standalone {
            must(self.wait_primary());
        }
    }
}

impl Node {
    fn begin(bin: &Path, topology: Topology, access: Access) -> Outcome<Node> {
        let folder = cache::run_folder(ACCOUNT)?;
        let data = folder.join("data");
        std::fs::create_dir_all(&data).map_err(|e| format!("{}: {e}", data.display()))?;
        let port = free_port()?;
        let mut words = vec!["env".to_owned(), format!("LD_LIBRARY_PATH={}", bin.join("lib").display())];
        words.push(bin.join("mongod").display().to_string());
        words.extend(["--dbpath".into(), data.display().to_string(), "--port".into(), port.to_string()]);
        words.extend(SETTINGS.iter().map(|&word| word.to_owned()));
        if topology != Topology::Standalone {
            words.extend(["--replSet".to_owned(), SET.to_owned()]);
        }
        match (access, topology) {
            (Access::Open, _) => {}
            (Access::Accounts, Topology::Standalone) => words.push("--auth".to_owned()),
            (Access::Accounts, _) => words.extend(["--keyFile".to_owned(), key_file(&folder)?]),
        }
        let supervisor = Supervisor::begin(&folder, "TERM", &words)?;
        supervisor.say("start")?;
        Ok(Node { port, folder, supervisor })
    }

    fn direct_url(&self, login: &str) -> String {
        format!("mongodb://{login}127.0.0.1:{}/?directConnection=true", self.port)
    }

    fn hello(&self) -> Outcome<Document> {
        ask(&self.direct_url(""), "admin", doc! { "hello": 1 })
    }

    fn is_alive(&self) -> bool {
        self.supervisor.say("alive").is_ok_and(|word| word == "alive")
    }

    fn log(&self) -> String {
        std::fs::read(self.folder.join("log")).map(|log| String::from_utf8_lossy(&log).into_owned()).unwrap_or_default()
    }

    fn wait_ready(&self) -> Outcome<()> {
        let begun = Instant::now();
        loop {
            if std::net::TcpStream::connect(("127.0.0.1", self.port)).is_ok() && self.hello().is_ok() {
                return Ok(());
            }
            if !self.is_alive() {
                return Err(format!("mongod has ended; its log:\n{}", self.log()));
            }
            if begun.elapsed() > Duration::from_secs(READY_SECONDS_MAX) {
                return Err(format!("mongod does not answer; its log:\n{}", self.log()));
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

/// The secret by which the servers of a set with accounts know each other.
fn key_file(folder: &Path) -> Outcome<String> {
    use std::os::unix::fs::PermissionsExt;
    let file = folder.join("key");
    let told = |e: std::io::Error| format!("{}: {e}", file.display());
    std::fs::write(&file, "testbedtestbed").map_err(told)?;
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).map_err(told)?;
    Ok(file.display().to_string())
}

/// Whether a primary has written what a majority does not have.
fn is_ahead(hello: &Document) -> bool {
    let time = |name: &str| hello.get_document("lastWrite").and_then(|last| last.get_document(name)).ok();
    time("opTime") != time("majorityOpTime")
}

fn says(answer: &Document, name: &str) -> bool {
    answer.get_bool(name).unwrap_or(false)
}

/// What stands between the hosts and the question mark.
fn database_of(url: &str) -> String {
    let path = url.split_once("://").map_or(url, |(_, rest)| rest);
    let path = path.split_once('/').map_or("", |(_, path)| path);
    path.split('?').next().unwrap_or_default().to_owned()
}

/// Blocking inside of an async runtime is refused by tokio, so this blocks on
/// a thread that has a runtime of its own.
fn ask(url: &str, database: &str, command: Document) -> Outcome<Document> {
    let (url, database) = (url.to_owned(), database.to_owned());
    let work = move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|e| e.to_string())?;
        runtime.block_on(async {
            let mut options = ClientOptions::parse(&url).await.map_err(|e| e.to_string())?;
            options.server_selection_timeout = Some(QUESTION);
            options.connect_timeout = Some(QUESTION);
            let client = Client::with_options(options).map_err(|e| e.to_string())?;
            let database: Database = client.database(&database);
            let answer = database.run_command(command).await.map_err(|e| e.to_string());
            client.shutdown().immediate(true).await;
            answer
        })
    };
    std::thread::spawn(work).join().map_err(|_| "the thread that asks MongoDB panicked".to_owned())?
}
