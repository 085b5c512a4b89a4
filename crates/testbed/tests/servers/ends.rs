//! No server and no folder outlives the test process, however that ends.

use std::io::{BufRead, BufReader, Read};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A process of its own that holds a server and tells its URL.
fn holder(kind: &str) -> (Child, u16) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_testbed"))
        .arg(kind)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the testbed's own binary");
    let mut url = String::new();
    let output = child.stdout.take().expect("its stdout");
    BufReader::new(output).read_line(&mut url).expect("a URL");
    let port = url.trim().rsplit([':', '/']).find_map(|part| part.parse().ok());
    (child, port.unwrap_or_else(|| panic!("no port in {url:?}")))
}

/// Waits until nothing listens any more; there is no event for the end of a
/// process that is not our child.
fn wait_closed(port: u16) {
    let begun = Instant::now();
    while TcpStream::connect(("127.0.0.1", port)).is_ok() {
        assert!(begun.elapsed() < Duration::from_secs(20), "the server on port {port} has outlived its process");
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn dies_with_its_process(kind: &str) {
    let (mut child, port) = holder(kind);
    TcpStream::connect(("127.0.0.1", port)).expect("the server listens");
    child.kill().expect("SIGKILL");
    child.wait().expect("its end");
    wait_closed(port);
}

#[test]
fn servers_die_with_a_killed_process() {
    dies_with_its_process("postgres");
    dies_with_its_process("mariadb");
    dies_with_its_process("dynamodb");
    dies_with_its_process("mongodb");
}

#[test]
fn servers_end_with_a_process_that_exits() {
    let (mut child, port) = holder("postgres");
    drop(child.stdin.take());
    assert!(child.wait().expect("its end").success());
    wait_closed(port);
}

#[test]
fn a_dropped_server_takes_its_folder_along() {
    let server = shearwater_testbed::Postgres::start(shearwater_testbed::Options::new().tls());
    let folder = server.ca_file().parent().expect("a folder").to_owned();
    assert!(folder.join("data").is_dir());
    let port = server.port();
    drop(server);
    assert!(!Path::new(&folder).exists(), "{} is left", folder.display());
    let mut left = String::new();
    let _ = TcpStream::connect(("127.0.0.1", port)).map(|mut stream| stream.read_to_string(&mut left));
    assert!(TcpStream::connect(("127.0.0.1", port)).is_err(), "the server answers after its end");
}
