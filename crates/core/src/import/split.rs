//! Cutting a file into the texts of its records, without parsing them: lines,
//! documents that span lines, the elements of an array, the elements of an
//! array deep inside one document.

use std::io::{BufRead, ErrorKind};

use super::scan::Scan;
use crate::limits::IMPORT_RECORD_BYTES_MAX;
use crate::path::{Path, Step};
use crate::value::{Value, json};

/// The text of one record.
pub(super) struct Piece {
    pub(super) number: u64,
    pub(super) at_byte: u64,
    pub(super) text: Vec<u8>,
}

/// Why nothing more can be read.
pub(super) struct Stop {
    pub(super) message: String,
    pub(super) hint: Option<String>,
}

impl Stop {
    fn new(message: impl Into<String>) -> Stop {
        Stop { message: message.into(), hint: None }
    }

    fn with_hint(message: impl Into<String>, hint: &str) -> Stop {
        Stop { message: message.into(), hint: Some(hint.to_owned()) }
    }
}

/// How the records stand in the file.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Layout {
    Unknown,
    /// One record a line.
    Lines,
    /// One record after another, each over several lines.
    Documents,
    /// The elements of an array; `levels` documents are open around it.
    Array {
        levels: usize,
    },
    Over,
}

pub(super) struct Splitter<'a> {
    reader: &'a mut dyn BufRead,
    root: Option<Path>,
    /// Bytes that were read to find out the layout and belong in front of the reader's.
    ahead: Vec<u8>,
    ahead_at: usize,
    layout: Layout,
    at_byte: u64,
    line: u64,
    element: u64,
}

impl<'a> Splitter<'a> {
    pub(super) fn new(reader: &'a mut dyn BufRead, root: Option<Path>) -> Splitter<'a> {
        let (ahead, layout) = (Vec::new(), Layout::Unknown);
        Splitter { reader, root, ahead, ahead_at: 0, layout, at_byte: 0, line: 1, element: 0 }
    }

    /// What [`Splitter::number`] counts.
    pub(super) fn unit(&self) -> &'static str {
        if self.is_array() { "element" } else { "line" }
    }

    /// The line or element that was begun last.
    pub(super) fn number(&self) -> u64 {
        if self.is_array() { self.element } else { self.line }
    }

    /// The place in the file.
    pub(super) fn at_byte(&self) -> u64 {
        self.at_byte
    }

    fn is_array(&self) -> bool {
        self.element > 0 || matches!(self.layout, Layout::Array { .. })
    }

    /// The next record's text; `None` at the end of the file.
    pub(super) fn next_piece(&mut self) -> Result<Option<Piece>, Stop> {
        if self.layout == Layout::Unknown {
            self.layout = self.find_layout()?;
        }
        match self.layout {
            Layout::Lines => self.next_line(),
            Layout::Documents => self.next_document(),
            Layout::Array { levels } => self.next_element(levels),
            Layout::Unknown | Layout::Over => Ok(None),
        }
    }

    fn find_layout(&mut self) -> Result<Layout, Stop> {
        self.check_encoding()?;
        let Some(first) = self.peek_token()? else { return Ok(Layout::Over) };
        if self.root.is_some() {
            return self.find_root();
        }
        if first == b'[' {
            self.step(1);
            return Ok(Layout::Array { levels: 0 });
        }
        // A record over several lines shows in the first line, which does not
        // close its brackets, and the second, which does not begin a record.
        let first = self.read_line()?;
        let mut scan = Scan::default();
        let is_whole = scan.feed(&first).is_some();
        let second = if is_whole { Vec::new() } else { self.read_line()? };
        let goes_on = !is_whole && second.trim_ascii_start().first().is_some_and(|b| *b != b'{');
        self.put_back(first, second);
        Ok(if goes_on { Layout::Documents } else { Layout::Lines })
    }

    fn check_encoding(&mut self) -> Result<(), Stop> {
        const HINT: &str = "save the file as UTF-8 without a byte order mark";
        let start = self.chunk()?;
        match start {
            [0xef, 0xbb, 0xbf, ..] => Err(Stop::with_hint("the file begins with a byte order mark", HINT)),
            [0xff, 0xfe, ..] | [0xfe, 0xff, ..] | [0, _, ..] | [_, 0, ..] => {
                Err(Stop::with_hint("the file is UTF-16 or UTF-32, expected UTF-8", HINT))
            }
            [0x1f, 0x8b, ..] => Err(Stop::with_hint("the file is compressed with gzip", "unpack it first")),
            [b'P', b'K', 3, 4, ..] => Err(Stop::with_hint("the file is a zip archive", "unpack it first")),
            _ => Ok(()),
        }
    }

