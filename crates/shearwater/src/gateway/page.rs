//! Page tokens: the place after which a list goes on, sealed so that clients
//! can neither read nor forge it. A token holds the place in the client's own
//! shape, so it survives restarts and changes of phase; it is good for one
//! entity, version, order and filter.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::rand::{SecureRandom, SystemRandom};
use shearwater_core::Key;
use shearwater_core::journal::{Journal, JournalError};
use shearwater_core::query::Keyset;
use shearwater_core::value::{Document, Value, json};
use shearwater_engine::records::Shape;

use super::problem::{Kind, Problem};
use super::query::Query;
use super::usage::version;

/// The journal's note that holds the key, shared by all members.
const KEY_NOTE: &str = "page-key";

/// Authenticated with every token: tokens of another format do not open.
const FORMAT: &[u8] = b"shearwater page token 1";

/// Characters of a token: a place is a few values, and a URL has to be carried
/// by every proxy.
pub const TOKEN_CHARS_MAX: usize = 16 * 1024;

/// Seals and opens page tokens.
pub struct Sealer {
    key: LessSafeKey,
    random: SystemRandom,
}

/// A place in a list, with how many records stand before it.
#[derive(Clone, Debug, PartialEq)]
pub struct Place {
    /// The last record of the page before.
    pub keyset: Keyset,
    /// Records in all pages before, for `Content-Range`.
    pub seen: u64,
}

impl Sealer {
    /// With the key that all members share; made by the first who asks.
    pub async fn open(journal: &dyn Journal) -> Result<Sealer, JournalError> {
        let mut fresh = [0; 32];
        let random = SystemRandom::new();
        random.fill(&mut fresh).map_err(|_| JournalError::Unavailable("no random numbers for the page key".into()))?;
        let text = journal.note_once(KEY_NOTE, &URL_SAFE_NO_PAD.encode(fresh)).await?;
        let key = URL_SAFE_NO_PAD.decode(text).ok().filter(|key| key.len() == 32);
        let key = key.ok_or_else(|| JournalError::Damaged(format!("its note {KEY_NOTE} is no key")))?;
        Sealer::with_key(&key).ok_or_else(|| JournalError::Damaged(format!("its note {KEY_NOTE} is no key")))
    }

    /// With a key of 32 bytes; `None` for another length.
    pub fn with_key(key: &[u8]) -> Option<Sealer> {
        let key = UnboundKey::new(&AES_256_GCM, key).ok()?;
        Some(Sealer { key: LessSafeKey::new(key), random: SystemRandom::new() })
    }

    /// The token of a place. The nonce is random: with 96 bits, a repetition
    /// is not to be expected before billions of tokens.
    pub fn seal(&self, entity: &str, shape: Shape, query: &Query, place: &Place) -> Result<String, Problem> {
        let failed = || Problem::new(Kind::Broken, "a page token could not be sealed");
        let mut nonce = [0; NONCE_LEN];
        self.random.fill(&mut nonce).map_err(|_| failed())?;
        let mut text = Vec::with_capacity(256);
        json::write(&Value::Document(document(entity, shape, query, place)), &mut text);
        let nonce_sealed = Nonce::assume_unique_for_key(nonce);
        self.key.seal_in_place_append_tag(nonce_sealed, Aad::from(FORMAT), &mut text).map_err(|_| failed())?;
        let mut token = Vec::with_capacity(NONCE_LEN + text.len());
        token.extend_from_slice(&nonce);
        token.extend_from_slice(&text);
        let token = URL_SAFE_NO_PAD.encode(token);
        match token.len() > TOKEN_CHARS_MAX {
            true => Err(Problem::new(
                Kind::BadQuery,
                "the values that this list is sorted by are too long for a page token",
            )
            .hint("sort by a shorter field")),
            false => Ok(token),
        }
    }

