//! Bearer tokens, compared in constant time.

use std::net::SocketAddr;

use axum::http::{HeaderMap, header};
use ring::{hmac, rand};

use super::problem::{Kind, Problem};

/// A bearer token that requests must carry. Only a keyed hash of it is kept,
/// so comparing takes the same time whatever a client sends, and no output can
/// show it.
pub struct Guard {
    key: hmac::Key,
    tag: hmac::Tag,
}

impl Guard {
    /// Asks for this token.
    pub fn new(token: &str) -> Option<Guard> {
        let key = hmac::Key::generate(hmac::HMAC_SHA256, &rand::SystemRandom::new()).ok()?;
        let tag = hmac::sign(&key, token.as_bytes());
        Some(Guard { key, tag })
    }

    /// Whether the request carries it.
    pub fn check(&self, headers: &HeaderMap) -> Result<(), Problem> {
        let refused = |detail: &str| Problem::new(Kind::Unauthorized, detail).hint("send Authorization: Bearer TOKEN");
        let Some(value) = headers.get(header::AUTHORIZATION) else {
            return Err(refused("the request has no Authorization header"));
        };
        let bytes = value.as_bytes();
        let token = match bytes.split_at_checked(7) {
            Some((scheme, token)) if scheme.eq_ignore_ascii_case(b"bearer ") => token,
            _ => return Err(refused("the Authorization header is no bearer token")),
        };
        match hmac::verify(&self.key, token, self.tag.as_ref()) {
            Ok(()) => Ok(()),
            Err(_) => Err(refused("the bearer token is not the one that is needed")),
        }
    }
}

/// Why a server may not be started as asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what} would listen on {address} without a token; anybody who reaches it could use it")]
pub struct TokenNeeded {
    /// Which server.
    pub what: &'static str,
    /// Where.
    pub address: SocketAddr,
}

/// A guard for the token, which only loopback may do without.
pub fn guard(what: &'static str, address: SocketAddr, token: Option<&str>) -> Result<Option<Guard>, TokenNeeded> {
    match token {
        Some(token) if !token.is_empty() => Guard::new(token).map(Some).ok_or(TokenNeeded { what, address }),
        _ if address.ip().is_loopback() => Ok(None),
        _ => Err(TokenNeeded { what, address }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;

    fn check(value: Option<&str>, expect: bool) {
        let mut headers = HeaderMap::new();
        if let Some(value) = value {
            headers.insert(header::AUTHORIZATION, HeaderValue::from_str(value).unwrap());
        }
        assert_eq!(Guard::new("s3cret").unwrap().check(&headers).is_ok(), expect, "{value:?}");
    }

    #[test]
    fn only_the_token_opens() {
        check(Some("Bearer s3cret"), true);
        check(Some("bearer s3cret"), true);
        check(Some("Bearer s3cre"), false);
        check(Some("Bearer s3crett"), false);
        check(Some("Bearer "), false);
        check(Some("Basic s3cret"), false);
        check(Some("s3cret"), false);
        check(None, false);
    }

    #[test]
    fn only_loopback_does_without_a_token() {
        let check = |address: &str, token: Option<&str>, expect: bool| {
            assert_eq!(guard("the gateway", address.parse().unwrap(), token).is_ok(), expect, "{address} {token:?}");
        };
        check("127.0.0.1:0", None, true);
        check("[::1]:0", None, true);
        check("0.0.0.0:0", None, false);
        check("0.0.0.0:0", Some(""), false);
        check("0.0.0.0:0", Some("s3cret"), true);
        check("192.0.2.1:80", None, false);
    }
}
