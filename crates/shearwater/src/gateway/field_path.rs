//! Field paths in query strings: `city`, `address->>city`, `address.city`,
//! `tags[0]`, `tags->0`, `"odd.name"->x`.

use shearwater_core::path::{Path, Step};

use super::problem::{Kind, Problem};

/// How a step was joined to the one before it. Only steps after a dot can be
/// operators or modifiers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Joint {
    /// The first step.
    First,
    /// `.`
    Dot,
    /// `->` or `->>`
    Arrow,
    /// `[n]`
    Bracket,
}

/// One step as it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segment {
    /// How it was joined.
    pub joint: Joint,
    /// The step.
    pub step: Step,
    /// Whether the name stood in double quotes.
    pub quoted: bool,
}

impl Segment {
    /// The bare word, when it is one that could be an operator or a modifier.
    pub fn word(&self) -> Option<&str> {
        match &self.step {
            Step::Field(name) if self.joint == Joint::Dot && !self.quoted => Some(name),
            _ => None,
        }
    }
}

/// A text that is read from left to right.
#[derive(Clone, Debug)]
pub struct Scan<'a> {
    /// What has not been read yet.
    pub rest: &'a str,
    whole: &'a str,
}

impl<'a> Scan<'a> {
    /// From the beginning.
    pub fn new(text: &'a str) -> Scan<'a> {
        Scan { rest: text, whole: text }
    }

    /// Whether everything was read.
    pub fn at_end(&self) -> bool {
        self.rest.is_empty()
    }

    /// The next character, without reading it.
    pub fn peek(&self) -> Option<char> {
        self.rest.chars().next()
    }

    /// Reads `prefix` if it is next.
    pub fn eat(&mut self, prefix: &str) -> bool {
        match self.rest.strip_prefix(prefix) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    /// Reads up to the first of `stops`, or to the end.
    pub fn until(&mut self, stops: &[char]) -> &'a str {
        let end = self.rest.find(stops).unwrap_or(self.rest.len());
        let (read, rest) = self.rest.split_at(end);
        self.rest = rest;
        read
    }

    /// A problem at this place; characters are counted from 1.
    pub fn problem(&self, what: &str) -> Problem {
        let read = self.whole.len() - self.rest.len();
        let place = self.whole[..read].chars().count() + 1;
        Problem::new(Kind::BadQuery, format!("{what} at character {place}"))
    }

    /// Reads a text in double quotes; `\` escapes the next character.
    pub fn quoted(&mut self) -> Result<String, Problem> {
        if !self.eat("\"") {
            return Err(self.problem("expected a double quote"));
        }
        let mut text = String::new();
        let mut chars = self.rest.char_indices();
        while let Some((at, c)) = chars.next() {
            match c {
                '"' => {
                    self.rest = &self.rest[at + 1..];
                    return Ok(text);
                }
                '\\' => match chars.next() {
                    Some((_, escaped)) => text.push(escaped),
                    None => break,
                },
                _ => text.push(c),
            }
        }
        Err(self.problem("a double quote is opened and not closed"))
    }

    /// Reads the next step of a path; `None` when none follows here.
    pub fn segment(&mut self, first: bool) -> Result<Option<Segment>, Problem> {
        let joint = match first {
            true => Joint::First,
            false if self.eat("->>") || self.eat("->") => Joint::Arrow,
            false if self.eat(".") => Joint::Dot,
            false if self.eat("[") => return self.index().map(Some),
            false => return Ok(None),
        };
        if self.peek() == Some('"') {
            let step = Step::Field(self.quoted()?);
            return Ok(Some(Segment { joint, step, quoted: true }));
        }
        let name = self.name();
        if name.is_empty() {
            return Err(self.problem("expected a field name"));
        }
        let step = match name.parse() {
            Ok(index) if joint == Joint::Arrow => Step::Index(index),
            _ => Step::Field(name.to_owned()),
        };
        Ok(Some(Segment { joint, step, quoted: false }))
    }

    /// A bare name: up to a character that means something in the dialect.
    fn name(&mut self) -> &'a str {
        let mut end = self.rest.len();
        for (at, c) in self.rest.char_indices() {
            let ends = matches!(c, '.' | '[' | ']' | '"' | ',' | '(' | ')' | ':') || self.rest[at..].starts_with("->");
            if ends {
                end = at;
                break;
            }
        }
        let (name, rest) = self.rest.split_at(end);
        self.rest = rest;
        name
    }

    fn index(&mut self) -> Result<Segment, Problem> {
        let index = self.until(&[']']).parse().map_err(|_| self.problem("expected an array index"))?;
        if !self.eat("]") {
            return Err(self.problem("expected ]"));
        }
        Ok(Segment { joint: Joint::Bracket, step: Step::Index(index), quoted: false })
    }

    /// Reads all steps that follow each other here.
    pub fn segments(&mut self) -> Result<Vec<Segment>, Problem> {
        let mut segments = Vec::new();
        while let Some(segment) = self.segment(segments.is_empty())? {
            segments.push(segment);
        }
        Ok(segments)
    }
}

/// The path of these steps.
pub fn path(segments: impl IntoIterator<Item = Segment>) -> Result<Path, Problem> {
    Path::from_steps(segments.into_iter().map(|segment| segment.step).collect())
        .ok_or_else(|| Problem::new(Kind::BadQuery, "expected a field name"))
}

/// A path that is the whole text.
pub fn whole(text: &str) -> Result<Path, Problem> {
    let mut scan = Scan::new(text);
    let segments = scan.segments()?;
    if !scan.at_end() {
        return Err(scan
            .problem("a field path goes on in a way that is not understood")
            .hint("names with any of . [ ] ( ) , : \" stand in double quotes"));
    }
    path(segments)
}

/// A path as messages show it.
pub fn shown(path: &Path) -> String {
    let mut text = String::new();
    for step in path.steps() {
        match step {
            Step::Field(name) if text.is_empty() => text.push_str(name),
            Step::Field(name) => {
                text.push('.');
                text.push_str(name);
            }
            Step::Index(index) => text.push_str(&format!("[{index}]")),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn check(text: &str, expect: Option<&str>) {
        assert_eq!(whole(text).ok().map(|path| shown(&path)).as_deref(), expect, "{text}");
    }

    #[test]
    fn arrows_dots_and_brackets_are_one_path() {
        check("city", Some("city"));
        check("address->>city", Some("address.city"));
        check("address->city->>zip", Some("address.city.zip"));
        check("address.city", Some("address.city"));
        check("tags[0]", Some("tags[0]"));
        check("tags->0", Some("tags[0]"));
        check("tags->0->>name", Some("tags[0].name"));
        check("list.0", Some("list.0"));
        check("full name", Some("full name"));
        check("größe", Some("größe"));
        check("x-y", Some("x-y"));
        check("", None);
        check("a.", None);
        check(".a", None);
        check("[0]", None);
        check("a[x]", None);
        check("a[0", None);
        check("a(b", None);
        check("\"a", None);
    }

    #[test]
    fn quoted_names_hold_anything() {
        let path = whole(r#""odd.name"->"a\"b\\c""#).unwrap();
        assert_eq!(path.steps(), [Step::Field("odd.name".into()), Step::Field("a\"b\\c".into())]);
    }

    proptest! {
        #[test]
        fn any_name_can_be_quoted(name in ".+") {
            let quoted = format!("\"{}\"", name.replace('\\', "\\\\").replace('"', "\\\""));
            prop_assert_eq!(whole(&quoted), Ok(Path::field(name)));
        }

        #[test]
        fn no_text_panics(text in ".*") {
            let _ = whole(&text);
        }
    }
}
