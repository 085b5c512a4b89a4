//! One client's kept-alive connection to the gateway, through real TCP.

use std::net::SocketAddr;

use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::{self, HeaderMap};
use hyper::{Method, Request};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

/// A connection that opens itself again after a failure.
pub struct Http {
    address: SocketAddr,
    sender: Option<SendRequest<Full<Bytes>>>,
}

/// What a request is made of.
pub struct Ask<'a> {
    /// The method.
    pub method: Method,
    /// Path and query, percent-encoded.
    pub path: &'a str,
    /// Headers besides those that every request has.
    pub headers: &'a [(&'static str, String)],
    /// A JSON body.
    pub body: Option<&'a str>,
}

/// An answer.
#[derive(Debug)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// The `ETag` header, with its quotes.
    pub etag: Option<String>,
    /// Path and query of the next page.
    pub next: Option<String>,
    /// The body.
    pub body: Bytes,
}

/// The connection broke; the request may have been served.
#[derive(Debug)]
pub struct Broken(pub String);

impl Http {
    /// A client of this address; connects with the first request.
    pub fn new(address: SocketAddr) -> Http {
        Http { address, sender: None }
    }

    /// Sends a request and waits for the whole answer.
    pub async fn ask(&mut self, ask: &Ask<'_>) -> Result<Answer, Broken> {
        let answered = self.try_ask(ask).await;
        if answered.is_err() {
            self.sender = None;
        }
        answered
    }

    async fn try_ask(&mut self, ask: &Ask<'_>) -> Result<Answer, Broken> {
        let broken = |error: &dyn std::fmt::Display| Broken(error.to_string());
        let mut request = Request::builder().method(ask.method.clone()).uri(ask.path).header(header::HOST, "localhost");
        for (name, value) in ask.headers {
            request = request.header(*name, value);
        }
        if ask.body.is_some() {
            request = request.header(header::CONTENT_TYPE, "application/json");
        }
        let body = Full::new(ask.body.map(|body| Bytes::copy_from_slice(body.as_bytes())).unwrap_or_default());
        let request = request.body(body).map_err(|e| broken(&e))?;
        let sender = self.connected().await?;
        let response = sender.send_request(request).await.map_err(|e| broken(&e))?;
        let status = response.status().as_u16();
        let text = |name| header_text(response.headers(), name);
        let etag = text("etag");
        let next = text("link").as_deref().and_then(next_of);
        let body = response.into_body().collect().await.map_err(|e| broken(&e))?.to_bytes();
        Ok(Answer { status, etag, next, body })
    }

    async fn connected(&mut self) -> Result<&mut SendRequest<Full<Bytes>>, Broken> {
        let broken = |error: &dyn std::fmt::Display| Broken(error.to_string());
        let usable = match self.sender.take() {
            Some(mut sender) => sender.ready().await.is_ok().then_some(sender),
            None => None,
        };
        let sender = match usable {
            Some(sender) => sender,
            None => {
                let stream = TcpStream::connect(self.address).await.map_err(|e| broken(&e))?;
                stream.set_nodelay(true).map_err(|e| broken(&e))?;
                let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(|e| broken(&e))?;
                // Its end shows in the next request.
                tokio::spawn(async move { drop(connection.await) });
                sender
            }
        };
        Ok(self.sender.insert(sender))
    }
}

fn header_text(headers: &HeaderMap, name: &str) -> Option<String> {
    headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned)
}

/// The path and query of `Link: <…>; rel="next"`. A URL may hold commas, so the
/// links are told apart by their brackets.
fn next_of(link: &str) -> Option<String> {
    let (url, _) = link
        .split('<')
        .filter_map(|part| part.split_once('>'))
        .find(|(_, parameters)| parameters.contains("rel=\"next\"") || parameters.contains("rel=next"))?;
    let path = match url.split_once("://") {
        Some((_, rest)) => &rest[rest.find('/')?..],
        None => url,
    };
    Some(path.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_page_is_read_from_the_link() {
        let check = |link: &str, expect: Option<&str>| assert_eq!(next_of(link).as_deref(), expect, "{link}");
        check("</v1/users?after=x&limit=5>; rel=\"next\"", Some("/v1/users?after=x&limit=5"));
        check("<http://127.0.0.1:80/v1/users?after=x>; rel=\"next\"", Some("/v1/users?after=x"));
        check("</a>; rel=\"first\", </b>; rel=\"next\"", Some("/b"));
        check("</v1/users?order=a,b&after=x>; rel=\"next\"", Some("/v1/users?order=a,b&after=x"));
        check("</a>; rel=\"first\"", None);
        check("", None);
    }
}