    fn next_line(&mut self) -> Result<Option<Piece>, Stop> {
        loop {
            let (number, at_byte) = (self.line, self.at_byte);
            let mut text = self.read_line()?;
            if text.is_empty() {
                self.layout = Layout::Over;
                return Ok(None);
            }
            while let Some(b'\n' | b'\r') = text.last() {
                text.pop();
            }
            if !text.trim_ascii().is_empty() {
                return Ok(Some(Piece { number, at_byte, text }));
            }
        }
    }

    fn next_document(&mut self) -> Result<Option<Piece>, Stop> {
        if self.peek_token()?.is_none() {
            self.layout = Layout::Over;
            return Ok(None);
        }
        let (number, at_byte) = (self.line, self.at_byte);
        let text = self.take_value()?;
        Ok(Some(Piece { number, at_byte, text }))
    }

    fn next_element(&mut self, levels: usize) -> Result<Option<Piece>, Stop> {
        let found = self.peek_token()?;
        match (self.element, found) {
            (_, Some(b']')) => {
                self.step(1);
                self.close(levels)?;
                self.layout = Layout::Over;
                return Ok(None);
            }
            (0, _) => {}
            (_, Some(b',')) => {
                self.step(1);
                if let Some(b']') = self.peek_token()? {
                    return Err(Stop::new("found `]` after a comma, expected a value"));
                }
            }
            (_, Some(_)) => return Err(Stop::new("expected `,` or `]` after an element")),
            (_, None) => {}
        }
        if self.peek_token()?.is_none() {
            return Err(Stop::with_hint("the file ends within the array", "the file may be cut off"));
        }
        self.element += 1;
        let at_byte = self.at_byte;
        let text = self.take_value()?;
        Ok(Some(Piece { number: self.element, at_byte, text }))
    }

    /// Walks to the array that the root names.
    fn find_root(&mut self) -> Result<Layout, Stop> {
        let names = self.root_names()?;
        for name in &names {
            match self.peek_token()? {
                Some(b'{') => self.step(1),
                _ => return Err(Stop::new(format!("expected a document that holds {name:?}"))),
            }
            if self.peek_token()? == Some(b'}') {
                return Err(no_field(name));
            }
            while self.read_name()? != *name {
                self.take_value()?;
                match self.peek_token()? {
                    Some(b',') => self.step(1),
                    Some(b'}') => return Err(no_field(name)),
                    _ => return Err(Stop::new("expected `,` or `}` after a field")),
                }
            }
        }
        match self.peek_token()? {
            Some(b'[') => self.step(1),
            _ => return Err(Stop::new("the root is no array, expected an array of records")),
        }
        Ok(Layout::Array { levels: names.len() })
    }

    fn root_names(&self) -> Result<Vec<String>, Stop> {
        let steps = self.root.as_ref().map_or(&[][..], Path::steps);
        let names = steps.iter().map(|step| match step {
            Step::Field(name) => Ok(name.clone()),
            Step::Index(_) => Err(Stop::new("the root names fields only, no place in an array")),
        });
        names.collect()
    }

    /// Reads to the end of the file behind the array: the documents around it
    /// must close, and must not hold the root a second time.
    fn close(&mut self, levels: usize) -> Result<(), Stop> {
        let names = self.root_names()?;
        for level in (0..levels).rev() {
            loop {
                match self.peek_token()? {
                    Some(b'}') => {
                        self.step(1);
                        break;
                    }
                    Some(b',') => self.step(1),
                    _ => return Err(Stop::with_hint("expected `,` or `}` after the root", "the file may be cut off")),
                }
                if self.read_name()? == names[level] {
                    return Err(Stop::new(format!("the field {:?} stands twice in one document", names[level])));
                }
                self.take_value()?;
            }
        }
        match self.peek_token()? {
            None => Ok(()),
            Some(_) => Err(Stop::new("something follows the end of the records")),
        }
    }

