//! Entity tags: the authority's stamp (`"2.41"`), or a hash of the content
//! where no sidecar is installed (`"h-…"`). Equal from either store.

use axum::http::HeaderValue;
use shearwater_core::Stamp;
use shearwater_engine::records::Etag;

use super::problem::{Kind, Problem};

/// Tags in one `If-Match` or `If-None-Match`: a client names the versions that
/// it holds, which are few.
pub const TAGS_MAX: usize = 64;

/// The text between the quotes.
pub fn text(etag: Etag) -> String {
    match etag {
        Etag::Stamp(stamp) => stamp.to_string(),
        Etag::Content(hash) => format!("h-{hash:032x}"),
    }
}

/// The header's value, with quotes.
pub fn header_value(etag: Etag) -> HeaderValue {
    let quoted = format!("\"{}\"", text(etag));
    HeaderValue::try_from(quoted).unwrap_or_else(|_| HeaderValue::from_static("\"\""))
}

/// The tag of a text between quotes; `None` when it is none of ours (then it
/// matches nothing).
pub fn parse(text: &str) -> Option<Etag> {
    match text.strip_prefix("h-") {
        Some(hex) if hex.len() == 32 && hex.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) => {
            u128::from_str_radix(hex, 16).ok().map(Etag::Content)
        }
        Some(_) => None,
        // Only the canonical text: "02.41" is no tag that we gave out.
        None => text.parse::<Stamp>().ok().filter(|stamp| stamp.to_string() == text).map(Etag::Stamp),
    }
}

/// What `If-Match` or `If-None-Match` names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tags {
    /// `*`: any version.
    Any,
    /// A list.
    List(Vec<Tag>),
}

/// One tag of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tag {
    /// Whether it began with `W/`.
    pub weak: bool,
    /// The tag, when it is one of ours.
    pub etag: Option<Etag>,
}

impl Tags {
    /// Reads a header: `*`, or tags separated by commas.
    pub fn read(header: &str, value: &str) -> Result<Tags, Problem> {
        if value.trim() == "*" {
            return Ok(Tags::Any);
        }
        let bad = || {
            Problem::new(Kind::BadHeader, format!("{header} is neither * nor a list of quoted entity tags"))
                .hint(format!("for example {header}: \"2.41\""))
        };
        let (mut tags, mut rest) = (Vec::new(), value.trim());
        while !rest.is_empty() {
            let (weak, quoted) = match rest.strip_prefix("W/") {
                Some(quoted) => (true, quoted),
                None => (false, rest),
            };
            let (tag, after) = quoted.strip_prefix('"').and_then(|open| open.split_once('"')).ok_or_else(bad)?;
            tags.push(Tag { weak, etag: parse(tag) });
            rest = after.trim_start();
            rest = match rest.strip_prefix(',') {
                Some(more) if !more.trim().is_empty() => more.trim_start(),
                _ if rest.is_empty() => rest,
                _ => return Err(bad()),
            };
        }
        match tags.len() {
            0 => Err(bad()),
            1..=TAGS_MAX => Ok(Tags::List(tags)),
            found => Err(Problem::new(Kind::BadHeader, format!("{header} names {found} tags; at most {TAGS_MAX}"))),
        }
    }

    /// Weak comparison, as `If-None-Match` does it.
    pub fn match_weakly(&self, etag: Etag) -> bool {
        match self {
            Tags::Any => true,
            Tags::List(tags) => tags.iter().any(|tag| tag.etag == Some(etag)),
        }
    }

    /// The versions that a strong comparison can match, as `If-Match` does it.
    pub fn strong(&self) -> Vec<Etag> {
        match self {
            Tags::Any => Vec::new(),
            Tags::List(tags) => tags.iter().filter(|tag| !tag.weak).filter_map(|tag| tag.etag).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_tag_comes_back_from_its_text(epoch: u64, counter: u64, hash: u128) {
            for etag in [Etag::Stamp(Stamp::new(epoch, counter)), Etag::Content(hash)] {
                prop_assert_eq!(parse(&text(etag)), Some(etag));
                let read = Tags::read("If-Match", header_value(etag).to_str().unwrap()).unwrap();
                prop_assert_eq!(read.strong(), vec![etag]);
            }
        }

        #[test]
        fn no_header_panics(value in ".*") {
            let _ = Tags::read("If-Match", &value);
        }
    }

    fn check(value: &str, expect: Option<&[(bool, Option<Etag>)]>) {
        let read = Tags::read("If-Match", value).ok().map(|tags| match tags {
            Tags::Any => vec![],
            Tags::List(tags) => tags.into_iter().map(|tag| (tag.weak, tag.etag)).collect(),
        });
        assert_eq!(read.as_deref(), expect, "{value}");
    }

    #[test]
    fn lists_are_read_and_foreign_tags_match_nothing() {
        let one = Some(Etag::Stamp(Stamp::new(2, 41)));
        let two = Some(Etag::Stamp(Stamp::new(2, 42)));
        check("*", Some(&[]));
        check("\"2.41\"", Some(&[(false, one)]));
        check("\"2.41\",W/\"2.42\"", Some(&[(false, one), (true, two)]));
        check(" \"2.41\" , \"2.42\" ", Some(&[(false, one), (false, two)]));
        check("\"abc,def\"", Some(&[(false, None)]));
        check("\"02.41\"", Some(&[(false, None)]));
        check("\"h-1\"", Some(&[(false, None)]));
        check("", None);
        check("2.41", None);
        check("\"2.41", None);
        check("\"2.41\" \"2.42\"", None);
        check("\"2.41\",", None);
    }

    #[test]
    fn a_weak_tag_matches_only_weakly() {
        let etag = Etag::Stamp(Stamp::new(2, 41));
        let weak = Tags::read("If-Match", "W/\"2.41\"").unwrap();
        assert!(weak.match_weakly(etag));
        assert!(weak.strong().is_empty());
    }
}
