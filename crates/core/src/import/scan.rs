//! Where a value ends.

/// Finds the end of one value by brackets and quotes alone.
#[derive(Default)]
pub(super) struct Scan {
    kind: Kind,
    depth: u64,
    in_string: bool,
    escaped: bool,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Kind {
    #[default]
    Unknown,
    Container,
    Text,
    /// A number or a word: it ends where something else begins.
    Plain,
}

impl Scan {
    /// Takes more bytes of the value; returns how many of them belong to it
    /// when it ends among them.
    pub(super) fn feed(&mut self, bytes: &[u8]) -> Option<usize> {
        for (at, byte) in bytes.iter().enumerate() {
            if self.kind == Kind::Unknown {
                self.kind = match byte {
                    b'{' | b'[' => Kind::Container,
                    b'"' => Kind::Text,
                    // A stray bracket or comma is a piece of its own.
                    b'}' | b']' | b',' | b':' => return Some(at + 1),
                    _ => Kind::Plain,
                };
            }
            if self.kind == Kind::Plain {
                if matches!(byte, b',' | b']' | b'}' | b':' | b' ' | b'\n' | b'\r' | b'\t') {
                    return Some(at);
                }
            } else if self.ends_at(*byte) {
                return Some(at + 1);
            }
        }
        None
    }

    fn ends_at(&mut self, byte: u8) -> bool {
        if self.in_string {
            match byte {
                _ if self.escaped => self.escaped = false,
                b'\\' => self.escaped = true,
                b'"' => {
                    self.in_string = false;
                    return self.kind == Kind::Text;
                }
                _ => {}
            }
            return false;
        }
        match byte {
            b'"' => self.in_string = true,
            b'{' | b'[' => self.depth += 1,
            b'}' | b']' => {
                self.depth -= 1;
                return self.depth == 0;
            }
            _ => {}
        }
        false
    }

    /// Whether the value may end with the file.
    pub(super) fn may_end(&self) -> bool {
        self.kind == Kind::Plain
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_ends_where_its_brackets_and_quotes_close() {
        let check = |text: &str, value: &str| {
            // Cut at every place, the end is the same.
            for cut in 0..text.len() {
                let mut scan = Scan::default();
                let (head, tail) = text.as_bytes().split_at(cut);
                let end = scan.feed(head).or_else(|| scan.feed(tail).map(|end| end + cut));
                assert_eq!(end, Some(value.len()), "{text} cut at {cut}");
            }
        };
        check("{} ", "{}");
        check("{\"a\":[1,{\"b\":\"}\\\"]\"}]},", "{\"a\":[1,{\"b\":\"}\\\"]\"}]}");
        check("\"a\\\\\"x", "\"a\\\\\"");
        check("12.5,", "12.5");
        check("true]", "true");
        check("}{", "}");
        let mut open = Scan::default();
        assert_eq!(open.feed(b"{\"a\":1"), None);
        assert!(!open.may_end());
        let mut plain = Scan::default();
        assert_eq!(plain.feed(b"12"), None);
        assert!(plain.may_end());
    }
}
