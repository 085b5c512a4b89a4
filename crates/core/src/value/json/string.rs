//! JSON strings: runs of plain characters are copied whole.

use std::borrow::Cow;

use super::JsonError;

/// Reads the string whose opening quote is at `at`; returns it and the place
/// after its closing quote.
pub(super) fn read(text: &str, at: usize) -> Result<(String, usize), JsonError> {
    read_where_it_stands(text, at).map(|(text, end)| (text.into_owned(), end))
}

/// As [`read`], without a copy where there is no escape.
pub(super) fn read_where_it_stands(text: &str, at: usize) -> Result<(Cow<'_, str>, usize), JsonError> {
    let bytes = text.as_bytes();
    let mut from = at + 1;
    let mut end = plain_end(bytes, from);
    if bytes.get(end) == Some(&b'"') {
        return Ok((Cow::Borrowed(&text[from..end]), end + 1));
    }
    let mut out = String::with_capacity(end - from + 16);
    loop {
        out.push_str(&text[from..end]);
        match bytes.get(end) {
            Some(b'"') => return Ok((Cow::Owned(out), end + 1)),
            Some(b'\\') => from = escape(bytes, end, &mut out)?,
            Some(_) => return Err(JsonError::new(end, "found a control character in a string, expected its escape")),
            None => return Err(JsonError::new(end, "the text ends within a string")),
        }
        end = plain_end(bytes, from);
    }
}

/// Where the run of characters that stand for themselves ends.
fn plain_end(bytes: &[u8], from: usize) -> usize {
    let rest = &bytes[from..];
    let (words, _) = rest.as_chunks::<8>();
    let whole = words.iter().take_while(|word| !has_special(u64::from_le_bytes(**word))).count() * 8;
    let tail = rest[whole..].iter().take_while(|b| !is_special(**b)).count();
    from + whole + tail
}

fn is_special(byte: u8) -> bool {
    byte == b'"' || byte == b'\\' || byte < 0x20
}

/// Whether one of eight bytes is a quote, a backslash or below 0x20; may also
/// say so when a byte after the first such one borrows, never when there is none.
fn has_special(word: u64) -> bool {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGHS: u64 = 0x8080_8080_8080_8080;
    let zero = |w: u64| w.wrapping_sub(ONES) & !w;
    let quote = zero(word ^ (ONES * b'"' as u64));
    let backslash = zero(word ^ (ONES * b'\\' as u64));
    let control = word.wrapping_sub(ONES * 0x20) & !word;
    (quote | backslash | control) & HIGHS != 0
}

/// Reads the escape whose backslash is at `at`; returns the place after it.
fn escape(bytes: &[u8], at: usize, out: &mut String) -> Result<usize, JsonError> {
    let plain = match bytes.get(at + 1) {
        Some(b'"') => '"',
        Some(b'\\') => '\\',
        Some(b'/') => '/',
        Some(b'b') => '\u{8}',
        Some(b'f') => '\u{c}',
        Some(b'n') => '\n',
        Some(b'r') => '\r',
        Some(b't') => '\t',
        Some(b'u') => return unicode_escape(bytes, at, out),
        _ => return Err(JsonError::new(at, "unknown escape in a string")),
    };
    out.push(plain);
    Ok(at + 2)
}

fn unicode_escape(bytes: &[u8], at: usize, out: &mut String) -> Result<usize, JsonError> {
    let lone = || JsonError::new(at, "half of a surrogate pair stands alone in a string");
    let first = hex4(bytes, at + 2)?;
    let (code, end) = match first {
        0xd800..=0xdbff => {
            if bytes.get(at + 6) != Some(&b'\\') || bytes.get(at + 7) != Some(&b'u') {
                return Err(lone());
            }
            let second = hex4(bytes, at + 8)?;
            if !(0xdc00..=0xdfff).contains(&second) {
                return Err(lone());
            }
            (0x10000 + ((first - 0xd800) << 10) + (second - 0xdc00), at + 12)
        }
        _ => (first, at + 6),
    };
    out.push(char::from_u32(code).ok_or_else(lone)?);
    Ok(end)
}

fn hex4(bytes: &[u8], at: usize) -> Result<u32, JsonError> {
    let mut code = 0;
    for place in at..at + 4 {
        let digit = bytes.get(place).and_then(|b| char::from(*b).to_digit(16));
        code = code * 16 + digit.ok_or_else(|| JsonError::new(place, "expected four hex digits after `\\u`"))?;
    }
    Ok(code)
}

/// Writes a string with its quotes.
pub(super) fn write(text: &str, out: &mut Vec<u8>) {
    let bytes = text.as_bytes();
    out.reserve(bytes.len() + 2);
    out.push(b'"');
    let mut from = 0;
    loop {
        let end = plain_end(bytes, from);
        out.extend_from_slice(&bytes[from..end]);
        let Some(special) = bytes.get(end) else { break };
        match special {
            b'"' => out.extend_from_slice(b"\\\""),
            b'\\' => out.extend_from_slice(b"\\\\"),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            control => {
                const HEX: &[u8; 16] = b"0123456789abcdef";
                out.extend_from_slice(b"\\u00");
                out.push(HEX[usize::from(control >> 4)]);
                out.push(HEX[usize::from(control & 15)]);
            }
        }
        from = end + 1;
    }
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn special_bytes_are_found_wherever_they_stand() {
        for special in 0..=255_u8 {
            for place in 0..20 {
                let mut bytes = vec![b'a'; 20];
                bytes[place] = special;
                let expect = if is_special(special) { place } else { 20 };
                assert_eq!(plain_end(&bytes, 0), expect, "byte {special} at {place}");
            }
        }
        let high = "ééééééééééé\u{7f}\u{80}\u{10ffff}";
        assert_eq!(plain_end(high.as_bytes(), 0), high.len());
    }
}
