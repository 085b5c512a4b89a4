//! Cuts one JSON array or object into the texts of its members, without
//! reading them: so each can be read as its field's type from its own digits.
//! Every cut-out text is parsed strictly afterwards, so what is malformed
//! inside is found there.

/// A cut-out text with its place in the body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece<'a> {
    /// The text, without white space around it.
    pub text: &'a [u8],
    /// Its first byte's place in the body.
    pub at_byte: usize,
}

/// A text that is no array or object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed {
    /// Where.
    pub at_byte: usize,
    /// What was expected there.
    pub expected: &'static str,
}

impl<'a> Piece<'a> {
    /// A whole body.
    pub fn of(body: &'a [u8]) -> Piece<'a> {
        Piece { text: body, at_byte: 0 }.trimmed()
    }

    fn trimmed(self) -> Piece<'a> {
        let text = self.text;
        let blank = |byte: &u8| matches!(byte, b' ' | b'\t' | b'\n' | b'\r');
        let start = text.iter().position(|byte| !blank(byte)).unwrap_or(text.len());
        let end = text.iter().rposition(|byte| !blank(byte)).map_or(start, |last| last + 1);
        Piece { text: &text[start..end], at_byte: self.at_byte + start }
    }

    fn part(self, from: usize, to: usize) -> Piece<'a> {
        Piece { text: &self.text[from..to], at_byte: self.at_byte + from }.trimmed()
    }

    /// The first byte; 0 when there is none.
    pub fn first(self) -> u8 {
        self.text.first().copied().unwrap_or(0)
    }

    /// The elements of an array.
    pub fn elements(self) -> Result<Vec<Piece<'a>>, Malformed> {
        self.members(b'[', b']', "an array")
    }

    /// The names and values of an object; the names as they stand, in quotes.
    pub fn fields(self) -> Result<Vec<(Piece<'a>, Piece<'a>)>, Malformed> {
        let members = self.members(b'{', b'}', "an object")?;
        members.into_iter().map(Piece::name_and_value).collect()
    }

    fn members(self, open: u8, close: u8, expected: &'static str) -> Result<Vec<Piece<'a>>, Malformed> {
        let text = self.text;
        if self.first() != open {
            return Err(Malformed { at_byte: self.at_byte, expected });
        }
        let (mut pieces, mut depth, mut start, mut at) = (Vec::new(), 0_usize, 1, 0);
        while at < text.len() {
            match text[at] {
                b'"' => {
                    at = string_end(text, at)
                        .ok_or(Malformed { at_byte: self.at_byte + at, expected: "a closing quote" })?
                }
                b'[' | b'{' => depth += 1,
                b']' | b'}' => {
                    depth -= 1;
                    if depth == 0 {
                        break;
                    }
                }
                b',' if depth == 1 => {
                    pieces.push(self.part(start, at));
                    start = at + 1;
                }
                _ => {}
            }
            at += 1;
        }
        if at + 1 != text.len() || text[at] != close {
            return Err(Malformed { at_byte: self.at_byte + at, expected: "the end" });
        }
        let last = self.part(start, at);
        if !(last.text.is_empty() && pieces.is_empty()) {
            pieces.push(last);
        }
        Ok(pieces)
    }

    fn name_and_value(self) -> Result<(Piece<'a>, Piece<'a>), Malformed> {
        let bad = Malformed { at_byte: self.at_byte, expected: "a name in double quotes and a colon" };
        if self.first() != b'"' {
            return Err(bad);
        }
        let end = string_end(self.text, 0).ok_or(bad)? + 1;
        let rest = self.part(end, self.text.len());
        match rest.text.split_first() {
            Some((b':', value)) => Ok((self.part(0, end), Piece { text: value, at_byte: rest.at_byte + 1 }.trimmed())),
            _ => Err(bad),
        }
    }
}

/// The place of the quote that closes the one at `open`.
fn string_end(text: &[u8], open: usize) -> Option<usize> {
    let mut at = open + 1;
    while at < text.len() {
        match text[at] {
            b'"' => return Some(at),
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn text(piece: &Piece<'_>) -> String {
        String::from_utf8_lossy(piece.text).into_owned()
    }

    fn check_array(body: &str, expect: Option<&[&str]>) {
        let found = Piece::of(body.as_bytes()).elements().ok();
        let found = found.map(|pieces| pieces.iter().map(text).collect::<Vec<_>>());
        assert_eq!(found, expect.map(|texts| texts.iter().map(|t| (*t).to_owned()).collect()), "{body}");
    }

    fn check_object(body: &str, expect: Option<&[(&str, &str)]>) {
        let found = Piece::of(body.as_bytes()).fields().ok();
        let found = found.map(|pieces| pieces.iter().map(|(n, v)| (text(n), text(v))).collect::<Vec<_>>());
        let expect = expect.map(|pairs| pairs.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect());
        assert_eq!(found, expect, "{body}");
    }

    #[test]
    fn arrays() {
        check_array("[]", Some(&[]));
        check_array(" [ 1 , \"a,]\" , [2,3] , {\"x\":[1]} ] ", Some(&["1", "\"a,]\"", "[2,3]", "{\"x\":[1]}"]));
        check_array("[1,]", Some(&["1", ""]));
        check_array("[\"\\\"\"]", Some(&["\"\\\"\""]));
        check_array("[1", None);
        check_array("[1]]", None);
        check_array("[1}", None);
        check_array("[1] x", None);
        check_array("{}", None);
        check_array("", None);
        check_array("[\"a]", None);
        check_array("[}{]", None);
    }

    #[test]
    fn objects() {
        check_object("{}", Some(&[]));
        check_object("{ \"a\" : 1.10, \"b,:\": {\"c\": 2} }", Some(&[("\"a\"", "1.10"), ("\"b,:\"", "{\"c\": 2}")]));
        check_object("{\"a\":}", Some(&[("\"a\"", "")]));
        check_object("{a:1}", None);
        check_object("{\"a\" 1}", None);
        check_object("{\"a\":1,}", None);
        check_object("[]", None);
    }

    #[test]
    fn places_are_in_the_body() {
        let body = b" {\"a\": 1,  \"b\" :2}";
        let fields = Piece::of(body).fields().unwrap();
        let places: Vec<_> = fields.iter().map(|(name, value)| (name.at_byte, value.at_byte)).collect();
        assert_eq!(places, [(2, 7), (11, 16)]);
    }

    proptest! {
        #[test]
        fn no_body_panics(body in "[\\[\\]{}\",:\\\\a 1]{0,30}") {
            let _ = Piece::of(body.as_bytes()).elements();
            let _ = Piece::of(body.as_bytes()).fields();
        }
    }
}