    /// A field's name and the colon after it.
    fn read_name(&mut self) -> Result<String, Stop> {
        if self.peek_token()? != Some(b'"') {
            return Err(Stop::new("expected a field name in double quotes"));
        }
        let text = self.take_value()?;
        let Ok(Value::Text(name)) = json::parse_untagged(&text) else {
            return Err(Stop::new("a field name is no valid string"));
        };
        if self.peek_token()? != Some(b':') {
            return Err(Stop::new("expected `:` after the field name"));
        }
        self.step(1);
        self.peek_token()?;
        Ok(name)
    }

    /// The text of the value that begins here.
    fn take_value(&mut self) -> Result<Vec<u8>, Stop> {
        let mut text = Vec::with_capacity(512);
        let mut scan = Scan::default();
        loop {
            let chunk = self.chunk()?;
            if chunk.is_empty() {
                if scan.may_end() && !text.is_empty() {
                    return Ok(text);
                }
                return Err(Stop::with_hint("the file ends within a value", "the file may be cut off"));
            }
            let end = scan.feed(chunk);
            let used = end.unwrap_or(chunk.len());
            text.extend_from_slice(&chunk[..used]);
            self.step(used);
            if end.is_some() {
                return Ok(text);
            }
            check_length(&text)?;
        }
    }

    /// A line with its end; empty at the end of the file.
    fn read_line(&mut self) -> Result<Vec<u8>, Stop> {
        let mut line = Vec::with_capacity(512);
        loop {
            let chunk = self.chunk()?;
            let end = chunk.iter().position(|b| *b == b'\n');
            let used = end.map_or(chunk.len(), |at| at + 1);
            line.extend_from_slice(&chunk[..used]);
            self.step(used);
            if end.is_some() || used == 0 {
                return Ok(line);
            }
            check_length(&line)?;
        }
    }

    /// The next byte that is no whitespace, which stays where it is.
    fn peek_token(&mut self) -> Result<Option<u8>, Stop> {
        loop {
            let chunk = self.chunk()?;
            let blanks = chunk.iter().take_while(|b| matches!(b, b' ' | b'\n' | b'\r' | b'\t')).count();
            let found = chunk.get(blanks).copied();
            self.step(blanks);
            if found.is_some() || blanks == 0 {
                return Ok(found);
            }
        }
    }

    /// The bytes that come next; none at the end of the file.
    fn chunk(&mut self) -> Result<&[u8], Stop> {
        if self.ahead_at < self.ahead.len() {
            return Ok(&self.ahead[self.ahead_at..]);
        }
        loop {
            match self.reader.fill_buf() {
                Ok(_) => break,
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) => return Err(Stop::new(format!("the file cannot be read ({e})"))),
            }
        }
        self.reader.fill_buf().map_err(|e| Stop::new(format!("the file cannot be read ({e})")))
    }

    /// Steps over bytes of the chunk.
    fn step(&mut self, count: usize) {
        let lines = |bytes: &[u8]| bytes[..count].iter().filter(|b| **b == b'\n').count() as u64;
        if self.ahead_at < self.ahead.len() {
            self.line += lines(&self.ahead[self.ahead_at..]);
            self.ahead_at += count;
        } else if count > 0 {
            self.line += self.reader.fill_buf().map_or(0, lines);
            self.reader.consume(count);
        }
        self.at_byte += count as u64;
    }

    /// Puts two lines that were just read back in front.
    fn put_back(&mut self, first: Vec<u8>, second: Vec<u8>) {
        let rest = self.ahead.split_off(self.ahead_at);
        let mut ahead = first;
        ahead.extend(second);
        self.at_byte -= ahead.len() as u64;
        self.line -= ahead.iter().filter(|b| **b == b'\n').count() as u64;
        ahead.extend(rest);
        (self.ahead, self.ahead_at) = (ahead, 0);
    }
}

fn no_field(name: &str) -> Stop {
    Stop::new(format!("there is no field {name:?} on the way to the root"))
}

fn check_length(text: &[u8]) -> Result<(), Stop> {
    if text.len() <= IMPORT_RECORD_BYTES_MAX {
        return Ok(());
    }
    let message = format!("a record is longer than {IMPORT_RECORD_BYTES_MAX} bytes");
    Err(Stop::with_hint(message, "if the file is one big document, name the field with the records as the root"))
}
