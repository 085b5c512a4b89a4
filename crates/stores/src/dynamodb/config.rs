//! The URL of a DynamoDB store.

use percent_encoding::percent_decode_str;
use shearwater_core::error::{StoreError, StoreErrorKind, StoreResult};
use url::{Host, Url};

/// Variables of the environment that every program of AWS reads.
const ACCESS_KEY: &str = "AWS_ACCESS_KEY_ID";
const SECRET_KEY: &str = "AWS_SECRET_ACCESS_KEY";
const SESSION_TOKEN: &str = "AWS_SESSION_TOKEN";
const REGIONS: [&str; 2] = ["AWS_REGION", "AWS_DEFAULT_REGION"];

/// The type of a key's attribute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum KeyType {
    Text,
    Number,
    Bytes,
}

impl KeyType {
    /// DynamoDB's letter.
    pub(super) fn letter(self) -> &'static str {
        match self {
            KeyType::Text => "S",
            KeyType::Number => "N",
            KeyType::Bytes => "B",
        }
    }

    fn of(letter: &str) -> Option<KeyType> {
        [KeyType::Text, KeyType::Number, KeyType::Bytes].into_iter().find(|ty| ty.letter() == letter)
    }
}

/// Where and how to connect.
#[derive(Clone)]
pub(super) struct Config {
    /// The endpoint; `None`: AWS's own for the region.
    pub(super) endpoint: Option<String>,
    /// Whether the connection is encrypted.
    pub(super) tls: Tls,
    /// The region.
    pub(super) region: String,
    /// Who asks.
    pub(super) credentials: Credentials,
    /// The place as messages name it: no secret.
    pub(super) place: String,
    /// Read units per second that background work takes at most.
    pub(super) read_units_per_s: Option<u32>,
    /// Write units per second that background work takes at most.
    pub(super) write_units_per_s: Option<u32>,
    /// The types of the key's attributes for a table that `provision` makes.
    pub(super) key_types: Vec<KeyType>,
    /// What the partition key's texts begin with, in a table of several entities.
    pub(super) partition_prefix: Option<String>,
    /// What the sort key's texts begin with.
    pub(super) sort_prefix: Option<String>,
}

/// An account's key.
#[derive(Clone)]
pub(super) struct Credentials {
    pub(super) access_key: String,
    pub(super) secret_key: String,
    pub(super) session_token: Option<String>,
}

/// Whether the connection is encrypted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tls {
    Off,
    On,
}

impl Config {
    /// Reads `dynamodb://HOST:PORT/?PARAMETERS` (an endpoint) or
    /// `dynamodb:?region=NAME&PARAMETERS` (AWS).
    pub(super) fn parse(text: &str) -> StoreResult<Config> {
        Config::parse_with(text, &|name| std::env::var(name).ok().filter(|value| !value.is_empty()))
    }

    fn parse_with(text: &str, environment: &dyn Fn(&str) -> Option<String>) -> StoreResult<Config> {
        let url = Url::parse(text).map_err(|e| bad(format!("the URL cannot be read: {e}")))?;
        if url.scheme() != "dynamodb" {
            return Err(bad("the URL does not begin with dynamodb:"));
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(bad("the URL names a user before the host").with_hint(SECRETS_HINT));
        }
        if !matches!(url.path(), "" | "/") {
            return Err(bad("the URL has a path").with_hint("the table is named by `table` in the spec"));
        }
        let mut more = Parameters::read(&url)?;
        let region = more.take("region").or_else(|| REGIONS.iter().find_map(|name| environment(name)));
        let region =
            region.ok_or_else(|| bad("the URL names no region").with_hint("add region=NAME, or set AWS_REGION"))?;
        if !region.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-') {
            return Err(bad("the region is no name of a region"));
        }
        let (tls, endpoint) = endpoint(&url, more.take("tls").as_deref())?;
        let place = endpoint.clone().unwrap_or_else(|| format!("AWS, {region}"));
        let config = Config {
            credentials: credentials(&mut more, environment)?,
            read_units_per_s: more.number("rcu")?,
            write_units_per_s: more.number("wcu")?,
            key_types: key_types(more.take("key_types").as_deref())?,
            partition_prefix: more.take("pk_prefix").filter(|prefix| !prefix.is_empty()),
            sort_prefix: more.take("sk_prefix").filter(|prefix| !prefix.is_empty()),
            endpoint,
            tls,
            region,
            place,
        };
        match more.pairs.first() {
            None => Ok(config),
            Some((name, _)) => Err(bad(format!("the URL has an unknown parameter {name:?}")).with_hint(
                "parameters: region, tls, access_key, secret_key, session_token, rcu, wcu, key_types, pk_prefix, sk_prefix",
            )),
        }
    }
}

