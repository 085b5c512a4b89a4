//! Other people's programs: pgbench and sysbench, as processes.

use std::io::Read;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};

/// A running program; killed when dropped.
pub struct Program {
    child: Option<Child>,
    name: &'static str,
}

/// What it said until its end.
#[derive(Debug)]
pub struct Ended {
    pub status: ExitStatus,
    pub said: String,
}

impl Program {
    pub fn start(name: &'static str, mut command: Command) -> Program {
        let command = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let child = command.spawn().unwrap_or_else(|e| panic!("{name} is needed by this test: {e}"));
        Program { child: Some(child), name }
    }

    /// Runs to the end, which must be a good one.
    pub fn run(name: &'static str, command: Command) {
        let ended = Program::start(name, command).wait();
        assert!(ended.status.success(), "{name}: {ended:?}");
    }

    fn wait(mut self) -> Ended {
        let mut child = self.child.take().unwrap();
        let (mut out, mut err) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
        let out = std::thread::spawn(move || {
            let mut text = String::new();
            let _ = out.read_to_string(&mut text);
            text
        });
        let mut said = String::new();
        let _ = err.read_to_string(&mut said);
        said.push_str(&out.join().unwrap());
        Ended { status: child.wait().unwrap(), said }
    }

    /// Waits for its own end.
    pub async fn ends(self) -> Ended {
        tokio::task::spawn_blocking(move || self.wait()).await.unwrap()
    }

    /// Whether it still runs.
    pub fn check(&mut self) {
        let ended = self.child.as_mut().unwrap().try_wait().unwrap();
        if ended.is_some() {
            let name = self.name;
            let child = self.child.take();
            panic!("{name} has ended early: {:?}", Program { child, name }.wait());
        }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// A program of PostgreSQL where Debian keeps it, of the newest version.
pub fn postgres_tool(name: &str) -> Command {
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let places = versions.map(|version| version.path().join("bin").join(name));
    let mut found: Vec<PathBuf> = places.filter(|place| place.is_file()).collect();
    found.sort();
    Command::new(found.pop().unwrap_or_else(|| PathBuf::from(name)))
}

pub fn pgbench() -> Command {
    postgres_tool("pgbench")
}