    /// The place of a token, if it was made for this list.
    pub fn open_token(&self, entity: &str, shape: Shape, query: &Query, token: &str) -> Result<Place, Problem> {
        let bad = |why: &str| {
            Problem::new(Kind::BadPageToken, format!("this page token {why}")).hint("begin again at the first page")
        };
        if token.len() > TOKEN_CHARS_MAX {
            return Err(bad("is longer than any that was given out"));
        }
        let mut sealed = URL_SAFE_NO_PAD.decode(token).map_err(|_| bad("is damaged"))?;
        let (nonce, text) = sealed.split_at_mut_checked(NONCE_LEN).ok_or_else(|| bad("is damaged"))?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| bad("is damaged"))?;
        let text =
            self.key.open_in_place(nonce, Aad::from(FORMAT), text).map_err(|_| bad("is damaged or not from here"))?;
        let read = json::parse_document(text).map_err(|_| bad("is damaged"))?;
        let same = |field: &str, value: &str| matches!(read.get(field), Some(Value::Text(text)) if text == value);
        if !same("entity", entity) || !same("version", version(shape)) {
            return Err(bad("belongs to another list"));
        }
        if !same("order", &query.order_text) {
            return Err(bad("belongs to another order"));
        }
        if !same("filter", &hex(&query.filter_hash)) {
            return Err(bad("belongs to another filter"));
        }
        place(&read, query.order.len()).ok_or_else(|| bad("is damaged"))
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn document(entity: &str, shape: Shape, query: &Query, place: &Place) -> Document {
    let mut document = Document::with_capacity(7);
    document.set("entity", entity);
    document.set("version", version(shape));
    document.set("order", query.order_text.as_str());
    document.set("filter", hex(&query.filter_hash));
    document.set("values", Value::Array(place.keyset.values.clone()));
    document.set("key", Value::Array(place.keyset.key.values().to_vec()));
    document.set("seen", Value::from_u64(place.seen));
    document
}

fn place(read: &Document, terms: usize) -> Option<Place> {
    let array = |name: &str| match read.get(name) {
        Some(Value::Array(values)) => Some(values.clone()),
        _ => None,
    };
    let (values, key) = (array("values")?, array("key")?);
    let seen = match read.get("seen")? {
        Value::Int(seen) => u64::try_from(*seen).ok()?,
        _ => return None,
    };
    if values.len() != terms || key.is_empty() {
        return None;
    }
    Some(Place { keyset: Keyset { values, key: Key::composite(key) }, seen })
}

#[cfg(test)]
mod tests {
    use super::super::fields::tests::users;
    use super::super::query;
    use super::*;
    use proptest::prelude::*;

    fn query(raw: &str) -> Query {
        query::read(&users(), raw).unwrap()
    }

    fn sealer() -> Sealer {
        Sealer::with_key(&[7; 32]).unwrap()
    }

    fn place() -> Place {
        let values = vec![Value::Null, Value::Decimal("1.10".parse().unwrap())];
        Place { keyset: Keyset { values, key: Key::single("k") }, seen: 25 }
    }

    const ASKED: &str = "age=gte.21&order=age,balance.desc";

    #[test]
    fn a_token_opens_for_its_own_list_only() {
        let token = sealer().seal("users", Shape::V2, &query(ASKED), &place()).unwrap();
        let open = |entity: &str, shape: Shape, raw: &str| {
            let opened = sealer().open_token(entity, shape, &query(raw), &token);
            opened.map_err(|problem| (problem.kind, problem.detail))
        };
        assert_eq!(open("users", Shape::V2, ASKED), Ok(place()));
        assert_eq!(open("users", Shape::V2, "limit=5&select=id&order=age,balance.desc&age=gte.21"), Ok(place()));
        let refuse = |entity: &str, shape: Shape, raw: &str, detail: &str| {
            assert_eq!(
                open(entity, shape, raw),
                Err((Kind::BadPageToken, format!("this page token {detail}"))),
                "{raw}"
            );
        };
        refuse("books", Shape::V2, ASKED, "belongs to another list");
        refuse("users", Shape::V1, ASKED, "belongs to another list");
        refuse("users", Shape::V2, "age=gte.21&order=age,balance", "belongs to another order");
        refuse("users", Shape::V2, "age=gte.22&order=age,balance.desc", "belongs to another filter");
    }

    #[test]
    fn a_changed_or_foreign_token_does_not_open() {
        let token = sealer().seal("users", Shape::V2, &query(ASKED), &place()).unwrap();
        let other = Sealer::with_key(&[8; 32]).unwrap();
        assert!(other.open_token("users", Shape::V2, &query(ASKED), &token).is_err());
        for at in 0..token.len() {
            let mut changed = token.clone().into_bytes();
            changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
            let changed = String::from_utf8(changed).unwrap();
            // The last character may carry bits that belong to no byte; then it does not decode.
            assert!(sealer().open_token("users", Shape::V2, &query(ASKED), &changed).is_err(), "character {at}");
        }
    }

    #[test]
    fn a_place_that_is_too_long_is_refused_when_it_is_sealed() {
        let mut long = place();
        long.keyset.values[0] = Value::text("x".repeat(TOKEN_CHARS_MAX));
        assert!(sealer().seal("users", Shape::V2, &query(ASKED), &long).is_err());
    }

    proptest! {
        #[test]
        fn texts_survive_the_seal(name in ".*", key in ".*", seen in 0..u64::from(u32::MAX)) {
            let keyset = Keyset { values: vec![Value::text(name), Value::Null], key: Key::single(key.as_str()) };
            let place = Place { keyset, seen };
            let token = sealer().seal("users", Shape::V1, &query(ASKED), &place).unwrap();
            prop_assert_eq!(sealer().open_token("users", Shape::V1, &query(ASKED), &token), Ok(place));
        }

        #[test]
        fn no_token_panics(token in ".{0,80}") {
            let _ = sealer().open_token("users", Shape::V1, &query(ASKED), &token);
        }
    }
}