const SECRETS_HINT: &str =
    "the key goes into access_key=…&secret_key=${NAME}, or into AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY";

fn endpoint(url: &Url, tls: Option<&str>) -> StoreResult<(Tls, Option<String>)> {
    let local = match url.host() {
        None => false,
        Some(Host::Domain(name)) => {
            name == "localhost" || name.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
        }
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
    };
    let tls = match tls {
        Some("on") => Tls::On,
        Some("off") => Tls::Off,
        Some(_) => return Err(bad("tls is on or off")),
        None if local => Tls::Off,
        None => Tls::On,
    };
    let Some(host) = url.host_str().filter(|host| !host.is_empty()) else {
        if tls == Tls::Off {
            return Err(bad("AWS is reached with tls=on only"));
        }
        return Ok((tls, None));
    };
    let scheme = if tls == Tls::On { "https" } else { "http" };
    let port = url.port().map_or(String::new(), |port| format!(":{port}"));
    Ok((tls, Some(format!("{scheme}://{host}{port}"))))
}

fn credentials(more: &mut Parameters, environment: &dyn Fn(&str) -> Option<String>) -> StoreResult<Credentials> {
    let denied =
        |what: &str| StoreError::new(StoreErrorKind::Denied, format!("DynamoDB: {what}")).with_hint(SECRETS_HINT);
    match (more.take("access_key"), more.take("secret_key"), more.take("session_token")) {
        (Some(access_key), Some(secret_key), session_token) => {
            Ok(Credentials { access_key, secret_key, session_token })
        }
        (None, None, None) => Ok(Credentials {
            access_key: environment(ACCESS_KEY).ok_or_else(|| denied("there are no credentials"))?,
            secret_key: environment(SECRET_KEY).ok_or_else(|| denied("there are no credentials"))?,
            session_token: environment(SESSION_TOKEN),
        }),
        _ => Err(denied("access_key and secret_key go together")),
    }
}

fn key_types(text: Option<&str>) -> StoreResult<Vec<KeyType>> {
    let Some(text) = text else { return Ok(Vec::new()) };
    let types: Option<Vec<KeyType>> = text.split(',').map(KeyType::of).collect();
    types.filter(|types| types.len() <= 2).ok_or_else(|| {
        bad("key_types is not understood").with_hint("one of S, N, B for each key field, for example key_types=S,N")
    })
}

/// What stands after the question mark.
struct Parameters {
    pairs: Vec<(String, String)>,
}

impl Parameters {
    fn read(url: &Url) -> StoreResult<Parameters> {
        let mut pairs: Vec<(String, String)> = Vec::new();
        for part in url.query().unwrap_or_default().split('&').filter(|part| !part.is_empty()) {
            let (name, value) = part.split_once('=').unwrap_or((part, ""));
            // A secret key may hold a plus sign, which stands for itself here.
            let value = percent_decode_str(value).decode_utf8().map_err(|_| bad(format!("{name} is not UTF-8")))?;
            if pairs.iter().any(|(other, _)| other == name) {
                return Err(bad(format!("the URL gives {name:?} twice")));
            }
            pairs.push((name.to_owned(), value.into_owned()));
        }
        Ok(Parameters { pairs })
    }

