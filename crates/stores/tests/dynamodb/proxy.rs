//! What stands between us and the server, and misbehaves on cue: DynamoDB Local
//! itself never throttles and never loses an answer.

use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;

/// What becomes of a request.
#[derive(Clone, Debug)]
pub enum Fault {
    /// Answered by us: status and body.
    Answer(u16, String),
    /// A `BatchGetItem` of which nothing is done.
    Unprocessed,
    /// Done, but the answer is lost.
    Lost,
    /// On its way for as long as the gate is shut.
    Held(Gate),
    /// Done, and its answer is on its way for as long as the gate is shut.
    Late(Gate),
}

/// Tells that a request has come, and lets it go on.
#[derive(Clone, Debug, Default)]
pub struct Gate {
    pub reached: Arc<Notify>,
    pub opened: Arc<Notify>,
}

impl Gate {
    /// One that lets the next request go on at once.
    pub fn open() -> Gate {
        let gate = Gate::default();
        gate.opened.notify_one();
        gate
    }
}

/// Faults for coming requests: the operation, and what becomes of the next one.
type Script = Arc<Mutex<Vec<(&'static str, Fault)>>>;

pub struct Proxy {
    /// The URL of a store behind the proxy.
    pub url: String,
    script: Script,
    seen: Arc<Mutex<Vec<String>>>,
}

/// An error of the service, as it writes it.
pub fn error(code: &str) -> Fault {
    Fault::Answer(400, format!("{{\"__type\":\"com.amazonaws.dynamodb.v20120810#{code}\",\"message\":\"on cue\"}}"))
}

impl Proxy {
    /// In front of the server of a URL of the testbed's.
    pub async fn before(url: &str) -> Proxy {
        let rest = url.strip_prefix("dynamodb://").unwrap();
        let (server, query) = rest.split_once('/').unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let here = listener.local_addr().unwrap();
        let (script, seen) = (Script::default(), Arc::new(Mutex::new(Vec::new())));
        let (server, its_script, its_seen) = (server.to_owned(), script.clone(), seen.clone());
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(serve(client, server.clone(), its_script.clone(), its_seen.clone()));
            }
        });
        Proxy { url: format!("dynamodb://{here}/{query}"), script, seen }
    }

    /// The next requests of an operation fare so.
    pub fn next(&self, operation: &'static str, times: usize, fault: Fault) {
        self.script.lock().unwrap().extend(std::iter::repeat_n((operation, fault), times));
    }

    /// Faults that nobody has met.
    pub fn left(&self) -> usize {
        self.script.lock().unwrap().len()
    }

    /// How many requests of an operation there were.
    pub fn count(&self, operation: &str) -> usize {
        self.seen.lock().unwrap().iter().filter(|seen| *seen == operation).count()
    }
}

async fn serve(mut client: TcpStream, server: String, script: Script, seen: Arc<Mutex<Vec<String>>>) {
    let Some((head, body)) = request(&mut client).await else { return };
    let target = head.lines().find_map(|line| line.to_lowercase().strip_prefix("x-amz-target:").map(str::to_owned));
    let operation = target.unwrap_or_default().rsplit('.').next().unwrap_or_default().to_owned();
    seen.lock().unwrap().push(operation.clone());
    let fault = {
        let mut script = script.lock().unwrap();
        let at = script.iter().position(|(of, _)| of.to_lowercase() == operation);
        at.map(|at| script.remove(at).1)
    };
    let answer = match &fault {
        Some(Fault::Answer(status, body)) => answer(*status, body),
        Some(Fault::Unprocessed) => {
            let asked: serde_json::Value = serde_json::from_slice(&body).unwrap();
            answer(200, &format!("{{\"Responses\":{{}},\"UnprocessedKeys\":{}}}", asked["RequestItems"]))
        }
        Some(Fault::Held(gate)) => {
            gate.reached.notify_one();
            gate.opened.notified().await;
            forward(&server, &head, &body).await
        }
        Some(Fault::Late(gate)) => {
            let answer = forward(&server, &head, &body).await;
            gate.reached.notify_one();
            gate.opened.notified().await;
            answer
        }
        Some(Fault::Lost) | None => forward(&server, &head, &body).await,
    };
    if !matches!(fault, Some(Fault::Lost)) {
        let _ = client.write_all(&answer).await;
    }
    let _ = client.shutdown().await;
}

fn answer(status: u16, body: &str) -> Vec<u8> {
    let head = format!(
        "HTTP/1.1 {status} x\r\nContent-Type: application/x-amz-json-1.0\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), body.as_bytes()].concat()
}

/// A request's head and body.
async fn request(client: &mut TcpStream) -> Option<(String, Vec<u8>)> {
    let mut bytes = Vec::new();
    let mut buffer = [0; 16 * 1024];
    loop {
        if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
            let length =
                head.lines().find_map(|line| line.to_lowercase().strip_prefix("content-length:").map(str::to_owned));
            let length: usize = length.map_or(0, |length| length.trim().parse().unwrap());
            if bytes.len() >= end + 4 + length {
                return Some((head, bytes[end + 4..].to_vec()));
            }
        }
        match client.read(&mut buffer).await {
            Ok(0) | Err(_) => return None,
            Ok(read) => bytes.extend_from_slice(&buffer[..read]),
        }
    }
}

/// The server's answer, to its end.
async fn forward(server: &str, head: &str, body: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(server).await.unwrap();
    let head: Vec<&str> = head.lines().filter(|line| !line.to_lowercase().starts_with("connection:")).collect();
    let head = format!("{}\r\nConnection: close\r\n\r\n", head.join("\r\n"));
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(body).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    answer
}
