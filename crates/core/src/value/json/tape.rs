//! A document's fields where they stand in its text.

use std::borrow::Cow;

use super::{parse, string};
use crate::flat::{Plain, Tape};
use crate::value::{Value, number};

/// Levels of documents and arrays that a tape shows; tables are nested less deep.
const DEPTH_MAX: usize = 16;

/// Shows a document's fields on an empty tape. `false`: the text is no document,
/// or has something in it that only [`super::parse`] can tell: a tag, a number
/// that is neither an `i64` nor a float, a name with an escape in it.
pub fn read_tape<'a>(text: &'a [u8], tape: &mut Tape<'a>) -> bool {
    let Ok(text) = std::str::from_utf8(text) else { return false };
    let mut reader = Reader { text, bytes: text.as_bytes(), at: 0 };
    let read = reader.begins(b'{') && reader.fields(tape, 0).is_some();
    reader.skip_whitespace();
    read && reader.at == text.len()
}

struct Reader<'a> {
    text: &'a str,
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    /// The fields of a document whose bracket was read.
    fn fields(&mut self, tape: &mut Tape<'a>, depth: usize) -> Option<()> {
        if self.begins(b'}') {
            return Some(());
        }
        loop {
            let name = self.name()?;
            self.value(name.as_bytes(), tape, depth)?;
            if !self.begins(b',') {
                return self.begins(b'}').then_some(());
            }
        }
    }

    /// The elements of an array whose bracket was read.
    fn elements(&mut self, tape: &mut Tape<'a>, depth: usize) -> Option<()> {
        if self.begins(b']') {
            return Some(());
        }
        loop {
            self.value(b"", tape, depth)?;
            if !self.begins(b',') {
                return self.begins(b']').then_some(());
            }
        }
    }

    fn value(&mut self, name: &'a [u8], tape: &mut Tape<'a>, depth: usize) -> Option<()> {
        self.skip_whitespace();
        match self.bytes.get(self.at)? {
            b'"' => tape.put(name, Plain::Text(self.string()?)),
            b'-' | b'0'..=b'9' => tape.put(name, self.number()?),
            b't' => tape.put(name, self.word("true", Plain::Bool(true))?),
            b'f' => tape.put(name, self.word("false", Plain::Bool(false))?),
            b'n' => tape.put(name, self.word("null", Plain::Null)?),
            b'{' if depth < DEPTH_MAX => {
                self.at += 1;
                let at = tape.open(name, Plain::Document);
                self.fields(tape, depth + 1)?;
                tape.close(at);
            }
            b'[' if depth < DEPTH_MAX => {
                self.at += 1;
                let at = tape.open(name, Plain::Array);
                self.elements(tape, depth + 1)?;
                tape.close(at);
            }
            _ => return None,
        }
        Some(())
    }

    /// A field's name and the colon after it. One that may be a tag's is none.
    fn name(&mut self) -> Option<&'a str> {
        self.skip_whitespace();
        if self.bytes.get(self.at) != Some(&b'"') {
            return None;
        }
        let Cow::Borrowed(name) = self.string()? else { return None };
        (!name.starts_with('@') && self.begins(b':')).then_some(name)
    }

    fn string(&mut self) -> Option<Cow<'a, str>> {
        let (text, end) = string::read_where_it_stands(self.text, self.at).ok()?;
        self.at = end;
        Some(text)
    }

    fn number(&mut self) -> Option<Plain<'a>> {
        let start = self.at;
        let (end, whole) = parse::scan_number(self.bytes, start).ok()?;
        self.at = end;
        let value = match whole {
            Some(value) => value,
            None => number::classify(&self.text[start..end]).ok()?,
        };
        Some(match value {
            Value::Int(n) => Plain::Int(n),
            Value::Float(x) => Plain::Float(x),
            other => Plain::Other(Box::new(other)),
        })
    }

    fn word(&mut self, word: &str, value: Plain<'a>) -> Option<Plain<'a>> {
        let is_there = self.bytes[self.at..].starts_with(word.as_bytes());
        self.at += word.len();
        is_there.then_some(value)
    }

    /// Steps over a sign, when it is what comes next.
    fn begins(&mut self, sign: u8) -> bool {
        self.skip_whitespace();
        let begins = self.bytes.get(self.at) == Some(&sign);
        self.at += usize::from(begins);
        begins
    }

    fn skip_whitespace(&mut self) {
        while let Some(b' ' | b'\n' | b'\r' | b'\t') = self.bytes.get(self.at) {
            self.at += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Document;
    use crate::value::json;

    /// The document that a tape shows.
    fn document(tape: &Tape<'_>) -> Document {
        let (mut document, mut at) = (Document::new(), 0);
        while let Some(entry) = tape.get(at) {
            document.push(std::str::from_utf8(entry.name).unwrap(), tape.value(at).unwrap()).unwrap();
            at = entry.value.after(at);
        }
        document
    }

    #[test]
    fn a_tape_shows_what_the_parser_reads() {
        for text in [
            "{}",
            " { } ",
            r#"{"a":1,"b":-0,"c":0.1,"d":1e300,"e":true,"f":false,"g":null,"h":"x"}"#,
            r#"{"a" : [ ] , "b" : [1, [2, {"c": []}], {}] }"#,
            "{\"a\":\"\\u00e9\\n\\ud83d\\ude00\",\"\":\"é\"}\n",
            r#"{"a":{"b":{"c":[{"d":9007199254740993}]}}}"#,
            r#"{"a":18446744073709551615,"b":0.12345678901234567890}"#,
        ] {
            let mut tape = Tape::new();
            assert!(read_tape(text.as_bytes(), &mut tape), "{text}");
            assert_eq!(document(&tape), json::parse_document(text.as_bytes()).unwrap(), "{text}");
        }
    }

    #[test]
    fn what_only_the_parser_can_tell_is_left_to_it() {
        let deep = format!("{{\"a\":{}{}}}", "[".repeat(40), "]".repeat(40));
        for text in [
            "",
            "[]",
            "1",
            "{",
            "{}x",
            r#"{"a":1,}"#,
            r#"{"a"1}"#,
            r#"{"a":tru}"#,
            r#"{"a":01}"#,
            r#"{"a":"b}"#,
            "{\"a\":\"\n\"}",
            r#"{"a":"\ud800"}"#,
            r#"{"\u0061":1}"#,
            r#"{"@document":{}}"#,
            r#"{"a":{"@int":"1"}}"#,
            deep.as_str(),
        ] {
            assert!(!read_tape(text.as_bytes(), &mut Tape::new()), "{text}");
        }
        assert!(!read_tape(b"{\"a\":\"\xff\"}", &mut Tape::new()));
    }
}
