//! BSON as bytes: reading the elements of a document where they stand, and
//! writing documents. The driver's own types cannot say all of BSON (the parts
//! of a DBPointer, a decimal that is not canonical, a name that stands twice),
//! and reading where the bytes are saves an intermediate document.

/// Types of elements, as BSON numbers them.
pub(super) mod ty {
    pub(in crate::mongodb) const DOUBLE: u8 = 0x01;
    pub(in crate::mongodb) const STRING: u8 = 0x02;
    pub(in crate::mongodb) const DOCUMENT: u8 = 0x03;
    pub(in crate::mongodb) const ARRAY: u8 = 0x04;
    pub(in crate::mongodb) const BINARY: u8 = 0x05;
    pub(in crate::mongodb) const UNDEFINED: u8 = 0x06;
    pub(in crate::mongodb) const OBJECT_ID: u8 = 0x07;
    pub(in crate::mongodb) const BOOL: u8 = 0x08;
    pub(in crate::mongodb) const DATE: u8 = 0x09;
    pub(in crate::mongodb) const NULL: u8 = 0x0A;
    pub(in crate::mongodb) const REGEX: u8 = 0x0B;
    pub(in crate::mongodb) const DB_POINTER: u8 = 0x0C;
    pub(in crate::mongodb) const CODE: u8 = 0x0D;
    pub(in crate::mongodb) const SYMBOL: u8 = 0x0E;
    pub(in crate::mongodb) const CODE_WITH_SCOPE: u8 = 0x0F;
    pub(in crate::mongodb) const INT32: u8 = 0x10;
    pub(in crate::mongodb) const TIMESTAMP: u8 = 0x11;
    pub(in crate::mongodb) const INT64: u8 = 0x12;
    pub(in crate::mongodb) const DECIMAL128: u8 = 0x13;
    pub(in crate::mongodb) const MAX_KEY: u8 = 0x7F;
    pub(in crate::mongodb) const MIN_KEY: u8 = 0xFF;
}

/// A value where it stands: its type and its bytes, without a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Element<'a> {
    pub(super) ty: u8,
    pub(super) bytes: &'a [u8],
}

/// A value of its own.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Owned {
    pub(super) ty: u8,
    pub(super) bytes: Vec<u8>,
}

impl Owned {
    pub(super) fn new(ty: u8, bytes: impl Into<Vec<u8>>) -> Owned {
        Owned { ty, bytes: bytes.into() }
    }

    pub(super) fn of(element: Element<'_>) -> Owned {
        Owned::new(element.ty, element.bytes)
    }

    pub(super) fn get(&self) -> Element<'_> {
        Element { ty: self.ty, bytes: &self.bytes }
    }

    /// A string.
    pub(super) fn string(text: &str) -> Owned {
        Owned::new(ty::STRING, string_bytes(text))
    }
}

/// What is wrong with bytes that should be BSON.
pub(super) const BROKEN: &str = "the BSON is broken";

const NAME_NOT_UTF8: &str = "a name is not UTF-8";

/// The elements of a document, in their order.
pub(super) struct Elements<'a> {
    rest: &'a [u8],
}

impl<'a> Elements<'a> {
    /// Of a whole document, its length and its end included.
    pub(super) fn of(document: &'a [u8]) -> Result<Elements<'a>, &'static str> {
        let length = length_at(document)?;
        match document.split_last() {
            Some((0, rest)) if length == document.len() && rest.len() >= 4 => Ok(Elements { rest: &rest[4..] }),
            _ => Err(BROKEN),
        }
    }

    fn read(&mut self) -> Result<(&'a str, Element<'a>), &'static str> {
        let (name, element) = self.read_as_bytes()?;
        Ok((std::str::from_utf8(name).map_err(|_| NAME_NOT_UTF8)?, element))
    }

    /// The next element, its name not looked at; only while there is one.
    pub(super) fn read_as_bytes(&mut self) -> Result<(&'a [u8], Element<'a>), &'static str> {
        let (&ty, rest) = self.rest.split_first().ok_or(BROKEN)?;
        let (name, rest) = bytes_to_zero(rest)?;
        let size = size_of(ty, rest)?;
        let (bytes, rest) = rest.split_at_checked(size).ok_or(BROKEN)?;
        self.rest = rest;
        Ok((name, Element { ty, bytes }))
    }
}