    fn take(&mut self, name: &str) -> Option<String> {
        let at = self.pairs.iter().position(|(other, _)| other == name)?;
        Some(self.pairs.remove(at).1)
    }

    fn number(&mut self, name: &str) -> StoreResult<Option<u32>> {
        let Some(text) = self.take(name) else { return Ok(None) };
        match text.parse() {
            Ok(number) if number > 0 => Ok(Some(number)),
            _ => Err(bad(format!("{name} is no number of units per second above 0"))),
        }
    }
}

fn bad(what: impl Into<String>) -> StoreError {
    StoreError::new(StoreErrorKind::Unsupported, format!("DynamoDB: {}", what.into())).with_hint(
        "dynamodb://HOST:PORT/?region=NAME&access_key=NAME&secret_key=${NAME} for an endpoint, \
         dynamodb:?region=NAME for AWS with AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY from the environment",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> StoreResult<Config> {
        Config::parse_with(text, &|name| match name {
            ACCESS_KEY => Some("ID".to_owned()),
            SECRET_KEY => Some("from-environment".to_owned()),
            "AWS_REGION" => Some("eu-central-1".to_owned()),
            _ => None,
        })
    }

    #[test]
    fn urls_are_read() {
        let aws = parse("dynamodb:?region=eu-west-1&rcu=100&wcu=5").unwrap();
        assert_eq!((aws.endpoint, aws.tls, aws.region.as_str()), (None, Tls::On, "eu-west-1"));
        assert_eq!((aws.read_units_per_s, aws.write_units_per_s), (Some(100), Some(5)));
        assert_eq!((aws.credentials.access_key.as_str(), aws.place.as_str()), ("ID", "AWS, eu-west-1"));
        let local = parse("dynamodb://127.0.0.1:8000/?access_key=a&secret_key=b%2B+c&key_types=S,N&pk_prefix=USER%23");
        let local = local.unwrap();
        assert_eq!(local.endpoint.as_deref(), Some("http://127.0.0.1:8000"));
        assert_eq!((local.region.as_str(), local.credentials.secret_key.as_str()), ("eu-central-1", "b++c"));
        assert_eq!(local.key_types, [KeyType::Text, KeyType::Number]);
        assert_eq!((local.partition_prefix.as_deref(), local.sort_prefix), (Some("USER#"), None));
        assert_eq!(parse("dynamodb://db.example/").unwrap().endpoint.as_deref(), Some("https://db.example"));
    }

    #[test]
    fn other_urls_are_refused_without_their_secrets() {
        let check = |text: &str, expect: &str| {
            let error = parse(text).err().unwrap();
            assert!(error.message.contains(expect) && error.hint.is_some(), "{text}: {error:?}");
            assert!(!error.message.contains("s3cret"), "{error}");
        };
        check("dynamodb://me:s3cret@localhost/", "names a user");
        check("dynamodb://localhost/users", "has a path");
        check("dynamodb://localhost/?secret_key=s3cret", "go together");
        check("dynamodb://localhost/?tls=maybe", "on or off");
        check("dynamodb:?tls=off", "tls=on only");
        check("dynamodb:?rcu=0", "rcu is no number");
        check("dynamodb:?rcu=1&rcu=2", "twice");
        check("dynamodb:?key_types=S,X", "key_types");
        check("dynamodb:?colour=red", "unknown parameter");
        check("dynamodb:?region=a/b", "no name of a region");
        let nobody = Config::parse_with("dynamodb:?region=eu-west-1", &|_| None).err().unwrap();
        assert_eq!(nobody.kind, StoreErrorKind::Denied);
        assert!(Config::parse_with("dynamodb:", &|_| None).err().unwrap().message.contains("no region"));
    }
}