impl Elements<'_> {
    /// Whether there is none left.
    pub(super) fn is_at_end(&self) -> bool {
        self.rest.is_empty()
    }
}

impl<'a> Iterator for Elements<'a> {
    type Item = Result<(&'a str, Element<'a>), &'static str>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let read = self.read();
        if read.is_err() {
            self.rest = &[];
        }
        Some(read)
    }
}

/// The element of this name; broken BSON has none.
pub(super) fn find<'a>(document: &'a [u8], name: &str) -> Option<Element<'a>> {
    let elements = Elements::of(document).ok()?;
    elements.map_while(Result::ok).find(|(found, _)| *found == name).map(|(_, element)| element)
}

fn length_at(bytes: &[u8]) -> Result<usize, &'static str> {
    let length = bytes.first_chunk::<4>().map(|length| i32::from_le_bytes(*length)).ok_or(BROKEN)?;
    usize::try_from(length).map_err(|_| BROKEN)
}

fn size_of(ty: u8, rest: &[u8]) -> Result<usize, &'static str> {
    Ok(match ty {
        ty::DOUBLE | ty::DATE | ty::TIMESTAMP | ty::INT64 => 8,
        ty::STRING | ty::CODE | ty::SYMBOL => 4 + length_at(rest)?,
        ty::DOCUMENT | ty::ARRAY | ty::CODE_WITH_SCOPE => length_at(rest)?,
        ty::BINARY => 5 + length_at(rest)?,
        ty::UNDEFINED | ty::NULL | ty::MIN_KEY | ty::MAX_KEY => 0,
        ty::OBJECT_ID => 12,
        ty::BOOL => 1,
        ty::REGEX => {
            let (pattern, rest) = cstring(rest)?;
            pattern.len() + cstring(rest)?.0.len() + 2
        }
        ty::DB_POINTER => 16 + length_at(rest)?,
        ty::INT32 => 4,
        ty::DECIMAL128 => 16,
        _ => return Err("the BSON has an element of an unknown type"),
    })
}

/// A text that ends at the first zero byte, and what comes after.
pub(super) fn cstring(bytes: &[u8]) -> Result<(&str, &[u8]), &'static str> {
    let (text, rest) = bytes_to_zero(bytes)?;
    Ok((std::str::from_utf8(text).map_err(|_| NAME_NOT_UTF8)?, rest))
}

fn bytes_to_zero(bytes: &[u8]) -> Result<(&[u8], &[u8]), &'static str> {
    let end = bytes.iter().position(|b| *b == 0).ok_or(BROKEN)?;
    Ok((&bytes[..end], &bytes[end + 1..]))
}

/// The text of a string's bytes.
pub(super) fn string(bytes: &[u8]) -> Result<&str, &'static str> {
    let length = length_at(bytes)?;
    match bytes[4..].split_last() {
        Some((0, text)) if length == text.len() + 1 => std::str::from_utf8(text).map_err(|_| "a text is not UTF-8"),
        _ => Err(BROKEN),
    }
}

/// The bytes of a string.
pub(super) fn string_bytes(text: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len() + 5);
    out.extend_from_slice(&(text.len() as i32 + 1).to_le_bytes());
    out.extend_from_slice(text.as_bytes());
    out.push(0);
    out
}

/// A document that is being written.
#[derive(Debug)]
pub(super) struct Doc {
    out: Vec<u8>,
    /// Where the lengths of the documents stand that are not ended.
    open: Vec<usize>,
}

impl Doc {
    /// An empty one.
    pub(super) fn new() -> Doc {
        Doc { out: vec![0; 4], open: vec![0] }
    }

    /// The whole document.
    pub(super) fn end(mut self) -> Vec<u8> {
        while !self.open.is_empty() {
            self.close();
        }
        self.out
    }

    fn name(&mut self, ty: u8, name: &str) {
        self.out.push(ty);
        self.out.extend_from_slice(name.as_bytes());
        self.out.push(0);
    }

    /// Appends a value.
    pub(super) fn put(&mut self, name: &str, element: Element<'_>) -> &mut Doc {
        self.name(element.ty, name);
        self.out.extend_from_slice(element.bytes);
        self
    }

    /// Appends a text.
    pub(super) fn text(&mut self, name: &str, text: &str) -> &mut Doc {
        self.name(ty::STRING, name);
        self.out.extend_from_slice(&(text.len() as i32 + 1).to_le_bytes());
        self.out.extend_from_slice(text.as_bytes());
        self.out.push(0);
        self
    }

    /// Appends a 64-bit integer.
    pub(super) fn long(&mut self, name: &str, n: i64) -> &mut Doc {
        self.put(name, Element { ty: ty::INT64, bytes: &n.to_le_bytes() })
    }

    /// Appends a 32-bit integer.
    pub(super) fn int(&mut self, name: &str, n: i32) -> &mut Doc {
        self.put(name, Element { ty: ty::INT32, bytes: &n.to_le_bytes() })
    }

    /// Appends `true`.
    pub(super) fn yes(&mut self, name: &str) -> &mut Doc {
        self.put(name, Element { ty: ty::BOOL, bytes: &[1] })
    }

    /// Appends `false`.
    pub(super) fn no(&mut self, name: &str) -> &mut Doc {
        self.put(name, Element { ty: ty::BOOL, bytes: &[0] })
    }

    /// Appends a document that is whole.
    pub(super) fn document(&mut self, name: &str, document: &[u8]) -> &mut Doc {
        self.put(name, Element { ty: ty::DOCUMENT, bytes: document })
    }

    /// Begins a document inside.
    pub(super) fn begin(&mut self, name: &str) -> &mut Doc {
        self.open_as(ty::DOCUMENT, name)
    }

    /// Begins an array inside; its elements are named `0`, `1`, ….
    pub(super) fn begin_array(&mut self, name: &str) -> &mut Doc {
        self.open_as(ty::ARRAY, name)
    }

    fn open_as(&mut self, ty: u8, name: &str) -> &mut Doc {
        self.name(ty, name);
        self.open.push(self.out.len());
        self.out.extend_from_slice(&[0; 4]);
        self
    }

    /// Ends the document or array that was begun last.
    pub(super) fn close(&mut self) -> &mut Doc {
        self.out.push(0);
        if let Some(at) = self.open.pop() {
            let length = (self.out.len() - at) as i32;
            self.out[at..at + 4].copy_from_slice(&length.to_le_bytes());
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use mongodb::bson::{Document, RawDocumentBuf, doc};

    use super::*;

    #[test]
    fn what_is_written_is_what_the_driver_reads() {
        let mut doc = Doc::new();
        doc.text("t", "a\0b").long("n", -1).begin("d").int("i", 7).begin_array("a").yes("0").no("1").close().close();
        doc.document("e", &Doc::new().end());
        let raw = RawDocumentBuf::from_bytes(doc.end()).unwrap();
        let expected = doc! { "t": "a\0b", "n": -1i64, "d": { "i": 7, "a": [true, false] }, "e": {} };
        assert_eq!(Document::try_from(raw).unwrap(), expected);
    }

    #[test]
    fn broken_bytes_are_an_error_and_no_panic() {
        let whole = RawDocumentBuf::try_from(&doc! { "a": { "b": "text", "c": [1, 2.5] }, "r": "x" }).unwrap();
        let whole = whole.as_bytes();
        for end in 0..whole.len() {
            assert!(Elements::of(&whole[..end]).is_err(), "{end}");
        }
        for at in 4..whole.len() {
            for value in [0, 1, 2, 3, 0x10, 0x7f, 0xff] {
                let mut bytes = whole.to_vec();
                bytes[at] = value;
                if let Ok(elements) = Elements::of(&bytes) {
                    assert!(elements.count() <= bytes.len(), "it ends");
                }
            }
        }
    }
}
